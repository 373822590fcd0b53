/*
 * pack_list.h - what the units of one packed strip do not hold, row by row.
 *
 *   u32 end x 16 | u16 column x n | i8 difference x n | large ones: i32 difference, u16 column, u16 row
 *
 * Row r has entries end[r - 1] to end[r] - 1, n = end[15].  A strip without any has no bytes.  In a file
 * lists stand by column (entropy/strip_list.h); by row their sums need neither a table nor a sum for each
 * entry's row in memory.
 */
#ifndef EN_LINEAR_PACK_LIST_H
#define EN_LINEAR_PACK_LIST_H

#include "entropy/strips.h"

typedef struct en_pack_list {
    uint32_t n, n_large;
    const uint8_t *ends, *cols, *large;
    const int8_t *deltas;
} en_pack_list;

/* 'n_bytes', more than 0, as they were appended. */
en_pack_list en_pack_list_at(const uint8_t *data, size_t n_bytes);
/* sums[r] += sum of difference * q[column] over the entries of row r; |q| <= EN_PLANES_MAX. */
void en_pack_list_add(const en_pack_list *list, const int16_t *q, int64_t *sums);
/* Entry i of n + n_large, to be asked for in order; *row: 0 before the first. */
en_strip_exception en_pack_list_entry(const en_pack_list *list, uint32_t i, uint32_t *row);

/* Lists of strips, one behind the other, while they grow. */
enum { EN_PACK_ENTRY_BYTES = 3, EN_PACK_LARGE_BYTES = 8 };
typedef struct en_pack_lists {
    uint8_t *data;
    size_t n, cap;
} en_pack_lists;
/* The list of the next strip, in any order; rows are those of the strip.  False: no memory. */
bool en_pack_lists_add(en_pack_lists *lists, const en_strip_exception *e, size_t n);

#endif
