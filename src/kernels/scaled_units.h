/*
 * scaled_units.h - GGUF's blocks taken apart for products with many vectors.
 *
 *   16 rows x 32 columns of blocks  ->  a unit of bytes (entropy/strips.h), without a sign
 *                                       and of each row a scale and an offset, of 32 columns or of 16
 *
 *   weight = scale byte + offset
 *
 * Taken apart once, such a unit is multiplied by all tokens of a prompt.
 */
#ifndef EN_KERNELS_SCALED_UNITS_H
#define EN_KERNELS_SCALED_UNITS_H

#include "kernels/kernels.h"

/* Of a product: so many stay in the first-level cache while all vectors pass by. */
enum { EN_SCALED_DOT_UNITS = 32 };

struct en_scaled_units {
    uint8_t *bytes;          /* [unit][EN_UNIT_COLS * 16] */
    float *scales, *offsets; /* [unit][part][row] */
    unsigned n_parts;        /* of a unit: 1, or 2 of 16 columns each */
};

/* 0: blocks of this type cannot be taken apart. */
unsigned en_scaled_parts(uint32_t dtype);
/* One row of whole blocks as row 'r' of the units; 'units' has en_scaled_parts() of the type. */
void en_scaled_take_apart(uint32_t dtype, const uint8_t *row, size_t n_cols, unsigned r,
                          const en_scaled_units *units);
/* dot_scaled of kernels.h in plain C. */
void en_scaled_dot_ref(const en_scaled_units *units, size_t n_units, const en_block_vector *x,
                       size_t n_vectors, float *out);

#endif
