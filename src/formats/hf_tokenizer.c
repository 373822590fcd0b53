/* hf_tokenizer.c - see hf_tokenizer.h. */
#include "formats/hf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/hf_bpe.h"
#include "formats/hf_normalizer.h"
#include "formats/sentencepiece.h"

enum { MAX_TOKENIZER_FILE = 256 << 20 };

typedef struct building {
    const en_hf_tokenizer_files *files;
    en_hf_vocab vocab;
    en_meta *meta;
    entro_error *err;
    bool spm;              /* GGUF's "llama"; else "gpt2" */
    bool space_prefix;     /* a space is put in front of a text */
    bool space_once;       /* ... of the first stretch of text only */
    bool space_if_missing; /* ... and only of one that does not start with a space */
    bool add_bos, add_eos;
    int64_t bos, eos, unk, pad; /* of tokenizer.model; -1: none */
} building;

static entro_status set_bool(building *b, const char *key, bool value)
{
    return en_meta_set_bool(b->meta, key, value, b->err);
}

/* ---- vocabulary -------------------------------------------------------------------------------- */

static entro_status read_sentencepiece(building *b, uint32_t n_vocab)
{
    en_sentencepiece sp;
    en_span file = b->files->sentencepiece;
    EN_TRY(en_sentencepiece_parse(&sp, (const uint8_t *)file.p, file.n, b->err));
    uint32_t n = n_vocab > 0 ? n_vocab : (uint32_t)sp.n_pieces;
    entro_status status = en_hf_vocab_new(&b->vocab, n, b->err);
    for (size_t i = 0; status == ENTRO_OK && i < sp.n_pieces; i++)
        en_hf_vocab_set(&b->vocab, (int64_t)i, sp.pieces[i].text, sp.pieces[i].kind,
                        sp.pieces[i].score);
    b->spm = b->add_bos = true;
    b->space_prefix = sp.add_dummy_prefix;
    b->bos = sp.bos_id;
    b->eos = sp.eos_id;
    b->unk = sp.unk_id;
    b->pad = sp.pad_id;
    if (status == ENTRO_OK)
        status = en_meta_set_string(b->meta, "tokenizer.ggml.model", "llama", b->err);
    if (status == ENTRO_OK)
        status = en_meta_set_string(b->meta, "tokenizer.ggml.pre", "default", b->err);
    if (status == ENTRO_OK && sp.remove_extra_whitespaces)
        status = set_bool(b, "tokenizer.ggml.remove_extra_whitespaces", true);
    en_meta_value map = {.type = EN_META_U8,
                         .is_array = true,
                         .n = sp.charsmap.n,
                         .data = (const uint8_t *)sp.charsmap.p};
    if (status == ENTRO_OK && map.n > 0)
        status = en_meta_set(b->meta, "tokenizer.ggml.precompiled_charsmap", &map, b->err);
    en_sentencepiece_free(&sp);
    return status;
}

/* Where a normalizer or pre-tokenizer puts a "▁" or space in front: nowhere (as it was), of every
 * stretch of text between special tokens, or of the first one. */
static void read_prefix(building *b, const en_json_node *step)
{
    const en_json_node *type = en_json_get(step, "type");
    const en_json_node *scheme = en_json_get(step, "prepend_scheme");
    bool on = en_json_is(type, "Prepend");
    if (en_json_is(type, "Metaspace")) {
        on = true;
        en_json_bool(en_json_get(step, "add_prefix_space"), &on);
        if (scheme != NULL)
            on = !en_json_is(scheme, "never");
        b->space_once |= en_json_is(scheme, "first");
        b->space_if_missing = true;
    } else if (en_json_is(type, "ByteLevel")) {
        en_json_bool(en_json_get(step, "add_prefix_space"), &on);
    }
    b->space_prefix |= on;
}

static void read_prefixes(building *b)
{
    const en_json_node *normalizer = en_json_get(b->files->tokenizer, "normalizer");
    const en_json_node *splitter = en_json_get(b->files->tokenizer, "pre_tokenizer");
    b->space_prefix = false;
    read_prefix(b, normalizer);
    read_prefix(b, splitter);
    for (EN_JSON_EACH(step, en_json_get(normalizer, "normalizers")))
        read_prefix(b, step);
    for (EN_JSON_EACH(step, en_json_get(splitter, "pretokenizers")))
        read_prefix(b, step);
}

/* Written where it matters, and then in any case: tokenizer.ggml.pre has an opinion of its own. */
static entro_status read_normalizer(building *b)
{
    bool composes;
    EN_TRY(en_hf_normalizer_read(en_json_get(b->files->tokenizer, "normalizer"), b->spm, &composes,
                                 b->err));
    return b->spm ? ENTRO_OK : set_bool(b, "entrollm.tokenizer.nfc", composes);
}

static entro_status read_vocab(building *b, uint32_t n_vocab)
{
    const en_hf_tokenizer_files *f = b->files;
    b->bos = b->eos = b->unk = b->pad = -1;
    if (f->sentencepiece.p != NULL)
        return read_sentencepiece(b, n_vocab);
    if (f->tokenizer == NULL)
        return en_hf_bpe_read_pair(&b->vocab, f->vocab, f->merges,
                                   en_json_get(f->config, "tokenizer_class"), n_vocab, b->meta,
                                   b->err);
    EN_TRY(en_hf_bpe_read(&b->vocab, f->tokenizer, n_vocab, b->meta, &b->spm, b->err));
    return read_normalizer(b);
}

/* ---- added tokens ------------------------------------------------------------------------------ */

/* The id of a member of added_tokens_decoder is its key. */
static int64_t id_of_key(const en_json_node *key)
{
    char *end;
    long long id = strtoll(key->s, &end, 10);
    return key->n > 0 && *end == '\0' ? id : -1;
}

static entro_status add_described(building *b, int64_t id, const en_json_node *token)
{
    en_span text;
    bool special = false;
    if (!en_json_string(en_json_get(token, "content"), &text))
        return en_fail(b->err, ENTRO_ERR_FORMAT, "added token %lld has no 'content'",
                       (long long)id);
    en_json_bool(en_json_get(token, "special"), &special);
    return en_hf_vocab_add(&b->vocab, id, text, special, b->err);
}

/* Later files know more than earlier ones and override them. */
static entro_status read_added(building *b)
{
    const en_hf_tokenizer_files *f = b->files;
    for (EN_JSON_MEMBERS(key, f->added)) {
        int64_t id = -1;
        en_json_int(key + 1, &id);
        EN_TRY(en_hf_vocab_add(&b->vocab, id, (en_span){key->s, key->n}, false, b->err));
    }
    for (EN_JSON_MEMBERS(key, en_json_get(f->config, "added_tokens_decoder")))
        EN_TRY(add_described(b, id_of_key(key), key + 1));
    for (EN_JSON_EACH(token, en_json_get(f->tokenizer, "added_tokens"))) {
        int64_t id = -1;
        en_json_int(en_json_get(token, "id"), &id);
        EN_TRY(add_described(b, id, token));
    }
    return ENTRO_OK;
}

static void mark_strips(uint8_t *strips, uint32_t n, int64_t id, const en_json_node *token)
{
    bool left = false, right = false;
    if (id < 0 || id >= n)
        return;
    en_json_bool(en_json_get(token, "lstrip"), &left);
    en_json_bool(en_json_get(token, "rstrip"), &right);
    strips[id] = (uint8_t)(left | right << 1);
}

static entro_status write_strips(building *b)
{
    uint32_t n = b->vocab.n;
    uint8_t *strips = en_alloc_zero(n, 1);
    if (strips == NULL)
        return en_fail_memory(b->err);
    for (EN_JSON_MEMBERS(key, en_json_get(b->files->config, "added_tokens_decoder")))
        mark_strips(strips, n, id_of_key(key), key + 1);
    for (EN_JSON_EACH(token, en_json_get(b->files->tokenizer, "added_tokens"))) {
        int64_t id = -1;
        en_json_int(en_json_get(token, "id"), &id);
        mark_strips(strips, n, id, token);
    }
    bool any = false;
    for (uint32_t i = 0; i < n; i++)
        any |= strips[i] != 0;
    en_meta_value value = {.type = EN_META_U8, .is_array = true, .n = n, .data = strips};
    entro_status status =
        any ? en_meta_set(b->meta, "entrollm.tokenizer.strip", &value, b->err) : ENTRO_OK;
    en_free(strips);
    return status;
}

/* ---- special ids --------------------------------------------------------------------------------- */

/* A special token is named by a string or by an object with "content". */
static int64_t find_named(const building *b, const en_json_node *token)
{
    en_span text;
    if (token != NULL && token->type == EN_JSON_OBJECT)
        token = en_json_get(token, "content");
    return en_json_string(token, &text) ? en_hf_vocab_find(&b->vocab, text) : -1;
}

/* An id, or the first of a list of ids. */
static int64_t first_id(const building *b, const en_json_node *node)
{
    int64_t id = -1;
    if (node != NULL && node->type == EN_JSON_ARRAY && node->n > 0)
        node++;
    return en_json_int(node, &id) && id >= 0 && id < b->vocab.n ? id : -1;
}

static int64_t find_special(const building *b, const char *kind, int64_t of_model)
{
    const en_hf_tokenizer_files *f = b->files;
    char name[32], id_name[32];
    snprintf(name, sizeof name, "%s_token", kind);
    snprintf(id_name, sizeof id_name, "%s_token_id", kind);
    int64_t id = find_named(b, en_json_get(f->config, name));
    if (id < 0)
        id = find_named(b, en_json_get(f->special, name));
    if (id < 0)
        id = first_id(b, en_json_get(f->model_config, id_name));
    if (id < 0)
        id = first_id(b, en_json_get(f->generation, id_name));
    return id < 0 && of_model >= 0 && of_model < b->vocab.n ? of_model : id;
}

static entro_status set_id(building *b, const char *key, int64_t id)
{
    return id < 0 ? ENTRO_OK : en_meta_set_u32(b->meta, key, (uint32_t)id, b->err);
}

/* Further ids that end generation: GGUF has two more keys for such. */
static entro_status set_more_ends(building *b, const en_json_node *node, int64_t eos, int64_t *eot,
                                  int64_t *eom)
{
    const en_json_node *end = node == NULL ? NULL : node + node->skip;
    if (node != NULL && node->type == EN_JSON_ARRAY)
        node++;
    for (; node != end; node += node->skip) {
        int64_t id = -1;
        if (!en_json_int(node, &id) || id < 0 || id >= b->vocab.n || id == eos || id == *eot ||
            id == *eom)
            continue;
        if (*eot < 0) {
            *eot = id;
            EN_TRY(set_id(b, "tokenizer.ggml.eot_token_id", id));
        } else if (*eom < 0) {
            *eom = id;
            EN_TRY(set_id(b, "tokenizer.ggml.eom_token_id", id));
        }
    }
    return ENTRO_OK;
}

static entro_status write_special(building *b)
{
    const en_hf_tokenizer_files *f = b->files;
    int64_t eos = find_special(b, "eos", b->eos), eot = -1, eom = -1;
    int64_t bos = find_special(b, "bos", b->bos);
    EN_TRY(set_id(b, "tokenizer.ggml.bos_token_id", bos));
    EN_TRY(set_id(b, "tokenizer.ggml.eos_token_id", eos));
    EN_TRY(set_id(b, "tokenizer.ggml.unknown_token_id", find_special(b, "unk", b->unk)));
    EN_TRY(set_id(b, "tokenizer.ggml.padding_token_id", find_special(b, "pad", b->pad)));
    EN_TRY(set_more_ends(b, en_json_get(f->generation, "eos_token_id"), eos, &eot, &eom));
    EN_TRY(set_more_ends(b, en_json_get(f->model_config, "eos_token_id"), eos, &eot, &eom));
    EN_TRY(set_bool(b, "tokenizer.ggml.add_bos_token", b->add_bos && bos >= 0));
    return set_bool(b, "tokenizer.ggml.add_eos_token", b->add_eos && eos >= 0);
}

/* ---- what is put around a text ------------------------------------------------------------------- */

static void read_template_processing(building *b, const en_json_node *step)
{
    if (!en_json_is(en_json_get(step, "type"), "TemplateProcessing"))
        return;
    const en_json_node *last = NULL, *single = en_json_get(step, "single");
    b->add_bos = b->add_eos = false;
    for (EN_JSON_EACH(item, single)) {
        if (item == single + 1)
            b->add_bos = en_json_get(item, "SpecialToken") != NULL;
        last = item;
    }
    if (single != NULL && single->n > 1)
        b->add_eos = en_json_get(last, "SpecialToken") != NULL;
}

static entro_status write_surroundings(building *b)
{
    const en_hf_tokenizer_files *f = b->files;
    const en_json_node *post = en_json_get(f->tokenizer, "post_processor");
    bool legacy = true;
    if (f->tokenizer != NULL) {
        read_prefixes(b);
        b->add_bos = false; /* unless it says so */
    } else if (en_json_bool(en_json_get(f->config, "legacy"), &legacy)) {
        b->space_once = b->spm && !legacy;
    }
    read_template_processing(b, post);
    for (EN_JSON_EACH(step, en_json_get(post, "processors")))
        read_template_processing(b, step);
    en_json_bool(en_json_get(f->config, "add_bos_token"), &b->add_bos);
    en_json_bool(en_json_get(f->config, "add_eos_token"), &b->add_eos);
    en_json_bool(en_json_get(f->config, "add_prefix_space"), &b->space_prefix);
    if (!b->spm && b->space_prefix)
        return en_fail(b->err, ENTRO_ERR_UNSUPPORTED,
                       "byte-level BPE with add_prefix_space = true is not supported; models with "
                       "false can be used");
    if (!b->spm)
        return ENTRO_OK; /* what byte-level tokenizers do anyway */
    if (b->space_prefix && b->space_once)
        EN_TRY(set_bool(b, "entrollm.tokenizer.space_prefix_once", true));
    if (b->space_prefix && b->space_if_missing)
        EN_TRY(set_bool(b, "entrollm.tokenizer.space_prefix_if_missing", true));
    return set_bool(b, "tokenizer.ggml.add_space_prefix", b->space_prefix);
}

/* ---- chat template ------------------------------------------------------------------------------- */

/* A template, or the one called "default" of a list of named ones. */
static en_span template_of(const en_json_node *node)
{
    en_span text = {NULL, 0};
    if (en_json_string(node, &text))
        return text;
    for (EN_JSON_EACH(named, node))
        if (text.p == NULL || en_json_is(en_json_get(named, "name"), "default"))
            en_json_string(en_json_get(named, "template"), &text);
    return text;
}

static entro_status write_template(building *b)
{
    en_span text = template_of(en_json_get(b->files->config, "chat_template"));
    if (text.p == NULL)
        text = b->files->template_text;
    if (text.p == NULL)
        text = template_of(en_json_get(b->files->template_json, "chat_template"));
    if (text.p == NULL)
        return ENTRO_OK;
    en_meta_value value = {.type = EN_META_STRING, .n = 1, .string = text};
    return en_meta_set(b->meta, "tokenizer.chat_template", &value, b->err);
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static entro_status build(building *b, uint32_t n_vocab)
{
    EN_TRY(read_vocab(b, n_vocab));
    EN_TRY(read_added(b));
    EN_TRY(write_surroundings(b));
    EN_TRY(write_special(b));
    EN_TRY(write_strips(b));
    EN_TRY(write_template(b));
    return en_hf_vocab_write(&b->vocab, b->meta, b->spm, b->err);
}

entro_status en_hf_tokenizer_build(en_meta *meta, const en_hf_tokenizer_files *files,
                                   uint32_t n_vocab, entro_error *err)
{
    if (files->sentencepiece.p == NULL && files->tokenizer == NULL &&
        (files->vocab == NULL || files->merges.p == NULL))
        return ENTRO_OK;
    building b = {.files = files, .meta = meta, .err = err};
    entro_status status = build(&b, n_vocab);
    en_hf_vocab_free(&b.vocab);
    return status;
}

/* ---- from a folder ------------------------------------------------------------------------------- */

enum {
    TOKENIZER,
    CONFIG,
    SPECIAL,
    ADDED,
    GENERATION,
    VOCAB,
    TEMPLATE,
    N_JSON,
    SENTENCEPIECE = 0,
    MERGES,
    TEMPLATE_TEXT,
    N_TEXT
};

static const char *const json_names[N_JSON] = {
    [TOKENIZER] = "tokenizer.json",          [CONFIG] = "tokenizer_config.json",
    [SPECIAL] = "special_tokens_map.json",   [ADDED] = "added_tokens.json",
    [GENERATION] = "generation_config.json", [VOCAB] = "vocab.json",
    [TEMPLATE] = "chat_template.json"};

static const char *const text_names[N_TEXT] = {[SENTENCEPIECE] = "tokenizer.model",
                                               [MERGES] = "merges.txt",
                                               [TEMPLATE_TEXT] = "chat_template.jinja"};

typedef struct folder_files {
    en_json json[N_JSON];
    en_span text[N_TEXT];
} folder_files;

/* Absent files stay zeroed. */
static entro_status load_file(en_json *json, en_span *text, const char *folder, const char *name,
                              entro_error *err)
{
    char *path = en_path_join(folder, name), *data;
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = ENTRO_OK;
    if (en_path_exists(path) && json != NULL) {
        status = en_json_load(json, path, MAX_TOKENIZER_FILE, err);
    } else if (en_path_exists(path)) {
        status = en_file_read(&data, &text->n, path, MAX_TOKENIZER_FILE, err);
        text->p = status == ENTRO_OK ? data : NULL;
    }
    en_free(path);
    return status;
}

static entro_status load_and_build(folder_files *f, en_meta *meta, const char *folder,
                                   const en_json_node *model_config, uint32_t n_vocab,
                                   entro_error *err)
{
    for (int i = 0; i < N_TEXT; i++)
        EN_TRY(load_file(NULL, &f->text[i], folder, text_names[i], err));
    for (int i = 0; i < N_JSON; i++)
        if (i != VOCAB || f->json[TOKENIZER].nodes == NULL) /* the same again, and large */
            EN_TRY(load_file(&f->json[i], NULL, folder, json_names[i], err));
    en_hf_tokenizer_files files = {.tokenizer = f->json[TOKENIZER].nodes,
                                   .config = f->json[CONFIG].nodes,
                                   .special = f->json[SPECIAL].nodes,
                                   .added = f->json[ADDED].nodes,
                                   .generation = f->json[GENERATION].nodes,
                                   .vocab = f->json[VOCAB].nodes,
                                   .template_json = f->json[TEMPLATE].nodes,
                                   .model_config = model_config,
                                   .sentencepiece = f->text[SENTENCEPIECE],
                                   .merges = f->text[MERGES],
                                   .template_text = f->text[TEMPLATE_TEXT]};
    entro_status status = en_hf_tokenizer_build(meta, &files, n_vocab, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s (tokenizer)", folder);
    return status;
}

entro_status en_hf_tokenizer_load(en_meta *meta, const char *folder,
                                  const en_json_node *model_config, uint32_t n_vocab,
                                  entro_error *err)
{
    folder_files f = {0};
    entro_status status = load_and_build(&f, meta, folder, model_config, n_vocab, err);
    for (int i = 0; i < N_JSON; i++)
        en_json_close(&f.json[i]);
    for (int i = 0; i < N_TEXT; i++)
        en_free((void *)(uintptr_t)f.text[i].p);
    return status;
}
