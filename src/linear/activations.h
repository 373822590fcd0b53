/*
 * activations.h - the inputs of a product as integers, for matrices in coding 2.
 *
 *   x'[k] = x[column order[k]] * column scale[k]      stored order, padded with zeros to whole units
 *   q[k] = rint(x'[k] * inverse) = 128 high[k] + low[k]      inverse = 16256 / max |x'|
 *
 * One scale a token.  15 bits are enough for tokens with outliers, whose other values are small; two
 * planes of int8 are what the kernels multiply.  All sums of products of integers are exact, so
 * neither threads nor the order of a sum can show in a result.
 */
#ifndef EN_LINEAR_ACTIVATIONS_H
#define EN_LINEAR_ACTIVATIONS_H

#include "container/strip_matrix.h"

typedef struct en_activations {
    const en_strip_matrix *matrix; /* whose order and scales these have */
    size_t n_tokens, n_padded;     /* n_padded: columns */
    size_t stride;                 /* from one plane to the next */
    int8_t *planes;                /* [token][high, low][n_padded] */
    int16_t *q;                    /* [token][n_padded], and readable for one more */
    int32_t *sums;                 /* [token][n_units + 1]: all q before this unit */
    double *scales;                /* [token]: x' = scale q, about; NaN where an x' is not finite */
} en_activations;

/* Do products with both matrices take the same integers? */
bool en_activations_shared(const en_strip_matrix *a, const en_strip_matrix *b);

/* Bytes for a number of tokens (a multiple of 64); false on overflow. */
bool en_activations_bytes(const en_strip_matrix *m, size_t n_tokens, size_t *n_bytes);
/* 'memory' is 64-byte aligned and stays the caller's. */
void en_activations_place(en_activations *a, const en_strip_matrix *m, size_t n_tokens,
                          uint8_t *memory);
/* Sets one token from x[n_cols]; 'ordered' is scratch for n_padded floats. */
void en_activations_set(const en_activations *a, size_t token, const float *x, float *ordered);

/* An odd number of cache lines: planes that lie a multiple of 4 KB apart would have to share a few places of
 * the first-level cache (AMX tiles of 4096 columns: 229 G multiply-adds/s, with this 272). */
static inline size_t en_activations_stride(size_t n_padded)
{
    enum { LINE = 64 };
    return ((n_padded + LINE - 1) / LINE | 1) * LINE;
}

/* Plane 0 is the high one. */
static inline const int8_t *en_activations_plane(const en_activations *a, size_t token,
                                                 unsigned plane)
{
    return a->planes + (2 * token + plane) * a->stride;
}

static inline int32_t en_activations_q(const en_activations *a, size_t token, size_t col)
{
    return a->q[token * a->n_padded + col];
}

/* Sum of q over units first to end - 1. */
static inline int32_t en_activations_sum(const en_activations *a, size_t token, size_t first,
                                         size_t end)
{
    const int32_t *sums = a->sums + token * (a->n_padded / EN_UNIT_COLS + 1);
    return sums[end] - sums[first];
}

#endif
