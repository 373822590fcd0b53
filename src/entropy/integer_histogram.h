/*
 * integer_histogram.h - counts of integers, cut to what a picture of them needs.
 *
 *         left out | first ... most frequent ... first + n_values - 1 | left out
 *
 * The run grows from the most frequent value towards the more frequent neighbour, until no more than one
 * integer in EN_HISTOGRAM_LEFT_OUT is outside or there is no room for more values.
 */
#ifndef EN_ENTROPY_INTEGER_HISTOGRAM_H
#define EN_ENTROPY_INTEGER_HISTOGRAM_H

#include "base/status.h"

#include <stddef.h>

enum { EN_HISTOGRAM_LEFT_OUT = 10000 };

/* From n > 0 counts, of 'first' and the values behind it, and n_outside integers that are none of these. */
void en_integer_histogram_take(entro_histogram *h, const uint64_t *counts, size_t n, int32_t first,
                               uint64_t n_outside);

#endif
