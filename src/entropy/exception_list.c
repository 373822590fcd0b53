/* exception_list.c - see exception_list.h. */
#include "entropy/exception_list.h"

#include <stdlib.h>

#include "base/memory.h"

bool en_exception_list_reserve(en_exception_list *list, size_t n)
{
    return list->n + n <= list->cap ||
           en_grow((void **)&list->items, &list->cap, list->n + n, SIZE_MAX, sizeof *list->items);
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
