/*
 * block_backward.c - the backward pass of block.h: block_forward.c's drawing from right to left.
 *
 * dx is the gradient at the residual stream.  A matrix adds its output to the stream, so the gradient
 * there is that of its output too; what comes back through it is added to dx behind the norm.  Each
 * gradient takes the place of the numbers it belongs to, as soon as they have served.
 */
#include <assert.h>
#include <math.h>

#include "base/memory.h"
#include "calib/block.h"
#include "calib/block_attention.h"
#include "calib/block_parts.h"
#include "calib/products.h"

typedef struct pass {
    const en_block *block;
    const en_hparams *hp;
    const en_rope *rope;
    en_block_tape *tape;
    en_pool *pool;
    uint32_t n_tokens;
    float *dx;
    const float *x, *gain, *dy; /* of the norm at hand */
    float *scales;              /* of its tokens; NULL: its gain's gradient is not wanted */
    const en_block_sums *sums;
} pass;

/* ---- per token ----------------------------------------------------------------------------- */

static void token_norm(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    size_t n = p->hp->n_embd;
    const float *restrict x = p->x + t * n, *restrict dy = p->dy + t * n;
    const float *restrict gain = p->gain;
    float *restrict dx = p->dx + t * n;
    const en_norm_back back = en_norm_back_of(x, gain, p->hp->norm_epsilon, dy, n);
    for (size_t i = 0; i < n; i++)
        dx[i] += back.scale * gain[i] * dy[i] - back.slope * x[i];
    if (p->scales != NULL)
        p->scales[t] = back.scale;
}

/* d(gate sigma(gate) up), sigma(g) = 1 / (1 + exp(-g)), d sigma = sigma (1 - sigma) */
static void token_silu(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    size_t n = p->hp->n_ff;
    float *restrict gate = p->tape->gate_up + t * 2 * n, *restrict up = gate + n;
    const float *restrict d = p->tape->ffn_out + t * n;
    for (size_t i = 0; i < n; i++) {
        const float g = gate[i], sigma = 1.0f / (1.0f + expf(-g));
        gate[i] = d[i] * up[i] * sigma * (1.0f + g * (1.0f - sigma));
        up[i] = d[i] * g * sigma;
    }
}

static void token_qkv(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const pass *p = context;
    const en_hparams *hp = p->hp;
    en_rope_apply_transposed(p->rope, t % p->tape->n_positions,
                             p->tape->qkv + t * en_block_qkv_floats(hp),
                             hp->n_heads + hp->n_kv_heads, hp->n_head_dim);
}

/* ---- per layer ----------------------------------------------------------------------------- */

/* 'sums': of the gradients at the gain. */
static void through_norm(pass *p, const float *x, const float *gain, const float *dy, double *sums)
{
    p->x = x;
    p->gain = gain;
    p->dy = dy;
    en_pool_run(p->pool, token_norm, p, p->n_tokens);
    if (sums != NULL)
        en_sum_products(x, dy, p->scales, p->n_tokens, p->hp->n_embd, sums, p->pool);
}

/* A bias is added to its matrix's output, so their gradients are the same. */
static void at_bias(const pass *p, const float *dy, size_t n, double *sums)
{
    if (sums != NULL)
        en_sum_columns(dy, p->n_tokens, n, sums, p->pool);
}

/* From a matrix's outputs (n_rows) to its inputs (n_cols). */
static void through_matrix(const pass *p, const float *dy, size_t n_rows, const float *w, float *dx,
                           size_t n_cols, double *squares, uint32_t group)
{
    en_product product = {.x = dy,
                          .w = w,
                          .y = dx,
                          .n_tokens = p->n_tokens,
                          .n_in = n_rows,
                          .n_out = n_cols,
                          .precision = p->tape->precision};
    if (squares != NULL)
        en_sum_squares(dy, p->n_tokens, n_rows, squares, p->pool);
    if (p->sums->gradients[group] != NULL)
        en_gradient_add(p->hp, group, dy, p->n_tokens, p->tape->precision,
                        p->sums->gradients[group], p->pool);
    en_product_run(&product, p->pool);
}

static void run(pass *p, en_block_attention *attention)
{
    const en_block_sums *sums = p->sums;
    const en_block_vectors *vectors = &sums->vectors;
    const en_block *b = p->block;
    en_block_tape *tape = p->tape;
    size_t n_embd = p->hp->n_embd, n_ff = p->hp->n_ff, q = en_block_q_floats(p->hp);
    size_t qkv = en_block_qkv_floats(p->hp);
    at_bias(p, p->dx, n_embd, vectors->ffn_down_bias);
    through_matrix(p, p->dx, n_embd, b->ffn_down, tape->ffn_out, n_ff, sums->ffn_down, 3);
    en_pool_run(p->pool, token_silu, p, p->n_tokens);
    at_bias(p, tape->gate_up, 2 * n_ff, vectors->gate_up_bias);
    through_matrix(p, tape->gate_up, 2 * n_ff, b->gate_up, tape->ffn_in, n_embd, sums->gate_up, 2);
    through_norm(p, tape->middle, b->layer->ffn_norm, tape->ffn_in, vectors->ffn_norm);

    at_bias(p, p->dx, n_embd, vectors->attn_output_bias);
    through_matrix(p, p->dx, n_embd, b->attn_output, tape->attn_out, q, sums->attn_output, 1);
    en_block_attention_backward(attention, p->pool);
    en_pool_run(p->pool, token_qkv, p, p->n_tokens);
    at_bias(p, tape->qkv, qkv, vectors->qkv_bias);
    through_matrix(p, tape->qkv, qkv, b->qkv, tape->attn_in, n_embd, sums->qkv, 0);
    through_norm(p, tape->x, b->layer->attn_norm, tape->attn_in, vectors->attn_norm);
}

static entro_status open_scales(pass *p, entro_error *err)
{
    if (p->sums->vectors.attn_norm == NULL && p->sums->vectors.ffn_norm == NULL)
        return ENTRO_OK;
    p->scales = en_alloc(p->n_tokens, sizeof *p->scales);
    return p->scales != NULL ? ENTRO_OK : en_fail_memory(err);
}

entro_status en_block_backward(const en_block *block, const en_rope *rope, en_block_tape *tape,
                               uint32_t n_sequences, float *dx, const en_block_sums *sums,
                               en_pool *pool, entro_error *err)
{
    static const en_block_sums nothing;
    const en_hparams *hp = block->hp;
    assert(n_sequences <= tape->n_sequences);
    pass p = {.block = block,
              .hp = hp,
              .rope = rope,
              .tape = tape,
              .pool = pool,
              .n_tokens = n_sequences * tape->n_positions,
              .dx = dx,
              .sums = sums != NULL ? sums : &nothing};
    en_block_attention attention;
    EN_TRY(open_scales(&p, err));
    entro_status status =
        en_block_attention_open(&attention, hp, tape, n_sequences, en_pool_n_threads(pool), err);
    if (status == ENTRO_OK) {
        int blas = en_blas_take();
        run(&p, &attention);
        en_blas_give_back(blas);
        en_block_attention_close(&attention);
    }
    en_free(p.scales);
    return status;
}
