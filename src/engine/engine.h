/*
 * engine.h - a loaded model and a running session: what the public handles are made of.
 *
 *   entro_model    source + container + weights + tokenizer, immutable
 *   entro_session  KV cache, activations, threads: one conversation
 */
#ifndef EN_ENGINE_ENGINE_H
#define EN_ENGINE_ENGINE_H

#include "container/container.h"
#include "engine/residency.h"
#include "text/tokenizer.h"

struct entro_model {
    en_source *source;
    en_container *container; /* NULL for a source that is run directly */
    en_decoder *decoder;     /* NULL when opened for its metadata only */
    en_tokenizer *tokenizer; /* NULL when the model has none */
    en_residency residency;
    /* Terminated copies of strings of the metadata, "" when absent. */
    char *architecture, *name, *recipe, *tool;
};

/* 'opt' NULL: all matrices stay coded. */
entro_status en_model_open(entro_model **out, const char *path, const entro_model_options *opt,
                           entro_error *err);
void en_model_close(entro_model *model);             /* NULL is fine */
uint32_t en_model_n_vocab(const entro_model *model); /* logits a token; needs the decoder */

/* The session functions of the public header, same contracts. */
entro_status en_session_open(entro_session **out, const entro_model *model,
                             const entro_session_options *opt, entro_error *err);
void en_session_close(entro_session *s);
entro_status en_session_decode(entro_session *s, const int32_t *tokens, size_t n_tokens,
                               entro_error *err);
entro_status en_session_decode_all(entro_session *s, const int32_t *tokens, size_t n_tokens,
                                   float *logits, entro_error *err);
const float *en_session_logits(const entro_session *s);
uint32_t en_session_n_past(const entro_session *s);
uint32_t en_session_n_ctx(const entro_session *s);
void en_session_truncate(entro_session *s, uint32_t n_keep);
void en_session_get_memory(const entro_session *s, entro_memory *memory);

/* What the output matrix made the logits of: a row of n_embd floats for each token of the last
 * decode_all() of at most n_batch tokens.  Borrowed until the next decode. */
const float *en_session_hidden(const entro_session *s);
/* Logits of such rows (at most n_batch), the same as decode_all() gave; the context stays as it is. */
entro_status en_session_output(entro_session *s, const float *hidden, uint32_t n_tokens,
                               float *logits, entro_error *err);

#endif
