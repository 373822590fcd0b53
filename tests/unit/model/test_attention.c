/*
 * Attention against the definition in double, over what the cache holds as f16 and as int8: groups,
 * windows, tiles, batches; and the same bits from any number of threads.  What the cache holds against
 * what was put there: within the error of the type.
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
    size_t width = (size_t)c->n_kv_heads * c->n_head_dim;
    float *k = en_alloc(width, sizeof *k), *v = en_alloc(width, sizeof *v);
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        for (uint32_t position = 0; position < n; position++) {
            for (size_t i = 0; i < width; i++) {
                k[i] = 3.0f * random_float();
                v[i] = random_float();
            }
            en_kv_cache_put(c, en_kernels_ref(), layer, position, k, v);
        }
    }
    en_free(k);
    en_free(v);
}

/* What the cache holds: number 'i' of a head at a position of a layer. */
static float held(const en_kv_cache *c, const en_kv_numbers *x, uint32_t layer, uint32_t head,
                  uint32_t position, uint32_t i)
{
    size_t at = en_kv_cache_at(c, layer, head, position) + i;
    if (c->type == ENTRO_KV_F16)
        return half_to_float(x->f16[at]);
    size_t block = (size_t)(i / EN_SCALE_COLS) * c->n_ctx;
    return half_to_float(x->scales[en_kv_cache_scale_at(c, layer, head, position) + block]) *
           (float)x->int8[at];
}

/* The batch's own keys and values: those of the cache, so that one definition serves both. */
static void load_batch(const en_kv_cache *c, const setting *s, float *rows, size_t stride)
{
    for (uint32_t t = 0; t < s->n_tokens; t++) {
        float *k = rows + t * stride, *v = k + (size_t)s->n_kv_heads * s->d;
        for (uint32_t head = 0; head < s->n_kv_heads; head++) {
            for (uint32_t i = 0; i < s->d; i++) {
                k[head * s->d + i] = held(c, &c->keys, 1, head, s->n_past + t, i);
                v[head * s->d + i] = held(c, &c->values, 1, head, s->n_past + t, i);
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
        weights[p] = 0.0;
        for (uint32_t i = 0; i < s->d; i++)
            weights[p] += (double)q[i] * held(c, &c->keys, 1, kv_head, p, i) / sqrt(s->d);
        max = fmax(max, weights[p]);
    }
    memset(out, 0, s->d * sizeof *out);
    for (uint32_t p = lo; p <= position; p++) {
        double w = exp(weights[p] - max);
        sum += w;
        for (uint32_t i = 0; i < s->d; i++)
            out[i] += w * held(c, &c->values, 1, kv_head, p, i);
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

static void check_type(setting s, entro_kv_type type)
{
    en_hparams hp = {
        .n_layers = 2, .n_heads = s.n_heads, .n_kv_heads = s.n_kv_heads, .n_head_dim = s.d};
    uint32_t n = s.n_past + s.n_tokens;
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, n + 5, type, NULL), ENTRO_OK);
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

static void check(setting s)
{
    check_type(s, ENTRO_KV_F16);
    check_type(s, ENTRO_KV_INT8);
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
    check((setting){3, 1, 80, 0, 130, 1}); /* int8: two blocks and a half */
    check((setting){3, 1, 80, 0, 130, 70});
}

/* Scores of +-100 must neither overflow nor vanish. */
static void check_extreme_scores(entro_kv_type type)
{
    en_hparams hp = {.n_layers = 2, .n_heads = 1, .n_kv_heads = 1, .n_head_dim = 4};
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, 200, type, NULL), ENTRO_OK);
    for (uint32_t p = 0; p < 200; p++) {
        float k[4] = {p == 20 ? 200.0f : -200.0f, 0, 0, 0}, v[4] = {(float)p, 1, 0, 0};
        en_kv_cache_put(&cache, en_kernels_ref(), 1, p, k, v);
    }
    float q[70 * 4], out[70 * 4];
    for (int i = 0; i < 70 * 4; i++)
        q[i] = 1.0f;
    setting s = {1, 1, 4, 0, 130, 70};
    run(&s, &cache, &hp, q, out, 1);
    for (int t = 0; t < 70; t++) {
        /* int8: a scale is an f16, and 1 lies in a block with 20 */
        float error = type == ENTRO_KV_F16 ? 1e-4f : 20 * 0x1p-11f;
        float small_error = type == ENTRO_KV_F16 ? 1e-6f : 10.0f / 127;
        assert_true(fabsf(out[4 * t] - 20.0f) < error);
        assert_true(fabsf(out[4 * t + 1] - 1.0f) < small_error);
    }
    en_kv_cache_free(&cache);
}

static void survives_extreme_scores(void **state)
{
    (void)state;
    check_extreme_scores(ENTRO_KV_F16);
    check_extreme_scores(ENTRO_KV_INT8);
}

/* Each number within half a step of its block (and what rounding the step to f16 takes), a head whose
 * other block is a thousand times larger not excepted; tiny and huge blocks, zeros, ends of blocks. */
static void int8_holds_what_was_put(void **state)
{
    (void)state;
    enum { D = 70, N = 6 };
    static const float sizes[N] = {1.0f, 1e-3f, 0.0f, 3000.0f, 1e-7f, 30.0f};
    en_hparams hp = {.n_layers = 1, .n_heads = 1, .n_kv_heads = 1, .n_head_dim = D};
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, N, ENTRO_KV_INT8, NULL), ENTRO_OK);
    assert_int_equal(en_kv_cache_bytes(&cache), 2 * N * (D + 3 * 2));
    for (uint32_t p = 0; p < N; p++) {
        float k[D], v[D];
        for (uint32_t i = 0; i < D; i++) {
            k[i] = sizes[p] * random_float() * (i / 32 == 1 ? 1000.0f : 1.0f);
            v[i] = -k[i];
        }
        en_kv_cache_put(&cache, en_kernels_get(), 0, p, k, v);
        for (uint32_t i = 0; i < D; i++) {
            float most = 0.0f;
            for (uint32_t j = i / 32 * 32; j < D && j < i / 32 * 32 + 32; j++)
                most = fmaxf(most, fabsf(k[j]));
            float error = 0.5f * most / 127 + most * 0x1p-11f + 127 * 0x1p-25f;
            assert_true(fabsf(held(&cache, &cache.keys, 0, 0, p, i) - k[i]) <= error);
            assert_true(held(&cache, &cache.values, 0, 0, p, i) ==
                        -held(&cache, &cache.keys, 0, 0, p, i));
        }
    }
    en_kv_cache_free(&cache);
}

/* With keys and values of f32 as the truth, int8 costs what its steps allow. */
static void int8_attends_within_its_error(void **state)
{
    (void)state;
    enum { D = 64, N = 300 };
    static float k[N][D], v[N][D];
    float q[D], out[D];
    double want[D] = {0}, sum = 0.0;
    en_hparams hp = {.n_layers = 2, .n_heads = 1, .n_kv_heads = 1, .n_head_dim = D};
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, N, ENTRO_KV_INT8, NULL), ENTRO_OK);
    random_state = 11;
    for (int i = 0; i < D; i++)
        q[i] = random_float();
    for (uint32_t p = 0; p < N; p++) {
        double score = 0.0;
        for (int i = 0; i < D; i++) {
            k[p][i] = 3.0f * random_float();
            v[p][i] = random_float();
            score += (double)q[i] * k[p][i] / sqrt(D);
        }
        en_kv_cache_put(&cache, en_kernels_get(), 1, p, k[p], v[p]);
        sum += exp(score);
        for (int i = 0; i < D; i++)
            want[i] += exp(score) * v[p][i];
    }
    run(&(setting){1, 1, D, 0, N - 1, 1}, &cache, &hp, q, out, 1);
    double worst = 0.0;
    for (int i = 0; i < D; i++)
        worst = fmax(worst, fabs(out[i] - want[i] / sum));
    /* values reach 1.5: half a step is 0.006, and 300 errors of either sign make up for each other */
    assert_true(worst < 0.006);
    assert_true(worst > 1e-6); /* it is not f32 after all */
    en_kv_cache_free(&cache);
}

/* NaN in a value reaches the output: a broken model must not look like a working one. */
static void int8_keeps_what_is_not_finite(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    en_hparams hp = {.n_layers = 2, .n_heads = 1, .n_kv_heads = 1, .n_head_dim = 40};
    en_kv_cache cache;
    assert_int_equal(en_kv_cache_new(&cache, &hp, 3, ENTRO_KV_INT8, NULL), ENTRO_OK);
    float fine[40] = {1.0f}, broken[40] = {1.0f}, q[40] = {1.0f}, out[40];
    for (int i = 0; i < 4; i++) {
        broken[35] = bad[i];
        for (uint32_t p = 0; p < 3; p++)
            en_kv_cache_put(&cache, en_kernels_get(), 1, p, fine, p == 1 ? broken : fine);
        run(&(setting){1, 1, 40, 0, 2, 1}, &cache, &hp, q, out, 1);
        assert_true(isnan(out[35]));
        assert_true(fabsf(out[0] - 1.0f) < 1e-3f); /* another block */
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
        cmocka_unit_test(int8_holds_what_was_put),
        cmocka_unit_test(int8_attends_within_its_error),
        cmocka_unit_test(int8_keeps_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
