/*
 * kernel_support.h - the variants of kernels that this machine supports, and memory with guards.
 *
 *   region:  ... canary | n_bytes |guard page        reading or writing one byte too far is a crash
 */
#ifndef EN_TESTS_KERNEL_SUPPORT_H
#define EN_TESTS_KERNEL_SUPPORT_H

#include <string.h>
#include <sys/mman.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

enum {
    TEST_CANARY = 64,
    TEST_MAX_REGIONS = 128,
    TEST_GUARD = 1 << 16 /* the largest page there is */
};

static const en_kernels *ref;
static en_kernels variants[5];
static const char *variant_names[5];
static int n_variants;

static uint8_t *region_ends[TEST_MAX_REGIONS];
static size_t region_bytes;

/* n_bytes that end at the guard page of a region, behind the canary. */
static inline void *place(int region, size_t n_bytes)
{
    assert_true(n_bytes + TEST_CANARY <= region_bytes);
    uint8_t *p = region_ends[region] - n_bytes;
    memset(p - TEST_CANARY, 0xA5, TEST_CANARY + n_bytes);
    return p;
}

static inline void check_canary(const void *p)
{
    const uint8_t *bytes = p;
    for (int i = 1; i <= TEST_CANARY; i++)
        assert_int_equal(bytes[-i], 0xA5);
}

/* The end of a region of n_bytes, at its guard page; NULL when there is no memory. */
static inline uint8_t *test_region(size_t n_bytes)
{
    uint8_t *p = mmap(NULL, n_bytes + TEST_GUARD, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + n_bytes, TEST_GUARD, PROT_NONE) != 0)
        return NULL;
    return p + n_bytes;
}

static inline void test_add_variant(const char *name, uint32_t features)
{
    if ((features & en_cpu_features()) != features)
        return;
    en_kernels_fill(&variants[n_variants], features);
    variant_names[n_variants++] = name;
}

/* A test's set-up: the tables and so many regions of n_bytes each; 0, or -1. */
static inline int test_kernels_open(int n_regions, size_t n_bytes)
{
    region_bytes = n_bytes;
    for (int i = 0; i < n_regions; i++)
        if ((region_ends[i] = test_region(n_bytes)) == NULL)
            return -1;
    ref = en_kernels_ref();
    test_add_variant("reference", 0);
    test_add_variant("avx2", EN_CPU_AVX2);
    test_add_variant("avx512", EN_CPU_AVX2 | EN_CPU_AVX512);
    test_add_variant("amx", EN_CPU_AVX2 | EN_CPU_AVX512 | EN_CPU_AMX);
    test_add_variant("bf16", EN_CPU_AVX2 | EN_CPU_AVX512 | EN_CPU_BF16);
    test_add_variant("neon", EN_CPU_NEON);
    test_add_variant("dotprod", EN_CPU_NEON | EN_CPU_DOTPROD);
    return 0;
}

#endif
