/*
 * test_watersic.c - rounding with feedback against its definition in double, and the errors it tells.
 */
#include "quant/watersic.h"

#include <math.h>
#include <stdlib.h>

#include "quant/row_blocks.h"
#include "test_support.h"
#include "watersic_support.h"

/* ---- one side ---------------------------------------------------------------------------- */

static void follows_the_definition(void **state)
{
    (void)state;
    const size_t shapes[][2] = {{1, 1},   {1, 70}, {70, 1},  {3, 16},   {40, 17},
                                {33, 64}, {8, 65}, {96, 80}, {50, 130}, {200, 200}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        test_watersic t = test_watersic_make(shapes[s][0], shapes[s][1], s);
        /* Of many fine integers some lie so near a half that f32 decides, and all behind them follow. */
        double most = t.p.n_rows * t.p.n_cols < 10000 ? 7 : 4;
        for (double bits = 1; bits <= most; bits += 3)
            test_watersic_follows(&t, test_watersic_step(&t, bits));
        test_watersic_drop(&t);
    }
}

/* More than one super-block, and more than one piece of rows. */
static void follows_the_definition_when_large(void **state)
{
    (void)state;
    test_watersic wide = test_watersic_make(12, 1100, 1), tall = test_watersic_make(2500, 70, 2);
    test_watersic_follows(&wide, test_watersic_step(&wide, 3));
    test_watersic_follows(&tall, test_watersic_step(&tall, 3));
    test_watersic_drop(&wide);
    test_watersic_drop(&tall);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    test_watersic a = test_watersic_make(3000, 100, 3), b = test_watersic_make(3000, 100, 3);
    assert_int_equal(en_pool_new(&b.p.pool, 3, NULL), ENTRO_OK);
    double c = test_watersic_step(&a, 3);
    assert_int_equal(test_watersic_solve(&a, c), ENTRO_OK);
    assert_int_equal(test_watersic_solve(&b, c), ENTRO_OK);
    assert_memory_equal(a.z, b.z, 3000 * 100 * sizeof *a.z);
    assert_memory_equal(a.row_steps, b.row_steps, 3000 * sizeof *a.row_steps);
    assert_memory_equal(a.col_scales, b.col_scales, 100 * sizeof *a.col_scales);
    assert_true(a.result.error == b.result.error);
    en_pool_free(b.p.pool);
    test_watersic_drop(&a);
    test_watersic_drop(&b);
}

/* Of plain rounding of w r L[j][j] to steps of c, without feedback. */
static double error_of_rounding(test_watersic *t, double c)
{
    const size_t n = t->p.n_cols;
    float *r = malloc(t->p.n_rows * sizeof *r);
    en_watersic_row_weights(&t->p, r);
    for (size_t i = 0; i < t->p.n_rows; i++)
        t->row_steps[i] = 1 / r[i];
    for (size_t j = 0; j < n; j++)
        t->col_scales[j] = (float)(c / (double)t->factor[j * n + j]);
    for (size_t i = 0; i < t->p.n_rows; i++)
        for (size_t j = 0; j < n; j++)
            t->z[i * n + j] = (int32_t)rint((double)t->weights[i * n + j] /
                                            ((double)t->row_steps[i] * (double)t->col_scales[j]));
    double error = test_watersic_error_by(t, r);
    free(r);
    return error;
}

static void feedback_and_refit_lower_the_error(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(100, 150, 4);
    for (double bits = 1.5; bits < 6; bits += 1.5) {
        double c = test_watersic_step(&t, bits);
        double rounded = error_of_rounding(&t, c);
        t.p.keep_rows = true;
        assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
        double fed_back = t.result.error;
        t.p.keep_rows = false;
        assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
        double refitted = t.result.error, error = test_watersic_error(&t);
        assert_true(fed_back < 0.8 * rounded);
        assert_true(refitted <= fed_back * (1 + 1e-6));
        assert_true(fabs(refitted - error) <= 0.01 * error);
        /* No neighbour of a row's step is better. */
        for (size_t i = 0; i < t.p.n_rows; i += 17)
            for (double move = 0.995; move < 1.01; move += 0.01) {
                float step = t.row_steps[i];
                t.row_steps[i] = (float)((double)step * move);
                assert_true(test_watersic_error(&t) > error * (1 - 1e-9));
                t.row_steps[i] = step;
            }
    }
    test_watersic_drop(&t);
}

/* Errors of fine steps are small beside what rounding of scales to f16 adds: it must be in the sum. */
static void errors_are_right_at_any_rate(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(60, 90, 5);
    for (double bits = 0.05; bits < 14; bits *= 1.7) {
        for (int keep = 0; keep < 2; keep++) {
            t.p.keep_rows = keep;
            assert_int_equal(test_watersic_solve(&t, test_watersic_step(&t, bits)), ENTRO_OK);
            double error = test_watersic_error(&t);
            assert_true(fabs(t.result.error - error) <= 0.01 * error);
        }
    }
    test_watersic_drop(&t);
}

/* ---- two sides --------------------------------------------------------------------------- */

/* A gradients' covariance for each block: neighbours alike, sizes as different as the importances'. */
static float *make_row_factor(const test_watersic *t)
{
    float *m = malloc(en_row_blocks_floats(t->p.n_rows) * sizeof *m), *at = m;
    for (size_t b = 0; b < en_row_blocks(t->p.n_rows); b++) {
        size_t first = en_row_block_first(t->p.n_rows, b);
        size_t n = en_row_block_first(t->p.n_rows, b + 1) - first;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                at[i * n + k] = (float)(1e-4 * exp(0.1 * (double)((i + k) % 5)) *
                                        pow(0.7, fabs((double)i - (double)k)));
        const en_covariance_ridge some = {0, 0.05};
        assert_int_equal(en_cholesky(at, n, &some, NULL, NULL), ENTRO_OK);
        at += n * n;
    }
    return m;
}

/* 1/2 |M^T (W - W') L|^2, in double. */
static double two_sided_error(const test_watersic *t, const float *m)
{
    const size_t n = t->p.n_cols;
    double sum = 0;
    for (size_t b = 0; b < en_row_blocks(t->p.n_rows); b++) {
        size_t first = en_row_block_first(t->p.n_rows, b);
        size_t rows = en_row_block_first(t->p.n_rows, b + 1) - first;
        double *e = calloc(rows * n, sizeof *e); /* (W - W') L */
        for (size_t i = 0; i < rows; i++)
            for (size_t k = 0; k < n; k++) {
                size_t at = (first + i) * n + k;
                double d = (double)t->weights[at] - (double)t->row_steps[first + i] *
                                                        (double)t->z[at] * (double)t->col_scales[k];
                for (size_t j = 0; j <= k; j++)
                    e[i * n + j] += d * (double)t->factor[k * n + j];
            }
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < n; j++) {
                double s = 0;
                for (size_t k = i; k < rows; k++)
                    s += (double)m[k * rows + i] * e[k * n + j];
                sum += 0.5 * s * s;
            }
        free(e);
        m += rows * rows;
    }
    return sum;
}

/* Rows that hang together are rounded in view of each other: the error is told right, and is smaller than
 * that of the same step without, at about the same bits. */
static void two_sides_are_better_than_one(void **state)
{
    (void)state;
    const size_t shapes[][2] = {{1, 1}, {33, 20}, {64, 96}, {100, 50}, {1100, 24}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        test_watersic t = test_watersic_make(shapes[s][0], shapes[s][1], 20 + s);
        float *m = make_row_factor(&t);
        t.p.row_factor = m;
        double ratios = 0; /* of three rates: each by itself moves by a percent or two */
        for (double bits = 2; bits <= 5; bits += 1.5) {
            double c = test_watersic_step(&t, bits);
            assert_int_equal(test_watersic_solve(&t, c), ENTRO_OK);
            double both = two_sided_error(&t, m), entropy = test_watersic_entropy(&t);
            assert_true(fabs(t.result.error - both) <= 0.01 * both);
            /* one-sided, each row weighted by what it matters by itself */
            float *g = malloc(t.p.n_rows * sizeof *g), *at = m;
            for (size_t b = 0; b < en_row_blocks(t.p.n_rows); b++) {
                size_t first = en_row_block_first(t.p.n_rows, b);
                size_t n = en_row_block_first(t.p.n_rows, b + 1) - first;
                for (size_t i = 0; i < n; i++) {
                    double sum = 0;
                    for (size_t k = 0; k <= i; k++)
                        sum += (double)at[i * n + k] * (double)at[i * n + k];
                    g[first + i] = (float)sum;
                }
                at += n * n;
            }
            test_watersic one = t;
            one.p.row_factor = NULL;
            one.p.importance = g;
            one.p.keep_rows = true;
            assert_int_equal(test_watersic_solve(&one, c), ENTRO_OK);
            double alone = two_sided_error(&one, m), more = test_watersic_entropy(&one) - entropy;
            ratios += both / (alone * exp2(2 * more)) / 3; /* errors count four times for a bit */
            free(g);
        }
        if (t.p.n_rows > 60 && ratios > 0.88)
            fail_msg("%zu rows: %.3f of the error", t.p.n_rows, ratios);
        free(m);
        test_watersic_drop(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_definition),
        cmocka_unit_test(follows_the_definition_when_large),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(feedback_and_refit_lower_the_error),
        cmocka_unit_test(errors_are_right_at_any_rate),
        cmocka_unit_test(two_sides_are_better_than_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
