/*
 * rounding_loss.h - what a matrix would add to the loss, had each weight been rounded by itself.
 *
 *   1/2 sum_i G[i][i] sum_j H[j][j] (w_ij - s_ij rint(w_ij / s_ij))^2      s_ij = row_step[i] col_scale[j]
 *
 * with H = L L^T of the inputs and G of the gradients at the outputs, as the pass takes them: the loss that
 * is expected when the errors of different weights know nothing of each other.  A pass that rounds each
 * weight in view of the others' errors has less, with the same steps: that is what feedback gained.
 */
#ifndef EN_PIPELINE_ROUNDING_LOSS_H
#define EN_PIPELINE_ROUNDING_LOSS_H

#include "base/status.h"
#include "quant/pass.h"

#include <stddef.h>

typedef struct en_rounding_loss {
    double *inputs, *outputs; /* the diagonals of H and G */
    size_t inputs_cap, outputs_cap;
    size_t n_cols;
} en_rounding_loss;

/* Of a matrix whose factor and importance are known. */
entro_status en_rounding_loss_prepare(en_rounding_loss *r, const en_pass_problem *p,
                                      entro_error *err);
void en_rounding_loss_free(en_rounding_loss *r); /* a zeroed one is fine */

/* The share of a row. */
double en_rounding_loss_row(const en_rounding_loss *r, size_t row, const float *w, float row_step,
                            const float *col_scales);

#endif
