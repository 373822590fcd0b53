/* blocks_neon.c - products of GGUF's blocks on any 64-bit ARM processor; see blocks_template.h. */
#include <arm_neon.h>

/* Two products fit in 16 bits: 128 x 127 x 2 = 32512. */
static inline int32x4_t add_products(int32x4_t sum, int8x16_t w, int8x16_t q)
{
    int16x8_t pairs = vmull_s8(vget_low_s8(w), vget_low_s8(q));
    return vpadalq_s16(sum, vmlal_s8(pairs, vget_high_s8(w), vget_high_s8(q)));
}

#include "kernels/arm/blocks_template.h"

void en_kernels_init_blocks_neon(en_kernels *table)
{
    init_blocks(table);
}
