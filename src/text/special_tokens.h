/*
 * special_tokens.h - tokens that are recognised in text before anything else is done with it.
 *
 * User-defined tokens always are; control tokens ("<|im_end|>") only when the caller wants markup
 * to be read.  The leftmost match counts, and of several that start there the longest.
 */
#ifndef EN_TEXT_SPECIAL_TOKENS_H
#define EN_TEXT_SPECIAL_TOKENS_H

#include "text/vocab.h"

/* Tokens sorted by their bytes, and which first bytes occur. */
typedef struct en_special_set {
    int32_t *ids;
    uint32_t n;
    bool first[256];
} en_special_set;

typedef struct en_special_tokens {
    const en_vocab *vocab;
    en_special_set user; /* user-defined */
    en_special_set all;  /* and control and unknown */
} en_special_tokens;

/* 'special' must be zeroed and is freed by en_special_free in every case. */
entro_status en_special_load(en_special_tokens *special, const en_vocab *vocab, entro_error *err);
void en_special_free(en_special_tokens *special);

/* The first special token in text[from, n): its position, and its id in *id (-1, and n, when there
 * is none). */
size_t en_special_find(const en_special_tokens *special, bool with_control, const char *text,
                       size_t n, size_t from, int32_t *id);

#endif
