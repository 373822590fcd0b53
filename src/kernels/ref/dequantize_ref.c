/*
 * dequantize_ref.c - stored weights to f32: plain numbers and ggml's blocks.
 *
 * The truth is the gguf package's gguf.quants: the same operations in the same order, each rounded
 * to f32, so results are equal bit for bit.  Layouts (sizes in bytes; d, m, dmin are f16):
 *
 *   32 weights   Q4_0    d 2 | nibbles 16                      d (q - 8)
 *                Q4_1    d 2 | m 2 | nibbles 16                d q + m
 *                Q5_0    d 2 | fifth bits 4 | nibbles 16       d (q - 16)
 *                Q5_1    d 2 | m 2 | fifth bits 4 | nibbles 16 d q + m
 *                Q8_0    d 2 | int8 32                         d q
 *                IQ4_NL  d 2 | nibbles 16                      d table[q]
 *   256 weights  Q2_K    scales 16 | q 64 | d 2 | dmin 2       (d s) q - (dmin m)   16 a scale
 *                Q3_K    high 32 | q 64 | scales 12 | d 2      (d s) q              16 a scale
 *                Q4_K    d 2 | dmin 2 | scales 12 | q 128      (d s) q - (dmin m)   32 a scale
 *                Q5_K    d 2 | dmin 2 | scales 12 | high 32 | q 128                 32 a scale
 *                Q6_K    low 128 | high 64 | scales 16 | d 2   (d s) (q - 32)       16 a scale
 *                IQ4_XS  d 2 | scales' high 2 | low 4 | q 128  (d s) table[q]       32 a scale
 *
 * In blocks of 32 the low nibbles are weights 0-15, the high ones 16-31.  In blocks of 256, fields
 * of a byte are 32 (or 64) weights apart, so the inner loops run along bytes and vectorize.
 */
#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tensor/half.h"

static float half_at(const uint8_t *p)
{
    return en_half_to_f32(en_load16(p));
}

/* ---- plain numbers --------------------------------------------------------------------- */

static void dequantize_f32(const uint8_t *in, float *out, size_t n)
{
    memcpy(out, in, n * sizeof *out);
}

static void dequantize_f16(const uint8_t *in, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_at(in + 2 * i);
}

static void dequantize_bf16(const uint8_t *in, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = en_bf16_to_f32(en_load16(in + 2 * i));
}

/* ---- blocks of 32 ---------------------------------------------------------------------- */

static void dequantize_q4_0(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 32, in += 18, out += 32) {
        float d = half_at(in);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((in[2 + i] & 15) - 8);
            out[i + 16] = d * (float)((in[2 + i] >> 4) - 8);
        }
    }
}

static void dequantize_q4_1(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 32, in += 20, out += 32) {
        float d = half_at(in), m = half_at(in + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(in[4 + i] & 15) + m;
            out[i + 16] = d * (float)(in[4 + i] >> 4) + m;
        }
    }
}

/* The five-bit integers of a Q5_0 or Q5_1 block. */
static void unpack_q5(const uint8_t *high, const uint8_t *nibbles, int q[32])
{
    uint32_t bits = en_load32(high);
    for (int i = 0; i < 16; i++) {
        q[i] = (nibbles[i] & 15) | (int)((bits >> i) & 1) << 4;
        q[i + 16] = nibbles[i] >> 4 | (int)((bits >> (i + 16)) & 1) << 4;
    }
}

static void dequantize_q5_0(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 32, in += 22, out += 32) {
        float d = half_at(in);
        int q[32];
        unpack_q5(in + 2, in + 6, q);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(q[i] - 16);
    }
}

static void dequantize_q5_1(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 32, in += 24, out += 32) {
        float d = half_at(in), m = half_at(in + 2);
        int q[32];
        unpack_q5(in + 4, in + 8, q);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)q[i] + m;
    }
}

static void dequantize_q8_0(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 32, in += 34, out += 32) {
        float d = half_at(in);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(int8_t)in[2 + i];
    }
}

/* The sixteen levels of IQ4_NL and IQ4_XS. */
static const float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

static void iq4_group(const uint8_t *nibbles, float d, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * iq4_levels[nibbles[i] & 15];
        out[i + 16] = d * iq4_levels[nibbles[i] >> 4];
    }
}

static void dequantize_iq4_nl(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 32, in += 18, out += 32)
        iq4_group(in + 2, half_at(in), out);
}

/* ---- blocks of 256 --------------------------------------------------------------------- */

static void dequantize_q2_k(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 256, in += 84, out += 256) {
        const uint8_t *scales = in, *q = in + 16;
        float d = half_at(in + 80), dmin = half_at(in + 82);
        for (int g = 0; g < 16; g++) { /* 16 weights each: half g % 2 of a run of 32 fields */
            float scale = d * (float)(scales[g] & 15), min = dmin * (float)(scales[g] >> 4);
            const uint8_t *bytes = q + 32 * (g / 8) + 16 * (g % 2);
            int shift = 2 * (g / 2 % 4);
            for (int i = 0; i < 16; i++)
                out[16 * g + i] = scale * (float)(bytes[i] >> shift & 3) - min;
        }
    }
}

/* Scale g of a Q3_K block: four low bits in bytes 0-7, two high ones in bytes 8-11, minus 32. */
static int q3_k_scale(const uint8_t *scales, int g)
{
    int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    int high = scales[8 + g % 4] >> (2 * (g / 4)) & 3;
    return (low | high << 4) - 32;
}

static void dequantize_q3_k(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 256, in += 110, out += 256) {
        const uint8_t *high = in, *q = in + 32, *scales = in + 96;
        float d = half_at(in + 108);
        for (int g = 0; g < 16; g++) {
            float scale = d * (float)q3_k_scale(scales, g);
            const uint8_t *bytes = q + 32 * (g / 8) + 16 * (g % 2), *bits = high + 16 * (g % 2);
            int shift = 2 * (g / 2 % 4), bit = g / 2;
            for (int i = 0; i < 16; i++) /* a set high bit means no offset */
                out[16 * g + i] =
                    scale * (float)((bytes[i] >> shift & 3) + 4 * (bits[i] >> bit & 1) - 4);
        }
    }
}

/*
 * Scales and minimums of Q4_K and Q5_K, six bits each, in 12 bytes:
 *   bytes 0-3: scale 0-3, above it bits 4-5 of scale 4-7
 *   bytes 4-7: min 0-3,   above it bits 4-5 of min 4-7
 *   bytes 8-11: low nibble: bits 0-3 of scale 4-7; high nibble: of min 4-7
 */
static void unpack_k_scales(const uint8_t *packed, uint8_t scale[8], uint8_t min[8])
{
    for (int i = 0; i < 4; i++) {
        scale[i] = packed[i] & 63;
        min[i] = packed[4 + i] & 63;
        scale[4 + i] = (uint8_t)((packed[8 + i] & 15) | (packed[i] >> 2 & 48));
        min[4 + i] = (uint8_t)(packed[8 + i] >> 4 | (packed[4 + i] >> 2 & 48));
    }
}

static void dequantize_q4_k(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 256, in += 144, out += 256) {
        float d = half_at(in), dmin = half_at(in + 2);
        uint8_t scale[8], min[8];
        unpack_k_scales(in + 4, scale, min);
        for (int g = 0; g < 8; g++) {
            float s = d * (float)scale[g], m = dmin * (float)min[g];
            const uint8_t *bytes = in + 16 + 32 * (g / 2);
            int shift = 4 * (g % 2);
            for (int i = 0; i < 32; i++)
                out[32 * g + i] = s * (float)(bytes[i] >> shift & 15) - m;
        }
    }
}

static void dequantize_q5_k(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 256, in += 176, out += 256) {
        float d = half_at(in), dmin = half_at(in + 2);
        const uint8_t *high = in + 16;
        uint8_t scale[8], min[8];
        unpack_k_scales(in + 4, scale, min);
        for (int g = 0; g < 8; g++) {
            float s = d * (float)scale[g], m = dmin * (float)min[g];
            const uint8_t *bytes = in + 48 + 32 * (g / 2);
            int shift = 4 * (g % 2);
            for (int i = 0; i < 32; i++) {
                int q = (bytes[i] >> shift & 15) | (high[i] >> g & 1) << 4;
                out[32 * g + i] = s * (float)q - m;
            }
        }
    }
}

static void dequantize_q6_k(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 256, in += 210, out += 256) {
        const uint8_t *low = in, *high = in + 128, *scales = in + 192;
        float d = half_at(in + 208);
        for (int g = 0; g < 16; g++) {
            float scale = d * (float)(int8_t)scales[g];
            /* Within 128 weights: low nibbles are 64 apart, pairs of high bits 32. */
            const uint8_t *nibbles = low + 64 * (g / 8) + 16 * (g % 4);
            const uint8_t *pairs = high + 32 * (g / 8) + 16 * (g % 2);
            int shift = g % 8 < 4 ? 0 : 4, pair = 2 * (g / 2 % 4);
            for (int i = 0; i < 16; i++) {
                int q = (nibbles[i] >> shift & 15) | (pairs[i] >> pair & 3) << 4;
                out[16 * g + i] = scale * (float)(q - 32);
            }
        }
    }
}

static void dequantize_iq4_xs(const uint8_t *in, float *out, size_t n)
{
    for (; n > 0; n -= 256, in += 136, out += 256) {
        float d = half_at(in);
        unsigned high = en_load16(in + 2);
        for (int g = 0; g < 8; g++) {
            int scale = (in[4 + g / 2] >> (4 * (g % 2)) & 15) | (int)(high >> (2 * g) & 3) << 4;
            iq4_group(in + 8 + 16 * g, d * (float)(scale - 32), out + 32 * g);
        }
    }
}

void en_kernels_init_dequantize_ref(en_kernels *table)
{
    table->dequantize[EN_DTYPE_F32] = dequantize_f32;
    table->dequantize[EN_DTYPE_F16] = dequantize_f16;
    table->dequantize[EN_DTYPE_BF16] = dequantize_bf16;
    table->dequantize[EN_DTYPE_Q4_0] = dequantize_q4_0;
    table->dequantize[EN_DTYPE_Q4_1] = dequantize_q4_1;
    table->dequantize[EN_DTYPE_Q5_0] = dequantize_q5_0;
    table->dequantize[EN_DTYPE_Q5_1] = dequantize_q5_1;
    table->dequantize[EN_DTYPE_Q8_0] = dequantize_q8_0;
    table->dequantize[EN_DTYPE_Q2_K] = dequantize_q2_k;
    table->dequantize[EN_DTYPE_Q3_K] = dequantize_q3_k;
    table->dequantize[EN_DTYPE_Q4_K] = dequantize_q4_k;
    table->dequantize[EN_DTYPE_Q5_K] = dequantize_q5_k;
    table->dequantize[EN_DTYPE_Q6_K] = dequantize_q6_k;
    table->dequantize[EN_DTYPE_IQ4_NL] = dequantize_iq4_nl;
    table->dequantize[EN_DTYPE_IQ4_XS] = dequantize_iq4_xs;
}
