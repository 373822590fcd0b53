/*
 * kernels_neon.c - the kernels on vectors of 4 floats; every 64-bit ARM processor has these.
 */
#include <arm_neon.h>
#include <string.h>

#include "kernels/kernels.h"

typedef float32x4_t vec;
#define LANES         4
#define MATMUL_TOKENS 6 /* 24 sums, 4 rows, 1 token: 29 of 32 registers */

static inline vec v_set(float x)
{
    return vdupq_n_f32(x);
}

static inline vec v_load(const float *p)
{
    return vld1q_f32(p);
}

static inline vec v_load_part(const float *p, size_t m)
{
    float items[LANES] = {0};
    memcpy(items, p, m * sizeof *p);
    return v_load(items);
}

static inline void v_store(float *p, vec v)
{
    vst1q_f32(p, v);
}

static inline void v_store_part(float *p, vec v, size_t m)
{
    float items[LANES];
    v_store(items, v);
    memcpy(p, items, m * sizeof *p);
}

static inline vec v_load_codes_part(const uint8_t *p, size_t m)
{
    uint32_t codes = 0;
    memcpy(&codes, p, m);
    uint16x8_t shorts = vmovl_u8(vcreate_u8(codes));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(shorts)));
}

static inline vec v_load_codes(const uint8_t *p)
{
    return v_load_codes_part(p, LANES);
}

static inline void v_store_codes_part(uint8_t *p, vec v, size_t m)
{
    uint16x4_t shorts = vmovn_u32(vcvtq_u32_f32(v));
    uint8x8_t codes = vmovn_u16(vcombine_u16(shorts, shorts));
    uint32_t word = vget_lane_u32(vreinterpret_u32_u8(codes), 0);
    memcpy(p, &word, m);
}

static inline void v_store_codes(uint8_t *p, vec v)
{
    v_store_codes_part(p, v, LANES);
}

static inline void v_store_int8(int8_t *p, vec v)
{
    int16x4_t shorts = vmovn_s32(vcvtq_s32_f32(v));
    int8x8_t bytes = vmovn_s16(vcombine_s16(shorts, shorts));
    uint32_t word = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    memcpy(p, &word, LANES);
}

static inline vec v_load_int8_part(const int8_t *p, size_t m)
{
    uint32_t numbers = 0;
    memcpy(&numbers, p, m);
    int16x8_t shorts = vmovl_s8(vcreate_s8(numbers));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(shorts)));
}

static inline vec v_load_int8(const int8_t *p)
{
    return v_load_int8_part(p, LANES);
}

static inline uint16x4_t load_halves(const uint16_t *p, size_t m)
{
    uint64_t halves = 0;
    memcpy(&halves, p, m * sizeof *p);
    return vcreate_u16(halves);
}

static inline void store_halves(uint16_t *p, uint16x4_t v, size_t m)
{
    uint64_t halves = vget_lane_u64(vreinterpret_u64_u16(v), 0);
    memcpy(p, &halves, m * sizeof *p);
}

static inline vec v_load_f16_part(const uint16_t *p, size_t m)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p, m)));
}

static inline vec v_load_f16(const uint16_t *p)
{
    return v_load_f16_part(p, LANES);
}

static inline void v_store_f16_part(uint16_t *p, vec v, size_t m)
{
    store_halves(p, vreinterpret_u16_f16(vcvt_f16_f32(v)), m);
}

static inline void v_store_f16(uint16_t *p, vec v)
{
    v_store_f16_part(p, v, LANES);
}

static inline vec v_load_bf16_part(const uint16_t *p, size_t m)
{
    return vreinterpretq_f32_u32(vshll_n_u16(load_halves(p, m), 16));
}

static inline vec v_load_bf16(const uint16_t *p)
{
    return v_load_bf16_part(p, LANES);
}

static inline void v_store_bf16_part(uint16_t *p, vec v, size_t m)
{
    uint32x4_t bits = vreinterpretq_u32_f32(v);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    uint32x4_t is_number = vceqq_f32(v, v);
    store_halves(p, vshrn_n_u32(vbslq_u32(is_number, rounded, quiet), 16), m);
}

static inline void v_store_bf16(uint16_t *p, vec v)
{
    v_store_bf16_part(p, v, LANES);
}

static inline vec v_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}

static inline vec v_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}

static inline vec v_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}

static inline vec v_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}

static inline vec v_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}

static inline vec v_max(vec a, vec b)
{
    return vmaxq_f32(a, b);
}

static inline vec v_min(vec a, vec b)
{
    return vminq_f32(a, b);
}

static inline vec v_round(vec v)
{
    return vrndnq_f32(v);
}

static inline vec v_scale(vec v, vec n)
{
    int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(v, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}

static inline vec v_zero_below(vec v, vec x, vec limit)
{
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), vcltq_f32(x, limit)));
}

static inline float v_highest(vec v)
{
    return vmaxvq_f32(v);
}

static inline float v_lowest(vec v)
{
    return vminvq_f32(v);
}

static inline void v_sum4(float *out, vec a, vec b, vec c, vec d)
{
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}

static inline float v_sum(vec v)
{
    return vaddvq_f32(v);
}

#include "kernels/vector_template.h"
#include "kernels/matmul_template.h"
#include "kernels/planes_template.h"
#include "kernels/rows_template.h"

void en_kernels_init_neon(en_kernels *table)
{
    init_vector_kernels(table);
    init_planes_kernels(table);
    init_rows_kernels(table);
    table->matmul_f32 = matmul_f32;
}
