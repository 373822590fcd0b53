/*
 * bench_attention.c - one token's attention over an f16 and an int8 KV cache, in alternation:
 *
 *   bench_attention                             shapes of three models, 4096 positions
 *   ENTRO_CPU_DISABLE=avx512 bench_attention    the variant below
 *
 * One thread, by its processor time, so that a busy machine matters less; the best of several runs.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "model/attention.h"
#include "thread_clock.h"

enum { DEPTH = 4096, RUNS = 9 };

typedef struct shape {
    const char *model;
    uint32_t n_heads, n_kv_heads, n_head_dim, n_layers;
} shape;

static void *need(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

static float random_float(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)state * 0x1p-31f;
}

static float *random_floats(size_t n)
{
    float *x = need(en_alloc(n, sizeof *x));
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
    return x;
}

static void fill(en_kv_cache *c, const en_hparams *hp, entro_kv_type type)
{
    if (en_kv_cache_new(c, hp, DEPTH, type, NULL) != ENTRO_OK)
        need(NULL);
    float *row = random_floats((size_t)hp->n_kv_heads * hp->n_head_dim);
    for (uint32_t layer = 0; layer < hp->n_layers; layer++)
        for (uint32_t position = 0; position < DEPTH; position++)
            en_kv_cache_put(c, en_kernels_get(), layer, position, row, row);
    en_free(row);
}

static double time_token(en_attention *a, const en_hparams *hp, en_pool *pool)
{
    double start = thread_seconds();
    for (a->layer = 0; a->layer < hp->n_layers; a->layer++)
        en_attention_run(a, pool);
    return thread_seconds() - start;
}

static void bench_shape(const shape *s, en_pool *pool)
{
    en_hparams hp = {.n_layers = s->n_layers,
                     .n_heads = s->n_heads,
                     .n_kv_heads = s->n_kv_heads,
                     .n_head_dim = s->n_head_dim};
    size_t width = (size_t)s->n_heads * s->n_head_dim;
    en_kv_cache caches[2];
    float *q = random_floats(width), *out = random_floats(width);
    float *scratch = random_floats(en_attention_scratch_floats(&hp));
    double best[2] = {1e9, 1e9};
    fill(&caches[0], &hp, ENTRO_KV_F16);
    fill(&caches[1], &hp, ENTRO_KV_INT8);
    for (int run = 0; run < 2 * RUNS; run++) {
        en_attention a = {.cache = &caches[run % 2],
                          .n_heads = s->n_heads,
                          .n_past = DEPTH - 1,
                          .n_tokens = 1,
                          .q = q,
                          .stride = width,
                          .out = out,
                          .out_stride = width,
                          .scratch = scratch};
        double seconds = time_token(&a, &hp, pool);
        best[run % 2] = seconds < best[run % 2] ? seconds : best[run % 2];
    }
    printf("%-14s %2u heads on %2u of %3u, %2u layers   f16 %6.2f ms, %4.0f MB   int8 %6.2f ms, "
           "%4.0f MB   %.2f times as fast\n",
           s->model, s->n_heads, s->n_kv_heads, s->n_head_dim, s->n_layers, 1e3 * best[0],
           1e-6 * (double)en_kv_cache_bytes(&caches[0]), 1e3 * best[1],
           1e-6 * (double)en_kv_cache_bytes(&caches[1]), best[0] / best[1]);
    en_kv_cache_free(&caches[0]);
    en_kv_cache_free(&caches[1]);
    en_free(q);
    en_free(out);
    en_free(scratch);
}

int main(void)
{
    static const shape shapes[] = {{"SmolLM2-135M", 9, 3, 64, 30},
                                   {"Qwen2.5-1.5B", 12, 2, 128, 28},
                                   {"no groups", 32, 32, 128, 4}};
    en_pool *pool = NULL;
    if (en_pool_new(&pool, 1, NULL) != ENTRO_OK)
        need(NULL);
    printf("%s, %d positions\n", entro_cpu_name(), DEPTH);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench_shape(&shapes[i], pool);
    en_pool_free(pool);
    return 0;
}
