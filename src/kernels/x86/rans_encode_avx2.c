/*
 * rans_encode_avx2.c - encoding of entropy/rans.h, the states of eight rows in a register; see
 * rans_encode_avx512.c.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

enum { BLOCK = 8 };

static inline __m256i row_entries(en_rans_writing *w, const en_rans_symbols *symbols,
                                  const int32_t *z, uint32_t row, uint32_t col)
{
    const __m256i last = _mm256_set1_epi32((int)symbols->n - 1),
                  base = _mm256_set1_epi32(symbols->base);
    __m256i wanted = _mm256_loadu_si256((const void *)z), v = _mm256_sub_epi32(wanted, base);
    __m256i above = _mm256_cmpgt_epi32(wanted, base);
    v = _mm256_and_si256(above, _mm256_min_epu32(v, last));
    __m256i e = _mm256_i32gather_epi32((const int *)symbols->entries, v, 4);
    __m256i coded = _mm256_add_epi32(_mm256_and_si256(e, _mm256_set1_epi32(255)), base);
    __m256i same = _mm256_cmpeq_epi32(coded, wanted);
    unsigned missed = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(same)) ^ 0xff;
    if (missed != 0) {
        int32_t deltas[BLOCK];
        _mm256_storeu_si256((void *)deltas, _mm256_sub_epi32(wanted, coded));
        en_rans_list_missed(w, missed, deltas, row, col);
    }
    return e;
}

/* rows[r][c] -> rows[c][r] */
static inline void transpose(__m256i rows[BLOCK])
{
    __m256i t[BLOCK];
    /* Pairs of rows: elements of one column side by side. */
    for (int i = 0; i < BLOCK; i += 2) {
        t[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    /* Fours of rows; register j: columns j and 4 + j. */
    for (int i = 0; i < BLOCK; i += 4) {
        rows[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        rows[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        rows[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        rows[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm256_permute2x128_si256(rows[j], rows[j + 4], 0x20);
        t[j + 4] = _mm256_permute2x128_si256(rows[j], rows[j + 4], 0x31);
    }
    for (int i = 0; i < BLOCK; i++)
        rows[i] = t[i];
}

/* The low halves of those of x that are in 'full', before 'at'. */
static inline uint8_t *put_words(uint8_t *at, __m256i x, unsigned full)
{
    uint64_t takers = _pdep_u64(full, UINT64_C(0x0101010101010101)) * 255;
    unsigned n = (unsigned)__builtin_popcount(full);
    /* Numbers of those rows, at the end of the register, so that what lies behind 'at' stays. */
    uint64_t numbers = _pext_u64(UINT64_C(0x0706050403020100), takers)
                       << 4 * (BLOCK - n) << 4 * (BLOCK - n);
    x = _mm256_permutevar8x32_epi32(x, _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)numbers)));
    x = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
    _mm_storeu_si128((void *)(at - 2 * BLOCK),
                     _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
    return at - 2 * n;
}

static inline __m256 from_u32(__m256i x)
{
    __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16));
    __m256 low = _mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff)));
    return _mm256_fmadd_ps(high, _mm256_set1_ps(65536), low);
}

/* Eight rows of a column. */
static inline __m256i step(__m256i x, __m256i e, uint8_t **at)
{
    __m256i less_1 =
        _mm256_and_si256(_mm256_srli_epi32(e, EN_RANS_FREQ_AT), _mm256_set1_epi32(EN_RANS_FIELD));
    __m256i freq = _mm256_add_epi32(less_1, _mm256_set1_epi32(1));
    __m256 inverse = _mm256_div_ps(_mm256_set1_ps(1), _mm256_cvtepi32_ps(freq));

    __m256i full = _mm256_cmpgt_epi32(_mm256_srli_epi32(x, 32 - EN_RANS_SCALE_BITS), less_1);
    *at = put_words(*at, x, (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(full)));
    x = _mm256_blendv_epi8(x, _mm256_srli_epi32(x, 16), full);

    __m256i quotient =
        _mm256_cvttps_epi32(_mm256_fmsub_ps(from_u32(x), inverse, _mm256_set1_ps(0.25F)));
    __m256i up = _mm256_sub_epi32(_mm256_set1_epi32(EN_RANS_SCALE), freq);
    __m256i sum = _mm256_add_epi32(x, _mm256_mullo_epi32(quotient, up));
    __m256i rest = _mm256_sub_epi32(sum, _mm256_slli_epi32(quotient, EN_RANS_SCALE_BITS));
    __m256i one_less = _mm256_cmpgt_epi32(rest, less_1);
    sum = _mm256_add_epi32(sum, _mm256_and_si256(one_less, up));
    return _mm256_add_epi32(sum, _mm256_srli_epi32(e, EN_RANS_OFFSET_AT));
}

static void rans_encode(en_rans_writing *w, const en_rans_symbols *symbols, const int32_t *z,
                        size_t stride, uint32_t row, uint32_t col)
{
    __m256i states[4]; /* rows 0 to 7, 8 to 15; then of odd columns */
    for (int i = 0; i < 4; i++)
        states[i] = _mm256_loadu_si256((const void *)(w->states + 8 * i));
    uint8_t *at = w->at;
    for (uint32_t first = EN_UNIT_COLS; first > 0;) {
        first -= BLOCK;
        __m256i entries[2][BLOCK];
        for (uint32_t r = 0; r < EN_STRIP_ROWS; r++)
            entries[r / BLOCK][r % BLOCK] =
                row_entries(w, symbols, z + r * stride + first, row + r, col + first);
        transpose(entries[0]);
        transpose(entries[1]);
        for (int k = BLOCK; k-- > 0;) {
            __m256i *x = states + k % 2 * 2;
            x[1] = step(x[1], entries[1][k], &at);
            x[0] = step(x[0], entries[0][k], &at);
        }
    }
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256((void *)(w->states + 8 * i), states[i]);
    w->at = at;
}

void en_kernels_init_rans_encode_avx2(en_kernels *table)
{
    table->rans_encode = rans_encode;
}
