/*
 * test_watersic.c - rounding with feedback against its definition in double, and what must hold for any
 * matrix: errors, bits, scales, hostile values.
 */
#include "quant/watersic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "entropy/integer_counts.h"
#include "kernels/kernels.h"
#include "quant/cholesky.h"
#include "quant/method.h"
#include "quant/row_blocks.h"
#include "tensor/half.h"
#include "test_support.h"

/* ---- problems ---------------------------------------------------------------------------- */

typedef struct problem {
    en_watersic_problem p;
    float *weights, *importance, *factor, *h;
    int32_t *z;
    float *row_steps, *col_scales;
    en_watersic_result result;
    bool half;
} problem;

static double gaussian(uint64_t *state)
{
    double u = (double)(test_random(state) >> 11) * 0x1p-53 + 1e-18;
    double v = (double)(test_random(state) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* Gaussian weights; inputs of very different sizes, each like its neighbours; rows that matter from
 * nothing to a lot. */
static problem make(size_t n_rows, size_t n_cols, uint64_t seed)
{
    problem t = {0};
    seed = seed * 977 + 12345;
    t.weights = malloc(n_rows * n_cols * sizeof *t.weights);
    t.importance = malloc(n_rows * sizeof *t.importance);
    t.factor = malloc(n_cols * n_cols * sizeof *t.factor);
    t.h = malloc(n_cols * n_cols * sizeof *t.h);
    t.z = malloc(n_rows * n_cols * sizeof *t.z);
    t.row_steps = malloc(n_rows * sizeof *t.row_steps);
    t.col_scales = malloc(n_cols * sizeof *t.col_scales);
    for (size_t i = 0; i < n_rows * n_cols; i++)
        t.weights[i] = (float)(0.02 * gaussian(&seed));
    for (size_t i = 0; i < n_rows; i++)
        t.importance[i] = i % 7 == 3 ? 0.0f : (float)(1e-4 * exp(gaussian(&seed)));
    double *size = malloc(n_cols * sizeof *size);
    for (size_t j = 0; j < n_cols; j++)
        size[j] = exp(gaussian(&seed));
    for (size_t i = 0; i < n_cols; i++)
        for (size_t k = 0; k < n_cols; k++)
            t.h[i * n_cols + k] =
                (float)(size[i] * size[k] * pow(0.8, fabs((double)i - (double)k)));
    free(size);
    memcpy(t.factor, t.h, n_cols * n_cols * sizeof *t.h);
    const en_covariance_ridge none = {0, 0};
    assert_int_equal(en_cholesky(t.factor, n_cols, &none, NULL, NULL), ENTRO_OK);
    t.p = (en_watersic_problem){.n_rows = n_rows,
                                .n_cols = n_cols,
                                .weights = t.weights,
                                .importance = t.importance,
                                .factor = t.factor};
    t.result = (en_watersic_result){t.z, t.row_steps, t.col_scales, 0};
    return t;
}

static void drop(problem *t)
{
    free(t->weights);
    free(t->importance);
    free(t->factor);
    free(t->h);
    free(t->z);
    free(t->row_steps);
    free(t->col_scales);
}

static entro_status solve(problem *t, double c)
{
    return en_watersic(&t->p, c, &t->result, &t->half, NULL);
}

/* The step at which this many bits are expected. */
static double step_for(const problem *t, double bits)
{
    float *spread = malloc(t->p.n_cols * sizeof *spread), *r = malloc(t->p.n_rows * sizeof *r);
    en_watersic_row_weights(&t->p, r);
    en_watersic_spreads(&t->p, r, spread);
    free(r);
    double lo = -60, hi = 60;
    for (int i = 0; i < 60; i++) {
        double middle = (lo + hi) / 2;
        if (en_watersic_expected_bits(spread, t->p.n_cols, exp2(middle)) > bits)
            lo = middle;
        else
            hi = middle;
    }
    free(spread);
    return exp2(lo);
}

/* 1/2 sum_i r_i^2 (w - w') H (w - w')^T by the letter. */
static double true_error(const problem *t, const float *r)
{
    const size_t n = t->p.n_cols;
    double sum = 0, *d = malloc(n * sizeof *d);
    for (size_t i = 0; i < t->p.n_rows; i++) {
        for (size_t j = 0; j < n; j++)
            d[j] = (double)t->weights[i * n + j] -
                   (double)t->row_steps[i] * (double)t->z[i * n + j] * (double)t->col_scales[j];
        double row = 0;
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < n; k++)
                row += d[j] * d[k] * (double)t->h[j * n + k];
        sum += 0.5 * (double)r[i] * (double)r[i] * row;
    }
    free(d);
    return sum;
}

static double error_of(const problem *t)
{
    float *r = malloc(t->p.n_rows * sizeof *r);
    en_watersic_row_weights(&t->p, r);
    double error = true_error(t, r);
    free(r);
    return error;
}

static double entropy_of(const problem *t)
{
    en_integer_counts *counts = malloc(sizeof *counts);
    double bits = 0; /* each column by itself: that is what is expected */
    int32_t *column = malloc(t->p.n_rows * sizeof *column);
    for (size_t j = 0; j < t->p.n_cols; j++) {
        for (size_t i = 0; i < t->p.n_rows; i++)
            column[i] = t->z[i * t->p.n_cols + j];
        en_integer_counts_clear(counts);
        en_integer_counts_add(counts, column, t->p.n_rows);
        bits += en_integer_counts_entropy(counts) / (double)t->p.n_cols;
    }
    free(column);
    free(counts);
    return bits;
}

/* ---- the definition ---------------------------------------------------------------------- */

static float half_of(double x)
{
    float x32 = (float)x;
    uint16_t half;
    en_kernels_get()->f32_to_f16(&x32, &half, 1);
    return en_half_to_f32(half);
}

/* Of two values of f16 equally far away, 'returned' is as good as the other: another one would change the
 * whole row behind it. */
static double nearest_half(double x, double returned)
{
    double nearest = (double)half_of(x);
    return fabs(returned - x) <= 1.001 * fabs(nearest - x) ? returned : nearest;
}

/* Column by column in double, with the row steps that were returned (they must not be refitted) and the
 * power of two between them and 1 / r. */
static void plain_watersic(const problem *t, double c, int32_t *z, double *scales)
{
    const size_t a = t->p.n_rows, n = t->p.n_cols;
    const float *l = t->factor;
    float *r = malloc(a * sizeof *r);
    double *y = calloc(a * n, sizeof *y);
    en_watersic_row_weights(&t->p, r);
    double unit = exp2(rint(log2((double)r[0] * (double)t->row_steps[0])));
    for (size_t i = 0; i < a; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j <= k; j++)
                y[i * n + j] +=
                    (double)t->weights[i * n + k] / (double)t->row_steps[i] * (double)l[k * n + j];
    c /= unit;
    for (size_t j = n; j-- > 0;) {
        double zy = 0, zz = 0;
        for (size_t i = 0; i < a; i++) {
            double q = rint(y[i * n + j] / c);
            z[i * n + j] = (int32_t)q;
            zy += q * y[i * n + j];
            zz += q * q;
        }
        scales[j] = zz > 0 ? zy / zz / (double)l[j * n + j] : 0;
        if (t->half)
            scales[j] = nearest_half(scales[j], (double)t->col_scales[j]);
        for (size_t i = 0; i < a; i++)
            for (size_t k = 0; k < j; k++)
                y[i * n + k] -= scales[j] * (double)z[i * n + j] * (double)l[j * n + k];
    }
    free(r);
    free(y);
}

static void assert_follows_definition(problem *t, double c)
{
    const size_t n = t->p.n_rows * t->p.n_cols;
    t->p.keep_rows = true;
    assert_int_equal(solve(t, c), ENTRO_OK);
    int32_t *z = malloc(n * sizeof *z);
    double *scales = malloc(t->p.n_cols * sizeof *scales);
    plain_watersic(t, c, z, scales);
    size_t n_different = 0;
    for (size_t i = 0; i < n; i++) {
        /* One number beside a half, and the rest of its row may be another. */
        n_different += z[i] != t->z[i];
        assert_true(labs((long)z[i] - t->z[i]) <= 2 + labs((long)z[i]) / 1000);
    }
    if (n_different * 1000 > n)
        fail_msg("%zu of %zu integers differ", n_different, n);
    for (size_t j = 0; j < t->p.n_cols; j++)
        if (scales[j] != 0)
            assert_true(fabs((double)t->col_scales[j] - scales[j]) <= 2e-3 * scales[j]);
    double error = error_of(t);
    assert_true(fabs(t->result.error - error) <= 0.01 * error);
    free(z);
    free(scales);
}

/* ---- two sides --------------------------------------------------------------------------- */

/* A gradients' covariance for each block: neighbours alike, sizes as different as the importances'. */
static float *make_row_factor(const problem *t)
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
static double two_sided_error(const problem *t, const float *m)
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
        problem t = make(shapes[s][0], shapes[s][1], 20 + s);
        float *m = make_row_factor(&t);
        t.p.row_factor = m;
        double ratios = 0; /* of three rates: each by itself moves by a percent or two */
        for (double bits = 2; bits <= 5; bits += 1.5) {
            double c = step_for(&t, bits);
            assert_int_equal(solve(&t, c), ENTRO_OK);
            double both = two_sided_error(&t, m), entropy = entropy_of(&t);
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
            problem one = t;
            one.p.row_factor = NULL;
            one.p.importance = g;
            one.p.keep_rows = true;
            assert_int_equal(solve(&one, c), ENTRO_OK);
            double alone = two_sided_error(&one, m), more = entropy_of(&one) - entropy;
            ratios += both / (alone * exp2(2 * more)) / 3; /* errors count four times for a bit */
            free(g);
        }
        if (t.p.n_rows > 60 && ratios > 0.88)
            fail_msg("%zu rows: %.3f of the error", t.p.n_rows, ratios);
        free(m);
        drop(&t);
    }
}

/* ---- tests ------------------------------------------------------------------------------- */

static void follows_the_definition(void **state)
{
    (void)state;
    const size_t shapes[][2] = {{1, 1},   {1, 70}, {70, 1},  {3, 16},   {40, 17},
                                {33, 64}, {8, 65}, {96, 80}, {50, 130}, {200, 200}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        problem t = make(shapes[s][0], shapes[s][1], s);
        /* Of many fine integers some lie so near a half that f32 decides, and all behind them follow. */
        double most = t.p.n_rows * t.p.n_cols < 10000 ? 7 : 4;
        for (double bits = 1; bits <= most; bits += 3)
            assert_follows_definition(&t, step_for(&t, bits));
        drop(&t);
    }
}

/* More than one super-block, and more than one piece of rows. */
static void follows_the_definition_when_large(void **state)
{
    (void)state;
    problem wide = make(12, 1100, 1), tall = make(2500, 70, 2);
    assert_follows_definition(&wide, step_for(&wide, 3));
    assert_follows_definition(&tall, step_for(&tall, 3));
    drop(&wide);
    drop(&tall);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    problem a = make(3000, 100, 3), b = make(3000, 100, 3);
    assert_int_equal(en_pool_new(&b.p.pool, 3, NULL), ENTRO_OK);
    double c = step_for(&a, 3);
    assert_int_equal(solve(&a, c), ENTRO_OK);
    assert_int_equal(solve(&b, c), ENTRO_OK);
    assert_memory_equal(a.z, b.z, 3000 * 100 * sizeof *a.z);
    assert_memory_equal(a.row_steps, b.row_steps, 3000 * sizeof *a.row_steps);
    assert_memory_equal(a.col_scales, b.col_scales, 100 * sizeof *a.col_scales);
    assert_true(a.result.error == b.result.error);
    en_pool_free(b.p.pool);
    drop(&a);
    drop(&b);
}

/* Of plain rounding of w r L[j][j] to steps of c, without feedback. */
static double error_of_rounding(problem *t, double c)
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
    double error = true_error(t, r);
    free(r);
    return error;
}

static void feedback_and_refit_lower_the_error(void **state)
{
    (void)state;
    problem t = make(100, 150, 4);
    for (double bits = 1.5; bits < 6; bits += 1.5) {
        double c = step_for(&t, bits);
        double rounded = error_of_rounding(&t, c);
        t.p.keep_rows = true;
        assert_int_equal(solve(&t, c), ENTRO_OK);
        double fed_back = t.result.error;
        t.p.keep_rows = false;
        assert_int_equal(solve(&t, c), ENTRO_OK);
        double refitted = t.result.error, error = error_of(&t);
        assert_true(fed_back < 0.8 * rounded);
        assert_true(refitted <= fed_back * (1 + 1e-6));
        assert_true(fabs(refitted - error) <= 0.01 * error);
        /* No neighbour of a row's step is better. */
        for (size_t i = 0; i < t.p.n_rows; i += 17)
            for (double move = 0.995; move < 1.01; move += 0.01) {
                float step = t.row_steps[i];
                t.row_steps[i] = (float)((double)step * move);
                assert_true(error_of(&t) > error * (1 - 1e-9));
                t.row_steps[i] = step;
            }
    }
    drop(&t);
}

/* Errors of fine steps are small beside what rounding of scales to f16 adds: it must be in the sum. */
static void errors_are_right_at_any_rate(void **state)
{
    (void)state;
    problem t = make(60, 90, 5);
    for (double bits = 0.05; bits < 14; bits *= 1.7) {
        for (int keep = 0; keep < 2; keep++) {
            t.p.keep_rows = keep;
            assert_int_equal(solve(&t, step_for(&t, bits)), ENTRO_OK);
            double error = error_of(&t);
            assert_true(fabs(t.result.error - error) <= 0.01 * error);
        }
    }
    drop(&t);
}

static void expects_the_bits_it_takes(void **state)
{
    (void)state;
    problem t = make(4000, 100, 6);
    t.p.importance = NULL; /* rows of different weights are no normal distribution: fewer bits */
    for (double bits = 1; bits <= 4; bits += 1) {
        assert_int_equal(solve(&t, step_for(&t, bits)), ENTRO_OK);
        double entropy = entropy_of(&t);
        /* Coarse steps feed back errors as large as the weights: the integers spread more. */
        if (entropy < bits - 0.05 || entropy > bits + (bits < 2 ? 0.2 : 0.1))
            fail_msg("expected %.2f bits, got %.3f", bits, entropy);
    }
    drop(&t);
}

static void normal_entropy_is_the_sum_over_integers(void **state)
{
    (void)state;
    for (double x = 0.01; x < 40; x *= 1.037) {
        double sum = 0;
        for (int k = -400; k <= 400; k++) {
            double p =
                0.5 * (erfc((k - 0.5) / (x * sqrt(2.0))) - erfc((k + 0.5) / (x * sqrt(2.0))));
            sum += p > 0 ? -p * log2(p) : 0;
        }
        assert_true(fabs(en_normal_entropy(x) - sum) < 5e-5);
    }
    assert_true(en_normal_entropy(0) == 0);
    assert_true(en_normal_entropy(1e6) > 21.9 && en_normal_entropy(1e6) < 22);
}

static void spreads_are_of_weighted_columns(void **state)
{
    (void)state;
    problem t = make(5, 300, 7);
    float spread[300], r[5];
    en_watersic_row_weights(&t.p, r);
    en_watersic_spreads(&t.p, r, spread);
    for (size_t j = 0; j < 300; j++) {
        double sum = 0;
        for (size_t i = 0; i < 5; i++)
            sum += pow((double)r[i] * (double)t.weights[i * 300 + j], 2);
        double expected = sqrt(sum / 5) * (double)t.factor[j * 300 + j];
        assert_true(fabs((double)spread[j] - expected) <= 1e-5 * expected);
    }
    memset(t.importance, 0, 5 * sizeof *t.importance);
    en_watersic_row_weights(&t.p, r);
    for (size_t i = 0; i < 5; i++)
        assert_true(r[i] == 1.0f);
    t.p.importance = NULL;
    en_watersic_row_weights(&t.p, r);
    assert_true(r[4] == 1.0f);
    drop(&t);
}

static void scales_are_halves_of_usual_size(void **state)
{
    (void)state;
    problem t = make(50, 60, 8);
    float sizes[] = {1.0f, 1e-12f, 1e12f}; /* of importance: it cancels out of the product */
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < 50; i++)
            t.importance[i] *= sizes[s];
        assert_int_equal(solve(&t, step_for(&t, 3)), ENTRO_OK);
        assert_true(t.half);
        double error = error_of(&t);
        assert_true(fabs(t.result.error - error) <= 0.01 * error);
        for (size_t i = 0; i < 50; i++)
            assert_true(t.row_steps[i] == half_of((double)t.row_steps[i]) &&
                        t.row_steps[i] > 0x1p-14f && t.row_steps[i] < 0x1p12f);
        for (size_t j = 0; j < 60; j++)
            assert_true(t.col_scales[j] == half_of((double)t.col_scales[j]) &&
                        t.col_scales[j] > 0x1p-14f && t.col_scales[j] < 0x1p12f);
    }
    drop(&t);
}

static void scales_that_are_no_halves_stay(void **state)
{
    (void)state;
    problem t = make(50, 60, 9);
    for (size_t j = 0; j < 60; j++) /* columns of H from 1e-12 to 1e12, H = L L^T as before */
        for (size_t k = 0; k < 60; k++) {
            double size = pow(10, (double)j / 5 - 6);
            t.h[j * 60 + k] *= (float)(size * pow(10, (double)k / 5 - 6));
            t.factor[j * 60 + k] *= (float)size;
        }
    assert_follows_definition(&t, step_for(&t, 3));
    assert_false(t.half);
    t.p.keep_rows = false;
    assert_int_equal(solve(&t, step_for(&t, 3)), ENTRO_OK);
    assert_false(t.half);
    double error = error_of(&t);
    assert_true(fabs(t.result.error - error) <= 0.01 * error);
    drop(&t);
}

static void zeros_stay_zeros(void **state)
{
    (void)state;
    problem t = make(40, 50, 10);
    double c = step_for(&t, 3);
    memset(t.weights + 5 * 50, 0, 50 * sizeof *t.weights);
    for (size_t i = 0; i < 40; i++) /* the last one gets no feedback */
        t.weights[i * 50 + 49] = 0;
    memset(t.importance, 0, 40 * sizeof *t.importance);
    assert_int_equal(solve(&t, c), ENTRO_OK);
    for (size_t j = 0; j < 50; j++)
        assert_int_equal(t.z[5 * 50 + j], 0);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(t.z[i * 50 + 49], 0);
    assert_true(isfinite(t.col_scales[49]) && t.col_scales[49] > 0);
    assert_true(isfinite(t.row_steps[5]) && t.row_steps[5] > 0);
    memset(t.weights, 0, 40 * 50 * sizeof *t.weights);
    assert_int_equal(solve(&t, c), ENTRO_OK);
    assert_true(t.half && t.result.error == 0);
    for (size_t i = 0; i < 40 * 50; i++)
        assert_int_equal(t.z[i], 0);
    drop(&t);
}

/* Weights of 100,000 steps, as super weights are, beside usual ones. */
static void large_integers_lose_nothing(void **state)
{
    (void)state;
    problem t = make(30, 40, 11);
    double c = step_for(&t, 3);
    t.weights[4 * 40 + 20] = 400.0f;
    assert_follows_definition(&t, c);
    t.p.keep_rows = false;
    assert_int_equal(solve(&t, c), ENTRO_OK);
    assert_true(labs(t.z[4 * 40 + 20]) > 10000);
    problem one = make(1, 1, 12);
    one.p.importance = NULL;
    double unit = (double)one.weights[0] * (double)one.factor[0] / EN_QUANT_MAX_INTEGER;
    assert_int_equal(solve(&one, fabs(unit) * 1.01), ENTRO_OK);
    assert_true(abs(one.z[0]) > EN_QUANT_MAX_INTEGER / 100 * 98);
    assert_true(fabs((double)one.z[0] * (double)one.row_steps[0] * (double)one.col_scales[0] -
                     (double)one.weights[0]) < 1e-3 * fabs((double)one.weights[0]));
    assert_int_equal(solve(&one, fabs(unit) * 0.99), ENTRO_ERR_UNSUPPORTED);
    drop(&t);
    drop(&one);
}

static void assert_named(problem *t, double c, const char *place)
{
    entro_error err = {0};
    assert_int_equal(en_watersic(&t->p, c, &t->result, &t->half, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, place));
}

static void refuses_what_is_no_number(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    problem t = make(20, 30, 13);
    double c = step_for(&t, 3);
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
    assert_int_equal(solve(&t, c), ENTRO_OK);
    assert_true(isfinite(t.result.error));
    drop(&t);
}

static void refuses_steps_and_sizes_of_no_use(void **state)
{
    (void)state;
    problem t = make(20, 30, 14);
    const double none[] = {0, -1, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(solve(&t, none[i]), ENTRO_ERR_ARGUMENT);
    const double fine[] = {1e-30, 1e-300, DBL_TRUE_MIN, 1e300};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(solve(&t, fine[i]), ENTRO_ERR_UNSUPPORTED);
    assert_int_equal(solve(&t, 1e6), ENTRO_OK);
    assert_int_equal(t.z[0], 0);
    for (size_t i = 0; i < 20 * 30; i++)
        t.weights[i] = i % 2 ? FLT_MAX : -FLT_MAX;
    assert_int_equal(solve(&t, 1e-3), ENTRO_ERR_UNSUPPORTED);
    for (size_t i = 0; i < 20 * 30; i++)
        t.weights[i] = FLT_TRUE_MIN;
    assert_int_equal(solve(&t, 1e-3), ENTRO_OK);
    t.p.n_rows = 0;
    assert_int_equal(solve(&t, 1), ENTRO_ERR_ARGUMENT);
    t.p.n_rows = 20;
    t.p.n_cols = 0;
    assert_int_equal(solve(&t, 1), ENTRO_ERR_ARGUMENT);
    drop(&t);
}

static void survives_every_failing_allocation(void **state)
{
    (void)state;
    problem t = make(20, 30, 15);
    double c = step_for(&t, 3);
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    uint64_t n = 0;
    for (; status == ENTRO_ERR_NOMEM; n++) {
        en_memory_fail_at(n);
        status = solve(&t, c);
        en_memory_fail_at(UINT64_MAX);
        assert_int_equal(en_memory_in_use(), before);
    }
    assert_int_equal(status, ENTRO_OK);
    assert_true(n > 8);
    drop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_definition),
        cmocka_unit_test(follows_the_definition_when_large),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(feedback_and_refit_lower_the_error),
        cmocka_unit_test(errors_are_right_at_any_rate),
        cmocka_unit_test(expects_the_bits_it_takes),
        cmocka_unit_test(two_sides_are_better_than_one),
        cmocka_unit_test(normal_entropy_is_the_sum_over_integers),
        cmocka_unit_test(spreads_are_of_weighted_columns),
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
