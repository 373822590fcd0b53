/* activations.c - see activations.h. */
#include "linear/activations.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "tensor/half.h"

static bool same_bytes(const void *a, const void *b, size_t n_bytes)
{
    return a == b || (a != NULL && b != NULL && memcmp(a, b, n_bytes) == 0);
}

bool en_activations_shared(const en_strip_matrix *a, const en_strip_matrix *b)
{
    size_t n = (size_t)a->n_cols;
    return a->n_cols == b->n_cols && same_bytes(a->col_order, b->col_order, 4 * n) &&
           same_bytes(a->col_scales, b->col_scales, 2 * n);
}

/* ---- memory ------------------------------------------------------------------------------ */

enum { LINE = 64 };

static size_t sums_of_token(const en_strip_matrix *m)
{
    return (size_t)m->n_units + 1;
}

bool en_activations_bytes(const en_strip_matrix *m, size_t n_tokens, size_t *n_bytes)
{
    size_t n_padded = en_strip_padded_cols(m);
    size_t each = 2 * (n_padded + en_activations_stride(n_padded)) +
                  sums_of_token(m) * sizeof(int32_t) + sizeof(double);
    size_t all;
    if (!en_mul(each, n_tokens, &all) || !en_add(all, LINE - 1, &all))
        return false;
    *n_bytes = all & ~(size_t)(LINE - 1);
    return true;
}

void en_activations_place(en_activations *a, const en_strip_matrix *m, size_t n_tokens,
                          uint8_t *memory)
{
    *a = (en_activations){.matrix = m, .n_tokens = n_tokens, .n_padded = en_strip_padded_cols(m)};
    a->stride = en_activations_stride(a->n_padded);
    a->planes = (int8_t *)memory; /* whole lines: what follows is aligned */
    memory += n_tokens * 2 * a->stride;
    a->q = (int16_t *)(void *)memory;
    memory += n_tokens * 2 * a->n_padded;
    a->scales = (double *)(void *)memory;
    memory += n_tokens * sizeof *a->scales;
    a->sums = (int32_t *)(void *)memory;
}

/* ---- integers ---------------------------------------------------------------------------- */

static void put_in_order(const en_strip_matrix *m, const float *x, float *out)
{
    enum { BLOCK = 256 };
    float scales[BLOCK];
    size_t n = (size_t)m->n_cols;
    if (m->col_order == NULL)
        memcpy(out, x, n * sizeof *x);
    for (size_t k = 0; m->col_order != NULL && k < n; k++)
        out[k] = x[m->col_order[k]];
    for (size_t k = 0; m->col_scales != NULL && k < n; k += BLOCK) {
        size_t here = n - k < BLOCK ? n - k : BLOCK;
        en_kernels_get()->dequantize[EN_DTYPE_F16](m->col_scales + 2 * k, scales, here);
        for (size_t i = 0; i < here; i++)
            out[k + i] *= scales[i];
    }
    memset(out + n, 0, (en_strip_padded_cols(m) - n) * sizeof *out);
}

void en_activations_set(const en_activations *a, size_t token, const float *x, float *ordered)
{
    const en_kernels *k = en_kernels_get();
    const en_strip_matrix *m = a->matrix;
    int8_t *high = a->planes + 2 * token * a->stride, *low = high + a->stride;
    int16_t *q = a->q + token * a->n_padded;
    int32_t *sums = a->sums + token * sums_of_token(m), sum = 0;
    en_fetch_to_write(high, a->stride + a->n_padded);
    en_fetch_to_write(q, a->n_padded * sizeof *q);
    en_fetch_to_write(sums, sums_of_token(m) * sizeof *sums);
    put_in_order(m, x, ordered);
    float lo, hi;
    bool finite = k->min_max(ordered, a->n_padded, &lo, &hi);
    float inverse = EN_PLANES_MAX / (-lo > hi ? -lo : hi);
    if (!finite || isinf(inverse)) { /* all (nearly) zero, or without meaning */
        memset(high, 0, a->n_padded);
        memset(low, 0, a->n_padded);
        memset(q, 0, a->n_padded * sizeof *q);
        memset(sums, 0, sums_of_token(m) * sizeof *sums);
        a->scales[token] = finite ? 0.0 : (double)NAN;
        return;
    }
    k->quantize_planes(ordered, inverse, m->n_units, high, low, sums + 1);
    for (size_t i = 0; i < a->n_padded; i++)
        q[i] = (int16_t)(128 * high[i] + low[i]);
    a->scales[token] = 1.0 / (double)inverse;
    sums[0] = 0;
    for (size_t u = 1; u <= m->n_units; u++)
        sums[u] = sum += sums[u];
}
