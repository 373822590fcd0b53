/* test_divergence.c - KLD by its definition, what it must be for a model and itself, and that a kept
 * reference changes no bit of it. */
#include <math.h>
#include <string.h>

#include "test_support.h"

#include "gguf_support.h"

#include "base/file.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "eval/divergence.h"
#include "eval/perplexity.h"
#include "eval/windows.h"

#define MODELS  TEST_SHARED "/data/models/"
#define STORIES MODELS "stories260k/stories260K.gguf"
#define OTHER   MODELS "tinystories-656k"

enum { CTX = 64 };

static const char text[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high. Lily's mom "
    "said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I "
    "want to play with the ball, but I can't find it.\" Her mom said, \"We can find it together.\"";

static entro_model *open_model(const char *path)
{
    if (!en_path_exists(path))
        skip();
    entro_model *model = NULL;
    assert_int_equal(en_model_open(&model, path, NULL, NULL), ENTRO_OK);
    return model;
}

/* Forgets a bit: the last norm is not what it was. */
static entro_model *open_changed(void)
{
    entro_model *b = open_model(STORIES);
    for (uint32_t i = 0; i < b->decoder->hp.n_embd; i++)
        b->decoder->weights.output_norm[i] *= 1.0f + 0.3f * sinf((float)i);
    return b;
}

static entro_divergence_options options(void)
{
    return (entro_divergence_options){
        .struct_size = sizeof(entro_divergence_options), .n_ctx = CTX, .n_threads = 2};
}

static void a_model_does_not_differ_from_itself(void **state)
{
    (void)state;
    entro_model *model = open_model(STORIES);
    entro_divergence_options opt = options();
    entro_divergence_report r;
    entro_perplexity_report p;
    assert_int_equal(en_divergence(model, model, text, strlen(text), &opt, &r, NULL), ENTRO_OK);
    entro_perplexity_options same = {.struct_size = sizeof same, .n_ctx = CTX, .n_threads = 2};
    assert_int_equal(en_perplexity(model, text, strlen(text), &same, &p, NULL), ENTRO_OK);
    assert_true(fabs(r.kld) < 1e-7 && r.kld_max < 1e-6 && r.same_top == 1.0);
    assert_true(fabs(r.perplexity - p.perplexity) < 1e-9 * p.perplexity);
    assert_true(r.perplexity == r.reference_perplexity);
    assert_int_equal(r.n_scored, p.n_scored);
    assert_int_equal(r.n_worst, ENTRO_N_WORST);
    en_model_close(model);
}

/* The reference with one matrix changed: KLD against a sum in double over one window. */
static double kld_by_definition(const entro_model *a, const entro_model *b)
{
    en_windows w;
    entro_session *sa, *sb;
    uint32_t n = en_model_n_vocab(a);
    float *la = en_alloc(n * CTX, sizeof *la), *lb = en_alloc(n * CTX, sizeof *lb);
    assert_int_equal(en_windows_open(&w, a, text, strlen(text), CTX, 1, 0, NULL), ENTRO_OK);
    assert_int_equal(en_windows_session(&w, &sa, a, 1, ENTRO_KV_F16, NULL), ENTRO_OK);
    assert_int_equal(en_windows_session(&w, &sb, b, 1, ENTRO_KV_F16, NULL), ENTRO_OK);
    en_windows_select(&w, 0);
    assert_int_equal(en_session_decode_all(sa, w.window, CTX, la, NULL), ENTRO_OK);
    assert_int_equal(en_session_decode_all(sb, w.window, CTX, lb, NULL), ENTRO_OK);
    double kld = 0;
    for (uint32_t t = CTX / 2; t < CTX - 1; t++) {
        double za = 0, zb = 0;
        for (uint32_t i = 0; i < n; i++) {
            za += exp(la[t * n + i]);
            zb += exp(lb[t * n + i]);
        }
        for (uint32_t i = 0; i < n; i++) {
            double p = exp(la[t * n + i]) / za, q = exp(lb[t * n + i]) / zb;
            kld += p * log(p / q) / (CTX - 1 - CTX / 2);
        }
    }
    en_windows_close(&w);
    en_session_close(sa);
    en_session_close(sb);
    en_free(la);
    en_free(lb);
    return kld;
}

static void is_what_the_definition_says(void **state)
{
    (void)state;
    entro_model *a = open_model(STORIES), *b = open_changed();
    entro_divergence_options opt = options();
    opt.n_windows = 1;
    entro_divergence_report r;
    assert_int_equal(en_divergence(a, b, text, strlen(text), &opt, &r, NULL), ENTRO_OK);
    double expected = kld_by_definition(a, b);
    assert_true(expected > 1e-3 && fabs(r.kld - expected) < 1e-3 * expected);
    assert_true(r.kld_median <= r.kld_99 && r.kld_99 <= r.kld_max && r.kld_error > 0);
    assert_true(r.worst[0].kld == r.kld_max && r.worst[0].kld >= r.worst[1].kld);
    assert_true(r.worst[0].position >= CTX / 2 && r.worst[0].position < CTX - 1);
    en_model_close(a);
    en_model_close(b);
}

static void refuses_other_vocabularies(void **state)
{
    (void)state;
    entro_model *a = open_model(STORIES), *b = open_model(OTHER);
    entro_divergence_options opt = options();
    entro_divergence_report r;
    entro_error err;
    assert_int_equal(en_divergence(a, b, text, strlen(text), &opt, &r, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "vocabularies"));
    en_model_close(a);
    en_model_close(b);
}

static entro_divergence_report divergence_of(const entro_model *a, const entro_model *b,
                                             const entro_divergence_options *opt)
{
    entro_divergence_report r;
    entro_error err = {0};
    if (en_divergence(a, b, text, strlen(text), opt, &r, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    r.seconds = 0;
    return r;
}

static void a_kept_reference_changes_nothing(void **state)
{
    (void)state;
    entro_model *a = open_model(STORIES), *b = open_changed();
    entro_divergence_options opt = options();
    entro_divergence_report live = divergence_of(a, b, &opt), made, reused;
    assert_true(live.n_windows >= 2 && !live.reference_reused);
    opt.cache = test_path("reference");
    made = divergence_of(a, b, &opt);
    assert_int_equal(test_folder_count(), 1);
    assert_memory_equal(&made, &live, sizeof live);
    reused = divergence_of(a, b, &opt);
    assert_true(reused.reference_reused);
    reused.reference_reused = false;
    assert_memory_equal(&reused, &live, sizeof live);
    /* fewer windows than it holds */
    opt.n_windows = 1;
    reused = divergence_of(a, b, &opt);
    assert_true(reused.reference_reused);
    opt.cache = NULL;
    live = divergence_of(a, b, &opt);
    assert_true(live.kld == reused.kld && live.n_windows == 1);
    en_model_close(a);
    en_model_close(b);
}

static void refuse(const entro_model *a, const entro_divergence_options *opt, const char *some_text,
                   entro_status status, const char *message)
{
    entro_divergence_report r;
    entro_error err = {0};
    size_t in_use = en_memory_in_use();
    assert_int_equal(en_divergence(a, a, some_text, strlen(some_text), opt, &r, &err), status);
    if (strstr(err.message, message) == NULL || strstr(err.where, opt->cache) == NULL)
        fail_msg("%s: %s", err.where, err.message);
    assert_int_equal(en_memory_in_use(), in_use);
}

static void change_byte(const char *path, size_t at)
{
    size_t n;
    uint8_t *bytes = test_file_read(path, &n);
    bytes[at < n ? at : n - 1] ^= 1;
    test_file_write(path, bytes, n);
    free(bytes);
}

static void refuses_a_reference_that_does_not_fit(void **state)
{
    (void)state;
    entro_model *a = open_model(STORIES), *other = open_model(OTHER);
    entro_divergence_options opt = options();
    opt.cache = test_path("fits");
    opt.n_windows = 1;
    divergence_of(a, a, &opt);
    char longer[3 * sizeof text]; /* the other model's tokens are longer */
    snprintf(longer, sizeof longer, "%s%s%s", text, text, text);
    refuse(other, &opt, longer, ENTRO_ERR_MISMATCH, "another model");
    refuse(a, &opt, text + 10, ENTRO_ERR_MISMATCH, "another text");
    opt.n_windows = 2;
    refuse(a, &opt, text, ENTRO_ERR_MISMATCH, "fewer windows");
    opt.n_windows = 1;
    opt.n_ctx = 32;
    refuse(a, &opt, text, ENTRO_ERR_MISMATCH, "another length");
    opt.n_ctx = CTX;
    change_byte(opt.cache, SIZE_MAX);
    refuse(a, &opt, text, ENTRO_ERR_CHECKSUM, "window 0");
    opt.overwrite_cache = true;
    divergence_of(a, a, &opt);
    opt.overwrite_cache = false;
    assert_true(divergence_of(a, a, &opt).reference_reused);
    change_byte(opt.cache, 70);
    refuse(a, &opt, text, ENTRO_ERR_CHECKSUM, "head and index");
    change_byte(opt.cache, 0);
    refuse(a, &opt, text, ENTRO_ERR_FORMAT, "no file of reference predictions");
    en_model_close(a);
    en_model_close(other);
}

static bool stop(void *user, const entro_progress *progress)
{
    (void)user;
    return strcmp(progress->stage, "reference") != 0;
}

static void a_cancelled_run_leaves_no_file(void **state)
{
    (void)state;
    entro_model *a = open_model(STORIES);
    entro_divergence_options opt = options();
    entro_divergence_report r;
    opt.cache = test_path("cancelled");
    opt.progress = stop;
    int n_files = test_folder_count();
    assert_int_equal(en_divergence(a, a, text, strlen(text), &opt, &r, NULL), ENTRO_ERR_CANCELLED);
    assert_int_equal(test_folder_count(), n_files);
    en_model_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_does_not_differ_from_itself),
        cmocka_unit_test(is_what_the_definition_says),
        cmocka_unit_test(refuses_other_vocabularies),
        cmocka_unit_test(a_kept_reference_changes_nothing),
        cmocka_unit_test(refuses_a_reference_that_does_not_fit),
        cmocka_unit_test(a_cancelled_run_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
