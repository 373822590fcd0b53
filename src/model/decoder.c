/*
 * decoder.c - the forward pass; see decoder.h.
 *
 * The products run in parallel by themselves (linear/); what happens between them is done token by
 * token, the tokens shared out among the threads.
 */
#include "model/decoder.h"

#include "kernels/kernels.h"
#include "model/attention.h"

/* One layer's step for all tokens; passed to the per-token functions. */
typedef struct step {
    en_decoder_state *s;
    const en_kernels *kernels;
    const en_layer *layer;
    uint32_t layer_index;
    uint32_t n_past;
    const float *gain; /* of the norm at hand */
    const float *bias; /* added to h first; NULL: none */
    bool add_first;    /* x += h before the norm */
} step;

static uint32_t q_floats(const en_hparams *hp)
{
    return hp->n_heads * hp->n_head_dim;
}

static uint32_t kv_floats(const en_hparams *hp)
{
    return hp->n_kv_heads * hp->n_head_dim;
}

static uint32_t qkv_floats(const en_hparams *hp)
{
    return q_floats(hp) + 2 * kv_floats(hp);
}

static void for_tokens(step *st, en_pool_fn fn, uint32_t n_tokens)
{
    en_pool_run(st->s->pool, fn, st, n_tokens);
}

/* ---- per token ----------------------------------------------------------------------------- */

static void token_norm(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const step *st = context;
    const en_hparams *hp = &st->s->decoder->hp;
    float *x = st->s->x + (size_t)t * hp->n_embd, *h = st->s->h + (size_t)t * hp->n_embd;
    if (st->bias != NULL)
        st->kernels->add(st->bias, h, hp->n_embd);
    if (st->add_first)
        st->kernels->add(h, x, hp->n_embd);
    st->kernels->rms_norm(x, st->gain, hp->norm_epsilon, h, hp->n_embd);
}

/* Bias, rotation, and k and v into the cache. */
static void token_qkv(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const step *st = context;
    en_decoder_state *s = st->s;
    const en_hparams *hp = &s->decoder->hp;
    uint32_t d = hp->n_head_dim;
    float *q = s->qkv + (size_t)t * qkv_floats(hp);
    float *k = q + q_floats(hp), *v = k + kv_floats(hp);
    if (st->layer->qkv_bias != NULL)
        st->kernels->add(st->layer->qkv_bias, q, qkv_floats(hp));
    en_rope_apply(&s->rope, t, q, hp->n_heads, d);
    en_rope_apply(&s->rope, t, k, hp->n_kv_heads, d);
    en_kv_cache_put(&s->cache, st->kernels, st->layer_index, st->n_past + t, k, v);
}

static void token_silu(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const step *st = context;
    uint32_t n = st->s->decoder->hp.n_ff;
    float *gate = st->s->gate_up + (size_t)t * 2 * n;
    if (st->layer->gate_up_bias != NULL)
        st->kernels->add(st->layer->gate_up_bias, gate, 2 * (size_t)n);
    st->kernels->silu_mul(gate, gate + n, gate, n);
}

/* ---- per layer ----------------------------------------------------------------------------- */

static entro_status apply(const step *st, const en_linear *m, const float *x, size_t x_stride,
                          float *y, size_t y_stride, uint32_t n_tokens, entro_error *err)
{
    en_linear_product product = {.matrix = m, .y = y, .y_stride = y_stride};
    return en_linear_apply(&product, 1, x, x_stride, n_tokens, st->s->pool, st->s->scratch, err);
}

/* Matrices over the same input write side by side into rows of y. */
static entro_status apply_side_by_side(const step *st, const en_linear *m, uint32_t n_matrices,
                                       float *y, size_t y_stride, uint32_t n_tokens,
                                       entro_error *err)
{
    en_linear_product products[3];
    for (uint32_t i = 0; i < n_matrices; i++) {
        products[i] = (en_linear_product){.matrix = &m[i], .y = y, .y_stride = y_stride};
        y += m[i].n_rows;
    }
    return en_linear_apply(products, n_matrices, st->s->h, st->s->decoder->hp.n_embd, n_tokens,
                           st->s->pool, st->s->scratch, err);
}

static entro_status attend(step *st, uint32_t n_tokens, entro_error *err)
{
    en_decoder_state *s = st->s;
    const en_hparams *hp = &s->decoder->hp;
    st->gain = st->layer->attn_norm;
    for_tokens(st, token_norm, n_tokens);
    EN_TRY(apply_side_by_side(st, st->layer->qkv, en_arch_n_qkv(hp->arch), s->qkv, qkv_floats(hp),
                              n_tokens, err));
    for_tokens(st, token_qkv, n_tokens);
    en_attention a = {.cache = &s->cache,
                      .layer = st->layer_index,
                      .n_heads = hp->n_heads,
                      .window = hp->sliding_window,
                      .n_past = st->n_past,
                      .n_tokens = n_tokens,
                      .q = s->qkv,
                      .k = s->qkv + q_floats(hp),
                      .v = s->qkv + q_floats(hp) + kv_floats(hp),
                      .stride = qkv_floats(hp),
                      .out = s->heads,
                      .out_stride = q_floats(hp),
                      .scratch = s->attention_scratch};
    en_attention_run(&a, s->pool);
    st->bias = st->layer->attn_output_bias;
    return apply(st, &st->layer->attn_output, s->heads, q_floats(hp), s->h, hp->n_embd, n_tokens,
                 err);
}

static entro_status feed_forward(step *st, uint32_t n_tokens, entro_error *err)
{
    en_decoder_state *s = st->s;
    const en_hparams *hp = &s->decoder->hp;
    size_t stride = 2 * (size_t)hp->n_ff;
    st->gain = st->layer->ffn_norm;
    for_tokens(st, token_norm, n_tokens);
    EN_TRY(apply_side_by_side(st, st->layer->gate_up, en_arch_n_gate_up(hp->arch), s->gate_up,
                              stride, n_tokens, err));
    for_tokens(st, token_silu, n_tokens);
    st->bias = st->layer->ffn_down_bias;
    return apply(st, &st->layer->ffn_down, s->gate_up, stride, s->h, hp->n_embd, n_tokens, err);
}

static entro_status look_up(en_decoder_state *s, const int32_t *tokens, uint32_t n_tokens,
                            entro_error *err)
{
    uint32_t n = s->decoder->hp.n_embd;
    for (uint32_t t = 0; t < n_tokens; t++)
        EN_TRY(en_linear_read_row(&s->decoder->weights.token_embd, (uint64_t)tokens[t],
                                  s->x + (size_t)t * n, s->scratch, err));
    return ENTRO_OK;
}

entro_status en_decoder_output(en_decoder_state *s, const float *hidden, uint32_t n_tokens,
                               float *logits, entro_error *err)
{
    const en_hparams *hp = &s->decoder->hp;
    en_linear_product product = {
        .matrix = &s->decoder->weights.output, .y = logits, .y_stride = hp->n_vocab};
    return en_linear_apply(&product, 1, hidden, hp->n_embd, n_tokens, s->pool, s->scratch, err);
}

static entro_status compute_logits(step *st, uint32_t n_tokens, en_logits which, float *logits,
                                   entro_error *err)
{
    en_decoder_state *s = st->s;
    uint32_t first = which == EN_LOGITS_ALL ? 0 : n_tokens - 1;
    st->gain = s->decoder->weights.output_norm;
    for_tokens(st, token_norm, n_tokens);
    return en_decoder_output(s, s->h + (size_t)first * s->decoder->hp.n_embd, n_tokens - first,
                             logits, err);
}

entro_status en_decoder_forward(en_decoder_state *s, const int32_t *tokens, uint32_t n_tokens,
                                uint32_t n_past, en_logits which, float *logits, entro_error *err)
{
    step st = {.s = s, .kernels = en_kernels_get(), .n_past = n_past};
    EN_TRY(look_up(s, tokens, n_tokens, err));
    en_rope_fill(&s->rope, n_past, n_tokens);
    for (uint32_t i = 0; i < s->decoder->hp.n_layers; i++) {
        st.layer = &s->decoder->weights.layers[i];
        st.layer_index = i;
        EN_TRY(attend(&st, n_tokens, err));
        st.add_first = true; /* from here on h holds what the last step adds to x */
        EN_TRY(feed_forward(&st, n_tokens, err));
    }
    return which == EN_LOGITS_NONE ? ENTRO_OK : compute_logits(&st, n_tokens, which, logits, err);
}
