/*
 * strips_neon.h - what the NEON variants of coding 2 share: the decoder and the loops around it; and with
 * coding 4 the table that hands out words.
 */
#ifndef EN_KERNELS_ARM_STRIPS_NEON_H
#define EN_KERNELS_ARM_STRIPS_NEON_H

#include <arm_neon.h>

#include "kernels/kernels.h"

/* A vector of 16 bytes is a group of lanes: 4 rows of 4 columns. */
enum { GROUP = 16, N_GROUPS = EN_STRIP_LANES / GROUP, GROUP_ROWS = EN_STRIP_ROWS / N_GROUPS };

#define INLINED static inline __attribute__((always_inline))

/* For 8 bits, those of lanes that take a word: the words' bytes, 255 for lanes that take none. */
extern const uint8_t en_neon_word_bytes[256][16];

/*
 * sums[vector * 16 + row] += v . x of decoded units, x from column 'col' on.  No value takes more
 * than value_bits.
 */
typedef void en_strips_units_dot(const uint8_t *units, bool wide, unsigned value_bits,
                                 size_t n_units, const int8_t *const *x, size_t col,
                                 size_t n_vectors, int32_t *sums);

/* strip_decode of kernels.h. */
void en_strips_neon_decode(en_strip_lanes *const *lanes, size_t n_chunks,
                           const en_pair_table *table, en_strip_mode mode, size_t n_units,
                           uint8_t *out, size_t stride);

/* strip_dot of kernels.h by decoding a few units at a time and handing them to 'dot'. */
void en_strips_neon_dot(en_strips_units_dot *dot, en_strip_lanes *const *lanes, size_t n_chunks,
                        const en_pair_table *table, en_strip_mode mode, size_t n_units,
                        const int8_t *const *x, size_t n_vectors, int32_t *sums);

/* unit_dot of kernels.h, as many units at a time as a first cache holds. */
void en_strips_neon_unit_dot(en_strips_units_dot *dot, const uint8_t *units, unsigned bits,
                             size_t n_units, const int8_t *const *x, size_t n_vectors,
                             int32_t *sums);

/* unit_expand of kernels.h. */
void en_strips_neon_unit_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                                uint8_t *out);

/* What values that were made signed by taking 128 off lack: 128 times the sum of x, in every row. */
INLINED void add_centre(size_t n_units, const int8_t *x, int32_t *sums)
{
    int32x4_t all = vdupq_n_s32(0);
    for (size_t i = 0; i < n_units * EN_UNIT_COLS; i += GROUP)
        all = vpadalq_s16(all, vpaddlq_s8(vld1q_s8(x + i)));
    int32x4_t centre = vshlq_n_s32(vdupq_n_s32(vaddvq_s32(all)), 7);
    for (int g = 0; g < N_GROUPS; g++, sums += GROUP_ROWS)
        vst1q_s32(sums, vaddq_s32(vld1q_s32(sums), centre));
}

#endif
