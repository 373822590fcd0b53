/*
 * head_distill.c - the model's end of block.h, judged by a teacher's predictions.
 *
 *   a slice:  teacher's inputs --its output--> logits --softmax--> p
 *             x --norm--> inputs --output--> logits --softmax--> q     q - p --output^T, norm--> x
 *
 *   KLD of a token = sum p (log p - log q)
 */
#include "base/memory.h"
#include "calib/block.h"
#include "calib/block_parts.h"
#include "calib/products.h"
#include "kernels/kernels.h"

/* ---- the norm ---------------------------------------------------------------------------- */

typedef struct norming {
    const en_head *head;
    const en_kernels *kernels;
    const float *x;
    float *y;
} norming;

static void norm_token(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const norming *n = context;
    size_t n_embd = n->head->hp->n_embd;
    n->kernels->rms_norm(n->x + t * n_embd, n->head->norm, n->head->hp->norm_epsilon,
                         n->y + t * n_embd, n_embd);
}

void en_head_norm(const en_head *head, uint32_t n_tokens, const float *x, float *y, en_pool *pool)
{
    norming n = {head, en_kernels_get(), x, y};
    en_pool_run(pool, norm_token, &n, n_tokens);
}

/* ---- a slice ----------------------------------------------------------------------------- */

typedef struct slice {
    const en_head *head;
    const en_head_teacher *teacher;
    en_pool *pool;
    float *x;        /* of all tokens */
    size_t first, n; /* the slice's */
    float *q, *p;    /* n x n_vocab: logits; then q - p in q */
    float *inputs;   /* n x n_embd: the norm's output, then the gradient at it */
    float *apart;    /* n_vocab for each thread: differences of logits */
    float *scales;   /* n: of the norm's way back */
    double *klds;    /* n */
} slice;

/* sum p (log p - log q), from the differences of logits and the two sums of exponentials. */
static void token_kld(void *context, uint32_t index, uint32_t thread)
{
    slice *s = context;
    size_t n = s->head->hp->n_vocab;
    float *restrict q = s->q + index * n, *restrict p = s->p + index * n;
    float *restrict apart = s->apart + thread * n;
    for (size_t i = 0; i < n; i++)
        apart[i] = p[i] - q[i];
    double kld = en_head_soften(q, n) - en_head_soften(p, n);
    for (size_t i = 0; i < n; i++) {
        kld += (double)(p[i] * apart[i]);
        q[i] -= p[i];
    }
    s->klds[index] = kld;
}

static void token_norm_back(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    const slice *s = context;
    const en_head *head = s->head;
    size_t n = head->hp->n_embd;
    en_norm_back_in_place(s->x + (s->first + index) * n, head->norm, head->hp->norm_epsilon,
                          s->inputs + index * n, n);
}

/* Before x becomes the gradient at itself. */
static void token_scale(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    const slice *s = context;
    size_t n = s->head->hp->n_embd;
    const en_norm_back back = en_norm_back_of(s->x + (s->first + index) * n, s->head->norm,
                                              s->head->hp->norm_epsilon, s->inputs + index * n, n);
    s->scales[index] = back.scale;
}

static void logits(const slice *s, const float *x, const float *output, float *y)
{
    en_product product = {.x = x,
                          .w = output,
                          .y = y,
                          .n_tokens = s->n,
                          .n_in = s->head->hp->n_embd,
                          .n_out = s->head->hp->n_vocab,
                          .is_transposed = true};
    en_product_run(&product, s->pool);
}

static void backward(slice *s, double *gain)
{
    const en_hparams *hp = s->head->hp;
    en_product product = {.x = s->q,
                          .w = s->head->output,
                          .y = s->inputs,
                          .n_tokens = s->n,
                          .n_in = hp->n_vocab,
                          .n_out = hp->n_embd};
    en_product_run(&product, s->pool);
    en_pool_run(s->pool, token_scale, s, (uint32_t)s->n);
    en_sum_products(s->x + s->first * hp->n_embd, s->inputs, s->scales, s->n, hp->n_embd, gain,
                    s->pool);
    en_pool_run(s->pool, token_norm_back, s, (uint32_t)s->n);
}

static double run_slice(slice *s, double *gain)
{
    size_t at = s->first * s->head->hp->n_embd;
    double kld = 0;
    en_head_norm(s->head, (uint32_t)s->n, s->x + at, s->inputs, s->pool);
    logits(s, s->inputs, s->head->output, s->q);
    logits(s, s->teacher->head_in + at, s->teacher->output, s->p);
    en_pool_run(s->pool, token_kld, s, (uint32_t)s->n);
    for (size_t i = 0; i < s->n; i++)
        kld += s->klds[i];
    if (gain != NULL)
        backward(s, gain);
    return kld;
}

/* ---- all of them ------------------------------------------------------------------------- */

static entro_status allocate(slice *s, size_t n, entro_error *err)
{
    const en_hparams *hp = s->head->hp;
    s->q = en_alloc_huge(n, hp->n_vocab * sizeof *s->q);
    s->p = en_alloc_huge(n, hp->n_vocab * sizeof *s->p);
    s->inputs = en_alloc_huge(n, hp->n_embd * sizeof *s->inputs);
    s->apart = en_alloc(en_pool_n_threads(s->pool), hp->n_vocab * sizeof *s->apart);
    s->scales = en_alloc(n, sizeof *s->scales);
    s->klds = en_alloc(n, sizeof *s->klds);
    return s->q && s->p && s->inputs && s->apart && s->scales && s->klds ? ENTRO_OK
                                                                         : en_fail_memory(err);
}

static double run(slice *s, size_t n_tokens, size_t most, double *gain)
{
    double kld = 0;
    int blas = en_blas_take();
    for (s->first = 0; s->first < n_tokens; s->first += s->n) {
        s->n = n_tokens - s->first < most ? n_tokens - s->first : most;
        kld += run_slice(s, gain);
    }
    en_blas_give_back(blas);
    return kld;
}

entro_status en_head_distill(const en_head *head, const en_head_teacher *teacher, uint32_t n_tokens,
                             float *x, double *gain, double *kld, en_pool *pool, entro_error *err)
{
    slice s = {.head = head, .teacher = teacher, .pool = pool, .x = x};
    size_t most = en_head_slice_tokens(head->hp, n_tokens);
    entro_status status = allocate(&s, most, err);
    if (status == ENTRO_OK)
        *kld = run(&s, n_tokens, most, gain);
    en_free(s.q);
    en_free(s.p);
    en_free(s.inputs);
    en_free(s.apart);
    en_free(s.scales);
    en_free(s.klds);
    return status;
}
