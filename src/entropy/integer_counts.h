/*
 * integer_counts.h - the entropy of integers of any size.
 *
 * Integers of a window around zero are counted one by one.  Those beyond are only numbered, and
 * taken as all different: they are rare, and then the entropy is at worst a little too high.
 */
#ifndef EN_ENTROPY_INTEGER_COUNTS_H
#define EN_ENTROPY_INTEGER_COUNTS_H

#include <stddef.h>
#include <stdint.h>

enum { EN_INTEGER_WINDOW = 1 << 15 };

typedef struct en_integer_counts {
    uint64_t inside[2 * EN_INTEGER_WINDOW]; /* of z + EN_INTEGER_WINDOW */
    uint64_t n_outside;
} en_integer_counts;

void en_integer_counts_clear(en_integer_counts *counts);
void en_integer_counts_add(en_integer_counts *counts, const int32_t *z, size_t n);
void en_integer_counts_merge(en_integer_counts *counts, const en_integer_counts *other);
/* Bits an integer; 0 when there is none. */
double en_integer_counts_entropy(const en_integer_counts *counts);

#endif
