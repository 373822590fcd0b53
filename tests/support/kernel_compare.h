/*
 * kernel_compare.h - the comparator: numbers that go in, and results beside those of the reference.
 *
 * Lengths 0 to 130 cover every tail; some long ones, what happens in between.
 */
#ifndef EN_TESTS_KERNEL_COMPARE_H
#define EN_TESTS_KERNEL_COMPARE_H

#include <math.h>

#include "kernel_support.h"

enum { MAX_LENGTH = 130, N_LONG = 3, N_REGIONS = 7, REGION = 1 << 20 };

static const size_t long_lengths[N_LONG] = {576, 1536 + 5, 8960};
static const char *variant_name; /* of the one being tested, for messages */

/* ---- numbers --------------------------------------------------------------------------------- */

static inline uint32_t random32(void)
{
    static uint64_t state = 42;
    return (uint32_t)(test_random(&state) >> 32);
}

/* Numbers between -1 and 1, now and then far larger or smaller. */
static inline float random_float(void)
{
    float x = (float)random32() * 0x1p-31f - 1.0f;
    return random32() % 16 == 0 ? x * 40.0f : x;
}

static inline void fill_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
}

static inline float *place_floats(int region, size_t n)
{
    float *x = place(region, n * sizeof *x);
    fill_floats(x, n);
    return x;
}

static inline void fill_bytes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(random32() >> 8);
}

/* Finite halves. */
static inline void fill_halves(uint16_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint16_t)(random32() & 0x83ff) | (uint16_t)(random32() % 18 << 10);
}

/* ---- results --------------------------------------------------------------------------------- */

static inline void check_close(double found, double expected, double tolerance, size_t n)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%s: n %zu: found %.9g, expected %.9g +- %.3g", variant_name, n, found, expected,
                 tolerance);
}

static inline void check_same(const void *found, const void *expected, size_t n_bytes, size_t n)
{
    if (n_bytes != 0 && memcmp(found, expected, n_bytes) != 0)
        fail_msg("%s: n %zu: not the same bytes as the reference", variant_name, n);
}

static inline double dot_magnitude(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)a[i] * (double)b[i]);
    return sum;
}

/* Calls test(k, n) for all variants and lengths. */
static inline void for_all(void (*test)(const en_kernels *k, size_t n))
{
    for (int v = 0; v < n_variants; v++) {
        variant_name = variant_names[v];
        for (size_t n = 0; n <= MAX_LENGTH; n++)
            test(&variants[v], n);
        for (int i = 0; i < N_LONG; i++)
            test(&variants[v], long_lengths[i]);
    }
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static inline int set_up(void **state)
{
    (void)state;
    if (test_kernels_open(N_REGIONS, REGION) != 0)
        return -1;
    print_message("variants:");
    for (int i = 0; i < n_variants; i++)
        print_message(" %s", variant_names[i]);
    print_message("\n");
    return 0;
}

#endif
