/*
 * perplexity.c - see perplexity.h.
 *
 *   text -> tokens (with the special ones the model wants) -> windows of n_ctx, the rest dropped
 *   window: first token replaced by BOS where the model adds one;
 *           the logits at positions n_ctx/2 .. n_ctx-2 are scored against the next token
 *
 * 255 scored tokens in a window of 512.  Each window starts with an empty context.
 */
#include "eval/perplexity.h"

#include <math.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "engine/engine.h"

enum { MIN_CTX = 8, MAX_CTX = 1 << 20, DEFAULT_BATCH = 128 };

#define REPORT_SECONDS 0.1

typedef struct job {
    const entro_perplexity_options *opt;
    entro_session *session;
    const int32_t *tokens;
    uint32_t n_ctx, n_windows, n_batch, n_vocab;
    int32_t bos;     /* -1: the model adds none */
    int32_t *window; /* n_ctx */
    float *logits;   /* n_batch x n_vocab */
    double sum, sum_of_squares;
    uint64_t n_scored;
    double last_report;
} job;

/* Negative log-probability of 'token', in nats. */
static double score(const float *logits, uint32_t n_vocab, int32_t token)
{
    float max = logits[0];
    for (uint32_t i = 1; i < n_vocab; i++)
        max = logits[i] > max ? logits[i] : max;
    double sum = 0.0;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += (double)expf(logits[i] - max);
    return log(sum) - (double)(logits[token] - max);
}

static entro_status report(job *j, uint32_t window, entro_error *err)
{
    double now = en_clock_seconds();
    bool last = window == j->n_windows;
    if (j->opt->progress == NULL || (!last && now - j->last_report < REPORT_SECONDS))
        return ENTRO_OK;
    j->last_report = now;
    entro_progress progress = {
        .stage = "perplexity",
        .done = window,
        .total = j->n_windows,
        .unit = "window",
        .value = j->n_scored > 0 ? exp(j->sum / (double)j->n_scored) : NAN,
    };
    if (!j->opt->progress(j->opt->progress_user, &progress))
        return en_fail(err, ENTRO_ERR_CANCELLED, "cancelled after %u of %u windows", window,
                       j->n_windows);
    return ENTRO_OK;
}

static entro_status run_window(job *j, uint32_t w, entro_error *err)
{
    uint32_t first = j->n_ctx / 2, last = j->n_ctx - 1;
    const int32_t *tokens = j->tokens + (size_t)w * j->n_ctx;
    for (uint32_t i = 0; i < j->n_ctx; i++)
        j->window[i] = tokens[i];
    if (j->bos >= 0)
        j->window[0] = j->bos;
    en_session_truncate(j->session, 0);
    EN_TRY(en_session_decode(j->session, j->window, first, err));
    for (uint32_t i = first; i < last;) {
        uint32_t n = last - i < j->n_batch ? last - i : j->n_batch;
        EN_TRY(en_session_decode_all(j->session, j->window + i, n, j->logits, err));
        for (uint32_t t = 0; t < n; t++) {
            double nll = score(j->logits + (size_t)t * j->n_vocab, j->n_vocab, tokens[i + t + 1]);
            j->sum += nll;
            j->sum_of_squares += nll * nll;
        }
        j->n_scored += n;
        i += n;
        EN_TRY(report(j, i < last ? w : w + 1, err));
    }
    return ENTRO_OK;
}

static entro_status tokenize(const entro_model *model, const char *text, size_t n_text,
                             int32_t **tokens, size_t *n_tokens, entro_error *err)
{
    size_t n;
    *tokens = NULL;
    EN_TRY(en_tokenizer_encode(model->tokenizer, text, n_text, true, false, NULL, 0, &n, err));
    *tokens = en_alloc(n, sizeof **tokens);
    if (*tokens == NULL)
        return en_fail_memory(err);
    return en_tokenizer_encode(model->tokenizer, text, n_text, true, false, *tokens, n, n_tokens,
                               err);
}

static entro_status check(const entro_model *model, const entro_perplexity_options *opt,
                          entro_error *err)
{
    if (model->decoder == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the model was opened for its metadata only; open it without that option");
    if (model->tokenizer == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the model has no tokenizer, so a text cannot be scored");
    if (opt->n_ctx < MIN_CTX || opt->n_ctx > MAX_CTX)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "windows of %u tokens, expected %u to %u",
                       opt->n_ctx, (unsigned)MIN_CTX, (unsigned)MAX_CTX);
    return ENTRO_OK;
}

/* As llama.cpp: the standard error of the mean, carried through the exponential. */
static void fill_report(const job *j, size_t n_tokens, double seconds, entro_perplexity_report *out)
{
    double n = (double)j->n_scored, mean = j->sum / n;
    double variance = j->sum_of_squares / n - mean * mean;
    *out = (entro_perplexity_report){
        .perplexity = exp(mean),
        .perplexity_error =
            variance > 0.0 && n > 1.0 ? sqrt(variance / (n - 1.0)) * exp(mean) : 0.0,
        .nll = mean,
        .n_scored = j->n_scored,
        .n_windows = j->n_windows,
        .n_tokens = n_tokens,
        .seconds = seconds,
    };
}

static entro_status run(job *j, const entro_model *model, size_t n_tokens,
                        entro_perplexity_report *out, entro_error *err)
{
    double start = en_clock_seconds();
    size_t n_windows = n_tokens / j->n_ctx;
    if (n_windows == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the text is %zu tokens long, one window needs %u; use a longer text or a "
                       "smaller context",
                       n_tokens, j->n_ctx);
    if (j->opt->n_windows != 0 && j->opt->n_windows < n_windows)
        n_windows = j->opt->n_windows;
    j->n_windows = (uint32_t)n_windows;
    j->n_vocab = en_model_n_vocab(model);
    if (en_tokenizer_adds_bos(model->tokenizer))
        j->bos = en_tokenizer_bos(model->tokenizer);
    entro_session_options so = {.struct_size = sizeof so,
                                .n_ctx = j->n_ctx,
                                .n_threads = j->opt->n_threads,
                                .n_batch = j->n_batch};
    EN_TRY(en_session_open(&j->session, model, &so, err));
    j->window = en_alloc(j->n_ctx, sizeof *j->window);
    j->logits = en_alloc(j->n_batch, j->n_vocab * sizeof *j->logits);
    if (j->window == NULL || j->logits == NULL)
        return en_fail_memory(err);
    for (uint32_t w = 0; w < j->n_windows; w++)
        EN_TRY(run_window(j, w, err));
    if (out != NULL)
        fill_report(j, n_tokens, en_clock_seconds() - start, out);
    return ENTRO_OK;
}

entro_status en_perplexity(const entro_model *model, const char *text, size_t n_text,
                           const entro_perplexity_options *opt, entro_perplexity_report *report_out,
                           entro_error *err)
{
    EN_TRY(check(model, opt, err));
    uint32_t n_batch = opt->n_batch != 0 ? opt->n_batch : DEFAULT_BATCH;
    job j = {.opt = opt,
             .n_ctx = opt->n_ctx,
             .n_batch = n_batch < opt->n_ctx ? n_batch : opt->n_ctx,
             .bos = -1};
    int32_t *tokens;
    size_t n_tokens;
    entro_status status = tokenize(model, text, n_text, &tokens, &n_tokens, err);
    j.tokens = tokens;
    if (status == ENTRO_OK)
        status = run(&j, model, n_tokens, report_out, err);
    en_session_close(j.session);
    en_free(j.window);
    en_free(j.logits);
    en_free(tokens);
    return status;
}
