/* test_calib_beginnings.c - what calibration text of a model's own begins with. */
#include "calib/calib_beginnings.h"

#include "tokenizer_support.h"

#include "base/memory.h"

enum { N_BYTES = 256, BOS = N_BYTES, VOCAB = N_BYTES + 1 };

static const char chatml[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}...<|im_end|>{% endfor %}";

static en_tokenizer *make_tokenizer(en_meta **meta, bool add_bos, const char *template)
{
    en_tokenizer *t = new_byte_tokenizer(meta, 0, N_BYTES, add_bos);
    if (template != NULL)
        assert_int_equal(en_meta_set_string(*meta, "tokenizer.chat_template", template, NULL),
                         ENTRO_OK);
    return t;
}

/* The beginning as text; the byte tokenizer's tokens are bytes, the space in front is its own. */
static const char *text_of(en_calib_beginning b)
{
    static char text[1024];
    assert_in_range(b.n, 0, sizeof text - 1);
    for (size_t i = 0; i < b.n; i++)
        text[i] = (char)b.tokens[i];
    text[b.n] = 0;
    return text;
}

static void texts_take_turns(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true, chatml);
    en_calib_beginnings b;
    assert_int_equal(en_calib_beginnings_new(&b, t, meta, VOCAB, NULL), ENTRO_OK);
    assert_int_equal(b.first, BOS);
    for (uint64_t i = 0; i < 400; i++) {
        en_calib_beginning at = en_calib_beginning_of(&b, i);
        bool asks = strstr(text_of(at), "<|im_start|>user\n") != NULL &&
                    strstr(text_of(at), "<|im_end|>\n<|im_start|>assistant\n") != NULL;
        assert_int_equal(asks, i % 2 == 0);
        assert_int_equal(at.n == 0, i % 4 == 3);
        assert_int_equal(at.temperature < 1.0f, asks);
        /* What follows a lone space is unlike other text. */
        assert_true(at.n == 0 || at.tokens[at.n - 1] != ' ');
    }
    en_calib_beginnings_free(&b);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void each_of_a_list_is_used_before_it_comes_again(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true, chatml);
    en_calib_beginnings b;
    assert_int_equal(en_calib_beginnings_new(&b, t, meta, VOCAB, NULL), ENTRO_OK);
    const int32_t *first_request = en_calib_beginning_of(&b, 0).tokens;
    const int32_t *first_opening = en_calib_beginning_of(&b, 1).tokens;
    for (uint64_t i = 1; i < b.n_requests; i++)
        assert_ptr_not_equal(en_calib_beginning_of(&b, 2 * i).tokens, first_request);
    assert_ptr_equal(en_calib_beginning_of(&b, 2 * b.n_requests).tokens, first_request);
    for (uint64_t i = 1; i < b.n_openings; i++)
        assert_ptr_not_equal(en_calib_beginning_of(&b, 4 * i + 1).tokens, first_opening);
    assert_ptr_equal(en_calib_beginning_of(&b, 4 * b.n_openings + 1).tokens, first_opening);
    en_calib_beginnings_free(&b);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void models_without_a_known_template_get_openings(void **state)
{
    (void)state;
    static const char *const templates[] = {NULL, "{{ something else }}"};
    for (size_t k = 0; k < 3; k++) {
        en_meta *meta;
        en_tokenizer *t = make_tokenizer(&meta, true, k < 2 ? templates[k] : chatml);
        en_calib_beginnings b;
        assert_int_equal(en_calib_beginnings_new(&b, t, k < 2 ? meta : NULL, VOCAB, NULL),
                         ENTRO_OK);
        assert_int_equal(b.n_requests, 0);
        for (uint64_t i = 0; i < 400; i++) {
            en_calib_beginning at = en_calib_beginning_of(&b, i);
            assert_int_equal(at.n == 0, i % 4 == 3);
            assert_true(at.temperature == 1.0f);
        }
        assert_ptr_not_equal(en_calib_beginning_of(&b, 2).tokens,
                             en_calib_beginning_of(&b, 4).tokens);
        en_calib_beginnings_free(&b);
        en_tokenizer_free(t);
        en_meta_free(meta);
    }
}

/* Two control tokens, the first of which the metadata calls BOS, and two letters; no BOS is added. */
static en_tokenizer *make_small_tokenizer(en_meta **out, const char *second)
{
    const char *texts[] = {"<|im_start|>", second, "a", "b"};
    static const int32_t types[] = {3, 3, 1, 1};
    static const float scores[4] = {0};
    en_meta *meta = new_test_meta("llama", NULL);
    en_tokenizer *t;
    set_strings(meta, "tokenizer.ggml.tokens", texts, 4);
    set_numbers(meta, "tokenizer.ggml.token_type", EN_META_I32, types, 4);
    set_numbers(meta, "tokenizer.ggml.scores", EN_META_F32, scores, 4);
    en_meta_set_u32(meta, "tokenizer.ggml.bos_token_id", 0, NULL);
    en_meta_set_u32(meta, "tokenizer.ggml.eos_token_id", 3, NULL);
    en_meta_set_u32(meta, "tokenizer.ggml.unknown_token_id", 2, NULL);
    en_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", false, NULL);
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    *out = meta;
    return t;
}

static void the_mark_between_texts_comes_first(void **state)
{
    (void)state;
    static const char *const marks[] = {"<|other|>", "<|endoftext|>"};
    for (int has_mark = 0; has_mark < 2; has_mark++) {
        en_meta *meta;
        en_tokenizer *t = make_small_tokenizer(&meta, marks[has_mark]);
        en_calib_beginnings b;
        assert_int_equal(en_calib_beginnings_new(&b, t, meta, 4, NULL), ENTRO_OK);
        assert_int_equal(b.first, has_mark);
        en_calib_beginnings_free(&b);
        en_tokenizer_free(t);
        en_meta_free(meta);
    }
}

/* A tokenizer may know more tokens than the model has rows: here letters, which all beginnings are of. */
static void tokens_stay_within_the_model(void **state)
{
    (void)state;
    entro_error err = {0};
    en_meta *meta;
    en_tokenizer *t = make_small_tokenizer(&meta, "<|endoftext|>");
    en_calib_beginnings b;
    assert_int_equal(en_calib_beginnings_new(&b, t, meta, 4, NULL), ENTRO_OK);
    assert_true(en_calib_beginning_of(&b, 0).n > 0);
    en_calib_beginnings_free(&b);
    assert_int_equal(en_calib_beginnings_new(&b, t, meta, 2, NULL), ENTRO_OK);
    for (uint64_t i = 0; i < 400; i++)
        assert_int_equal(en_calib_beginning_of(&b, i).n, 0);
    en_calib_beginnings_free(&b);
    assert_int_equal(en_calib_beginnings_new(&b, t, meta, 1, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "is 1, the model has 1 tokens"));
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true, chatml);
    size_t n_before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        en_calib_beginnings b;
        assert_in_range(i, 0, 5000);
        en_memory_fail_at(i);
        status = en_calib_beginnings_new(&b, t, meta, VOCAB, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        if (status == ENTRO_OK)
            en_calib_beginnings_free(&b);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    en_tokenizer_free(t);
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_take_turns),
        cmocka_unit_test(each_of_a_list_is_used_before_it_comes_again),
        cmocka_unit_test(models_without_a_known_template_get_openings),
        cmocka_unit_test(the_mark_between_texts_comes_first),
        cmocka_unit_test(tokens_stay_within_the_model),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
