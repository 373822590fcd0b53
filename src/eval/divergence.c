/*
 * divergence.c - see divergence.h.
 *
 *   KLD of a token = sum over the vocabulary of p_ref (log p_ref - log p_model), nats
 *
 * over the windows and tokens of perplexity (windows.h), as llama.cpp's --kl-divergence defines it; but
 * from the logits themselves, where llama.cpp stores those of the reference in 16 bits, nothing more than
 * 16 below the largest, and leaves out what is less likely than exp(-16).
 *
 * Both models run side by side and nothing is kept but a batch of logits; or the reference has run
 * before, and its logits come from a file, the same to the last bit (reference_cache.h).
 */
#include "eval/divergence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "eval/eval_progress.h"
#include "eval/reference_run.h"

typedef struct side {
    entro_session *session;
    float *logits; /* n_batch x n_vocab */
    double nll;    /* sum */
} side;

typedef struct job {
    const entro_divergence_options *opt;
    en_windows windows;
    uint32_t n_vocab;
    side reference, model;
    double *kld; /* of each scored token */
    en_map map;  /* the reference's predictions, when they are kept in a file */
    en_reference_cache cache;
    bool reused;   /* the file was there */
    float *hidden; /* rows of a batch out of it */
    uint64_t n_scored, n_same_top;
    en_eval_progress progress;
} job;

static uint32_t top_of(const float *logits, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        top = logits[i] > logits[top] ? i : top;
    return top;
}

static void score(job *j, const float *ref, const float *mod, int32_t token)
{
    uint32_t n = j->n_vocab;
    double ref_sum = en_log_sum_exp(ref, n), mod_sum = en_log_sum_exp(mod, n), kld = 0;
    for (uint32_t i = 0; i < n; i++) {
        double log_p = (double)ref[i] - ref_sum;
        kld += (double)expf((float)log_p) * (log_p - ((double)mod[i] - mod_sum));
    }
    j->reference.nll += ref_sum - (double)ref[token];
    j->model.nll += mod_sum - (double)mod[token];
    j->n_same_top += top_of(ref, n) == top_of(mod, n);
    j->kld[j->n_scored++] = kld;
}

/* Logits of the reference: run side by side, or from what a run before has left. */
static entro_status reference_logits(job *j, uint32_t position, uint32_t n, const uint8_t *rows,
                                     entro_error *err)
{
    en_windows *w = &j->windows;
    side *r = &j->reference;
    if (rows == NULL)
        return en_session_decode_all(r->session, w->window + position, n, r->logits, err);
    size_t n_embd = j->cache.n_embd, first = position - en_windows_first(w);
    memcpy(j->hidden, rows + first * n_embd * sizeof *j->hidden, n * n_embd * sizeof *j->hidden);
    return en_session_output(r->session, j->hidden, n, r->logits, err);
}

static double mean_kld(const job *j)
{
    double sum = 0;
    for (uint64_t i = 0; i < j->n_scored; i++)
        sum += j->kld[i];
    return sum / (double)j->n_scored;
}

static entro_status start_reference(job *j, uint32_t index, const uint8_t **rows, entro_error *err)
{
    if (j->cache.data == NULL)
        return en_windows_start(&j->windows, j->reference.session, err);
    entro_status status = en_reference_cache_window(&j->cache, index, rows, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", j->opt->cache);
    return status;
}

static entro_status run_window(job *j, uint32_t index, entro_error *err)
{
    en_windows *w = &j->windows;
    const uint8_t *rows = NULL;
    en_windows_select(w, index);
    EN_TRY(start_reference(j, index, &rows, err));
    EN_TRY(en_windows_start(w, j->model.session, err));
    for (uint32_t i = en_windows_first(w), n; i < en_windows_end(w); i += n) {
        n = en_windows_batch(w, i);
        EN_TRY(reference_logits(j, i, n, rows, err));
        EN_TRY(en_session_decode_all(j->model.session, w->window + i, n, j->model.logits, err));
        for (uint32_t t = 0; t < n; t++)
            score(j, j->reference.logits + (size_t)t * j->n_vocab,
                  j->model.logits + (size_t)t * j->n_vocab, w->window[i + t + 1]);
        EN_TRY(en_eval_progress_reach(&j->progress, i + n < en_windows_end(w) ? index : index + 1,
                                      w->n_windows, mean_kld(j), err));
    }
    return ENTRO_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The worst tokens first, as they stand in the text. */
static void find_worst(const job *j, entro_divergence_report *out)
{
    uint32_t per_window = en_windows_end(&j->windows) - en_windows_first(&j->windows);
    for (uint64_t i = 0; i < j->n_scored; i++) {
        uint32_t window = (uint32_t)(i / per_window);
        entro_worst_token t = {.kld = j->kld[i], .window = window};
        t.position = en_windows_first(&j->windows) + (uint32_t)(i % per_window);
        t.token = j->windows.tokens[(size_t)window * j->windows.n_ctx + t.position + 1];
        for (uint32_t k = 0; k < ENTRO_N_WORST; k++)
            if (k >= out->n_worst || t.kld > out->worst[k].kld) {
                entro_worst_token next = out->worst[k];
                out->worst[k] = t;
                if (k >= out->n_worst) {
                    out->n_worst = k + 1;
                    break;
                }
                t = next;
            }
    }
}

static void fill_report(job *j, double seconds, entro_divergence_report *out)
{
    double n = (double)j->n_scored, sum = 0, squares = 0;
    for (uint64_t i = 0; i < j->n_scored; i++) {
        sum += j->kld[i];
        squares += j->kld[i] * j->kld[i];
    }
    double mean = sum / n, variance = squares / n - mean * mean;
    *out = (entro_divergence_report){
        .kld = mean,
        .kld_error = variance > 0 && n > 1 ? sqrt(variance / (n - 1)) : 0,
        .same_top = (double)j->n_same_top / n,
        .reference_perplexity = exp(j->reference.nll / n),
        .perplexity = exp(j->model.nll / n),
        .n_scored = j->n_scored,
        .n_windows = j->windows.n_windows,
        .seconds = seconds,
        .reference_reused = j->reused,
    };
    find_worst(j, out);
    qsort(j->kld, j->n_scored, sizeof *j->kld, compare_doubles);
    out->kld_median = j->kld[j->n_scored / 2];
    out->kld_99 = j->kld[(uint64_t)(0.99 * (n - 1))];
    out->kld_max = j->kld[j->n_scored - 1];
}

static entro_status open_side(job *j, side *s, const entro_model *model, entro_kv_type kv_type,
                              entro_error *err)
{
    EN_TRY(en_windows_session(&j->windows, &s->session, model, j->opt->n_threads, kv_type, err));
    s->logits = en_alloc(j->windows.n_batch, j->n_vocab * sizeof *s->logits);
    return s->logits != NULL ? ENTRO_OK : en_fail_memory(err);
}

/* The reference's predictions are in the file afterwards: they were, or are made now. */
static entro_status open_cache(job *j, const entro_model *reference, entro_error *err)
{
    const char *path = j->opt->cache;
    uint64_t identity = 0;
    uint32_t n_embd = reference->decoder->hp.n_embd;
    EN_TRY(en_model_identity(reference, &identity, err));
    j->reused = en_path_exists(path) && !j->opt->overwrite_cache;
    if (!j->reused) {
        en_eval_progress progress = j->progress;
        progress.stage = "reference";
        EN_TRY(en_reference_run(&j->windows, reference, j->reference.session, identity, path,
                                j->opt->overwrite_cache, &progress, err));
    }
    EN_TRY(en_map_open(&j->map, path, err));
    entro_status status = en_reference_cache_parse(&j->cache, j->map.data, j->map.n_bytes, err);
    if (status == ENTRO_OK)
        status = en_reference_cache_check(&j->cache, &j->windows, identity, n_embd, err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", path);
        return status;
    }
    j->hidden = en_alloc(j->windows.n_batch, n_embd * sizeof *j->hidden);
    return j->hidden != NULL ? ENTRO_OK : en_fail_memory(err);
}

static entro_status run(job *j, const entro_model *reference, const entro_model *model,
                        entro_divergence_report *out, entro_error *err)
{
    double start = en_clock_seconds();
    EN_TRY(open_side(j, &j->reference, reference, ENTRO_KV_F16, err));
    EN_TRY(open_side(j, &j->model, model, j->opt->kv_type, err));
    j->kld = en_alloc((size_t)j->windows.n_windows * j->windows.n_ctx, sizeof *j->kld);
    if (j->kld == NULL)
        return en_fail_memory(err);
    if (j->opt->cache != NULL)
        EN_TRY(open_cache(j, reference, err));
    for (uint32_t i = 0; i < j->windows.n_windows; i++)
        EN_TRY(run_window(j, i, err));
    fill_report(j, en_clock_seconds() - start, out);
    return ENTRO_OK;
}

entro_status en_divergence(const entro_model *reference, const entro_model *model, const char *text,
                           size_t n_text, const entro_divergence_options *opt,
                           entro_divergence_report *report_out, entro_error *err)
{
    job j = {.opt = opt};
    j.progress = (en_eval_progress){opt->progress, opt->progress_user, "KLD", "window", 0};
    EN_TRY(en_windows_open(&j.windows, reference, text, n_text, opt->n_ctx, opt->n_windows,
                           opt->n_batch, err));
    entro_status status = ENTRO_OK;
    j.n_vocab = en_model_n_vocab(reference);
    if (model->decoder == NULL || en_model_n_vocab(model) != j.n_vocab)
        status = en_fail(err, ENTRO_ERR_ARGUMENT,
                         "the models have different vocabularies: predictions cannot be compared");
    if (status == ENTRO_OK)
        status = run(&j, reference, model, report_out, err);
    en_session_close(j.reference.session);
    en_session_close(j.model.session);
    en_free(j.reference.logits);
    en_free(j.model.logits);
    en_free(j.kld);
    en_free(j.hidden);
    en_map_close(&j.map);
    en_windows_close(&j.windows);
    return status;
}
