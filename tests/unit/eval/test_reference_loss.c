/*
 * Two small trained models against losses computed elsewhere in f32: the first 100 stories, BOS in
 * front, each cut to 256 ids, all predicted tokens scored.
 *
 * stories260k: shared/data/README.md.  tinystories-656k: transformers 5.23 with the ids of tokenizers
 * (18634 tokens, 3.24190); the README's 18814 and 3.5791 come from other ids for the same text.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "engine/engine.h"

enum { N_STORIES = 100, N_MAX = 256 };

typedef struct total {
    double nll;
    uint64_t n;
} total;

static void score_story(const entro_model *model, entro_session *s, const char *text, size_t n_text,
                        float *logits, total *sum)
{
    int32_t ids[4096];
    size_t n;
    ids[0] = en_tokenizer_bos(model->tokenizer);
    assert_int_equal(
        en_tokenizer_encode(model->tokenizer, text, n_text, false, false, ids + 1, 4095, &n, NULL),
        ENTRO_OK);
    n = n + 1 < N_MAX ? n + 1 : N_MAX;
    en_session_truncate(s, 0);
    assert_int_equal(en_session_decode_all(s, ids, n, logits, NULL), ENTRO_OK);
    uint32_t n_vocab = en_model_n_vocab(model);
    for (size_t t = 0; t + 1 < n; t++) {
        const float *row = logits + t * n_vocab;
        double mass = 0.0;
        for (uint32_t i = 0; i < n_vocab; i++)
            mass += exp((double)row[i]);
        sum->nll += log(mass) - row[ids[t + 1]];
        sum->n++;
    }
}

static void check(const char *path, uint64_t want_n, double want_loss)
{
    json_t *stories =
        json_load_file(TEST_SHARED "/data/eval/calibration/tinystories_1000.json", 0, NULL);
    if (stories == NULL || !en_path_exists(path)) {
        json_decref(stories);
        skip();
    }
    entro_model *model = NULL;
    entro_error err = {0};
    if (en_model_open(&model, path, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    entro_session_options opt = {.struct_size = sizeof opt, .n_ctx = N_MAX};
    entro_session *s = NULL;
    assert_int_equal(en_session_open(&s, model, &opt, NULL), ENTRO_OK);
    float *logits = en_alloc(N_MAX, en_model_n_vocab(model) * sizeof *logits);
    total sum = {0};
    for (size_t i = 0; i < N_STORIES; i++) {
        const json_t *story = json_array_get(stories, i);
        score_story(model, s, json_string_value(story), json_string_length(story), logits, &sum);
    }
    print_message("%llu tokens, loss %.4f\n", (unsigned long long)sum.n, sum.nll / (double)sum.n);
    assert_int_equal(sum.n, want_n);
    assert_true(fabs(sum.nll / (double)sum.n - want_loss) < 2e-4);
    en_free(logits);
    en_session_close(s);
    en_model_close(model);
    json_decref(stories);
}

static void stories260k_from_gguf(void **state)
{
    (void)state;
    check(TEST_SHARED "/data/models/stories260k/stories260K.gguf", 25367, 1.5990);
}

static void tinystories_656k_from_a_folder(void **state)
{
    (void)state;
    check(TEST_SHARED "/data/models/tinystories-656k", 18634, 3.2419);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories260k_from_gguf),
        cmocka_unit_test(tinystories_656k_from_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
