/*
 * tokenizer.c - a tokenizer from metadata, and text to ids.
 *
 * encode:  text -> special tokens and stretches of ordinary text -> words -> merges -> ids
 */
#include <ctype.h>
#include <stdio.h>

#include "arch/arch.h"
#include "base/memory.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_class.h"

/* ---- from metadata ------------------------------------------------------------------------- */

/* A token id from metadata; 'fallback' when the key is absent, -1 when there is no such token. */
static int32_t id_key(const en_tokenizer *t, const en_meta *meta, const char *key, int32_t fallback)
{
    uint32_t id = en_meta_u32(meta, key, (uint32_t)fallback);
    return id < t->vocab.n ? (int32_t)id : -1;
}

static entro_status unknown_pretokenizer(en_span name, entro_error *err)
{
    char list[640] = "";
    size_t n = 0;
    for (size_t i = 0; en_pretokenizer_at(i) != NULL && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i > 0 ? ", " : "",
                              en_pretokenizer_at(i)->name);
    int shown = name.n < 40 ? (int)name.n : 40;
    return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                   "pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not known here; known are %s",
                   shown, name.p, list);
}

/* GPT-NeoX and OLMo files of the time before tokenizer.ggml.pre are known by architecture. */
static en_span pretokenizer_name(const en_meta *meta)
{
    en_span name = en_meta_string(meta, "tokenizer.ggml.pre");
    if (name.p != NULL)
        return name;
    en_span architecture = en_meta_string(meta, "general.architecture");
    const char *text = en_span_is(architecture, "gptneox") ? "gpt-neox" : "default";
    return (en_span){text, strlen(text)};
}

static entro_status choose_family(en_tokenizer *t, const en_meta *meta, en_vocab_kind *kind,
                                  entro_error *err)
{
    en_span model = en_meta_string(meta, "tokenizer.ggml.model");
    if (model.p == NULL || en_meta_get(meta, "tokenizer.ggml.tokens") == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the model has no tokenizer (keys tokenizer.ggml.model and "
                       "tokenizer.ggml.tokens); it can be inspected, but not run on text");
    if (en_span_is(model, "llama")) {
        *kind = EN_VOCAB_SENTENCEPIECE;
        snprintf(t->kind, sizeof t->kind, "SentencePiece BPE");
        return ENTRO_OK;
    }
    if (!en_span_is(model, "gpt2"))
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "tokenizer '%.*s' (tokenizer.ggml.model) is not known here; known are gpt2 "
                       "(byte-level BPE) and llama (SentencePiece BPE)",
                       model.n < 40 ? (int)model.n : 40, model.p);
    *kind = EN_VOCAB_BYTE_LEVEL;
    en_span name = pretokenizer_name(meta);
    t->pre = en_pretokenizer_find(name);
    if (t->pre == NULL)
        return unknown_pretokenizer(name, err);
    snprintf(t->kind, sizeof t->kind, "byte-level BPE (%s)", t->pre->name);
    return ENTRO_OK;
}

/* The texts by which models end an answer, whatever their metadata says. */
static const char *const end_texts[] = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<EOT>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|return|>",
    "<｜end▁of▁sentence｜>",
};

static void mark_end(en_tokenizer *t, int32_t id)
{
    if (id >= 0)
        t->vocab.flags[id] |= EN_TOKEN_ENDS;
}

static void mark_ends(en_tokenizer *t, const en_meta *meta)
{
    mark_end(t, t->eos);
    mark_end(t, id_key(t, meta, "tokenizer.ggml.eot_token_id", -1));
    mark_end(t, id_key(t, meta, "tokenizer.ggml.eom_token_id", -1));
    for (uint32_t i = 0; i < t->special.all.n; i++) {
        int32_t id = t->special.all.ids[i];
        for (size_t k = 0; k < sizeof end_texts / sizeof end_texts[0]; k++) {
            if (en_span_is(en_vocab_token(&t->vocab, id), end_texts[k]))
                mark_end(t, id);
        }
    }
}

static bool is_one_of(en_span text, const char *const *list)
{
    while (*list != NULL && !en_span_is(text, *list))
        list++;
    return *list != NULL;
}

/*
 * Which special tokens swallow white space next to them.  GGUF has no key for it; a folder's
 * tokenizer.json says so in entrollm.tokenizer.strip (one number a token: 1 left, 2 right), of
 * others the architecture is asked.
 */
static void mark_strips(en_tokenizer *t, const en_meta *meta)
{
    const en_meta_value *strips = en_meta_get(meta, "entrollm.tokenizer.strip");
    bool listed = strips != NULL && strips->is_array && strips->type != EN_META_STRING &&
                  strips->n == t->vocab.n;
    const en_arch *arch = en_arch_find(en_meta_string(meta, "general.architecture"));
    const char *const *keep = NULL;
    if (strips == NULL && t->vocab.kind == EN_VOCAB_SENTENCEPIECE && arch != NULL)
        keep = arch->keep_space;
    if (!listed && keep == NULL)
        return;
    for (uint32_t i = 0; i < t->special.all.n; i++) {
        int32_t id = t->special.all.ids[i];
        int64_t strip = 2;
        if (listed)
            strip = en_meta_array_int(strips, (uint64_t)id);
        else if (is_one_of(en_vocab_token(&t->vocab, id), keep))
            strip = 0;
        t->vocab.flags[id] |= (strip & 1 ? EN_TOKEN_LSTRIP : 0) | (strip & 2 ? EN_TOKEN_RSTRIP : 0);
    }
}

static void read_options(en_tokenizer *t, const en_meta *meta)
{
    bool pieces = t->vocab.kind == EN_VOCAB_SENTENCEPIECE;
    t->bos = id_key(t, meta, "tokenizer.ggml.bos_token_id", pieces ? 1 : -1);
    t->eos = id_key(t, meta, "tokenizer.ggml.eos_token_id", pieces ? 2 : -1);
    t->unknown = id_key(t, meta, "tokenizer.ggml.unknown_token_id", pieces ? 0 : -1);
    t->adds_bos =
        en_meta_bool(meta, "tokenizer.ggml.add_bos_token", pieces ? true : t->pre->adds_bos) &&
        t->bos >= 0;
    t->adds_eos = en_meta_bool(meta, "tokenizer.ggml.add_eos_token", false) && t->eos >= 0;
    t->adds_space = pieces && en_meta_bool(meta, "tokenizer.ggml.add_space_prefix", true);
    t->adds_space_once = en_meta_bool(meta, "entrollm.tokenizer.space_prefix_once", false);
    t->adds_space_if_missing =
        en_meta_bool(meta, "entrollm.tokenizer.space_prefix_if_missing", false);
    t->words_apart = pieces && en_sentencepiece_words_apart(&t->vocab);
    t->composes = !pieces && en_meta_bool(meta, "entrollm.tokenizer.nfc", t->pre->composes);
    t->merges.whole_words = !pieces && t->pre->whole_words;
    t->merges.unknown = pieces ? t->unknown : -1;
}

static entro_status load(en_tokenizer *t, const en_meta *meta, entro_error *err)
{
    en_vocab_kind kind;
    en_unicode_init();
    EN_TRY(choose_family(t, meta, &kind, err));
    EN_TRY(en_vocab_load(&t->vocab, meta, kind, err));
    EN_TRY(en_merges_load(&t->merges, &t->vocab, meta, err));
    EN_TRY(en_special_load(&t->special, &t->vocab, err));
    if (kind == EN_VOCAB_SENTENCEPIECE)
        EN_TRY(en_normalizer_load(&t->normalizer, meta, err));
    read_options(t, meta);
    mark_ends(t, meta);
    mark_strips(t, meta);
    return ENTRO_OK;
}

entro_status en_tokenizer_new(en_tokenizer **out, const en_meta *meta, entro_error *err)
{
    en_tokenizer *t = en_alloc_zero(1, sizeof *t);
    *out = NULL;
    if (t == NULL)
        return en_fail_memory(err);
    entro_status status = load(t, meta, err);
    if (status != ENTRO_OK) {
        en_tokenizer_free(t);
        return status;
    }
    *out = t;
    return ENTRO_OK;
}

void en_tokenizer_free(en_tokenizer *t)
{
    if (t == NULL)
        return;
    en_normalizer_free(&t->normalizer);
    en_special_free(&t->special);
    en_merges_free(&t->merges);
    en_vocab_free(&t->vocab);
    en_free(t);
}

/* ---- what it says about itself -------------------------------------------------------------- */

uint32_t en_tokenizer_n_vocab(const en_tokenizer *t)
{
    return t->vocab.n;
}

const char *en_tokenizer_kind(const en_tokenizer *t)
{
    return t->kind;
}

int32_t en_tokenizer_bos(const en_tokenizer *t)
{
    return t->bos;
}

int32_t en_tokenizer_eos(const en_tokenizer *t)
{
    return t->eos;
}

bool en_tokenizer_adds_bos(const en_tokenizer *t)
{
    return t->adds_bos;
}

bool en_tokenizer_ends(const en_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.n && (t->vocab.flags[id] & EN_TOKEN_ENDS) != 0;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* Where the white space that ends text[from, n) begins. */
static size_t trim_right(const char *text, size_t from, size_t n)
{
    size_t end = from, length;
    for (size_t i = from; i < n; i += length) {
        if (en_class_at(text + i, n - i, &length) != EN_CLASS_SPACE)
            end = i + length;
    }
    return end;
}

static size_t skip_space(const char *text, size_t n, size_t i)
{
    size_t length;
    while (i < n && en_class_at(text + i, n - i, &length) == EN_CLASS_SPACE)
        i += length;
    return i;
}

static entro_status encode_plain(const en_tokenizer *t, en_merge_scratch *scratch, const char *p,
                                 size_t n, bool at_start, en_id_sink *sink, entro_error *err)
{
    if (n == 0)
        return ENTRO_OK;
    if (t->vocab.kind == EN_VOCAB_SENTENCEPIECE)
        return en_sentencepiece_encode(t, scratch, p, n, at_start, sink, err);
    return en_byte_level_encode(t, scratch, p, n, sink, err);
}

static entro_status encode_text(const en_tokenizer *t, en_merge_scratch *scratch, const char *text,
                                size_t n, bool parse_special, en_id_sink *sink, entro_error *err)
{
    for (size_t i = 0; i < n;) {
        int32_t id;
        size_t found = en_special_find(&t->special, parse_special, text, n, i, &id);
        unsigned flags = id >= 0 ? t->vocab.flags[id] : 0;
        size_t end = flags & EN_TOKEN_LSTRIP ? trim_right(text, i, found) : found;
        EN_TRY(encode_plain(t, scratch, text + i, end - i, i == 0, sink, err));
        i = found;
        if (id >= 0) {
            en_id_sink_put(sink, id);
            i += en_vocab_token(&t->vocab, id).n;
        }
        if (flags & EN_TOKEN_RSTRIP)
            i = skip_space(text, n, i);
    }
    return ENTRO_OK;
}

entro_status en_tokenizer_encode(const en_tokenizer *t, const char *text, size_t n_text,
                                 bool add_special, bool parse_special, int32_t *ids, size_t n_max,
                                 size_t *n_out, entro_error *err)
{
    en_merge_scratch scratch = {0};
    en_id_sink sink = {.ids = ids, .n_max = n_max};
    *n_out = 0;
    if (n_text > 1u << 30)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "a text of %zu bytes is longer than the 1 GiB taken at a time; split it",
                       n_text);
    if (add_special && t->adds_bos)
        en_id_sink_put(&sink, t->bos);
    entro_status status = encode_text(t, &scratch, text, n_text, parse_special, &sink, err);
    en_merge_scratch_free(&scratch);
    if (status != ENTRO_OK)
        return status;
    if (add_special && t->adds_eos)
        en_id_sink_put(&sink, t->eos);
    *n_out = sink.n;
    return ENTRO_OK;
}
