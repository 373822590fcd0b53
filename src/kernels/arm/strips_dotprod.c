/*
 * strips_dotprod.c - products of decoded units of coding 2 with the instruction that sums four
 * products of signed bytes (Armv8.2 and later); the decoder is the one of strips_neon.c.
 *
 * One vector of values is 4 rows of 4 columns, so one instruction adds 16 products to 4 sums.  Values
 * of 8 bits are made signed by taking 128 off; 128 times the sum of x is added in the end.
 */
#include "kernels/arm/strips_neon.h"

enum { TILE = 4 }; /* vectors at a time: 16 sums, 4 vectors of x */

INLINED int8x16_t load_signed(const uint8_t *values, uint8x16_t centre)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(values), centre));
}

/* Both values of a group in a step, as signed numbers. */
INLINED void load_values(const uint8_t *step, int g, bool wide, uint8x16_t centre,
                         int8x16_t values[2])
{
    const uint8_t *at = step + GROUP * g;
    if (wide) {
        values[0] = load_signed(at, centre);
        values[1] = load_signed(at + EN_STRIP_LANES, centre);
    } else {
        uint8x16_t v = vld1q_u8(at);
        values[0] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
        values[1] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
    }
}

/* x + EN_STEP_COLS * 2 of each vector belongs to two steps. */
INLINED void dot_tile(const uint8_t *units, bool wide, bool centred, size_t n_units,
                      const int8_t *const *x, size_t col, int n_vectors, int32_t *sums)
{
    const uint8x16_t centre = vdupq_n_u8(centred ? 128 : 0);
    size_t step_bytes = (size_t)EN_STRIP_LANES * (wide ? 2 : 1);
    int32x4_t sum[TILE][N_GROUPS];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
#pragma GCC unroll 4
        for (int g = 0; g < N_GROUPS; g++)
            sum[v][g] = vld1q_s32(sums + v * EN_STRIP_ROWS + g * GROUP_ROWS);
    for (size_t i = 0; i < n_units * EN_UNIT_STEPS / 2; i++, units += 2 * step_bytes) {
        int8x16_t columns[TILE], values[2];
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            columns[v] = vld1q_s8(x[v] + col + i * 2 * EN_STEP_COLS);
#pragma GCC unroll 4
        for (int g = 0; g < N_GROUPS; g++) {
            load_values(units, g, wide, centre, values);
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++) {
                sum[v][g] = vdotq_laneq_s32(sum[v][g], values[0], columns[v], 0);
                sum[v][g] = vdotq_laneq_s32(sum[v][g], values[1], columns[v], 1);
            }
            load_values(units + step_bytes, g, wide, centre, values);
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++) {
                sum[v][g] = vdotq_laneq_s32(sum[v][g], values[0], columns[v], 2);
                sum[v][g] = vdotq_laneq_s32(sum[v][g], values[1], columns[v], 3);
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
#pragma GCC unroll 4
        for (int g = 0; g < N_GROUPS; g++)
            vst1q_s32(sums + v * EN_STRIP_ROWS + g * GROUP_ROWS, sum[v][g]);
}

/* One function for each kind of values, so that the compiler sees constants. */
#define DEFINE_DOT(NAME, WIDE, CENTRED)                                                            \
    static void NAME(const uint8_t *units, size_t n_units, const int8_t *const *x, size_t col,     \
                     size_t n_vectors, int32_t *sums)                                              \
    {                                                                                              \
        size_t v = 0;                                                                              \
        for (; v + TILE <= n_vectors; v += TILE)                                                   \
            dot_tile(units, WIDE, CENTRED, n_units, x + v, col, TILE, sums + v * EN_STRIP_ROWS);   \
        for (; v + 2 <= n_vectors; v += 2) /* a token */                                           \
            dot_tile(units, WIDE, CENTRED, n_units, x + v, col, 2, sums + v * EN_STRIP_ROWS);      \
        if (v < n_vectors)                                                                         \
            dot_tile(units, WIDE, CENTRED, n_units, x + v, col, 1, sums + v * EN_STRIP_ROWS);      \
    }
DEFINE_DOT(dot_narrow, false, false)
DEFINE_DOT(dot_wide, true, false)
DEFINE_DOT(dot_centred, true, true)

static void dot(const uint8_t *units, bool wide, unsigned value_bits, size_t n_units,
                const int8_t *const *x, size_t col, size_t n_vectors, int32_t *sums)
{
    if (!wide) {
        dot_narrow(units, n_units, x, col, n_vectors, sums);
    } else if (value_bits < 8) {
        dot_wide(units, n_units, x, col, n_vectors, sums);
    } else {
        dot_centred(units, n_units, x, col, n_vectors, sums);
        for (size_t v = 0; v < n_vectors; v++)
            add_centre(n_units, x[v] + col, sums + v * EN_STRIP_ROWS);
    }
}

static void strip_dot(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                      en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                      int32_t *sums)
{
    en_strips_neon_dot(dot, lanes, n_chunks, table, mode, n_units, x, n_vectors, sums);
}

static void unit_dot(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *sums)
{
    en_strips_neon_unit_dot(dot, units, bits, n_units, x, n_vectors, sums);
}

void en_kernels_init_strips_dotprod(en_kernels *table)
{
    table->strip_dot = strip_dot;
    table->unit_dot = unit_dot;
}
