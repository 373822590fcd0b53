/*
 * calib_beginnings.h - what the texts begin with that a model writes for its own calibration.
 *
 * Of four texts in turn: an answer to a request in the model's chat template, a few words of prose, code or
 * a table to go on from, another answer, and nothing at all.  A model left to itself writes mostly of one
 * kind (code, exams, whatever it was trained on last); one that is asked writes what people ask for.
 * Without a template that is known the answers are words to go on from as well.
 *
 * Answers are drawn at temperature 0.8, as people draw them: small models lose the thread at 1, and what they
 * write then is unlike any text.  The others are drawn at 1, so that what is rare is seen as well.
 */
#ifndef EN_CALIB_CALIB_BEGINNINGS_H
#define EN_CALIB_CALIB_BEGINNINGS_H

#include "text/tokenizer.h"

typedef struct en_calib_beginnings {
    int32_t *tokens; /* of all beginnings, one after the other */
    size_t *ends;    /* of each in 'tokens' */
    size_t n_tokens, n_requests, n_openings;
    int32_t first; /* stands before everything: BOS, or what ends the text before */
} en_calib_beginnings;

/* 'meta', which may be NULL, has the chat template.  ENTRO_ERR_FORMAT when 'first' is no token of n_vocab;
 * beginnings are cut off in front of such tokens. */
entro_status en_calib_beginnings_new(en_calib_beginnings *b, const en_tokenizer *tokenizer,
                                     const en_meta *meta, uint32_t n_vocab, entro_error *err);
void en_calib_beginnings_free(en_calib_beginnings *b); /* all zero is fine */

typedef struct en_calib_beginning {
    const int32_t *tokens; /* borrowed, without 'first' */
    size_t n;              /* may be 0 */
    float temperature;     /* what follows is drawn at */
} en_calib_beginning;

en_calib_beginning en_calib_beginning_of(const en_calib_beginnings *b, uint64_t index);

#endif
