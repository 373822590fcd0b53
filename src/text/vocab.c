/*
 * vocab.c - loading tokens and finding them by their bytes.
 */
#include "text/vocab.h"

#include "base/hash.h"
#include "base/memory.h"
#include "text/utf8.h"

/* ---- disguises --------------------------------------------------------------------------- */

/*
 * Byte-level BPE shows byte b as code point b where that is printable in Latin-1 and the other 68
 * bytes, in order, as U+0100, U+0101 ...  -1 when the code point stands for no byte.
 */
static int byte_of_code(uint32_t code)
{
    if ((code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xAC) ||
        (code >= 0xAE && code <= 0xFF))
        return (int)code;
    if (code < 0x100 || code > 0x143)
        return -1;
    uint32_t i = code - 0x100;
    if (i < 0x21)
        return (int)i; /* 0x00 to 0x20 */
    if (i < 0x21 + 34)
        return (int)(i - 0x21 + 0x7F); /* 0x7F to 0xA0 */
    return 0xAD;
}

static bool undisguise_bytes(en_span piece, char *out, size_t *n_out)
{
    size_t n = 0;
    for (size_t i = 0; i < piece.n;) {
        uint32_t code;
        size_t length = en_utf8_read(piece.p + i, piece.n - i, &code);
        int byte = length > 0 ? byte_of_code(code) : -1;
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
        i += length;
    }
    *n_out = n;
    return true;
}

/* U+2581 to a space.  A piece with a real space in it can never be found in text. */
static bool undisguise_spaces(en_span piece, char *out, size_t *n_out)
{
    size_t n = 0;
    for (size_t i = 0; i < piece.n;) {
        if (piece.p[i] == ' ')
            return false;
        if (piece.n - i >= 3 && memcmp(piece.p + i, "\xE2\x96\x81", 3) == 0) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = piece.p[i++];
        }
    }
    *n_out = n;
    return true;
}

bool en_vocab_undisguise(en_vocab_kind kind, en_span piece, char *out, size_t *n_out)
{
    return kind == EN_VOCAB_BYTE_LEVEL ? undisguise_bytes(piece, out, n_out)
                                       : undisguise_spaces(piece, out, n_out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>" to 10; -1 when the piece is not of that form. */
static int byte_of_piece(en_span piece)
{
    if (piece.n != 6 || memcmp(piece.p, "<0x", 3) != 0 || piece.p[5] != '>')
        return -1;
    int high = hex_digit(piece.p[3]), low = hex_digit(piece.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* ---- look-up ----------------------------------------------------------------------------- */

static uint32_t slot_of(const en_vocab *vocab, const char *p, size_t n, uint32_t *tag)
{
    uint64_t hash = en_hash64(p, n);
    *tag = (uint32_t)(hash >> 32);
    uint32_t i = (uint32_t)hash & vocab->slot_mask;
    while (vocab->slots[i].id >= 0) {
        if (vocab->slots[i].tag == *tag) {
            en_span token = en_vocab_token(vocab, vocab->slots[i].id);
            if (token.n == n && memcmp(token.p, p, n) == 0)
                break;
        }
        i = (i + 1) & vocab->slot_mask;
    }
    return i;
}

int32_t en_vocab_find(const en_vocab *vocab, const char *p, size_t n)
{
    uint32_t tag;
    return vocab->slots[slot_of(vocab, p, n, &tag)].id;
}

static void insert(en_vocab *vocab, int32_t id)
{
    uint32_t tag;
    en_span token = en_vocab_token(vocab, id);
    uint32_t i = slot_of(vocab, token.p, token.n, &tag);
    /* Of two equal tokens the later one counts, as in a dictionary read from a file. */
    vocab->slots[i].tag = tag;
    vocab->slots[i].id = id;
}

/* ---- loading ----------------------------------------------------------------------------- */

static entro_status allocate(en_vocab *vocab, const en_meta_value *tokens, entro_error *err)
{
    uint64_t n_bytes = 0;
    for (uint64_t i = 0; i < tokens->n; i++) {
        n_bytes += tokens->strings[i].n;
        if (n_bytes > EN_VOCAB_MAX_BYTES)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "the tokens together are longer than %d bytes; the file is damaged",
                           EN_VOCAB_MAX_BYTES);
    }
    size_t n_slots = 64;
    while (n_slots < tokens->n * 3 / 2)
        n_slots *= 2;
    vocab->n = (uint32_t)tokens->n;
    vocab->slot_mask = (uint32_t)n_slots - 1;
    vocab->bytes = en_alloc((size_t)n_bytes, 1);
    vocab->start = en_alloc(vocab->n + 1, sizeof vocab->start[0]);
    vocab->flags = en_alloc(vocab->n, 1);
    vocab->whole = en_alloc_zero(vocab->n, sizeof vocab->whole[0]);
    vocab->slots = en_alloc(n_slots, sizeof vocab->slots[0]);
    if (vocab->bytes == NULL || vocab->start == NULL || vocab->flags == NULL ||
        vocab->whole == NULL || vocab->slots == NULL)
        return en_fail_memory(err);
    memset(vocab->slots, 0xFF, n_slots * sizeof vocab->slots[0]);
    for (int b = 0; b < 256; b++)
        vocab->byte_id[b] = -1;
    return ENTRO_OK;
}

/* Type of token i; without a table, byte pieces are known by their form. */
static uint8_t type_of(const en_vocab *vocab, const en_meta_value *types, uint32_t i, en_span piece)
{
    if (types == NULL)
        return vocab->kind == EN_VOCAB_SENTENCEPIECE && byte_of_piece(piece) >= 0 ? EN_TOKEN_BYTE
                                                                                  : EN_TOKEN_NORMAL;
    int64_t type = en_meta_array_int(types, i);
    return type >= EN_TOKEN_NORMAL && type <= EN_TOKEN_BYTE ? (uint8_t)type : EN_TOKEN_UNUSED;
}

/* Appends the bytes of token i at 'end'; returns the new end. */
static uint32_t add_token(en_vocab *vocab, uint32_t i, en_span piece, uint8_t type, uint32_t end)
{
    size_t n = 0;
    int byte = type == EN_TOKEN_BYTE ? byte_of_piece(piece) : -1;
    vocab->start[i] = end;
    if (byte >= 0) {
        vocab->bytes[end] = (char)byte;
        vocab->byte_id[byte] = (int32_t)i;
        n = 1;
    } else if (type != EN_TOKEN_NORMAL || piece.n == 0 ||
               !en_vocab_undisguise(vocab->kind, piece, vocab->bytes + end, &n)) {
        if (type == EN_TOKEN_NORMAL && piece.n > 0)
            type = EN_TOKEN_UNUSED; /* shown as it is, never looked for */
        if (piece.n > 0)
            memcpy(vocab->bytes + end, piece.p, piece.n);
        n = piece.n;
    }
    vocab->flags[i] = type;
    vocab->start[i + 1] = end + (uint32_t)n;
    if (type == EN_TOKEN_NORMAL && n > 0)
        insert(vocab, (int32_t)i);
    return end + (uint32_t)n;
}

entro_status en_vocab_load(en_vocab *vocab, const en_meta *meta, en_vocab_kind kind,
                           entro_error *err)
{
    const en_meta_value *tokens = en_meta_get(meta, "tokenizer.ggml.tokens");
    const en_meta_value *types = en_meta_get(meta, "tokenizer.ggml.token_type");
    if (tokens == NULL || !tokens->is_array || tokens->type != EN_META_STRING || tokens->n == 0)
        return en_fail(
            err, ENTRO_ERR_FORMAT,
            "tokenizer.ggml.tokens must be an array of strings; convert the model again");
    if (tokens->n > EN_VOCAB_MAX_TOKENS)
        return en_fail(err, ENTRO_ERR_FORMAT, "%llu tokens are more than the %d that fit",
                       (unsigned long long)tokens->n, EN_VOCAB_MAX_TOKENS);
    if (types != NULL &&
        (!types->is_array || types->type == EN_META_STRING || types->n != tokens->n))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "tokenizer.ggml.token_type must be an array of %llu integers, one a token",
                       (unsigned long long)tokens->n);
    vocab->kind = kind;
    EN_TRY(allocate(vocab, tokens, err));
    uint32_t end = 0;
    for (uint32_t i = 0; i < vocab->n; i++) {
        en_span piece = tokens->strings[i];
        end = add_token(vocab, i, piece, type_of(vocab, types, i, piece), end);
    }
    if (kind == EN_VOCAB_BYTE_LEVEL) {
        for (int b = 0; b < 256; b++) {
            char byte = (char)b;
            vocab->byte_id[b] = en_vocab_find(vocab, &byte, 1);
        }
    }
    return ENTRO_OK;
}

void en_vocab_free(en_vocab *vocab)
{
    en_free(vocab->bytes);
    en_free(vocab->start);
    en_free(vocab->flags);
    en_free((void *)vocab->whole);
    en_free(vocab->slots);
}
