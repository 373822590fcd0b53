/*
 * strips_product_neon.c - products of decoded units of coding 2 with vectors of 8-bit integers.
 *
 * Products are 16 bits wide and summed in 16 bits as long as they fit, whatever x: 8 products of
 * values up to 31, 4 of those up to 63, 2 of those up to 127.  Larger values are made signed by taking
 * 128 off; one product of these fits, and 128 times the sum of x is added in the end.
 */
#include <string.h>

#include "kernels/arm/strips_neon.h"

/* Four columns of x for each row. */
INLINED int8x16_t four(const int8_t *x)
{
    int32_t columns;
    memcpy(&columns, x, sizeof columns);
    return vreinterpretq_s8_s32(vdupq_n_s32(columns));
}

/* Two sums a row and group. */
typedef struct sums {
    int16x8_t narrow[N_GROUPS][2];
    int32x4_t wide[N_GROUPS][2];
} sums;

/* Product number nth of a unit, of which 'terms' may be summed in 16 bits. */
INLINED void add_product(sums *s, int g, int8x16_t values, int8x16_t x, int nth, int terms)
{
    int16x8_t *sum = s->narrow[g];
    if (nth % terms == 0) {
        sum[0] = vmull_s8(vget_low_s8(values), vget_low_s8(x));
        sum[1] = vmull_high_s8(values, x);
    } else {
        sum[0] = vmlal_s8(sum[0], vget_low_s8(values), vget_low_s8(x));
        sum[1] = vmlal_high_s8(sum[1], values, x);
    }
    if (nth % terms == terms - 1)
        for (int i = 0; i < 2; i++)
            s->wide[g][i] = vpadalq_s16(s->wide[g][i], sum[i]);
}

/* Both values of a group in a step, as signed numbers. */
INLINED void load_values(const uint8_t *step, int g, bool wide, int terms, int8x16_t values[2])
{
    uint8x16_t v = vld1q_u8(step + GROUP * g);
    uint8x16_t first = vandq_u8(v, vdupq_n_u8(15)), second = vshrq_n_u8(v, 4);
    if (wide) {
        uint8x16_t centre = vdupq_n_u8(terms == 1 ? 128 : 0);
        first = veorq_u8(v, centre);
        second = veorq_u8(vld1q_u8(step + EN_STRIP_LANES + GROUP * g), centre);
    }
    values[0] = vreinterpretq_s8_u8(first);
    values[1] = vreinterpretq_s8_u8(second);
}

INLINED void dot_vector(const uint8_t *units, bool wide, int terms, size_t n_units, const int8_t *x,
                        int32_t *to)
{
    sums s = {0};
    size_t step_bytes = (size_t)EN_STRIP_LANES * (wide ? 2 : 1);
    for (size_t unit = 0; unit < n_units; unit++) {
#pragma GCC unroll 4
        for (int step = 0; step < EN_UNIT_STEPS; step++) {
            int8x16_t first = four(x), second = four(x + EN_STEP_COLS / 2), values[2];
#pragma GCC unroll 4
            for (int g = 0; g < N_GROUPS; g++) {
                load_values(units, g, wide, terms, values);
                add_product(&s, g, values[0], first, 2 * step, terms);
                add_product(&s, g, values[1], second, 2 * step + 1, terms);
            }
            x += EN_STEP_COLS;
            units += step_bytes;
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < N_GROUPS; g++, to += GROUP_ROWS)
        vst1q_s32(to, vaddq_s32(vld1q_s32(to), vpaddq_s32(s.wide[g][0], s.wide[g][1])));
}

#define DEFINE_DOT(NAME, WIDE, TERMS)                                                              \
    static void NAME(const uint8_t *units, size_t n_units, const int8_t *x, int32_t *to)           \
    {                                                                                              \
        dot_vector(units, WIDE, TERMS, n_units, x, to);                                            \
    }
DEFINE_DOT(dot_narrow, false, 8)
DEFINE_DOT(dot_to_31, true, 8)
DEFINE_DOT(dot_to_63, true, 4)
DEFINE_DOT(dot_to_127, true, 2)
DEFINE_DOT(dot_centred, true, 1)

static void dot(const uint8_t *units, bool wide, unsigned value_bits, size_t n_units,
                const int8_t *const *x, size_t col, size_t n_vectors, int32_t *to)
{
    for (size_t v = 0; v < n_vectors; v++, to += EN_STRIP_ROWS) {
        if (!wide)
            dot_narrow(units, n_units, x[v] + col, to);
        else if (value_bits <= 5)
            dot_to_31(units, n_units, x[v] + col, to);
        else if (value_bits == 6)
            dot_to_63(units, n_units, x[v] + col, to);
        else if (value_bits == 7)
            dot_to_127(units, n_units, x[v] + col, to);
        else {
            dot_centred(units, n_units, x[v] + col, to);
            add_centre(n_units, x[v] + col, to);
        }
    }
}

static void strip_dot(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                      en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                      int32_t *to)
{
    en_strips_neon_dot(dot, lanes, n_chunks, table, mode, n_units, x, n_vectors, to);
}

static void unit_dot(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *to)
{
    en_strips_neon_unit_dot(dot, units, bits, n_units, x, n_vectors, to);
}

void en_kernels_init_strips_neon(en_kernels *table)
{
    table->strip_decode = en_strips_neon_decode;
    table->strip_dot = strip_dot;
    table->unit_dot = unit_dot;
    table->unit_expand = en_strips_neon_unit_expand;
}
