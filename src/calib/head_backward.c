/*
 * head_backward.c - the model's end of block.h.
 *
 *   a slice:  tokens --norm--> head_in --output--> logits --softmax--> p - label --output^T, norm--> x
 *
 * Slices: block_parts.h.
 */
#include <assert.h>
#include <math.h>

#include "base/memory.h"
#include "calib/block.h"
#include "calib/block_parts.h"
#include "calib/products.h"

enum { COLUMNS = 128 /* of the vocabulary, summed by one item */ };

typedef struct slice {
    const en_head *head;
    en_pool *pool;
    const int32_t *labels; /* NULL: sampled */
    uint64_t seed;
    float *x, *head_in; /* of all tokens */
    size_t first, n;    /* the slice's */
    float *logits;      /* of the slice: n x n_vocab, then their gradients */
    float *d_in;        /* n x n_embd: gradients at head_in */
    double *losses;     /* n */
} slice;

/* ---- labels ------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) /* the end of SplitMix64 (Steele, Lea, Flood 2014) */
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

/* In [0, 1), by seed and token. */
static double unit_of(uint64_t seed, uint64_t token)
{
    const uint64_t step = UINT64_C(0x9E3779B97F4A7C15);
    return (double)(mix(mix(seed + step) + token * step) >> 11) * 0x1p-53;
}

/* The first at which the sum of probabilities exceeds 'unit'; the last possible one when rounding
 * leaves the sum below. */
static size_t sample(const float *p, size_t n, double unit)
{
    double sum = 0;
    size_t label = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(p[i] > 0.0f))
            continue;
        label = i;
        sum += (double)p[i];
        if (sum > unit)
            break;
    }
    return label;
}

/* ---- per token --------------------------------------------------------------------------- */

static void token_loss(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    slice *s = context;
    size_t n = s->head->hp->n_vocab, token = s->first + index, label;
    float *p = s->logits + index * n;
    if (s->labels != NULL && s->labels[token] < 0) {
        for (size_t i = 0; i < n; i++)
            p[i] = 0.0f;
        s->losses[index] = 0;
        return;
    }
    if (s->labels != NULL) {
        label = (size_t)s->labels[token];
        assert(label < n);
        double logit = (double)p[label];
        s->losses[index] = en_head_soften(p, n) - logit;
    } else {
        double all = en_head_soften(p, n);
        label = sample(p, n, unit_of(s->seed, token));
        s->losses[index] = isnan(all) ? all : -log((double)p[label]);
    }
    p[label] -= 1.0f;
}

static void token_norm_back(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    const slice *s = context;
    const en_head *head = s->head;
    size_t n = head->hp->n_embd;
    en_norm_back_in_place(s->x + (s->first + index) * n, head->norm, head->hp->norm_epsilon,
                          s->d_in + index * n, n);
}

typedef struct variances {
    const slice *s;
    double *sums;
} variances;

/* sums += p (1 - p), of probabilities of which one a token had 1 subtracted. */
static void sum_columns(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const variances *v = context;
    size_t n_vocab = v->s->head->hp->n_vocab, first = (size_t)item * COLUMNS;
    size_t n = n_vocab - first < COLUMNS ? n_vocab - first : COLUMNS;
    double *restrict sums = v->sums + first;
    for (size_t t = 0; t < v->s->n; t++) {
        const float *restrict g = v->s->logits + t * n_vocab + first;
        for (size_t i = 0; i < n; i++) {
            double p = g[i] < 0 ? 1 + (double)g[i] : (double)g[i];
            sums[i] += p * (1 - p);
        }
    }
}

static void sum_variances(const slice *s, double *fisher)
{
    variances v = {s, fisher};
    en_pool_run(s->pool, sum_columns, &v, (s->head->hp->n_vocab + COLUMNS - 1) / COLUMNS);
}

/* ---- slices ------------------------------------------------------------------------------ */

static double run_slice(slice *s, double *fisher)
{
    const en_hparams *hp = s->head->hp;
    en_product forward = {.x = s->head_in + s->first * hp->n_embd,
                          .w = s->head->output,
                          .y = s->logits,
                          .n_tokens = s->n,
                          .n_in = hp->n_embd,
                          .n_out = hp->n_vocab,
                          .is_transposed = true,
                          .precision = s->head->precision};
    en_product backward = {.x = s->logits,
                           .w = s->head->output,
                           .y = s->d_in,
                           .n_tokens = s->n,
                           .n_in = hp->n_vocab,
                           .n_out = hp->n_embd,
                           .precision = s->head->precision};
    double loss = 0;
    en_product_run(&forward, s->pool);
    en_pool_run(s->pool, token_loss, s, (uint32_t)s->n);
    if (fisher != NULL && s->labels == NULL)
        sum_variances(s, fisher);
    else if (fisher != NULL)
        en_sum_squares(s->logits, s->n, hp->n_vocab, fisher, s->pool);
    en_product_run(&backward, s->pool);
    en_pool_run(s->pool, token_norm_back, s, (uint32_t)s->n);
    for (size_t i = 0; i < s->n; i++)
        loss += s->losses[i];
    return loss;
}

static entro_status allocate(slice *s, size_t n, entro_error *err)
{
    const en_hparams *hp = s->head->hp;
    s->logits = en_alloc_huge(n, hp->n_vocab * sizeof *s->logits);
    s->d_in = en_alloc_huge(n, hp->n_embd * sizeof *s->d_in);
    s->losses = en_alloc(n, sizeof *s->losses);
    return s->logits && s->d_in && s->losses ? ENTRO_OK : en_fail_memory(err);
}

static double run(slice *s, size_t n_tokens, size_t most, double *fisher)
{
    double loss = 0;
    int blas = en_blas_take();
    en_head_norm(s->head, (uint32_t)n_tokens, s->x, s->head_in, s->pool);
    for (s->first = 0; s->first < n_tokens; s->first += s->n) {
        s->n = n_tokens - s->first < most ? n_tokens - s->first : most;
        loss += run_slice(s, fisher);
    }
    en_blas_give_back(blas);
    return loss;
}

entro_status en_head_backward(const en_head *head, uint32_t n_tokens, float *x, float *head_in,
                              const int32_t *labels, uint64_t seed, double *fisher, double *loss,
                              en_pool *pool, entro_error *err)
{
    slice s = {
        .head = head, .pool = pool, .labels = labels, .seed = seed, .x = x, .head_in = head_in};
    size_t most = en_head_slice_tokens(head->hp, n_tokens);
    entro_status status = allocate(&s, most, err);
    if (status == ENTRO_OK)
        *loss = run(&s, n_tokens, most, fisher);
    en_free(s.logits);
    en_free(s.d_in);
    en_free(s.losses);
    return status;
}
