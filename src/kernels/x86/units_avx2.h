/*
 * units_avx2.h - what the AVX2 kernels of coding 2 share.
 */
#ifndef EN_KERNELS_X86_UNITS_AVX2_H
#define EN_KERNELS_X86_UNITS_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define INLINED static inline __attribute__((always_inline))

enum { REGISTER_BYTES = 32 };

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINED __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINED void store(uint8_t *out, __m256i v)
{
    _mm256_storeu_si256((__m256i *)out, v);
}

INLINED __m256i low_nibbles(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

INLINED __m256i high_nibbles(__m256i v)
{
    return low_nibbles(_mm256_srli_epi16(v, 4));
}

INLINED __m256i four(const int8_t *x)
{
    int32_t columns;
    memcpy(&columns, x, sizeof columns);
    return _mm256_set1_epi32(columns);
}

#endif
