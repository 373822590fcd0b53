/*
 * kv_cache.h - keys and values of the tokens so far, as f16 or as int8 with scales.
 *
 *   keys  : [layer][kv head][position][n_head_dim]     values : likewise
 *
 * so that one head's keys, which are read together, lie together.  With int8 also
 *
 *   scales : [layer][kv head][block][position], f16    number = scale * int8
 *
 * a block being EN_SCALE_COLS dimensions of a head (the last one may be shorter): some models have keys
 * a few dimensions of which are a hundred times larger than the rest, and one scale a head would lose
 * the rest.  It is the arithmetic of llama.cpp's q8_0 and takes 17 bits where f16 takes 32.
 *
 * Positions beyond the current length hold old numbers and are never read, so forgetting the last
 * tokens takes nothing.
 */
#ifndef EN_MODEL_KV_CACHE_H
#define EN_MODEL_KV_CACHE_H

#include "kernels/kernels.h"
#include "model/hparams.h"

/* Keys, or values: either f16, or int8 and scales. */
typedef struct en_kv_numbers {
    uint16_t *f16;
    int8_t *int8;
    uint16_t *scales;
} en_kv_numbers;

typedef struct en_kv_cache {
    entro_kv_type type;
    uint32_t n_layers, n_kv_heads, n_head_dim, n_ctx;
    uint32_t n_blocks; /* of a head: scales */
    en_kv_numbers keys, values;
} en_kv_cache;

entro_status en_kv_cache_new(en_kv_cache *cache, const en_hparams *hp, uint32_t n_ctx,
                             entro_kv_type type, entro_error *err);
void en_kv_cache_free(en_kv_cache *cache); /* a zeroed one is fine */
size_t en_kv_cache_bytes(const en_kv_cache *cache);

/* Puts all heads' keys and values of a position of a layer (n_kv_heads * n_head_dim floats each).  What
 * is not finite stays so. */
void en_kv_cache_put(en_kv_cache *cache, const en_kernels *kernels, uint32_t layer,
                     uint32_t position, const float *k, const float *v);

/* Where a head's position lies in keys and in values. */
static inline size_t en_kv_cache_at(const en_kv_cache *c, uint32_t layer, uint32_t kv_head,
                                    uint32_t position)
{
    return (((size_t)layer * c->n_kv_heads + kv_head) * c->n_ctx + position) * c->n_head_dim;
}

/* Where a position's scale of the head's first block lies; the next block's is n_ctx further. */
static inline size_t en_kv_cache_scale_at(const en_kv_cache *c, uint32_t layer, uint32_t kv_head,
                                          uint32_t position)
{
    return ((size_t)layer * c->n_kv_heads + kv_head) * c->n_blocks * c->n_ctx + position;
}

#endif
