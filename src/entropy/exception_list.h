/* exception_list.h - the exceptions of a chunk while it is encoded, in strips.h or rans.h. */
#ifndef EN_ENTROPY_EXCEPTION_LIST_H
#define EN_ENTROPY_EXCEPTION_LIST_H

#include "entropy/strips.h"

typedef struct en_exception_list {
    en_strip_exception *items; /* owned */
    size_t n, cap;
} en_exception_list;

/* Makes room for n more.  False when there is no memory. */
bool en_exception_list_reserve(en_exception_list *list, size_t n);
/* By strip, column, row: the order of the file. */
void en_exception_list_sort(en_exception_list *list);

#endif
