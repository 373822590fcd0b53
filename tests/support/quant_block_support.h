/*
 * quant_block_support.h - for tests of products with GGUF's blocks: random rows and vectors, in guarded memory
 * (kernel_support.h), and what their product is.
 */
#ifndef TEST_QUANT_BLOCK_SUPPORT_H
#define TEST_QUANT_BLOCK_SUPPORT_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "kernel_support.h"
#include "kernels/kernels.h"

enum {
    MAX_COLS = 18944,
    REGION = 1 << 17,
    ROW = 0, /* regions */
    OUT,
    VECTORS,
    PER_VECTOR = 4, /* high, low, fours, sums */
    N_REGIONS = VECTORS + PER_VECTOR * EN_BLOCKS_MAX_VECTORS
};

static const uint32_t types[] = {EN_DTYPE_Q4_0, EN_DTYPE_Q4_1, EN_DTYPE_Q5_0, EN_DTYPE_Q5_1,
                                 EN_DTYPE_Q8_0, EN_DTYPE_Q4_K, EN_DTYPE_Q5_K, EN_DTYPE_Q6_K};
enum { N_TYPES = sizeof types / sizeof *types };

static inline uint32_t draw(void)
{
    static uint64_t state = 78;
    return (uint32_t)(test_random(&state) >> 32);
}

/* ---- rows and vectors -------------------------------------------------------------------------- */

static inline size_t row_bytes(uint32_t type, size_t n_cols)
{
    uint64_t n_bytes = 0;
    assert_true(en_dtype_bytes(type, n_cols, &n_bytes));
    return (size_t)n_bytes;
}

/* Where the f16 of a block lie. */
static inline void half_places(uint32_t type, int *first, int *second)
{
    *first = type == EN_DTYPE_Q6_K ? 208 : 0;
    *second = type == EN_DTYPE_Q4_1 || type == EN_DTYPE_Q5_1 || type == EN_DTYPE_Q4_K ||
                      type == EN_DTYPE_Q5_K
                  ? 2
                  : *first;
}

/* Random bytes; scales are finite, from 2^-8 to 1, of either sign. */
static inline uint8_t *draw_row(uint32_t type, size_t n_cols)
{
    size_t n_bytes = row_bytes(type, n_cols), each = en_dtype_get(type)->block_bytes;
    uint8_t *row = place(ROW, n_bytes);
    int first, second;
    half_places(type, &first, &second);
    bool extreme = draw() % 4 == 0;
    for (size_t i = 0; i < n_bytes; i++)
        row[i] = extreme ? 0xff : (uint8_t)draw();
    if (extreme && type == EN_DTYPE_Q8_0)
        memset(row, 0x80, n_bytes);
    for (size_t at = 0; at < n_bytes; at += each) {
        en_store16(row + at + first, (uint16_t)((draw() & 0x83ff) | (7 + draw() % 8) << 10));
        en_store16(row + at + second, (uint16_t)((draw() & 0x83ff) | (7 + draw() % 8) << 10));
    }
    return row;
}

static inline int32_t draw_q(unsigned kind)
{
    if (kind == 0)
        return draw() % 2 ? EN_PLANES_MAX : -EN_PLANES_MAX;
    if (kind == 1)
        return EN_PLANES_MAX;
    return (int32_t)(draw() % (2 * EN_PLANES_MAX + 1)) - EN_PLANES_MAX;
}

static inline void draw_vector(int v, size_t n, en_block_vector *out)
{
    int8_t *high = place(VECTORS + PER_VECTOR * v, n);
    int8_t *low = place(VECTORS + PER_VECTOR * v + 1, n);
    float *fours = place(VECTORS + PER_VECTOR * v + 2, n / 4 * sizeof *fours);
    float *sums = place(VECTORS + PER_VECTOR * v + 3, n / 32 * sizeof *sums);
    unsigned kind = draw() % 4;
    memset(fours, 0, n / 4 * sizeof *fours);
    memset(sums, 0, n / 32 * sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        int32_t q = draw_q(kind);
        high[i] = (int8_t)(lrint((double)q / 128.0));
        low[i] = (int8_t)(q - 128 * high[i]);
        fours[i / 4] += (float)q;
        sums[i / 32] += (float)q;
    }
    *out = (en_block_vector){high, low, fours, sums};
}

static inline void draw_vectors(size_t n_vectors, size_t n, en_block_vector *out)
{
    for (size_t v = 0; v < n_vectors; v++)
        draw_vector((int)v, n, &out[v]);
}

/* ---- comparing --------------------------------------------------------------------------------- */

/* The product in double, and the magnitudes that bound its error.  With a minimum both terms may be
 * far larger than their sum: a weight is taken for the largest that its block may hold. */
static inline double exact_product(uint32_t type, const uint8_t *row, size_t n_cols,
                                   const en_block_vector *x, double *magnitude)
{
    static float w[MAX_COLS];
    size_t block = en_dtype_get(type)->block_elems;
    ref->dequantize[type](row, w, n_cols);
    double sum = 0;
    *magnitude = 0;
    for (size_t first = 0; first < n_cols; first += block) {
        double largest = 0;
        for (size_t i = first; i < first + block; i++)
            largest = fabs((double)w[i]) > largest ? fabs((double)w[i]) : largest;
        for (size_t i = first; i < first + block; i++) {
            double q = 128.0 * x->high[i] + x->low[i];
            sum += (double)w[i] * q;
            *magnitude += largest * fabs(q);
        }
    }
    return sum;
}

#endif
