/*
 * pretokenizer.h - cutting text into words before byte-level merges, as each model was trained.
 *
 * The published patterns are regular expressions of a handful of shapes; each shape is a scanner
 * here and tokenizer.ggml.pre names a shape with its parameters.  A scanner looks at each byte a
 * bounded number of times, whatever the text is.
 */
#ifndef EN_TEXT_PRETOKENIZER_H
#define EN_TEXT_PRETOKENIZER_H

#include "base/bytes.h"

typedef struct en_pretokenizer {
    const char *name;                                              /* tokenizer.ggml.pre */
    size_t (*word)(const char *p, size_t n, unsigned max_numbers); /* length of the first word */
    uint8_t max_numbers; /* digits a word: 1, 3; 0: any number */
    bool whole_words;    /* a word that is a token is not split by merges (ignore_merges) */
    bool adds_bos;       /* unless tokenizer.ggml.add_bos_token says otherwise */
    bool composes;       /* text is brought to NFC first */
} en_pretokenizer;

/* NULL when there is none of that name. */
const en_pretokenizer *en_pretokenizer_find(en_span name);

/* Number i of all, in the order of the table; NULL after the last. */
const en_pretokenizer *en_pretokenizer_at(size_t i);

#endif
