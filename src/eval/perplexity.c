/* perplexity.c - see perplexity.h. */
#include "eval/perplexity.h"

#include <math.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "eval/eval_progress.h"
#include "eval/windows.h"

typedef struct job {
    const entro_perplexity_options *opt;
    en_windows windows;
    entro_session *session;
    uint32_t n_vocab;
    float *logits; /* n_batch x n_vocab */
    double sum, sum_of_squares;
    uint64_t n_scored;
    en_eval_progress progress;
} job;

/* Adds the negative log-probability of 'token', in nats. */
static void score(job *j, const float *logits, int32_t token)
{
    double nll = en_log_sum_exp(logits, j->n_vocab) - (double)logits[token];
    j->sum += nll;
    j->sum_of_squares += nll * nll;
    j->n_scored++;
}

static entro_status run_window(job *j, uint32_t index, entro_error *err)
{
    en_windows *w = &j->windows;
    en_windows_select(w, index);
    EN_TRY(en_windows_start(w, j->session, err));
    for (uint32_t i = en_windows_first(w), n; i < en_windows_end(w); i += n) {
        n = en_windows_batch(w, i);
        EN_TRY(en_session_decode_all(j->session, w->window + i, n, j->logits, err));
        for (uint32_t t = 0; t < n; t++)
            score(j, j->logits + (size_t)t * j->n_vocab, w->window[i + t + 1]);
        EN_TRY(en_eval_progress_reach(&j->progress, i + n < en_windows_end(w) ? index : index + 1,
                                      w->n_windows, exp(j->sum / (double)j->n_scored), err));
    }
    return ENTRO_OK;
}

/* As llama.cpp: the standard error of the mean, carried through the exponential. */
static void fill_report(const job *j, double seconds, entro_perplexity_report *out)
{
    double n = (double)j->n_scored, mean = j->sum / n;
    double variance = j->sum_of_squares / n - mean * mean;
    *out = (entro_perplexity_report){
        .perplexity = exp(mean),
        .perplexity_error =
            variance > 0.0 && n > 1.0 ? sqrt(variance / (n - 1.0)) * exp(mean) : 0.0,
        .nll = mean,
        .n_scored = j->n_scored,
        .n_windows = j->windows.n_windows,
        .n_tokens = j->windows.n_tokens,
        .seconds = seconds,
    };
}

static entro_status run(job *j, const entro_model *model, entro_perplexity_report *out,
                        entro_error *err)
{
    double start = en_clock_seconds();
    j->n_vocab = en_model_n_vocab(model);
    EN_TRY(en_windows_session(&j->windows, &j->session, model, j->opt->n_threads, j->opt->kv_type,
                              err));
    j->logits = en_alloc(j->windows.n_batch, j->n_vocab * sizeof *j->logits);
    if (j->logits == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < j->windows.n_windows; i++)
        EN_TRY(run_window(j, i, err));
    if (out != NULL)
        fill_report(j, en_clock_seconds() - start, out);
    return ENTRO_OK;
}

entro_status en_perplexity(const entro_model *model, const char *text, size_t n_text,
                           const entro_perplexity_options *opt, entro_perplexity_report *report_out,
                           entro_error *err)
{
    job j = {.opt = opt};
    j.progress = (en_eval_progress){opt->progress, opt->progress_user, "perplexity", "window", 0};
    EN_TRY(en_windows_open(&j.windows, model, text, n_text, opt->n_ctx, opt->n_windows,
                           opt->n_batch, err));
    entro_status status = run(&j, model, report_out, err);
    en_session_close(j.session);
    en_free(j.logits);
    en_windows_close(&j.windows);
    return status;
}
