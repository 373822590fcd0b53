/*
 * watersic_feedback.h - the inner part of watersic.c: columns become integers, each in view of the
 * errors of those before it.
 *
 * In W / row_step a column that has been rounded is replaced by its error,
 *
 *   D_k = W_k / row_step - z_k col_scale[k]      k > j
 *
 * and then the next column is  Y_j = W_j / row_step L[j][j] + sum over k > j of D_k L[k][j].  This is
 * "Y = W L, subtract what is fed back" in one product instead of two, of which neither has large
 * numbers that cancel.
 *
 * The sum is made in pieces, each by the widest product it allows:
 *
 *   columns:  ... |<------------------ super-block ------------------>|<-- D of the rest -->|
 *                 |  ...  |<---------- block --------->|              |                     |
 *                 |       |  ... |<-- group -->|       |              |                     |
 *                                       j  <---- (1) -->|<--- (2) ---->|<-- (3) -->|<- (4) ->|
 *
 *   (1) in the group: plain code, together with the rounding    (2) block, (3) super-block, (4) the
 *   rest: sgemm.  All matrices inside are kept column by column.
 */
#ifndef EN_QUANT_WATERSIC_FEEDBACK_H
#define EN_QUANT_WATERSIC_FEEDBACK_H

#include "quant/watersic.h"

#include <stddef.h>

enum { EN_FEEDBACK_GROUP = 16, EN_FEEDBACK_BLOCK = 64 };

/* What a piece of the rows adds to a column's sums.  Pieces are the blocks of rows (row_blocks.h): a
 * group of D and Y lies in the second cache.  They are the same for any number of threads, and so are
 * the sums. */
typedef struct en_feedback_sums {
    double zy, zz;
    bool fits; /* no integer is beyond EN_QUANT_MAX_INTEGER, no Y is infinite */
} en_feedback_sums;

typedef struct en_feedback {
    const en_watersic_problem *p;
    double c;             /* of Y as it is here, with W / row_step */
    double typical_scale; /* of a column that has only zeros */
    float *inverse_steps; /* n_rows */
    float *col_scales;    /* n_cols, of the caller */
    int32_t *z;           /* n_rows x n_cols, of the caller */
    bool half_scales;     /* so far */
    size_t width;         /* of a super-block */
    size_t stride;        /* between columns of d, y, q and z_block */
    float *d;             /* all columns */
    float *y;             /* a super-block: Y, and once a column is rounded, its error (D L)_j */
    int32_t *z_block;
    /* The column being rounded, and the one before it, which its scale waits for. */
    size_t super_first, group_end, col;
    bool is_rounding, is_closing;
    double closing_scale;
    double closing_step; /* c, or what belongs to the scale as it was rounded */
    size_t n_pieces;
    en_feedback_sums *sums; /* of each piece */
    /* Two-sided feedback: of each piece M[i'][i] / M[i][i] row_step_i' / row_step_i, in place of M; on the
     * diagonal M[i][i] row_step_i, what an error there counts. */
    float *row_shares;
    double *errors; /* of each piece: weighted squares of what rounding left */
} en_feedback;

/* Allocates what is not of the caller; p, c, typical_scale, inverse_steps, half_scales and the
 * caller's arrays are set.  en_feedback_free() also after a failure. */
entro_status en_feedback_init(en_feedback *f, entro_error *err);
void en_feedback_free(en_feedback *f);

/* After inverse_steps was set; r: of en_watersic_row_weights(). */
void en_feedback_set_rows(en_feedback *f, const float *r);

/* Rounds the columns of the super-block [first, end), the one left of the last one that was given;
 * then f->y has its errors. */
entro_status en_feedback_run(en_feedback *f, size_t first, size_t end, entro_error *err);

/* Runs fn over the pieces of the rows, with threads when there are any. */
void en_feedback_pieces(const en_feedback *f, en_pool_fn fn, void *context);
/* The nearest value of f16, with two-sided feedback of 5 significant bits (tensor/short_float.h); false
 * when there is none near. */
bool en_feedback_half(const en_watersic_problem *p, double x, float *half);

#endif
