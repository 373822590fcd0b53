/*
 * pass_sparse.c - dense and sparse: a grid of 16 levels a row for most weights, a list for the few that
 * would stretch it (SqueezeLLM, arXiv 2306.07629, section 4.2; SpQR has its outliers likewise).
 *
 *   |w_ij - mean_i| > T rms_i        sparse; T so that SPARSE_SHARE of the matrix is
 *   otherwise                        dense: asymmetric grid from the smallest to the largest of the row
 *
 * An outlier is rounded to the same grid, only that its integer lies beyond 0 .. 15: an entry of the list
 * takes 3 bytes (SqueezeLLM: 6 with its index), and its error is no larger than that of any other.
 * T is found by bisection on a histogram of |w - mean| / rms.
 */
#include <float.h>
#include <math.h>

#include "base/memory.h"
#include "quant/method.h"
#include "quant/pass.h"

#define SPARSE_SHARE 0.0045 /* 0.4 % outliers and 0.05 % others in the paper */

enum { BITS = 4, BUCKETS = 4096, BUCKETS_A_SIGMA = 256 };

typedef struct moments {
    double mean, rms;
} moments;

static moments moments_of(const float *w, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)w[k];
    double mean = sum / (double)n;
    for (size_t k = 0; k < n; k++)
        squares += ((double)w[k] - mean) * ((double)w[k] - mean);
    return (moments){mean, sqrt(squares / (double)n)};
}

static double distance(float w, moments m)
{
    return m.rms > 0 ? fabs((double)w - m.mean) / m.rms : 0.0;
}

/* The distance beyond which SPARSE_SHARE of all weights lie. */
static double find_threshold(const en_pass_problem *p, uint64_t counts[BUCKETS])
{
    for (size_t i = 0; i < p->n_rows; i++) {
        const float *w = p->weights + i * p->n_cols;
        moments m = moments_of(w, p->n_cols);
        for (size_t k = 0; k < p->n_cols; k++) {
            double at = distance(w[k], m) * BUCKETS_A_SIGMA;
            counts[at < BUCKETS - 1 ? (size_t)at : BUCKETS - 1]++;
        }
    }
    double allowed = SPARSE_SHARE * (double)p->n_rows * (double)p->n_cols, beyond = 0;
    size_t bucket = BUCKETS;
    while (bucket > 1 && beyond + (double)counts[bucket - 1] <= allowed)
        beyond += (double)counts[--bucket];
    return (double)bucket / BUCKETS_A_SIGMA;
}

static en_grid grid_of_dense(const float *w, size_t n, double threshold)
{
    moments m = moments_of(w, n);
    float lo = FLT_MAX, hi = -FLT_MAX;
    for (size_t k = 0; k < n; k++) {
        if (distance(w[k], m) > threshold)
            continue;
        lo = w[k] < lo ? w[k] : lo;
        hi = w[k] > hi ? w[k] : hi;
    }
    return lo <= hi ? en_quant_grid(lo, hi, BITS)
                    : en_quant_grid((float)m.mean, (float)m.mean, BITS);
}

static entro_status round_row(const float *w, size_t n, const en_grid *g, int32_t *z, size_t row,
                              entro_error *err)
{
    for (size_t k = 0; k < n; k++) {
        double q = rint(((double)w[k] - (double)g->offset) / (double)g->step);
        if (!(fabs(q) <= EN_QUANT_MAX_INTEGER))
            return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                           "row %zu has a weight of %.3g steps, at most 2^30 can be stored; use "
                           "another method for this tensor with '--set NAME=METHOD'",
                           row, q);
        z[k] = (int32_t)q;
    }
    return ENTRO_OK;
}

static entro_status run(const en_pass_problem *p, en_pass_result *out, entro_error *err)
{
    uint64_t *counts = en_alloc_zero(BUCKETS, sizeof *counts);
    if (counts == NULL)
        return en_fail_memory(err);
    double threshold = find_threshold(p, counts);
    en_free(counts);
    for (size_t i = 0; i < p->n_rows; i++) {
        const float *w = p->weights + i * p->n_cols;
        en_grid g = grid_of_dense(w, p->n_cols, threshold);
        out->row_steps[i] = g.step;
        out->row_offsets[i] = g.offset;
        EN_TRY(round_row(w, p->n_cols, &g, out->z + i * p->n_cols, i, err));
    }
    out->has_offsets = true;
    out->has_col_scales = false;
    out->half_steps = false;
    out->loss = NAN;
    return ENTRO_OK;
}

const en_pass en_pass_sparse4 = {.run = run};
