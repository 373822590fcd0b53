/*
 * kv_cache.c - see kv_cache.h.
 */
#include "model/kv_cache.h"

#include <string.h>

#include "base/memory.h"

/* Numbers and scales in keys (or values); false when that overflows. */
static bool count(const en_kv_cache *c, size_t *n, size_t *n_scales)
{
    /* layers, heads and head_dim are below 2^12 each (hparams.c): 2^36 at most */
    size_t heads = (size_t)c->n_layers * c->n_kv_heads;
    return en_mul(heads * c->n_head_dim, c->n_ctx, n) &&
           en_mul(heads * c->n_blocks, c->n_ctx, n_scales);
}

static bool numbers_new(en_kv_numbers *x, entro_kv_type type, size_t n, size_t n_scales)
{
    if (type == ENTRO_KV_F16) {
        x->f16 = en_alloc(n, sizeof *x->f16);
        return x->f16 != NULL;
    }
    x->int8 = en_alloc(n, sizeof *x->int8);
    x->scales = en_alloc(n_scales, sizeof *x->scales);
    return x->int8 != NULL && x->scales != NULL;
}

static void numbers_free(en_kv_numbers *x)
{
    en_free(x->f16);
    en_free(x->int8);
    en_free(x->scales);
}

entro_status en_kv_cache_new(en_kv_cache *cache, const en_hparams *hp, uint32_t n_ctx,
                             entro_kv_type type, entro_error *err)
{
    *cache = (en_kv_cache){.type = type,
                           .n_layers = hp->n_layers,
                           .n_kv_heads = hp->n_kv_heads,
                           .n_head_dim = hp->n_head_dim,
                           .n_ctx = n_ctx,
                           .n_blocks = (hp->n_head_dim + EN_SCALE_COLS - 1) / EN_SCALE_COLS};
    size_t n, n_scales;
    if (count(cache, &n, &n_scales) && numbers_new(&cache->keys, type, n, n_scales) &&
        numbers_new(&cache->values, type, n, n_scales))
        return ENTRO_OK;
    en_kv_cache_free(cache);
    return en_fail(err, ENTRO_ERR_NOMEM,
                   "no memory for a KV cache of %u tokens; try a smaller context (-c)%s", n_ctx,
                   type == ENTRO_KV_F16 ? " or one of int8 (--kv-type)" : "");
}

void en_kv_cache_free(en_kv_cache *cache)
{
    numbers_free(&cache->keys);
    numbers_free(&cache->values);
    *cache = (en_kv_cache){0};
}

size_t en_kv_cache_bytes(const en_kv_cache *cache)
{
    size_t n = 0, n_scales = 0;
    if (!count(cache, &n, &n_scales))
        return 0;
    return cache->type == ENTRO_KV_F16 ? 2 * n * sizeof(uint16_t)
                                       : 2 * (n + n_scales * sizeof(uint16_t));
}

/* A block of a head: scale = max |x| / 127, rounded to f16 before the numbers are. */
static void put_block(const en_kernels *k, const float *x, uint32_t n, int8_t *out, uint16_t *scale)
{
    static const uint16_t nan_f16 = 0x7e00;
    float lo, hi, step;
    if (!k->min_max(x, n, &lo, &hi)) {
        *scale = nan_f16; /* a broken model must not look like a working one */
        memset(out, 0, n);
        return;
    }
    float most = (hi > -lo ? hi : -lo) * (1.0f / 127);
    k->f32_to_f16(&most, scale, 1);
    k->dequantize[EN_DTYPE_F16]((const uint8_t *)scale, &step, 1);
    k->round_i8(x, step > 0.0f ? 1.0f / step : 0.0f, out, n);
}

static void put(const en_kv_cache *c, const en_kernels *kernels, const en_kv_numbers *to, size_t at,
                size_t scale_at, const float *x)
{
    if (c->type == ENTRO_KV_F16) {
        kernels->f32_to_f16(x, to->f16 + at, c->n_head_dim);
        return;
    }
    for (uint32_t i = 0; i < c->n_head_dim; i += EN_SCALE_COLS, scale_at += c->n_ctx) {
        uint32_t left = c->n_head_dim - i;
        put_block(kernels, x + i, left < EN_SCALE_COLS ? left : EN_SCALE_COLS, to->int8 + at + i,
                  to->scales + scale_at);
    }
}

void en_kv_cache_put(en_kv_cache *cache, const en_kernels *kernels, uint32_t layer,
                     uint32_t position, const float *k, const float *v)
{
    uint32_t d = cache->n_head_dim;
    for (uint32_t head = 0; head < cache->n_kv_heads; head++) {
        size_t at = en_kv_cache_at(cache, layer, head, position);
        size_t scale_at = en_kv_cache_scale_at(cache, layer, head, position);
        put(cache, kernels, &cache->keys, at, scale_at, k + (size_t)head * d);
        put(cache, kernels, &cache->values, at, scale_at, v + (size_t)head * d);
    }
}
