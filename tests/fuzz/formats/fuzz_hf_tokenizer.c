/*
 * fuzz_hf_tokenizer.c - any bytes as tokenizer files.
 *
 *   | kind | file | 0xff | file | 0xff | ...
 *
 * kind, a letter: bit 0 vocab.json and merges.txt instead of tokenizer.json, bit 1 takes n_vocab = 6,
 * bits 2.. an allocation that fails (0: none).  0xff cannot stand in JSON, so it parts the files:
 * tokenizer.json (or vocab.json), tokenizer_config.json, config.json, added_tokens.json, merges.txt.
 */
#include "base/memory.h"
#include "formats/hf_tokenizer.h"
#include "fuzz_entry.h"

enum { VOCABULARY, CONFIG, MODEL_CONFIG, ADDED, MERGES, N_PARTS };

static void check(const en_meta *meta)
{
    const en_meta_value *tokens = en_meta_get(meta, "tokenizer.ggml.tokens");
    const en_meta_value *kinds = en_meta_get(meta, "tokenizer.ggml.token_type");
    const en_meta_value *scores = en_meta_get(meta, "tokenizer.ggml.scores");
    const en_meta_value *merges = en_meta_get(meta, "tokenizer.ggml.merges");
    char text[400];
    REQUIRE(tokens != NULL && kinds != NULL && merges != NULL && kinds->n == tokens->n);
    REQUIRE(scores == NULL || scores->n == tokens->n);
    for (uint64_t i = 0; i < tokens->n; i++) {
        int64_t kind = en_meta_array_int(kinds, i);
        REQUIRE(kind >= 1 && kind <= 6);
        REQUIRE(tokens->strings[i].n == 0 || tokens->strings[i].p[0] != '\xff');
    }
    for (uint64_t i = 0; i < merges->n; i++)
        REQUIRE(merges->strings[i].n >= 3 &&
                memchr(merges->strings[i].p, ' ', merges->strings[i].n) != NULL);
    REQUIRE(en_meta_u32(meta, "tokenizer.ggml.eos_token_id", 0) <= tokens->n);
    for (size_t i = 0; i < en_meta_count(meta); i++)
        en_meta_format(en_meta_at(meta, i), text, sizeof text);
}

static entro_status build(const en_span *parts, uint8_t kind, entro_error *err)
{
    en_json json[MERGES] = {0};
    en_meta *meta = NULL;
    entro_status status = en_meta_new(&meta, err);
    for (int i = 0; i < MERGES && status == ENTRO_OK; i++)
        if (parts[i].n > 0)
            status = en_json_parse(&json[i], parts[i].p, parts[i].n, false, err);
    bool pair = kind & 1;
    en_hf_tokenizer_files files = {.tokenizer = pair ? NULL : json[VOCABULARY].nodes,
                                   .vocab = pair ? json[VOCABULARY].nodes : NULL,
                                   .config = json[CONFIG].nodes,
                                   .special = json[CONFIG].nodes,
                                   .model_config = json[MODEL_CONFIG].nodes,
                                   .generation = json[MODEL_CONFIG].nodes,
                                   .added = json[ADDED].nodes,
                                   .merges = parts[MERGES]};
    if (status == ENTRO_OK)
        status = en_hf_tokenizer_build(meta, &files, kind & 2 ? 6 : 0, err);
    if (status == ENTRO_OK && en_meta_get(meta, "tokenizer.ggml.model") != NULL)
        check(meta);
    for (int i = 0; i < MERGES; i++)
        en_json_close(&json[i]);
    en_meta_free(meta);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    en_span parts[N_PARTS] = {0};
    entro_error err = {0};
    if (n_bytes == 0)
        return 0;
    uint8_t kind = (uint8_t)(data[0] - '0');
    const char *p = (const char *)data + 1, *end = (const char *)data + n_bytes;
    for (int i = 0; i < N_PARTS && p <= end; i++) {
        const char *next = p < end ? memchr(p, 0xff, (size_t)(end - p)) : NULL;
        parts[i] = (en_span){p, (size_t)((next != NULL ? next : end) - p)};
        p = next != NULL ? next + 1 : end + 1;
    }
    en_memory_fail_at(kind >> 2 ? (uint64_t)(kind >> 2) : UINT64_MAX);
    entro_status status = build(parts, kind, &err);
    en_memory_fail_at(UINT64_MAX);
    if (status != ENTRO_OK)
        REQUIRE(err.status == status && err.message[0] != '\0');
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
