/* exception_list.c - see exception_list.h. */
#include "entropy/exception_list.h"

#include <stdlib.h>

#include "base/memory.h"

bool en_exception_list_reserve(en_exception_list *list, size_t n)
{
    return list->n + n <= list->cap ||
           en_grow((void **)&list->items, &list->cap, list->n + n, SIZE_MAX, sizeof *list->items);
}

bool en_exception_list_add(en_exception_list *list, size_t row, size_t col, int64_t delta)
{
    if (delta == 0)
        return true;
    if (!en_exception_list_reserve(list, 1))
        return false;
    list->items[list->n++] = (en_strip_exception){(uint32_t)row, (uint32_t)col, (int32_t)delta};
    return true;
}

static int compare_places(const void *a, const void *b)
{
    const en_strip_exception *x = a, *y = b;
    uint32_t strip_x = x->row / EN_STRIP_ROWS, strip_y = y->row / EN_STRIP_ROWS;
    if (strip_x != strip_y)
        return strip_x < strip_y ? -1 : 1;
    if (x->col != y->col)
        return x->col < y->col ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

void en_exception_list_sort(en_exception_list *list)
{
    if (list->n > 0)
        qsort(list->items, list->n, sizeof *list->items, compare_places);
}
