/*
 * hf_tokenizer.h - the tokenizer of a Hugging Face folder as GGUF's tokenizer.* keys.
 *
 * Pieces and scores come from tokenizer.model where there is one, as converters do it; else from
 * tokenizer.json; else from vocab.json and merges.txt.  Added tokens, special ids and the chat
 * template are gathered from all files that may name them.
 *
 * Four keys are our own, for what GGUF cannot say; they are written when they say something:
 *   entrollm.tokenizer.nfc                      text is brought to NFC first
 *   entrollm.tokenizer.strip                    u8 a token: 1 swallows white space before it, 2
 *                                               after it
 *   entrollm.tokenizer.space_prefix_once        the space goes in front of the first stretch of
 *                                               text only, not after each special token
 *   entrollm.tokenizer.space_prefix_if_missing  and only where there is none yet (Metaspace)
 */
#ifndef EN_FORMATS_HF_TOKENIZER_H
#define EN_FORMATS_HF_TOKENIZER_H

#include "formats/json_parse.h"
#include "formats/metadata.h"

/* The files, NULL where absent: roots of JSON files and bytes of others. */
typedef struct en_hf_tokenizer_files {
    const en_json_node *tokenizer;     /* tokenizer.json */
    const en_json_node *config;        /* tokenizer_config.json */
    const en_json_node *special;       /* special_tokens_map.json */
    const en_json_node *added;         /* added_tokens.json */
    const en_json_node *generation;    /* generation_config.json */
    const en_json_node *vocab;         /* vocab.json */
    const en_json_node *model_config;  /* config.json */
    const en_json_node *template_json; /* chat_template.json */
    en_span sentencepiece;             /* tokenizer.model */
    en_span merges;                    /* merges.txt */
    en_span template_text;             /* chat_template.jinja */
} en_hf_tokenizer_files;

/* Sets the tokenizer.* keys; none when there is no vocabulary.  n_vocab: rows of the embedding,
 * ids without a token are named "[PAD12]"; 0: as many as the vocabulary has. */
entro_status en_hf_tokenizer_build(en_meta *meta, const en_hf_tokenizer_files *files,
                                   uint32_t n_vocab, entro_error *err);

/* The same from a folder; 'model_config' is the root of its config.json. */
entro_status en_hf_tokenizer_load(en_meta *meta, const char *folder,
                                  const en_json_node *model_config, uint32_t n_vocab,
                                  entro_error *err);

#endif
