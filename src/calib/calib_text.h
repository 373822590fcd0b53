/*
 * calib_text.h - the text that statistics are collected from, as tokens: of files, or written by the
 * model itself.
 *
 *   tokens:  | sequence of n_positions | sequence | ...     the first token of each is BOS where the
 *                                                           model wants one
 *
 * Sequences of several files take turns, so that any run of them has all files in it.
 */
#ifndef EN_CALIB_CALIB_TEXT_H
#define EN_CALIB_CALIB_TEXT_H

#include "base/status.h"

typedef struct en_calib_text {
    int32_t *tokens; /* owned */
    uint32_t n_positions;
    uint64_t n_sequences;
    char name[160]; /* "wiki.train.txt + c4.jsonl", "written by the model" */
} en_calib_text;

void en_calib_text_free(en_calib_text *text); /* a zeroed one is fine */

static inline const int32_t *en_calib_text_sequence(const en_calib_text *text, uint64_t i)
{
    return text->tokens + i * text->n_positions;
}

#endif
