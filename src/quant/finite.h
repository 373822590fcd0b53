/*
 * finite.h - the first number of many that is NaN or an infinity, and what is said of it.
 *
 * The kernel says fast whether there is one; only then is it looked for.
 */
#ifndef EN_QUANT_FINITE_H
#define EN_QUANT_FINITE_H

#include <math.h>
#include <stddef.h>

#include "base/status.h"
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

/* The sign of a NaN tells nobody anything. */
static inline const char *en_finite_name(float value)
{
    return isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

/* A matrix of the source has such a number. */
static inline entro_status en_fail_not_finite(uint64_t row, uint64_t col, float value,
                                              entro_error *err)
{
    return en_fail(err, ENTRO_ERR_FORMAT,
                   "the number in row %llu, column %llu is %s, expected finite numbers (damaged "
                   "file?)",
                   (unsigned long long)row, (unsigned long long)col, en_finite_name(value));
}

#endif
