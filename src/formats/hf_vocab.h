/*
 * hf_vocab.h - a vocabulary being put together: id -> text, kind, score.
 *
 * Texts are borrowed from the files they came from until the vocabulary has been written.
 */
#ifndef EN_FORMATS_HF_VOCAB_H
#define EN_FORMATS_HF_VOCAB_H

#include "formats/metadata.h"

/* GGUF's and SentencePiece's numbers. */
typedef enum en_hf_token_kind {
    EN_HF_TOKEN_NORMAL = 1,
    EN_HF_TOKEN_UNKNOWN = 2,
    EN_HF_TOKEN_CONTROL = 3,
    EN_HF_TOKEN_USER = 4,
    EN_HF_TOKEN_UNUSED = 5,
    EN_HF_TOKEN_BYTE = 6
} en_hf_token_kind;

enum { EN_HF_MAX_VOCAB = 1 << 24 };

typedef struct en_hf_vocab {
    en_span *texts;
    float *scores;
    int32_t *kinds;
    uint32_t n;
    char **owned; /* texts that differ from what stands in a file */
    size_t n_owned, cap_owned;
} en_hf_vocab;

/* All n ids unused. */
entro_status en_hf_vocab_new(en_hf_vocab *v, uint32_t n, entro_error *err);
void en_hf_vocab_free(en_hf_vocab *v); /* a zeroed one is fine */

/* Ids beyond the vocabulary are left out: the model has no row for them. */
void en_hf_vocab_set(en_hf_vocab *v, int64_t id, en_span text, en_hf_token_kind kind, float score);
/* An added token: control when it is special or looks so, else taken out of any text (a ▁ in it
 * stands for a space). */
entro_status en_hf_vocab_add(en_hf_vocab *v, int64_t id, en_span text, bool special,
                             entro_error *err);
/* -1 when absent. */
int64_t en_hf_vocab_find(const en_hf_vocab *v, en_span text);
/* "<0x0A>" */
bool en_hf_is_byte_token(en_span text);

/* Sets tokens and token_type, and scores on demand. */
entro_status en_hf_vocab_write(en_hf_vocab *v, en_meta *meta, bool with_scores, entro_error *err);

#endif
