/*
 * blocks_template.h - products of GGUF's blocks with integers on NEON, 32 weights a step.
 *
 * The including file defines, before, what adds products of 16 signed bytes to four sums:
 *
 *   static inline int32x4_t add_products(int32x4_t sum, int8x16_t w, int8x16_t q);
 *
 * and gets init_blocks().  Weights are made signed by taking their centre off at once.
 */
#ifndef EN_KERNELS_ARM_BLOCKS_TEMPLATE_H
#define EN_KERNELS_ARM_BLOCKS_TEMPLATE_H

#include "kernels/block_scales.h"
#include "kernels/kernels.h"
#include "tensor/half.h"

#define INLINED static inline __attribute__((always_inline))

enum { TILE = 4 }; /* vectors at a time, with weights unpacked once */

/* 32 weights or columns. */
typedef struct bytes32 {
    int8x16_t first, second;
} bytes32;

INLINED float half_at(const uint8_t *p)
{
    return en_half_to_f32(en_load16(p));
}

INLINED bytes32 nibbles_less(uint8x16_t first, uint8x16_t second, int centre)
{
    const int8x16_t less = vdupq_n_s8((int8_t)centre);
    return (bytes32){vsubq_s8(vreinterpretq_s8_u8(first), less),
                     vsubq_s8(vreinterpretq_s8_u8(second), less)};
}

/* One product of 16 weights with q = 128 high + low, as four sums. */
INLINED int32x4_t products(int8x16_t w, const int8_t *high, const int8_t *low)
{
    int32x4_t sum = add_products(vdupq_n_s32(0), w, vld1q_s8(high));
    return add_products(vshlq_n_s32(sum, 7), w, vld1q_s8(low));
}

/* sums += scale w . q; the two halves may differ in scale. */
INLINED void add_step(bytes32 w, float first_scale, float second_scale, const en_block_vector *x,
                      size_t col, int n_vectors, float32x4_t *sums)
{
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++) {
        const int8_t *high = x[v].high + col, *low = x[v].low + col;
        int32x4_t first = products(w.first, high, low);
        int32x4_t second = products(w.second, high + 16, low + 16);
        sums[v] = vfmaq_n_f32(sums[v], vcvtq_f32_s32(first), first_scale);
        sums[v] = vfmaq_n_f32(sums[v], vcvtq_f32_s32(second), second_scale);
    }
}

INLINED void add_min(float min, const en_block_vector *x, size_t col, int n_vectors, float *sums)
{
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] += min * x[v].sums[col / 32];
}

/* ---- blocks of 32 ------------------------------------------------------------------------------ */

/* Where the parts of a block lie; fifths 0 and min 0: there are none. */
typedef struct layout {
    size_t block_bytes;
    int min, fifths, weights, centre;
    bool whole_bytes;
} layout;

/* 16 where the bit of a weight is set, for 16 weights. */
INLINED uint8x16_t fifth_bits(const uint8_t *p)
{
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t spread = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));
    return vandq_u8(vtstq_u8(spread, vld1q_u8(bits)), vdupq_n_u8(16));
}

INLINED bytes32 weights_of_block(layout l, const uint8_t *p)
{
    if (l.whole_bytes)
        return (bytes32){vld1q_s8((const int8_t *)p + l.weights),
                         vld1q_s8((const int8_t *)p + l.weights + 16)};
    uint8x16_t packed = vld1q_u8(p + l.weights);
    uint8x16_t first = vandq_u8(packed, vdupq_n_u8(15)), second = vshrq_n_u8(packed, 4);
    if (l.fifths) {
        first = vorrq_u8(first, fifth_bits(p + l.fifths));
        second = vorrq_u8(second, fifth_bits(p + l.fifths + 2));
    }
    return nibbles_less(first, second, l.centre);
}

INLINED void dot_32(layout l, const uint8_t *row, size_t n_cols, const en_block_vector *x,
                    int n_vectors, float *out)
{
    float32x4_t sums[TILE];
    float min_sums[TILE] = {0};
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = vdupq_n_f32(0.0f);
    for (size_t col = 0; col < n_cols; col += 32, row += l.block_bytes) {
        float scale = half_at(row);
        add_step(weights_of_block(l, row), scale, scale, x, col, n_vectors, sums);
        if (l.min)
            add_min(half_at(row + l.min), x, col, n_vectors, min_sums);
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = vaddvq_f32(sums[v]) + min_sums[v];
}

/* ---- blocks of 256 ----------------------------------------------------------------------------- */

/* Q4_K, and Q5_K with its fifth bits: bit g of byte i is for weight i of group g. */
INLINED uint8x16_t weights_of_group(bool five_bits, const uint8_t *block, int g, int half)
{
    uint8x16_t packed = vld1q_u8(block + (five_bits ? 48 : 16) + 32 * (g / 2) + 16 * half);
    uint8x16_t w = g % 2 ? vshrq_n_u8(packed, 4) : vandq_u8(packed, vdupq_n_u8(15));
    if (five_bits) {
        uint8x16_t set = vtstq_u8(vld1q_u8(block + 16 + 16 * half), vdupq_n_u8((uint8_t)(1 << g)));
        w = vorrq_u8(w, vandq_u8(set, vdupq_n_u8(16)));
    }
    return w;
}

INLINED void dot_q45_k(bool five_bits, const uint8_t *row, size_t n_cols, const en_block_vector *x,
                       int n_vectors, float *out)
{
    float32x4_t sums[TILE];
    float min_sums[TILE] = {0};
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = vdupq_n_f32(0.0f);
    for (size_t col = 0; col < n_cols; col += 256, row += five_bits ? 176 : 144) {
        float d = half_at(row), dmin = half_at(row + 2);
        uint64_t scales, mins;
        en_block_scales(row + 4, &scales, &mins);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            float scale = d * (float)(scales >> 8 * g & 255),
                  min = dmin * (float)(mins >> 8 * g & 255);
            bytes32 w = nibbles_less(weights_of_group(five_bits, row, g, 0),
                                     weights_of_group(five_bits, row, g, 1), 0);
            add_step(w, scale, scale, x, col + 32 * (size_t)g, n_vectors, sums);
            add_min(min, x, col + 32 * (size_t)g, n_vectors, min_sums);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = vaddvq_f32(sums[v]) - min_sums[v];
}

/* Group g of 32: low nibbles of a run of 64 bytes first, then its high ones; pairs of high bits lie
 * in the same 32 bytes for four groups. */
INLINED uint8x16_t weights_of_q6(const uint8_t *block, int g, int half)
{
    uint8x16_t packed = vld1q_u8(block + 64 * (g / 4) + 32 * (g % 2) + 16 * half);
    uint8x16_t w = g % 4 < 2 ? vandq_u8(packed, vdupq_n_u8(15)) : vshrq_n_u8(packed, 4);
    uint8x16_t pairs = vld1q_u8(block + 128 + 32 * (g / 4) + 16 * half);
    pairs = vshlq_u8(pairs, vdupq_n_s8((int8_t)(4 - 2 * (g % 4))));
    return vorrq_u8(w, vandq_u8(pairs, vdupq_n_u8(0x30)));
}

INLINED void dot_q6(const uint8_t *row, size_t n_cols, const en_block_vector *x, int n_vectors,
                    float *out)
{
    float32x4_t sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = vdupq_n_f32(0.0f);
    for (size_t col = 0; col < n_cols; col += 256, row += 210) {
        float d = half_at(row + 208);
        const int8_t *scales = (const int8_t *)row + 192;
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            add_step(nibbles_less(weights_of_q6(row, g, 0), weights_of_q6(row, g, 1), 32),
                     d * (float)scales[2 * g], d * (float)scales[2 * g + 1], x,
                     col + 32 * (size_t)g, n_vectors, sums);
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = vaddvq_f32(sums[v]);
}

/* ---- table ------------------------------------------------------------------------------------- */

/* 'n' is a constant in each call, so that sums stay in registers. */
#define DEFINE_DOT(TYPE, CALL)                                                                     \
    static void dot_##TYPE(const uint8_t *row, size_t n_cols, const en_block_vector *x,            \
                           size_t n_vectors, float *out)                                           \
    {                                                                                              \
        size_t v = 0;                                                                              \
        for (; v + TILE <= n_vectors; v += TILE)                                                   \
            CALL(row, n_cols, x + v, TILE, out + v);                                               \
        for (; v < n_vectors; v++)                                                                 \
            CALL(row, n_cols, x + v, 1, out + v);                                                  \
    }
#define CALL_Q4_0(...) dot_32((layout){18, 0, 0, 2, 8, false}, __VA_ARGS__)
#define CALL_Q4_1(...) dot_32((layout){20, 2, 0, 4, 0, false}, __VA_ARGS__)
#define CALL_Q5_0(...) dot_32((layout){22, 0, 2, 6, 16, false}, __VA_ARGS__)
#define CALL_Q5_1(...) dot_32((layout){24, 2, 4, 8, 0, false}, __VA_ARGS__)
#define CALL_Q8_0(...) dot_32((layout){34, 0, 0, 2, 0, true}, __VA_ARGS__)
#define CALL_Q4_K(...) dot_q45_k(false, __VA_ARGS__)
#define CALL_Q5_K(...) dot_q45_k(true, __VA_ARGS__)
DEFINE_DOT(q4_0, CALL_Q4_0)
DEFINE_DOT(q4_1, CALL_Q4_1)
DEFINE_DOT(q5_0, CALL_Q5_0)
DEFINE_DOT(q5_1, CALL_Q5_1)
DEFINE_DOT(q8_0, CALL_Q8_0)
DEFINE_DOT(q4_k, CALL_Q4_K)
DEFINE_DOT(q5_k, CALL_Q5_K)
DEFINE_DOT(q6_k, dot_q6)

static void init_blocks(en_kernels *table)
{
    table->dot_blocks[EN_DTYPE_Q4_0] = dot_q4_0;
    table->dot_blocks[EN_DTYPE_Q4_1] = dot_q4_1;
    table->dot_blocks[EN_DTYPE_Q5_0] = dot_q5_0;
    table->dot_blocks[EN_DTYPE_Q5_1] = dot_q5_1;
    table->dot_blocks[EN_DTYPE_Q8_0] = dot_q8_0;
    table->dot_blocks[EN_DTYPE_Q4_K] = dot_q4_k;
    table->dot_blocks[EN_DTYPE_Q5_K] = dot_q5_k;
    table->dot_blocks[EN_DTYPE_Q6_K] = dot_q6_k;
}

#endif
