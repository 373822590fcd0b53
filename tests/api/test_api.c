/*
 * The public header from outside: a program's way through the library, and the mistakes it can
 * make.
 */
#include <entrollm/entrollm.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STORIES TEST_SHARED "/data/models/stories260k/stories260K.gguf"
#define FOLDER  TEST_FIXTURES "/models/llama"

static entro_model *open_model(const char *path)
{
    if (access(path, R_OK) != 0)
        skip();
    entro_model *model = NULL;
    entro_error err = {0};
    if (entro_model_open(&model, path, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

static void tells_its_version_and_status_names(void **state)
{
    (void)state;
    assert_true(strlen(entro_version()) >= 5);
    assert_string_equal(entro_status_name(ENTRO_OK), "ok");
    assert_true(strlen(entro_cpu_name()) > 0);
}

static void finds_unknown_processor_features(void **state)
{
    (void)state;
    const char *before = getenv("ENTRO_CPU_DISABLE");
    char *kept = before != NULL ? strdup(before) : NULL;
    size_t n = 0;
    assert_int_equal(setenv("ENTRO_CPU_DISABLE", "avx512,, amx,dotprod,", 1), 0);
    assert_null(entro_cpu_unknown(&n));
    assert_int_equal(setenv("ENTRO_CPU_DISABLE", "avx512,avx,sse neon", 1), 0);
    const char *name = entro_cpu_unknown(&n);
    assert_int_equal(n, 3);
    assert_memory_equal(name, "avx,", 4);
    assert_int_equal(unsetenv("ENTRO_CPU_DISABLE"), 0);
    assert_null(entro_cpu_unknown(&n));
    if (kept != NULL)
        setenv("ENTRO_CPU_DISABLE", kept, 1);
    free(kept);
}

static void init_functions_set_size_and_defaults(void **state)
{
    (void)state;
    entro_session_options session;
    entro_session_options_init(&session);
    assert_int_equal(session.struct_size, sizeof session);
    entro_sampler_options sampler;
    entro_sampler_options_init(&sampler);
    assert_true(sampler.temperature > 0.0f && sampler.repeat_penalty == 1.0f);
    entro_compress_options compress;
    entro_compress_options_init(&compress);
    assert_string_equal(compress.method, "watersic");
    assert_string_equal(compress.table, "tensor");
    entro_perplexity_options perplexity;
    entro_perplexity_options_init(&perplexity);
    assert_int_equal(perplexity.n_ctx, 512);
    entro_job_options job;
    entro_job_options_init(&job);
    assert_false(job.overwrite);
}

/* A program built against an older, shorter struct works; one that forgot the _init() is told. */
static void options_of_other_sizes(void **state)
{
    (void)state;
    entro_model *model = open_model(FOLDER);
    entro_session_options opt;
    entro_session_options_init(&opt);
    opt.n_ctx = 48;
    opt.struct_size = offsetof(entro_session_options, n_threads); /* an older header's */
    opt.n_threads = 1000000;                                      /* beyond it: not read */
    entro_session *s = NULL;
    assert_int_equal(entro_session_open(&s, model, &opt, NULL), ENTRO_OK);
    assert_int_equal(entro_session_n_ctx(s), 48);
    entro_session_close(s);
    static const size_t bad[] = {0, 4, 1000};
    for (int i = 0; i < 3; i++) {
        entro_error err = {0};
        opt.struct_size = bad[i];
        assert_int_equal(entro_session_open(&s, model, &opt, &err), ENTRO_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "_init()"));
    }
    entro_model_close(model);
}

static void describes_a_gguf_file(void **state)
{
    (void)state;
    entro_model *model = open_model(STORIES);
    entro_model_info info;
    entro_model_get_info(model, &info);
    assert_int_equal(info.kind, ENTRO_MODEL_GGUF);
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.name, "llama");
    assert_string_equal(info.recipe, "");
    assert_non_null(strstr(info.tokenizer, "SentencePiece"));
    assert_int_equal(info.n_layers, 5);
    assert_int_equal(info.n_embd, 64);
    assert_int_equal(info.n_heads, 8);
    assert_int_equal(info.n_kv_heads, 4);
    assert_int_equal(info.n_vocab, 512);
    assert_int_equal(info.n_tensors, 48);
    assert_false(info.has_chat_template);
    uint64_t n_params = 0;
    for (uint32_t i = 0; i < info.n_tensors; i++) {
        entro_tensor_info t;
        assert_int_equal(entro_model_get_tensor(model, i, &t, NULL), ENTRO_OK);
        assert_string_equal(t.type, "F32");
        assert_string_equal(t.method, "");
        assert_true(t.bits == 32.0 && isnan(t.entropy) && isnan(t.step_min));
        n_params += t.n_params;
    }
    assert_int_equal(info.n_params, n_params);
    entro_tensor_info t;
    entro_error err = {0};
    assert_int_equal(entro_model_get_tensor(model, info.n_tensors, &t, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "number 48"));
    entro_model_close(model);
}

static void lists_metadata(void **state)
{
    (void)state;
    entro_model *model = open_model(STORIES);
    uint32_t n = entro_model_n_keys(model);
    bool found = false;
    for (uint32_t i = 0; i < n; i++) {
        const char *key = NULL;
        char value[64];
        size_t whole = entro_model_get_key(model, i, &key, value, sizeof value);
        assert_true(strlen(value) <= whole);
        if (strcmp(key, "llama.block_count") == 0) {
            assert_string_equal(value, "5");
            found = true;
        }
    }
    assert_true(found);
    const char *key = NULL;
    char value[4] = "abc";
    assert_int_equal(entro_model_get_key(model, n, &key, value, sizeof value), 0);
    assert_string_equal(key, "");
    assert_string_equal(value, "");
    entro_model_close(model);
}

static void opens_metadata_of_what_it_cannot_run(void **state)
{
    (void)state;
    entro_model *model = NULL;
    entro_model_options opt;
    entro_model_options_init(&opt);
    opt.metadata_only = true;
    assert_int_equal(entro_model_open(&model, FOLDER, &opt, NULL), ENTRO_OK);
    entro_model_info info;
    entro_model_get_info(model, &info);
    assert_int_equal(info.kind, ENTRO_MODEL_HF_FOLDER);
    assert_int_equal(info.n_layers, 2);
    assert_int_equal(info.n_vocab, 96);
    assert_string_equal(info.tokenizer, "");
    entro_session *s = NULL;
    assert_int_equal(entro_session_open(&s, model, NULL, NULL), ENTRO_ERR_ARGUMENT);
    entro_model_close(model);
}

static void tokens_and_back(void **state)
{
    (void)state;
    entro_model *model = open_model(STORIES);
    const char *text = "Once upon a time, \xe2\x82\xac \xf0\x9f\x99\x82!";
    entro_token tokens[64];
    size_t n = 0;
    assert_int_equal(entro_tokenize(model, text, strlen(text), true, false, NULL, 0, &n, NULL),
                     ENTRO_OK);
    assert_in_range(n, 5, 64);
    size_t again = 0;
    assert_int_equal(
        entro_tokenize(model, text, strlen(text), true, false, tokens, 64, &again, NULL), ENTRO_OK);
    assert_int_equal(n, again);
    assert_int_equal(tokens[0], 1); /* BOS */
    entro_text_stream *stream = NULL;
    assert_int_equal(entro_text_stream_new(&stream, model, false, NULL), ENTRO_OK);
    char out[256] = "";
    const char *piece;
    size_t n_piece;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(entro_text_stream_put(stream, tokens[i], &piece, &n_piece, NULL),
                         ENTRO_OK);
        strncat(out, piece, n_piece);
    }
    assert_int_equal(entro_text_stream_finish(stream, &piece, &n_piece, NULL), ENTRO_OK);
    strncat(out, piece, n_piece);
    assert_non_null(strstr(out, text));
    entro_text_stream_free(stream);
    assert_true(entro_token_ends(model, 2));
    assert_false(entro_token_ends(model, 300));
    entro_model_close(model);
}

static void a_model_without_tokenizer_says_so(void **state)
{
    (void)state;
    entro_model *model = open_model(FOLDER);
    entro_error err = {0};
    size_t n;
    assert_int_equal(entro_tokenize(model, "a", 1, true, false, NULL, 0, &n, &err),
                     ENTRO_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no tokenizer"));
    assert_non_null(strstr(err.where, "models/llama"));
    entro_text_stream *stream = NULL;
    assert_int_equal(entro_text_stream_new(&stream, model, false, NULL), ENTRO_ERR_NOT_FOUND);
    assert_false(entro_token_ends(model, 2));
    entro_chat_message hello = {"user", "hello"};
    char *chat = NULL;
    assert_int_equal(entro_chat_format(model, &hello, 1, true, &chat, NULL), ENTRO_ERR_NOT_FOUND);
    entro_model_close(model);
}

/* 60 tokens of a story; the caller frees nothing. */
static void tell(const entro_model *model, uint32_t n_threads, float temperature, uint64_t seed,
                 entro_token *story)
{
    entro_session_options so;
    entro_session_options_init(&so);
    so.n_threads = n_threads;
    so.n_ctx = 80;
    entro_session *s = NULL;
    assert_int_equal(entro_session_open(&s, model, &so, NULL), ENTRO_OK);
    entro_sampler_options opt;
    entro_sampler_options_init(&opt);
    opt.temperature = temperature;
    opt.seed = seed;
    opt.repeat_penalty = 1.1f;
    entro_sampler *sampler = NULL;
    assert_int_equal(entro_sampler_new(&sampler, 512, &opt, NULL), ENTRO_OK);
    entro_token token = 1;
    for (int i = 0; i < 60; i++) {
        assert_int_equal(entro_session_decode(s, &token, 1, NULL), ENTRO_OK);
        story[i] = token = entro_sampler_sample(sampler, entro_session_logits(s));
    }
    assert_int_equal(entro_session_n_past(s), 60);
    entro_sampler_free(sampler);
    entro_session_close(s);
}

static void same_seed_same_story_on_any_number_of_threads(void **state)
{
    (void)state;
    entro_model *model = open_model(STORIES);
    entro_token a[60], b[60], c[60];
    tell(model, 1, 0.9f, 11, a);
    tell(model, 3, 0.9f, 11, b);
    tell(model, 1, 0.9f, 12, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    tell(model, 1, 0.0f, 1, a);
    tell(model, 2, 0.0f, 2, b);
    assert_memory_equal(a, b, sizeof a);
    entro_model_close(model);
}

static void a_full_context_is_refused_with_advice(void **state)
{
    (void)state;
    entro_model *model = open_model(FOLDER);
    entro_session_options opt;
    entro_session_options_init(&opt);
    opt.n_ctx = 8;
    entro_session *s = NULL;
    assert_int_equal(entro_session_open(&s, model, &opt, NULL), ENTRO_OK);
    entro_token tokens[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    entro_error err = {0};
    assert_int_equal(entro_session_decode(s, tokens, 9, &err), ENTRO_ERR_CONTEXT);
    assert_int_equal(err.status, ENTRO_ERR_CONTEXT);
    assert_non_null(strstr(err.message, "-c N"));
    float logits[3 * 96];
    assert_int_equal(entro_session_decode_all(s, tokens, 3, logits, NULL), ENTRO_OK);
    assert_memory_equal(logits + 2 * 96, entro_session_logits(s), 96 * sizeof(float));
    entro_session_truncate(s, 1);
    assert_int_equal(entro_session_n_past(s), 1);
    entro_memory memory;
    entro_session_get_memory(s, &memory);
    assert_true(memory.file > 0 && memory.kv_cache > 0 && memory.compute > 0 && memory.other > 0);
    entro_session_close(s);
    entro_model_close(model);
}

static void measures_perplexity(void **state)
{
    (void)state;
    entro_model *model = open_model(STORIES);
    char text[4000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "Tom ran to the big tree. "[i % 25];
    entro_perplexity_options opt;
    entro_perplexity_options_init(&opt);
    opt.n_ctx = 64;
    opt.n_windows = 2;
    entro_perplexity_report report;
    assert_int_equal(entro_perplexity(model, text, sizeof text, &opt, &report, NULL), ENTRO_OK);
    assert_int_equal(report.n_windows, 2);
    assert_true(report.perplexity > 1.0 && report.perplexity < 10.0);
    opt.struct_size = 0;
    assert_int_equal(entro_perplexity(model, text, sizeof text, &opt, &report, NULL),
                     ENTRO_ERR_ARGUMENT);
    entro_model_close(model);
}

/* u8 of a small model: the coded file opens, describes itself and gives nearly the same logits. */
static void compress_and_run(const char *coding, const char *type)
{
    char path[] = "/tmp/entrollm-api-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    entro_compress_options opt;
    entro_compress_options_init(&opt);
    opt.method = "u8";
    entro_error err = {0};
    entro_compress_report report;
    assert_int_equal(entro_compress(FOLDER, path, &opt, &report, &err), ENTRO_ERR_EXISTS);
    opt.overwrite = true;
    opt.coding = coding;
    if (entro_compress(FOLDER, path, &opt, &report, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    entro_model *plain = open_model(FOLDER), *coded = open_model(path);
    entro_model_info info;
    entro_model_get_info(coded, &info);
    assert_int_equal(info.kind, ENTRO_MODEL_CONTAINER);
    assert_non_null(strstr(info.recipe, "u8"));
    assert_int_equal(info.n_params, report.n_params);
    uint32_t n_coded = 0;
    for (uint32_t i = 0; i < info.n_tensors; i++) {
        entro_tensor_info t;
        assert_int_equal(entro_model_get_tensor(coded, i, &t, NULL), ENTRO_OK);
        if (strcmp(t.type, type) != 0)
            continue;
        n_coded++;
        assert_string_equal(t.method, "u8");
        assert_string_equal(t.table, "tensor");
        assert_int_equal(t.n_dims, 2);
        assert_true(t.entropy > 4.0 && t.entropy <= t.huffman_bits && t.huffman_bits <= 8.0);
        assert_true(t.step_min > 0.0f && t.step_min == t.step_max);
    }
    assert_int_equal(n_coded, report.n_coded_tensors);
    float logits[2][96];
    entro_model *models[2] = {plain, coded};
    for (int i = 0; i < 2; i++) {
        entro_session *s = NULL;
        assert_int_equal(entro_session_open(&s, models[i], NULL, NULL), ENTRO_OK);
        assert_int_equal(entro_session_decode(s, (entro_token[]){5, 6, 7, 8}, 4, NULL), ENTRO_OK);
        memcpy(logits[i], entro_session_logits(s), sizeof logits[i]);
        entro_session_close(s);
    }
    for (int i = 0; i < 96; i++)
        assert_float_equal(logits[0][i], logits[1][i], 0.7);
    entro_verify_report verify;
    assert_int_equal(entro_verify(path, FOLDER, NULL, &verify, NULL), ENTRO_OK);
    assert_true(verify.max_steps <= 0.51);
    entro_model_close(plain);
    entro_model_close(coded);
    remove(path);
}

static void compresses_and_runs(void **state)
{
    (void)state;
    compress_and_run("words", "huffman");
    compress_and_run("strips", "strips");
    compress_and_run("rans", "rans");
}

static void refuses_files_that_are_no_models(void **state)
{
    (void)state;
    entro_model *model = NULL;
    entro_error err = {0};
    assert_int_equal(entro_model_open(&model, "/nonexistent/model.gguf", NULL, &err),
                     ENTRO_ERR_NOT_FOUND);
    assert_non_null(strstr(err.where, "/nonexistent/model.gguf"));
    assert_int_not_equal(entro_model_open(&model, "/dev/null", NULL, &err), ENTRO_OK);
    assert_int_not_equal(entro_model_open(&model, __FILE__, NULL, &err), ENTRO_OK);
    assert_null(model);
    entro_model_close(NULL);
    entro_session_close(NULL);
    entro_sampler_free(NULL);
    entro_text_stream_free(NULL);
    entro_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_its_version_and_status_names),
        cmocka_unit_test(finds_unknown_processor_features),
        cmocka_unit_test(init_functions_set_size_and_defaults),
        cmocka_unit_test(options_of_other_sizes),
        cmocka_unit_test(describes_a_gguf_file),
        cmocka_unit_test(lists_metadata),
        cmocka_unit_test(opens_metadata_of_what_it_cannot_run),
        cmocka_unit_test(tokens_and_back),
        cmocka_unit_test(a_model_without_tokenizer_says_so),
        cmocka_unit_test(same_seed_same_story_on_any_number_of_threads),
        cmocka_unit_test(a_full_context_is_refused_with_advice),
        cmocka_unit_test(measures_perplexity),
        cmocka_unit_test(compresses_and_runs),
        cmocka_unit_test(refuses_files_that_are_no_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
