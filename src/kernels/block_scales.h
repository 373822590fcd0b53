/*
 * block_scales.h - the packed scales of Q4_K and Q5_K, for all that multiply such blocks.
 *
 *   bytes 0-3: scale 0-3, above it bits 4-5 of scale 4-7
 *   bytes 4-7: min 0-3,   above it bits 4-5 of min 4-7
 *   bytes 8-11: low nibble: bits 0-3 of scale 4-7; high nibble: of min 4-7
 */
#ifndef EN_KERNELS_BLOCK_SCALES_H
#define EN_KERNELS_BLOCK_SCALES_H

#include "base/bytes.h"

/* Byte g of a result belongs to group g: four fields at a time, as the file has them. */
static inline void en_block_scales(const uint8_t packed[12], uint64_t *scales, uint64_t *mins)
{
    uint32_t a = en_load32(packed), b = en_load32(packed + 4), c = en_load32(packed + 8);
    uint32_t scales_above = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    uint32_t mins_above = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    *scales = (a & 0x3f3f3f3f) | (uint64_t)scales_above << 32;
    *mins = (b & 0x3f3f3f3f) | (uint64_t)mins_above << 32;
}

#endif
