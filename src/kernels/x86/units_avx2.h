/*
 * units_avx2.h - what the AVX2 kernels of coding 2 share, and the products of strips as they are decoded.
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

/* Two steps' factors, of both registers: 4 columns of 8 rows each. */
typedef struct two_steps {
    __m256i of[2][4]; /* [k] */
} two_steps;

/*
 * sums[2 vector + k] += scale * factors . x.  Two products of factors of 7 bits fit 16 bits, four of 6,
 * eight of 5.
 */
INLINED void add_products(const two_steps *f, unsigned bits, int scale, const int8_t *const *x,
                          size_t col, size_t n_vectors, __m256i *sums)
{
    const __m256i times = _mm256_set1_epi16((short)scale);
    for (size_t v = 0; v < n_vectors; v++) {
        const int8_t *at = x[v] + col;
        __m256i columns[4] = {four(at), four(at + 4), four(at + 8), four(at + 12)};
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            __m256i products[4], all;
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                products[i] = _mm256_maddubs_epi16(f->of[k][i], columns[i]);
            if (bits < 7) {
                products[0] = _mm256_add_epi16(products[0], products[2]);
                products[1] = _mm256_add_epi16(products[1], products[3]);
            }
            if (bits < 6) {
                all = _mm256_madd_epi16(_mm256_add_epi16(products[0], products[1]), times);
            } else {
                all = _mm256_add_epi32(_mm256_madd_epi16(products[0], times),
                                       _mm256_madd_epi16(products[1], times));
                if (bits == 7)
                    all = _mm256_add_epi32(all,
                                           _mm256_add_epi32(_mm256_madd_epi16(products[2], times),
                                                            _mm256_madd_epi16(products[3], times)));
            }
            sums[2 * v + (size_t)k] = _mm256_add_epi32(sums[2 * v + (size_t)k], all);
        }
    }
}

INLINED void set_nibbles(two_steps *n, int k, int step, __m256i packed)
{
    n->of[k][2 * step] = low_nibbles(packed);
    n->of[k][2 * step + 1] = high_nibbles(packed);
}

static inline void add_to(int32_t *sums, const __m256i *more, size_t n_vectors)
{
    for (size_t i = 0; i < 2 * n_vectors; i++, sums += 8) {
        __m256i before = _mm256_loadu_si256((const __m256i *)sums);
        _mm256_storeu_si256((__m256i *)sums, _mm256_add_epi32(before, more[i]));
    }
}

#endif
