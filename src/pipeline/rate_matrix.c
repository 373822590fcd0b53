/* rate_matrix.c - see rate_matrix.h. */
#include "pipeline/rate_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "quant/watersic.h"

enum { MOST_COLS = 64, MOST_ROWS = 32 }; /* bins */

typedef struct bins {
    uint32_t n;
    double log2_spread[MOST_COLS]; /* the mean: above a step or so, bits go by the logarithm */
    double share[MOST_COLS];
} bins;

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static entro_status fill_bins(bins *out, const float *spreads, size_t n, uint32_t most,
                              entro_error *err)
{
    float *sorted = en_alloc(n, sizeof *sorted);
    if (sorted == NULL)
        return en_fail_memory(err);
    memcpy(sorted, spreads, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    out->n = n < most ? (uint32_t)n : most;
    for (uint32_t b = 0; b < out->n; b++) {
        size_t first = n * b / out->n, end = n * (b + 1) / out->n;
        double sum = 0, n_here = (double)(end - first);
        for (size_t i = first; i < end; i++)
            sum += log2((double)sorted[i]);
        out->log2_spread[b] = sum / n_here; /* -INFINITY where there are zeros */
        out->share[b] = n_here / (double)n;
    }
    en_free(sorted);
    return ENTRO_OK;
}

/* Between two sixteenths, to each as much as it is near. */
static void count(en_rate_matrix *m, const bins *rows, const bins *cols)
{
    m->largest = rows->log2_spread[rows->n - 1] + cols->log2_spread[cols->n - 1];
    for (uint32_t r = 0; r < rows->n && isfinite(m->largest); r++)
        for (uint32_t k = 0; k < cols->n; k++) {
            double below = m->largest - rows->log2_spread[r] - cols->log2_spread[k];
            double at = fmax(below, 0) * EN_RATE_AN_OCTAVE;
            if (!(at < EN_RATE_SPREADS - 1))
                continue;
            size_t i = (size_t)at;
            double share = rows->share[r] * cols->share[k];
            m->share[i] += (float)(share * (1 - (at - (double)i)));
            m->share[i + 1] += (float)(share * (at - (double)i));
        }
}

entro_status en_rate_matrix_set(en_rate_matrix *m, uint64_t n_rows, uint64_t n_cols,
                                const float *row_spreads, const float *col_spreads,
                                entro_error *err)
{
    *m = (en_rate_matrix){.n_rows = n_rows, .n_cols = n_cols};
    if (row_spreads == NULL)
        return ENTRO_OK;
    bins rows, cols;
    EN_TRY(fill_bins(&rows, row_spreads, (size_t)n_rows, MOST_ROWS, err));
    EN_TRY(fill_bins(&cols, col_spreads, (size_t)n_cols, MOST_COLS, err));
    count(m, &rows, &cols);
    m->has_spreads = true;
    return ENTRO_OK;
}

double en_rate_matrix_bits(const en_rate_matrix *m, double c)
{
    double bits = 0, in_steps = m->largest - log2(c);
    for (size_t i = 0; i < EN_RATE_SPREADS; i++)
        if (m->share[i] > 0)
            bits += (double)m->share[i] *
                    en_normal_entropy(exp2(in_steps - (double)i / EN_RATE_AN_OCTAVE));
    return bits;
}
