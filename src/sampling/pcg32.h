/*
 * pcg32.h - the random numbers of sampling: PCG-XSH-RR 64/32 (O'Neill, 2014).
 *
 * Our own, so that a seed gives the same text with every C library.
 */
#ifndef EN_SAMPLING_PCG32_H
#define EN_SAMPLING_PCG32_H

#include <stdint.h>

typedef struct en_pcg32 {
    uint64_t state;
} en_pcg32;

static inline uint32_t en_pcg32_next(en_pcg32 *rng)
{
    enum { STREAM = 54 };
    uint64_t old = rng->state;
    rng->state = old * 6364136223846793005u + ((uint64_t)STREAM << 1 | 1);
    uint32_t shifted = (uint32_t)((old >> 18 ^ old) >> 27);
    uint32_t rotation = (uint32_t)(old >> 59);
    return shifted >> rotation | shifted << (-rotation & 31);
}

static inline en_pcg32 en_pcg32_seed(uint64_t seed)
{
    en_pcg32 rng = {0};
    en_pcg32_next(&rng);
    rng.state += seed;
    en_pcg32_next(&rng);
    return rng;
}

/* In [0, 1), 32 bits fine. */
static inline double en_pcg32_unit(en_pcg32 *rng)
{
    return en_pcg32_next(rng) * (1.0 / 4294967296.0);
}

#endif
