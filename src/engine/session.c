/*
 * session.c - one conversation: the context so far, cut into batches for the decoder.
 */
#include "base/memory.h"
#include "engine/engine.h"
#include "model/decoder.h"
#include "quant/finite.h"

enum {
    DEFAULT_MAX_CTX = 4096,
    DEFAULT_CTX = 2048, /* the model does not say what it was trained for */
    DEFAULT_BATCH = 128,
    MAX_CTX = 1 << 24,
    MAX_BATCH = 1 << 14,
};

struct entro_session {
    const entro_model *model;
    en_decoder_state *state;
    float *logits; /* n_vocab, after the last token */
    bool has_logits;
    uint32_t n_past;
};

static entro_status choose_sizes(const entro_model *model, const entro_session_options *opt,
                                 uint32_t *n_ctx, uint32_t *n_batch, entro_error *err)
{
    uint32_t trained = model->decoder->hp.n_ctx_train;
    *n_ctx = opt->n_ctx;
    if (*n_ctx == 0)
        *n_ctx = trained == 0 ? DEFAULT_CTX : trained < DEFAULT_MAX_CTX ? trained : DEFAULT_MAX_CTX;
    if (*n_ctx > MAX_CTX)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "a context of %u tokens was asked for, at most %u are possible; the model "
                       "was trained for %u",
                       *n_ctx, (unsigned)MAX_CTX, trained);
    *n_batch = opt->n_batch != 0 ? opt->n_batch : DEFAULT_BATCH;
    if (*n_batch > MAX_BATCH)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "batches of %u tokens were asked for, at most %u are possible", *n_batch,
                       (unsigned)MAX_BATCH);
    if (*n_batch > *n_ctx)
        *n_batch = *n_ctx;
    if (opt->kv_type != ENTRO_KV_F16 && opt->kv_type != ENTRO_KV_INT8)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "a KV cache of type %d was asked for, expected ENTRO_KV_F16 (%d) or "
                       "ENTRO_KV_INT8 (%d)",
                       (int)opt->kv_type, ENTRO_KV_F16, ENTRO_KV_INT8);
    return ENTRO_OK;
}

entro_status en_session_open(entro_session **out, const entro_model *model,
                             const entro_session_options *opt, entro_error *err)
{
    if (model->decoder == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the model was opened for its metadata only; open it without that option");
    uint32_t n_ctx = 0, n_batch = 0;
    EN_TRY(choose_sizes(model, opt, &n_ctx, &n_batch, err));
    entro_session *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    s->model = model;
    entro_status status = en_decoder_state_new(&s->state, model->decoder, n_ctx, n_batch,
                                               opt->n_threads, opt->kv_type, err);
    if (status == ENTRO_OK) {
        s->logits = en_alloc(model->decoder->hp.n_vocab, sizeof *s->logits);
        if (s->logits == NULL)
            status = en_fail_memory(err);
    }
    if (status != ENTRO_OK) {
        en_session_close(s);
        return status;
    }
    *out = s;
    return ENTRO_OK;
}

void en_session_close(entro_session *s)
{
    if (s == NULL)
        return;
    en_decoder_state_free(s->state);
    en_free(s->logits);
    en_free(s);
}

static entro_status check_tokens(const entro_session *s, const int32_t *tokens, size_t n_tokens,
                                 entro_error *err)
{
    const en_hparams *hp = &s->model->decoder->hp;
    uint32_t n_ctx = s->state->cache.n_ctx;
    if (n_tokens > n_ctx - s->n_past)
        return en_fail(err, ENTRO_ERR_CONTEXT,
                       "the context holds %u tokens, %u are used and %zu more do not fit; try a "
                       "larger context (-c N; the model was trained for %u) or a shorter text",
                       n_ctx, s->n_past, n_tokens, hp->n_ctx_train);
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= hp->n_vocab)
            return en_fail(err, ENTRO_ERR_ARGUMENT,
                           "token %zu is %d, the model's ids go from 0 to %u", i, tokens[i],
                           hp->n_vocab - 1);
    }
    return ENTRO_OK;
}

/*
 * A model that predicts NaN must not look like one that works: whoever scores or samples would go on with
 * numbers that mean nothing.  A logit is looked at once, where making it took n_embd products.
 */
static entro_status check_logits(const entro_session *s, const float *logits, size_t n_tokens,
                                 entro_error *err)
{
    size_t n_vocab = s->model->decoder->hp.n_vocab;
    for (size_t t = 0; t < n_tokens; t++, logits += n_vocab) {
        size_t i = en_finite_count(logits, n_vocab);
        if (i == n_vocab)
            continue;
        en_fail(err, ENTRO_ERR_FORMAT,
                "the model's prediction is no number: the logit of token %zu is %s, expected "
                "finite numbers (damaged weights?)",
                i, en_finite_name(logits[i]));
        en_error_place(err, "%s", en_source_path(s->model->source));
        return ENTRO_ERR_FORMAT;
    }
    return ENTRO_OK;
}

/* all_logits NULL: only the last token's, into the session. */
static entro_status decode(entro_session *s, const int32_t *tokens, size_t n_tokens,
                           float *all_logits, entro_error *err)
{
    EN_TRY(check_tokens(s, tokens, n_tokens, err));
    size_t n_vocab = s->model->decoder->hp.n_vocab;
    for (size_t done = 0; done < n_tokens;) {
        size_t left = n_tokens - done;
        uint32_t n = left < s->state->n_batch ? (uint32_t)left : s->state->n_batch;
        en_logits which = all_logits != NULL ? EN_LOGITS_ALL
                          : n == left        ? EN_LOGITS_LAST
                                             : EN_LOGITS_NONE;
        float *logits = all_logits != NULL ? all_logits + done * n_vocab : s->logits;
        if (which == EN_LOGITS_LAST)
            s->has_logits = false; /* until they are whole */
        EN_TRY(en_decoder_forward(s->state, tokens + done, n, s->n_past + (uint32_t)done, which,
                                  logits, err));
        if (which != EN_LOGITS_NONE)
            EN_TRY(check_logits(s, logits, which == EN_LOGITS_ALL ? n : 1, err));
        done += n;
    }
    if (n_tokens == 0)
        return ENTRO_OK;
    if (all_logits != NULL) {
        const float *last = all_logits + (n_tokens - 1) * n_vocab;
        for (size_t i = 0; i < n_vocab; i++)
            s->logits[i] = last[i];
    }
    s->has_logits = true;
    s->n_past += (uint32_t)n_tokens;
    return ENTRO_OK;
}

entro_status en_session_decode(entro_session *s, const int32_t *tokens, size_t n_tokens,
                               entro_error *err)
{
    return decode(s, tokens, n_tokens, NULL, err);
}

entro_status en_session_decode_all(entro_session *s, const int32_t *tokens, size_t n_tokens,
                                   float *logits, entro_error *err)
{
    return decode(s, tokens, n_tokens, logits, err);
}

const float *en_session_logits(const entro_session *s)
{
    return s->has_logits ? s->logits : NULL;
}

uint32_t en_session_n_past(const entro_session *s)
{
    return s->n_past;
}

uint32_t en_session_n_ctx(const entro_session *s)
{
    return s->state->cache.n_ctx;
}

void en_session_truncate(entro_session *s, uint32_t n_keep)
{
    if (n_keep < s->n_past)
        s->n_past = n_keep;
}

const float *en_session_hidden(const entro_session *s)
{
    return s->state->h;
}

entro_status en_session_output(entro_session *s, const float *hidden, uint32_t n_tokens,
                               float *logits, entro_error *err)
{
    EN_TRY(en_decoder_output(s->state, hidden, n_tokens, logits, err));
    return check_logits(s, logits, n_tokens, err);
}

void en_session_get_memory(const entro_session *s, entro_memory *memory)
{
    size_t kv = en_kv_cache_bytes(&s->state->cache);
    size_t compute = sizeof *s + en_decoder_state_bytes(s->state) +
                     (size_t)s->model->decoder->hp.n_vocab * sizeof *s->logits;
    size_t all = en_memory_in_use();
    *memory = (entro_memory){
        .file = en_source_file_bytes(s->model->source),
        .kv_cache = kv,
        .compute = compute,
        .other = all > kv + compute ? all - kv - compute : 0,
        .peak_resident = en_memory_peak_resident(),
    };
}
