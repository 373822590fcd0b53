/*
 * normalizer.h - what SentencePiece does to a text before it looks for pieces.
 *
 * A model may bring a map of characters (NFKC with changes of its own, say), made when it was
 * trained, and may squeeze runs of spaces into one.  GGUF keys:
 *   tokenizer.ggml.precompiled_charsmap      the map, as SentencePiece stores it
 *   tokenizer.ggml.remove_extra_whitespaces  spaces: none in front, none behind, one in between
 */
#ifndef EN_TEXT_NORMALIZER_H
#define EN_TEXT_NORMALIZER_H

#include "formats/metadata.h"

typedef struct en_normalizer {
    uint8_t *map; /* owned copy; NULL: characters stay as they are */
    size_t n_units, n_texts;
    bool squeezes;
} en_normalizer;

/* 'z' must be zeroed; en_normalizer_free is right in every case. */
entro_status en_normalizer_load(en_normalizer *z, const en_meta *meta, entro_error *err);
void en_normalizer_free(en_normalizer *z);

/*
 * The text as the pieces expect it, allocated (en_free); *out is NULL when nothing is to be done to
 * any text.  Bytes that are not UTF-8 stay as they are.  Spaces behind the text are left in, since
 * they can only be told when all of the text, U+2581 included, is known.
 */
entro_status en_normalize(const en_normalizer *z, const char *text, size_t n, char **out,
                          size_t *n_out, entro_error *err);

#endif
