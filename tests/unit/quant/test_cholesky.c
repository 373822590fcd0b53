/* test_cholesky.c - factors of good covariances, of those that need a ridge, and of none. */
#include "quant/cholesky.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "test_support.h"

static const en_covariance_ridge plain = {0, 0};

static float random_float(uint64_t *state) /* -1 .. 1 */
{
    return (float)((double)(test_random(state) >> 11) * 0x1p-52 - 1);
}

/* Of n_samples random vectors, whose neighbours are alike. */
static float *covariance(size_t n, size_t n_samples, uint64_t seed)
{
    float *h = calloc(n * n, sizeof *h), *x = malloc(n * sizeof *x);
    for (size_t t = 0; t < n_samples; t++) {
        float last = 0;
        for (size_t i = 0; i < n; i++)
            last = x[i] = 0.7f * last + random_float(&seed);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                h[i * n + k] += x[i] * x[k] / (float)n_samples;
    }
    free(x);
    return h;
}

static double mean_diagonal(const float *h, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)h[i * n + i];
    return sum / (double)n;
}

/* L L^T against what was to be factored; the upper triangle of l must be zeros. */
static void assert_is_factor(const float *l, const float *h, size_t n, double shrink, double ridge)
{
    double mean = mean_diagonal(h, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            assert_true(l[k * n + i] == 0.0f);
        for (size_t k = 0; k <= i; k++) {
            double sum = 0, expected = (double)h[i * n + k] * (i == k ? 1 : 1 - shrink);
            if (i == k)
                expected = fmax(expected, 1e-8 * mean) + ridge * mean;
            for (size_t m = 0; m <= k; m++)
                sum += (double)l[i * n + m] * (double)l[k * n + m];
            assert_true(fabs(sum - expected) <= 2e-6 * mean);
        }
        assert_true(l[i * n + i] > 0);
    }
}

static void factors_what_is_below_the_diagonal(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 2, 31, 32, 33, 100, 257};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        float *h = covariance(n, 3 * n, 7 + s), *l = malloc(n * n * sizeof *l);
        memcpy(l, h, n * n * sizeof *l);
        for (size_t i = 0; i < n; i++) /* nobody reads what is above */
            for (size_t k = i + 1; k < n; k++)
                l[i * n + k] = NAN;
        double used = -1;
        const en_covariance_ridge ridge = {0.1, 1e-4};
        assert_int_equal(en_cholesky(l, n, &ridge, &used, NULL), ENTRO_OK);
        assert_true(used == 1e-4);
        assert_is_factor(l, h, n, 0.1, 1e-4);
        free(h);
        free(l);
    }
}

static void few_samples_get_more_ridge(void **state)
{
    (void)state;
    enum { N = 64 };
    float *h = covariance(N, 5, 3), *l = malloc(sizeof *l * N * N);
    memcpy(l, h, sizeof *l * N * N);
    double used = 0;
    const en_covariance_ridge tiny = {0, 1e-12};
    assert_int_equal(en_cholesky(l, N, &tiny, &used, NULL), ENTRO_OK);
    assert_true(used > 1e-12 && used < 1e-4);
    assert_is_factor(l, h, N, 0, used);
    memcpy(l, h, sizeof *l * N * N);
    assert_int_equal(en_cholesky(l, N, &plain, &used, NULL), ENTRO_OK);
    assert_is_factor(l, h, N, 0, used);
    free(h);
    free(l);
}

static void inputs_without_movement_are_no_trouble(void **state)
{
    (void)state;
    enum { N = 40 };
    float *h = covariance(N, 200, 5), *l = malloc(sizeof *l * N * N);
    for (size_t k = 0; k < N; k++)
        h[7 * N + k] = h[k * N + 7] = 0;
    memcpy(l, h, sizeof *l * N * N);
    double used = -1;
    assert_int_equal(en_cholesky(l, N, &plain, &used, NULL), ENTRO_OK);
    assert_true(used == 0);
    assert_is_factor(l, h, N, 0, 0);
    memset(l, 0, sizeof *l * N * N);
    assert_int_equal(en_cholesky(l, N, &plain, NULL, NULL), ENTRO_OK);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++)
            assert_true(l[i * N + k] == (i == k ? 1.0f : 0.0f));
    free(h);
    free(l);
}

static void assert_refused(float *h, size_t n, entro_status expected, const char *word)
{
    entro_error err = {0};
    const en_covariance_ridge ridge = {0.1, 1e-4};
    assert_int_equal(en_cholesky(h, n, &ridge, NULL, &err), expected);
    if (word != NULL)
        assert_non_null(strstr(err.message, word));
}

static void refuses_what_is_no_covariance(void **state)
{
    (void)state;
    float nan[4] = {1, 0, NAN, 1}, inf[4] = {1, 0, 0, INFINITY}, minus[4] = {1, 0, 0, -1};
    assert_refused(nan, 2, ENTRO_ERR_FORMAT, "row 1, column 0");
    assert_refused(inf, 2, ENTRO_ERR_FORMAT, "row 1, column 1");
    assert_refused(minus, 2, ENTRO_ERR_FORMAT, "input 1");
    float hopeless[4] = {1, 0, 50, 1}, huge[4] = {3e38f, 0, 0, 3e38f};
    assert_refused(hopeless, 2, ENTRO_ERR_FORMAT, "not positive definite");
    assert_refused(huge, 2, ENTRO_OK, NULL);
    assert_refused(huge, 0, ENTRO_ERR_ARGUMENT, NULL);
    float one[1] = {1};
    const en_covariance_ridge bad[] = {{-0.1, 0}, {1.1, 0}, {0, -1}, {0, 2}, {NAN, 0}, {0, NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(en_cholesky(one, 1, &bad[i], NULL, NULL), ENTRO_ERR_ARGUMENT);
    en_memory_fail_at(0);
    assert_refused(one, 1, ENTRO_ERR_NOMEM, NULL);
    en_memory_fail_at(UINT64_MAX);
}

static void shrinks_more_with_fewer_tokens(void **state)
{
    (void)state;
    double last = 1;
    for (uint64_t tokens = 0; tokens < 1000000; tokens = 2 * tokens + 1000) {
        en_covariance_ridge r = en_covariance_ridge_for(1536, tokens);
        assert_true(r.shrink <= last && r.shrink >= 0.05 && r.shrink <= 0.4 && r.ridge == 1e-4);
        last = r.shrink;
    }
    assert_true(last == 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_what_is_below_the_diagonal),
        cmocka_unit_test(few_samples_get_more_ridge),
        cmocka_unit_test(inputs_without_movement_are_no_trouble),
        cmocka_unit_test(refuses_what_is_no_covariance),
        cmocka_unit_test(shrinks_more_with_fewer_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
