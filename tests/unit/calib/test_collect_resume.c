/*
 * test_collect_resume.c - a collection that was stopped, wherever, goes on to the same files, and says from where; one of
 * another text or model does not.
 */
#include "calib/collect.h"

#include "test_support.h"

#include "calib/unfinished.h"
#include "collect_support.h"

/* Importances in three groups of 200 sequences, each a batch; covariances in two batches. */
static const en_collect_options in_groups = {
    .n_tokens = 4096, .n_fisher_tokens = 4800, .seed = 1, .kept_bytes = 1};

static const char *fisher_path(const char *folder)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/unfinished-fisher.gguf", folder);
    return path;
}

static void what_was_stopped_goes_on_to_the_same_files(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("qwen2");
    en_calib_text text = test_collect_text(600, 8);
    const char *whole = test_path("whole"), *stopped = test_path("stopped");
    test_collect_well(whole, model, &text, 4096, 512, 1);
    int n_stops = 0;
    for (int n_until = 0; n_until < 100; n_until++) { /* a call more each time */
        entro_error err = {0};
        entro_status status = test_collect(stopped, model, &text, 4096, 512, 3, n_until, &err);
        DIR *d = opendir(stopped);
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            bool known = e->d_name[0] == '.' || strcmp(e->d_name, "unfinished-fisher.gguf") == 0;
            for (size_t i = 0; i < sizeof test_collect_files / sizeof test_collect_files[0]; i++)
                known = known || strcmp(e->d_name, test_collect_files[i]) == 0;
            assert_true(known);
        }
        closedir(d);
        if (status == ENTRO_OK)
            break;
        assert_int_equal(status, ENTRO_ERR_CANCELLED);
        assert_non_null(strstr(err.message, "goes on from there"));
        n_stops++;
    }
    assert_true(n_stops > 0);
    test_collect_assert_same(whole, stopped);
    for (int i = 0; i < 4; i++) { /* any one file is made anew alone */
        char path[512];
        snprintf(path, sizeof path, "%s/%s", stopped, test_collect_files[i]);
        test_file_write(path, (const uint8_t *)"half a file", 11);
        test_collect_well(stopped, model, &text, 4096, 512, 2);
        test_collect_assert_same(whole, stopped);
    }
    assert_true(test_collect_is_complete(stopped));
    test_collect_remove(whole);
    test_collect_remove(stopped);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* A run to the end; 'stop' tells of it. */
static void go_on(const char *folder, const entro_model *model, const en_calib_text *text,
                  const en_collect_options *opt, uint32_t n_threads, test_stopping *stop)
{
    entro_error err = {0};
    *stop = (test_stopping){.n_until = -1};
    if (test_collect_stopping(folder, model, text, opt, n_threads, stop, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(test_collect_is_complete(folder));
}

static void stop_at(const char *folder, const entro_model *model, const en_calib_text *text,
                    const en_collect_options *opt, int n_until)
{
    entro_error err = {0};
    test_stopping stop = {.n_until = n_until};
    assert_int_equal(test_collect_stopping(folder, model, text, opt, 2, &stop, &err),
                     ENTRO_ERR_CANCELLED);
}

static void wherever_it_was_stopped_it_says_from_where_it_goes_on(void **state)
{
    (void)state;
    static const char *const notes[] = {
        "",
        "importances of layer 1 (the last is 0) of sequence 1 of 600 and on",
        "importances of layer 0 (the last is 0) of sequence 201 of 600 and on",
        "importances of sequence 401 of 600 and on",
        "covariances of layer 0 (the last is 1)",
        "covariances of layer 1 (the last is 1)"};
    enum { N_NOTES = sizeof notes / sizeof notes[0] };
    int seen[N_NOTES] = {0};
    entro_model *model = test_open_fixture("llama");
    en_calib_text text = test_collect_text(600, 8);
    const char *whole = test_path("whole"), *stopped = test_path("stopped");
    test_stopping all, rest;
    go_on(whole, model, &text, &in_groups, 1, &all);
    assert_true(all.resumed == 0 && all.note[0] == '\0');
    uint64_t resumed = 0;
    for (int n_until = 0; n_until < all.n_calls; n_until++) {
        stop_at(stopped, model, &text, &in_groups, n_until);
        go_on(stopped, model, &text, &in_groups, 1 + (uint32_t)n_until % 3, &rest);
        test_collect_assert_same(whole, stopped);
        assert_true((rest.note[0] != '\0') == (rest.resumed > 0));
        assert_true(rest.resumed == 0 || rest.n_calls < all.n_calls);
        assert_true(rest.resumed >= resumed); /* the later it was stopped, the more is done */
        resumed = rest.resumed;
        for (size_t i = 0; i < N_NOTES; i++)
            seen[i] += i == 0 ? rest.note[0] == '\0' : strstr(rest.note, notes[i]) != NULL;
        test_collect_remove(stopped);
    }
    for (size_t i = 0; i < N_NOTES; i++)
        if (seen[i] == 0)
            fail_msg("no run went on at '%s'", notes[i]);
    char output[200];
    snprintf(output, sizeof output, "%s/output.gguf", whole);
    unlink(output);
    go_on(whole, model, &text, &in_groups, 1, &rest);
    assert_non_null(strstr(rest.note, "covariances of the output"));
    test_collect_remove(whole);
    en_calib_text_free(&text);
    en_model_close(model);
}

static void nothing_is_saved_before_it_is_due(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("llama");
    en_calib_text text = test_collect_text(600, 8);
    const char *folder = test_path("calib");
    en_job job;
    test_stopping stop = {.n_until = 15, .job = &job};
    assert_int_equal(en_job_open(&job, 1, test_count_call, &stop, NULL), ENTRO_OK);
    assert_int_equal(en_statistics_collect(folder, model->decoder, &text, &in_groups, &job, NULL),
                     ENTRO_ERR_CANCELLED);
    en_job_close(&job);
    assert_false(en_path_exists(fisher_path(folder)));
    test_collect_remove(folder);
    stop_at(folder, model, &text, &in_groups, 15);
    assert_true(en_path_exists(fisher_path(folder)));
    test_collect_remove(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* What is in the folder of a run that was stopped in the second group of importances. */
typedef struct begun {
    entro_model *model;
    en_calib_text text;
    const char *whole, *folder;
    uint8_t *bytes; /* of unfinished-fisher.gguf */
    size_t n_bytes;
} begun;

static begun begin(void)
{
    begun b = {.model = test_open_fixture("llama"),
               .text = test_collect_text(600, 8),
               .whole = test_path("whole"),
               .folder = test_path("stopped")};
    test_stopping all;
    go_on(b.whole, b.model, &b.text, &in_groups, 1, &all);
    stop_at(b.folder, b.model, &b.text, &in_groups, 10);
    b.bytes = test_file_read(fisher_path(b.folder), &b.n_bytes);
    return b;
}

static void end(begun *b)
{
    test_collect_remove(b->whole);
    test_collect_remove(b->folder);
    free(b->bytes);
    en_calib_text_free(&b->text);
    en_model_close(b->model);
}

/* The file cannot serve, the note says why, and what comes out is the same. */
static void expect_anew(begun *b, const uint8_t *bytes, size_t n_bytes, const char *why)
{
    test_stopping rest;
    stop_at(b->folder, b->model, &b->text, &in_groups, 10);
    test_file_write(fisher_path(b->folder), bytes, n_bytes);
    go_on(b->folder, b->model, &b->text, &in_groups, 1, &rest);
    assert_int_equal(rest.resumed, 0);
    if (strstr(rest.note, "unfinished-fisher.gguf is not used") == NULL ||
        strstr(rest.note, why) == NULL)
        fail_msg("'%s', expected '%s'", rest.note, why);
    test_collect_assert_same(b->whole, b->folder);
    test_collect_remove(b->folder);
}

static void damaged_sums_are_not_used(void **state)
{
    (void)state;
    begun b = begin();
    test_collect_remove(b.folder);
    expect_anew(&b, b.bytes, 0, "");
    expect_anew(&b, b.bytes, 100, "");
    expect_anew(&b, b.bytes, b.n_bytes - 100, "truncated");
    expect_anew(&b, (const uint8_t *)"half a file", 11, "");
    for (size_t back = 8; back < b.n_bytes / 2; back += b.n_bytes / 9) { /* the head is shorter */
        b.bytes[b.n_bytes - 64 - back] ^= 1;
        expect_anew(&b, b.bytes, b.n_bytes, "it is damaged");
        b.bytes[b.n_bytes - 64 - back] ^= 1;
    }
    end(&b);
}

static void sums_of_other_settings_are_not_used(void **state)
{
    (void)state;
    begun b = begin();
    en_collect_options other = in_groups;
    test_stopping rest;
    other.seed++;
    go_on(b.folder, b.model, &b.text, &other, 1, &rest);
    assert_non_null(strstr(rest.note, "another text or other settings"));
    test_collect_remove(b.folder);
    stop_at(b.folder, b.model, &b.text, &in_groups, 10);
    other = in_groups;
    other.kept_bytes = 0; /* one group */
    go_on(b.folder, b.model, &b.text, &other, 1, &rest);
    assert_non_null(strstr(rest.note, "groups of 200 sequences in batches of 256, expected 600"));
    test_collect_remove(b.folder);
    stop_at(b.folder, b.model, &b.text, &in_groups, 10);
    char path[200];
    snprintf(path, sizeof path, "%s/gradients-001.gguf", b.folder);
    assert_int_equal(unlink(path), 0);
    go_on(b.folder, b.model, &b.text, &in_groups, 1, &rest);
    assert_non_null(strstr(rest.note, "gradients of layer 1, which it had done, are missing"));
    test_collect_assert_same(b.whole, b.folder);
    end(&b);
}

static void sums_of_another_model_are_refused(void **state)
{
    (void)state;
    begun b = begin();
    entro_model *other = test_open_fixture("qwen2");
    entro_error err = {0};
    test_collect_remove(b.folder);
    assert_int_equal(en_statistics_make_folder(b.folder, NULL), ENTRO_OK);
    test_file_write(fisher_path(b.folder), b.bytes, b.n_bytes);
    assert_int_equal(test_collect(b.folder, other, &b.text, 64, 32, 1, -1, &err),
                     ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another model: of a llama of 2 layers"));
    assert_non_null(strstr(err.where, "unfinished-fisher.gguf"));
    size_t n_bytes;
    uint8_t *bytes = test_file_read(fisher_path(b.folder), &n_bytes);
    assert_int_equal(n_bytes, b.n_bytes);
    free(bytes);
    en_model_close(other);
    end(&b);
}

static void another_text_is_collected_anew_and_another_model_is_refused(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("qwen2"), *other = test_open_fixture("llama");
    en_calib_text text = test_collect_text(20, 8), second = test_collect_text(20, 9);
    const char *folder = test_path("calib"), *fresh = test_path("fresh");
    entro_error err = {0};
    test_collect_well(folder, model, &text, 64, 32, 1);
    assert_int_equal(test_collect(folder, other, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another model: of a qwen2 of 2 layers"));
    test_collect_well(folder, model, &second, 64, 32, 1);
    test_collect_well(fresh, model, &second, 64, 32, 1);
    test_collect_assert_same(folder, fresh);
    test_collect_remove(folder);
    test_collect_remove(fresh);
    en_calib_text_free(&text);
    en_calib_text_free(&second);
    en_model_close(model);
    en_model_close(other);
}

static void forget_all_but_gradients(const char *folder)
{
    for (size_t i = 0; i < sizeof test_collect_files / sizeof test_collect_files[0]; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", folder, test_collect_files[i]);
        if (strncmp(test_collect_files[i], "gradients", strlen("gradients")) != 0)
            unlink(path);
    }
}

/* Each time from the same sums. */
static void every_allocation_fails_once(void **state)
{
    (void)state;
    begun b = begin();
    size_t n_before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        entro_error err = {0};
        en_job job;
        assert_in_range(i, 0, 5000);
        assert_int_equal(en_job_open(&job, 1, NULL, NULL, NULL), ENTRO_OK);
        job.save_seconds = 0;
        forget_all_but_gradients(b.folder);
        test_file_write(fisher_path(b.folder), b.bytes, b.n_bytes);
        en_memory_fail_at(i);
        status = en_statistics_collect(b.folder, b.model->decoder, &b.text, &in_groups, &job, &err);
        en_memory_fail_at(UINT64_MAX);
        en_job_close(&job);
        if (status != ENTRO_OK && status != ENTRO_ERR_NOMEM)
            fail_msg("allocation %u: %s: %s", (unsigned)i, err.where, err.message);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    test_collect_assert_same(b.whole, b.folder);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_stopped_goes_on_to_the_same_files),
        cmocka_unit_test(wherever_it_was_stopped_it_says_from_where_it_goes_on),
        cmocka_unit_test(nothing_is_saved_before_it_is_due),
        cmocka_unit_test(damaged_sums_are_not_used),
        cmocka_unit_test(sums_of_other_settings_are_not_used),
        cmocka_unit_test(sums_of_another_model_are_refused),
        cmocka_unit_test(another_text_is_collected_anew_and_another_model_is_refused),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
