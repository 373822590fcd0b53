/*
 * pack_strip.h - one decoded strip cut to the bits it is packed in, and the lists of what was cut off.
 */
#ifndef EN_LINEAR_PACK_STRIP_H
#define EN_LINEAR_PACK_STRIP_H

#include "linear/pack_plan.h"

/* What a strip's packed units do not hold; rows are those of the strip. */
typedef struct en_pack_cut_off {
    en_strip_exception *entries;
    size_t n, max;
} en_pack_cut_off;

/* Units as they are decoded become units of the layouts' bits; appends to 'off'.  False when that has no
 * room. */
bool en_pack_cut_strip(const en_strip_matrix *m, const en_pack_layout *layouts, uint32_t row_class,
                       const uint8_t *units, uint8_t *out, en_pack_cut_off *off);

/* Lists of strips as linear_pack.h draws them, one behind the other, while they grow. */
enum { EN_PACK_ENTRY_BYTES = 3, EN_PACK_LARGE_BYTES = 4 };
typedef struct en_pack_lists {
    uint8_t *data;
    size_t n, cap;
} en_pack_lists;
/* The list of the next strip.  Returns its bytes; 0: no memory. */
size_t en_pack_lists_add(en_pack_lists *lists, const en_strip_exception *e, size_t n);

#endif
