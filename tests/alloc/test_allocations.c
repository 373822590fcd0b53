/*
 * test_allocations.c - every allocation of compress, tune, verify, open, tokenize, decode, sample, restore,
 * compare and eval fails once: each time the job reports "out of memory", leaves no file and no memory.
 * Reading one tokenizer.json is 11,000 of them: jobs that begin with the same reading share those.
 */
#include <entrollm/entrollm.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "test_support.h"

static char g_folder[] = "/tmp/entrollm-alloc-XXXXXX";
static char g_coded[96], g_lossless[96], g_output[96];

typedef entro_status (*scenario_fn)(const char *model, entro_error *err);

static entro_status compress(const char *model, const char *method, const char *coding,
                             const char *table, entro_error *err)
{
    static const char *const overrides[] = {"blk.0.attn_q.weight=u4-row", "*.attn_k.weight=keep",
                                            "*.attn_v.weight=f16"};
    entro_compress_options opt;
    entro_compress_options_init(&opt);
    opt.method = method;
    opt.coding = coding;
    opt.table = table;
    opt.overrides = overrides;
    opt.n_overrides = 3;
    opt.n_threads = 2;
    opt.overwrite = true;
    return entro_compress(model, g_output, &opt, NULL, err);
}

static entro_status compress_tensor_tables(const char *model, entro_error *err)
{
    return compress(model, "u8", "words", "tensor", err);
}

static entro_status compress_model_table(const char *model, entro_error *err)
{
    return compress(model, "u8", "words", "model", err);
}

static entro_status compress_strips(const char *model, entro_error *err)
{
    return compress(model, "u8", "strips", "tensor", err);
}

static entro_status compress_rtn(const char *model, entro_error *err)
{
    return compress(model, "rtn", "strips", "tensor", err);
}

static entro_status compress_lossless(const char *model, entro_error *err)
{
    entro_compress_options opt;
    entro_compress_options_init(&opt);
    opt.method = "lossless";
    opt.n_threads = 2;
    opt.overwrite = true;
    return entro_compress(model, g_output, &opt, NULL, err);
}

/* Two sequences of 512 tokens, whatever the vocabulary: one to learn from. */
static entro_status tune(const char *model, entro_error *err)
{
    char name[96];
    const char *const files[] = {name};
    snprintf(name, sizeof name, "%s/text.txt", g_folder);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    for (int i = 0; i < 512; i++)
        fputs("the cat sat. ", f);
    assert_int_equal(fclose(f), 0);
    entro_tune_options opt;
    entro_tune_options_init(&opt);
    opt.n_tokens = 512;
    opt.calib = files;
    opt.n_calib = 1;
    opt.n_threads = 2;
    opt.overwrite = true;
    entro_status status = entro_tune(model, g_coded, g_output, &opt, NULL, err);
    unlink(name);
    return status;
}

static entro_status verify_lossless(const char *model, entro_error *err)
{
    (void)model;
    return entro_verify(g_lossless, NULL, NULL, NULL, err);
}

static entro_status restore_original(const char *model, entro_error *err)
{
    (void)model;
    return entro_restore(g_lossless, g_output, "original", NULL, NULL, err);
}

static entro_status verify_with_source(const char *model, entro_error *err)
{
    return entro_verify(g_coded, model, NULL, NULL, err);
}

static entro_status restore(const char *model, entro_error *err)
{
    (void)model;
    entro_job_options opt;
    entro_job_options_init(&opt);
    opt.overwrite = true;
    return entro_restore(g_coded, g_output, "f16", &opt, NULL, err);
}

static entro_status generate(const entro_model *model, entro_session *session,
                             entro_sampler *sampler, entro_text_stream *stream, entro_error *err)
{
    entro_token tokens[32];
    size_t n_tokens, n_text;
    const char *text;
    entro_status status = entro_tokenize(model, "Once upon a time, \xf0\x9f\x98\x80 there",
                                         strlen("Once upon a time, \xf0\x9f\x98\x80 there"), true,
                                         true, tokens, 32, &n_tokens, err);
    for (int i = 0; i < 3 && status == ENTRO_OK; i++) {
        status = entro_session_decode(session, tokens, i == 0 ? n_tokens : 1, err);
        if (status == ENTRO_OK) {
            tokens[0] = entro_sampler_sample(sampler, entro_session_logits(session));
            status = entro_text_stream_put(stream, tokens[0], &text, &n_text, err);
        }
    }
    return status;
}

static entro_status run(const char *path, entro_keep keep, entro_error *err)
{
    entro_model *model = NULL;
    entro_session *session = NULL;
    entro_sampler *sampler = NULL;
    entro_text_stream *stream = NULL;
    entro_session_options opt;
    entro_session_options_init(&opt);
    opt.n_ctx = 64;
    opt.n_threads = 2;
    entro_model_options how;
    entro_model_options_init(&how);
    how.keep = keep;
    entro_status status = entro_model_open(&model, path, &how, err);
    if (status == ENTRO_OK)
        status = entro_session_open(&session, model, &opt, err);
    if (status == ENTRO_OK) {
        entro_model_info info;
        entro_model_get_info(model, &info);
        entro_sampler_options sampling;
        entro_sampler_options_init(&sampling);
        status = entro_sampler_new(&sampler, info.n_vocab, &sampling, err);
    }
    if (status == ENTRO_OK)
        status = entro_text_stream_new(&stream, model, true, err);
    if (status == ENTRO_OK)
        status = generate(model, session, sampler, stream, err);
    entro_text_stream_free(stream);
    entro_sampler_free(sampler);
    entro_session_close(session);
    entro_model_close(model);
    return status;
}

static entro_status run_source(const char *model, entro_error *err)
{
    return run(model, ENTRO_KEEP_CODED, err);
}

static entro_status run_coded(const char *model, entro_error *err)
{
    (void)model;
    return run(g_coded, ENTRO_KEEP_CODED, err);
}

static entro_status run_packed(const char *model, entro_error *err)
{
    (void)model;
    return run(g_coded, ENTRO_KEEP_PACKED, err);
}

static entro_status run_lossless(const char *model, entro_error *err)
{
    (void)model;
    return run(g_lossless, ENTRO_KEEP_AUTO, err);
}

static entro_status measure_perplexity(const char *path, entro_error *err)
{
    (void)path;
    char text[3000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "the cat sat. "[i % 13];
    entro_model *model = NULL;
    entro_perplexity_options opt;
    entro_perplexity_options_init(&opt);
    opt.n_ctx = 32;
    opt.n_windows = 2;
    entro_status status = entro_model_open(&model, g_coded, NULL, err);
    if (status == ENTRO_OK)
        status = entro_perplexity(model, text, sizeof text, &opt, NULL, err);
    entro_model_close(model);
    return status;
}

/* With a kept reference: made, then read. */
static entro_status compare_models(const char *path, entro_error *err)
{
    (void)path;
    static const char text[] = "The cat sat. The dog sat. The cat ran to the dog and sat by it.";
    entro_model *model = NULL;
    entro_divergence_options opt;
    entro_divergence_report report;
    entro_divergence_options_init(&opt);
    opt.n_ctx = 8;
    opt.n_windows = 1;
    opt.n_threads = 1;
    opt.cache = g_output;
    entro_status status = entro_model_open(&model, g_coded, NULL, err);
    for (int i = 0; i < 2 && status == ENTRO_OK; i++)
        status = entro_divergence(model, model, text, strlen(text), &opt, &report, err);
    entro_model_close(model);
    unlink(g_output);
    return status;
}

static entro_status ask(const char *questions, entro_error *err)
{
    entro_model *model = NULL;
    entro_eval_task *task = NULL;
    entro_eval_options opt;
    FILE *f = fopen(g_output, "w");
    assert_non_null(f);
    fputs(questions, f);
    assert_int_equal(fclose(f), 0);
    entro_eval_options_init(&opt);
    opt.n_threads = 1;
    opt.n_shots = 1;
    opt.n_predict = 4;
    entro_status status = entro_eval_task_open(&task, g_output, err);
    if (status == ENTRO_OK)
        status = entro_model_open(&model, g_coded, NULL, err);
    if (status == ENTRO_OK)
        status = entro_eval_run(task, model, &opt, NULL, err);
    entro_eval_task_close(task);
    entro_model_close(model);
    unlink(g_output);
    return status;
}

static entro_status ask_for_a_choice(const char *path, entro_error *err)
{
    (void)path;
    return ask("{\"query\": \"The cat\", \"choices\": [\"sat\", \"did\"], \"gold\": 0}\n", err);
}

static entro_status ask_for_a_number(const char *path, entro_error *err)
{
    (void)path;
    return ask("{\"question\": \"a\", \"answer\": \"#### 1\"}\n"
               "{\"question\": \"b\", \"answer\": \"#### 2\"}\n",
               err);
}

/* A file, or the folder that restoring an original makes. */
static void remove_output(void)
{
    DIR *d = opendir(g_output);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", g_output, e->d_name);
        unlink(path);
    }
    if (d != NULL)
        closedir(d);
    remove(g_output);
}

static int count_files(void)
{
    int n = 0;
    DIR *d = opendir(g_folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static bool opens_with(const char *path, uint64_t n_allocations)
{
    entro_model *model = NULL;
    entro_debug_fail_allocation(n_allocations);
    entro_status status = entro_model_open(&model, path, NULL, NULL);
    entro_debug_fail_allocation(UINT64_MAX);
    entro_model_close(model);
    return status == ENTRO_OK;
}

static uint64_t count_allocations_of_opening(const char *path)
{
    uint64_t below = 0, enough = 1;
    while (!opens_with(path, enough))
        enough *= 2;
    while (enough - below > 1) {
        uint64_t middle = below + (enough - below) / 2;
        *(opens_with(path, middle) ? &enough : &below) = middle;
    }
    return enough;
}

/* Of the first 'n_shared' allocations only every 'step'th, from 'first' on. */
static void fail_each_allocation(scenario_fn scenario, const char *model, uint64_t n_shared,
                                 uint64_t first, uint64_t step)
{
    entro_error err;
    assert_int_equal(scenario(model, &err), ENTRO_OK); /* tables that are made once are made now */
    remove_output();
    size_t in_use = en_memory_in_use();
    int n_files = count_files();
    uint64_t n = first, n_failed = 0;
    for (bool done = false; !done; n += n < n_shared ? step : 1, n_failed++) {
        assert_true(n < 100000);
        memset(&err, 0, sizeof err);
        entro_debug_fail_allocation(n);
        entro_status status = scenario(model, &err);
        entro_debug_fail_allocation(UINT64_MAX);
        done = status == ENTRO_OK;
        if (!done && (status != ENTRO_ERR_NOMEM || err.status != status))
            fail_msg("allocation %llu failed and gave '%s': %s: %s", (unsigned long long)n,
                     entro_status_name(status), err.where, err.message);
        if (done)
            remove_output();
        assert_int_equal(count_files(), n_files);
        if (en_memory_in_use() != in_use)
            fail_msg("allocation %llu failed and left %lld bytes", (unsigned long long)n,
                     (long long)(en_memory_in_use() - in_use));
    }
    assert_true(n_failed > 1);
    print_message("             %llu of %llu allocations\n", (unsigned long long)n_failed - 1,
                  (unsigned long long)n - 1);
}

static void jobs_on(const char *model, const char *coding)
{
    snprintf(g_coded, sizeof g_coded, "%s/coded.gguf", g_folder);
    snprintf(g_output, sizeof g_output, "%s/coded.gguf", g_folder);
    entro_error err;
    if (compress(model, "u8", coding, "tensor", &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    snprintf(g_lossless, sizeof g_lossless, "%s/lossless.gguf", g_folder);
    snprintf(g_output, sizeof g_output, "%s/lossless.gguf", g_folder);
    if (compress_lossless(model, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    snprintf(g_output, sizeof g_output, "%s/output.gguf", g_folder);
    static const struct {
        const char *name;
        scenario_fn run;
        uint32_t n_readings; /* of the source */
    } scenarios[] = {
        {"compress, a table a tensor", compress_tensor_tables, 1},
        {"compress, one table", compress_model_table, 1},
        {"compress, strips", compress_strips, 1},
        {"compress, integers of any size", compress_rtn, 1},
        {"compress, lossless", compress_lossless, 1},
        {"tune", tune, 2},
        {"verify", verify_with_source, 1},
        {"verify, lossless", verify_lossless, 0},
        {"restore", restore, 0},
        {"restore the original", restore_original, 0},
        {"run the source", run_source, 1},
        {"run the coded file", run_coded, 0},
        {"run the coded file, packed", run_packed, 0},
        {"run the lossless file", run_lossless, 0},
        {"perplexity", measure_perplexity, 0},
        {"compare, the reference kept", compare_models, 0},
        {"eval, choices", ask_for_a_choice, 0},
        {"eval, numbers", ask_for_a_number, 0},
    };
    uint64_t n_reading = count_allocations_of_opening(model), n_sharing = 0, nth = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        n_sharing += scenarios[i].n_readings > 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        bool is_tune = scenarios[i].run == tune;
        if (is_tune && strcmp(coding, "strips") == 0)
            continue; /* which it reads as it reads rans */
        print_message("             %s\n", scenarios[i].name);
        if (is_tune) /* takes long: every third, others of each model */
            fail_each_allocation(tune, model, UINT64_MAX, strcmp(coding, "rans") == 0, 3);
        else if (scenarios[i].n_readings > 0 && n_reading > 1000)
            fail_each_allocation(scenarios[i].run, model, scenarios[i].n_readings * n_reading,
                                 nth++, n_sharing);
        else
            fail_each_allocation(scenarios[i].run, model, 0, 0, 1);
    }
    unlink(g_coded);
    unlink(g_lossless);
}

static void gguf_in_words(void **state)
{
    (void)state;
    jobs_on(TEST_SHARED "/data/models/stories260k/stories260K.gguf", "words");
}

static void folder_in_strips(void **state)
{
    (void)state;
    jobs_on(TEST_SHARED "/data/models/tinystories-656k", "strips");
}

static void folder_in_rans(void **state)
{
    (void)state;
    jobs_on(TEST_SHARED "/data/models/tinystories-656k", "rans");
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(g_folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(g_folder);
}

/* test_allocations [PART]: minutes under a sanitizer, so parts run side by side. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_in_words),
        cmocka_unit_test(folder_in_strips),
        cmocka_unit_test(folder_in_rans),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
