/*
 * eval_scorer.h - log-likelihoods of token sequences, sharing what they have in common.
 *
 *   in the session:  | common beginning | rest of the last sequence |
 *   next sequence:   | common beginning | its own rest              |    only this is evaluated
 *
 * So the context of a question is evaluated once, and of choices that begin alike only what
 * differs; few-shot examples ahead of every prompt are evaluated for the first one.
 */
#ifndef EN_EVAL_EVAL_SCORER_H
#define EN_EVAL_EVAL_SCORER_H

#include "engine/engine.h"

typedef struct en_eval_scorer {
    entro_session *session;
    uint32_t n_ctx, n_batch, n_vocab;
    int32_t *known; /* the last sequence, n_ctx + 1 at most */
    double *log_p;  /* of each known token given those before it; NAN where nobody asked */
    uint32_t n_known;
    float *logits; /* n_batch x n_vocab */
    uint64_t n_evaluated;
} en_eval_scorer;

entro_status en_eval_scorer_open(en_eval_scorer *s, const entro_model *model, uint32_t n_threads,
                                 uint32_t n_batch, entro_kv_type kv_type, entro_error *err);
void en_eval_scorer_close(en_eval_scorer *s); /* a zeroed one is fine */

/* Sum of log p of tokens[n_context, n_tokens), each given those before it; 1 <= n_context < n_tokens
 * <= n_ctx + 1. */
entro_status en_eval_scorer_score(en_eval_scorer *s, const int32_t *tokens, uint32_t n_tokens,
                                  uint32_t n_context, double *sum, entro_error *err);

/* Makes the context hold exactly these tokens, 1 to n_ctx; the session has the logits after them. */
entro_status en_eval_scorer_prompt(en_eval_scorer *s, const int32_t *tokens, uint32_t n_tokens,
                                   entro_error *err);
/* Adds a token to it, and the logits are those after it. */
entro_status en_eval_scorer_append(en_eval_scorer *s, int32_t token, entro_error *err);

#endif
