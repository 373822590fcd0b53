/*
 * block_parts.h - what the passes of block.h share: sizes of a token's rows, and the norm.
 */
#ifndef EN_CALIB_BLOCK_PARTS_H
#define EN_CALIB_BLOCK_PARTS_H

#include "model/hparams.h"

/* Floats of a token's q, k and v, of all heads. */
static inline size_t en_block_q_floats(const en_hparams *hp)
{
    return (size_t)hp->n_heads * hp->n_head_dim;
}

static inline size_t en_block_qkv_floats(const en_hparams *hp)
{
    return ((size_t)hp->n_heads + 2 * (size_t)hp->n_kv_heads) * hp->n_head_dim;
}

/*
 * The norm y = x r gain, r = 1 / sqrt(mean(x^2) + epsilon), seen from its output:
 *   dx = scale gain dy - slope x       scale = r, slope = r^3 mean(x gain dy)
 */
typedef struct en_norm_back {
    float scale, slope;
} en_norm_back;

en_norm_back en_norm_back_of(const float *x, const float *gain, float epsilon, const float *dy,
                             size_t n);

#endif
