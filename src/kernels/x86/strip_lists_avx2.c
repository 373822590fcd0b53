/*
 * strip_lists_avx2.c - what is counted in a strip's list.  Sums over it stay plain C: vectors of all rows
 * (strip_lists_avx512.c) made coded weights up to 1.08 times as fast, and packed ones slower while these had such
 * lists as well (docs/performance.md); to be tried again.
 */
#include <immintrin.h>

#include "base/bytes.h"
#include "kernels/kernels.h"

#define INLINED static inline __attribute__((always_inline))

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
    table->list_scan = list_scan;
}
