/*
 * planes_template.h - bytes of numbers, one plane a byte, back to numbers (coding 3 of
 * docs/format.md).  Plain loops that compilers turn into vectors of the including file's instruction
 * set.
 *
 *   number   s hhhhhhhh lllllll | third | fourth         16 bits end at the bar
 *   planes     hhhhhhhh   slllllll   third   fourth
 */
#ifndef EN_KERNELS_PLANES_TEMPLATE_H
#define EN_KERNELS_PLANES_TEMPLATE_H

#include "kernels/kernels.h"

static void join_planes_16(const uint8_t *high, const uint8_t *low, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t l = low[i];
        out[i] = (uint16_t)((l & 0x80) << 8 | high[i] << 7 | (l & 0x7f));
    }
}

static void join_planes_32(const uint8_t *high, const uint8_t *low, const uint8_t *third,
                           const uint8_t *fourth, uint32_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t l = low[i];
        out[i] = (l & 0x80) << 24 | (uint32_t)high[i] << 23 | (l & 0x7f) << 16 |
                 (uint32_t)third[i] << 8 | fourth[i];
    }
}

static void init_planes_kernels(en_kernels *table)
{
    table->join_planes_16 = join_planes_16;
    table->join_planes_32 = join_planes_32;
}

#endif
