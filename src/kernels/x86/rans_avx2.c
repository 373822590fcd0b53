/*
 * rans_avx2.c - decoding of entropy/rans.h, the states of eight rows in a register; see rans_avx512.c.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

enum { GROUP_COLS = 4 };

/* Row i of those in 'low' takes the word whose number is that of rows before it there. */
static inline __m256i hand_out(unsigned low, const uint8_t *words)
{
    uint64_t takers = _pdep_u64(low, UINT64_C(0x0101010101010101)) * 255;
    uint64_t numbers = _pdep_u64(UINT64_C(0x0706050403020100), takers);
    __m256i all = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)words));
    return _mm256_permutevar8x32_epi32(all,
                                       _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)numbers)));
}

/* One column of eight rows; the symbols are the low bytes of *e. */
static inline __m256i step(__m256i x, const en_rans_table *table, const uint8_t **next, __m256i *e)
{
    const __m256i slots = _mm256_set1_epi32(EN_RANS_SCALE - 1);
    *e = _mm256_i32gather_epi32((const int *)table->slots, _mm256_and_si256(x, slots), 4);
    __m256i freq = _mm256_and_si256(_mm256_srli_epi32(*e, EN_RANS_FREQ_AT), slots);
    freq = _mm256_add_epi32(freq, _mm256_set1_epi32(1));
    x = _mm256_mullo_epi32(freq, _mm256_srli_epi32(x, EN_RANS_SCALE_BITS));
    x = _mm256_add_epi32(x, _mm256_srli_epi32(*e, EN_RANS_OFFSET_AT));
    __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
    unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(low));
    __m256i more = _mm256_or_si256(_mm256_slli_epi32(x, 16), hand_out(mask, *next));
    *next += 2 * (unsigned)__builtin_popcount(mask);
    return _mm256_blendv_epi8(x, more, low);
}

static void rans_decode(en_rans_lanes *lanes, const en_rans_table *table, size_t n_units,
                        uint8_t *units)
{
    const __m256i byte = _mm256_set1_epi32(255);
    __m256i states[4]; /* rows 0 to 7, 8 to 15; then of odd columns */
    for (int i = 0; i < 4; i++)
        states[i] = _mm256_loadu_si256((const void *)(lanes->states + 8 * i));
    const uint8_t *next = lanes->next, *end = lanes->end;
    for (size_t g = 0; g < n_units * (EN_UNIT_COLS / GROUP_COLS); g++, units += EN_STRIP_LANES) {
        __m256i a = _mm256_setzero_si256(), b = a, e;
#pragma GCC unroll 4
        for (int c = 0; c < GROUP_COLS; c++) {
            next = next < end ? next : end;
            __m256i *x = states + c % 2 * 2;
            x[0] = step(x[0], table, &next, &e);
            a = _mm256_or_si256(a, _mm256_slli_epi32(_mm256_and_si256(e, byte), 8 * c));
            x[1] = step(x[1], table, &next, &e);
            b = _mm256_or_si256(b, _mm256_slli_epi32(_mm256_and_si256(e, byte), 8 * c));
        }
        _mm256_storeu_si256((void *)units, a);
        _mm256_storeu_si256((void *)(units + 32), b);
    }
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256((void *)(lanes->states + 8 * i), states[i]);
    lanes->next = next;
}

void en_kernels_init_rans_avx2(en_kernels *table)
{
    table->rans_decode = rans_decode;
}
