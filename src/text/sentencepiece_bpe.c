/*
 * sentencepiece_bpe.c - Llama's family: merges of characters, spaces being characters too.
 *
 * Here a space is a space; U+2581, by which SentencePiece shows one, means the same in text.
 * Characters without a piece become bytes <0xNN>, and so does each byte that is not UTF-8.
 *
 * SentencePiece merges the whole text as one word.  When no token has a space behind another
 * character (true of Llama's and Mistral's), no merge crosses the beginning of a space-led word, so
 * the words can be merged one by one with the same result, which is much faster.
 */
#include "base/memory.h"
#include "text/tokenizer_parts.h"

bool en_sentencepiece_words_apart(const en_vocab *vocab)
{
    for (uint32_t id = 0; id < vocab->n; id++) {
        if (en_vocab_type(vocab, (int32_t)id) != EN_TOKEN_NORMAL)
            continue;
        en_span token = en_vocab_token(vocab, (int32_t)id);
        for (size_t i = 1; i < token.n; i++) {
            if (token.p[i] == ' ' && token.p[i - 1] != ' ')
                return false;
        }
    }
    return true;
}

/* Spaces and what follows up to the next space. */
static size_t word_length(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] == ' ')
        i++;
    const char *space = memchr(p + i, ' ', n - i);
    return space != NULL ? (size_t)(space - p) : n;
}

static entro_status encode_spaced(const en_tokenizer *t, en_merge_scratch *scratch, const char *p,
                                  size_t n, en_id_sink *sink, entro_error *err)
{
    for (size_t i = 0, length; i < n; i += length) {
        length = t->words_apart ? word_length(p + i, n - i) : n;
        EN_TRY(en_merge_word(&t->merges, scratch, p + i, length, sink, err));
    }
    return ENTRO_OK;
}

/* Copies text with U+2581 as a space; returns the number of bytes written. */
static size_t copy_spaced(char *out, const char *p, size_t n)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        const char *mark = memmem(p + i, n - i, "\xE2\x96\x81", 3);
        size_t length = mark != NULL ? (size_t)(mark - p) - i : n - i;
        memcpy(out + n_out, p + i, length);
        n_out += length;
        i += length;
        if (mark != NULL) {
            out[n_out++] = ' ';
            i += 3;
        }
    }
    return n_out;
}

static entro_status encode_normal(const en_tokenizer *t, en_merge_scratch *scratch, const char *p,
                                  size_t n, bool at_start, en_id_sink *sink, entro_error *err)
{
    char *spaced = en_alloc(n + 1, 1);
    if (spaced == NULL)
        return en_fail_memory(err);
    spaced[0] = ' '; /* in use or not, there is room for it */
    size_t n_text = copy_spaced(spaced + 1, p, n);
    bool has_space = n_text > 0 && spaced[1] == ' ';
    bool add = t->adds_space && (at_start || !t->adds_space_once) &&
               !(t->adds_space_if_missing && has_space);
    const char *start = spaced + !add;
    n_text += add;
    while (t->normalizer.squeezes && n_text > 0 && start[n_text - 1] == ' ')
        n_text--;
    entro_status status = encode_spaced(t, scratch, start, n_text, sink, err);
    en_free(spaced);
    return status;
}

entro_status en_sentencepiece_encode(const en_tokenizer *t, en_merge_scratch *scratch,
                                     const char *p, size_t n, bool at_start, en_id_sink *sink,
                                     entro_error *err)
{
    char *normal;
    EN_TRY(en_normalize(&t->normalizer, p, n, &normal, &n, err));
    entro_status status =
        encode_normal(t, scratch, normal != NULL ? normal : p, n, at_start, sink, err);
    en_free(normal);
    return status;
}
