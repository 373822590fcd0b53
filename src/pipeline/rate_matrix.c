/* rate_matrix.c - see rate_matrix.h. */
#include "pipeline/rate_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "quant/watersic.h"

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Where bin b begins, of n that are sorted. */
static size_t bin_first(uint64_t n, uint32_t b, uint32_t n_bins)
{
    return (size_t)(n * b / n_bins);
}

/* The geometric mean of each bin: above a step or so, bits go by the logarithm. */
static entro_status fill_bins(const float *spreads, size_t n, uint32_t most, float *bins,
                              uint32_t *n_bins, entro_error *err)
{
    float *sorted = en_alloc(n, sizeof *sorted);
    if (sorted == NULL)
        return en_fail_memory(err);
    memcpy(sorted, spreads, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    *n_bins = n < most ? (uint32_t)n : most;
    for (uint32_t b = 0; b < *n_bins; b++) {
        size_t first = bin_first(n, b, *n_bins), end = bin_first(n, b + 1, *n_bins);
        double sum = 0;
        for (size_t i = first; i < end; i++)
            sum += log2((double)sorted[i]);
        bins[b] = (float)exp2(sum / (double)(end - first));
    }
    en_free(sorted);
    return ENTRO_OK;
}

entro_status en_rate_matrix_set(en_rate_matrix *m, uint64_t n_rows, uint64_t n_cols,
                                const float *row_spreads, const float *col_spreads,
                                entro_error *err)
{
    *m = (en_rate_matrix){.n_rows = n_rows, .n_cols = n_cols};
    if (row_spreads == NULL)
        return ENTRO_OK;
    EN_TRY(fill_bins(row_spreads, (size_t)n_rows, EN_RATE_ROW_BINS, m->rows, &m->n_row_bins, err));
    return fill_bins(col_spreads, (size_t)n_cols, EN_RATE_COL_BINS, m->cols, &m->n_col_bins, err);
}

double en_rate_matrix_bits(const en_rate_matrix *m, double c)
{
    double bits = 0;
    for (uint32_t r = 0; r < m->n_row_bins; r++) {
        double n_rows = (double)(bin_first(m->n_rows, r + 1, m->n_row_bins) -
                                 bin_first(m->n_rows, r, m->n_row_bins));
        for (uint32_t k = 0; k < m->n_col_bins; k++) {
            double n_cols = (double)(bin_first(m->n_cols, k + 1, m->n_col_bins) -
                                     bin_first(m->n_cols, k, m->n_col_bins));
            bits +=
                n_rows * n_cols * en_normal_entropy((double)m->rows[r] * (double)m->cols[k] / c);
        }
    }
    return bits / (double)m->n_rows / (double)m->n_cols;
}
