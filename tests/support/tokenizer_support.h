/*
 * tokenizer_support.h - small tokenizers for tests, made from metadata set by hand.
 */
#ifndef EN_TESTS_TOKENIZER_SUPPORT_H
#define EN_TESTS_TOKENIZER_SUPPORT_H

#include <stdio.h>
#include <string.h>

#include "text/tokenizer.h"
#include "test_support.h"

enum { MAX_TEST_TOKENS = 512 };

static inline void set_strings(en_meta *meta, const char *key, const char *const *texts, size_t n)
{
    en_span spans[MAX_TEST_TOKENS];
    for (size_t i = 0; i < n; i++)
        spans[i] = (en_span){texts[i], strlen(texts[i])};
    en_meta_value value = {.type = EN_META_STRING, .is_array = true, .n = n, .strings = spans};
    assert_int_equal(en_meta_set(meta, key, &value, NULL), ENTRO_OK);
}

static inline void set_numbers(en_meta *meta, const char *key, en_meta_type type, const void *data,
                               size_t n)
{
    en_meta_value value = {.type = type, .is_array = true, .n = n, .data = data};
    assert_int_equal(en_meta_set(meta, key, &value, NULL), ENTRO_OK);
}

static inline en_meta *new_test_meta(const char *model, const char *pre)
{
    en_meta *meta;
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    en_meta_set_string(meta, "tokenizer.ggml.model", model, NULL);
    if (pre != NULL)
        en_meta_set_string(meta, "tokenizer.ggml.pre", pre, NULL);
    return meta;
}

/* Tokens of the n_bytes bytes from 'first' on, and BOS behind them. */
static inline en_tokenizer *new_byte_tokenizer(en_meta **meta, unsigned first, unsigned n_bytes,
                                               bool add_bos)
{
    char texts[MAX_TEST_TOKENS][8];
    const char *pointers[MAX_TEST_TOKENS];
    int32_t types[MAX_TEST_TOKENS];
    float scores[MAX_TEST_TOKENS] = {0};
    for (unsigned i = 0; i <= n_bytes; i++) {
        snprintf(texts[i], sizeof texts[i], i < n_bytes ? "<0x%02X>" : "<s>", first + i);
        pointers[i] = texts[i];
        types[i] = i < n_bytes ? 6 : 3;
    }
    *meta = new_test_meta("llama", NULL);
    set_strings(*meta, "tokenizer.ggml.tokens", pointers, n_bytes + 1);
    set_numbers(*meta, "tokenizer.ggml.token_type", EN_META_I32, types, n_bytes + 1);
    set_numbers(*meta, "tokenizer.ggml.scores", EN_META_F32, scores, n_bytes + 1);
    en_meta_set_u32(*meta, "tokenizer.ggml.bos_token_id", n_bytes, NULL);
    en_meta_set_u32(*meta, "tokenizer.ggml.unknown_token_id", 0, NULL);
    en_meta_set_bool(*meta, "tokenizer.ggml.add_bos_token", add_bos, NULL);
    en_meta_set_bool(*meta, "tokenizer.ggml.add_space_prefix", false, NULL);
    en_tokenizer *t;
    assert_int_equal(en_tokenizer_new(&t, *meta, NULL), ENTRO_OK);
    return t;
}

/* Encodes a terminated text; returns the number of ids. */
static inline size_t encode_text(const en_tokenizer *t, const char *text, bool add_special,
                                 bool parse_special, int32_t *ids, size_t n_max)
{
    size_t n = 0;
    assert_int_equal(en_tokenizer_encode(t, text, strlen(text), add_special, parse_special, ids,
                                         n_max, &n, NULL),
                     ENTRO_OK);
    return n;
}

#endif
