/*
 * attention.c - see attention.h.
 *
 * Two ways to do a tile, chosen by the number of query rows (heads of the group times tokens):
 *
 *   few rows (generation)  dot_f16 and axpy_f16, or dot_i8 and axpy_i8, straight from the cache
 *   many rows (prompt)     the tile becomes f32 once, then two small matrix products
 *
 * A tile may begin in the cache and end in the batch: its first n_cached positions are as the cache
 * keeps them.  Of few tokens everything is taken from the cache.
 */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

enum {
    TILE = 64,          /* positions */
    ROWS = 64,          /* query rows of an item, unless one group has more heads */
    ROWS_FOR_MATMUL = 6 /* from here on turning the tile into f32 pays */
};

/* How the work is cut: items are (token block, head block). */
typedef struct plan {
    const en_attention *a;
    const en_kernels *kernels;
    uint32_t heads_per_item; /* heads of one group: all, or one */
    uint32_t tokens_per_item;
    uint32_t n_head_blocks, n_token_blocks;
    float scale;
    size_t scratch_floats;
} plan;

/* One item: rows are (token, head), token-major. */
typedef struct item {
    const plan *p;
    uint32_t kv_head, first_head;
    uint32_t first_token, n_tokens, n_rows;
    float *q;            /* n_rows x n_head_dim, scaled */
    float *sum;          /* n_rows x n_head_dim: sum of exp(score - max) v */
    float *part;         /* n_rows x n_head_dim: a tile's share */
    float *scores;       /* n_rows x TILE */
    float *plain;        /* TILE x n_head_dim: keys, then values */
    float *values;       /* n_head_dim x TILE */
    float *max, *weight; /* n_rows: running maximum, running sum of exp(score - max) */
    float *scales;       /* n_blocks x TILE: of the tile's int8 keys, then values */
} item;

static uint32_t max_rows(uint32_t group)
{
    return group > ROWS ? group : ROWS;
}

static size_t scratch_floats(uint32_t group, uint32_t n_head_dim)
{
    size_t rows = max_rows(group), d = n_head_dim;
    size_t n_blocks = (d + EN_SCALE_COLS - 1) / EN_SCALE_COLS;
    return rows * (3 * d + TILE + 2) + 2 * TILE * d + n_blocks * TILE;
}

size_t en_attention_scratch_floats(const en_hparams *hp)
{
    return scratch_floats(hp->n_heads / hp->n_kv_heads, hp->n_head_dim);
}

static uint32_t row_position(const item *it, uint32_t row)
{
    return it->p->a->n_past + it->first_token + row / it->p->heads_per_item;
}

/* First position a token at 'position' sees. */
static uint32_t first_seen(const en_attention *a, uint32_t position)
{
    return a->window != 0 && position >= a->window ? position - a->window + 1 : 0;
}

static void lay_out(item *it, float *scratch, uint32_t d)
{
    size_t rows = it->n_rows;
    it->q = scratch;
    it->sum = it->q + rows * d;
    it->part = it->sum + rows * d;
    it->scores = it->part + rows * d;
    it->max = it->scores + rows * TILE;
    it->weight = it->max + rows;
    it->plain = it->weight + rows;
    it->values = it->plain + (size_t)TILE * d;
    it->scales = it->values + (size_t)TILE * d;
}

static void load_queries(item *it, uint32_t d)
{
    const en_attention *a = it->p->a;
    uint32_t heads = it->p->heads_per_item;
    for (uint32_t row = 0; row < it->n_rows; row++) {
        const float *q = a->q + (it->first_token + row / heads) * a->stride +
                         (size_t)(it->first_head + row % heads) * d;
        for (uint32_t i = 0; i < d; i++)
            it->q[(size_t)row * d + i] = q[i] * it->p->scale;
        it->max[row] = -INFINITY;
        it->weight[row] = 0.0f;
    }
    memset(it->sum, 0, (size_t)it->n_rows * d * sizeof(float));
}

/*
 * Turns a row's scores of a tile into exp(score - max), zero where the row does not see, with
 * the running maximum brought up to date.  Returns what the sums so far must be multiplied by.
 *
 * The softmax kernel gives exp(s - m) / l with m the maximum and l the sum over the tile.  l is
 * recovered from the largest value, which is 1 / l.
 */
static float weigh_tile(const item *it, uint32_t row, uint32_t tile, uint32_t n)
{
    const en_attention *a = it->p->a;
    float *scores = it->scores + (size_t)row * TILE;
    uint32_t position = row_position(it, row), lo = first_seen(a, position);
    uint32_t begin = lo > tile ? lo - tile : 0;
    uint32_t end = position + 1 > tile ? position + 1 - tile : 0;
    if (end > n)
        end = n;
    if (begin >= end) {
        memset(scores, 0, n * sizeof *scores);
        return 1.0f;
    }
    float max = scores[begin];
    for (uint32_t i = begin + 1; i < end; i++)
        max = scores[i] > max ? scores[i] : max;
    it->p->kernels->softmax(scores + begin, end - begin);
    float largest = 0.0f;
    for (uint32_t i = begin; i < end; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    float tile_sum = largest > 0.0f ? 1.0f / largest : 0.0f; /* 0: all NaN, nothing to save */

    float new_max = max > it->max[row] ? max : it->max[row];
    float tile_factor = tile_sum * expf(max - new_max);
    float old_factor = expf(it->max[row] - new_max);
    for (uint32_t i = begin; i < end; i++)
        scores[i] *= tile_factor;
    memset(scores, 0, begin * sizeof *scores);
    memset(scores + end, 0, (n - end) * sizeof *scores);
    it->weight[row] = it->weight[row] * old_factor + tile_factor;
    it->max[row] = new_max;
    return old_factor;
}

static void rescale(float *x, float factor, uint32_t n)
{
    if (factor == 1.0f)
        return;
    for (uint32_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* Positions of a tile that lie in the cache. */
static uint32_t count_cached(const item *it, uint32_t tile, uint32_t n)
{
    uint32_t n_past = it->p->a->n_past;
    if (it->p->a->n_tokens <= EN_ATTENTION_FEW_TOKENS)
        return n;
    return n_past <= tile ? 0 : n_past - tile < n ? n_past - tile : n;
}

/* Key or value ('of_batch' is a->k or a->v) of a position of the batch. */
static const float *batch_row(const item *it, const float *of_batch, uint32_t position, uint32_t d)
{
    const en_attention *a = it->p->a;
    return of_batch + (position - a->n_past) * a->stride + (size_t)it->kv_head * d;
}

/* Scales of a tile's first n positions into it->scales, times the weights if there are any. */
static void load_scales(const item *it, const en_kv_numbers *from, uint32_t tile, uint32_t n,
                        const float *weights)
{
    const en_kv_cache *c = it->p->a->cache;
    const uint16_t *scales =
        from->scales + en_kv_cache_scale_at(c, it->p->a->layer, it->kv_head, tile);
    for (uint32_t block = 0; block < c->n_blocks; block++) {
        float *out = it->scales + (size_t)block * TILE;
        it->p->kernels->dequantize[EN_DTYPE_F16](
            (const uint8_t *)(scales + (size_t)block * c->n_ctx), out, n);
        for (uint32_t i = 0; weights != NULL && i < n; i++)
            out[i] *= weights[i];
    }
}

/* ---- few rows ---- */

static void score_row(const item *it, const float *q, uint32_t tile, uint32_t n, uint32_t n_cached,
                      float *scores)
{
    const en_attention *a = it->p->a;
    uint32_t d = a->cache->n_head_dim;
    const en_kv_numbers *keys = &a->cache->keys;
    size_t at = en_kv_cache_at(a->cache, a->layer, it->kv_head, tile);
    if (a->cache->type == ENTRO_KV_INT8) {
        load_scales(it, keys, tile, n_cached, NULL);
        it->p->kernels->dot_i8(keys->int8 + at, it->scales, TILE, n_cached, d, q, scores);
    } else {
        for (uint32_t i = 0; i < n_cached; i++)
            scores[i] = it->p->kernels->dot_f16(keys->f16 + at + (size_t)i * d, q, d);
    }
    for (uint32_t i = n_cached; i < n; i++)
        scores[i] = it->p->kernels->dot_f32(batch_row(it, a->k, tile + i, d), q, d);
}

static void sum_values(const item *it, const float *scores, uint32_t tile, uint32_t n,
                       uint32_t n_cached, float *sum)
{
    const en_attention *a = it->p->a;
    uint32_t d = a->cache->n_head_dim;
    const en_kv_numbers *values = &a->cache->values;
    size_t at = en_kv_cache_at(a->cache, a->layer, it->kv_head, tile);
    uint32_t i = 0;
    if (a->cache->type == ENTRO_KV_INT8) {
        load_scales(it, values, tile, n_cached, scores);
        it->p->kernels->axpy_i8(values->int8 + at, it->scales, TILE, n_cached, d, sum);
        i = n_cached;
    }
    for (; i < n; i++) {
        if (scores[i] == 0.0f) /* outside the window, or too small to matter */
            continue;
        if (i < n_cached) {
            it->p->kernels->axpy_f16(scores[i], values->f16 + at + (size_t)i * d, sum, d);
            continue;
        }
        const float *v = batch_row(it, a->v, tile + i, d);
        for (uint32_t j = 0; j < d; j++)
            sum[j] += scores[i] * v[j];
    }
}

static void tile_direct(const item *it, uint32_t tile, uint32_t n)
{
    uint32_t d = it->p->a->cache->n_head_dim, n_cached = count_cached(it, tile, n);
    for (uint32_t row = 0; row < it->n_rows; row++) {
        float *scores = it->scores + (size_t)row * TILE, *sum = it->sum + (size_t)row * d;
        score_row(it, it->q + (size_t)row * d, tile, n, n_cached, scores);
        rescale(sum, weigh_tile(it, row, tile, n), d);
        sum_values(it, scores, tile, n, n_cached, sum);
    }
}

/* ---- many rows ---- */

/* A tile of keys or values as f32, position after position. */
static void load_tile(const item *it, const en_kv_numbers *cached, const float *of_batch,
                      uint32_t tile, uint32_t n, float *out)
{
    const en_attention *a = it->p->a;
    uint32_t d = a->cache->n_head_dim, n_cached = count_cached(it, tile, n);
    size_t at = en_kv_cache_at(a->cache, a->layer, it->kv_head, tile);
    if (n_cached > 0 && a->cache->type == ENTRO_KV_INT8) {
        load_scales(it, cached, tile, n_cached, NULL);
        it->p->kernels->expand_i8(cached->int8 + at, it->scales, TILE, n_cached, d, out);
    } else if (n_cached > 0) {
        it->p->kernels->dequantize[EN_DTYPE_F16]((const uint8_t *)(cached->f16 + at), out,
                                                 (size_t)n_cached * d);
    }
    for (uint32_t i = n_cached; i < n; i++)
        memcpy(out + (size_t)i * d, batch_row(it, of_batch, tile + i, d), d * sizeof *out);
}

/* values[i][t] = plain[t][i], the layout of a matrix whose rows are outputs. */
static void transpose(const float *plain, float *values, uint32_t n, uint32_t d)
{
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t t = 0; t < n; t++)
            values[(size_t)i * n + t] = plain[(size_t)t * d + i];
    }
}

static void tile_matmul(const item *it, uint32_t tile, uint32_t n)
{
    const en_attention *a = it->p->a;
    const en_kernels *k = it->p->kernels;
    uint32_t d = a->cache->n_head_dim;
    load_tile(it, &a->cache->keys, a->k, tile, n, it->plain);
    k->matmul_f32(it->plain, n, d, it->q, d, it->n_rows, it->scores, TILE);
    for (uint32_t row = 0; row < it->n_rows; row++)
        rescale(it->sum + (size_t)row * d, weigh_tile(it, row, tile, n), d);
    load_tile(it, &a->cache->values, a->v, tile, n, it->plain);
    transpose(it->plain, it->values, n, d);
    k->matmul_f32(it->values, d, n, it->scores, TILE, it->n_rows, it->part, d);
    k->add(it->part, it->sum, (size_t)it->n_rows * d);
}

static void store(const item *it, uint32_t d)
{
    const en_attention *a = it->p->a;
    uint32_t heads = it->p->heads_per_item;
    for (uint32_t row = 0; row < it->n_rows; row++) {
        float *out = a->out + (it->first_token + row / heads) * a->out_stride +
                     (size_t)(it->first_head + row % heads) * d;
        for (uint32_t i = 0; i < d; i++)
            out[i] = it->sum[(size_t)row * d + i] / it->weight[row];
    }
}

static void run_item(void *context, uint32_t index, uint32_t thread)
{
    const plan *p = context;
    const en_attention *a = p->a;
    const en_kv_cache *c = a->cache;
    uint32_t d = c->n_head_dim, group = a->n_heads / c->n_kv_heads;
    /* Late tokens see more: start with them, so that threads finish together. */
    uint32_t block = p->n_token_blocks - 1 - index / p->n_head_blocks;
    item it = {.p = p,
               .first_head = index % p->n_head_blocks * p->heads_per_item,
               .first_token = block * p->tokens_per_item};
    it.kv_head = it.first_head / group;
    uint32_t left = a->n_tokens - it.first_token;
    it.n_tokens = left < p->tokens_per_item ? left : p->tokens_per_item;
    it.n_rows = it.n_tokens * p->heads_per_item;
    lay_out(&it, a->scratch + thread * p->scratch_floats, d);
    load_queries(&it, d);

    uint32_t end = row_position(&it, it.n_rows - 1) + 1;
    uint32_t begin = first_seen(a, row_position(&it, 0)) / TILE * TILE;
    for (uint32_t tile = begin; tile < end; tile += TILE) {
        uint32_t n = end - tile < TILE ? end - tile : TILE;
        if (it.n_rows < ROWS_FOR_MATMUL)
            tile_direct(&it, tile, n);
        else
            tile_matmul(&it, tile, n);
    }
    store(&it, d);
}

void en_attention_run(const en_attention *a, en_pool *pool)
{
    uint32_t group = a->n_heads / a->cache->n_kv_heads;
    plan p = {.a = a,
              .kernels = en_kernels_get(),
              .scale = 1.0f / sqrtf((float)a->cache->n_head_dim),
              .scratch_floats = scratch_floats(group, a->cache->n_head_dim)};
    /* Few tokens: each head of each token is an item, so that how many came together cannot show.
     * Many share the group's keys. */
    bool few = a->n_tokens <= EN_ATTENTION_FEW_TOKENS;
    p.heads_per_item = few ? 1 : group;
    p.tokens_per_item = few ? 1 : max_rows(group) / group;
    p.n_head_blocks = a->n_heads / p.heads_per_item;
    p.n_token_blocks = (a->n_tokens + p.tokens_per_item - 1) / p.tokens_per_item;
    en_pool_run(pool, run_item, &p, p.n_head_blocks * p.n_token_blocks);
}
