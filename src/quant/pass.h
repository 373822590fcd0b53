/*
 * pass.h - what every method that sees a whole matrix at once has in common.
 *
 *   in:   weights, and what is known of the matrix's inputs and outputs (calib/statistics.h)
 *   out:  integers, scales and an account of what that costs in the model's loss
 *
 *   w'[i][j] = (row_step[i] z[i][j] + row_offset[i]) col_scale[j]
 *
 * Integers have no bound but EN_QUANT_MAX_INTEGER: what lies far out goes to the list of exceptions of
 * coding 2, so that sparse parts need no form of their own.  Who codes the integers chooses classes of
 * rows and columns by their spreads.  Methods that need but a row at a time (quant/method.h: u8 ... rtn)
 * stream and are no passes.
 */
#ifndef EN_QUANT_PASS_H
#define EN_QUANT_PASS_H

#include "base/pool.h"

#include <stddef.h>

typedef struct en_pass_problem {
    size_t n_rows, n_cols;
    const float *weights;    /* n_rows x n_cols, finite */
    const float *factor;     /* L, n_cols x n_cols, H = L L^T (quant/cholesky.h); NULL: not known */
    const float *importance; /* F, n_rows; NULL: not known */
    const float *row_factor; /* M of each block of rows (watersic.h); NULL: not known */
    double slope;            /* of passes with a slope: the step c, > 0 */
    en_pool *pool;
} en_pass_problem;

/* Arrays are of the caller. */
typedef struct en_pass_result {
    int32_t *z;         /* n_rows x n_cols */
    float *row_steps;   /* n_rows */
    float *row_offsets; /* n_rows; all 0 where has_offsets is false */
    float *col_scales;  /* n_cols values of f16; all 1 where has_col_scales is false */
    bool has_offsets, has_col_scales;
    bool half_steps; /* row steps and offsets are values of f16 */
    double loss;     /* estimated: 1/2 sum_i F_i dw_i H dw_i^T, nats a token; NAN when not known */
} en_pass_result;

typedef struct en_pass {
    bool needs_statistics;
    /*
     * Of a pass whose rate follows from a slope (the same for all matrices of a model), else NULL: the
     * spreads of the columns' numbers, n_cols, and of the rows', n_rows, over their root mean square: divided by
     * the slope, the product of the two is that of an integer.
     */
    void (*spreads)(const en_pass_problem *p, float *row_spread, float *col_spread);
    entro_status (*run)(const en_pass_problem *p, en_pass_result *out, entro_error *err);
} en_pass;

extern const en_pass en_pass_watersic; /* watersic.h */
extern const en_pass en_pass_sparse4;  /* pass_sparse.c */

#endif
