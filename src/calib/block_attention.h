/*
 * block_attention.h - causal grouped-query attention of whole sequences, forward and backward.
 *
 *   S = q k^T / sqrt(n_head_dim), lo(t) <= p <= t    P = softmax(S)    out = P v
 *   dP = dout v^T    dS = P (dP - sum_p P dP)    dq = dS k,  dk = dS^T q,  dv = P^T dout
 *
 * with lo(t) = 0, or t - window + 1 under a sliding window.  P is never kept: the backward pass
 * computes it again, a head and some positions at a time.
 */
#ifndef EN_CALIB_BLOCK_ATTENTION_H
#define EN_CALIB_BLOCK_ATTENTION_H

#include "calib/block.h"

typedef struct en_block_attention {
    const en_hparams *hp;
    uint32_t n_sequences, n_positions;
    float *qkv;     /* a token's q, k, v of all heads, rotated */
    float *out;     /* a token's q floats */
    float *scratch; /* of all threads */
} en_block_attention;

/* Of a tape's first sequences, with scratch for both passes and so many threads. */
entro_status en_block_attention_open(en_block_attention *a, const en_hparams *hp,
                                     const en_block_tape *tape, uint32_t n_sequences,
                                     uint32_t n_threads, entro_error *err);
void en_block_attention_close(en_block_attention *a);

void en_block_attention_forward(en_block_attention *a, en_pool *pool);
/* 'out' holds the gradient at it; qkv becomes the gradient at itself. */
void en_block_attention_backward(en_block_attention *a, en_pool *pool);

#endif
