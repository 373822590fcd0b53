/*
 * half.h - 16-bit floats to f32, without branches so that loops over them vectorize.
 */
#ifndef EN_TENSOR_HALF_H
#define EN_TENSOR_HALF_H

#include <stdint.h>
#include <string.h>

static inline float en_f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/*
 * Exact for every value; NaNs keep sign and payload and become quiet, as the processors' own
 * instructions do.  'large' serves normal numbers, infinities and NaNs: the exponent is raised so
 * that 31 becomes 255, and the multiplication puts finite ones back.  'small' serves subnormal
 * numbers: their bits are placed below a 0.5 that is then subtracted.
 */
static inline float en_half_to_f32(uint16_t half)
{
    uint32_t w = (uint32_t)half << 16, magnitude = w << 1;
    float large = en_f32_of_bits((magnitude >> 4) + (0xE0u << 23)) * 0x1p-112f;
    float small = en_f32_of_bits((magnitude >> 17) | (126u << 23)) - 0.5f;
    uint32_t large_bits, small_bits;
    memcpy(&large_bits, &large, sizeof large_bits);
    memcpy(&small_bits, &small, sizeof small_bits);
    /* All ones when the exponent is 0.  A mask, because gcc makes a branch of "a ? b : c" here,
     * and loops then do not vectorize (three times slower). */
    uint32_t is_small = (uint32_t)((int32_t)((magnitude >> 27) - 1) >> 31);
    return en_f32_of_bits((w & 0x80000000u) | (small_bits & is_small) | (large_bits & ~is_small));
}

static inline float en_bf16_to_f32(uint16_t bf16)
{
    return en_f32_of_bits((uint32_t)bf16 << 16);
}

#endif
