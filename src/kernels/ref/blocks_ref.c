/*
 * blocks_ref.c - products of GGUF's blocks with integers; dequantize_ref.c draws the blocks.
 *
 *   w . q = sum over groups of (scale  sum w'[k] q[k] + min  sum q[k])
 *
 * w' are the stored integers less their centre, so a group's sums are exact.  Scales and minimums
 * are rounded to f32 as when dequantizing.
 */
#include "kernels/block_scales.h"
#include "kernels/kernels.h"
#include "tensor/half.h"

/* A block taken apart. */
typedef struct parts {
    int w[256];
    float scales[16], mins[16]; /* of each group */
} parts;

static float half_at(const uint8_t *p)
{
    return en_half_to_f32(en_load16(p));
}

static void set_nibbles(const uint8_t *nibbles, int centre, parts *out)
{
    for (int i = 0; i < 16; i++) {
        out->w[i] = (nibbles[i] & 15) - centre;
        out->w[i + 16] = (nibbles[i] >> 4) - centre;
    }
}

static void add_fifth_bits(const uint8_t *bytes, parts *out)
{
    uint32_t bits = en_load32(bytes);
    for (int i = 0; i < 32; i++)
        out->w[i] += (int)(bits >> i & 1) * 16;
}

static void part_q4_0(const uint8_t *in, parts *out)
{
    out->scales[0] = half_at(in);
    set_nibbles(in + 2, 8, out);
}

static void part_q4_1(const uint8_t *in, parts *out)
{
    out->scales[0] = half_at(in);
    out->mins[0] = half_at(in + 2);
    set_nibbles(in + 4, 0, out);
}

static void part_q5_0(const uint8_t *in, parts *out)
{
    out->scales[0] = half_at(in);
    set_nibbles(in + 6, 16, out);
    add_fifth_bits(in + 2, out);
}

static void part_q5_1(const uint8_t *in, parts *out)
{
    out->scales[0] = half_at(in);
    out->mins[0] = half_at(in + 2);
    set_nibbles(in + 8, 0, out);
    add_fifth_bits(in + 4, out);
}

static void part_q8_0(const uint8_t *in, parts *out)
{
    out->scales[0] = half_at(in);
    for (int i = 0; i < 32; i++)
        out->w[i] = (int8_t)in[2 + i];
}

static void set_k_scales(const uint8_t *in, parts *out)
{
    float d = half_at(in), dmin = half_at(in + 2);
    uint64_t scales, mins;
    en_block_scales(in + 4, &scales, &mins);
    for (int g = 0; g < 8; g++) {
        out->scales[g] = d * (float)(scales >> 8 * g & 255);
        out->mins[g] = -(dmin * (float)(mins >> 8 * g & 255));
    }
}

static void part_q4_k(const uint8_t *in, parts *out)
{
    set_k_scales(in, out);
    for (int i = 0; i < 256; i++)
        out->w[i] = in[16 + i / 64 * 32 + i % 32] >> 4 * (i / 32 % 2) & 15;
}

static void part_q5_k(const uint8_t *in, parts *out)
{
    set_k_scales(in, out);
    for (int i = 0; i < 256; i++) {
        int low = in[48 + i / 64 * 32 + i % 32] >> 4 * (i / 32 % 2) & 15;
        out->w[i] = low | (in[16 + i % 32] >> i / 32 & 1) << 4;
    }
}

static void part_q6_k(const uint8_t *in, parts *out)
{
    float d = half_at(in + 208);
    for (int g = 0; g < 16; g++)
        out->scales[g] = d * (float)(int8_t)in[192 + g];
    for (int i = 0; i < 256; i++) {
        int low = in[i / 128 * 64 + i % 64] >> 4 * (i / 64 % 2) & 15;
        int high = in[128 + i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3;
        out->w[i] = (low | high << 4) - 32;
    }
}

static double multiply(const parts *p, int n_groups, int group, const en_block_vector *x,
                       size_t col)
{
    double sum = 0;
    for (int g = 0; g < n_groups; g++) {
        int64_t products = 0, q_sum = 0;
        for (int i = g * group; i < (g + 1) * group; i++) {
            int q = 128 * x->high[col + (size_t)i] + x->low[col + (size_t)i];
            products += p->w[i] * q;
            q_sum += q;
        }
        sum += (double)p->scales[g] * (double)products + (double)p->mins[g] * (double)q_sum;
    }
    return sum;
}

static inline void dot(void (*part)(const uint8_t *, parts *), size_t block_bytes, int n_groups,
                       int group, const uint8_t *row, size_t n_cols, const en_block_vector *x,
                       size_t n_vectors, float *out)
{
    double sums[EN_BLOCKS_MAX_VECTORS] = {0};
    size_t block_cols = (size_t)(n_groups * group);
    for (size_t col = 0; col < n_cols; col += block_cols, row += block_bytes) {
        parts p = {0};
        part(row, &p);
        for (size_t v = 0; v < n_vectors; v++)
            sums[v] += multiply(&p, n_groups, group, &x[v], col);
    }
    for (size_t v = 0; v < n_vectors; v++)
        out[v] = (float)sums[v];
}

#define DEFINE_DOT(TYPE, BLOCK_BYTES, N_GROUPS, GROUP)                                             \
    static void dot_##TYPE(const uint8_t *row, size_t n_cols, const en_block_vector *x,            \
                           size_t n_vectors, float *out)                                           \
    {                                                                                              \
        dot(part_##TYPE, BLOCK_BYTES, N_GROUPS, GROUP, row, n_cols, x, n_vectors, out);            \
    }
DEFINE_DOT(q4_0, 18, 1, 32)
DEFINE_DOT(q4_1, 20, 1, 32)
DEFINE_DOT(q5_0, 22, 1, 32)
DEFINE_DOT(q5_1, 24, 1, 32)
DEFINE_DOT(q8_0, 34, 1, 32)
DEFINE_DOT(q4_k, 144, 8, 32)
DEFINE_DOT(q5_k, 176, 8, 32)
DEFINE_DOT(q6_k, 210, 16, 16)

void en_kernels_init_blocks_ref(en_kernels *table)
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
