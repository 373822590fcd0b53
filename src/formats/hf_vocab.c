/* hf_vocab.c - see hf_vocab.h. */
#include "formats/hf_vocab.h"

#include <stdio.h>

#include "base/memory.h"

/* What converters give to tokens that never come out of a merge. */
static const float score_of_unused = -10000.0f, score_of_added = -1000.0f;

entro_status en_hf_vocab_new(en_hf_vocab *v, uint32_t n, entro_error *err)
{
    *v = (en_hf_vocab){.n = n};
    if (n > EN_HF_MAX_VOCAB)
        return en_fail(err, ENTRO_ERR_FORMAT, "vocabulary of %u tokens, limit %d", n,
                       EN_HF_MAX_VOCAB);
    v->texts = en_alloc_zero(n, sizeof *v->texts);
    v->scores = en_alloc(n, sizeof *v->scores);
    v->kinds = en_alloc(n, sizeof *v->kinds);
    if (v->texts == NULL || v->scores == NULL || v->kinds == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        v->scores[i] = score_of_unused;
        v->kinds[i] = EN_HF_TOKEN_UNUSED;
    }
    return ENTRO_OK;
}

void en_hf_vocab_free(en_hf_vocab *v)
{
    for (size_t i = 0; i < v->n_owned; i++)
        en_free(v->owned[i]);
    en_free(v->owned);
    en_free(v->texts);
    en_free(v->scores);
    en_free(v->kinds);
    *v = (en_hf_vocab){0};
}

void en_hf_vocab_set(en_hf_vocab *v, int64_t id, en_span text, en_hf_token_kind kind, float score)
{
    if (id < 0 || id >= v->n)
        return;
    v->texts[id] = text;
    v->kinds[id] = kind;
    v->scores[id] = score;
}

static bool starts_and_ends(en_span text, const char *start, const char *end)
{
    size_t n_start = strlen(start), n_end = strlen(end);
    return text.n >= n_start + n_end && memcmp(text.p, start, n_start) == 0 &&
           memcmp(text.p + text.n - n_end, end, n_end) == 0;
}

/* Publishers forget to mark some control tokens as special. */
static bool looks_special(en_span text)
{
    return starts_and_ends(text, "<|", "|>") || starts_and_ends(text, "<｜", "｜>") ||
           starts_and_ends(text, "<unused", ">") || en_span_is(text, "<pad>") ||
           en_span_is(text, "<mask>");
}

/* A copy with a space for each ▁ (U+2581). */
static entro_status unescape_spaces(en_hf_vocab *v, en_span *text, entro_error *err)
{
    if (memmem(text->p, text->n, "▁", 3) == NULL)
        return ENTRO_OK;
    char *copy = en_strndup(text->p, text->n);
    if (copy == NULL || !en_grow((void **)&v->owned, &v->cap_owned, v->n_owned + 1, EN_HF_MAX_VOCAB,
                                 sizeof *v->owned)) {
        en_free(copy);
        return en_fail_memory(err);
    }
    v->owned[v->n_owned++] = copy;
    size_t n = 0;
    for (size_t i = 0; i < text->n;) {
        bool space = text->n - i >= 3 && memcmp(text->p + i, "▁", 3) == 0;
        copy[n++] = space ? ' ' : text->p[i];
        i += space ? 3 : 1;
    }
    *text = (en_span){copy, n};
    return ENTRO_OK;
}

entro_status en_hf_vocab_add(en_hf_vocab *v, int64_t id, en_span text, bool special,
                             entro_error *err)
{
    if (id < 0 || id >= v->n)
        return ENTRO_OK;
    en_hf_token_kind kind = special || looks_special(text) ? EN_HF_TOKEN_CONTROL : EN_HF_TOKEN_USER;
    if (v->kinds[id] == EN_HF_TOKEN_UNKNOWN)
        kind = EN_HF_TOKEN_UNKNOWN;
    if (kind == EN_HF_TOKEN_USER)
        EN_TRY(unescape_spaces(v, &text, err));
    en_hf_vocab_set(v, id, text, kind, score_of_added);
    return ENTRO_OK;
}

int64_t en_hf_vocab_find(const en_hf_vocab *v, en_span text)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (v->kinds[i] != EN_HF_TOKEN_UNUSED && v->texts[i].n == text.n && text.n > 0 &&
            memcmp(v->texts[i].p, text.p, text.n) == 0)
            return i;
    return -1;
}

bool en_hf_is_byte_token(en_span text)
{
    static const char hex[] = "0123456789ABCDEF";
    return text.n == 6 && memcmp(text.p, "<0x", 3) == 0 && text.p[5] == '>' &&
           memchr(hex, text.p[3], 16) != NULL && memchr(hex, text.p[4], 16) != NULL;
}

/* Names for ids without a token, "[PAD12]". */
static entro_status name_the_unused(en_hf_vocab *v, char **names, entro_error *err)
{
    enum { NAME_BYTES = 20 };
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < v->n; i++)
        n += v->texts[i].p == NULL;
    *names = en_alloc(n, NAME_BYTES);
    if (*names == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->texts[i].p != NULL)
            continue;
        char *name = *names + (size_t)k++ * NAME_BYTES;
        v->texts[i] = (en_span){name, (size_t)snprintf(name, NAME_BYTES, "[PAD%u]", i)};
    }
    return ENTRO_OK;
}

entro_status en_hf_vocab_write(en_hf_vocab *v, en_meta *meta, bool with_scores, entro_error *err)
{
    char *names;
    EN_TRY(name_the_unused(v, &names, err));
    en_meta_value texts = {
        .type = EN_META_STRING, .is_array = true, .n = v->n, .strings = v->texts};
    en_meta_value scores = {
        .type = EN_META_F32, .is_array = true, .n = v->n, .data = (const uint8_t *)v->scores};
    en_meta_value kinds = {
        .type = EN_META_I32, .is_array = true, .n = v->n, .data = (const uint8_t *)v->kinds};
    entro_status status = en_meta_set(meta, "tokenizer.ggml.tokens", &texts, err);
    if (status == ENTRO_OK && with_scores)
        status = en_meta_set(meta, "tokenizer.ggml.scores", &scores, err);
    if (status == ENTRO_OK)
        status = en_meta_set(meta, "tokenizer.ggml.token_type", &kinds, err);
    for (uint32_t i = 0; i < v->n; i++) /* the names go now */
        if (v->kinds[i] == EN_HF_TOKEN_UNUSED)
            v->texts[i] = (en_span){NULL, 0};
    en_free(names);
    return status;
}
