/*
 * test_blocks.c - products of GGUF's blocks with integers: the reference against dequantized
 * weights, every variant this machine supports against the reference.
 *
 * Rows and planes end before a page that must not be touched; outputs have canary bytes before them.
 */
#include "test_support.h"

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

static uint32_t draw(void)
{
    static uint64_t state = 78;
    return (uint32_t)(test_random(&state) >> 32);
}

/* ---- rows and vectors -------------------------------------------------------------------------- */

static size_t row_bytes(uint32_t type, size_t n_cols)
{
    uint64_t n_bytes = 0;
    assert_true(en_dtype_bytes(type, n_cols, &n_bytes));
    return (size_t)n_bytes;
}

/* Where the f16 of a block lie. */
static void half_places(uint32_t type, int *first, int *second)
{
    *first = type == EN_DTYPE_Q6_K ? 208 : 0;
    *second = type == EN_DTYPE_Q4_1 || type == EN_DTYPE_Q5_1 || type == EN_DTYPE_Q4_K ||
                      type == EN_DTYPE_Q5_K
                  ? 2
                  : *first;
}

/* Random bytes; scales are finite, from 2^-8 to 1, of either sign. */
static uint8_t *draw_row(uint32_t type, size_t n_cols)
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

static int32_t draw_q(unsigned kind)
{
    if (kind == 0)
        return draw() % 2 ? EN_PLANES_MAX : -EN_PLANES_MAX;
    if (kind == 1)
        return EN_PLANES_MAX;
    return (int32_t)(draw() % (2 * EN_PLANES_MAX + 1)) - EN_PLANES_MAX;
}

static void draw_vector(int v, size_t n, en_block_vector *out)
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

static void draw_vectors(size_t n_vectors, size_t n, en_block_vector *out)
{
    for (size_t v = 0; v < n_vectors; v++)
        draw_vector((int)v, n, &out[v]);
}

/* ---- comparing --------------------------------------------------------------------------------- */

/* The product in double, and the magnitudes that bound its error.  With a minimum both terms may be
 * far larger than their sum: a weight is taken for the largest that its block may hold. */
static double exact_product(uint32_t type, const uint8_t *row, size_t n_cols,
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

static void check_variant(int i, uint32_t type, const uint8_t *row, size_t n_cols,
                          const en_block_vector *x, size_t n_vectors)
{
    float expected[EN_BLOCKS_MAX_VECTORS], *out = place(OUT, n_vectors * sizeof *out);
    variants[i].dot_blocks[type](row, n_cols, x, n_vectors, out);
    ref->dot_blocks[type](row, n_cols, x, n_vectors, expected);
    check_canary(out);
    for (size_t v = 0; v < n_vectors; v++) {
        double magnitude, exact = exact_product(type, row, n_cols, &x[v], &magnitude);
        float alone;
        if (fabs((double)expected[v] - exact) > 1e-6 * magnitude)
            fail_msg("reference, %s, %zu columns: %g instead of %g", en_dtype_get(type)->name,
                     n_cols, (double)expected[v], exact);
        if (!(fabs((double)out[v] - (double)expected[v]) <= 1e-5 * magnitude))
            fail_msg("%s, %s, %zu columns, vector %zu of %zu: %g instead of %g", variant_names[i],
                     en_dtype_get(type)->name, n_cols, v, n_vectors, (double)out[v],
                     (double)expected[v]);
        variants[i].dot_blocks[type](row, n_cols, &x[v], 1, &alone);
        assert_memory_equal(&alone, &out[v], sizeof alone); /* bit for bit */
    }
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void products_equal_reference(void **state)
{
    (void)state;
    static const size_t n_blocks[] = {1, 2, 3, 4, 5, 7, 18, 35, 64};
    en_block_vector x[EN_BLOCKS_MAX_VECTORS];
    for (int t = 0; t < N_TYPES; t++)
        for (int b = 0; b < 9; b++)
            for (size_t n_vectors = 1; n_vectors <= EN_BLOCKS_MAX_VECTORS; n_vectors++) {
                size_t n_cols = n_blocks[b] * en_dtype_get(types[t])->block_elems;
                const uint8_t *row = draw_row(types[t], n_cols);
                draw_vectors(n_vectors, n_cols, x);
                for (int i = 0; i < n_variants; i++)
                    check_variant(i, types[t], row, n_cols, x, n_vectors);
            }
}

static void long_rows_keep_precision(void **state)
{
    (void)state;
    en_block_vector x[1];
    for (int t = 0; t < N_TYPES; t++)
        for (int round = 0; round < 4; round++) {
            const uint8_t *row = draw_row(types[t], MAX_COLS);
            draw_vectors(1, MAX_COLS, x);
            for (int i = 0; i < n_variants; i++)
                check_variant(i, types[t], row, MAX_COLS, x, 1);
        }
}

/*
 * One weight and one column at a time: with a scale of 1 (and, where blocks have scales of their
 * own, any), every product is a whole number below 2^24 and every variant must have it exactly.
 */
static void single_products_are_exact(void **state)
{
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        size_t n = en_dtype_get(types[t])->block_elems, n_bytes = row_bytes(types[t], n);
        uint8_t *row = place(ROW, n_bytes);
        int first, second;
        half_places(types[t], &first, &second);
        for (size_t i = 0; i < n_bytes; i++)
            row[i] = (uint8_t)draw();
        en_store16(row + second, 0); /* minimum 0 */
        en_store16(row + first, 0x3c00);
        float w[256];
        ref->dequantize[types[t]](row, w, n);
        for (size_t k = 0; k < n; k++) {
            en_block_vector x;
            draw_vector(0, n, &x);
            int8_t high = x.high[k], low = x.low[k];
            float q = 128.0f * (float)high + (float)low;
            memset((void *)x.high, 0, n);
            memset((void *)x.low, 0, n);
            memset((void *)x.fours, 0, n / 4 * sizeof(float));
            memset((void *)x.sums, 0, n / 32 * sizeof(float));
            ((int8_t *)x.high)[k] = high;
            ((int8_t *)x.low)[k] = low;
            ((float *)x.fours)[k / 4] = ((float *)x.sums)[k / 32] = q;
            if (fabs((double)w[k] * (double)q) > 0x1p24)
                continue;
            for (int i = 0; i < n_variants; i++) {
                float out;
                variants[i].dot_blocks[types[t]](row, n, &x, 1, &out);
                assert_true(out == w[k] * q);
            }
        }
    }
}

/* Infinite scales, and those that are no numbers, must come out as what is no number. */
static void random_bytes_are_harmless(void **state)
{
    (void)state;
    en_block_vector x[3];
    int n_strange = 0;
    for (int t = 0; t < N_TYPES; t++)
        for (int round = 0; round < 300; round++) {
            size_t n_cols = en_dtype_get(types[t])->block_elems * (1 + draw() % 9);
            size_t n_bytes = row_bytes(types[t], n_cols);
            uint8_t *row = place(ROW, n_bytes);
            for (size_t i = 0; i < n_bytes; i++)
                row[i] = round % 3 ? (uint8_t)draw() : (uint8_t)(draw() % 2 ? 0x7c : 0xff);
            draw_vectors(3, n_cols, x);
            for (int i = 0; i < n_variants; i++) {
                float expected[3], out[3];
                ref->dot_blocks[types[t]](row, n_cols, x, 3, expected);
                variants[i].dot_blocks[types[t]](row, n_cols, x, 3, out);
                for (int v = 0; v < 3; v++) {
                    assert_int_equal(isfinite(out[v]) != 0, isfinite(expected[v]) != 0);
                    n_strange += !isfinite(out[v]);
                }
            }
        }
    assert_true(n_strange > 0);
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    (void)state;
    return test_kernels_open(N_REGIONS, REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_reference),
        cmocka_unit_test(long_rows_keep_precision),
        cmocka_unit_test(single_products_are_exact),
        cmocka_unit_test(random_bytes_are_harmless),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
