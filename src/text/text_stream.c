/*
 * text_stream.c - ids back to text, never half a character.
 *
 * Bytes that may still become a character (at most three) are held back.  A byte that cannot comes
 * out as U+FFFD, one for each longest beginning of a sequence, as Unicode recommends.
 *
 * The space that encoding puts in front of a text is taken off again only in a stream that begins
 * with BOS.  One that does not may go on from a prompt, and there the space separates two words.
 */
#include "base/memory.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

struct en_text_stream {
    const en_tokenizer *t;
    bool show_special;
    bool is_new;   /* no token yet */
    bool at_start; /* BOS, no text yet: the space that encoding adds is taken off */
    char held[4];
    size_t n_held;
    char *bytes; /* held bytes and those of the token */
    size_t bytes_cap;
    char *text; /* what the caller gets */
    size_t text_cap;
};

entro_status en_text_stream_new(en_text_stream **out, const en_tokenizer *t, bool show_special,
                                entro_error *err)
{
    en_text_stream *s = en_alloc_zero(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return en_fail_memory(err);
    s->t = t;
    s->show_special = show_special;
    s->is_new = true;
    return ENTRO_OK;
}

void en_text_stream_free(en_text_stream *s)
{
    if (s == NULL)
        return;
    en_free(s->bytes);
    en_free(s->text);
    en_free(s);
}

/* Length of the broken sequence at 'p': its longest beginning that is fine. */
static size_t broken_length(const char *p, size_t n)
{
    size_t length = n < 3 ? n : 3;
    while (length > 1 && !en_utf8_is_prefix(p, length))
        length--;
    return length;
}

/* Whole characters of bytes[0, n) to s->text; the beginning of one at the end is held back. */
static size_t release(en_text_stream *s, const char *bytes, size_t n, bool last)
{
    size_t n_text = 0;
    s->n_held = 0;
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t length = en_utf8_read(bytes + i, n - i, &code);
        if (length > 0) {
            memcpy(s->text + n_text, bytes + i, length);
            n_text += length;
            i += length;
        } else if (!last && n - i <= 3 && en_utf8_is_prefix(bytes + i, n - i)) {
            s->n_held = n - i;
            memmove(s->held, bytes + i, s->n_held);
            break;
        } else {
            memcpy(s->text + n_text, EN_UTF8_REPLACEMENT, 3);
            n_text += 3;
            i += broken_length(bytes + i, n - i);
        }
    }
    return n_text;
}

/* The text of a token as it is shown; nothing for a control token that is not. */
static en_span shown_bytes(en_text_stream *s, int32_t id)
{
    en_span bytes = en_vocab_token(&s->t->vocab, id);
    unsigned type = en_vocab_type(&s->t->vocab, id);
    if (type == EN_TOKEN_CONTROL || type == EN_TOKEN_UNKNOWN) {
        if (!s->show_special)
            bytes.n = 0;
    } else if (bytes.n > 0 && s->at_start) {
        s->at_start = false;
        if (type != EN_TOKEN_USER && bytes.p[0] == ' ')
            bytes = (en_span){bytes.p + 1, bytes.n - 1};
    }
    return bytes;
}

entro_status en_text_stream_put(en_text_stream *s, int32_t id, const char **text, size_t *n_text,
                                entro_error *err)
{
    *text = "";
    *n_text = 0;
    if (id < 0 || (uint32_t)id >= s->t->vocab.n)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "token %d is not one of the %u of the vocabulary",
                       (int)id, s->t->vocab.n);
    en_span token = en_vocab_token(&s->t->vocab, id);
    size_t n_most = s->n_held + token.n;
    if (!en_grow((void **)&s->bytes, &s->bytes_cap, n_most, SIZE_MAX / 4, 1) ||
        !en_grow((void **)&s->text, &s->text_cap, 3 * n_most + 1, SIZE_MAX / 4, 1))
        return en_fail_memory(err);
    if (s->is_new)
        s->at_start = s->t->adds_space && id == s->t->bos;
    s->is_new = false;
    token = shown_bytes(s, id);
    if (token.n == 0)
        return ENTRO_OK;
    memcpy(s->bytes, s->held, s->n_held);
    memcpy(s->bytes + s->n_held, token.p, token.n);
    *n_text = release(s, s->bytes, s->n_held + token.n, false);
    *text = s->text;
    return ENTRO_OK;
}

entro_status en_text_stream_finish(en_text_stream *s, const char **text, size_t *n_text,
                                   entro_error *err)
{
    *text = "";
    *n_text = 0;
    if (s->n_held > 0) {
        if (!en_grow((void **)&s->text, &s->text_cap, 3 * s->n_held, SIZE_MAX / 4, 1))
            return en_fail_memory(err);
        *n_text = release(s, s->held, s->n_held, true);
        *text = s->text;
    }
    s->is_new = true;
    return ENTRO_OK;
}
