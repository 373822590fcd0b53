/*
 * rans_avx512.c - decoding of entropy/rans.h, the states of 16 rows in a register, and two of these.
 *
 * A column is a gather, a product, and an expand that hands words to the rows that need one, in their
 * order; four columns make one register of a unit.  Every other column has states of its own, so that
 * latencies overlap.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

enum { GROUP_COLS = 4 };

static void rans_decode(en_rans_lanes *lanes, const en_rans_table *table, size_t n_units,
                        uint8_t *units)
{
    const __m512i slots = _mm512_set1_epi32(EN_RANS_SCALE - 1), one = _mm512_set1_epi32(1),
                  lowest = _mm512_set1_epi32(EN_RANS_LOWEST), byte = _mm512_set1_epi32(255);
    __m512i states[2] = {_mm512_loadu_si512(lanes->states),
                         _mm512_loadu_si512(lanes->states + EN_STRIP_ROWS)};
    const uint8_t *next = lanes->next, *end = lanes->end;
    for (size_t g = 0; g < n_units * (EN_UNIT_COLS / GROUP_COLS); g++, units += EN_STRIP_LANES) {
        __m512i values = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (unsigned c = 0; c < GROUP_COLS; c++) {
            next = next < end ? next : end;
            __m512i x = states[c % 2];
            __m512i e = _mm512_i32gather_epi32(_mm512_and_si512(x, slots), table->slots, 4);
            __m512i freq = _mm512_and_si512(_mm512_srli_epi32(e, EN_RANS_FREQ_AT), slots);
            x = _mm512_mullo_epi32(_mm512_add_epi32(freq, one),
                                   _mm512_srli_epi32(x, EN_RANS_SCALE_BITS));
            x = _mm512_add_epi32(x, _mm512_srli_epi32(e, EN_RANS_OFFSET_AT));
            values = _mm512_or_si512(values, _mm512_slli_epi32(_mm512_and_si512(e, byte), 8 * c));
            __mmask16 low = _mm512_cmplt_epu32_mask(x, lowest);
            __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)next));
            words = _mm512_maskz_expand_epi32(low, words);
            states[c % 2] = _mm512_mask_or_epi32(x, low, _mm512_slli_epi32(x, 16), words);
            next += 2 * (unsigned)__builtin_popcount(low);
        }
        _mm512_storeu_si512(units, values);
    }
    _mm512_storeu_si512(lanes->states, states[0]);
    _mm512_storeu_si512(lanes->states + EN_STRIP_ROWS, states[1]);
    lanes->next = next;
}

void en_kernels_init_rans_avx512(en_kernels *table)
{
    table->rans_decode = rans_decode;
}
