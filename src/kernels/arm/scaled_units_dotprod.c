/*
 * scaled_units_dotprod.c - blocks taken apart times many vectors with the instruction that sums four
 * products of signed bytes (Armv8.2 and later).
 *
 * For 16 rows, 32 columns and one vector: 64 products (two planes, 8 groups of columns, 4 of rows), where
 * numbers in f32 take 128 multiplications.  Without the instruction 16-bit products take as many as f32, so
 * there is no variant for plain NEON.
 *
 * Bytes are made signed by taking 128 off; 128 times the sum of q is added to the integers.
 */
#include <arm_neon.h>

#include "kernels/scaled_units.h"

#define INLINED static inline __attribute__((always_inline))

enum {
    GROUPS = EN_UNIT_COLS / 4,
    UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS,
    QUARTERS = 4, /* of a strip's rows: 4 of them are a vector of sums */
    TILE = 2,     /* vectors at a time: 16 sums of each plane's products */
};

typedef struct sums {
    int32x4_t high[QUARTERS], low[QUARTERS];
} sums;

/* Sum of q of a unit's part. */
INLINED float sum_of_part(const en_block_vector *x, size_t unit, int part, int n_parts)
{
    if (n_parts == 1)
        return x->sums[unit];
    const float *fours = x->fours + unit * GROUPS + part * (GROUPS / 2);
    return (fours[0] + fours[1]) + (fours[2] + fours[3]);
}

/* Group 'lane' of the four that begin at 'bytes', of all rows. */
#define ADD_GROUP(LANE)                                                                            \
    do {                                                                                           \
        for (int i = 0; i < QUARTERS; i++) {                                                       \
            const uint8_t *at = bytes + (LANE)*EN_STRIP_LANES + 16 * i;                            \
            int8x16_t values = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(at), vdupq_n_u8(128)));       \
            for (int v = 0; v < n_vectors; v++) {                                                  \
                s[v].high[i] = vdotq_laneq_s32(s[v].high[i], values, high[v], LANE);               \
                s[v].low[i] = vdotq_laneq_s32(s[v].low[i], values, low[v], LANE);                  \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Adds 16 columns, the first of which is 'col'. */
INLINED void add_columns(const uint8_t *bytes, const en_block_vector *x, size_t col, int n_vectors,
                         sums *s)
{
    int8x16_t high[TILE], low[TILE];
    for (int v = 0; v < n_vectors; v++) {
        high[v] = vld1q_s8(x[v].high + col);
        low[v] = vld1q_s8(x[v].low + col);
    }
    ADD_GROUP(0);
    ADD_GROUP(1);
    ADD_GROUP(2);
    ADD_GROUP(3);
}

INLINED void dot_vectors(const en_scaled_units *units, size_t first, size_t n_units, int n_parts,
                         const en_block_vector *x, int n_vectors, float *out)
{
    enum { COLS = 16 };
    for (size_t u = first; u < first + n_units; u++)
        for (int part = 0; part < n_parts; part++) {
            size_t at = (u * (size_t)n_parts + (size_t)part) * EN_STRIP_ROWS;
            int first_col = part * EN_UNIT_COLS / n_parts, n_cols = EN_UNIT_COLS / n_parts;
            sums s[TILE] = {0};
            for (int c = first_col; c < first_col + n_cols; c += COLS)
                add_columns(units->bytes + u * UNIT_BYTES + c * EN_STRIP_ROWS, x,
                            u * EN_UNIT_COLS + (size_t)c, n_vectors, s);
            for (int v = 0; v < n_vectors; v++) {
                float sum = sum_of_part(&x[v], u, part, n_parts);
                int32x4_t centre = vdupq_n_s32(128 * (int32_t)sum);
                for (int i = 0; i < QUARTERS; i++) {
                    float *to = out + v * EN_STRIP_ROWS + 4 * i;
                    int32x4_t q = vaddq_s32(vshlq_n_s32(s[v].high[i], 7), s[v].low[i]);
                    float32x4_t all =
                        vfmaq_f32(vld1q_f32(to), vld1q_f32(units->scales + at + 4 * i),
                                  vcvtq_f32_s32(vaddq_s32(q, centre)));
                    vst1q_f32(to, vfmaq_n_f32(all, vld1q_f32(units->offsets + at + 4 * i), sum));
                }
            }
        }
}

#include "kernels/scaled_units_template.h"

void en_kernels_init_scaled_units_dotprod(en_kernels *table)
{
    table->dot_scaled = dot_scaled;
}
