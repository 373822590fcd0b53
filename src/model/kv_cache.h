/*
 * kv_cache.h - keys and values of the tokens so far, as f16.
 *
 *   keys  : [layer][kv head][position][n_head_dim]     values : likewise
 *
 * so that one head's keys, which are read together, lie together.  Positions beyond the current
 * length hold old numbers and are never read.
 */
#ifndef EN_MODEL_KV_CACHE_H
#define EN_MODEL_KV_CACHE_H

#include "model/hparams.h"

typedef struct en_kv_cache {
    uint32_t n_layers, n_kv_heads, n_head_dim, n_ctx;
    uint16_t *keys, *values;
} en_kv_cache;

entro_status en_kv_cache_new(en_kv_cache *cache, const en_hparams *hp, uint32_t n_ctx,
                             entro_error *err);
void en_kv_cache_free(en_kv_cache *cache); /* a zeroed one is fine */
size_t en_kv_cache_bytes(const en_kv_cache *cache);

/* Where a head's position lies in keys and in values. */
static inline size_t en_kv_cache_at(const en_kv_cache *c, uint32_t layer, uint32_t kv_head,
                                    uint32_t position)
{
    return (((size_t)layer * c->n_kv_heads + kv_head) * c->n_ctx + position) * c->n_head_dim;
}

#endif
