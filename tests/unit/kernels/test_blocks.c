/*
 * test_blocks.c - products of GGUF's blocks with integers: the reference against dequantized
 * weights, every variant this machine supports against the reference.
 *
 * Rows and planes end before a page that must not be touched; outputs have canary bytes before them.
 */
#include "test_support.h"

#include "quant_block_support.h"

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
