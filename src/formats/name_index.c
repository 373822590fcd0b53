/* name_index.c - see name_index.h. */
#include "formats/name_index.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/* The slot of the name, or the free one where it belongs. */
static struct en_name_slot *slot_of(const en_name_index *index, const char *name)
{
    size_t mask = index->n_slots - 1;
    size_t i = (size_t)en_hash64(name, strlen(name)) & mask;
    while (index->slots[i].name != NULL && strcmp(index->slots[i].name, name) != 0)
        i = (i + 1) & mask;
    return &index->slots[i];
}

bool en_name_index_reserve(en_name_index *index, size_t n_names)
{
    size_t n_slots = 16;
    while (n_slots / 2 < n_names)
        if (!en_mul(n_slots, 2, &n_slots))
            return false;
    if (n_slots <= index->n_slots)
        return true;
    en_name_index larger = {.slots = en_alloc_zero(n_slots, sizeof *larger.slots),
                            .n_slots = n_slots,
                            .n_names = index->n_names};
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < index->n_slots; i++)
        if (index->slots[i].name != NULL)
            *slot_of(&larger, index->slots[i].name) = index->slots[i];
    en_name_index_free(index);
    *index = larger;
    return true;
}

bool en_name_index_add(en_name_index *index, const char *name, uint32_t number)
{
    if (!en_name_index_reserve(index, index->n_names + 1))
        return false;
    *slot_of(index, name) = (struct en_name_slot){.name = name, .number = number};
    index->n_names++;
    return true;
}

uint32_t en_name_index_find(const en_name_index *index, const char *name)
{
    if (index->n_slots == 0)
        return EN_NAME_NONE;
    const struct en_name_slot *slot = slot_of(index, name);
    return slot->name != NULL ? slot->number : EN_NAME_NONE;
}

void en_name_index_clear(en_name_index *index)
{
    if (index->n_slots > 0)
        memset(index->slots, 0, index->n_slots * sizeof *index->slots);
    index->n_names = 0;
}

void en_name_index_free(en_name_index *index)
{
    en_free(index->slots);
    *index = (en_name_index){0};
}
