/*
 * gram.h - sums of x x^T and x y^T over tokens, the work of a covariance, on BLAS or in bf16 (bf16_product.h), by the threads of a pool.
 *
 *   tiles:   | 0,0 |                 each by one product of all tokens; those on the diagonal by ssyrk.
 *            | 1,0 | 1,1 |           They do not depend on the number of threads, nor do results.
 *            | 2,0 | 2,1 | 2,2 |
 */
#ifndef EN_CALIB_GRAM_H
#define EN_CALIB_GRAM_H

#include <stddef.h>

#include "calib/products.h"

/*
 * x: n_tokens rows of n, 'stride' apart.  The lower triangle of sums (n x n) is set, or added to when 'add' is
 * true, and the upper one may be overwritten.  BLAS must be en_blas_take()n (products.h).
 */
void en_gram(const float *x, size_t stride, size_t n_tokens, size_t n, en_precision precision,
             bool add, float *sums, en_pool *pool);

/*
 * sums (n_x x n_y) = x^T y in f32, or as much is added: x is n_tokens x n_x, y n_tokens x n_y.  BLAS as above.
 */
void en_gram_cross(const float *x, size_t n_x, const float *y, size_t n_y, size_t n_tokens,
                   bool add, float *sums, en_pool *pool);

#endif
