/*
 * linear_round.h - a matrix rounded to bytes in memory, for products with many tokens that need not be
 * exact.
 *
 *   w[row][col] ~ step[row] byte[row][col] + offset[row]        256 steps from a row's least to its largest
 *
 * The bytes lie as those of a packed matrix (linear_pack.h), so that they are multiplied in integers with inputs
 * of 15 bits, once for all tokens: on Zen 4 twice as fast as products in f32, at half the memory of 16 bits.
 * Results are the same for any number of threads and of tokens at once.
 */
#ifndef EN_LINEAR_LINEAR_ROUND_H
#define EN_LINEAR_LINEAR_ROUND_H

#include "linear/linear.h"

/* Is it read through a source, and can a product take it? */
bool en_linear_can_round(const en_linear *matrix);
/* 'out' has the matrix's shape and borrows its name; what a row has that is not finite makes NaN of its
 * outputs.  The matrix may be read or gone afterwards. */
entro_status en_linear_round(en_linear *out, const en_linear *matrix, en_pool *pool,
                             entro_error *err);
void en_linear_round_free(en_linear *rounded); /* a zeroed one is fine */

#endif
