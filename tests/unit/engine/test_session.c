/*
 * Sessions: limits, truncation, errors that change nothing, the same bits from any thread count,
 * memory accounting, failing allocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/engine.h"

#define MODEL TEST_FIXTURES "/models/llama"

static entro_model *open_model(void)
{
    entro_model *model = NULL;
    entro_error err = {0};
    if (en_model_open(&model, MODEL, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

static entro_session *open_session(const entro_model *model, uint32_t n_ctx, uint32_t n_threads,
                                   uint32_t n_batch)
{
    entro_session_options opt = {
        .struct_size = sizeof opt, .n_ctx = n_ctx, .n_threads = n_threads, .n_batch = n_batch};
    entro_session *s = NULL;
    assert_int_equal(en_session_open(&s, model, &opt, NULL), ENTRO_OK);
    return s;
}

static void count_up(int32_t *tokens, int n)
{
    for (int i = 0; i < n; i++)
        tokens[i] = (i * 37 + 5) % 96;
}

static void refuses_what_does_not_fit_and_keeps_what_was_there(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *s = open_session(model, 20, 1, 8);
    int32_t tokens[32];
    count_up(tokens, 32);
    assert_null(en_session_logits(s));
    assert_int_equal(en_session_n_ctx(s), 20);
    assert_int_equal(en_session_decode(s, tokens, 15, NULL), ENTRO_OK);
    float before[96];
    memcpy(before, en_session_logits(s), sizeof before);
    entro_error err = {0};
    assert_int_equal(en_session_decode(s, tokens, 6, &err), ENTRO_ERR_CONTEXT);
    assert_non_null(strstr(err.message, "holds 20 tokens, 15 are used and 6 more"));
    assert_non_null(strstr(err.message, "-c N; the model was trained for 256"));
    assert_int_equal(en_session_n_past(s), 15);
    assert_memory_equal(before, en_session_logits(s), sizeof before);
    assert_int_equal(en_session_decode(s, tokens, 5, NULL), ENTRO_OK);
    assert_int_equal(en_session_n_past(s), 20);
    assert_int_equal(en_session_decode(s, tokens, 1, NULL), ENTRO_ERR_CONTEXT);
    assert_int_equal(en_session_decode(s, tokens, 0, NULL), ENTRO_OK);
    en_session_close(s);
    en_model_close(model);
}

static void refuses_ids_out_of_range(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *s = open_session(model, 20, 1, 8);
    entro_error err = {0};
    assert_int_equal(en_session_decode(s, (int32_t[]){1, 96}, 2, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "token 1 is 96"));
    assert_int_equal(en_session_decode(s, (int32_t[]){-1}, 1, &err), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_session_n_past(s), 0);
    assert_null(en_session_logits(s));
    en_session_close(s);
    en_model_close(model);
}

static void truncation_forgets_what_came_after(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *s = open_session(model, 64, 1, 1); /* one by one: the same arithmetic again */
    int32_t tokens[40];
    count_up(tokens, 40);
    float want[96];
    assert_int_equal(en_session_decode(s, tokens, 10, NULL), ENTRO_OK);
    assert_int_equal(en_session_decode(s, tokens + 20, 5, NULL), ENTRO_OK);
    memcpy(want, en_session_logits(s), sizeof want);
    en_session_truncate(s, 100); /* no-op */
    assert_int_equal(en_session_n_past(s), 15);
    en_session_truncate(s, 10);
    assert_int_equal(en_session_decode(s, tokens + 25, 9, NULL), ENTRO_OK);
    assert_memory_not_equal(want, en_session_logits(s), sizeof want);
    en_session_truncate(s, 10);
    assert_int_equal(en_session_decode(s, tokens + 20, 5, NULL), ENTRO_OK);
    assert_memory_equal(want, en_session_logits(s), sizeof want);
    en_session_close(s);
    en_model_close(model);
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    entro_model *model = open_model();
    int32_t tokens[100];
    count_up(tokens, 100);
    float want[96];
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        entro_session *s = open_session(model, 128, n_threads, 32);
        assert_int_equal(en_session_decode(s, tokens, 99, NULL), ENTRO_OK);
        assert_int_equal(en_session_decode(s, tokens + 99, 1, NULL), ENTRO_OK);
        if (n_threads == 1)
            memcpy(want, en_session_logits(s), sizeof want);
        assert_memory_equal(want, en_session_logits(s), sizeof want);
        en_session_close(s);
    }
    en_model_close(model);
}

static void decode_all_ends_with_the_logits_of_decode(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *s = open_session(model, 64, 2, 16);
    int32_t tokens[40];
    count_up(tokens, 40);
    float *all = en_alloc((size_t)40 * 96, sizeof *all), last[96];
    assert_int_equal(en_session_decode(s, tokens, 40, NULL), ENTRO_OK);
    memcpy(last, en_session_logits(s), sizeof last);
    en_session_truncate(s, 0);
    assert_int_equal(en_session_decode_all(s, tokens, 40, all, NULL), ENTRO_OK);
    assert_memory_equal(all + (size_t)39 * 96, en_session_logits(s), sizeof last);
    for (int i = 0; i < 96; i++)
        assert_float_equal(last[i], all[39 * 96 + i], 1e-4);
    en_free(all);
    en_session_close(s);
    en_model_close(model);
}

static void default_context_is_the_trained_one(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *s = open_session(model, 0, 1, 0);
    assert_int_equal(en_session_n_ctx(s), 256);
    en_session_close(s);
    entro_session_options opt = {.struct_size = sizeof opt, .n_ctx = UINT32_MAX};
    entro_error err = {0};
    assert_int_equal(en_session_open(&s, model, &opt, &err), ENTRO_ERR_ARGUMENT);
    opt = (entro_session_options){.struct_size = sizeof opt, .n_batch = UINT32_MAX};
    assert_int_equal(en_session_open(&s, model, &opt, &err), ENTRO_ERR_ARGUMENT);
    opt = (entro_session_options){.struct_size = sizeof opt, .n_threads = 1000000};
    assert_int_equal(en_session_open(&s, model, &opt, &err), ENTRO_ERR_ARGUMENT);
    opt = (entro_session_options){.struct_size = sizeof opt, .kv_type = (entro_kv_type)2};
    assert_int_equal(en_session_open(&s, model, &opt, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "KV cache of type 2"));
    en_model_close(model);
}

static void accounts_for_all_memory(void **state)
{
    (void)state;
    entro_model *model = open_model();
    size_t before = en_memory_in_use();
    entro_session *s = open_session(model, 64, 2, 16);
    size_t session = en_memory_in_use() - before;
    entro_memory m;
    en_session_get_memory(s, &m);
    /* 2 layers x (k, v) x 2 kv heads x 64 positions x 8 halves */
    assert_int_equal(m.kv_cache, 2 * 2 * 2 * 64 * 8 * 2);
    assert_int_equal(m.other + m.compute + m.kv_cache, en_memory_in_use());
    /* what is not counted by name: the pool, small structs */
    assert_in_range(m.compute + m.kv_cache, session - session / 10 - 4096, session);
    assert_true(m.file > 40000);
    en_session_close(s);
    assert_int_equal(en_memory_in_use(), before);
    en_model_close(model);
}

static entro_session *open_int8(const entro_model *model, uint32_t n_ctx, uint32_t n_threads)
{
    entro_session_options opt = {.struct_size = sizeof opt,
                                 .n_ctx = n_ctx,
                                 .n_threads = n_threads,
                                 .kv_type = ENTRO_KV_INT8};
    entro_session *s = NULL;
    assert_int_equal(en_session_open(&s, model, &opt, NULL), ENTRO_OK);
    return s;
}

static void int8_cache_takes_less_memory_and_gives_nearly_the_same(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *f16 = open_session(model, 128, 1, 0), *int8 = open_int8(model, 128, 1);
    entro_memory m;
    en_session_get_memory(int8, &m);
    /* 2 layers x (k, v) x 2 kv heads x 128 positions x (8 numbers and an f16 scale) */
    assert_int_equal(m.kv_cache, 2 * 2 * 2 * 128 * (8 + 2));
    int32_t tokens[100];
    count_up(tokens, 100);
    double squares = 0, error = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(en_session_decode(f16, tokens + i, 1, NULL), ENTRO_OK);
        assert_int_equal(en_session_decode(int8, tokens + i, 1, NULL), ENTRO_OK);
        const float *a = en_session_logits(f16), *b = en_session_logits(int8);
        for (int j = 0; j < 96; j++) {
            squares += (double)a[j] * (double)a[j];
            error += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
        }
    }
    assert_true(error > 0.0); /* it is not f16 after all */
    assert_true(error < 1e-4 * squares);
    en_session_close(f16);
    en_session_close(int8);
    en_model_close(model);
}

/* Drafts verified together, and those that were wrong taken back: the same bits as one by one. */
static void int8_cache_forgets_rejected_drafts(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_session *one = open_int8(model, 20, 1), *many = open_int8(model, 20, 3);
    int32_t tokens[21];
    count_up(tokens, 21);
    float *all = en_alloc((size_t)5 * 96, sizeof *all);
    for (int i = 0; i < 18; i++)
        assert_int_equal(en_session_decode(one, tokens + i, 1, NULL), ENTRO_OK);
    for (uint32_t at = 0; at < 15; at += 3) { /* of 5 the last 2 are wrong */
        int32_t draft[5] = {tokens[at], tokens[at + 1], tokens[at + 2], 95, 94};
        assert_int_equal(en_session_decode_all(many, draft, 5, all, NULL), ENTRO_OK);
        en_session_truncate(many, at + 3);
    }
    assert_int_equal(en_session_decode_all(many, tokens + 15, 3, all, NULL), ENTRO_OK);
    assert_memory_equal(en_session_logits(one), en_session_logits(many), 96 * sizeof *all);
    assert_int_equal(en_session_decode(many, tokens + 18, 3, NULL), ENTRO_ERR_CONTEXT);
    assert_int_equal(en_session_n_past(many), 18);
    en_free(all);
    en_session_close(one);
    en_session_close(many);
    en_model_close(model);
}

static void metadata_only_refuses_sessions(void **state)
{
    (void)state;
    entro_model_options opt = {.struct_size = sizeof opt, .metadata_only = true};
    entro_model *model = NULL;
    assert_int_equal(en_model_open(&model, MODEL, &opt, NULL), ENTRO_OK);
    assert_null(model->decoder);
    entro_session_options so = {.struct_size = sizeof so};
    entro_session *s = NULL;
    entro_error err = {0};
    assert_int_equal(en_session_open(&s, model, &so, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "metadata only"));
    en_model_close(model);
}

static entro_status open_and_run(entro_kv_type kv_type)
{
    entro_model *model = NULL;
    entro_status status = en_model_open(&model, MODEL, NULL, NULL);
    if (status != ENTRO_OK)
        return status;
    entro_session_options opt = {
        .struct_size = sizeof opt, .n_ctx = 32, .n_threads = 2, .kv_type = kv_type};
    entro_session *s = NULL;
    status = en_session_open(&s, model, &opt, NULL);
    if (status == ENTRO_OK)
        status = en_session_decode(s, (int32_t[]){1, 2, 3}, 3, NULL);
    en_session_close(s);
    en_model_close(model);
    return status;
}

static void fail_each_allocation(entro_kv_type kv_type)
{
    assert_int_equal(open_and_run(kv_type), ENTRO_OK); /* what is made once and kept */
    size_t before = en_memory_in_use();
    for (uint64_t i = 0;; i++) {
        en_memory_fail_at(i);
        entro_status status = open_and_run(kv_type);
        en_memory_fail_at(UINT64_MAX);
        assert_int_equal(en_memory_in_use(), before);
        if (status == ENTRO_OK) {
            assert_true(i > 20);
            break;
        }
        assert_int_equal(status, ENTRO_ERR_NOMEM);
    }
}

static void failing_allocations_leak_nothing(void **state)
{
    (void)state;
    fail_each_allocation(ENTRO_KV_F16);
    fail_each_allocation(ENTRO_KV_INT8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_does_not_fit_and_keeps_what_was_there),
        cmocka_unit_test(refuses_ids_out_of_range),
        cmocka_unit_test(truncation_forgets_what_came_after),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(decode_all_ends_with_the_logits_of_decode),
        cmocka_unit_test(default_context_is_the_trained_one),
        cmocka_unit_test(accounts_for_all_memory),
        cmocka_unit_test(int8_cache_takes_less_memory_and_gives_nearly_the_same),
        cmocka_unit_test(int8_cache_forgets_rejected_drafts),
        cmocka_unit_test(metadata_only_refuses_sessions),
        cmocka_unit_test(failing_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
