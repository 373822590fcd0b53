/*
 * rows_template.h - rows of int8 with a scale for every EN_SCALE_COLS columns (the KV cache), over
 * the vector of vector_template.h.
 *
 *   a[r * n_cols + c]                     numbers, row after row
 *   scales[c / 32 * scale_stride + r]     a plane of scales for each block of columns
 *
 * Besides what vector_template.h wants: v_load_int8(p) and v_load_int8_part(p, m), int8 to f32.
 *
 * A row's product depends on that row only, whatever others come with it.
 */
#ifndef EN_KERNELS_ROWS_TEMPLATE_H
#define EN_KERNELS_ROWS_TEMPLATE_H

#include <string.h>

#include "kernels/kernels.h"

enum {
    BLOCK_VECTORS = EN_SCALE_COLS / LANES,
    /* Bytes that are fetched early: rows taken by fours defeat the processor's own way (rows of 128
     * from memory, Zen 4: 6.8 G/s without, 12.8 with). */
    AHEAD = 2048,
    /* In axpy, before the next block of columns: memory is read nearly in order. */
    ROWS_TOGETHER = 8
};

static inline __attribute__((always_inline)) vec load_int8(const int8_t *p, size_t m)
{
    return m == LANES ? v_load_int8(p) : v_load_int8_part(p, m);
}

static void round_i8(const float *x, float inverse, int8_t *out, size_t n)
{
    const vec s = v_set(inverse), most = v_set(127.0f), least = v_set(-127.0f);
    EACH_VECTOR(i, m, n, vec v = v_min(v_max(v_round(v_mul(load(x + i, m), s)), least), most);
                int8_t last[LANES]; v_store_int8(m == LANES ? out + i : last, v);
                if (m != LANES) memcpy(out + i, last, m););
}

static void expand_i8(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                      size_t n_cols, float *out)
{
    for (size_t c = 0; c < n_cols; c += EN_SCALE_COLS, scales += scale_stride) {
        size_t n = n_cols - c < EN_SCALE_COLS ? n_cols - c : EN_SCALE_COLS;
        for (size_t r = 0; r < n_rows; r++) {
            const vec s = v_set(scales[r]);
            const int8_t *in = a + r * n_cols + c;
            float *row = out + r * n_cols + c;
            EACH_VECTOR(i, m, n, store(row + i, v_mul(load_int8(in + i, m), s), m););
        }
    }
}

/* a . x of one row, in lanes still to be summed; 'scales' are its own. */
static inline __attribute__((always_inline)) vec
dot_row(const int8_t *a, const float *scales, size_t scale_stride, const float *x, size_t n_cols)
{
    vec sum = v_set(0.0f);
    size_t c = 0;
    for (; c + EN_SCALE_COLS <= n_cols; c += EN_SCALE_COLS, scales += scale_stride) {
        vec block = v_mul(v_load_int8(a + c), v_load(x + c));
        for (size_t i = LANES; i < EN_SCALE_COLS; i += LANES)
            block = v_fma(v_load_int8(a + c + i), v_load(x + c + i), block);
        sum = v_fma(block, v_set(*scales), sum);
    }
    if (c < n_cols) {
        vec block = v_set(0.0f);
        EACH_VECTOR(i, m, n_cols - c,
                    block = v_fma(load_int8(a + c + i, m), load(x + c + i, m), block););
        sum = v_fma(block, v_set(*scales), sum);
    }
    return sum;
}

static void dot_i8(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                   size_t n_cols, const float *x, float *out)
{
    size_t r = 0;
    for (; r + 4 <= n_rows; r += 4, a += 4 * n_cols) {
        for (size_t i = 0; i < 4 * n_cols; i += 64)
            __builtin_prefetch(a + AHEAD + i);
        v_sum4(out + r, dot_row(a, scales + r, scale_stride, x, n_cols),
               dot_row(a + n_cols, scales + r + 1, scale_stride, x, n_cols),
               dot_row(a + 2 * n_cols, scales + r + 2, scale_stride, x, n_cols),
               dot_row(a + 3 * n_cols, scales + r + 3, scale_stride, x, n_cols));
    }
    for (; r < n_rows; r++, a += n_cols)
        out[r] = v_sum(dot_row(a, scales + r, scale_stride, x, n_cols));
}

/* A whole block of columns: its sums stay in registers, two of each to hide latencies.  'a' and
 * 'scales' are those of the first row. */
static inline __attribute__((always_inline)) void axpy_block(const int8_t *a, const float *scales,
                                                             size_t n_rows, size_t n_cols, float *y)
{
    vec even[BLOCK_VECTORS], odd[BLOCK_VECTORS];
    for (size_t i = 0; i < BLOCK_VECTORS; i++) {
        even[i] = v_load(y + i * LANES);
        odd[i] = v_set(0.0f);
    }
    size_t r = 0;
    for (; r + 2 <= n_rows; r += 2, a += 2 * n_cols) {
        const vec s0 = v_set(scales[r]), s1 = v_set(scales[r + 1]);
        for (size_t i = 0; i < BLOCK_VECTORS; i++) {
            even[i] = v_fma(v_load_int8(a + i * LANES), s0, even[i]);
            odd[i] = v_fma(v_load_int8(a + n_cols + i * LANES), s1, odd[i]);
        }
    }
    for (size_t i = 0; i < BLOCK_VECTORS; i++) {
        if (r < n_rows)
            even[i] = v_fma(v_load_int8(a + i * LANES), v_set(scales[r]), even[i]);
        v_store(y + i * LANES, v_add(even[i], odd[i]));
    }
}

static void axpy_i8(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                    size_t n_cols, float *y)
{
    const size_t whole = n_cols / EN_SCALE_COLS * EN_SCALE_COLS;
    for (size_t first = 0, n; first < n_rows; first += n) {
        n = n_rows - first < ROWS_TOGETHER ? n_rows - first : ROWS_TOGETHER;
        for (size_t i = 0; i < n * n_cols; i += 64)
            __builtin_prefetch(a + first * n_cols + AHEAD + i);
        for (size_t c = 0; c < whole; c += EN_SCALE_COLS)
            axpy_block(a + first * n_cols + c, scales + c / EN_SCALE_COLS * scale_stride + first, n,
                       n_cols, y + c);
    }
    for (size_t r = 0; r < n_rows && whole < n_cols; r++) {
        const vec s = v_set(scales[whole / EN_SCALE_COLS * scale_stride + r]);
        const int8_t *in = a + r * n_cols;
        EACH_VECTOR(i, m, n_cols - whole,
                    store(y + whole + i,
                          v_fma(load_int8(in + whole + i, m), s, load(y + whole + i, m)), m););
    }
}

static void init_rows_kernels(en_kernels *table)
{
    table->round_i8 = round_i8;
    table->expand_i8 = expand_i8;
    table->dot_i8 = dot_i8;
    table->axpy_i8 = axpy_i8;
}

#endif
