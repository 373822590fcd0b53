/* kv_piece.c - see kv_piece.h. */
#include "model/kv_piece.h"

#include <string.h>

/* Where bytes of a piece go: out of the cache, or into it. */
typedef struct moving {
    uint8_t *out;
    const uint8_t *in;
} moving;

static void move(moving *m, void *in_cache, size_t n)
{
    if (m->out != NULL) {
        memcpy(m->out, in_cache, n);
        m->out += n;
    } else {
        memcpy(in_cache, m->in, n);
        m->in += n;
    }
}

static void move_numbers(moving *m, const en_kv_cache *c, const en_kv_numbers *x, uint32_t first,
                         uint32_t n)
{
    size_t n_runs = (size_t)c->n_layers * c->n_kv_heads, run = (size_t)c->n_ctx * c->n_head_dim;
    size_t at = (size_t)first * c->n_head_dim, n_numbers = (size_t)n * c->n_head_dim;
    for (size_t i = 0; i < n_runs; i++, at += run) {
        if (c->type == ENTRO_KV_F16)
            move(m, x->f16 + at, n_numbers * sizeof *x->f16);
        else
            move(m, x->int8 + at, n_numbers);
    }
    for (size_t i = 0; c->type != ENTRO_KV_F16 && i < n_runs * c->n_blocks; i++)
        move(m, x->scales + i * c->n_ctx + first, n * sizeof *x->scales);
}

size_t en_kv_piece_bytes(const en_kv_cache *cache, uint32_t n)
{
    return en_kv_cache_bytes(cache) / cache->n_ctx * n;
}

void en_kv_piece_get(const en_kv_cache *cache, uint32_t first, uint32_t n, uint8_t *out)
{
    moving m = {.out = out};
    move_numbers(&m, cache, &cache->keys, first, n);
    move_numbers(&m, cache, &cache->values, first, n);
}

void en_kv_piece_put(en_kv_cache *cache, uint32_t first, uint32_t n, const uint8_t *bytes)
{
    moving m = {.in = bytes};
    move_numbers(&m, cache, &cache->keys, first, n);
    move_numbers(&m, cache, &cache->values, first, n);
}
