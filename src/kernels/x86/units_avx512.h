/*
 * units_avx512.h - what the AVX-512 kernels of coding 2 share.
 */
#ifndef EN_KERNELS_X86_UNITS_AVX512_H
#define EN_KERNELS_X86_UNITS_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

#define INLINED static inline __attribute__((always_inline))

/* unit_dot of kernels.h. */
void en_units_avx512_dot(const uint8_t *units, unsigned bits, size_t n_units,
                         const int8_t *const *x, size_t n_vectors, int32_t *sums);
/* unit_expand of kernels.h. */
void en_units_avx512_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                            uint8_t *out);

INLINED __m512i raw_vector(const uint8_t *raw, int i)
{
    return _mm512_loadu_si512(raw + 64 * i);
}

/* Shifts to the left by n, or to the right by -n; what crosses bytes is masked away by the caller. */
INLINED __m512i shift(__m512i v, int n)
{
    return n > 0   ? _mm512_slli_epi16(v, (unsigned)n)
           : n < 0 ? _mm512_srli_epi16(v, (unsigned)-n)
                   : v;
}

INLINED __m512i bits_at(__m512i v, int n, int mask)
{
    return _mm512_and_si512(shift(v, n), _mm512_set1_epi8((char)mask));
}

/* a where the mask has ones, else b */
INLINED __m512i select_bits(int mask, __m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi64(_mm512_set1_epi8((char)mask), a, b, 0xCA);
}

INLINED __m512i four(const int8_t *x)
{
    int32_t columns;
    memcpy(&columns, x, sizeof columns);
    return _mm512_set1_epi32(columns);
}

#endif
