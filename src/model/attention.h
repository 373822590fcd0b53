/*
 * attention.h - causal grouped-query attention over the KV cache.
 *
 *   out_h(t) = sum_p softmax_p(q_h(t) . k(p) / sqrt(n_head_dim)) v(p)     lo(t) <= p <= pos(t)
 *
 * with lo(t) = 0, or pos(t) - window + 1 under a sliding window.  Positions below n_past come from
 * the cache as f16 or int8; those of a large batch itself are still at hand as f32 and used so: a text that
 * fits into one batch is computed in f32 throughout.  Of up to EN_ATTENTION_FEW_TOKENS the batch's own
 * keys and values, too, are those of the cache, so that tokens give the same whether they come one
 * by one or several together (drafts to verify).
 *
 * Positions are walked in tiles with a running maximum and sum (online softmax), so scratch memory does not grow with the
 * context.  One item of work is a few heads of one group at a few tokens; each is computed by one
 * thread in one order, so the result does not depend on the number of threads.
 */
#ifndef EN_MODEL_ATTENTION_H
#define EN_MODEL_ATTENTION_H

#include "base/pool.h"
#include "model/kv_cache.h"

enum { EN_ATTENTION_FEW_TOKENS = 16 };

typedef struct en_attention {
    const en_kv_cache *cache; /* holds the batch's keys and values already */
    uint32_t layer;
    uint32_t n_heads;
    uint32_t window; /* 0: none */
    uint32_t n_past, n_tokens;
    const float *q;     /* q[t * stride + head * n_head_dim + i] */
    const float *k, *v; /* of the batch: k[t * stride + kv_head * n_head_dim + i] */
    size_t stride;      /* of q, k and v */
    float *out;         /* like q */
    size_t out_stride;
    float *scratch; /* n_threads times en_attention_scratch_floats() */
} en_attention;

/* A thread's scratch. */
size_t en_attention_scratch_floats(const en_hparams *hp);

void en_attention_run(const en_attention *a, en_pool *pool);

#endif
