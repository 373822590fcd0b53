/*
 * strips_neon.h - what the NEON variants of coding 2 share: the decoder and the loops around it.
 */
#ifndef EN_KERNELS_ARM_STRIPS_NEON_H
#define EN_KERNELS_ARM_STRIPS_NEON_H

#include "kernels/kernels.h"

/*
 * sums[vector * 16 + row] += v . x of decoded units, x from column 'col' on.  No value takes more
 * than value_bits.
 */
typedef void en_strips_units_dot(const uint8_t *units, bool wide, unsigned value_bits,
                                 size_t n_units, const int8_t *const *x, size_t col,
                                 size_t n_vectors, int32_t *sums);

/* strip_decode of kernels.h. */
void en_strips_neon_decode(en_strip_lanes *lanes, const en_pair_table *table, en_strip_mode mode,
                           size_t n_units, uint8_t *out);

/* strip_dot of kernels.h by decoding a few units at a time and handing them to 'dot'. */
void en_strips_neon_dot(en_strips_units_dot *dot, en_strip_lanes *const *lanes, size_t n_chunks,
                        const en_pair_table *table, en_strip_mode mode, size_t n_units,
                        const int8_t *const *x, size_t n_vectors, int32_t *sums);

/* unit_dot of kernels.h, as many units at a time as a first cache holds. */
void en_strips_neon_unit_dot(en_strips_units_dot *dot, const uint8_t *units, bool wide,
                             size_t n_units, const int8_t *const *x, size_t n_vectors,
                             int32_t *sums);

#endif
