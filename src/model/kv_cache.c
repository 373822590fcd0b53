/*
 * kv_cache.c - see kv_cache.h.
 */
#include "model/kv_cache.h"

#include "base/memory.h"

/* Halves in keys (or values); false when that overflows. */
static bool count_halves(const en_kv_cache *c, size_t *n)
{
    /* layers, heads and head_dim are below 2^12 each (hparams.c): 2^36 at most */
    size_t per_position = (size_t)c->n_layers * c->n_kv_heads * c->n_head_dim;
    return en_mul(per_position, c->n_ctx, n);
}

entro_status en_kv_cache_new(en_kv_cache *cache, const en_hparams *hp, uint32_t n_ctx,
                             entro_error *err)
{
    *cache = (en_kv_cache){.n_layers = hp->n_layers,
                           .n_kv_heads = hp->n_kv_heads,
                           .n_head_dim = hp->n_head_dim,
                           .n_ctx = n_ctx};
    size_t n;
    if (count_halves(cache, &n)) {
        cache->keys = en_alloc(n, sizeof *cache->keys);
        cache->values = en_alloc(n, sizeof *cache->values);
    }
    if (cache->keys != NULL && cache->values != NULL)
        return ENTRO_OK;
    en_kv_cache_free(cache);
    return en_fail(err, ENTRO_ERR_NOMEM,
                   "no memory for a KV cache of %u tokens; try a smaller context (-c)", n_ctx);
}

void en_kv_cache_free(en_kv_cache *cache)
{
    en_free(cache->keys);
    en_free(cache->values);
    *cache = (en_kv_cache){0};
}

size_t en_kv_cache_bytes(const en_kv_cache *cache)
{
    size_t n = 0;
    return count_halves(cache, &n) ? 2 * n * sizeof(uint16_t) : 0;
}
