/*
 * rans_encode_avx512.c - encoding of entropy/rans.h, the states of 16 rows in a register.
 *
 * What a value is coded as is gathered along rows, then 16 x 16 of these are turned, for a step is a column.  A
 * state's quotient comes from a product with 1 / freq, which is worked out ahead: the chain from column to
 * column has no division.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

enum { BLOCK = 16 };

/* Entries of 16 columns of a row; values that they do not give back are listed. */
static inline __m512i row_entries(en_rans_writing *w, const en_rans_symbols *symbols,
                                  const int32_t *z, uint32_t row, uint32_t col)
{
    const __m512i zero = _mm512_setzero_si512(), last = _mm512_set1_epi32((int)symbols->n - 1),
                  base = _mm512_set1_epi32(symbols->base);
    __m512i wanted = _mm512_loadu_si512(z), v = _mm512_sub_epi32(wanted, base);
    /* The difference may wrap: below the base is what is less than it. */
    __mmask16 above = _mm512_cmpgt_epi32_mask(wanted, base);
    v = _mm512_mask_min_epu32(zero, above, v, last);
    __m512i e = _mm512_i32gather_epi32(v, symbols->entries, 4);
    __m512i coded = _mm512_add_epi32(_mm512_and_si512(e, _mm512_set1_epi32(255)), base);
    uint32_t missed = _mm512_cmpneq_epi32_mask(coded, wanted);
    if (missed != 0) {
        int32_t deltas[BLOCK];
        _mm512_storeu_si512(deltas, _mm512_sub_epi32(wanted, coded));
        en_rans_list_missed(w, missed, deltas, row, col);
    }
    return e;
}

/* rows[r][c] -> rows[c][r] */
static inline void transpose(__m512i rows[BLOCK])
{
    __m512i t[BLOCK];
    /* Pairs of rows: elements of one column side by side. */
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK; i += 2) {
        t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    /* Fours of rows; register j: column 4 q + j in quarter q. */
#pragma GCC unroll 4
    for (int i = 0; i < BLOCK; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* Quarters are a 4 x 4 of their own. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0x44);
        __m512i b = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0xee);
        __m512i c = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0x44);
        __m512i d = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0xee);
        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[j + 4] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[j + 8] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[j + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < BLOCK; i++)
        rows[i] = t[i];
}

/* A column: states that are full give a word, in the order of their rows, then all take their symbol. */
static inline __m512i step(__m512i x, __m512i e, uint8_t **at)
{
    const __m512i rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i less_1 =
        _mm512_and_si512(_mm512_srli_epi32(e, EN_RANS_FREQ_AT), _mm512_set1_epi32(EN_RANS_FIELD));
    __m512i freq = _mm512_add_epi32(less_1, _mm512_set1_epi32(1));
    __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1), _mm512_cvtepi32_ps(freq));

    __mmask16 full = _mm512_cmpgt_epu32_mask(_mm512_srli_epi32(x, 32 - EN_RANS_SCALE_BITS), less_1);
    uint32_t n = (uint32_t)__builtin_popcount(full);
    /* To the end of the register, so that what lies behind 'at' stays. */
    __m512i words = _mm512_permutexvar_epi32(_mm512_add_epi32(rows, _mm512_set1_epi32((int)n)),
                                             _mm512_maskz_compress_epi32(full, x));
    _mm256_storeu_si256((void *)(*at - EN_RANS_SLACK), _mm512_cvtepi32_epi16(words));
    *at -= 2 * n;
    x = _mm512_mask_srli_epi32(x, full, x, 16);

    /* x / freq is below 2^20, the product within 3 2^-24 of it, or 0.19: less 0.25 it is never above, and its
     * whole part the quotient or one less. */
    __m512i quotient =
        _mm512_cvttps_epi32(_mm512_fmsub_ps(_mm512_cvtepu32_ps(x), inverse, _mm512_set1_ps(0.25F)));
    __m512i up = _mm512_sub_epi32(_mm512_set1_epi32(EN_RANS_SCALE), freq);
    __m512i sum = _mm512_add_epi32(x, _mm512_mullo_epi32(quotient, up));
    __m512i rest = _mm512_sub_epi32(sum, _mm512_slli_epi32(quotient, EN_RANS_SCALE_BITS));
    __mmask16 one_less = _mm512_cmpge_epu32_mask(rest, freq);
    sum = _mm512_mask_add_epi32(sum, one_less, sum, up);
    return _mm512_add_epi32(sum, _mm512_srli_epi32(e, EN_RANS_OFFSET_AT));
}

static void rans_encode(en_rans_writing *w, const en_rans_symbols *symbols, const int32_t *z,
                        size_t stride, uint32_t row, uint32_t col)
{
    __m512i even = _mm512_loadu_si512(w->states);
    __m512i odd = _mm512_loadu_si512(w->states + EN_STRIP_ROWS);
    uint8_t *at = w->at;
    for (uint32_t first = EN_UNIT_COLS; first > 0;) {
        first -= BLOCK;
        __m512i entries[BLOCK];
#pragma GCC unroll 16
        for (uint32_t r = 0; r < EN_STRIP_ROWS; r++)
            entries[r] = row_entries(w, symbols, z + r * stride + first, row + r, col + first);
        transpose(entries);
#pragma GCC unroll 8
        for (int k = BLOCK; k > 0; k -= 2) {
            odd = step(odd, entries[k - 1], &at);
            even = step(even, entries[k - 2], &at);
        }
    }
    _mm512_storeu_si512(w->states, even);
    _mm512_storeu_si512(w->states + EN_STRIP_ROWS, odd);
    w->at = at;
}

void en_kernels_init_rans_encode_avx512(en_kernels *table)
{
    table->rans_encode = rans_encode;
}
