/*
 * test_writer_resume.c - a text whose writing was stopped goes on to the same text, and says from where; what was saved
 * and cannot serve is not used.
 */
#include "calib/calib_writer.h"

#include "tokenizer_support.h"

#include "calib/unfinished_text.h"
#include "gguf_support.h"
#include "session_support.h"

/* Two pieces and a bit of keys and values; the last of three batches is smaller. */
enum { VOCAB = 96, POSITIONS = 40, TEXTS = 8, BATCH = 3 };

typedef struct stopping {
    int n_calls, n_until; /* -1: never stop */
    uint64_t resumed;
    char note[400];
    en_job *job;
} stopping;

static bool count_call(void *user, const entro_progress *p)
{
    stopping *s = user;
    assert_string_equal(p->stage, "text");
    assert_true(p->done <= p->total && p->done >= p->resumed);
    if (p->note != NULL)
        snprintf(s->note, sizeof s->note, "%s", p->note);
    s->resumed = p->resumed;
    s->job->last_call = -1;
    return s->n_calls++ != s->n_until;
}

typedef struct writing {
    entro_model *model;
    en_meta *meta;
    en_tokenizer *tokenizer;
    en_calib_writing how;
    int32_t tokens[TEXTS * POSITIONS]; /* of a run that was not stopped */
    int n_calls;                       /* of it */
} writing;

static entro_status write_with(const writing *w, double save_seconds, uint32_t n_threads,
                               int32_t *tokens, stopping *stop, entro_error *err)
{
    en_job job;
    en_calib_text text;
    stop->job = &job;
    assert_int_equal(en_job_open(&job, n_threads, count_call, stop, NULL), ENTRO_OK);
    job.save_seconds = save_seconds;
    entro_status status = en_calib_text_write(&text, test_path("calib"), w->model->decoder,
                                              w->tokenizer, &w->how, &job, err);
    if (status == ENTRO_OK)
        memcpy(tokens, text.tokens, TEXTS * POSITIONS * sizeof *tokens);
    en_calib_text_free(&text);
    en_job_close(&job);
    return status;
}

static const char *path_of(const char *name)
{
    char path[80];
    snprintf(path, sizeof path, "calib/%s", name);
    return test_path(path);
}

static int count_files(void)
{
    int n = 0;
    DIR *d = opendir(test_path("calib"));
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n;
}

static void forget(void)
{
    DIR *d = opendir(test_path("calib"));
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlink(path_of(e->d_name));
    if (d != NULL)
        closedir(d);
    rmdir(test_path("calib"));
}

static writing begin(bool adds_bos)
{
    writing w = {.model = test_open_fixture("llama")};
    const en_hparams *hp = &w.model->decoder->hp;
    size_t n = 2 * (size_t)hp->n_layers * hp->n_kv_heads * (POSITIONS + !adds_bos) * hp->n_head_dim;
    w.how = (en_calib_writing){.n_positions = POSITIONS,
                               .n_tokens = TEXTS * POSITIONS,
                               .seed = 5,
                               .cache_bytes = BATCH * (n + n / 16)};
    w.tokenizer = new_byte_tokenizer(&w.meta, 32, VOCAB - 1, adds_bos);
    stopping stop = {.n_until = -1};
    assert_int_equal(write_with(&w, 0, 2, w.tokens, &stop, NULL), ENTRO_OK);
    assert_int_equal(stop.resumed, 0);
    assert_string_equal(stop.note, "");
    assert_int_equal(count_files(), 1);
    w.n_calls = stop.n_calls;
    forget();
    return w;
}

static void end(writing *w)
{
    forget();
    en_model_close(w->model);
    en_tokenizer_free(w->tokenizer);
    en_meta_free(w->meta);
}

static void stop_at(const writing *w, int n_until)
{
    entro_error err = {0};
    stopping stop = {.n_until = n_until};
    assert_int_equal(write_with(w, 0, 1, NULL, &stop, &err), ENTRO_ERR_CANCELLED);
    bool is_saved = en_path_exists(path_of("unfinished-text.gguf"));
    assert_true((strstr(err.message, "goes on from there") != NULL) == is_saved);
}

/* To the end, and to the same text; nothing but it is left. */
static stopping go_on(const writing *w, uint32_t n_threads)
{
    entro_error err = {0};
    stopping stop = {.n_until = -1};
    int32_t tokens[TEXTS * POSITIONS];
    if (write_with(w, 0, n_threads, tokens, &stop, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    assert_memory_equal(tokens, w->tokens, sizeof tokens);
    assert_int_equal(count_files(), 1);
    return stop;
}

static void wherever_it_was_stopped_it_goes_on_to_the_same_text(void **state)
{
    (void)state;
    for (int adds_bos = 0; adds_bos < 2; adds_bos++) {
        writing w = begin(adds_bos);
        uint64_t resumed = 0;
        int n_places = 0;
        for (int n_until = 0; n_until < w.n_calls; n_until += 5) {
            stop_at(&w, n_until);
            stopping rest = go_on(&w, 1 + (uint32_t)n_until % 3);
            assert_true((rest.resumed > 0) == (strstr(rest.note, "goes on") != NULL));
            assert_true(rest.resumed >= resumed);
            /* no more is lost than a piece */
            assert_true(rest.n_calls + n_until <= w.n_calls + EN_TEXT_PIECE);
            n_places += rest.resumed > resumed;
            resumed = rest.resumed;
            forget();
        }
        assert_int_equal(n_places,
                         3 * 2 + 2); /* of each batch two pieces; two batches before the last */
        end(&w);
    }
}

static void it_may_be_stopped_again_and_again(void **state)
{
    (void)state;
    writing w = begin(false);
    int n_stops = 0;
    entro_status status = ENTRO_ERR_CANCELLED;
    while (status != ENTRO_OK) {
        stopping stop = {.n_until = EN_TEXT_PIECE + 3};
        int32_t tokens[TEXTS * POSITIONS];
        status = write_with(&w, 0, 1, tokens, &stop, NULL);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_CANCELLED);
        assert_in_range(n_stops++, 0, 20);
        if (status == ENTRO_OK)
            assert_memory_equal(tokens, w.tokens, sizeof tokens);
    }
    assert_true(n_stops > 5);
    end(&w);
}

static void nothing_is_saved_before_it_is_due(void **state)
{
    (void)state;
    writing w = begin(true);
    stopping stop = {.n_until = POSITIONS - 3}; /* in the first batch */
    assert_int_equal(write_with(&w, 3600, 1, NULL, &stop, NULL), ENTRO_ERR_CANCELLED);
    assert_int_equal(count_files(), 0);
    end(&w);
}

/* In the second batch, with two pieces. */
static int in_second_batch(void)
{
    return POSITIONS - 1 + 2 * EN_TEXT_PIECE + 3;
}

static void expect_refused(const writing *w, const char *name, const char *why, bool keeps_batches)
{
    stopping rest = go_on(w, 1);
    char note[100];
    snprintf(note, sizeof note, "%s is not used, what it was kept for begins again: ", name);
    if (strstr(rest.note, note) == NULL || strstr(rest.note, why) == NULL)
        fail_msg("'%s', expected '%s'", rest.note, why);
    /* Without keys and values, texts that are done are still there. */
    assert_int_equal(rest.resumed, keeps_batches ? BATCH * POSITIONS : 0);
    forget();
}

static void what_is_damaged_is_not_used(void **state)
{
    (void)state;
    writing w = begin(true);
    static const char *const names[] = {"unfinished-text.gguf", "unfinished-cache-000.gguf",
                                        "unfinished-cache-001.gguf"};
    for (int i = 0; i < 3; i++)
        for (int how = 0; how < (i > 0 ? 3 : 2); how++) { /* changed, truncated, missing */
            size_t n_bytes;
            stop_at(&w, in_second_batch());
            uint8_t *bytes = test_file_read(path_of(names[i]), &n_bytes);
            bytes[n_bytes - 200] ^= how == 0;
            test_file_write(path_of(names[i]), bytes, how == 1 ? n_bytes - 200 : n_bytes);
            free(bytes);
            if (how == 2)
                unlink(path_of(names[i]));
            static const char *const why[] = {"it is damaged", "truncated", "it cannot be read"};
            expect_refused(&w, names[i], why[how], i > 0);
        }
    end(&w);
}

static void what_is_of_another_run_is_not_used(void **state)
{
    (void)state;
    writing w = begin(true), other = w;
    other.how.seed++;
    stop_at(&other, in_second_batch());
    expect_refused(&w, "unfinished-text.gguf", "it is of another text or other settings", false);
    entro_model *llama = w.model;
    other = w;
    other.model = test_open_fixture("qwen2");
    stop_at(&other, in_second_batch());
    expect_refused(&w, "unfinished-text.gguf", "it is of another model", false);
    en_model_close(other.model);
    other = w;
    other.how.cache_bytes = 0; /* all at once */
    stop_at(&other, EN_TEXT_PIECE + 3);
    expect_refused(&w, "unfinished-text.gguf", "it has 8 texts at once, expected 3", false);
    w.model = llama;
    /* keys and values of the first batch, as if the second one's had not been written */
    size_t n_bytes;
    stop_at(&w, 2 * EN_TEXT_PIECE + 3);
    uint8_t *bytes = test_file_read(path_of("unfinished-cache-001.gguf"), &n_bytes);
    forget();
    stop_at(&w, in_second_batch());
    test_file_write(path_of("unfinished-cache-001.gguf"), bytes, n_bytes);
    free(bytes);
    expect_refused(&w, "unfinished-cache-001.gguf", "it is of other texts", true);
    end(&w);
}

/* What a run left that was stopped: the next one saves more. */
enum { N_KEPT = 3 };
typedef struct kept {
    const char *name;
    uint8_t *bytes;
    size_t n_bytes;
} kept;

static void write_once_more(const writing *w, const kept files[N_KEPT], uint64_t fail_at,
                            entro_status *status)
{
    en_job job;
    entro_error err = {0};
    en_calib_text text = {0};
    forget();
    assert_int_equal(en_statistics_make_folder(test_path("calib"), NULL), ENTRO_OK);
    for (int i = 0; i < N_KEPT; i++)
        test_file_write(path_of(files[i].name), files[i].bytes, files[i].n_bytes);
    assert_int_equal(en_job_open(&job, 1, NULL, NULL, NULL), ENTRO_OK);
    job.save_seconds = 0;
    en_memory_fail_at(fail_at);
    *status = en_calib_text_write(&text, test_path("calib"), w->model->decoder, w->tokenizer,
                                  &w->how, &job, &err);
    en_memory_fail_at(UINT64_MAX);
    if (*status == ENTRO_OK)
        assert_memory_equal(text.tokens, w->tokens, sizeof w->tokens);
    else if (*status != ENTRO_ERR_NOMEM)
        fail_msg("allocation %u: %s: %s", (unsigned)fail_at, err.where, err.message);
    en_calib_text_free(&text);
    en_job_close(&job);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    writing w = begin(true);
    kept files[N_KEPT] = {{.name = "unfinished-text.gguf"},
                          {.name = "unfinished-cache-000.gguf"},
                          {.name = "unfinished-cache-001.gguf"}};
    size_t n_before = en_memory_in_use();
    stop_at(&w, in_second_batch());
    for (int i = 0; i < N_KEPT; i++)
        files[i].bytes = test_file_read(path_of(files[i].name), &files[i].n_bytes);
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        assert_in_range(i, 0, 5000);
        write_once_more(&w, files, i, &status);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    for (int i = 0; i < N_KEPT; i++)
        free(files[i].bytes);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wherever_it_was_stopped_it_goes_on_to_the_same_text),
        cmocka_unit_test(it_may_be_stopped_again_and_again),
        cmocka_unit_test(nothing_is_saved_before_it_is_due),
        cmocka_unit_test(what_is_damaged_is_not_used),
        cmocka_unit_test(what_is_of_another_run_is_not_used),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
