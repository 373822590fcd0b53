/*
 * sums_support.h - sums of x x^T as a calibration collects them.
 */
#ifndef EN_TESTS_SUMS_SUPPORT_H
#define EN_TESTS_SUMS_SUPPORT_H

#include <math.h>
#include <stdlib.h>

static inline double test_unit(uint64_t *state) /* 0 .. 1 */
{
    return (double)(test_random(state) >> 11) * 0x1p-53;
}

/* Sums of x x^T of inputs that hang together and differ in size; input 'dead' never moves. */
static inline float *test_sums(size_t n, size_t n_tokens, size_t dead, uint64_t seed)
{
    double *sums = calloc(n * n, sizeof *sums), *x = malloc(n * sizeof *x);
    float *out = calloc(n * n, sizeof *out);
    for (size_t t = 0; t < n_tokens; t++) {
        double last = 0;
        for (size_t i = 0; i < n; i++) {
            last = 0.8 * last + test_unit(&seed) - 0.5;
            x[i] = i == dead ? 0 : last * pow(10, (double)(i % 7) - 3);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k <= i; k++)
                sums[i * n + k] += x[i] * x[k];
    }
    for (size_t i = 0; i < n * n; i++)
        out[i] = (float)sums[i];
    free(sums);
    free(x);
    return out;
}

#endif
