/*
 * finite.h - the first number of many that is NaN or an infinity.
 *
 * The kernel says fast whether there is one; only then is it looked for.
 */
#ifndef EN_QUANT_FINITE_H
#define EN_QUANT_FINITE_H

#include <math.h>
#include <stddef.h>

#include "kernels/kernels.h"

/* How many are finite before the first that is not; n when all are. */
static inline size_t en_finite_count(const float *values, size_t n)
{
    float lo, hi;
    if (n == 0 || en_kernels_get()->min_max(values, n, &lo, &hi))
        return n;
    size_t i = 0;
    while (i + 1 < n && isfinite(values[i]))
        i++;
    return i;
}

#endif
