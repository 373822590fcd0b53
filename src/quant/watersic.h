/*
 * watersic.h - entropy-coded quantization with feedback: WaterSIC (arXiv 2603.04956) with rows
 * weighted by what they matter.
 *
 * Minimizes  1/2 sum_i F_i (w_i - w'_i) H (w_i - w'_i)^T  against the entropy of the integers, with
 *
 *   w'[i][j] = row_step[i] z[i][j] col_scale[j]       H = L L^T        r_i = sqrt(F_i + floor)
 *
 *   Y = diag(r) W L;  for columns from the last to the first:
 *     z_j = rint(Y_j / c),  g_j = <z_j, Y_j> / (c <z_j, z_j>)  (1 where z_j = 0)
 *     col_scale[j] = g_j c / L[j][j]
 *     Y_k -= col_scale[j] z_j L[j][k]  for k < j
 *   row_step[i] = 1 / r_i,  then each row's step is refitted:
 *     t_i = <w_i H, v_i> / (v_i H v_i^T),  v_i = z_i * col_scale   (as a factor of row_step)
 *
 * With a row_factor (two-sided feedback; YAQA, arXiv 2505.22988, rounds so with blocks of its own), the
 * error is  1/2 tr(M^T (W - W') H (W - W')^T M):  r_i = M[i][i], and in each column rows are rounded from
 * the last to the first, each in view of the errors of those behind it,
 *
 *     y_i = Y_i + sum over i' > i of  M[i'][i] / M[i][i] (row_step_i' / row_step_i) e_i'
 *
 * with e the column's error after its feedback.  Column scales are those of rounding without it; rows are
 * not refitted, as their errors are there to make up for each other.
 *
 * Scales are rounded to f16 as soon as they are known, so that feedback and refitting make up for it: r
 * is the inverse of the rounded row_step (2^-12 from the definition, at most), col_scale[j] is rounded
 * before it is fed back.  With a row_factor 5 significant bits will do: weights of rows are then off by a
 * percent or two, and columns are rounded in steps that belong to the scale as it is stored.
 *
 * The step c is the slope between bits and error: one c for all matrices of a model spends its bits
 * where they help most.  Integers have no bound (EN_QUANT_MAX_INTEGER); all maths in f32 on BLAS.
 */
#ifndef EN_QUANT_WATERSIC_H
#define EN_QUANT_WATERSIC_H

#include "base/pool.h"

typedef struct en_watersic_problem {
    size_t n_rows, n_cols;
    const float *weights;    /* n_rows x n_cols */
    const float *importance; /* F, n_rows, >= 0; NULL: all 1 */
    const float *factor; /* L, n_cols x n_cols, from en_cholesky(); its lower triangle is read */
    /* M of each block of rows (row_blocks.h), one behind the other: G = M M^T, G the covariance of the
     * gradients at the outputs.  NULL: rows do not depend on each other, G = diag(importance). */
    const float *row_factor;
    bool keep_rows; /* leave out the refit of rows: half the time, for 0.001 to 0.014 bit */
    en_pool *pool;  /* for what is not BLAS; NULL: the calling thread */
} en_watersic_problem;

/* r: sqrt(F_i + EN_WATERSIC_FLOOR * mean F), 1 where F is all zeros or NULL; M[i][i] where there is a
 * row_factor. */
#define EN_WATERSIC_FLOOR 0.1
void en_watersic_row_weights(const en_watersic_problem *p, float *r);

/*
 * spread[j] = sqrt(mean_i (r_i w_ij)^2) L[j][j], with r from en_watersic_row_weights(): of the numbers
 * that column j rounds to steps of c, if feedback is left out.
 */
void en_watersic_spreads(const en_watersic_problem *p, const float *r, float *spread);
/* r[i] becomes r_i |w_i| over its root mean square: how far row i's numbers spread beside the others'. */
void en_watersic_row_spreads(const en_watersic_problem *p, float *r);

/* Entropy, in bits, of a uniformly quantized normal distribution: sigma over step. */
double en_normal_entropy(double sigma_over_step);

typedef struct en_watersic_result {
    int32_t *z;        /* n_rows x n_cols; of the caller */
    float *row_steps;  /* n_rows; of the caller */
    float *col_scales; /* n_cols; of the caller.  Powers of two are moved between the two so that
                          both are well inside the range of f16 */
    double error;      /* 1/2 sum_i r_i^2 (w - w') H (w - w')^T, with scales as returned */
} en_watersic_result;

/*
 * With step 'c' > 0.  row_steps and col_scales are values of f16 when they can be (half_scales says
 * so), of 5 significant bits with a row_factor.  Columns of zeros only get a scale of the usual size.
 * BLAS takes the threads that it was told to take; beside the problem, 4 bytes a weight and up to
 * 300 MB are needed.  ENTRO_ERR_UNSUPPORTED when an integer would be beyond EN_QUANT_MAX_INTEGER,
 * ENTRO_ERR_FORMAT for NaN or infinity.
 */
entro_status en_watersic(const en_watersic_problem *p, double c, en_watersic_result *out,
                         bool *half_scales, entro_error *err);

#endif
