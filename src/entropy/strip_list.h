/*
 * strip_list.h - what a strip's decoded values must still be added: the exceptions of coding 2 and 4 as they lie in
 * a file.
 *
 * Entries stand by column, then row.  Entry i belongs to column cols[i] and row tags[i] & 15; its difference
 * is ((tags[i] >> 4) - 8) << shift, or, where tags[i] >> 4 is 0, the next one of 'large'.
 */
#ifndef EN_ENTROPY_STRIP_LIST_H
#define EN_ENTROPY_STRIP_LIST_H

#include "base/bytes.h"
#include "entropy/strips.h"

typedef struct en_strip_list {
    uint32_t n;
    unsigned shift;
    const uint8_t *cols;  /* u16 x n, below the padded columns */
    const uint8_t *tags;  /* u8 x n */
    const uint8_t *large; /* i32 x n_large */
    uint32_t n_large;     /* as many as tags say so */
} en_strip_list;

/* Entry i, to be asked for in order from 0 on; 'large' begins as list->large. */
static inline en_strip_exception en_strip_list_entry(const en_strip_list *list, uint32_t i,
                                                     const uint8_t **large)
{
    uint32_t tag = list->tags[i];
    en_strip_exception e = {tag & 15, en_load16(list->cols + 2 * (size_t)i), 0};
    if (tag >> 4 != 0) {
        e.delta = ((int32_t)(tag >> 4) - 8) * (1 << list->shift);
    } else {
        e.delta = (int32_t)en_load32(*large);
        *large += 4;
    }
    return e;
}

/* Adds large difference number k, which entry i has. */
static inline void en_strip_list_add_large(const en_strip_list *list, uint32_t i, uint32_t k,
                                           const int16_t *q, int64_t *sums)
{
    uint32_t col = en_load16(list->cols + 2 * (size_t)i);
    int32_t delta = (int32_t)en_load32(list->large + 4 * (size_t)k);
    sums[list->tags[i] & 15] += (int64_t)delta * q[col];
}

#endif
