/*
 * test_distill.c - distilling on tiny models: a model whose vectors were moved finds back to its source.
 *
 * Source and student are the same model; with the matrices alike a divergence of zero can be reached by the vectors
 * alone, and is known to be the least.
 */
#include "test_support.h"

#include "calib/distill.h"
#include "collect_support.h"

enum { SEQUENCES = 160 };

typedef struct setting {
    entro_model *source, *student;
    en_calib_text text;
} setting;

static entro_model *open_model(const char *name)
{
    char path[512];
    entro_error err = {0};
    entro_model *model;
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s", name);
    if (en_model_open(&model, path, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

/* The student's gains and biases are moved by up to 'share' of themselves. */
static setting prepare(const char *name, float share)
{
    setting s = {open_model(name), open_model(name), test_collect_text(SEQUENCES, 3)};
    en_weights *w = &s.student->decoder->weights;
    uint64_t seed = 5;
    for (uint32_t i = 0; i < w->n_layers; i++)
        for (size_t k = 0; k < EMBD; k++) {
            w->layers[i].attn_norm[k] *= 1 + share * (float)((int)(test_random(&seed) % 3) - 1);
            w->layers[i].ffn_norm[k] *= 1 + share * (float)((int)(test_random(&seed) % 3) - 1);
        }
    for (size_t k = 0; k < EMBD; k++)
        w->output_norm[k] *= 1 + share * (float)((int)(test_random(&seed) % 3) - 1);
    return s;
}

static void drop(setting *s)
{
    en_model_close(s->source);
    en_model_close(s->student);
    en_calib_text_free(&s->text);
}

static bool stop_at_last(void *user, const entro_progress *p)
{
    const uint64_t *until = user;
    assert_string_equal(p->stage, "tune");
    return p->done < *until;
}

static entro_status distill(setting *s, double rate, uint32_t n_threads, uint64_t until,
                            en_distill_report *r, entro_error *err)
{
    en_job job;
    const en_distill_options opt = {.n_tokens = SEQUENCES * POSITIONS, .rate = rate};
    assert_int_equal(en_job_open(&job, n_threads, stop_at_last, &until, NULL), ENTRO_OK);
    entro_status status =
        en_distill(s->student->decoder, s->source->decoder, &s->text, &opt, &job, r, err);
    assert_string_equal(job.state.unit, "B");
    en_job_close(&job);
    return status;
}

static void check_finds_back(const char *name)
{
    setting s = prepare(name, 0.1f);
    en_distill_report r;
    entro_error err = {0};
    if (distill(&s, 1e-2, 2, UINT64_MAX, &r, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    print_message("%-12s %.6f -> %.6f\n", name, r.kld_before, r.kld_after);
    assert_int_equal(r.n_check_tokens, SEQUENCES / 4 * POSITIONS); /* a quarter at most */
    assert_int_equal(r.n_tokens, (SEQUENCES - SEQUENCES / 4) * POSITIONS);
    assert_true(r.is_better && r.kld_before > 0 && r.kld_after < 0.25 * r.kld_before);
    drop(&s);
}

static void moved_vectors_find_back(void **state)
{
    (void)state;
    check_finds_back("llama");
    check_finds_back("qwen2");
    check_finds_back("phi3");
}

static float *all_gains(const setting *s)
{
    const en_weights *w = &s->student->decoder->weights;
    float *all = malloc((2 * LAYERS + 1) * EMBD * sizeof *all);
    for (uint32_t i = 0; i < LAYERS; i++) {
        memcpy(all + (2 * i) * EMBD, w->layers[i].attn_norm, EMBD * sizeof *all);
        memcpy(all + (2 * i + 1) * EMBD, w->layers[i].ffn_norm, EMBD * sizeof *all);
    }
    memcpy(all + 2 * LAYERS * EMBD, w->output_norm, EMBD * sizeof *all);
    return all;
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    setting one = prepare("llama", 0.1f), three = prepare("llama", 0.1f);
    en_distill_report r1, r3;
    assert_int_equal(distill(&one, 1e-2, 1, UINT64_MAX, &r1, NULL), ENTRO_OK);
    assert_int_equal(distill(&three, 1e-2, 3, UINT64_MAX, &r3, NULL), ENTRO_OK);
    float *a = all_gains(&one), *b = all_gains(&three);
    assert_true(r1.kld_after == r3.kld_after);
    assert_memory_equal(a, b, (2 * LAYERS + 1) * EMBD * sizeof *a);
    free(a);
    free(b);
    drop(&one);
    drop(&three);
}

/* Steps that are far too large do harm; then everything is as it was. */
static void vectors_that_do_not_help_are_put_back(void **state)
{
    (void)state;
    setting s = prepare("llama", 0.01f);
    float *before = all_gains(&s);
    en_distill_report r;
    assert_int_equal(distill(&s, 1.0, 2, UINT64_MAX, &r, NULL), ENTRO_OK);
    assert_true(!r.is_better && r.kld_after >= r.kld_before);
    float *after = all_gains(&s);
    assert_memory_equal(before, after, (2 * LAYERS + 1) * EMBD * sizeof *before);
    free(before);
    free(after);
    drop(&s);
}

static void a_cancelled_run_leaves_the_vectors(void **state)
{
    (void)state;
    setting s = prepare("llama", 0.1f);
    float *before = all_gains(&s);
    en_distill_report r;
    entro_error err = {0};
    assert_int_equal(distill(&s, 1e-2, 2, 0, &r, &err), ENTRO_ERR_CANCELLED);
    float *after = all_gains(&s);
    assert_memory_equal(before, after, (2 * LAYERS + 1) * EMBD * sizeof *before);
    free(before);
    free(after);
    drop(&s);
}

static void trouble_is_named(void **state)
{
    (void)state;
    setting s = prepare("llama", 0.1f);
    en_distill_report r;
    entro_error err = {0};
    s.text.n_sequences = 1;
    assert_int_equal(distill(&s, 0, 1, UINT64_MAX, &r, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "two sequences"));
    s.text.n_sequences = SEQUENCES;
    s.text.tokens[3] = VOCAB;
    assert_int_equal(distill(&s, 0, 1, UINT64_MAX, &r, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "token"));
    s.text.tokens[3] = 3;
    en_model_close(s.student);
    s.student = open_model("qwen2");
    assert_int_equal(distill(&s, 0, 1, UINT64_MAX, &r, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "shapes"));
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_vectors_find_back),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(vectors_that_do_not_help_are_put_back),
        cmocka_unit_test(a_cancelled_run_leaves_the_vectors),
        cmocka_unit_test(trouble_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
