/*
 * block_parts.h - what the passes of block.h share: sizes of a token's rows, and the norm.
 */
#ifndef EN_CALIB_BLOCK_PARTS_H
#define EN_CALIB_BLOCK_PARTS_H

#include <stddef.h>

#include "model/hparams.h"

/*
 * Logits of all tokens would take too much: an output matrix is worked through a slice of tokens at a time. Output
 * matrices are large and each slice reads them again, so a slice has as many tokens as have this many logits.
 */
#define EN_HEAD_SLICE_FLOATS ((size_t)1 << 26) /* 256 MiB */

static inline size_t en_head_slice_tokens(const en_hparams *hp, size_t n_tokens)
{
    size_t n = EN_HEAD_SLICE_FLOATS / hp->n_vocab;
    n = n > 0 ? n : 1;
    return n < n_tokens ? n : n_tokens;
}

/* Logits become probabilities; returns the logarithm of the sum of their exponentials, NaN when they are not
 * finite. */
double en_head_soften(float *logits, size_t n);

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
/* x becomes the gradient at itself. */
void en_norm_back_in_place(float *x, const float *gain, float epsilon, const float *dy, size_t n);

#endif
