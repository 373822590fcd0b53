/*
 * short_float.h - positive numbers of 5 significant bits within 16 octaves, a byte each: steps and scales whose
 * rounding errors are made up for (quant/watersic.h).
 *
 *   byte b under exponent E:  (16 + (b & 15)) 2^(E + (b >> 4))
 *
 * With EN_SHORT_MIN_EXPONENT <= E <= EN_SHORT_MAX_EXPONENT all of them are normal values of f16.
 */
#ifndef EN_TENSOR_SHORT_FLOAT_H
#define EN_TENSOR_SHORT_FLOAT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EN_SHORT_MIN_EXPONENT = -18,
    EN_SHORT_MAX_EXPONENT = -4,
    EN_SHORT_OCTAVES = 16,
    EN_SHORT_FRACTION_BITS = 4,
};

/* The nearest number of 5 significant bits, of any size. */
static inline double en_short_round(double x)
{
    int exponent;
    double fraction = frexp(x, &exponent); /* 0.5 <= fraction < 1 */
    return ldexp(rint(ldexp(fraction, EN_SHORT_FRACTION_BITS + 1)),
                 exponent - EN_SHORT_FRACTION_BITS - 1);
}

/* The highest E under which all of x are such numbers; false when there is none. */
static inline bool en_short_exponent(const float *x, size_t n, int *exponent)
{
    int lowest = EN_SHORT_MAX_EXPONENT, highest = EN_SHORT_MIN_EXPONENT;
    for (size_t i = 0; i < n; i++) {
        int e;
        if (!(x[i] > 0) || !isfinite(x[i]) || (double)x[i] != en_short_round((double)x[i]))
            return false;
        frexp((double)x[i], &e);
        e -= EN_SHORT_FRACTION_BITS + 1;
        lowest = e < lowest ? e : lowest;
        highest = e > highest ? e : highest;
    }
    *exponent = lowest;
    return lowest >= EN_SHORT_MIN_EXPONENT && highest < lowest + EN_SHORT_OCTAVES;
}

/* Of a number that en_short_exponent() has accepted. */
static inline uint8_t en_short_store(float x, int exponent)
{
    int e;
    double fraction = frexp((double)x, &e);
    int units = (int)ldexp(fraction, EN_SHORT_FRACTION_BITS + 1); /* 16 to 31 */
    return (uint8_t)((e - EN_SHORT_FRACTION_BITS - 1 - exponent) << 4 | (units & 15));
}

/* The value's f16. */
static inline uint16_t en_short_to_half(uint8_t b, int exponent)
{
    enum { BIAS = 15, FRACTION = 10 };
    return (uint16_t)((exponent + (b >> 4) + EN_SHORT_FRACTION_BITS + BIAS) << FRACTION |
                      (b & 15) << (FRACTION - EN_SHORT_FRACTION_BITS));
}

#endif
