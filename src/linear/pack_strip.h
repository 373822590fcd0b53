/*
 * pack_strip.h - one decoded strip cut to the bits it is packed in, and what was cut off.
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

#endif
