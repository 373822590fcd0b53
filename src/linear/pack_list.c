/* pack_list.c - see pack_list.h. */
#include "linear/pack_list.h"

#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"

enum { ENDS_BYTES = EN_STRIP_ROWS * sizeof(uint32_t) };

en_pack_list en_pack_list_at(const uint8_t *data, size_t n_bytes)
{
    en_pack_list list = {.n = en_load32(data + ENDS_BYTES - sizeof(uint32_t)),
                         .ends = data,
                         .cols = data + ENDS_BYTES};
    list.deltas = (const int8_t *)(list.cols + 2 * (size_t)list.n);
    list.large = list.cols + EN_PACK_ENTRY_BYTES * (size_t)list.n;
    list.n_large = (uint32_t)((size_t)(data + n_bytes - list.large) / EN_PACK_LARGE_BYTES);
    return list;
}

static en_strip_exception large_entry(const en_pack_list *list, uint32_t i)
{
    const uint8_t *at = list->large + EN_PACK_LARGE_BYTES * (size_t)i;
    return (en_strip_exception){en_load16(at + 6), en_load16(at + 4), (int32_t)en_load32(at)};
}

/* ---- sums -------------------------------------------------------------------------------- */

/* So many entries' sums stay below 2^31: differences are at most 128, activations below 2^14. */
enum { BLOCK = 1 << 10 };

/* before[i]: the sum of entries 0 to i - 1. */
static void sum_up(const uint8_t *cols, const int8_t *deltas, size_t n, const int16_t *q,
                   int32_t *before)
{
    enum { AT_ONCE = 8 };
    int32_t sum = before[0] = 0;
    size_t i = 0;
    for (; i + AT_ONCE <= n; i += AT_ONCE)
#pragma GCC unroll 8
        for (size_t k = i; k < i + AT_ONCE; k++)
            before[k + 1] = sum += deltas[k] * q[en_load16(cols + 2 * k)];
    for (; i < n; i++)
        before[i + 1] = sum += deltas[i] * q[en_load16(cols + 2 * i)];
}

/* Entry number 'end' of all as one of a block. */
static size_t in_block(uint32_t end, size_t first, size_t n)
{
    size_t at = end < first ? 0 : end - first;
    return at < n ? at : n;
}

void en_pack_list_add(const en_pack_list *list, const int16_t *q, int64_t *sums)
{
    int32_t before[BLOCK + 1];
    for (size_t first = 0; first < list->n; first += BLOCK) {
        size_t n = list->n - first < BLOCK ? list->n - first : BLOCK;
        sum_up(list->cols + 2 * first, list->deltas + first, n, q, before);
        for (size_t r = 0, start = 0, end; r < EN_STRIP_ROWS; r++, start = end) {
            end = in_block(en_load32(list->ends + sizeof(uint32_t) * r), first, n);
            sums[r] += before[end] - before[start];
        }
    }
    for (uint32_t i = 0; i < list->n_large; i++) {
        en_strip_exception e = large_entry(list, i);
        sums[e.row] += (int64_t)e.delta * q[e.col];
    }
}

en_strip_exception en_pack_list_entry(const en_pack_list *list, uint32_t i, uint32_t *row)
{
    if (i >= list->n)
        return large_entry(list, i - list->n);
    while (i >= en_load32(list->ends + sizeof(uint32_t) * *row))
        ++*row;
    return (en_strip_exception){*row, en_load16(list->cols + 2 * (size_t)i), list->deltas[i]};
}

/* ---- while they grow --------------------------------------------------------------------- */

static bool is_small(int32_t delta)
{
    return delta >= INT8_MIN && delta <= INT8_MAX;
}

bool en_pack_lists_add(en_pack_lists *lists, const en_strip_exception *e, size_t n)
{
    uint32_t next[EN_STRIP_ROWS] = {0}, n_small = 0;
    if (n == 0)
        return true;
    for (size_t i = 0; i < n; i++)
        next[e[i].row] += is_small(e[i].delta);
    for (size_t r = 0; r < EN_STRIP_ROWS; r++) {
        uint32_t here = next[r];
        next[r] = n_small;
        n_small += here;
    }
    size_t n_bytes =
        ENDS_BYTES + n_small * EN_PACK_ENTRY_BYTES + (n - n_small) * EN_PACK_LARGE_BYTES;
    void *data = lists->data;
    if (!en_grow(&data, &lists->cap, lists->n + n_bytes, SIZE_MAX / 2, 1))
        return false;
    lists->data = data;
    uint8_t *ends = lists->data + lists->n, *cols = ends + ENDS_BYTES, *deltas, *large;
    deltas = cols + 2 * (size_t)n_small;
    large = deltas + n_small;
    for (size_t i = 0; i < n; i++) {
        if (is_small(e[i].delta)) {
            uint32_t at = next[e[i].row]++;
            en_store16(cols + 2 * (size_t)at, (uint16_t)e[i].col);
            deltas[at] = (uint8_t)e[i].delta;
            continue;
        }
        en_store32(large, (uint32_t)e[i].delta);
        en_store16(large + 4, (uint16_t)e[i].col);
        en_store16(large + 6, (uint16_t)e[i].row);
        large += EN_PACK_LARGE_BYTES;
    }
    for (size_t r = 0; r < EN_STRIP_ROWS; r++)
        en_store32(ends + sizeof(uint32_t) * r, next[r]);
    lists->n += n_bytes;
    return true;
}
