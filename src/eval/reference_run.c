/* reference_run.c - see reference_run.h. */
#include "eval/reference_run.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

typedef struct job {
    en_windows *windows;
    entro_session *session;
    uint32_t n_embd, n_vocab;
    float *logits; /* n_batch x n_vocab */
    float *rows;   /* of a window */
    double nll;
    uint64_t n_scored;
    en_eval_progress *progress;
} job;

static entro_status run_window(job *j, uint32_t index, entro_error *err)
{
    en_windows *w = j->windows;
    en_windows_select(w, index);
    EN_TRY(en_windows_start(w, j->session, err));
    for (uint32_t i = en_windows_first(w), n; i < en_windows_end(w); i += n) {
        n = en_windows_batch(w, i);
        EN_TRY(en_session_decode_all(j->session, w->window + i, n, j->logits, err));
        memcpy(j->rows + (size_t)(i - en_windows_first(w)) * j->n_embd,
               en_session_hidden(j->session), (size_t)n * j->n_embd * sizeof *j->rows);
        for (uint32_t t = 0; t < n; t++) {
            const float *logits = j->logits + (size_t)t * j->n_vocab;
            j->nll += en_log_sum_exp(logits, j->n_vocab) - (double)logits[w->window[i + t + 1]];
        }
        j->n_scored += n;
        EN_TRY(en_eval_progress_reach(j->progress, i + n < en_windows_end(w) ? index : index + 1,
                                      w->n_windows, exp(j->nll / (double)j->n_scored), err));
    }
    return ENTRO_OK;
}

static entro_status run(job *j, en_reference_writer *writer, entro_error *err)
{
    const en_windows *w = j->windows;
    j->logits = en_alloc(w->n_batch, j->n_vocab * sizeof *j->logits);
    j->rows = en_alloc(w->n_ctx, j->n_embd * sizeof *j->rows);
    if (j->logits == NULL || j->rows == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < w->n_windows; i++) {
        EN_TRY(run_window(j, i, err));
        EN_TRY(en_reference_writer_put(writer, w->tokens + (size_t)i * w->n_ctx, j->rows, err));
    }
    return en_reference_writer_finish(writer, err);
}

entro_status en_reference_run(en_windows *windows, const entro_model *model, entro_session *session,
                              uint64_t identity, const char *path, bool overwrite,
                              en_eval_progress *progress, entro_error *err)
{
    job j = {.windows = windows, .session = session, .progress = progress};
    en_reference_writer writer;
    j.n_embd = model->decoder->hp.n_embd;
    j.n_vocab = en_model_n_vocab(model);
    EN_TRY(en_reference_writer_open(&writer, path, overwrite, windows, identity, j.n_embd, err));
    entro_status status = run(&j, &writer, err);
    en_reference_writer_abort(&writer);
    en_free(j.logits);
    en_free(j.rows);
    return status;
}
