/*
 * tokenizer_support.h - small tokenizers for tests, made from metadata set by hand.
 */
#ifndef EN_TESTS_TOKENIZER_SUPPORT_H
#define EN_TESTS_TOKENIZER_SUPPORT_H

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
