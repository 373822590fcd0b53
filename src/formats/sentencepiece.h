/*
 * sentencepiece.h - tokenizer.model, the protocol buffer that SentencePiece writes.
 *
 *   ModelProto  1: repeated SentencePiece { 1: piece  2: score  3: type }
 *               2: TrainerSpec    { 3: model_type  24: treat_whitespace_as_suffix
 *                                   40..43: unk, bos, eos, pad id }
 *               3: NormalizerSpec { 2: precompiled_charsmap  3: add_dummy_prefix
 *                                   4: remove_extra_whitespaces  5: escape_whitespaces }
 *
 * Everything else in it is skipped.
 */
#ifndef EN_FORMATS_SENTENCEPIECE_H
#define EN_FORMATS_SENTENCEPIECE_H

#include "formats/hf_vocab.h"

typedef struct en_spm_piece {
    en_span text; /* in the file */
    float score;
    en_hf_token_kind kind;
} en_spm_piece;

typedef struct en_sentencepiece {
    en_spm_piece *pieces; /* owned; index is the id */
    size_t n_pieces, cap_pieces;
    int32_t unk_id, bos_id, eos_id, pad_id; /* -1: none */
    bool add_dummy_prefix;
    bool remove_extra_whitespaces;
    en_span charsmap; /* in the file: how text is normalized (NFKC or so); empty: it is not */
} en_sentencepiece;

/* The bytes must outlive it.  ENTRO_ERR_UNSUPPORTED for other models than BPE
 * and for spaces that stand elsewhere than in front of words. */
entro_status en_sentencepiece_parse(en_sentencepiece *sp, const uint8_t *data, size_t n_bytes,
                                    entro_error *err);
void en_sentencepiece_free(en_sentencepiece *sp); /* a zeroed one is fine */

#endif
