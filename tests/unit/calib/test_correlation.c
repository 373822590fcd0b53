/*
 * test_correlation.c - covariances are packed and come back, and those of a matrix that is used twice are
 * added up.
 */
#include "calib/correlation.h"

#include <math.h>

#include "test_support.h"

#include "calib/statistics_tied.h"
#include "sums_support.h"

static void correlations_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 31, 32, 33, 100, 1100};
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, 3, NULL), ENTRO_OK);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s], n_packed = en_correlation_count(n);
        float *sums = test_sums(n, 20, 1, s + 1), *h = malloc(n * n * sizeof *h);
        float *diagonal = malloc(n * sizeof *diagonal), *again = malloc(n * n * sizeof *again);
        uint16_t *packed = malloc(n_packed * sizeof *packed);
        assert_int_equal(en_correlation_pack(sums, n, 0.05, packed, diagonal, pool), n);
        assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, n, h, pool), n);
        assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, n, again, NULL), n);
        assert_memory_equal(h, again, n * n * sizeof *h);
        for (size_t i = 0; i < n; i++) {
            assert_true(h[i * n + i] == (float)((double)sums[i * n + i] * 0.05));
            for (size_t k = 0; k <= i; k++) {
                double size = sqrt((double)h[i * n + i] * (double)h[k * n + k]);
                double want = (double)sums[i * n + k] * 0.05;
                assert_true(h[i * n + k] == h[k * n + i]);
                assert_true(fabs((double)h[i * n + k] - want) <= 0x1p-11 * size);
            }
        }
        free(sums);
        free(h);
        free(again);
        free(diagonal);
        free(packed);
    }
    en_pool_free(pool);
}

static void correlations_that_cannot_be_are_refused(void **state)
{
    (void)state;
    enum { N = 40 };
    static const float bad[] = {NAN, INFINITY, -1.0f};
    uint16_t packed[N * (N + 1) / 2];
    float diagonal[N], h[N * N];
    for (int i = 0; i < 3; i++) {
        float *sums = test_sums(N, 20, N, 7);
        sums[33 * N + 33] = bad[i];
        assert_int_equal(en_correlation_pack(sums, N, 0.05, packed, diagonal, NULL), 33);
        sums[33 * N + 33] = 1;
        if (i < 2) {
            sums[35 * N + 2] = bad[i];
            assert_int_equal(en_correlation_pack(sums, N, 0.05, packed, diagonal, NULL), 35);
        }
        free(sums);
    }
    float *sums = test_sums(N, 20, N, 7);
    assert_int_equal(en_correlation_pack(sums, N, 0.05, packed, diagonal, NULL), N);
    uint16_t kept = packed[en_correlation_count(20) + 3];
    packed[en_correlation_count(20) + 3] = 0x3C01; /* just above 1 */
    assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, N, h, NULL), 20);
    packed[en_correlation_count(20) + 3] = kept;
    diagonal[5] = -diagonal[5];
    assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, N, h, NULL), 5);
    free(sums);
}

/* ---- two uses of one matrix -------------------------------------------------------------------- */

/* tr(a b^-1) / n, by elimination. */
static double trace_over(const float *a, const double *b, size_t n)
{
    double *m = malloc(2 * n * n * sizeof *m), sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            m[i * 2 * n + k] = b[i * n + k];
            m[i * 2 * n + n + k] = (double)a[i * n + k];
        }
    for (size_t p = 0; p < n; p++) /* positive definite: no pivoting */
        for (size_t i = 0; i < n; i++) {
            double f = m[i * 2 * n + p] / m[p * 2 * n + p];
            for (size_t k = p; k < 2 * n && i != p; k++)
                m[i * 2 * n + k] -= f * m[p * 2 * n + k];
        }
    for (size_t i = 0; i < n; i++)
        sum += m[i * 2 * n + n + i] / m[i * 2 * n + i];
    free(m);
    return sum / (double)n;
}

static void mirror(float *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            h[k * n + i] = h[i * n + k];
}

static void tied_uses_are_added_up(void **state)
{
    (void)state;
    enum { N = 24, ROWS = 300 };
    uint64_t seed = 5;
    float *ho = test_sums(N, 400, N, 1), *hi = test_sums(N, 400, N, 2);
    float fo[ROWS], fi[ROWS], work[N * N], h[N * N], f[ROWS];
    double ridged[N * N], mean = 0, shares[2] = {0, 0}, floor_f = 0;
    mirror(ho, N);
    mirror(hi, N);
    for (size_t v = 0; v < ROWS; v++) {
        fo[v] = (float)pow(10, -4 * test_unit(&seed));
        fi[v] = (float)pow(10, -3 - 4 * test_unit(&seed));
    }
    const en_tied_use uses[2] = {{ho, fo, 100000}, {hi, fi, 50000}};
    en_tied_weights w;
    assert_int_equal(en_tied_weigh(&w, uses, N, ROWS, work, NULL), ENTRO_OK);
    assert_in_range(w.n_tokens, 50000, 100000);
    en_tied_covariance(&w, uses, N, h);
    en_tied_importance(&w, uses, ROWS, f);
    for (size_t i = 0; i < N; i++)
        mean += (double)h[i * N + i] / N;
    assert_true(fabs(mean - 1) < 1e-4);
    for (size_t i = 0; i < N * N; i++) /* shrunk as en_covariance_ridge_for() says: 5 % */
        ridged[i] = (double)h[i] * (i % (N + 1) == 0 ? 1 : 0.95) + (i % (N + 1) == 0 ? 1e-4 : 0);
    double po = trace_over(ho, ridged, N), pi = trace_over(hi, ridged, N);
    for (size_t v = 0; v < ROWS; v++) {
        double want = po * (double)fo[v] + pi * (double)fi[v];
        assert_true(fabs((double)f[v] - want) < 0.02 * want);
        floor_f += 0.1 * want / ROWS;
    }
    for (size_t v = 0; v < ROWS; v++) {
        shares[0] += (double)fo[v] / ((double)f[v] + floor_f);
        shares[1] += (double)fi[v] / ((double)f[v] + floor_f);
    }
    double ratio = shares[0] / shares[1] / (w.covariance[0] / w.covariance[1]);
    assert_true(fabs(ratio - 1) < 0.05);
    free(ho);
    free(hi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(correlations_come_back),
        cmocka_unit_test(correlations_that_cannot_be_are_refused),
        cmocka_unit_test(tied_uses_are_added_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
