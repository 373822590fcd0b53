/* eval_scorer.c - see eval_scorer.h. */
#include "eval/eval_scorer.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "eval/windows.h"

enum { DEFAULT_BATCH = 128 };

entro_status en_eval_scorer_open(en_eval_scorer *s, const entro_model *model, uint32_t n_threads,
                                 uint32_t n_batch, entro_kv_type kv_type, entro_error *err)
{
    *s = (en_eval_scorer){.n_batch = n_batch != 0 ? n_batch : DEFAULT_BATCH};
    entro_session_options so = {.struct_size = sizeof so,
                                .n_threads = n_threads,
                                .n_batch = s->n_batch,
                                .kv_type = kv_type};
    EN_TRY(en_session_open(&s->session, model, &so, err));
    s->n_ctx = en_session_n_ctx(s->session);
    s->n_vocab = en_model_n_vocab(model);
    s->known = en_alloc((size_t)s->n_ctx + 1, sizeof *s->known);
    s->log_p = en_alloc((size_t)s->n_ctx + 1, sizeof *s->log_p);
    s->logits = en_alloc(s->n_batch, s->n_vocab * sizeof *s->logits);
    if (s->known != NULL && s->log_p != NULL && s->logits != NULL)
        return ENTRO_OK;
    en_eval_scorer_close(s);
    return en_fail_memory(err);
}

void en_eval_scorer_close(en_eval_scorer *s)
{
    en_session_close(s->session);
    en_free(s->known);
    en_free(s->log_p);
    en_free(s->logits);
    *s = (en_eval_scorer){0};
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Tokens that the last sequence begins with, too. */
static uint32_t common(const en_eval_scorer *s, const int32_t *tokens, uint32_t n_tokens)
{
    uint32_t n = 0;
    while (n < n_tokens && n < s->n_known && s->known[n] == tokens[n])
        n++;
    return n;
}

/* Keeps the first 'n' tokens, of which the session may hold fewer; then evaluates up to 'end'. */
static entro_status advance(en_eval_scorer *s, const int32_t *tokens, uint32_t n, uint32_t end,
                            entro_error *err)
{
    en_session_truncate(s->session, n);
    n = en_session_n_past(s->session);
    s->n_known = n;
    EN_TRY(en_session_decode(s->session, tokens + n, end - n, err));
    for (uint32_t i = n; i < end; i++) {
        s->known[i] = tokens[i];
        s->log_p[i] = NAN;
    }
    s->n_known = end;
    s->n_evaluated += end - n;
    return ENTRO_OK;
}

/* Tokens from n_known on, each of which is scored.  The one before them is in the session or the next
 * to be; it is evaluated (again), because its logits score the first. */
static entro_status score_rest(en_eval_scorer *s, const int32_t *tokens, uint32_t n_tokens,
                               entro_error *err)
{
    uint32_t at = s->n_known - 1;
    en_session_truncate(s->session, at);
    for (uint32_t n; at < n_tokens - 1; at += n) {
        n = smaller(n_tokens - 1 - at, s->n_batch);
        EN_TRY(en_session_decode_all(s->session, tokens + at, n, s->logits, err));
        s->n_evaluated += n;
        for (uint32_t i = 0; i < n; i++) {
            const float *logits = s->logits + (size_t)i * s->n_vocab;
            int32_t next = tokens[at + i + 1];
            s->known[at + i + 1] = next;
            s->log_p[at + i + 1] = (double)logits[next] - en_log_sum_exp(logits, s->n_vocab);
        }
        s->n_known = at + n + 1;
    }
    return ENTRO_OK;
}

entro_status en_eval_scorer_score(en_eval_scorer *s, const int32_t *tokens, uint32_t n_tokens,
                                  uint32_t n_context, double *sum, entro_error *err)
{
    if (n_context == 0 || n_context >= n_tokens || n_tokens > s->n_ctx + 1)
        return en_fail(err, ENTRO_ERR_CONTEXT,
                       "%u tokens, %u of them context, do not fit into a context of %u", n_tokens,
                       n_context, s->n_ctx);
    uint32_t n_common = common(s, tokens, n_tokens), first = n_context;
    while (first < n_common && !isnan(s->log_p[first]))
        first++;
    if (first < n_tokens) {
        uint32_t in_session = smaller(n_common, en_session_n_past(s->session));
        if (in_session < first - 1)
            EN_TRY(advance(s, tokens, in_session, first - 1, err));
        if (n_common < first) {
            s->known[first - 1] = tokens[first - 1];
            s->log_p[first - 1] = NAN;
        }
        s->n_known = first;
        EN_TRY(score_rest(s, tokens, n_tokens, err));
    }
    *sum = 0;
    for (uint32_t i = n_context; i < n_tokens; i++)
        *sum += s->log_p[i];
    return ENTRO_OK;
}

entro_status en_eval_scorer_prompt(en_eval_scorer *s, const int32_t *tokens, uint32_t n_tokens,
                                   entro_error *err)
{
    if (n_tokens == 0 || n_tokens > s->n_ctx)
        return en_fail(err, ENTRO_ERR_CONTEXT, "a prompt of %u tokens in a context of %u", n_tokens,
                       s->n_ctx);
    uint32_t n = smaller(common(s, tokens, n_tokens), n_tokens - 1); /* the last one: its logits */
    return advance(s, tokens, n, n_tokens, err);
}

entro_status en_eval_scorer_append(en_eval_scorer *s, int32_t token, entro_error *err)
{
    EN_TRY(en_session_decode(s->session, &token, 1, err));
    s->n_evaluated++;
    s->known[s->n_known] = token;
    s->log_p[s->n_known++] = NAN;
    return ENTRO_OK;
}
