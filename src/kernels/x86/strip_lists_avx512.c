/*
 * strip_lists_avx512.c - sums over a strip's list (entropy/strip_list.h), a vector of its 16 rows at a time: an entry is a
 * load of its activation into all lanes and one product with a vector that has the entry's difference in the lane
 * of its row.
 *
 * Differences are of 16 bits with 16 zeros above, and activations stand with whatever is behind them: products
 * of pairs of 16 bits, added, leave that out.
 */
#include <immintrin.h>

#include "base/bytes.h"
#include "kernels/kernels.h"

/* Entries whose sums stay below 2^31: a difference is at most 7, an activation 2^15. */
enum { LIST_BLOCK = 8192 };

/* ---- the table --------------------------------------------------------------------------- */

#define LANE(TAG, ROW) (((TAG)&15) == (ROW) && (TAG) >> 4 != 0 ? (uint16_t)(((TAG) >> 4) - 8) : 0)
#define LANES_4(TAG, ROW)                                                                          \
    LANE(TAG, ROW), LANE(TAG, (ROW) + 1), LANE(TAG, (ROW) + 2), LANE(TAG, (ROW) + 3)
#define LANES(TAG)                                                                                 \
    {                                                                                              \
        LANES_4(TAG, 0), LANES_4(TAG, 4), LANES_4(TAG, 8), LANES_4(TAG, 12)                        \
    }
#define TAGS_4(TAG)  LANES(TAG), LANES((TAG) + 1), LANES((TAG) + 2), LANES((TAG) + 3)
#define TAGS_16(TAG) TAGS_4(TAG), TAGS_4((TAG) + 4), TAGS_4((TAG) + 8), TAGS_4((TAG) + 12)
#define TAGS_64(TAG) TAGS_16(TAG), TAGS_16((TAG) + 16), TAGS_16((TAG) + 32), TAGS_16((TAG) + 48)

/* [tag]: the difference in lane tag & 15; none where a tag says that it is a large one. */
_Alignas(64) static const uint32_t list_lanes[256][EN_STRIP_ROWS] = {TAGS_64(0), TAGS_64(64),
                                                                     TAGS_64(128), TAGS_64(192)};

/* ---- sums -------------------------------------------------------------------------------- */

#define INLINED static inline __attribute__((always_inline))

INLINED void add_half(__m256i parts, unsigned shift, int64_t *sums)
{
    __m512i wide = _mm512_sll_epi64(_mm512_cvtepi32_epi64(parts), _mm_cvtsi32_si128((int)shift));
    _mm512_storeu_si512(sums, _mm512_add_epi64(_mm512_loadu_si512(sums), wide));
}

INLINED __m512i add_entry(__m512i sum, const en_strip_list *list, size_t i, const int16_t *q)
{
    uint32_t col = en_load16(list->cols + 2 * i);
    __m512i both = _mm512_set1_epi32((int)en_load32(q + col));
    return _mm512_dpwssd_epi32(sum, both, _mm512_load_si512(list_lanes[list->tags[i]]));
}

INLINED void add_small(const en_strip_list *list, const int16_t *q, int64_t *sums)
{
    enum { WAYS = 4 }; /* one sum would wait for itself */
    for (size_t done = 0; done < list->n; done += LIST_BLOCK) {
        size_t i = done, end = list->n - done < LIST_BLOCK ? list->n : done + LIST_BLOCK;
        __m512i parts[WAYS];
        for (int w = 0; w < WAYS; w++)
            parts[w] = _mm512_setzero_si512();
        for (; i + WAYS <= end; i += WAYS)
#pragma GCC unroll 4
            for (size_t w = 0; w < WAYS; w++)
                parts[w] = add_entry(parts[w], list, i + w, q);
        for (; i < end; i++)
            parts[0] = add_entry(parts[0], list, i, q);
        __m512i all = _mm512_add_epi32(_mm512_add_epi32(parts[0], parts[1]),
                                       _mm512_add_epi32(parts[2], parts[3]));
        add_half(_mm512_castsi512_si256(all), list->shift, sums);
        add_half(_mm512_extracti64x4_epi64(all, 1), list->shift, sums + EN_STRIP_ROWS / 2);
    }
}

enum { TAGS = 64, COLS = 32 };

INLINED uint64_t first_bits(size_t n)
{
    return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/* Tags from 'at' on, TAGS at most, that tell of a large difference. */
INLINED uint64_t find_large(const en_strip_list *list, size_t at)
{
    __mmask64 there = first_bits(list->n - at);
    __m512i tags = _mm512_maskz_loadu_epi8(there, list->tags + at);
    return _mm512_mask_testn_epi8_mask(there, tags, _mm512_set1_epi8((char)0xF0));
}

static void list_add(const en_strip_list *list, const int16_t *q, int64_t *sums)
{
    add_small(list, q, sums);
    for (uint32_t at = 0, k = 0; k < list->n_large && at < list->n; at += TAGS)
        for (uint64_t large = find_large(list, at); large != 0 && k < list->n_large;
             large &= large - 1)
            en_strip_list_add_large(list, at + (uint32_t)__builtin_ctzll(large), k++, q, sums);
}

static uint32_t list_scan(const en_strip_list *list, uint32_t *n_large)
{
    __m512i most = _mm512_setzero_si512();
    uint32_t n = 0;
    for (size_t at = 0; at < list->n; at += TAGS)
        n += (uint32_t)__builtin_popcountll(find_large(list, at));
    for (size_t at = 0; at < list->n; at += COLS) {
        __mmask32 there = (__mmask32)first_bits(list->n - at);
        most = _mm512_max_epu16(most, _mm512_maskz_loadu_epi16(there, list->cols + 2 * at));
    }
    __m512i both = _mm512_max_epu32(_mm512_and_si512(most, _mm512_set1_epi32(0xFFFF)),
                                    _mm512_srli_epi32(most, 16));
    *n_large = n;
    return _mm512_reduce_max_epu32(both);
}

void en_kernels_init_strip_lists_avx512(en_kernels *table)
{
    table->list_add = list_add;
    table->list_scan = list_scan;
}
