/*
 * products.h - products of f32 matrices on BLAS, or rounded to bf16 (bf16_product.h), cut into tiles for the threads of a pool; sums
 * of columns.
 *
 * Who has the cores: BLAS computes on the thread that calls it, and the pool's threads call it, each for
 * a tile of its own.  Between products the same threads run the loops that are no product.  (OpenBLAS
 * has threads of its own, but they keep spinning for 20 ms after a product, in the way of the pool's,
 * and their number is not the user's.)  Tiles do not depend on the number of threads, so results do not
 * either.
 */
#ifndef EN_CALIB_PRODUCTS_H
#define EN_CALIB_PRODUCTS_H

#include <stdbool.h>

#include "base/pool.h"

/*
 * BLAS on the calling thread from here on, for the whole process; returns what en_blas_give_back()
 * wants.  Between the two nobody else may rely on BLAS's own threads.
 */
int en_blas_take(void);
void en_blas_give_back(int n_threads);

/* Of the numbers that are multiplied; sums are f32. */
typedef enum en_precision {
    EN_PRECISION_F32,
    EN_PRECISION_BF16 /* where the processor is faster with it, else f32 */
} en_precision;

/* What products of this precision need beside their factors, to be en_free()d; NULL: they are done in f32, as
 * this processor gains nothing by bf16, or memory is out. */
uint32_t *en_precision_scratch(en_precision precision, en_pool *pool);

/*
 * y = x W + beta y (beta: 0 or 1) with x: n_tokens x n_in, y: n_tokens x n_out, W: n_in x n_out; or, transposed,
 * x W^T with W: n_out x n_in, as weights are stored.
 */
typedef struct en_product {
    const float *x, *w;
    float *y;
    size_t n_tokens, n_in, n_out;
    bool is_transposed;
    float beta;
    en_precision precision;
} en_product;

void en_product_run(const en_product *product, en_pool *pool);

/* sums[j] += sum over tokens i of what is named; x, y: n_tokens x n_cols, scales: n_tokens */
void en_sum_squares(const float *x, size_t n_tokens, size_t n_cols, double *sums, en_pool *pool);
void en_sum_columns(const float *x, size_t n_tokens, size_t n_cols, double *sums, en_pool *pool);
/* scales[i] x[i][j] y[i][j] */
void en_sum_products(const float *x, const float *y, const float *scales, size_t n_tokens,
                     size_t n_cols, double *sums, en_pool *pool);

#endif
