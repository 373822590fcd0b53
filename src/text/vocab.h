/*
 * vocab.h - the tokens of a model as the bytes of text they stand for.
 *
 * GGUF stores pieces in disguise: byte-level BPE writes each byte as a printable character, and
 * SentencePiece writes a space as U+2581.  Both are undone once, here, so that everything after
 * works on plain bytes.  Immutable after en_vocab_load(), except for notes in 'whole' that any
 * thread may make and that are the same whoever makes them.
 */
#ifndef EN_TEXT_VOCAB_H
#define EN_TEXT_VOCAB_H

#include <stdatomic.h>

#include "formats/metadata.h"

enum { EN_VOCAB_MAX_TOKENS = 1 << 22, EN_VOCAB_MAX_BYTES = 1 << 28 };

/* tokenizer.ggml.token_type */
enum en_token_type {
    EN_TOKEN_NORMAL = 1,
    EN_TOKEN_UNKNOWN = 2,
    EN_TOKEN_CONTROL = 3,
    EN_TOKEN_USER = 4,
    EN_TOKEN_UNUSED = 5,
    EN_TOKEN_BYTE = 6,
    EN_TOKEN_TYPE = 7,    /* mask of the above */
    EN_TOKEN_ENDS = 8,    /* flag: generation stops here */
    EN_TOKEN_LSTRIP = 16, /* flag: swallows white space in front of it */
    EN_TOKEN_RSTRIP = 32  /* flag: swallows white space after it */
};

/* Do merges turn the bytes of this token into this token alone?  Found out on first use. */
enum { EN_WHOLE_UNKNOWN = 0, EN_WHOLE_YES = 1, EN_WHOLE_NO = 2 };

typedef enum en_vocab_kind { EN_VOCAB_BYTE_LEVEL, EN_VOCAB_SENTENCEPIECE } en_vocab_kind;

typedef struct en_vocab {
    en_vocab_kind kind;
    uint32_t n;
    char *bytes;     /* all tokens, one after the other */
    uint32_t *start; /* n + 1 offsets into bytes */
    uint8_t *flags;  /* type and flags of each */
    _Atomic uint8_t *whole;
    struct en_vocab_slot {
        uint32_t tag; /* of the hash */
        int32_t id;   /* -1: free */
    } * slots;
    uint32_t slot_mask;
    int32_t byte_id[256]; /* the token of a byte alone, -1: none */
} en_vocab;

/* Reads tokens and types; 'vocab' must be zeroed and is freed by en_vocab_free in every case. */
entro_status en_vocab_load(en_vocab *vocab, const en_meta *meta, en_vocab_kind kind,
                           entro_error *err);
void en_vocab_free(en_vocab *vocab);

static inline en_span en_vocab_token(const en_vocab *vocab, int32_t id)
{
    uint32_t start = vocab->start[id];
    return (en_span){vocab->bytes + start, vocab->start[id + 1] - start};
}

static inline unsigned en_vocab_type(const en_vocab *vocab, int32_t id)
{
    return vocab->flags[id] & EN_TOKEN_TYPE;
}

/* The normal token of these bytes, -1 when there is none. */
int32_t en_vocab_find(const en_vocab *vocab, const char *p, size_t n);

/* Takes the disguise off a piece: writes at most n bytes to 'out' and their number to *n_out.
 * False when it holds a character that stands for no byte (then it is text of its own). */
bool en_vocab_undisguise(en_vocab_kind kind, en_span piece, char *out, size_t *n_out);

#endif
