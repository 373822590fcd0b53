/*
 * windows.h - a text cut as llama.cpp cuts it, shared by what scores models.
 *
 *   text -> tokens (with the special ones the model wants) -> windows of n_ctx, the rest dropped
 *   window: first token replaced by BOS where the model adds one;
 *           the logits at positions n_ctx/2 .. n_ctx-2 are scored against the next token
 *
 * 255 scored tokens in a window of 512.  Each window starts with an empty context.
 */
#ifndef EN_EVAL_WINDOWS_H
#define EN_EVAL_WINDOWS_H

#include "engine/engine.h"

enum { EN_WINDOWS_MAX_CTX = 1 << 20 };

typedef struct en_windows {
    int32_t *tokens; /* of the text */
    size_t n_tokens;
    uint32_t n_ctx, n_windows, n_batch;
    int32_t bos;     /* -1: the model adds none */
    int32_t *window; /* n_ctx tokens of the window at hand */
} en_windows;

/* Tokens of 'text' by the model's tokenizer; at most n_windows windows (0: all).  The text must be a
 * window long. */
entro_status en_windows_open(en_windows *w, const entro_model *model, const char *text,
                             size_t n_text, uint32_t n_ctx, uint32_t n_windows, uint32_t n_batch,
                             entro_error *err);
void en_windows_close(en_windows *w); /* a zeroed one is fine */

/* A session with room for a window. */
entro_status en_windows_session(const en_windows *w, entro_session **out, const entro_model *model,
                                uint32_t n_threads, entro_kv_type kv_type, entro_error *err);

/* Makes window 'index' the one at hand. */
void en_windows_select(en_windows *w, uint32_t index);
/* The first half of the window at hand, which is not scored. */
entro_status en_windows_start(const en_windows *w, entro_session *session, entro_error *err);

static inline uint32_t en_windows_first(const en_windows *w)
{
    return w->n_ctx / 2;
}

static inline uint32_t en_windows_end(const en_windows *w)
{
    return w->n_ctx - 1;
}

/* Scored tokens from 'position' on that are decoded together. */
static inline uint32_t en_windows_batch(const en_windows *w, uint32_t position)
{
    uint32_t left = en_windows_end(w) - position;
    return left < w->n_batch ? left : w->n_batch;
}

/* A token that is scored is an index into logits, also when it is never decoded. */
entro_status en_windows_check_tokens(const entro_model *model, const int32_t *tokens, size_t n,
                                     entro_error *err);

/* log(sum(exp(logits))) */
double en_log_sum_exp(const float *logits, uint32_t n);

#endif
