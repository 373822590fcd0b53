/*
 * hf_bpe.h - byte-pair vocabularies as Hugging Face writes them: tokenizer.json, or vocab.json with
 * merges.txt.
 *
 * Two families share the format.  Byte-level ones (GPT-2 and after) become GGUF's "gpt2" with the
 * name of their pre-tokenizer.  Those converted from SentencePiece (byte_fallback, "▁" for spaces)
 * become GGUF's "llama"; each piece's score is minus the rank of the first merge that makes it, so
 * merging by score is merging by rank except where one piece has several merges and another's rank
 * lies between them.  The merges are therefore set as well, for tokenizers that can use them.
 */
#ifndef EN_FORMATS_HF_BPE_H
#define EN_FORMATS_HF_BPE_H

#include "formats/hf_vocab.h"
#include "formats/json_parse.h"

/*
 * Fills 'v' (n_vocab ids, or as many as the vocabulary needs when that is 0) from the root of
 * tokenizer.json and sets tokenizer.ggml.model, pre and merges.  *spm: it is of the second family.
 */
entro_status en_hf_bpe_read(en_hf_vocab *v, const en_json_node *tokenizer, uint32_t n_vocab,
                            en_meta *meta, bool *spm, entro_error *err);

/* The same from the root of vocab.json and the text of merges.txt; 'tokenizer_class' of
 * tokenizer_config.json, which may be NULL, tells the pre-tokenizer. */
entro_status en_hf_bpe_read_pair(en_hf_vocab *v, const en_json_node *vocab, en_span merges,
                                 const en_json_node *tokenizer_class, uint32_t n_vocab,
                                 en_meta *meta, entro_error *err);

#endif
