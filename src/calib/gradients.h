/*
 * gradients.h - covariances of the gradients at a layer's outputs, matrix by matrix, in blocks of rows.
 *
 *   group:    q k v | attn_output | gate up | ffn_down         the groups of statistics_file.h
 *   matrix:   as the model stores it (q, k, v are one where they are fused)
 *   block:    at most EN_ROW_BLOCK of its rows (quant/row_blocks.h): sums of g g^T, n x n
 *
 * All blocks of a layer lie one behind the other.
 */
#ifndef EN_CALIB_GRADIENTS_H
#define EN_CALIB_GRADIENTS_H

#include "calib/products.h"
#include "model/hparams.h"

enum { EN_GRADIENT_GROUPS = 4, EN_GRADIENT_MATRICES = 3 /* at most, of a group */ };

typedef struct en_gradient_group {
    uint32_t n_matrices;
    size_t n_rows[EN_GRADIENT_MATRICES];
} en_gradient_group;

en_gradient_group en_gradient_group_of(const en_hparams *hp, uint32_t group);
/* Floats of the blocks of a group; of all groups. */
size_t en_gradient_floats(const en_hparams *hp, uint32_t group);
size_t en_gradient_layer_floats(const en_hparams *hp);

/* Adds the gradients of n_tokens at all outputs of a group (a row a token) to its blocks. */
void en_gradient_add(const en_hparams *hp, uint32_t group, const float *dy, size_t n_tokens,
                     en_precision precision, float *blocks, en_pool *pool);

#endif
