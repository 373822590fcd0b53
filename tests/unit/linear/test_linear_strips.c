/*
 * test_linear_strips.c - products with matrices in codings 2 and 4 against sums in double; coded, packed,
 * any number of threads and of tokens give the same bits.
 */
#include "test_support.h"

#include <math.h>

#include "base/hash.h"
#include "base/memory.h"
#include "linear/linear.h"
#include "strip_matrix_support.h"

/* 15 bits an input: a relative error of 1e-4 of sum |w| max |x| at the very most. */
static void check_values(const test_matrix *m, const char *what, const float *x, const test_run *r)
{
    uint64_t n_rows = m->linear.n_rows, n_cols = m->linear.n_cols;
    for (size_t t = 0; t < MAX_TOKENS; t++) {
        const float *xt = x + t * (n_cols + TEST_X_GAP), *y = r->y[0] + t * (n_rows + 1);
        assert_true(y[n_rows] == 12345.0f);
        for (uint64_t row = 0; row < n_rows; row++) {
            double sum = 0, most = 0, size = 0;
            for (uint64_t k = 0; k < n_cols; k++) {
                double w = m->weights[row * n_cols + k];
                sum += w * (double)xt[k];
                size += fabs(w);
                most = fmax(most, fabs((double)xt[k]));
            }
            double error = fabs((double)y[row] - sum);
            if (!(error <= 1e-4 * size * most))
                fail_msg("%s: token %zu, row %zu: %.9g instead of %.9g", what, t, (size_t)row,
                         (double)y[row], sum);
        }
    }
}

static void products_are_right_and_the_same_in_every_way(void **state)
{
    (void)state;
    for (int i = 0; i < N_TEST_SHAPES; i++) {
        test_matrix m;
        test_matrix_make(&m, &test_shapes[i]);
        float *x = test_inputs(m.linear.n_cols);
        test_run all = test_apply(&m.linear, x, MAX_TOKENS, 1);
        check_values(&m, test_shapes[i].what, x, &all);
        test_same_in_every_way(&m.linear, x, &all);
        test_matrix_pack(&m, 1 + (uint32_t)i % 3);
        test_same_in_every_way(&m.linear, x, &all);
        test_run_free(&all, 1);
        en_free(x);
        test_matrix_free(&m);
    }
}

/* Bits that were there when this was written, on x86 and ARM. */
static void results_are_the_same_on_every_processor(void **state)
{
    (void)state;
    uint64_t hash = 0, of_strips = 0;
    test_strip_random = 11;
    for (int i = 0; i < N_TEST_SHAPES; i++) {
        test_matrix m;
        test_matrix_make(&m, &test_shapes[i]);
        float *x = test_inputs(m.linear.n_cols);
        test_run r = test_apply(&m.linear, x, 9, 2);
        hash = hash * 31 + en_hash64(r.y[0], r.n_floats[0] * sizeof(float));
        of_strips = test_shapes[i].is_rans ? of_strips : hash;
        test_run_free(&r, 1);
        en_free(x);
        test_matrix_free(&m);
    }
    if (of_strips != UINT64_C(0xce5a846677cc3aca) || hash != UINT64_C(0xe4282d92a6e55b71))
        fail_msg("0x%016llx, 0x%016llx", (unsigned long long)of_strips, (unsigned long long)hash);
}

static void modes_differ_between_classes(void **state)
{
    (void)state;
    bool narrow = false, wide = false;
    test_matrix m;
    test_matrix_make(&m, &test_shapes[8]);
    for (uint32_t i = 0; i < m.strips->n_row_classes * m.strips->n_col_classes; i++) {
        narrow = narrow || !en_strip_is_wide(m.strips->layouts[i].mode);
        wide = wide || en_strip_is_wide(m.strips->layouts[i].mode);
    }
    assert_true(narrow && wide); /* else the other tests show less than they say */
    test_matrix_free(&m);
}

static void fused_products_equal_single_ones(void **state)
{
    (void)state;
    static const test_shape three[] = {
        {"a", 100, 301, 2, 2, .spread = 5, .one_in = 300},
        {"b", 60, 301, 1, 3, .spread = 25, .cols_moved = true, .scaled = true},
        {"c", 33, 301, 1, 1, .spread = 2},
    };
    test_matrix m[3];
    const en_linear *linears[3];
    for (int i = 0; i < 3; i++) {
        test_matrix_make(&m[i], &three[i]);
        linears[i] = &m[i].linear;
    }
    test_matrix_pack(&m[2], 1);
    float *x = test_inputs(301);
    for (size_t n_tokens = 1; n_tokens <= 9; n_tokens += 4) {
        test_run fused;
        assert_int_equal(test_try_apply(&fused, linears, 3, x, n_tokens, 3, NULL), ENTRO_OK);
        for (int i = 0; i < 3; i++) {
            test_run single = test_apply(linears[i], x, n_tokens, 2);
            assert_memory_equal(fused.y[i], single.y[0], single.n_floats[0] * sizeof(float));
            test_run_free(&single, 1);
        }
        test_run_free(&fused, 3);
    }
    en_free(x);
    for (int i = 0; i < 3; i++)
        test_matrix_free(&m[i]);
}

static void odd_inputs_are_survived(void **state)
{
    (void)state;
    test_matrix m;
    test_matrix_make(&m, &test_shapes[0]);
    float *x = test_inputs(m.linear.n_cols);
    size_t stride = m.linear.n_cols + TEST_X_GAP;
    memset(x, 0, stride * sizeof *x);
    x[stride + 3] = NAN;
    x[2 * stride] = -INFINITY;
    x[3 * stride] = 3e38f;
    for (size_t k = 0; k < stride; k++)
        x[4 * stride + k] = 1e-42f;
    test_run r = test_apply(&m.linear, x, 6, 2);
    for (size_t row = 0; row < m.linear.n_rows; row++) {
        const float *y = r.y[0] + row;
        assert_true(y[0] == 0.0f);
        assert_true(isnan(y[m.linear.n_rows + 1]) && isnan(y[2 * (m.linear.n_rows + 1)]));
        assert_true(fabsf(y[4 * (m.linear.n_rows + 1)]) < 1e-30f);
        assert_true(isfinite(y[5 * (m.linear.n_rows + 1)]));
    }
    test_run_free(&r, 1);
    en_free(x);
    test_matrix_free(&m);
}

/* ---- rows -------------------------------------------------------------------------------- */

static void rows_are_read(void **state)
{
    (void)state;
    for (int i = 0; i < N_TEST_SHAPES; i++)
        for (int packed = 0; packed < 2; packed++) {
            test_matrix m;
            test_matrix_make(&m, &test_shapes[i]);
            if (packed)
                test_matrix_pack(&m, 2);
            const en_linear *linear = &m.linear;
            en_linear_scratch *scratch = NULL;
            assert_int_equal(en_linear_scratch_new(&scratch, &linear, 1, 1, NULL), ENTRO_OK);
            float *row = en_alloc(m.linear.n_cols, sizeof *row);
            for (uint64_t r = 0; r < m.linear.n_rows; r += 1 + m.linear.n_rows / 90) {
                assert_int_equal(en_linear_read_row(linear, r, row, scratch, NULL), ENTRO_OK);
                for (uint64_t k = 0; k < m.linear.n_cols; k++)
                    assert_true(row[k] == (float)m.weights[r * m.linear.n_cols + k]);
            }
            assert_int_equal(en_linear_read_row(linear, m.linear.n_rows, row, scratch, NULL),
                             ENTRO_ERR_ARGUMENT);
            en_free(row);
            en_linear_scratch_free(scratch);
            test_matrix_free(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right_and_the_same_in_every_way),
        cmocka_unit_test(results_are_the_same_on_every_processor),
        cmocka_unit_test(modes_differ_between_classes),
        cmocka_unit_test(fused_products_equal_single_ones),
        cmocka_unit_test(odd_inputs_are_survived),
        cmocka_unit_test(rows_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
