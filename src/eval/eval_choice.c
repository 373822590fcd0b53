/*
 * eval_choice.c - multiple choice and partial evaluation.
 *
 *   acc        the choice with the largest sum of log p of its tokens is the right one
 *   acc_norm   likewise, each sum divided by the choice's length in bytes
 *
 * Context and continuation are cut into tokens together, as lm-evaluation-harness does it: the
 * continuation's tokens are those of the whole behind as many as the context has alone.
 */
#include "eval/eval_ask.h"

#include "base/memory.h"

/* Where the model wants no BOS and there is no context, something must stand in front all the same. */
static entro_status put_first(en_eval_job *job, entro_error *err)
{
    const en_tokenizer *t = job->model->tokenizer;
    int32_t id = en_tokenizer_bos(t) >= 0 ? en_tokenizer_bos(t) : en_tokenizer_eos(t);
    if (id < 0)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "question %u has no context, and the model no BOS or EOS to begin with",
                       job->n_asked);
    job->tokens.ids[0] = id;
    job->tokens.n = 1;
    return ENTRO_OK;
}

/* Tokens of the pair; *n_context of them are context. */
static entro_status tokenize_pair(en_eval_job *job, const en_eval_pair *pair, size_t *n_context,
                                  entro_error *err)
{
    en_eval_tokens *tokens = &job->tokens, *whole = &job->whole;
    en_span context = en_eval_task_text(job->task, pair->context);
    en_span continuation = en_eval_task_text(job->task, pair->continuation);
    job->n_text = 0;
    EN_TRY(en_eval_put(job, context, err));
    EN_TRY(en_eval_put(job, continuation, err));
    EN_TRY(en_eval_tokenize(job->model, context, false, tokens, err));
    EN_TRY(en_eval_tokenize(job->model, (en_span){job->text, job->n_text}, false, whole, err));
    size_t skip = tokens->n;
    if (skip >= whole->n) { /* they merge into one token */
        EN_TRY(en_eval_tokenize(job->model, continuation, false, whole, err));
        skip = whole->n > 1 && en_tokenizer_adds_bos(job->model->tokenizer);
    }
    size_t n_more = whole->n - skip;
    if (!en_grow((void **)&tokens->ids, &tokens->cap, tokens->n + n_more + 1, SIZE_MAX / 8,
                 sizeof *tokens->ids))
        return en_fail_memory(err);
    if (tokens->n == 0)
        EN_TRY(put_first(job, err));
    *n_context = tokens->n;
    for (size_t i = 0; i < n_more; i++)
        tokens->ids[tokens->n++] = whole->ids[skip + i];
    return ENTRO_OK;
}

static entro_status score_pair(en_eval_job *job, const en_eval_pair *pair, double *sum, bool *cut,
                               entro_error *err)
{
    size_t n_context = 0, room = (size_t)job->scorer.n_ctx + 1;
    EN_TRY(tokenize_pair(job, pair, &n_context, err));
    size_t n = job->tokens.n, skip = n > room ? n - room : 0;
    if (skip >= n_context)
        return en_fail(err, ENTRO_ERR_CONTEXT,
                       "a choice has %zu tokens, more than the model's context of %u",
                       n - n_context, job->scorer.n_ctx);
    *cut |= skip > 0;
    return en_eval_scorer_score(&job->scorer, job->tokens.ids + skip, (uint32_t)(n - skip),
                                (uint32_t)(n_context - skip), sum, err);
}

/* The first of the best, 'by_bytes' or as they are. */
static uint32_t best(const en_eval_job *job, const en_eval_question *q, bool by_bytes)
{
    uint32_t top = 0;
    double top_value = 0;
    for (uint32_t i = 0; i < q->n_pairs; i++) {
        double value = job->log_likelihoods[i];
        if (by_bytes)
            value /= (double)job->task->pairs[q->first_pair + i].n_norm;
        if (i == 0 || value > top_value) {
            top = i;
            top_value = value;
        }
    }
    return top;
}

entro_status en_eval_ask_choice(en_eval_job *job, entro_eval_answer *answer, entro_error *err)
{
    const en_eval_question *q = &job->task->questions[answer->question];
    bool cut = false;
    for (uint32_t i = 0; i < q->n_pairs; i++)
        EN_TRY(score_pair(job, &job->task->pairs[q->first_pair + i], &job->log_likelihoods[i], &cut,
                          err));
    job->n_cut += cut;
    answer->n_choices = q->n_pairs;
    answer->gold = q->gold;
    answer->log_likelihoods = job->log_likelihoods;
    answer->right[0] = best(job, q, false) == q->gold;
    if (job->task->kind == ENTRO_EVAL_CHOICE)
        answer->right[1] = best(job, q, true) == q->gold;
    return ENTRO_OK;
}
