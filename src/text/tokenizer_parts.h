/*
 * tokenizer_parts.h - what a tokenizer is made of; for the files of the tokenizer only.
 */
#ifndef EN_TEXT_TOKENIZER_PARTS_H
#define EN_TEXT_TOKENIZER_PARTS_H

#include "text/bpe_merge.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"

struct en_tokenizer {
    en_vocab vocab;
    en_merges merges;
    en_special_tokens special;
    en_normalizer normalizer;   /* SentencePiece only */
    const en_pretokenizer *pre; /* byte-level BPE only */
    char kind[64];
    int32_t bos, eos, unknown; /* -1: none */
    bool adds_bos, adds_eos;
    bool composes;              /* byte-level BPE: text is brought to NFC first */
    bool adds_space;            /* SentencePiece: a space in front of each stretch of text */
    bool adds_space_once;       /* ... only of the first */
    bool adds_space_if_missing; /* ... only of one that starts without a space */
    bool words_apart;           /* SentencePiece: no token has a space after something else */
};

/* Ordinary text, without special tokens, to ids.  'at_start': nothing was in front of it. */
entro_status en_byte_level_encode(const en_tokenizer *t, en_merge_scratch *scratch, const char *p,
                                  size_t n, en_id_sink *sink, entro_error *err);
entro_status en_sentencepiece_encode(const en_tokenizer *t, en_merge_scratch *scratch,
                                     const char *p, size_t n, bool at_start, en_id_sink *sink,
                                     entro_error *err);

/* Is the property 'words_apart' true of this vocabulary? */
bool en_sentencepiece_words_apart(const en_vocab *vocab);

#endif
