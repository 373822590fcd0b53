/* calib_writer.c - see calib_writer.h. */
#include "calib/calib_writer.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calib/calib_beginnings.h"
#include "calib/unfinished_text.h"
#include "calib/writer_weights.h"
#include "calib/written_text.h"
#include "kernels/kernels.h"
#include "model/attention.h"
#include "sampling/pcg32.h"

typedef struct writer {
    const en_decoder *decoder; /* that of 'weights' */
    en_writer_weights weights;
    const en_kernels *kernels;
    en_job *job;
    const char *folder;
    const en_statistics_identity *id;
    en_decoder_state *state; /* activations of n_batch tokens, threads */
    en_text_state text;      /* so far */
    uint32_t n_pieces;       /* of the batch's keys and values that are in the folder */
    bool is_saved;           /* something is there to go on from */
    en_pool **alone;         /* of one thread, for each thread: a text's attention */
    en_pcg32 *random;        /* n_batch */
    float *logits;           /* n_batch x n_vocab */
    en_calib_beginnings beginnings;
    _Atomic bool not_finite;
    /* The step: */
    const en_layer *layer;
    uint32_t layer_index, n, position;
    uint64_t first_text;
    const float *gain, *bias;
    bool adds;
} writer;

/* ---- a layer, text by text ------------------------------------------------------------------- */

static const en_hparams *hp_of(const writer *w)
{
    return &w->decoder->hp;
}

static size_t q_floats(const writer *w)
{
    return (size_t)hp_of(w)->n_heads * hp_of(w)->n_head_dim;
}

static size_t kv_floats(const writer *w)
{
    return (size_t)hp_of(w)->n_kv_heads * hp_of(w)->n_head_dim;
}

/* What the layer's last product left in h comes to the stream, which is normed for the next one. */
static void text_add_norm(void *context, uint32_t i, uint32_t thread)
{
    (void)thread;
    const writer *w = context;
    size_t n = hp_of(w)->n_embd;
    float *x = w->state->x + i * n, *h = w->state->h + i * n;
    if (w->bias != NULL)
        w->kernels->add(w->bias, x, n);
    if (w->adds)
        w->kernels->add(h, x, n);
    w->kernels->rms_norm(x, w->gain, hp_of(w)->norm_epsilon, h, n);
}

static void text_attention(void *context, uint32_t i, uint32_t thread)
{
    const writer *w = context;
    const en_hparams *hp = hp_of(w);
    en_kv_cache *cache = &w->text.caches[i];
    size_t stride = q_floats(w) + 2 * kv_floats(w);
    float *q = w->state->qkv + i * stride, *k = q + q_floats(w), *v = k + kv_floats(w);
    if (w->layer->qkv_bias != NULL)
        w->kernels->add(w->layer->qkv_bias, q, stride);
    en_rope_apply(&w->state->rope, 0, q, hp->n_heads, hp->n_head_dim);
    en_rope_apply(&w->state->rope, 0, k, hp->n_kv_heads, hp->n_head_dim);
    en_kv_cache_put(cache, w->kernels, w->layer_index, w->position, k, v);
    en_attention a = {.cache = cache,
                      .layer = w->layer_index,
                      .n_heads = hp->n_heads,
                      .window = hp->sliding_window,
                      .n_past = w->position,
                      .n_tokens = 1,
                      .q = q,
                      .k = k,
                      .v = v,
                      .stride = stride,
                      .out = w->state->heads + i * q_floats(w),
                      .out_stride = q_floats(w),
                      .scratch =
                          w->state->attention_scratch + thread * en_attention_scratch_floats(hp)};
    en_attention_run(&a, w->alone[thread]);
}

static void text_silu(void *context, uint32_t i, uint32_t thread)
{
    (void)thread;
    const writer *w = context;
    size_t n = hp_of(w)->n_ff;
    float *gate = w->state->gate_up + i * 2 * n;
    if (w->layer->gate_up_bias != NULL)
        w->kernels->add(w->layer->gate_up_bias, gate, 2 * n);
    w->kernels->silu_mul(gate, gate + n, gate, n);
}

/* h <- norm of x, to which what the last product left in h comes first where it 'adds', and its bias where there is one. */
static void add_and_norm(writer *w, bool adds, const float *bias, const float *gain)
{
    w->adds = adds;
    w->bias = bias;
    w->gain = gain;
    en_pool_run(w->state->pool, text_add_norm, w, w->n);
}

static entro_status multiply(const writer *w, const en_linear *matrices, uint32_t n_matrices,
                             const float *x, size_t x_stride, float *y, size_t y_stride,
                             entro_error *err)
{
    en_linear_product products[3];
    for (uint32_t i = 0; i < n_matrices; i++) {
        products[i] = (en_linear_product){.matrix = &matrices[i], .y = y, .y_stride = y_stride};
        y += matrices[i].n_rows;
    }
    return en_linear_apply(products, n_matrices, x, x_stride, w->n, w->state->pool,
                           w->state->scratch, err);
}

/* From h, normed for this layer, to h, normed for what comes next. */
static entro_status run_layer(writer *w, const float *next_gain, entro_error *err)
{
    en_decoder_state *s = w->state;
    const en_hparams *hp = hp_of(w);
    const en_layer *l = w->layer;
    size_t n = hp->n_embd, n_qkv = q_floats(w) + 2 * kv_floats(w), n_ff = 2 * (size_t)hp->n_ff;
    EN_TRY(multiply(w, l->qkv, en_arch_n_qkv(hp->arch), s->h, n, s->qkv, n_qkv, err));
    en_pool_run(s->pool, text_attention, w, w->n);
    EN_TRY(multiply(w, &l->attn_output, 1, s->heads, q_floats(w), s->h, n, err));
    add_and_norm(w, true, l->attn_output_bias, l->ffn_norm);
    EN_TRY(multiply(w, l->gate_up, en_arch_n_gate_up(hp->arch), s->h, n, s->gate_up, n_ff, err));
    en_pool_run(s->pool, text_silu, w, w->n);
    EN_TRY(multiply(w, &l->ffn_down, 1, s->gate_up, n_ff, s->h, n, err));
    add_and_norm(w, true, l->ffn_down_bias, next_gain);
    return ENTRO_OK;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static int32_t draw(const float *p, uint32_t n, double unit)
{
    double sum = 0;
    int32_t token = 0;
    for (uint32_t i = 0; i < n && sum <= unit; i++) {
        if (p[i] > 0.0f) {
            token = (int32_t)i;
            sum += (double)p[i];
        }
    }
    return token;
}

/* The next token: of the beginning, or drawn. */
static void text_choose(void *context, uint32_t i, uint32_t thread)
{
    (void)thread;
    writer *w = context;
    const en_calib_beginning beginning = en_calib_beginning_of(&w->beginnings, w->first_text + i);
    int32_t *next = w->text.tokens + (size_t)i * w->text.n_steps + w->position + 1;
    float *logits = w->logits + (size_t)i * hp_of(w)->n_vocab, lo, hi;
    double unit = en_pcg32_unit(&w->random[i]);
    if (w->position < beginning.n) {
        *next = beginning.tokens[w->position];
        return;
    }
    if (!w->kernels->min_max(logits, hp_of(w)->n_vocab, &lo, &hi))
        w->not_finite = true;
    for (uint32_t t = 0; beginning.temperature != 1.0f && t < hp_of(w)->n_vocab; t++)
        logits[t] /= beginning.temperature;
    w->kernels->softmax(logits, hp_of(w)->n_vocab);
    *next = draw(logits, hp_of(w)->n_vocab, unit);
}

static entro_status step(writer *w, entro_error *err)
{
    en_decoder_state *s = w->state;
    const en_weights *weights = &w->decoder->weights;
    size_t n = hp_of(w)->n_embd;
    for (uint32_t i = 0; i < w->n; i++)
        EN_TRY(
            en_linear_read_row(&weights->token_embd,
                               (uint64_t)w->text.tokens[(size_t)i * w->text.n_steps + w->position],
                               s->x + i * n, s->scratch, err));
    en_rope_fill(&s->rope, w->position, 1);
    uint32_t n_layers = hp_of(w)->n_layers;
    add_and_norm(w, false, NULL, weights->layers[0].attn_norm);
    for (uint32_t i = 0; i < n_layers; i++) {
        w->layer_index = i;
        w->layer = &weights->layers[i];
        EN_TRY(run_layer(
            w, i + 1 < n_layers ? weights->layers[i + 1].attn_norm : weights->output_norm, err));
    }
    EN_TRY(multiply(w, &weights->output, 1, s->h, n, w->logits, hp_of(w)->n_vocab, err));
    en_pool_run(s->pool, text_choose, w, w->n);
    if (w->not_finite)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "a logit of the model is NaN or infinite, expected finite numbers (damaged "
                       "weights?)");
    return ENTRO_OK;
}

/* ---- texts --------------------------------------------------------------------------------- */

static uint64_t tokens_done(const writer *w, const en_text_place *place)
{
    uint64_t n = en_text_batch_at(&w->text, place->n_done);
    uint64_t done = place->n_done * w->text.n_steps + n * place->position;
    return done < w->job->state.total ? done : w->job->state.total;
}

static entro_status reach(writer *w, uint64_t done, entro_error *err)
{
    entro_status status = en_job_reach(w->job, NULL, done, err);
    return status == ENTRO_ERR_CANCELLED && w->is_saved
               ? en_fail(err, status,
                         "cancelled; most of the text that the model has written stays in %s, the "
                         "same command goes on from there",
                         w->folder)
               : status;
}

static entro_status save(writer *w, const en_text_place *place, entro_error *err)
{
    EN_TRY(en_unfinished_text_save(&w->text, place, w->n_pieces, w->folder, w->id, err));
    w->n_pieces = place->position / EN_TEXT_PIECE;
    w->is_saved = true;
    en_job_saved(w->job);
    return ENTRO_OK;
}

/* Texts from first_text on, as they were before the step at 'from'. */
static void begin_batch(writer *w, uint32_t from, uint64_t seed)
{
    for (uint32_t i = 0; i < w->n; i++) {
        w->text.tokens[(size_t)i * w->text.n_steps] = w->beginnings.first;
        w->random[i] = en_pcg32_seed((seed << 32) + w->first_text + i);
        for (uint32_t p = 0; p < from; p++)
            en_pcg32_unit(&w->random[i]);
    }
}

/* The one at 'place', from there on. */
static entro_status write_batch(writer *w, const en_text_place *place, uint64_t seed,
                                entro_error *err)
{
    en_text_place at = *place;
    w->first_text = at.n_done;
    w->n = en_text_batch_at(&w->text, at.n_done);
    w->n_pieces = at.position / EN_TEXT_PIECE;
    begin_batch(w, at.position, seed);
    for (; at.position + 1 < w->text.n_steps; at.position++) {
        w->position = at.position;
        if (at.position % EN_TEXT_PIECE == 0 && at.position > place->position &&
            en_job_save_is_due(w->job))
            EN_TRY(save(w, &at, err));
        EN_TRY(reach(w, tokens_done(w, &at), err));
        EN_TRY(step(w, err));
    }
    return ENTRO_OK;
}

/* Its keys and values are not wanted any more. */
static entro_status end_batch(writer *w, en_text_place *place, entro_error *err)
{
    en_text_state *t = &w->text;
    uint32_t skip = t->n_steps - t->n_positions; /* the first token, where texts have none */
    for (uint64_t i = 0; i < w->n; i++)
        memcpy(t->done + (place->n_done + i) * t->n_positions, t->tokens + i * t->n_steps + skip,
               t->n_positions * sizeof *t->done);
    *place = (en_text_place){.n_done = place->n_done + w->n};
    if (place->n_done == t->n_texts)
        return ENTRO_OK;
    EN_TRY(save(w, place, err));
    return en_unfinished_remove_caches(w->folder, err);
}

/* ---- making ready -------------------------------------------------------------------------- */

static entro_status make_caches(writer *w, entro_error *err)
{
    uint32_t n_threads = en_pool_n_threads(w->state->pool);
    w->text.caches = en_alloc_zero(w->text.n_batch, sizeof *w->text.caches);
    w->alone = en_alloc_zero(n_threads, sizeof *w->alone);
    if (w->text.caches == NULL || w->alone == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < w->text.n_batch; i++)
        EN_TRY(en_kv_cache_new(&w->text.caches[i], hp_of(w), w->text.n_steps, ENTRO_KV_INT8, err));
    for (uint32_t i = 0; i < n_threads; i++)
        EN_TRY(en_pool_new(&w->alone[i], 1, err));
    return ENTRO_OK;
}

static entro_status prepare(writer *w, const en_tokenizer *tokenizer, const en_meta *meta,
                            entro_error *err)
{
    uint32_t n_vocab = hp_of(w)->n_vocab;
    EN_TRY(en_calib_beginnings_new(&w->beginnings, tokenizer, meta, n_vocab, err));
    EN_TRY(en_writer_weights_new(&w->weights, w->decoder, w->job->pool, err));
    w->decoder = &w->weights.decoder;
    EN_TRY(en_decoder_state_new(&w->state, w->decoder, w->text.n_steps, w->text.n_batch,
                                w->job->n_threads, ENTRO_KV_F16, err));
    EN_TRY(make_caches(w, err));
    w->random = en_alloc(w->text.n_batch, sizeof *w->random);
    w->logits = en_alloc(w->text.n_batch, n_vocab * sizeof *w->logits);
    w->text.tokens = en_alloc(w->text.n_batch, w->text.n_steps * sizeof *w->text.tokens);
    return w->random && w->logits && w->text.tokens ? ENTRO_OK : en_fail_memory(err);
}

static void writer_free(writer *w)
{
    uint32_t n_threads = w->state != NULL ? en_pool_n_threads(w->state->pool) : 0;
    for (uint32_t i = 0; w->text.caches != NULL && i < w->text.n_batch; i++)
        en_kv_cache_free(&w->text.caches[i]);
    for (uint32_t i = 0; w->alone != NULL && i < n_threads; i++)
        en_pool_free(w->alone[i]);
    en_calib_beginnings_free(&w->beginnings);
    en_free(w->text.caches);
    en_free(w->alone);
    en_free(w->random);
    en_free(w->logits);
    en_free(w->text.tokens);
    en_decoder_state_free(w->state);
    en_writer_weights_free(&w->weights);
}

/* As many as there is memory for, in batches of equal size. */
static uint32_t choose_batch(const en_decoder *decoder, uint32_t n_steps, uint64_t n_sequences,
                             size_t cache_bytes)
{
    const en_hparams *hp = &decoder->hp;
    size_t n = 2 * (size_t)hp->n_layers * hp->n_kv_heads * n_steps * hp->n_head_dim;
    uint64_t most = cache_bytes / (n + n / 16); /* int8, and a scale for every 32 */
    most = most > 0 ? most : 1;
    uint64_t n_batches = (n_sequences + most - 1) / most;
    return (uint32_t)((n_sequences + n_batches - 1) / n_batches);
}

static void begin_stage(writer *w, const en_text_place *place)
{
    en_job_stage(w->job, "text", w->text.n_texts * w->text.n_positions);
    if (place->n_done == 0 && place->position == 0)
        return;
    w->is_saved = true;
    en_job_resume(w->job, tokens_done(w, place));
    en_job_note(w->job,
                "goes on with a text that an earlier run began, at token %" PRIu64 " of %" PRIu64,
                w->job->state.done, w->job->state.total);
}

static entro_status write_all(writer *w, uint64_t seed, entro_error *err)
{
    en_text_place place;
    EN_TRY(en_unfinished_text_load(&w->text, &place, w->folder, w->id, w->job, err));
    begin_stage(w, &place);
    while (place.n_done < w->text.n_texts) {
        EN_TRY(write_batch(w, &place, seed, err));
        EN_TRY(end_batch(w, &place, err));
    }
    return reach(w, w->job->state.total, err);
}

static entro_status write_text(en_calib_text *text, const char *folder,
                               const en_statistics_identity *id, const en_decoder *decoder,
                               const en_tokenizer *tokenizer, const en_calib_writing *how,
                               en_job *job, entro_error *err)
{
    size_t cache_bytes = how->cache_bytes != 0 ? how->cache_bytes : EN_CALIB_CACHE_BYTES;
    uint32_t n_steps = text->n_positions + (en_tokenizer_adds_bos(tokenizer) ? 0 : 1);
    writer w = {.decoder = decoder,
                .kernels = en_kernels_get(),
                .job = job,
                .folder = folder,
                .id = id,
                .text = {.n_texts = text->n_sequences,
                         .n_positions = text->n_positions,
                         .n_vocab = decoder->hp.n_vocab,
                         .n_steps = n_steps,
                         .n_batch = choose_batch(decoder, n_steps, text->n_sequences, cache_bytes),
                         .done = text->tokens}};
    entro_status status = prepare(&w, tokenizer, how->meta, err);
    if (status == ENTRO_OK)
        status = write_all(&w, how->seed, err);
    writer_free(&w);
    return status;
}

/* ---- the file -------------------------------------------------------------------------------- */

static entro_status keep(const char *folder, const char *path, const en_statistics_identity *id,
                         const en_calib_text *text, entro_error *err)
{
    EN_TRY(en_written_text_store(path, id, text, err));
    EN_TRY(en_unfinished_remove(folder, EN_STATISTICS_UNFINISHED_TEXT, 0, err));
    return en_unfinished_remove_caches(folder, err);
}

static entro_status load_or_write(en_calib_text *text, const char *folder, const char *path,
                                  const en_decoder *decoder, const en_tokenizer *tokenizer,
                                  const en_calib_writing *how, en_job *job, entro_error *err)
{
    uint64_t n_tokens = text->n_sequences * text->n_positions;
    en_statistics_identity id = {.text = EN_WRITTEN_TEXT_NAME,
                                 .n_positions = text->n_positions,
                                 .n_tokens = n_tokens,
                                 .n_fisher_tokens = n_tokens,
                                 .seed = how->seed};
    EN_TRY(en_statistics_identify(&id, decoder, err));
    if (en_written_text_load(path, &id, decoder->hp.n_vocab, text))
        return ENTRO_OK;
    const char *unit = job->state.unit;
    job->state.unit = "tok";
    entro_status status = write_text(text, folder, &id, decoder, tokenizer, how, job, err);
    job->state.unit = unit;
    return status == ENTRO_OK ? keep(folder, path, &id, text, err) : status;
}

entro_status en_calib_text_write(en_calib_text *text, const char *folder, const en_decoder *decoder,
                                 const en_tokenizer *tokenizer, const en_calib_writing *how,
                                 en_job *job, entro_error *err)
{
    uint32_t n_positions = how->n_positions;
    *text = (en_calib_text){.n_positions = n_positions};
    if (n_positions < 2 || n_positions > (1 << 20) || how->n_tokens == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "%" PRIu64 " tokens in sequences of %" PRIu32 ", expected 1 or more in "
                       "sequences of 2 to %d",
                       how->n_tokens, n_positions, 1 << 20);
    EN_TRY(en_statistics_make_folder(folder, err));
    text->n_sequences = (how->n_tokens + n_positions - 1) / n_positions;
    memcpy(text->name, EN_WRITTEN_TEXT_NAME, sizeof EN_WRITTEN_TEXT_NAME);
    text->tokens = en_alloc((size_t)text->n_sequences, n_positions * sizeof *text->tokens);
    char *path = en_statistics_path(folder, EN_STATISTICS_TEXT_IDS, 0);
    entro_status status = text->tokens != NULL && path != NULL
                              ? load_or_write(text, folder, path, decoder, tokenizer, how, job, err)
                              : en_fail_memory(err);
    en_free(path);
    if (status != ENTRO_OK)
        en_calib_text_free(text);
    return status;
}
