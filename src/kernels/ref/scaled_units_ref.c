/* scaled_units_ref.c - see scaled_units.h; dequantize_ref.c draws the blocks. */
#include "kernels/scaled_units.h"

#include <string.h>

#include "kernels/block_scales.h"
#include "tensor/half.h"

enum { GROUPS = EN_UNIT_COLS / 4, UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS };

/* ---- taking apart ------------------------------------------------------------------------ */

/* A row's place in the units; moves on with each unit. */
typedef struct place {
    uint8_t *bytes;
    float *scales, *offsets;
} place;

static float half_at(const uint8_t *p)
{
    return en_half_to_f32(en_load16(p));
}

static void put_bytes(const place *to, const uint8_t v[EN_UNIT_COLS])
{
    for (unsigned j = 0; j < GROUPS; j++)
        memcpy(to->bytes + (size_t)EN_STRIP_LANES * j, v + (size_t)4 * j, 4);
}

static void put(place *to, const uint8_t v[EN_UNIT_COLS], float scale, float offset)
{
    put_bytes(to, v);
    *to->scales = scale;
    *to->offsets = offset;
    to->bytes += UNIT_BYTES;
    to->scales += EN_STRIP_ROWS;
    to->offsets += EN_STRIP_ROWS;
}

static void nibbles(const uint8_t *in, uint8_t v[EN_UNIT_COLS])
{
    for (unsigned i = 0; i < 16; i++) {
        v[i] = in[i] & 15;
        v[i + 16] = in[i] >> 4;
    }
}

static void add_fifth_bits(const uint8_t *in, uint8_t v[EN_UNIT_COLS])
{
    uint32_t bits = en_load32(in);
    for (unsigned i = 0; i < EN_UNIT_COLS; i++)
        v[i] = (uint8_t)(v[i] | (bits >> i & 1) << 4);
}

static void apart_q4_0(const uint8_t *in, place *to)
{
    uint8_t v[EN_UNIT_COLS];
    float d = half_at(in);
    nibbles(in + 2, v);
    put(to, v, d, -8.0f * d);
}

static void apart_q4_1(const uint8_t *in, place *to)
{
    uint8_t v[EN_UNIT_COLS];
    nibbles(in + 4, v);
    put(to, v, half_at(in), half_at(in + 2));
}

static void apart_q5_0(const uint8_t *in, place *to)
{
    uint8_t v[EN_UNIT_COLS];
    float d = half_at(in);
    nibbles(in + 6, v);
    add_fifth_bits(in + 2, v);
    put(to, v, d, -16.0f * d);
}

static void apart_q5_1(const uint8_t *in, place *to)
{
    uint8_t v[EN_UNIT_COLS];
    nibbles(in + 8, v);
    add_fifth_bits(in + 4, v);
    put(to, v, half_at(in), half_at(in + 2));
}

static void apart_q8_0(const uint8_t *in, place *to)
{
    uint8_t v[EN_UNIT_COLS];
    float d = half_at(in);
    for (unsigned i = 0; i < EN_UNIT_COLS; i++)
        v[i] = in[2 + i] ^ 0x80;
    put(to, v, d, -128.0f * d);
}

static void apart_k(const uint8_t *in, const uint8_t *low, const uint8_t *fifth, place *to)
{
    float d = half_at(in), dmin = half_at(in + 2);
    uint64_t scales, mins;
    en_block_scales(in + 4, &scales, &mins);
    for (unsigned g = 0; g < 8; g++) {
        uint8_t v[EN_UNIT_COLS];
        const uint8_t *from = low + (size_t)(g / 2 * EN_UNIT_COLS);
        for (unsigned i = 0; i < EN_UNIT_COLS; i++)
            v[i] = from[i] >> 4 * (g % 2) & 15;
        for (unsigned i = 0; fifth != NULL && i < EN_UNIT_COLS; i++)
            v[i] = (uint8_t)(v[i] | (fifth[i] >> g & 1) << 4);
        put(to, v, d * (float)(scales >> 8 * g & 255), -(dmin * (float)(mins >> 8 * g & 255)));
    }
}

static void apart_q4_k(const uint8_t *in, place *to)
{
    apart_k(in, in + 16, NULL, to);
}

static void apart_q5_k(const uint8_t *in, place *to)
{
    apart_k(in, in + 48, in + 16, to);
}

static void apart_q6_k(const uint8_t *in, place *to)
{
    float d = half_at(in + 208);
    for (unsigned g = 0; g < 8; g++) {
        uint8_t v[EN_UNIT_COLS];
        const uint8_t *low = in + (size_t)(g / 4 * 64 + g % 2 * EN_UNIT_COLS);
        const uint8_t *high = in + (size_t)(128 + g / 4 * EN_UNIT_COLS);
        for (unsigned i = 0; i < EN_UNIT_COLS; i++)
            v[i] = (uint8_t)((low[i] >> 4 * (g / 2 % 2) & 15) | (high[i] >> 2 * (g % 4) & 3) << 4);
        put_bytes(to, v);
        to->bytes += UNIT_BYTES;
        for (unsigned part = 0; part < 2; part++) {
            float scale = d * (float)(int8_t)in[192 + 2 * g + part];
            *to->scales = scale;
            *to->offsets = -32.0f * scale;
            to->scales += EN_STRIP_ROWS;
            to->offsets += EN_STRIP_ROWS;
        }
    }
}

static void (*const apart[EN_DTYPE_COUNT])(const uint8_t *, place *) = {
    [EN_DTYPE_Q4_0] = apart_q4_0, [EN_DTYPE_Q4_1] = apart_q4_1, [EN_DTYPE_Q5_0] = apart_q5_0,
    [EN_DTYPE_Q5_1] = apart_q5_1, [EN_DTYPE_Q8_0] = apart_q8_0, [EN_DTYPE_Q4_K] = apart_q4_k,
    [EN_DTYPE_Q5_K] = apart_q5_k, [EN_DTYPE_Q6_K] = apart_q6_k,
};

unsigned en_scaled_parts(uint32_t dtype)
{
    if (dtype >= EN_DTYPE_COUNT || apart[dtype] == NULL)
        return 0;
    return dtype == EN_DTYPE_Q6_K ? 2 : 1;
}

void en_scaled_take_apart(uint32_t dtype, const uint8_t *row, size_t n_cols, unsigned r,
                          const en_scaled_units *units)
{
    const en_dtype_info *type = en_dtype_get(dtype);
    place to = {units->bytes + (size_t)4 * r, units->scales + r, units->offsets + r};
    for (size_t col = 0; col < n_cols; col += type->block_elems, row += type->block_bytes)
        apart[dtype](row, &to);
}

/* ---- products ---------------------------------------------------------------------------- */

/* Part 'part' of unit 'u', row r, times a vector. */
static double dot_part(const en_scaled_units *units, size_t u, unsigned part, unsigned r,
                       const en_block_vector *x)
{
    unsigned n_groups = GROUPS / units->n_parts, first = part * n_groups;
    const uint8_t *bytes = units->bytes + u * UNIT_BYTES;
    int64_t products = 0, sum = 0;
    for (unsigned j = first; j < first + n_groups; j++)
        for (unsigned c = 0; c < 4; c++) {
            size_t col = u * EN_UNIT_COLS + 4 * j + c;
            int q = 128 * x->high[col] + x->low[col];
            products += bytes[(size_t)EN_STRIP_LANES * j + 4 * r + c] * q;
            sum += q;
        }
    size_t at = (u * units->n_parts + part) * EN_STRIP_ROWS + r;
    return (double)units->scales[at] * (double)products + (double)units->offsets[at] * (double)sum;
}

void en_scaled_dot_ref(const en_scaled_units *units, size_t n_units, const en_block_vector *x,
                       size_t n_vectors, float *out)
{
    for (size_t v = 0; v < n_vectors; v++)
        for (unsigned r = 0; r < EN_STRIP_ROWS; r++) {
            double sum = (double)out[v * EN_STRIP_ROWS + r];
            for (size_t u = 0; u < n_units; u++)
                for (unsigned part = 0; part < units->n_parts; part++)
                    sum += dot_part(units, u, part, r, &x[v]);
            out[v * EN_STRIP_ROWS + r] = (float)sum;
        }
}
