/*
 * hf_normalizer.h - the "normalizer" of tokenizer.json: what happens to a text before it is cut up.
 *
 * Known are those of the models we run: NFC in front of byte-level BPE; a "▁" in front and for each
 * space, which is how SentencePiece's pieces are written anyway.
 */
#ifndef EN_FORMATS_HF_NORMALIZER_H
#define EN_FORMATS_HF_NORMALIZER_H

#include "formats/json_parse.h"

/* *composes: text is brought to NFC.  'spm': pieces of SentencePiece, else bytes.
 * ENTRO_ERR_UNSUPPORTED, naming the step, for others, since ids would be wrong without it. */
entro_status en_hf_normalizer_read(const en_json_node *normalizer, bool spm, bool *composes,
                                   entro_error *err);

#endif
