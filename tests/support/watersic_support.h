/*
 * watersic_support.h - problems for watersic, what comes of them, and the definition in double.
 */
#ifndef EN_TESTS_WATERSIC_SUPPORT_H
#define EN_TESTS_WATERSIC_SUPPORT_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "entropy/integer_counts.h"
#include "kernels/kernels.h"
#include "quant/cholesky.h"
#include "quant/watersic.h"
#include "tensor/half.h"

/* ---- problems ---------------------------------------------------------------------------- */

typedef struct test_watersic {
    en_watersic_problem p;
    float *weights, *importance, *factor, *h;
    int32_t *z;
    float *row_steps, *col_scales;
    en_watersic_result result;
    bool half;
} test_watersic;

static inline double test_gaussian(uint64_t *state)
{
    double u = (double)(test_random(state) >> 11) * 0x1p-53 + 1e-18;
    double v = (double)(test_random(state) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* Gaussian weights; inputs of very different sizes, each like its neighbours; rows that matter from
 * nothing to a lot. */
static inline test_watersic test_watersic_make(size_t n_rows, size_t n_cols, uint64_t seed)
{
    test_watersic t = {0};
    seed = seed * 977 + 12345;
    t.weights = malloc(n_rows * n_cols * sizeof *t.weights);
    t.importance = malloc(n_rows * sizeof *t.importance);
    t.factor = malloc(n_cols * n_cols * sizeof *t.factor);
    t.h = malloc(n_cols * n_cols * sizeof *t.h);
    t.z = malloc(n_rows * n_cols * sizeof *t.z);
    t.row_steps = malloc(n_rows * sizeof *t.row_steps);
    t.col_scales = malloc(n_cols * sizeof *t.col_scales);
    for (size_t i = 0; i < n_rows * n_cols; i++)
        t.weights[i] = (float)(0.02 * test_gaussian(&seed));
    for (size_t i = 0; i < n_rows; i++)
        t.importance[i] = i % 7 == 3 ? 0.0f : (float)(1e-4 * exp(test_gaussian(&seed)));
    double *size = malloc(n_cols * sizeof *size);
    for (size_t j = 0; j < n_cols; j++)
        size[j] = exp(test_gaussian(&seed));
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

static inline void test_watersic_drop(test_watersic *t)
{
    free(t->weights);
    free(t->importance);
    free(t->factor);
    free(t->h);
    free(t->z);
    free(t->row_steps);
    free(t->col_scales);
}

static inline entro_status test_watersic_solve(test_watersic *t, double c)
{
    return en_watersic(&t->p, c, &t->result, &t->half, NULL);
}

/* Bits a weight at step c, of columns with these spreads. */
static inline double test_expected_bits(const float *spread, size_t n_cols, double c)
{
    double sum = 0;
    for (size_t j = 0; j < n_cols; j++)
        sum += en_normal_entropy((double)spread[j] / c);
    return sum / (double)n_cols;
}

/* The step at which this many bits are expected. */
static inline double test_watersic_step(const test_watersic *t, double bits)
{
    float *spread = malloc(t->p.n_cols * sizeof *spread), *r = malloc(t->p.n_rows * sizeof *r);
    en_watersic_row_weights(&t->p, r);
    en_watersic_spreads(&t->p, r, spread);
    free(r);
    double lo = -60, hi = 60;
    for (int i = 0; i < 60; i++) {
        double middle = (lo + hi) / 2;
        if (test_expected_bits(spread, t->p.n_cols, exp2(middle)) > bits)
            lo = middle;
        else
            hi = middle;
    }
    free(spread);
    return exp2(lo);
}

/* 1/2 sum_i r_i^2 (w - w') H (w - w')^T by the letter. */
static inline double test_watersic_error_by(const test_watersic *t, const float *r)
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

static inline double test_watersic_error(const test_watersic *t)
{
    float *r = malloc(t->p.n_rows * sizeof *r);
    en_watersic_row_weights(&t->p, r);
    double error = test_watersic_error_by(t, r);
    free(r);
    return error;
}

static inline double test_watersic_entropy(const test_watersic *t)
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

static inline float test_half(double x)
{
    float x32 = (float)x;
    uint16_t half;
    en_kernels_get()->f32_to_f16(&x32, &half, 1);
    return en_half_to_f32(half);
}

/* Of two values of f16 equally far away, 'returned' is as good as the other: another one would change the
 * whole row behind it. */
static inline double test_nearest_half(double x, double returned)
{
    double nearest = (double)test_half(x);
    return fabs(returned - x) <= 1.001 * fabs(nearest - x) ? returned : nearest;
}

/* Column by column in double, with the row steps that were returned (they must not be refitted) and the
 * power of two between them and 1 / r. */
static inline void test_watersic_plain(const test_watersic *t, double c, int32_t *z, double *scales)
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
            scales[j] = test_nearest_half(scales[j], (double)t->col_scales[j]);
        for (size_t i = 0; i < a; i++)
            for (size_t k = 0; k < j; k++)
                y[i * n + k] -= scales[j] * (double)z[i * n + j] * (double)l[j * n + k];
    }
    free(r);
    free(y);
}

static inline void test_watersic_follows(test_watersic *t, double c)
{
    const size_t n = t->p.n_rows * t->p.n_cols;
    t->p.keep_rows = true;
    assert_int_equal(test_watersic_solve(t, c), ENTRO_OK);
    int32_t *z = malloc(n * sizeof *z);
    double *scales = malloc(t->p.n_cols * sizeof *scales);
    test_watersic_plain(t, c, z, scales);
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
    double error = test_watersic_error(t);
    assert_true(fabs(t->result.error - error) <= 0.01 * error);
    free(z);
    free(scales);
}

#endif
