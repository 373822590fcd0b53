/* test_class_choice.c - rows and columns of like spread stand together, for any number of threads. */
#include "pipeline/class_choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test_support.h"

static double gaussian(uint64_t *state)
{
    double sum = 0; /* of twelve uniform ones: near enough */
    for (int i = 0; i < 12; i++)
        sum += (double)(test_random(state) >> 11) * 0x1p-53;
    return sum - 6;
}

/* Every third column and every fourth row is wider. */
static int32_t *make(size_t n_rows, size_t n_cols, double col_factor, double row_factor)
{
    int32_t *z = malloc(n_rows * n_cols * sizeof *z);
    uint64_t seed = 5;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_cols; k++)
            z[r * n_cols + k] = (int32_t)lrint(gaussian(&seed) * (k % 3 == 0 ? col_factor : 1) *
                                               (r % 4 == 0 ? row_factor : 1));
    return z;
}

static en_strip_classes choose(const int32_t *z, size_t n_rows, size_t n_cols, uint32_t n_threads)
{
    en_job job;
    en_strip_classes c;
    assert_int_equal(en_job_open(&job, n_threads, NULL, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_strip_classes_choose(&c, z, n_rows, n_cols, false, &job, NULL), ENTRO_OK);
    en_job_close(&job);
    return c;
}

static void assert_order(const uint32_t *order, size_t n, const uint32_t *ends, uint32_t n_classes,
                         uint32_t unit)
{
    uint8_t *seen = calloc(n, 1);
    size_t first = 0;
    for (uint32_t c = 0; c < n_classes; c++) {
        size_t end = (size_t)ends[c] * unit < n ? (size_t)ends[c] * unit : n;
        assert_true(end > first);
        for (size_t i = first; i < end; i++) {
            assert_true(order[i] < n && !seen[order[i]]);
            seen[order[i]] = 1;
            assert_true(i == first || order[i] > order[i - 1]);
        }
        first = end;
    }
    assert_int_equal(first, n);
    free(seen);
}

static void unlike_columns_and_rows_part(void **state)
{
    (void)state;
    const size_t n_rows = 400, n_cols = 600;
    int32_t *z = make(n_rows, n_cols, 6, 3);
    en_strip_classes c = choose(z, n_rows, n_cols, 1), same = choose(z, n_rows, n_cols, 3);
    assert_true(c.n_col_classes >= 2 && c.n_row_classes >= 2);
    assert_order(c.col_order, n_cols, c.col_class_end, c.n_col_classes, EN_UNIT_COLS);
    assert_order(c.row_order, n_rows, c.row_class_end, c.n_row_classes, EN_STRIP_ROWS);
    size_t wide = 0; /* of the 200 wide columns, those in the last class */
    for (size_t k = (size_t)c.col_class_end[c.n_col_classes - 2] * EN_UNIT_COLS; k < n_cols; k++)
        wide += c.col_order[k] % 3 == 0;
    assert_true(wide >= 150);
    assert_int_equal(same.n_col_classes, c.n_col_classes);
    assert_memory_equal(same.col_order, c.col_order, n_cols * sizeof *c.col_order);
    assert_memory_equal(same.row_order, c.row_order, n_rows * sizeof *c.row_order);
    en_strip_classes_free(&c);
    en_strip_classes_free(&same);
    free(z);
}

static void like_ones_stay_together(void **state)
{
    (void)state;
    const size_t shapes[][2] = {{1, 1}, {1, 5000}, {3000, 1}, {17, 33}, {300, 300}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int32_t *z = make(shapes[i][0], shapes[i][1], 1, 1);
        en_strip_classes c = choose(z, shapes[i][0], shapes[i][1], 2);
        assert_int_equal(c.n_row_classes, 1);
        assert_int_equal(c.n_col_classes, 1);
        assert_null(c.row_order);
        assert_null(c.col_order);
        assert_int_equal(c.row_class_end[0], (shapes[i][0] + EN_STRIP_ROWS - 1) / EN_STRIP_ROWS);
        assert_int_equal(c.col_class_end[0], (shapes[i][1] + EN_UNIT_COLS - 1) / EN_UNIT_COLS);
        en_strip_classes_free(&c);
        free(z);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unlike_columns_and_rows_part),
        cmocka_unit_test(like_ones_stay_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
