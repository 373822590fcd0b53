/*
 * fuzz_tokenizer.c - hostile metadata and hostile text.
 *
 *   options | pre-tokenizer | flags of ids | tokens: type, length, bytes ... | 0 length ends
 *           | merges: length, bytes ... | 0 length ends | map of characters: length, bytes
 *           | text, also the chat template
 *
 * Whatever is accepted must give ids of the vocabulary, the same twice, and valid UTF-8 back.  One
 * input in eight also has one allocation fail; nothing may leak either way.
 */
#include "base/memory.h"
#include "text/chat.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "fuzz_entry.h"

enum { MAX_ITEMS = 96 };

static void check_utf8(const char *p, size_t n)
{
    uint32_t code;
    for (size_t i = 0, length; i < n; i += length) {
        length = en_utf8_read(p + i, n - i, &code);
        REQUIRE(length > 0);
    }
}

static void decode_all(const en_tokenizer *t, const int32_t *ids, size_t n, bool show)
{
    en_text_stream *stream;
    const char *text;
    size_t n_text;
    if (en_text_stream_new(&stream, t, show, NULL) != ENTRO_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        REQUIRE(ids[i] >= 0 && (uint32_t)ids[i] < en_tokenizer_n_vocab(t));
        if (en_text_stream_put(stream, ids[i], &text, &n_text, NULL) == ENTRO_OK)
            check_utf8(text, n_text);
    }
    if (en_text_stream_finish(stream, &text, &n_text, NULL) == ENTRO_OK)
        check_utf8(text, n_text);
    en_text_stream_free(stream);
}

static void encode_twice(const en_tokenizer *t, const char *text, size_t n, unsigned options)
{
    size_t n_ids = 0, n_again = 0;
    bool add = options & 1, parse = options & 2;
    if (en_tokenizer_encode(t, text, n, add, parse, NULL, 0, &n_ids, NULL) != ENTRO_OK)
        return;
    int32_t *ids = en_alloc(n_ids, sizeof *ids);
    if (ids != NULL &&
        en_tokenizer_encode(t, text, n, add, parse, ids, n_ids, &n_again, NULL) == ENTRO_OK) {
        REQUIRE(n_again == n_ids);
        decode_all(t, ids, n_ids, options & 4);
    }
    en_free(ids);
}

/* Strings with a length byte in front, up to one of length 0; with 'types' a type before each. */
static size_t read_strings(en_reader *r, en_span *strings, uint8_t *types)
{
    size_t n = 0;
    while (n < MAX_ITEMS && en_reader_left(r) > 0) {
        uint8_t type = types != NULL ? en_reader_u8(r) : 0;
        uint8_t length = en_reader_u8(r);
        const uint8_t *p = en_reader_take(r, length);
        if (p == NULL || length == 0)
            break;
        strings[n] = (en_span){(const char *)p, length};
        if (types != NULL)
            types[n] = type;
        n++;
    }
    return n;
}

static bool set_strings(en_meta *meta, const char *key, const en_span *strings, size_t n)
{
    en_meta_value v = {.type = EN_META_STRING, .is_array = true, .n = n, .strings = strings};
    return en_meta_set(meta, key, &v, NULL) == ENTRO_OK;
}

static bool set_bytes(en_meta *meta, const char *key, const uint8_t *bytes, size_t n)
{
    en_meta_value v = {.type = EN_META_U8, .is_array = true, .n = n, .data = bytes};
    return en_meta_set(meta, key, &v, NULL) == ENTRO_OK;
}

static bool read_meta(en_meta *meta, en_reader *r, uint8_t options)
{
    en_span strings[MAX_ITEMS];
    uint8_t types[MAX_ITEMS], pre = en_reader_u8(r), ids = en_reader_u8(r);
    const en_pretokenizer *known = en_pretokenizer_at(pre % 48);
    bool ok = en_meta_set_string(meta, "tokenizer.ggml.model", options & 8 ? "llama" : "gpt2",
                                 NULL) == ENTRO_OK;
    if (known != NULL)
        ok &= en_meta_set_string(meta, "tokenizer.ggml.pre", known->name, NULL) == ENTRO_OK;
    ok &= en_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", ids & 1, NULL) == ENTRO_OK;
    ok &= en_meta_set_bool(meta, "tokenizer.ggml.add_eos_token", ids & 2, NULL) == ENTRO_OK;
    ok &= en_meta_set_u32(meta, "tokenizer.ggml.bos_token_id", ids >> 2, NULL) == ENTRO_OK;
    ok &= en_meta_set_u32(meta, "tokenizer.ggml.eos_token_id", ids >> 3, NULL) == ENTRO_OK;
    size_t n = read_strings(r, strings, types);
    ok &= set_strings(meta, "tokenizer.ggml.tokens", strings, n);
    if (options & 16)
        ok &= set_bytes(meta, "tokenizer.ggml.token_type", types, n);
    if (options & 32)
        ok &= set_bytes(meta, "tokenizer.ggml.scores", types, n);
    if (options & 64)
        ok &= set_bytes(meta, "entrollm.tokenizer.strip", types, n);
    n = read_strings(r, strings, NULL);
    if (n > 0 || !(options & 8))
        ok &= set_strings(meta, "tokenizer.ggml.merges", strings, n);
    if (options & 128) {
        uint8_t length = en_reader_u8(r);
        const uint8_t *map = en_reader_take(r, length);
        ok &= en_meta_set_bool(meta, "tokenizer.ggml.remove_extra_whitespaces", length & 1, NULL) ==
              ENTRO_OK;
        if (map != NULL)
            ok &= set_bytes(meta, "tokenizer.ggml.precompiled_charsmap", map, length);
    }
    return ok;
}

static void format_chat(en_meta *meta, const char *text, size_t n)
{
    static const entro_chat_message talk[] = {
        {"system", "s"}, {"user", " u"}, {"assistant", "a"}, {"user", "v "}};
    en_meta_value v = {.type = EN_META_STRING, .n = 1, .string = {text, n}};
    char *out;
    if (en_meta_set(meta, "tokenizer.chat_template", &v, NULL) == ENTRO_OK &&
        en_chat_format(meta, talk, 4, true, &out, NULL) == ENTRO_OK)
        en_free(out);
}

static void run(const uint8_t *data, size_t n_bytes)
{
    en_reader r = en_reader_of(data, n_bytes);
    uint8_t options = en_reader_u8(&r);
    en_meta *meta;
    en_tokenizer *t;
    if (en_meta_new(&meta, NULL) != ENTRO_OK)
        return;
    if (read_meta(meta, &r, options)) {
        const char *text = (const char *)data + r.pos;
        size_t n = en_reader_left(&r);
        if (en_tokenizer_new(&t, meta, NULL) == ENTRO_OK) {
            encode_twice(t, text, n, options);
            en_tokenizer_free(t);
        }
        format_chat(meta, text, n);
    }
    en_meta_free(meta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    size_t before = en_memory_in_use();
    run(data, n_bytes);
    REQUIRE(en_memory_in_use() == before);
    if (n_bytes > 1 && data[n_bytes - 1] % 8 == 0) {
        en_memory_fail_at(data[n_bytes / 2] % 64);
        run(data, n_bytes);
        en_memory_fail_at(UINT64_MAX);
        REQUIRE(en_memory_in_use() == before);
    }
    return 0;
}
