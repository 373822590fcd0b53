/*
 * Perplexity: windows and scoring by their definition, progress and cancelling, refusals.
 */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "eval/perplexity.h"
#include "session_support.h"

#define MODEL TEST_SHARED "/data/models/stories260k/stories260K.gguf"

static const char text[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high. Lily's mom "
    "said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I "
    "want to play with the ball, but I can't find it.\" Her mom said, \"We can find it together.\"";

static entro_perplexity_options options(uint32_t n_ctx)
{
    return (entro_perplexity_options){
        .struct_size = sizeof(entro_perplexity_options), .n_ctx = n_ctx, .n_threads = 2};
}

/* One window by the definition, token by token. */
static double score_window(const entro_model *model, const int32_t *tokens, uint32_t n_ctx)
{
    entro_session_options opt = {.struct_size = sizeof opt, .n_ctx = n_ctx, .n_threads = 1};
    entro_session *s = NULL;
    assert_int_equal(en_session_open(&s, model, &opt, NULL), ENTRO_OK);
    double nll = 0.0;
    for (uint32_t i = 0; i + 1 < n_ctx; i++) {
        int32_t token = i == 0 ? en_tokenizer_bos(model->tokenizer) : tokens[i];
        assert_int_equal(en_session_decode(s, &token, 1, NULL), ENTRO_OK);
        const float *logits = en_session_logits(s);
        double mass = 0.0;
        for (uint32_t j = 0; j < en_model_n_vocab(model); j++)
            mass += exp((double)logits[j]);
        if (i >= n_ctx / 2)
            nll += log(mass) - logits[tokens[i + 1]];
    }
    en_session_close(s);
    return nll;
}

static void scores_the_second_half_of_every_window(void **state)
{
    (void)state;
    enum { CTX = 33 };
    entro_model *model = test_open_shared(MODEL);
    int32_t tokens[1000];
    size_t n;
    assert_int_equal(en_tokenizer_encode(model->tokenizer, text, strlen(text), true, false, tokens,
                                         1000, &n, NULL),
                     ENTRO_OK);
    uint32_t n_windows = (uint32_t)n / CTX;
    assert_true(n_windows >= 3);
    double nll = 0.0;
    for (uint32_t w = 0; w < n_windows; w++)
        nll += score_window(model, tokens + (size_t)w * CTX, CTX);

    entro_perplexity_options opt = options(CTX);
    entro_perplexity_report r;
    static const uint32_t batches[] = {0, 5, 16, 33};
    for (int i = 0; i < 4; i++) {
        opt.n_batch = batches[i];
        assert_int_equal(en_perplexity(model, text, strlen(text), &opt, &r, NULL), ENTRO_OK);
        assert_int_equal(r.n_windows, n_windows);
        assert_int_equal(r.n_tokens, n);
        assert_int_equal(r.n_scored, n_windows * (CTX - 1 - CTX / 2));
        /* f16 in the cache against f32 in the batch */
        assert_true(fabs(r.nll - nll / (double)r.n_scored) < 5e-4);
        assert_true(fabs(r.perplexity - exp(r.nll)) < 1e-9);
        assert_true(r.perplexity_error > 0.0 && r.perplexity_error < r.perplexity);
    }
    opt.n_windows = 2;
    assert_int_equal(en_perplexity(model, text, strlen(text), &opt, &r, NULL), ENTRO_OK);
    assert_int_equal(r.n_windows, 2);
    opt.n_windows = 1000;
    assert_int_equal(en_perplexity(model, text, strlen(text), &opt, NULL, NULL), ENTRO_OK);
    en_model_close(model);
}

typedef struct watch {
    int n_calls, stop_at;
    entro_progress last;
} watch;

static bool look(void *user, const entro_progress *p)
{
    watch *w = user;
    w->last = *p;
    return ++w->n_calls != w->stop_at;
}

static void tells_of_progress_and_can_be_cancelled(void **state)
{
    (void)state;
    entro_model *model = test_open_shared(MODEL);
    watch w = {.stop_at = -1};
    entro_perplexity_options opt = options(32);
    opt.progress = look;
    opt.progress_user = &w;
    entro_perplexity_report r;
    assert_int_equal(en_perplexity(model, text, strlen(text), &opt, &r, NULL), ENTRO_OK);
    assert_true(w.n_calls >= 1);
    assert_int_equal(w.last.done, r.n_windows);
    assert_int_equal(w.last.total, r.n_windows);
    assert_string_equal(w.last.stage, "perplexity");
    assert_true(fabs(w.last.value - r.perplexity) < 1e-9);
    size_t before = en_memory_in_use();
    w = (watch){.stop_at = 1};
    assert_int_equal(en_perplexity(model, text, strlen(text), &opt, &r, NULL), ENTRO_ERR_CANCELLED);
    assert_int_equal(en_memory_in_use(), before);
    en_model_close(model);
}

static void refuse(const entro_model *model, entro_perplexity_options opt, const char *some_text,
                   entro_status status, const char *message)
{
    entro_error err = {0};
    entro_perplexity_report r;
    assert_int_equal(en_perplexity(model, some_text, strlen(some_text), &opt, &r, &err), status);
    assert_non_null(strstr(err.message, message));
}

static void refuses_short_texts_and_strange_windows(void **state)
{
    (void)state;
    entro_model *model = test_open_shared(MODEL);
    refuse(model, options(512), "Too short.", ENTRO_ERR_ARGUMENT, "one window needs 512");
    refuse(model, options(32), "", ENTRO_ERR_ARGUMENT, "one window needs 32");
    refuse(model, options(0), text, ENTRO_ERR_ARGUMENT, "windows of 0 tokens");
    refuse(model, options(UINT32_MAX), text, ENTRO_ERR_ARGUMENT, "windows of 4294967295");
    en_model_close(model);
    model = test_open_fixture("llama");
    refuse(model, options(32), text, ENTRO_ERR_NOT_FOUND, "no tokenizer");
    en_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_the_second_half_of_every_window),
        cmocka_unit_test(tells_of_progress_and_can_be_cancelled),
        cmocka_unit_test(refuses_short_texts_and_strange_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
