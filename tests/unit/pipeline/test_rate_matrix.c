/* test_rate_matrix.c - bits expected of a matrix, from bins of spreads, against sums over all of them. */
#include "pipeline/rate_matrix.h"

#include <math.h>

#include "base/memory.h"
#include "quant/watersic.h"
#include "test_support.h"

enum { MOST_ROWS = 700, MOST_COLS = 300 };

static float rows[MOST_ROWS], cols[MOST_COLS];

/* Spreads over several octaves, in no order. */
static void draw(size_t n_rows, size_t n_cols, double octaves)
{
    uint64_t seed = 3;
    for (size_t i = 0; i < n_rows; i++)
        rows[i] = (float)exp2(octaves * ((double)(test_random(&seed) >> 11) * 0x1p-53 - 0.5));
    for (size_t k = 0; k < n_cols; k++)
        cols[k] = (float)exp2(3 * ((double)(test_random(&seed) >> 11) * 0x1p-53 - 0.5));
}

static double bits_of_all(size_t n_rows, size_t n_cols, double c)
{
    double bits = 0;
    for (size_t i = 0; i < n_rows; i++)
        for (size_t k = 0; k < n_cols; k++)
            bits += en_normal_entropy((double)rows[i] * (double)cols[k] / c);
    return bits / (double)n_rows / (double)n_cols;
}

static void bins_stand_for_all(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {1, 300}, {700, 1}, {33, 65}, {700, 300}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (double octaves = 0; octaves <= 6; octaves += 3) {
            size_t n_rows = sizes[i][0], n_cols = sizes[i][1];
            en_rate_matrix m;
            draw(n_rows, n_cols, octaves);
            assert_int_equal(en_rate_matrix_set(&m, n_rows, n_cols, rows, cols, NULL), ENTRO_OK);
            for (double c = 0.01; c < 10; c *= 3)
                assert_true(fabs(en_rate_matrix_bits(&m, c) - bits_of_all(n_rows, n_cols, c)) <
                            5e-3);
        }
}

/* One spread for all rows would expect more. */
static void rows_that_differ_take_less(void **state)
{
    (void)state;
    en_rate_matrix one, each;
    draw(MOST_ROWS, MOST_COLS, 6);
    double square = 0;
    for (size_t i = 0; i < MOST_ROWS; i++)
        square += (double)rows[i] * (double)rows[i] / MOST_ROWS;
    for (size_t i = 0; i < MOST_ROWS; i++)
        rows[i] = (float)((double)rows[i] / sqrt(square));
    const float same = 1;
    assert_int_equal(en_rate_matrix_set(&each, MOST_ROWS, MOST_COLS, rows, cols, NULL), ENTRO_OK);
    assert_int_equal(en_rate_matrix_set(&one, 1, MOST_COLS, &same, cols, NULL), ENTRO_OK);
    assert_true(en_rate_matrix_bits(&each, 0.1) < en_rate_matrix_bits(&one, 0.1) - 0.5);
}

static void zeros_take_nothing(void **state)
{
    (void)state;
    en_rate_matrix m;
    static const float none[40];
    draw(40, 40, 1);
    assert_int_equal(en_rate_matrix_set(&m, 40, 40, none, cols, NULL), ENTRO_OK);
    assert_true(en_rate_matrix_bits(&m, 0.1) == 0);
    assert_int_equal(en_rate_matrix_set(&m, 40, 40, rows, none, NULL), ENTRO_OK);
    assert_true(en_rate_matrix_bits(&m, 0.1) == 0);
}

static void memory_may_be_out(void **state)
{
    (void)state;
    en_rate_matrix m;
    size_t before = en_memory_in_use();
    draw(50, 50, 1);
    for (uint64_t i = 0; i < 2; i++) {
        en_memory_fail_at(i);
        entro_status status = en_rate_matrix_set(&m, 50, 50, rows, cols, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_int_equal(status, ENTRO_ERR_NOMEM);
        assert_int_equal(en_memory_in_use(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_stand_for_all),
        cmocka_unit_test(rows_that_differ_take_less),
        cmocka_unit_test(zeros_take_nothing),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
