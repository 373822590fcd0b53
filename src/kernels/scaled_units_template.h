/*
 * scaled_units_template.h - how every variant of dot_scaled (kernels.h) walks: some units stay in the first-level cache
 * for all vectors, of which TILE are taken at a time.  Included by a variant that has defined TILE, INLINED and
 *
 *   dot_vectors(units, first, n_units, n_parts, x, n_vectors, out)     n_parts and n_vectors are constants
 */
#ifndef EN_KERNELS_SCALED_UNITS_TEMPLATE_H
#define EN_KERNELS_SCALED_UNITS_TEMPLATE_H

#include "kernels/scaled_units.h"

INLINED void dot_block(const en_scaled_units *units, size_t first, size_t n_units, int n_parts,
                       const en_block_vector *x, size_t n_vectors, float *out)
{
    for (; n_vectors >= TILE; n_vectors -= TILE, x += TILE, out += TILE * EN_STRIP_ROWS)
        dot_vectors(units, first, n_units, n_parts, x, TILE, out);
    for (; n_vectors > 0; n_vectors--, x++, out += EN_STRIP_ROWS)
        dot_vectors(units, first, n_units, n_parts, x, 1, out);
}

static void dot_scaled(const en_scaled_units *units, size_t n_units, const en_block_vector *x,
                       size_t n_vectors, float *out)
{
    for (size_t first = 0; first < n_units; first += EN_SCALED_DOT_UNITS) {
        size_t n = n_units - first < EN_SCALED_DOT_UNITS ? n_units - first : EN_SCALED_DOT_UNITS;
        if (units->n_parts == 1)
            dot_block(units, first, n, 1, x, n_vectors, out);
        else
            dot_block(units, first, n, 2, x, n_vectors, out);
    }
}

#endif
