/* test_text_stream.c - ids to text, whole characters only. */
#include "tokenizer_support.h"

/* 0..3: the bytes of U+1F600 in byte-level disguise, 4: a, 5: control, 6: user-defined, 7: " b" */
static const char *const byte_tokens[] = {"\xC3\xB0",
                                          "\xC5\x81",
                                          "\xC4\xBA",
                                          "\xC4\xA2",
                                          "a",
                                          "<|end|>",
                                          "<user>",
                                          "\xC4\xA0"
                                          "b"};
static const int32_t byte_types[] = {1, 1, 1, 1, 1, 3, 4, 1};
static const char *const no_merges[] = {"a a"};

static en_tokenizer *byte_tokenizer(en_meta **meta)
{
    en_tokenizer *t;
    *meta = new_test_meta("gpt2", "gpt-2");
    set_strings(*meta, "tokenizer.ggml.tokens", byte_tokens, 8);
    set_numbers(*meta, "tokenizer.ggml.token_type", EN_META_I32, byte_types, 8);
    set_strings(*meta, "tokenizer.ggml.merges", no_merges, 1);
    assert_int_equal(en_tokenizer_new(&t, *meta, NULL), ENTRO_OK);
    return t;
}

static void check_put(en_text_stream *s, int32_t id, const char *want)
{
    const char *text;
    size_t n;
    assert_int_equal(en_text_stream_put(s, id, &text, &n, NULL), ENTRO_OK);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(text, want, n);
}

static void check_finish(en_text_stream *s, const char *want)
{
    const char *text;
    size_t n;
    assert_int_equal(en_text_stream_finish(s, &text, &n, NULL), ENTRO_OK);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(text, want, n);
}

static void characters_come_out_whole(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = byte_tokenizer(&meta);
    en_text_stream *s;
    assert_int_equal(en_text_stream_new(&s, t, false, NULL), ENTRO_OK);
    check_put(s, 0, "");
    check_put(s, 1, "");
    check_put(s, 5, ""); /* a hidden token does not break a character */
    check_put(s, 2, "");
    check_put(s, 3, "\xF0\x9F\x98\x80");
    check_put(s, 7, " b");
    check_put(s, 0, "");
    check_put(s, 4,
              "\xEF\xBF\xBD"
              "a");
    check_put(s, 0, "");
    check_put(s, 1, "");
    check_put(s, 0, "\xEF\xBF\xBD");
    check_finish(s, "\xEF\xBF\xBD");
    check_finish(s, "");
    check_put(s, 2, "\xEF\xBF\xBD");
    en_text_stream_free(s);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void control_tokens_are_shown_on_demand(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = byte_tokenizer(&meta);
    en_text_stream *s;
    for (int show = 0; show < 2; show++) {
        assert_int_equal(en_text_stream_new(&s, t, show, NULL), ENTRO_OK);
        check_put(s, 5, show ? "<|end|>" : "");
        check_put(s, 6, "<user>");
        check_finish(s, "");
        en_text_stream_free(s);
    }
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void refuses_ids_out_of_range(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = byte_tokenizer(&meta);
    en_text_stream *s;
    entro_error err = {0};
    const char *text;
    size_t n;
    assert_int_equal(en_text_stream_new(&s, t, true, NULL), ENTRO_OK);
    assert_int_equal(en_text_stream_put(s, 8, &text, &n, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "token 8"));
    assert_int_equal(en_text_stream_put(s, -1, &text, &n, NULL), ENTRO_ERR_ARGUMENT);
    en_text_stream_free(s);
    en_text_stream_free(NULL);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void the_added_space_goes_after_bos_only(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<unk>",
                                         "<s>",
                                         "</s>",
                                         "<0xC3>",
                                         "<0xA9>",
                                         "\xE2\x96\x81"
                                         "a",
                                         "b"};
    static const int32_t types[] = {2, 3, 3, 6, 6, 1, 1};
    static const float scores[7] = {0};
    en_meta *meta = new_test_meta("llama", NULL);
    set_strings(meta, "tokenizer.ggml.tokens", tokens, 7);
    set_numbers(meta, "tokenizer.ggml.token_type", EN_META_I32, types, 7);
    set_numbers(meta, "tokenizer.ggml.scores", EN_META_F32, scores, 7);
    en_tokenizer *t;
    en_text_stream *s;
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    assert_int_equal(en_text_stream_new(&s, t, false, NULL), ENTRO_OK);
    check_put(s, 1, "");
    check_put(s, 5, "a");
    check_put(s, 5, " a");
    check_put(s, 3, "");
    check_put(s, 4, "\xC3\xA9");
    check_finish(s, "");
    check_put(s, 5, " a");
    en_text_stream_free(s);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_out_whole),
        cmocka_unit_test(control_tokens_are_shown_on_demand),
        cmocka_unit_test(refuses_ids_out_of_range),
        cmocka_unit_test(the_added_space_goes_after_bos_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
