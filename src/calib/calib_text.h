/*
 * calib_text.h - the text that statistics are collected from, as tokens in sequences of one length.
 *
 *   tokens:  | sequence of n_positions | sequence | ...     the first token of each is BOS where the
 *                                                           model wants one
 *
 * From files (here), or written by the model itself (calib_writer.h).
 */
#ifndef EN_CALIB_CALIB_TEXT_H
#define EN_CALIB_CALIB_TEXT_H

#include "text/tokenizer.h"

enum { EN_CALIB_POSITIONS = 512 }; /* of a sequence, usually */

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

/*
 * Up to n_tokens (in whole sequences) of files, which may be
 *   plain text,
 *   JSON lines: an object a line, with a string named "text" or "content",
 *   a JSON array of strings or of such objects.
 * Of a file with more than its share, pieces evenly spread over all of it are taken.  Sequences of
 * several files take turns, so that any run of them has all files in it; what is too short for a
 * sequence is joined.  ENTRO_ERR_ARGUMENT when there is less than one sequence in all,
 * ENTRO_ERR_FORMAT for a file that is not text.
 */
entro_status en_calib_text_read(en_calib_text *text, const char *const *paths, size_t n_paths,
                                const en_tokenizer *tokenizer, uint32_t n_positions,
                                uint64_t n_tokens, entro_error *err);

#endif
