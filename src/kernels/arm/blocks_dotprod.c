/*
 * blocks_dotprod.c - products of GGUF's blocks with the instruction that sums four products of
 * signed bytes (Armv8.2 and later); see blocks_template.h.
 */
#include <arm_neon.h>

static inline int32x4_t add_products(int32x4_t sum, int8x16_t w, int8x16_t q)
{
    return vdotq_s32(sum, w, q);
}

#include "kernels/arm/blocks_template.h"

void en_kernels_init_blocks_dotprod(en_kernels *table)
{
    init_blocks(table);
}
