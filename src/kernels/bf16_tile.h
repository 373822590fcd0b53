/*
 * bf16_tile.h - products of factors rounded to bf16, with sums in f32: the tile that a larger product
 * (calib/bf16_product.h) is made of.
 *
 * Two neighbours along the axis that is summed over stand in one word, the first in its lower half, as the
 * processor's instruction wants them:
 *
 *   panels of a and b   [pair][line]       lines are 12 rows of a, 32 columns of b
 *   c                   12 x 32 sums       two registers of 16 for each row, 24 in all
 */
#ifndef EN_KERNELS_BF16_TILE_H
#define EN_KERNELS_BF16_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EN_BF16_ROWS = 12, EN_BF16_COLS = 32 };

/* c[i * stride + j] = sum over pairs of a . b, added to what is there when 'add' is true. */
typedef void (*en_bf16_tile_fn)(const uint32_t *a, const uint32_t *b, size_t n_pairs, bool add,
                                float *c, size_t stride);

/*
 * Panels of 'width' lines (one of the two above), n numbers each, rounded to nearest, ties to even; an odd
 * number has a zero beside it, and the last panel's lines from n_lines on are zeros.
 *   along:   the numbers of a line lie side by side, line i at x + i * stride
 *   across:  number k of all lines lie side by side, at x + k * stride
 * A panel begins 'panel_words' behind the one before.
 */
typedef void (*en_bf16_pack_fn)(const float *x, size_t stride, size_t n_lines, size_t n,
                                size_t width, uint32_t *panels, size_t panel_words);

#endif
