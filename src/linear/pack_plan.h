/*
 * pack_plan.h - how many bits the values of each pair of classes take in a packed matrix
 * (linear/linear_pack.h), and where that puts them.
 */
#ifndef EN_LINEAR_PACK_PLAN_H
#define EN_LINEAR_PACK_PLAN_H

#include "container/strip_matrix.h"

typedef struct en_pack_layout {
    uint8_t bits, lift;
} en_pack_layout;

/*
 * What a value in the list is counted for: its 24 bits, and time.  Measured on Zen 4 with two threads
 * from memory: an entry takes about as long as 40 bits, most of it while the next strip is fetched.
 */
#define EN_PACK_LISTED_BITS 64.0

/* 'layouts' has one for each pair of classes.  Of coding 4 from its frequencies, of coding 2 from a few
 * strips of each class. */
void en_pack_plan(const en_strip_matrix *m, en_pack_layout *layouts);
/* In the 4 or 8 bits that decoding gives. */
void en_pack_plan_as_decoded(const en_strip_matrix *m, en_pack_layout *layouts);
/* Of one strip's units. */
uint64_t en_pack_strip_bytes(const en_strip_matrix *m, const en_pack_layout *layouts,
                             uint32_t row_class);
/* Where each row class starts; returns the bytes of all. */
uint64_t en_pack_place_classes(const en_strip_matrix *m, const en_pack_layout *layouts,
                               uint64_t starts[EN_STRIP_MAX_ROW_CLASSES]);

#endif
