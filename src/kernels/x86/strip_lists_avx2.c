/* strip_lists_avx2.c - see strip_lists.h. */
#include "kernels/x86/strip_lists.h"

#include <immintrin.h>

#include "base/bytes.h"

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

_Alignas(64) const uint32_t en_list_lanes[256][EN_STRIP_ROWS] = {TAGS_64(0), TAGS_64(64),
                                                                 TAGS_64(128), TAGS_64(192)};

/* ---- sums -------------------------------------------------------------------------------- */

enum { HALF = EN_STRIP_ROWS / 2, QUARTER = HALF / 2 };

#define INLINED static inline __attribute__((always_inline))

INLINED void add_halves(__m256i parts, unsigned shift, int64_t *sums)
{
    for (int i = 0; i < 2; i++) {
        __m128i quarter =
            i == 0 ? _mm256_castsi256_si128(parts) : _mm256_extracti128_si256(parts, 1);
        __m256i wide =
            _mm256_sll_epi64(_mm256_cvtepi32_epi64(quarter), _mm_cvtsi32_si128((int)shift));
        __m256i *to = (__m256i *)(void *)(sums + i * QUARTER);
        _mm256_storeu_si256(to, _mm256_add_epi64(_mm256_loadu_si256(to), wide));
    }
}

/* Adds an entry to the sums of both halves of the rows. */
INLINED void add_entry(const en_strip_list *list, size_t i, const int16_t *q, __m256i sums[2])
{
    const uint32_t *lanes = en_list_lanes[list->tags[i]], col = en_load16(list->cols + 2 * i);
    __m256i both = _mm256_set1_epi32((int)en_load32(q + col));
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i deltas = _mm256_load_si256((const void *)(lanes + h * HALF));
        sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(both, deltas));
    }
}

INLINED void add_small(const en_strip_list *list, const int16_t *q, int64_t *sums)
{
    for (size_t done = 0; done < list->n; done += EN_LIST_BLOCK) {
        size_t i = done, end = list->n - done < EN_LIST_BLOCK ? list->n : done + EN_LIST_BLOCK;
        __m256i even[2], odd[2]; /* one sum would wait for itself */
        even[0] = even[1] = odd[0] = odd[1] = _mm256_setzero_si256();
        for (; i + 2 <= end; i += 2) {
            add_entry(list, i, q, even);
            add_entry(list, i + 1, q, odd);
        }
        if (i < end)
            add_entry(list, i, q, even);
        for (int h = 0; h < 2; h++)
            add_halves(_mm256_add_epi32(even[h], odd[h]), list->shift, sums + h * HALF);
    }
}

/* ---- large differences ------------------------------------------------------------------- */

enum { TAGS = 32, COLS = 16 };

/* Tags from 'at' on, TAGS at most, that tell of one. */
INLINED uint32_t find_large(const en_strip_list *list, size_t at)
{
    uint8_t rest[TAGS];
    size_t left = list->n - at;
    const uint8_t *tags = list->tags + at;
    if (left < TAGS) {
        memset(rest, 255, sizeof rest);
        tags = memcpy(rest, tags, left);
    }
    __m256i upper =
        _mm256_and_si256(_mm256_loadu_si256((const void *)tags), _mm256_set1_epi8((char)0xF0));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(upper, _mm256_setzero_si256()));
}

static void list_add(const en_strip_list *list, const int16_t *q, int64_t *sums)
{
    add_small(list, q, sums);
    for (uint32_t at = 0, k = 0; k < list->n_large && at < list->n; at += TAGS)
        for (uint32_t large = find_large(list, at); large != 0 && k < list->n_large;
             large &= large - 1)
            en_strip_list_add_large(list, at + (uint32_t)__builtin_ctz(large), k++, q, sums);
}

static uint32_t list_scan(const en_strip_list *list, uint32_t *n_large)
{
    __m256i most = _mm256_setzero_si256();
    uint16_t lanes[COLS] = {0};
    size_t i = 0;
    uint32_t n = 0, last = 0;
    for (size_t at = 0; at < list->n; at += TAGS)
        n += (uint32_t)__builtin_popcount(find_large(list, at));
    for (; i + COLS <= list->n; i += COLS)
        most = _mm256_max_epu16(most, _mm256_loadu_si256((const void *)(list->cols + 2 * i)));
    _mm256_storeu_si256((void *)lanes, most);
    for (; i < list->n; i++) {
        uint16_t col = en_load16(list->cols + 2 * i);
        lanes[0] = col > lanes[0] ? col : lanes[0];
    }
    for (i = 0; i < COLS; i++)
        last = lanes[i] > last ? lanes[i] : last;
    *n_large = n;
    return last;
}

void en_kernels_init_strip_lists_avx2(en_kernels *table)
{
    table->list_add = list_add;
    table->list_scan = list_scan;
}
