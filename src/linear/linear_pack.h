/*
 * linear_pack.h - a matrix in coding 2 or 4 kept in memory decoded, in as few bits a value as pay.
 *
 *   value v of a class = lift + what its unit holds (entropy/strips.h) + its entries in the list
 *
 *   units: | strip 0: units of column class 0, of class 1 ... | strip 1 | ...
 *   lists: | of strip 0 (pack_list.h) | of strip 1 | ...
 *
 * Most integers of a class lie near each other, and a few far away: for Gaussian ones that take 3.5
 * bits of entropy, 4 bits hold 99.6 %.  What they do not hold is in the list.  How many bits pay is found
 * from a sample of each class.
 */
#ifndef EN_LINEAR_LINEAR_PACK_H
#define EN_LINEAR_LINEAR_PACK_H

#include "linear/linear_strips.h"
#include "linear/pack_list.h"
#include "linear/pack_plan.h"

struct en_linear_packed {
    en_pack_layout layouts[EN_STRIP_MAX_ROW_CLASSES * EN_STRIP_MAX_COL_CLASSES];
    uint64_t class_start[EN_STRIP_MAX_ROW_CLASSES]; /* of units */
    uint8_t *units, *lists;
    uint64_t *list_start; /* n_strips + 1 */
    uint64_t n_bytes;     /* all of it */
};

/* The list of a strip. */
en_pack_list en_pack_list_of(const en_linear_packed *p, uint32_t strip);
/* Where a strip's units begin. */
const uint8_t *en_pack_strip(const en_linear *matrix, uint32_t row_class, uint32_t strip);

#endif
