/*
 * block_forward.c - the forward pass of block.h.
 *
 *   x --norm--> attn_in --qkv, bias, rope--> qkv --attention--> attn_out --attn_output, + x--> middle
 *   middle --norm--> ffn_in --gate_up, bias--> gate_up --silu--> ffn_out --ffn_down, + middle--> out
 */
#include <assert.h>
#include <string.h>

#include "calib/block.h"
#include "calib/block_attention.h"
#include "calib/block_parts.h"
#include "calib/products.h"
#include "kernels/kernels.h"

typedef struct pass {
    const en_block *block;
    const en_hparams *hp;
    const en_rope *rope;
    const en_kernels *kernels;
    en_block_tape *tape;
    en_pool *pool;
    uint32_t n_tokens;
    const float *from, *vector; /* of the step at hand: see there */
    float *to;
} pass;

/* ---- per token ----------------------------------------------------------------------------- */

/* to = norm(from), with the gain 'vector' */
static void token_norm(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    size_t n = p->hp->n_embd;
    p->kernels->rms_norm(p->from + t * n, p->vector, p->hp->norm_epsilon, p->to + t * n, n);
}

/* to = from + bias 'vector': what a product is added to */
static void token_residual(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    size_t n = p->hp->n_embd;
    memcpy(p->to + t * n, p->from + t * n, n * sizeof *p->to);
    if (p->vector != NULL)
        p->kernels->add(p->vector, p->to + t * n, n);
}

static void token_qkv(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    const en_hparams *hp = p->hp;
    size_t n = en_block_qkv_floats(hp);
    float *q = p->tape->qkv + t * n;
    if (p->block->layer->qkv_bias != NULL)
        p->kernels->add(p->block->layer->qkv_bias, q, n);
    /* The heads of k follow those of q. */
    en_rope_apply(p->rope, t % p->tape->n_positions, q, hp->n_heads + hp->n_kv_heads,
                  hp->n_head_dim);
}

static void token_silu(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    size_t n = p->hp->n_ff;
    float *gate = p->tape->gate_up + t * 2 * n;
    if (p->block->layer->gate_up_bias != NULL)
        p->kernels->add(p->block->layer->gate_up_bias, gate, 2 * n);
    p->kernels->silu_mul(gate, gate + n, p->tape->ffn_out + t * n, n);
}

/* ---- per layer ----------------------------------------------------------------------------- */

static void for_tokens(pass *p, en_pool_fn fn, const float *from, const float *vector, float *to)
{
    p->from = from;
    p->vector = vector;
    p->to = to;
    en_pool_run(p->pool, fn, p, p->n_tokens);
}

static void multiply(const pass *p, const float *x, size_t n_in, const float *w, float *y,
                     size_t n_out, float beta)
{
    en_product product = {.x = x,
                          .w = w,
                          .y = y,
                          .n_tokens = p->n_tokens,
                          .n_in = n_in,
                          .n_out = n_out,
                          .is_transposed = true,
                          .beta = beta,
                          .precision = p->tape->precision};
    en_product_run(&product, p->pool);
}

static void run_step(pass *p, en_block_step step, en_block_attention *attention, float *out)
{
    const en_block *b = p->block;
    const en_layer *layer = b->layer;
    en_block_tape *tape = p->tape;
    size_t n_embd = p->hp->n_embd, n_ff = p->hp->n_ff, q = en_block_q_floats(p->hp);
    switch (step) {
    case EN_BLOCK_ATTN_NORM:
        for_tokens(p, token_norm, tape->x, layer->attn_norm, tape->attn_in);
        break;
    case EN_BLOCK_ATTENTION:
        multiply(p, tape->attn_in, n_embd, b->qkv, tape->qkv, en_block_qkv_floats(p->hp), 0.0f);
        for_tokens(p, token_qkv, NULL, NULL, NULL);
        en_block_attention_forward(attention, p->pool);
        break;
    case EN_BLOCK_ATTN_OUTPUT:
        for_tokens(p, token_residual, tape->x, layer->attn_output_bias, tape->middle);
        multiply(p, tape->attn_out, q, b->attn_output, tape->middle, n_embd, 1.0f);
        break;
    case EN_BLOCK_FFN_NORM:
        for_tokens(p, token_norm, tape->middle, layer->ffn_norm, tape->ffn_in);
        break;
    case EN_BLOCK_FFN:
        multiply(p, tape->ffn_in, n_embd, b->gate_up, tape->gate_up, 2 * n_ff, 0.0f);
        for_tokens(p, token_silu, NULL, NULL, NULL);
        break;
    case EN_BLOCK_FFN_DOWN:
        for_tokens(p, token_residual, tape->middle, layer->ffn_down_bias, out);
        multiply(p, tape->ffn_out, n_ff, b->ffn_down, out, n_embd, 1.0f);
        break;
    }
}

entro_status en_block_steps(const en_block *block, const en_rope *rope, en_block_tape *tape,
                            uint32_t n_sequences, en_block_step first, en_block_step last,
                            float *out, en_pool *pool, entro_error *err)
{
    const en_hparams *hp = block->hp;
    assert(n_sequences <= tape->n_sequences && out != tape->x);
    pass p = {.block = block,
              .hp = hp,
              .rope = rope,
              .kernels = en_kernels_get(),
              .tape = tape,
              .pool = pool,
              .n_tokens = n_sequences * tape->n_positions};
    en_block_attention attention = {0};
    if (first <= EN_BLOCK_ATTENTION && last >= EN_BLOCK_ATTENTION)
        EN_TRY(en_block_attention_open(&attention, hp, tape, n_sequences, en_pool_n_threads(pool),
                                       err));
    int blas = en_blas_take();
    for (en_block_step step = first; step <= last; step++)
        run_step(&p, step, &attention, out);
    en_blas_give_back(blas);
    en_block_attention_close(&attention);
    return ENTRO_OK;
}

entro_status en_block_forward(const en_block *block, const en_rope *rope, en_block_tape *tape,
                              uint32_t n_sequences, float *out, en_pool *pool, entro_error *err)
{
    return en_block_steps(block, rope, tape, n_sequences, EN_BLOCK_ATTN_NORM,
                          out != NULL ? EN_BLOCK_FFN_DOWN : EN_BLOCK_FFN, out, pool, err);
}
