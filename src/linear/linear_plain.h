/*
 * linear_plain.h - products with matrices as their publisher stored them.
 *
 *   few tokens, GGUF's blocks:  blocks times integers, as they lie in the file (dot_blocks)
 *   many tokens, GGUF's blocks: blocks taken apart once for all tokens (linear_tiles.h)
 *   one token, F16 and F32:     numbers as they lie in the file times f32
 *   else:                       a tile of rows -> f32 -> matmul
 *
 * The first and third read each weight once and write no tile: speed is that of memory.  Integers are
 * those of activations.h, of 15 bits, and sums of them.
 */
#ifndef EN_LINEAR_LINEAR_PLAIN_H
#define EN_LINEAR_LINEAR_PLAIN_H

#include "kernels/kernels.h"
#include "linear/activations.h"
#include "linear/linear_scratch.h"

/* Does a product of this matrix with so many tokens take integers? */
bool en_plain_takes_integers(const en_linear *matrix, size_t n_tokens);
/* Rows of one item of work. */
uint64_t en_plain_item_rows(const en_linear *matrix, size_t n_tokens);

/* The inputs of a job as integers. */
typedef struct en_plain_inputs {
    en_strip_matrix shape; /* of nothing but columns: their order is the model's */
    en_activations integers;
    en_block_vector *vectors; /* of each token */
} en_plain_inputs;

/* Bytes (a multiple of 64); false on overflow. */
bool en_plain_inputs_bytes(uint64_t n_cols, size_t n_tokens, size_t *n_bytes);
/* 'memory' is 64-byte aligned and stays the caller's; 'p' must not be moved afterwards. */
void en_plain_inputs_place(en_plain_inputs *p, uint64_t n_cols, size_t n_tokens, uint8_t *memory);
/* Sets one token from x[n_cols]; 'ordered' is scratch for as many floats, in whole units. */
void en_plain_inputs_set(en_plain_inputs *p, size_t token, const float *x, float *ordered);

/* A product that is cut into items. */
typedef struct en_plain_product {
    const en_linear *matrix;
    const en_plain_inputs *integers; /* where they are taken */
    const float *x;                  /* x[t * x_stride + k] */
    size_t x_stride, n_tokens;
    float *y; /* y[t * y_stride + r] */
    size_t y_stride;
} en_plain_product;

/* 'tile' holds en_linear_tile_rows() rows.  Fails where the source cannot be read. */
entro_status en_plain_run_item(const en_plain_product *p, uint64_t item, float *tile,
                               entro_error *err);

#endif
