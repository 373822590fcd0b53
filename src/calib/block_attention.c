/*
 * block_attention.c - see block_attention.h.
 *
 *   an item:   one head (backward: the heads that share k and v) of one sequence
 *   a stripe:  up to ROWS positions of it by all that they see
 *
 *              first ......... end        columns: positions p seen by any row
 *        row   |  0  P P P P  0  |        what a row does not see is 0 in P and in dS
 *        ...   |  0  0 P P P P   |
 *
 * Several products for each stripe, by BLAS on this thread.
 */
#include "calib/block_attention.h"

#include <math.h>
#include <string.h>

#include "quant/blas.h"

#include "base/memory.h"
#include "calib/block_parts.h"
#include "kernels/kernels.h"

enum { ROWS = 128 };

typedef struct head {
    const en_block_attention *a;
    const en_kernels *kernels;
    float *q, *k, *v, *out; /* of the first position */
    size_t stride, out_stride;
    size_t d;
    float *p, *dp;  /* ROWS x n_positions each */
    float *dk, *dv; /* n_positions x d each */
} head;

typedef struct stripe {
    size_t row, n_rows;   /* positions that look */
    size_t first, n_seen; /* positions they see */
} stripe;

static size_t scratch_floats(const en_hparams *hp, uint32_t n_positions)
{
    return 2 * (size_t)n_positions * (ROWS + hp->n_head_dim);
}

entro_status en_block_attention_open(en_block_attention *a, const en_hparams *hp,
                                     const en_block_tape *tape, uint32_t n_sequences,
                                     uint32_t n_threads, entro_error *err)
{
    *a = (en_block_attention){.hp = hp,
                              .n_sequences = n_sequences,
                              .n_positions = tape->n_positions,
                              .qkv = tape->qkv,
                              .out = tape->attn_out};
    a->scratch = en_alloc_huge(n_threads, scratch_floats(hp, a->n_positions) * sizeof(float));
    return a->scratch != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_block_attention_close(en_block_attention *a)
{
    en_free(a->scratch);
    a->scratch = NULL;
}

static head head_of(const en_block_attention *a, uint32_t sequence, uint32_t index, uint32_t thread)
{
    const en_hparams *hp = a->hp;
    size_t d = hp->n_head_dim, n = a->n_positions;
    head h = {.a = a,
              .kernels = en_kernels_get(),
              .stride = en_block_qkv_floats(hp),
              .out_stride = en_block_q_floats(hp),
              .d = d};
    size_t token = (size_t)sequence * n, kv_head = index / (hp->n_heads / hp->n_kv_heads);
    float *row = a->qkv + token * h.stride;
    h.q = row + index * d;
    h.k = row + h.out_stride + kv_head * d;
    h.v = h.k + hp->n_kv_heads * d;
    h.out = a->out + token * h.out_stride + index * d;
    h.p = a->scratch + thread * scratch_floats(hp, a->n_positions);
    h.dp = h.p + ROWS * n;
    h.dk = h.dp + ROWS * n;
    h.dv = h.dk + n * d;
    return h;
}

static size_t first_seen(const head *h, size_t position)
{
    size_t window = h->a->hp->sliding_window;
    return window != 0 && position >= window ? position - window + 1 : 0;
}

static stripe stripe_at(const head *h, size_t row)
{
    size_t left = h->a->n_positions - row;
    stripe s = {.row = row, .n_rows = left < ROWS ? left : ROWS, .first = first_seen(h, row)};
    s.n_seen = row + s.n_rows - s.first;
    return s;
}

static float score_scale(const head *h)
{
    return 1.0f / sqrtf((float)h->d);
}

/* m (n_rows x n_seen) = alpha a b^T with n_rows and n_seen rows of a head. */
static void multiply_heads(const head *h, const stripe *s, float alpha, const float *a,
                           size_t a_stride, const float *b, float *m)
{
    en_blas_get()->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)s->n_rows,
                         (blasint)s->n_seen, (blasint)h->d, alpha, a + s->row * a_stride,
                         (blasint)a_stride, b + s->first * h->stride, (blasint)h->stride, 0.0f, m,
                         (blasint)s->n_seen);
}

/* out's n_rows rows = m b, b's n_seen rows */
static void spread_rows(const head *h, const stripe *s, const float *m, const float *b, float *out,
                        size_t out_stride)
{
    en_blas_get()->sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)s->n_rows,
                         (blasint)h->d, (blasint)s->n_seen, 1.0f, m, (blasint)s->n_seen,
                         b + s->first * h->stride, (blasint)h->stride, 0.0f,
                         out + s->row * out_stride, (blasint)out_stride);
}

/* sum's n_seen rows += m^T a, a's n_rows rows */
static void gather_rows(const head *h, const stripe *s, const float *m, const float *a,
                        size_t a_stride, float *sum)
{
    en_blas_get()->sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)s->n_seen, (blasint)h->d,
                         (blasint)s->n_rows, 1.0f, m, (blasint)s->n_seen, a + s->row * a_stride,
                         (blasint)a_stride, 1.0f, sum + s->first * h->d, (blasint)h->d);
}

/* Where the stripe's row i begins to see, and how many it sees. */
static size_t seen_by(const head *h, const stripe *s, size_t i, size_t *n)
{
    size_t position = s->row + i, first = first_seen(h, position);
    *n = position + 1 - first;
    return first - s->first;
}

static void zero_unseen(float *row, size_t n_seen, size_t first, size_t n)
{
    memset(row, 0, first * sizeof *row);
    memset(row + first + n, 0, (n_seen - first - n) * sizeof *row);
}

static void weigh(const head *h, const stripe *s)
{
    multiply_heads(h, s, score_scale(h), h->q, h->stride, h->k, h->p);
    for (size_t i = 0; i < s->n_rows; i++) {
        float *row = h->p + i * s->n_seen;
        size_t n, first = seen_by(h, s, i, &n);
        h->kernels->softmax(row + first, n);
        zero_unseen(row, s->n_seen, first, n);
    }
}

/* ---- forward ----------------------------------------------------------------------------- */

static void run_forward(void *context, uint32_t item, uint32_t thread)
{
    const en_block_attention *a = context;
    head h = head_of(a, item / a->hp->n_heads, item % a->hp->n_heads, thread);
    for (size_t row = 0; row < a->n_positions; row += ROWS) {
        stripe s = stripe_at(&h, row);
        weigh(&h, &s);
        spread_rows(&h, &s, h.p, h.v, h.out, h.out_stride);
    }
}

void en_block_attention_forward(en_block_attention *a, en_pool *pool)
{
    en_pool_run(pool, run_forward, a, a->n_sequences * a->hp->n_heads);
}

/* ---- backward ---------------------------------------------------------------------------- */

/* dP becomes dS, times what the scores are scaled by. */
static void through_softmax(const head *h, const stripe *s)
{
    const float scale = score_scale(h);
    for (size_t i = 0; i < s->n_rows; i++) {
        size_t n, first = seen_by(h, s, i, &n);
        float *row = h->dp + i * s->n_seen;
        float *restrict d = row + first;
        const float *restrict p = h->p + i * s->n_seen + first;
        const float mean = h->kernels->dot_f32(p, d, n);
        for (size_t j = 0; j < n; j++)
            d[j] = p[j] * (d[j] - mean) * scale;
        zero_unseen(row, s->n_seen, first, n);
    }
}

static void head_backward(const head *h)
{
    for (size_t row = 0; row < h->a->n_positions; row += ROWS) {
        stripe s = stripe_at(h, row);
        weigh(h, &s);
        gather_rows(h, &s, h->p, h->out, h->out_stride, h->dv);
        multiply_heads(h, &s, 1.0f, h->out, h->out_stride, h->v, h->dp);
        through_softmax(h, &s);
        gather_rows(h, &s, h->dp, h->q, h->stride, h->dk);
        spread_rows(h, &s, h->dp, h->k, h->q, h->stride); /* in q's place, which has served */
    }
}

static void run_backward(void *context, uint32_t item, uint32_t thread)
{
    const en_block_attention *a = context;
    uint32_t n_kv = a->hp->n_kv_heads, group = a->hp->n_heads / n_kv;
    head h = head_of(a, item / n_kv, item % n_kv * group, thread);
    memset(h.dk, 0, 2 * a->n_positions * h.d * sizeof *h.dk);
    for (uint32_t i = 0; i < group; i++, h.q += h.d, h.out += h.d)
        head_backward(&h);
    for (size_t t = 0; t < a->n_positions; t++) {
        memcpy(h.k + t * h.stride, h.dk + t * h.d, h.d * sizeof *h.k);
        memcpy(h.v + t * h.stride, h.dv + t * h.d, h.d * sizeof *h.v);
    }
}

void en_block_attention_backward(en_block_attention *a, en_pool *pool)
{
    en_pool_run(pool, run_backward, a, a->n_sequences * a->hp->n_kv_heads);
}
