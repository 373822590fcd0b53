/*
 * name_index.h - from names to numbers: a hash table with open addressing.
 *
 * Names are borrowed and must stay where they are.  A zeroed index is empty and valid.
 */
#ifndef EN_FORMATS_NAME_INDEX_H
#define EN_FORMATS_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EN_NAME_NONE UINT32_MAX

typedef struct en_name_index {
    struct en_name_slot {
        const char *name; /* NULL: free */
        uint32_t number;
    } * slots;
    size_t n_slots; /* a power of two, or 0 */
    size_t n_names; /* at most half of the slots */
} en_name_index;

/* Room for n_names names; false when out of memory. */
bool en_name_index_reserve(en_name_index *index, size_t n_names);
/* Adds a name that is not in it; false when out of memory (never within the room reserved). */
bool en_name_index_add(en_name_index *index, const char *name, uint32_t number);
/* EN_NAME_NONE when absent. */
uint32_t en_name_index_find(const en_name_index *index, const char *name);
/* Empties it and keeps its memory. */
void en_name_index_clear(en_name_index *index);
void en_name_index_free(en_name_index *index);

#endif
