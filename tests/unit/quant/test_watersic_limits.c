/*
 * test_watersic_limits.c - what must hold for any matrix: scales, zeros, large integers, hostile values.
 */
#include "quant/watersic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "quant/method.h"
#include "test_support.h"
#include "watersic_support.h"

static void scales_are_halves_of_usual_size(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(50, 60, 8);
    float sizes[] = {1.0f, 1e-12f, 1e12f}; /* of importance: it cancels out of the product */
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < 50; i++)
            t.importance[i] *= sizes[s];
        assert_int_equal(test_watersic_solve(&t, test_watersic_step(&t, 3)), ENTRO_OK);
        assert_true(t.half);
        double error = test_watersic_error(&t);
        assert_true(fabs(t.result.error - error) <= 0.01 * error);
        for (size_t i = 0; i < 50; i++)
            assert_true(t.row_steps[i] == test_half((double)t.row_steps[i]) &&
                        t.row_steps[i] > 0x1p-14f && t.row_steps[i] < 0x1p12f);
        for (size_t j = 0; j < 60; j++)
            assert_true(t.col_scales[j] == test_half((double)t.col_scales[j]) &&
                        t.col_scales[j] > 0x1p-14f && t.col_scales[j] < 0x1p12f);
    }
    test_watersic_drop(&t);
}

static void scales_that_are_no_halves_stay(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(50, 60, 9);
    for (size_t j = 0; j < 60; j++) /* columns of H from 1e-12 to 1e12, H = L L^T as before */
        for (size_t k = 0; k < 60; k++) {
            double size = pow(10, (double)j / 5 - 6);
            t.h[j * 60 + k] *= (float)(size * pow(10, (double)k / 5 - 6));
            t.factor[j * 60 + k] *= (float)size;
        }
    test_watersic_follows(&t, test_watersic_step(&t, 3));
    assert_false(t.half);
    t.p.keep_rows = false;
    assert_int_equal(test_watersic_solve(&t, test_watersic_step(&t, 3)), ENTRO_OK);
    assert_false(t.half);
    double error = test_watersic_error(&t);
    assert_true(fabs(t.result.error - error) <= 0.01 * error);
    test_watersic_drop(&t);
}

static void zeros_stay_zeros(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(40, 50, 10);
    double c = test_watersic_step(&t, 3);
    memset(t.weights + 5 * 50, 0, 50 * sizeof *t.weights);
    for (size_t i = 0; i < 40; i++) /* the last one gets no feedback */
        t.weights[i * 50 + 49] = 0;
    memset(t.importance, 0, 40 * sizeof *t.importance);
    assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
    for (size_t j = 0; j < 50; j++)
        assert_int_equal(t.z[5 * 50 + j], 0);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(t.z[i * 50 + 49], 0);
    assert_true(isfinite(t.col_scales[49]) && t.col_scales[49] > 0);
    assert_true(isfinite(t.row_steps[5]) && t.row_steps[5] > 0);
    memset(t.weights, 0, 40 * 50 * sizeof *t.weights);
    assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
    assert_true(t.half && t.result.error == 0);
    for (size_t i = 0; i < 40 * 50; i++)
        assert_int_equal(t.z[i], 0);
    test_watersic_drop(&t);
}

/* Weights of 100,000 steps, as super weights are, beside usual ones. */
static void large_integers_lose_nothing(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(30, 40, 11);
    double c = test_watersic_step(&t, 3);
    t.weights[4 * 40 + 20] = 400.0f;
    test_watersic_follows(&t, c);
    t.p.keep_rows = false;
    assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
    assert_true(labs(t.z[4 * 40 + 20]) > 10000);
    test_watersic one = test_watersic_make(1, 1, 12);
    one.p.importance = NULL;
    double unit = (double)one.weights[0] * (double)one.factor[0] / EN_QUANT_MAX_INTEGER;
    assert_int_equal(test_watersic_solve(&one, fabs(unit) * 1.01), ENTRO_OK);
    assert_true(abs(one.z[0]) > EN_QUANT_MAX_INTEGER / 100 * 98);
    assert_true(fabs((double)one.z[0] * (double)one.row_steps[0] * (double)one.col_scales[0] -
                     (double)one.weights[0]) < 1e-3 * fabs((double)one.weights[0]));
    assert_int_equal(test_watersic_solve(&one, fabs(unit) * 0.99), ENTRO_ERR_UNSUPPORTED);
    test_watersic_drop(&t);
    test_watersic_drop(&one);
}

static void assert_named(test_watersic *t, double c, const char *place)
{
    entro_error err = {0};
    assert_int_equal(en_watersic(&t->p, c, &t->result, &t->half, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, place));
}

static void refuses_what_is_no_number(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    test_watersic t = test_watersic_make(20, 30, 13);
    double c = test_watersic_step(&t, 3);
    for (size_t i = 0; i < 3; i++) {
        float *places[] = {&t.weights[7 * 30 + 29], &t.factor[9 * 30 + 4], &t.importance[19],
                           &t.factor[11 * 30 + 11]};
        const char *names[] = {"row 7, column 29", "row 9, column 4", "row 19",
                               "row 11, column 11"};
        for (size_t k = 0; k < 4; k++) {
            float kept = *places[k];
            *places[k] = bad[i];
            assert_named(&t, c, names[k]);
            *places[k] = kept;
        }
    }
    float kept = t.factor[3 * 30 + 3];
    t.factor[3 * 30 + 3] = 0;
    assert_named(&t, c, "diagonal's 3");
    t.factor[3 * 30 + 3] = kept;
    t.importance[2] = -1;
    assert_named(&t, c, "row 2");
    t.importance[2] = 1;
    t.factor[3 * 30 + 4] = NAN; /* above the diagonal: not looked at */
    assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
    assert_true(isfinite(t.result.error));
    test_watersic_drop(&t);
}

static void refuses_steps_and_sizes_of_no_use(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(20, 30, 14);
    const double none[] = {0, -1, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(test_watersic_solve(&t, none[i]), ENTRO_ERR_ARGUMENT);
    const double fine[] = {1e-30, 1e-300, DBL_TRUE_MIN, 1e300};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(test_watersic_solve(&t, fine[i]), ENTRO_ERR_UNSUPPORTED);
    assert_int_equal(test_watersic_solve(&t, 1e6), ENTRO_OK);
    assert_int_equal(t.z[0], 0);
    for (size_t i = 0; i < 20 * 30; i++)
        t.weights[i] = i % 2 ? FLT_MAX : -FLT_MAX;
    assert_int_equal(test_watersic_solve(&t, 1e-3), ENTRO_ERR_UNSUPPORTED);
    for (size_t i = 0; i < 20 * 30; i++)
        t.weights[i] = FLT_TRUE_MIN;
    assert_int_equal(test_watersic_solve(&t, 1e-3), ENTRO_OK);
    t.p.n_rows = 0;
    assert_int_equal(test_watersic_solve(&t, 1), ENTRO_ERR_ARGUMENT);
    t.p.n_rows = 20;
    t.p.n_cols = 0;
    assert_int_equal(test_watersic_solve(&t, 1), ENTRO_ERR_ARGUMENT);
    test_watersic_drop(&t);
}

static void survives_every_failing_allocation(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(20, 30, 15);
    double c = test_watersic_step(&t, 3);
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    uint64_t n = 0;
    for (; status == ENTRO_ERR_NOMEM; n++) {
        en_memory_fail_at(n);
        status = test_watersic_solve(&t, c);
        en_memory_fail_at(UINT64_MAX);
        assert_int_equal(en_memory_in_use(), before);
    }
    assert_int_equal(status, ENTRO_OK);
    assert_true(n > 8);
    test_watersic_drop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_are_halves_of_usual_size),
        cmocka_unit_test(scales_that_are_no_halves_stay),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(large_integers_lose_nothing),
        cmocka_unit_test(refuses_what_is_no_number),
        cmocka_unit_test(refuses_steps_and_sizes_of_no_use),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
