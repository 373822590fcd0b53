/*
 * collect_support.h - runs of the collection of statistics over the tiny models of fixtures/models, and
 * what they leave in a folder.
 */
#ifndef EN_TESTS_COLLECT_SUPPORT_H
#define EN_TESTS_COLLECT_SUPPORT_H

#include "calib/collect.h"
#include "gguf_support.h"
#include "session_support.h"

/* Of the fixtures' models. */
enum {
    EMBD = 32,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD = 8,
    FF = 64,
    VOCAB = 96,
    LAYERS = 2,
    POSITIONS = 8
};
enum { QKV = (HEADS + 2 * KV_HEADS) * HEAD };

static inline en_calib_text test_collect_text(uint64_t n_sequences, uint64_t seed)
{
    en_calib_text text = {.n_positions = POSITIONS, .n_sequences = n_sequences, .name = "random"};
    text.tokens = en_alloc((size_t)n_sequences * POSITIONS, sizeof *text.tokens);
    for (uint64_t i = 0; i < n_sequences * POSITIONS; i++) /* low ids are frequent */
        text.tokens[i] =
            (int32_t)((test_random(&seed) >> 40) % VOCAB * (test_random(&seed) >> 40 & 1));
    return text;
}

typedef struct test_stopping {
    int n_calls, n_until; /* -1: never */
    uint64_t last, resumed;
    char note[400];
    en_job *job;
} test_stopping;

/* Each report is made, however soon after the last one. */
static inline bool test_count_call(void *user, const entro_progress *p)
{
    test_stopping *s = user;
    assert_string_equal(p->stage, "statistics");
    assert_string_equal(p->unit, "tok");
    assert_true(p->done >= s->last && p->done <= p->total && p->done >= p->resumed);
    assert_true(p->note == NULL || s->n_calls == 0);
    if (p->note != NULL)
        snprintf(s->note, sizeof s->note, "%s", p->note);
    s->last = p->done;
    s->resumed = p->resumed;
    s->job->last_call = -1;
    int n = s->n_calls++;
    return s->n_until < 0 || n < s->n_until;
}

/* 'stop->n_until' is the caller's.  All that can be saved is saved. */
static inline entro_status test_collect_stopping(const char *folder, const entro_model *model,
                                                 const en_calib_text *text,
                                                 const en_collect_options *opt, uint32_t n_threads,
                                                 test_stopping *stop, entro_error *err)
{
    en_job job;
    stop->job = &job;
    assert_int_equal(en_job_open(&job, n_threads, test_count_call, stop, NULL), ENTRO_OK);
    job.save_seconds = 0;
    entro_status status = en_statistics_collect(folder, model->decoder, text, opt, &job, err);
    if (status == ENTRO_OK && stop->n_calls > 0)
        assert_int_equal(stop->last, job.state.total);
    assert_string_equal(job.state.unit, "B");
    en_job_close(&job);
    return status;
}

static inline entro_status test_collect_as(const char *folder, const entro_model *model,
                                           const en_calib_text *text, const en_collect_options *opt,
                                           uint32_t n_threads, int n_until, entro_error *err)
{
    test_stopping stop = {.n_until = n_until};
    return test_collect_stopping(folder, model, text, opt, n_threads, &stop, err);
}

static inline entro_status test_collect(const char *folder, const entro_model *model,
                                        const en_calib_text *text, uint64_t n_tokens,
                                        uint64_t n_fisher, uint32_t n_threads, int n_until,
                                        entro_error *err)
{
    en_collect_options opt = {.n_tokens = n_tokens, .n_fisher_tokens = n_fisher, .seed = 1};
    return test_collect_as(folder, model, text, &opt, n_threads, n_until, err);
}

static inline void test_collect_with(const char *folder, const entro_model *model,
                                     const en_calib_text *text, const en_collect_options *opt,
                                     uint32_t n_threads)
{
    entro_error err = {0};
    if (test_collect_as(folder, model, text, opt, n_threads, -1, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
}

static inline void test_collect_well(const char *folder, const entro_model *model,
                                     const en_calib_text *text, uint64_t n_tokens,
                                     uint64_t n_fisher, uint32_t n_threads)
{
    en_collect_options opt = {.n_tokens = n_tokens, .n_fisher_tokens = n_fisher, .seed = 1};
    test_collect_with(folder, model, text, &opt, n_threads);
}

static inline void test_collect_remove(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(folder);
}

static const char *const test_collect_files[] = {"fisher.gguf",        "gradients-000.gguf",
                                                 "gradients-001.gguf", "layer-000.gguf",
                                                 "layer-001.gguf",     "output.gguf"};

/* Whether the folder has just those, and none that is unfinished. */
static inline bool test_collect_is_complete(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n == sizeof test_collect_files / sizeof test_collect_files[0];
}

static inline void test_collect_assert_same(const char *a, const char *b)
{
    for (size_t i = 0; i < sizeof test_collect_files / sizeof test_collect_files[0]; i++) {
        char path[2][512];
        uint8_t *bytes[2];
        size_t n[2];
        for (int k = 0; k < 2; k++) {
            snprintf(path[k], sizeof path[k], "%s/%s", k ? b : a, test_collect_files[i]);
            bytes[k] = test_file_read(path[k], &n[k]);
        }
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        free(bytes[0]);
        free(bytes[1]);
    }
}

#endif
