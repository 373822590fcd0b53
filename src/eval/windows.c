/* windows.c - see windows.h. */
#include "eval/windows.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

enum { MIN_CTX = 8, DEFAULT_BATCH = 128 };

static entro_status check(const entro_model *model, uint32_t n_ctx, entro_error *err)
{
    if (model->decoder == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the model was opened for its metadata only; open it without that option");
    if (model->tokenizer == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the model has no tokenizer, so a text cannot be scored");
    if (n_ctx < MIN_CTX || n_ctx > EN_WINDOWS_MAX_CTX)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "windows of %u tokens, expected %u to %u", n_ctx,
                       (unsigned)MIN_CTX, (unsigned)EN_WINDOWS_MAX_CTX);
    return ENTRO_OK;
}

entro_status en_windows_check_tokens(const entro_model *model, const int32_t *tokens, size_t n,
                                     entro_error *err)
{
    uint32_t n_vocab = en_model_n_vocab(model);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "the tokenizer gives token %d, the model's matrices go from 0 to %u",
                           tokens[i], n_vocab - 1);
    return ENTRO_OK;
}

static entro_status tokenize(en_windows *w, const entro_model *model, const char *text,
                             size_t n_text, entro_error *err)
{
    size_t n;
    EN_TRY(en_tokenizer_encode(model->tokenizer, text, n_text, true, false, NULL, 0, &n, err));
    w->tokens = en_alloc(n, sizeof *w->tokens);
    if (w->tokens == NULL)
        return en_fail_memory(err);
    EN_TRY(en_tokenizer_encode(model->tokenizer, text, n_text, true, false, w->tokens, n,
                               &w->n_tokens, err));
    return en_windows_check_tokens(model, w->tokens, w->n_tokens, err);
}

static entro_status open_new(en_windows *w, const entro_model *model, const char *text,
                             size_t n_text, uint32_t n_windows, entro_error *err)
{
    EN_TRY(tokenize(w, model, text, n_text, err));
    size_t n = w->n_tokens / w->n_ctx;
    if (n == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the text is %zu tokens long, one window needs %u; use a longer text or a "
                       "smaller context",
                       w->n_tokens, w->n_ctx);
    w->n_windows = n_windows != 0 && n_windows < n ? n_windows : (uint32_t)n;
    w->bos = en_tokenizer_adds_bos(model->tokenizer) ? en_tokenizer_bos(model->tokenizer) : -1;
    w->window = en_alloc(w->n_ctx, sizeof *w->window);
    return w->window != NULL ? ENTRO_OK : en_fail_memory(err);
}

entro_status en_windows_open(en_windows *w, const entro_model *model, const char *text,
                             size_t n_text, uint32_t n_ctx, uint32_t n_windows, uint32_t n_batch,
                             entro_error *err)
{
    *w = (en_windows){.n_ctx = n_ctx, .n_batch = n_batch != 0 ? n_batch : DEFAULT_BATCH};
    EN_TRY(check(model, n_ctx, err));
    w->n_batch = w->n_batch < n_ctx ? w->n_batch : n_ctx;
    entro_status status = open_new(w, model, text, n_text, n_windows, err);
    if (status != ENTRO_OK)
        en_windows_close(w);
    return status;
}

void en_windows_close(en_windows *w)
{
    en_free(w->tokens);
    en_free(w->window);
    w->tokens = w->window = NULL;
}

entro_status en_windows_session(const en_windows *w, entro_session **out, const entro_model *model,
                                uint32_t n_threads, entro_kv_type kv_type, entro_error *err)
{
    entro_session_options so = {.struct_size = sizeof so,
                                .n_ctx = w->n_ctx,
                                .n_threads = n_threads,
                                .n_batch = w->n_batch,
                                .kv_type = kv_type};
    return en_session_open(out, model, &so, err);
}

void en_windows_select(en_windows *w, uint32_t index)
{
    memcpy(w->window, w->tokens + (size_t)index * w->n_ctx, w->n_ctx * sizeof *w->window);
    if (w->bos >= 0)
        w->window[0] = w->bos;
}

entro_status en_windows_start(const en_windows *w, entro_session *session, entro_error *err)
{
    en_session_truncate(session, 0);
    return en_session_decode(session, w->window, en_windows_first(w), err);
}

double en_log_sum_exp(const float *logits, uint32_t n)
{
    float max = logits[0];
    for (uint32_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - max);
    return log(sum) + (double)max;
}
