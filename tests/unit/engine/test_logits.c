/*
 * Logits of tiny random models of every architecture equal those of Hugging Face transformers
 * (fixtures by scripts/make_model_fixtures.py).
 *
 * The error is measured against the largest logit.  A text that fits into one batch is computed in
 * f32 throughout, as transformers does; across batches the KV cache rounds keys and values to f16,
 * which these models, made to attend sharply, feel more than trained ones.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "session_support.h"

#define TOLERANCE_F32 1e-5
#define TOLERANCE_F16 1e-3

typedef struct expected {
    char *bytes;
    uint32_t n_tokens, n_vocab, n_ctx;
    int32_t *tokens;
    const char *logits; /* maybe unaligned */
} expected;

static expected load_expected(const char *name, unsigned n_ctx)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s/expected-%u.bin", name, n_ctx);
    expected e = {0};
    size_t n;
    entro_error err = {0};
    if (en_file_read(&e.bytes, &n, path, 1 << 20, &err) != ENTRO_OK)
        fail_msg("%s: %s", path, err.message);
    en_reader r = en_reader_of(e.bytes, n);
    e.n_tokens = en_reader_u32(&r);
    e.n_vocab = en_reader_u32(&r);
    e.n_ctx = en_reader_u32(&r);
    assert_int_equal(n, 12 + e.n_tokens * 4 + (size_t)e.n_tokens * e.n_vocab * 4);
    e.tokens = (int32_t *)(e.bytes + 12);
    e.logits = e.bytes + 12 + e.n_tokens * 4;
    return e;
}

/* Largest difference relative to the largest logit. */
static double compare(const expected *e, const float *logits)
{
    double worst = 0.0, largest = 0.0;
    for (size_t i = 0; i < (size_t)e->n_tokens * e->n_vocab; i++) {
        double want = en_load_f32(e->logits + 4 * i);
        worst = fmax(worst, fabs(want - logits[i]));
        largest = fmax(largest, fabs(want));
        assert_false(isnan(logits[i]));
    }
    return worst / largest;
}

static void check_model(const char *name, unsigned n_ctx)
{
    expected e = load_expected(name, n_ctx);
    entro_model *model = test_open_fixture(name);
    assert_int_equal(en_model_n_vocab(model), e.n_vocab);
    float *logits = en_alloc((size_t)e.n_tokens * e.n_vocab, sizeof *logits);
    static const uint32_t batches[] = {128, 7, 1}; /* whole, across batches, token by token */
    for (size_t b = 0; b < 3; b++) {
        entro_session *s = test_open_session(model, e.n_ctx, 2, batches[b]);
        entro_error err = {0};
        if (en_session_decode_all(s, e.tokens, e.n_tokens, logits, &err) != ENTRO_OK)
            fail_msg("%s: %s", err.where, err.message);
        double error = compare(&e, logits);
        print_message("%-18s n_ctx %3u batch %3u: relative error %.2e\n", name, n_ctx, batches[b],
                      error);
        assert_true(error < (batches[b] >= e.n_tokens ? TOLERANCE_F32 : TOLERANCE_F16));
        en_session_close(s);
    }
    en_free(logits);
    en_model_close(model);
    en_free(e.bytes);
}

static void equals_transformers_on_llama(void **state)
{
    (void)state;
    check_model("llama", 256);
}

static void equals_transformers_on_llama_with_biases_and_shards(void **state)
{
    (void)state;
    check_model("llama-bias", 64);
}

static void equals_transformers_on_llama_with_linear_rope(void **state)
{
    (void)state;
    check_model("llama-linear-rope", 64);
}

static void equals_transformers_on_llama3_rope(void **state)
{
    (void)state;
    check_model("llama3-rope", 256);
}

static void equals_transformers_on_mistral_with_window(void **state)
{
    (void)state;
    check_model("mistral-window", 256);
}

static void equals_transformers_on_phi3(void **state)
{
    (void)state;
    check_model("phi3", 256);
}

static void equals_transformers_on_phi3_within_original_context(void **state)
{
    (void)state;
    check_model("phi3-longrope", 32);
}

static void equals_transformers_on_phi3_beyond_original_context(void **state)
{
    (void)state;
    check_model("phi3-longrope", 128);
}

static void equals_transformers_on_qwen2(void **state)
{
    (void)state;
    check_model("qwen2", 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers_on_llama),
        cmocka_unit_test(equals_transformers_on_llama_with_biases_and_shards),
        cmocka_unit_test(equals_transformers_on_llama_with_linear_rope),
        cmocka_unit_test(equals_transformers_on_llama3_rope),
        cmocka_unit_test(equals_transformers_on_mistral_with_window),
        cmocka_unit_test(equals_transformers_on_phi3),
        cmocka_unit_test(equals_transformers_on_phi3_within_original_context),
        cmocka_unit_test(equals_transformers_on_phi3_beyond_original_context),
        cmocka_unit_test(equals_transformers_on_qwen2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
