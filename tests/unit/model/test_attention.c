/*
 * Attention against the definition in double: groups, windows, tiles, batches; and the same bits
 * from any number of threads.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "model/attention.h"

typedef struct setting {
    uint32_t n_heads, n_kv_heads, d, window, n_past, n_tokens;
} setting;

static uint64_t random_state;

static float random_float(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(random_state >> 33) / 4294967296.0 * 2.0 - 0.5);
}

static float half_to_float(uint16_t h)
{
    float f;
    en_kernels_ref()->dequantize[EN_DTYPE_F16]((const uint8_t *)&h, &f, 1);
    return f;
}

static void fill_cache(en_kv_cache *c, uint32_t n)
{
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        for (uint32_t head = 0; head < c->n_kv_heads; head++) {
            for (uint32_t i = 0; i < n * c->n_head_dim; i++) {
                size_t at = en_kv_cache_at(c, layer, head, 0) + i;
                float k = 3.0f * random_float(), v = random_float();
                en_kernels_ref()->f32_to_f16(&k, c->keys + at, 1);
                en_kernels_ref()->f32_to_f16(&v, c->values + at, 1);
            }
        }
    }
}

/* The batch's own keys and values: those of the cache, so that one definition serves both. */
static void load_batch(const en_kv_cache *c, const setting *s, float *rows, size_t stride)
{
    for (uint32_t t = 0; t < s->n_tokens; t++) {
        float *k = rows + t * stride, *v = k + (size_t)s->n_kv_heads * s->d;
        for (uint32_t head = 0; head < s->n_kv_heads; head++) {
            size_t at = en_kv_cache_at(c, 1, head, s->n_past + t);
            for (uint32_t i = 0; i < s->d; i++) {
                k[head * s->d + i] = half_to_float(c->keys[at + i]);
                v[head * s->d + i] = half_to_float(c->values[at + i]);
            }
        }
    }
}

/* One head at one token, by the definition. */
static void attend(const en_kv_cache *c, const setting *s, uint32_t t, uint32_t head,
                   const float *q, double *out)
{
    uint32_t position = s->n_past + t, kv_head = head / (s->n_heads / s->n_kv_heads);
    uint32_t lo = s->window != 0 && position + 1 > s->window ? position + 1 - s->window : 0;
    double weights[1024], max = -1e300, sum = 0.0;
    for (uint32_t p = lo; p <= position; p++) {
        const uint16_t *k = c->keys + en_kv_cache_at(c, 1, kv_head, p);
        weights[p] = 0.0;
        for (uint32_t i = 0; i < s->d; i++)
            weights[p] += (double)q[i] * half_to_float(k[i]) / sqrt(s->d);
        max = fmax(max, weights[p]);
    }
    memset(out, 0, s->d * sizeof *out);
    for (uint32_t p = lo; p <= position; p++) {
        double w = exp(weights[p] - max);
        sum += w;
        const uint16_t *v = c->values + en_kv_cache_at(c, 1, kv_head, p);
        for (uint32_t i = 0; i < s->d; i++)
            out[i] += w * half_to_float(v[i]);
    }
    for (uint32_t i = 0; i < s->d; i++)
        out[i] /= sum;
}

static void run(const setting *s, const en_kv_cache *cache, const en_hparams *hp, const float *q,
                float *out, uint32_t n_threads)
{
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    float *scratch = en_alloc(n_threads * en_attention_scratch_floats(hp), sizeof *scratch);
    size_t width = (size_t)s->n_heads * s->d, n_kv = (size_t)s->n_kv_heads * s->d;
    size_t stride = width + 2 * n_kv;
    float *rows = en_alloc(s->n_tokens, stride * sizeof *rows);
    for (uint32_t t = 0; t < s->n_tokens; t++)
        memcpy(rows + t * stride, q + t * width, width * sizeof *q);
    load_batch(cache, s, rows + width, stride);
    en_attention a = {.cache = cache,
                      .layer = 1,
                      .n_heads = s->n_heads,
                      .window = s->window,
                      .n_past = s->n_past,
                      .n_tokens = s->n_tokens,
                      .q = rows,
                      .k = rows + width,
                      .v = rows + width + n_kv,
                      .stride = stride,
                      .out = out,
                      .out_stride = width,
                      .scratch = scratch};
    en_attention_run(&a, pool);
    en_free(scratch);
    en_free(rows);
    en_pool_free(pool);
}

static void check(setting s)
{
    en_hparams hp = {
        .n_layers = 2, .n_heads = s.n_heads, .n_kv_heads = s.n_kv_heads, .n_head_dim = s.d};
    uint32_t n = s.n_past + s.n_tokens;
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, n + 5, NULL), ENTRO_OK);
    random_state = 7;
    fill_cache(&cache, n);
    size_t width = (size_t)s.n_heads * s.d;
    float *q = en_alloc(s.n_tokens * width, sizeof *q);
    float *out = en_alloc(s.n_tokens * width, sizeof *out);
    float *again = en_alloc(s.n_tokens * width, sizeof *again);
    for (size_t i = 0; i < s.n_tokens * width; i++)
        q[i] = random_float();
    run(&s, &cache, &hp, q, out, 1);
    run(&s, &cache, &hp, q, again, 3);
    assert_memory_equal(out, again, s.n_tokens * width * sizeof *out);
    double want[256];
    for (uint32_t t = 0; t < s.n_tokens; t++) {
        for (uint32_t head = 0; head < s.n_heads; head++) {
            attend(&cache, &s, t, head, q + t * width + head * s.d, want);
            for (uint32_t i = 0; i < s.d; i++)
                assert_true(fabs(out[t * width + head * s.d + i] - want[i]) < 2e-5);
        }
    }
    en_free(q);
    en_free(out);
    en_free(again);
    en_kv_cache_free(&cache);
}

static void one_token_at_every_depth(void **state)
{
    (void)state;
    static const uint32_t depths[] = {0, 1, 62, 63, 64, 65, 127, 128, 300};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        check((setting){6, 2, 16, 0, depths[i], 1});
        check((setting){4, 4, 20, 0, depths[i], 1});
    }
}

static void prompts_from_the_start_and_in_the_middle(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {2, 3, 21, 22, 64, 65, 128, 200};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        check((setting){6, 2, 16, 0, 0, lengths[i]});
        check((setting){9, 3, 8, 0, 77, lengths[i]});
    }
}

static void sliding_windows(void **state)
{
    (void)state;
    static const uint32_t windows[] = {1, 2, 63, 64, 65, 100, 1000};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        check((setting){4, 2, 16, windows[i], 0, 150});
        check((setting){4, 2, 16, windows[i], 149, 1});
        check((setting){4, 2, 16, windows[i], 90, 70});
    }
}

static void odd_shapes(void **state)
{
    (void)state;
    check((setting){1, 1, 2, 0, 0, 70});
    check((setting){80, 1, 4, 0, 10, 5}); /* a group larger than an item's usual rows */
    check((setting){80, 1, 4, 0, 10, 1});
    check((setting){2, 2, 128, 0, 65, 9});
}

/* Scores of +-100 must neither overflow nor vanish. */
static void survives_extreme_scores(void **state)
{
    (void)state;
    en_hparams hp = {.n_layers = 2, .n_heads = 1, .n_kv_heads = 1, .n_head_dim = 4};
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, 200, NULL), ENTRO_OK);
    for (uint32_t p = 0; p < 200; p++) {
        float k[4] = {p == 20 ? 200.0f : -200.0f, 0, 0, 0}, v[4] = {(float)p, 1, 0, 0};
        en_kernels_ref()->f32_to_f16(k, cache.keys + en_kv_cache_at(&cache, 1, 0, p), 4);
        en_kernels_ref()->f32_to_f16(v, cache.values + en_kv_cache_at(&cache, 1, 0, p), 4);
    }
    float q[70 * 4], out[70 * 4];
    for (int i = 0; i < 70 * 4; i++)
        q[i] = 1.0f;
    setting s = {1, 1, 4, 0, 130, 70};
    run(&s, &cache, &hp, q, out, 1);
    for (int t = 0; t < 70; t++) {
        assert_true(fabsf(out[4 * t] - 20.0f) < 1e-4f);
        assert_true(fabsf(out[4 * t + 1] - 1.0f) < 1e-6f);
    }
    en_kv_cache_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_token_at_every_depth),
        cmocka_unit_test(prompts_from_the_start_and_in_the_middle),
        cmocka_unit_test(sliding_windows),
        cmocka_unit_test(odd_shapes),
        cmocka_unit_test(survives_extreme_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
