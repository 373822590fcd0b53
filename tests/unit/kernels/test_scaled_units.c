/*
 * test_scaled_units.c - GGUF's blocks taken apart: their weights against dequantized ones, products with
 * plain C against the exact ones, every variant this machine supports against plain C.
 */
#include "test_support.h"

#include "quant_block_support.h"
#include "kernels/scaled_units.h"

enum {
    MOST_COLS = 2304,
    MANY = EN_BLOCKS_MAX_VECTORS, /* vectors */
    UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS
};

static uint8_t bytes[MOST_COLS * EN_STRIP_ROWS];
static float scales[MOST_COLS], offsets[MOST_COLS];
static uint8_t *rows[EN_STRIP_ROWS];

static en_scaled_units draw_units(uint32_t type, size_t n_cols)
{
    en_scaled_units units = {bytes, scales, offsets, en_scaled_parts(type)};
    size_t n_bytes = row_bytes(type, n_cols);
    for (unsigned r = 0; r < EN_STRIP_ROWS; r++) {
        rows[r] = realloc(rows[r], n_bytes);
        assert_non_null(rows[r]);
        /* From guarded memory: nothing may be read behind a row. */
        const uint8_t *row = draw_row(type, n_cols);
        memcpy(rows[r], row, n_bytes);
        en_scaled_take_apart(type, row, n_cols, r, &units);
    }
    return units;
}

static size_t columns(uint32_t type, size_t n_blocks)
{
    return n_blocks * en_dtype_get(type)->block_elems;
}

/* Weight (r, col) of the units, from the drawing in scaled_units.h. */
static double weight(const en_scaled_units *u, unsigned r, size_t col)
{
    size_t unit = col / EN_UNIT_COLS, in_unit = col % EN_UNIT_COLS;
    size_t part = unit * u->n_parts + in_unit * u->n_parts / EN_UNIT_COLS;
    uint8_t byte = u->bytes[unit * UNIT_BYTES + in_unit / 4 * EN_STRIP_LANES + 4 * r + in_unit % 4];
    return (double)u->scales[part * EN_STRIP_ROWS + r] * byte +
           (double)u->offsets[part * EN_STRIP_ROWS + r];
}

static void weights_are_those_of_the_blocks(void **state)
{
    (void)state;
    static float w[MOST_COLS];
    for (int t = 0; t < N_TYPES; t++)
        for (size_t n_blocks = 1; n_blocks <= 9; n_blocks += 4) {
            size_t n_cols = columns(types[t], n_blocks);
            en_scaled_units units = draw_units(types[t], n_cols);
            for (unsigned r = 0; r < EN_STRIP_ROWS; r++) {
                ref->dequantize[types[t]](rows[r], w, n_cols);
                for (size_t k = 0; k < n_cols; k++) /* f32 rounds what dequantizing adds up */
                    assert_true(fabs(weight(&units, r, k) - (double)w[k]) <= 1e-4);
            }
        }
}

static void check(int variant, const en_scaled_units *units, uint32_t type, size_t n_cols,
                  const en_block_vector *x, size_t n_vectors)
{
    size_t n_out = n_vectors * EN_STRIP_ROWS, n_units = n_cols / EN_UNIT_COLS;
    float expected[MANY * EN_STRIP_ROWS], alone[EN_STRIP_ROWS];
    float *out = place(OUT, n_out * sizeof *out);
    for (size_t i = 0; i < n_out; i++)
        out[i] = expected[i] = (float)(i % 5);
    en_scaled_dot_ref(units, n_units, x, n_vectors, expected);
    variants[variant].dot_scaled(units, n_units, x, n_vectors, out);
    check_canary(out);
    for (size_t v = 0; v < n_vectors; v++) {
        for (unsigned r = 0; r < EN_STRIP_ROWS; r++) {
            size_t i = v * EN_STRIP_ROWS + r;
            double magnitude, exact = exact_product(type, rows[r], n_cols, &x[v], &magnitude);
            assert_true(fabs((double)expected[i] - (double)(i % 5) - exact) <=
                        1e-6 * magnitude + 1);
            if (!(fabs((double)out[i] - (double)expected[i]) <= 1e-5 * magnitude + 1))
                fail_msg("%s, %s, %zu columns, vector %zu of %zu, row %u: %g instead of %g",
                         variant_names[variant], en_dtype_get(type)->name, n_cols, v, n_vectors, r,
                         (double)out[i], (double)expected[i]);
            alone[r] = (float)(i % 5);
        }
        variants[variant].dot_scaled(units, n_units, &x[v], 1, alone);
        assert_memory_equal(alone, out + v * EN_STRIP_ROWS, sizeof alone); /* bit for bit */
    }
}

static void products_equal_reference(void **state)
{
    (void)state;
    en_block_vector x[MANY];
    for (int t = 0; t < N_TYPES; t++)
        for (size_t n_vectors = 1; n_vectors <= MANY; n_vectors++) {
            size_t n_cols = columns(types[t], 1 + draw() % 9);
            en_scaled_units units = draw_units(types[t], n_cols);
            draw_vectors(n_vectors, n_cols, x);
            for (int i = 0; i < n_variants; i++)
                if (variants[i].dot_scaled != NULL)
                    check(i, &units, types[t], n_cols, x, n_vectors);
        }
}

/* More units than a kernel takes at a time. */
static void long_rows_too(void **state)
{
    (void)state;
    en_block_vector x[5];
    for (int t = 0; t < N_TYPES; t++) {
        en_scaled_units units = draw_units(types[t], MOST_COLS);
        draw_vectors(5, MOST_COLS, x);
        for (int i = 0; i < n_variants; i++)
            if (variants[i].dot_scaled != NULL)
                check(i, &units, types[t], MOST_COLS, x, 5);
    }
}

/* What is no number must not come out as one. */
static void broken_scales_show(void **state)
{
    (void)state;
    en_block_vector x[1];
    size_t n_cols = 256;
    for (int t = 0; t < N_TYPES; t++) {
        en_scaled_units units = draw_units(types[t], n_cols);
        uint8_t *row = rows[3];
        int first, second;
        half_places(types[t], &first, &second);
        en_store16(row + first, 0x7c00); /* infinite */
        en_scaled_take_apart(types[t], row, n_cols, 3, &units);
        draw_vectors(1, n_cols, x);
        for (int i = 0; i < n_variants; i++) {
            float out[EN_STRIP_ROWS] = {0};
            if (variants[i].dot_scaled == NULL)
                continue;
            variants[i].dot_scaled(&units, n_cols / EN_UNIT_COLS, x, 1, out);
            for (unsigned r = 0; r < EN_STRIP_ROWS; r++)
                assert_true(isfinite(out[r]) == (r != 3));
        }
    }
}

static int set_up(void **state)
{
    (void)state;
    return test_kernels_open(N_REGIONS, REGION);
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned r = 0; r < EN_STRIP_ROWS; r++)
        free(rows[r]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_blocks),
        cmocka_unit_test(products_equal_reference),
        cmocka_unit_test(long_rows_too),
        cmocka_unit_test(broken_scales_show),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
