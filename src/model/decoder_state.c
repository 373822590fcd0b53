/*
 * decoder_state.c - making and freeing decoders and their states.
 */
#include "base/memory.h"
#include "model/attention.h"
#include "model/decoder.h"

entro_status en_decoder_new(en_decoder **out, const en_source *source,
                            const en_container *container, entro_error *err)
{
    en_decoder *d = en_alloc_zero(1, sizeof *d);
    if (d == NULL)
        return en_fail_memory(err);
    entro_status status = en_hparams_read(&d->hp, en_source_meta(source), err);
    if (status == ENTRO_OK)
        status = en_weights_load(&d->weights, &d->hp, source, container, err);
    if (status != ENTRO_OK) {
        en_free(d);
        return status;
    }
    *out = d;
    return ENTRO_OK;
}

void en_decoder_free(en_decoder *decoder)
{
    if (decoder == NULL)
        return;
    en_weights_free(&decoder->weights);
    en_free(decoder);
}

/* Scratch large enough for every matrix of the model. */
static entro_status new_scratch(en_decoder_state *s, entro_error *err)
{
    const en_decoder *d = s->decoder;
    uint32_t n_qkv = en_arch_n_qkv(d->hp.arch), n_gate_up = en_arch_n_gate_up(d->hp.arch);
    size_t per_layer = n_qkv + n_gate_up + 2, n = 0;
    const en_linear **all = en_alloc(d->hp.n_layers * per_layer + 2, sizeof *all);
    if (all == NULL)
        return en_fail_memory(err);
    all[n++] = &d->weights.token_embd;
    all[n++] = &d->weights.output;
    for (uint32_t i = 0; i < d->hp.n_layers; i++) {
        const en_layer *layer = &d->weights.layers[i];
        for (uint32_t j = 0; j < n_qkv; j++)
            all[n++] = &layer->qkv[j];
        for (uint32_t j = 0; j < n_gate_up; j++)
            all[n++] = &layer->gate_up[j];
        all[n++] = &layer->attn_output;
        all[n++] = &layer->ffn_down;
    }
    entro_status status =
        en_linear_scratch_new(&s->scratch, all, n, en_pool_n_threads(s->pool), err);
    en_free(all);
    return status;
}

static float *new_floats(en_decoder_state *s, size_t rows, size_t per_row)
{
    float *p = en_alloc(rows, per_row * sizeof *p);
    s->n_activation_bytes += rows * per_row * sizeof *p;
    return p;
}

static entro_status new_activations(en_decoder_state *s, entro_error *err)
{
    const en_hparams *hp = &s->decoder->hp;
    size_t n = s->n_batch, q = (size_t)hp->n_heads * hp->n_head_dim;
    size_t kv = (size_t)hp->n_kv_heads * hp->n_head_dim;
    s->x = new_floats(s, n, hp->n_embd);
    s->h = new_floats(s, n, hp->n_embd);
    s->qkv = new_floats(s, n, q + 2 * kv);
    s->heads = new_floats(s, n, q);
    s->gate_up = new_floats(s, n, 2 * (size_t)hp->n_ff);
    s->attention_scratch =
        new_floats(s, en_pool_n_threads(s->pool), en_attention_scratch_floats(hp));
    if (s->x == NULL || s->h == NULL || s->qkv == NULL || s->heads == NULL || s->gate_up == NULL ||
        s->attention_scratch == NULL)
        return en_fail_memory(err);
    return ENTRO_OK;
}

static entro_status fill_state(en_decoder_state *s, uint32_t n_ctx, uint32_t n_threads,
                               entro_kv_type kv_type, entro_error *err)
{
    const en_decoder *d = s->decoder;
    EN_TRY(en_pool_new(&s->pool, n_threads, err));
    EN_TRY(en_kv_cache_new(&s->cache, &d->hp, n_ctx, kv_type, err));
    EN_TRY(en_rope_new(&s->rope, &d->hp, &d->weights, n_ctx, s->n_batch, err));
    EN_TRY(new_scratch(s, err));
    return new_activations(s, err);
}

entro_status en_decoder_state_new(en_decoder_state **out, const en_decoder *decoder, uint32_t n_ctx,
                                  uint32_t n_batch, uint32_t n_threads, entro_kv_type kv_type,
                                  entro_error *err)
{
    en_decoder_state *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    s->decoder = decoder;
    s->n_batch = n_batch;
    entro_status status = fill_state(s, n_ctx, n_threads, kv_type, err);
    if (status != ENTRO_OK) {
        en_decoder_state_free(s);
        return status;
    }
    *out = s;
    return ENTRO_OK;
}

void en_decoder_state_free(en_decoder_state *s)
{
    if (s == NULL)
        return;
    en_free(s->x);
    en_free(s->h);
    en_free(s->qkv);
    en_free(s->heads);
    en_free(s->gate_up);
    en_free(s->attention_scratch);
    en_rope_free(&s->rope);
    en_kv_cache_free(&s->cache);
    en_linear_scratch_free(s->scratch);
    en_pool_free(s->pool);
    en_free(s);
}

size_t en_decoder_state_bytes(const en_decoder_state *s)
{
    return sizeof *s + s->n_activation_bytes + en_linear_scratch_bytes(s->scratch) +
           en_rope_bytes(&s->rope, s->n_batch);
}
