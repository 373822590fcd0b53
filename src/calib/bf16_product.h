/*
 * bf16_product.h - products of matrices rounded to bf16, sums in f32, for processors that do twice as many of
 * them.
 *
 * Inputs of layers and weights lose 0.2 % of each number, at random; sums over thousands of tokens do not care.
 * What subtracts two models' numbers does (distill.h, drift.h), and stays with f32.
 */
#ifndef EN_CALIB_BF16_PRODUCT_H
#define EN_CALIB_BF16_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Number k of line i, of which k is summed over. */
typedef struct en_bf16_factor {
    const float *x;
    size_t stride;
    bool is_along; /* at x[i * stride + k]; else at x[k * stride + i] */
} en_bf16_factor;

/* c[i * stride + j] = sum over k of a_ik b_jk, i < n_rows, j < n_cols, k < n; or as much is added. */
typedef struct en_bf16_product {
    en_bf16_factor a, b;
    size_t n_rows, n_cols, n;
    float *c;
    size_t stride;
    bool add;
    bool is_lower; /* entries above the diagonal are not wanted, and may be anything */
} en_bf16_product;

/* Room for the panels of so many threads, to be en_free()d; NULL when memory is out. */
uint32_t *en_bf16_scratch(uint32_t n_threads);
/* On the calling thread, which is this one of the scratch's. */
void en_bf16_product_run(const en_bf16_product *p, uint32_t *scratch, uint32_t thread);

#endif
