/*
 * sampler.c - see sampler.h.
 *
 * Order of the steps, each on what the one before left:
 *   1. repeat penalty   logits of the last repeat_last_n tokens: divided by the penalty when
 *                       positive, multiplied when negative (once, however often they occurred)
 *   2. temperature      0 takes the largest logit and ends here
 *   3. top-k            the k largest
 *   4. top-p            the fewest whose probabilities sum to p or more
 *   5. min-p            those with at least min_p times the largest probability
 *   6. draw             in proportion to what is left
 *
 * Candidates are ordered by falling logit, ties by rising id, so every machine sees the same
 * list.  A vocabulary is large and its head small: the largest are taken from a heap as far as
 * the steps ask for them, instead of sorting everything.
 */
#include "sampling/sampler.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "sampling/pcg32.h"

enum { MAX_REPEAT_LAST_N = 1 << 20 };

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct entro_sampler {
    entro_sampler_options opt;
    uint32_t n_vocab;
    en_pcg32 rng;
    candidate *heap;   /* n_vocab: the rest, of one call */
    candidate *picked; /* n_vocab: taken from the heap, in order */
    double *mass;      /* n_vocab: exp((logit - max_logit) / temperature) of the picked */
    uint32_t n_heap, n_picked;
    double max_logit;
    float *logits;    /* n_vocab: with the penalty */
    int32_t *history; /* ring of repeat_last_n */
    uint32_t n_history, next_history;
};

static entro_status check(const entro_sampler_options *o, uint32_t n_vocab, entro_error *err)
{
    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "a vocabulary of %u tokens", n_vocab);
    if (!(o->temperature >= 0.0f && o->temperature <= 1e6f))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "temperature %g, expected 0 (greedy) or more",
                       (double)o->temperature);
    if (!(o->top_p >= 0.0f && o->top_p <= 1.0f))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "top-p %g, expected 0 to 1 (1: off)",
                       (double)o->top_p);
    if (!(o->min_p >= 0.0f && o->min_p <= 1.0f))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "min-p %g, expected 0 to 1 (0: off)",
                       (double)o->min_p);
    if (!(o->repeat_penalty > 0.0f && o->repeat_penalty <= 1e6f))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "repeat penalty %g, expected above 0 (1: off)",
                       (double)o->repeat_penalty);
    if (o->repeat_last_n > MAX_REPEAT_LAST_N)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "repeat window of %u tokens, at most %u",
                       o->repeat_last_n, (unsigned)MAX_REPEAT_LAST_N);
    return ENTRO_OK;
}

entro_status en_sampler_new(entro_sampler **out, uint32_t n_vocab, const entro_sampler_options *opt,
                            entro_error *err)
{
    EN_TRY(check(opt, n_vocab, err));
    entro_sampler *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    s->opt = *opt;
    s->n_vocab = n_vocab;
    s->rng = en_pcg32_seed(opt->seed);
    s->heap = en_alloc(n_vocab, sizeof *s->heap);
    s->picked = en_alloc(n_vocab, sizeof *s->picked);
    s->mass = en_alloc(n_vocab, sizeof *s->mass);
    s->logits = en_alloc(n_vocab, sizeof *s->logits);
    s->history = en_alloc(opt->repeat_last_n, sizeof *s->history);
    if (s->heap == NULL || s->picked == NULL || s->mass == NULL || s->logits == NULL ||
        s->history == NULL) {
        en_sampler_free(s);
        return en_fail_memory(err);
    }
    *out = s;
    return ENTRO_OK;
}

void en_sampler_free(entro_sampler *s)
{
    if (s == NULL)
        return;
    en_free(s->heap);
    en_free(s->picked);
    en_free(s->mass);
    en_free(s->logits);
    en_free(s->history);
    en_free(s);
}

void en_sampler_accept(entro_sampler *s, int32_t token)
{
    if (s->opt.repeat_last_n == 0)
        return;
    s->history[s->next_history] = token;
    s->next_history = (s->next_history + 1) % s->opt.repeat_last_n;
    if (s->n_history < s->opt.repeat_last_n)
        s->n_history++;
}

static void penalize(entro_sampler *s, const float *given)
{
    for (uint32_t i = 0; i < s->n_history; i++) {
        int32_t id = s->history[i];
        if (id < 0 || (uint32_t)id >= s->n_vocab)
            continue;
        /* from the given logit, so that a token seen twice is not punished twice */
        float logit = given[id];
        s->logits[id] =
            logit > 0.0f ? logit / s->opt.repeat_penalty : logit * s->opt.repeat_penalty;
    }
}

/* ---- the heap of candidates ---------------------------------------------------------------- */

static bool before(candidate a, candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(candidate *heap, uint32_t n, uint32_t i)
{
    candidate moving = heap[i];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], moving))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

static void build_heap(candidate *heap, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
}

static candidate pop(candidate *heap, uint32_t *n)
{
    candidate top = heap[0];
    heap[0] = heap[--*n];
    if (*n > 0)
        sift_down(heap, *n, 0);
    return top;
}

/* ---- choosing ------------------------------------------------------------------------------ */

/* NaN is never the largest; 0 when there is nothing else. */
static uint32_t largest(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
            best = i;
    }
    return best;
}

static double mass_of(const entro_sampler *s, float logit)
{
    return exp(((double)logit - s->max_logit) / s->opt.temperature);
}

/* Mass of the candidate of rank i (0: the likeliest), taken from the heap when it is its turn. */
static double mass_at(entro_sampler *s, uint32_t i)
{
    while (s->n_picked <= i) {
        s->picked[s->n_picked] = pop(s->heap, &s->n_heap);
        s->mass[s->n_picked] = mass_of(s, s->picked[s->n_picked].logit);
        s->n_picked++;
    }
    return s->mass[i];
}

/* Top-k: returns how many candidates there are and sets *total to their mass. */
static uint32_t start(entro_sampler *s, const float *logits, double *total)
{
    s->n_heap = s->n_picked = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (logits[i] > -INFINITY) /* not NaN either */
            s->heap[s->n_heap++] = (candidate){logits[i], (int32_t)i};
    }
    build_heap(s->heap, s->n_heap);
    *total = 0.0;
    if (s->opt.top_k == 0 || s->opt.top_k >= s->n_heap) {
        for (uint32_t i = 0; i < s->n_heap; i++)
            *total += mass_of(s, s->heap[i].logit);
        return s->n_heap;
    }
    for (uint32_t i = 0; i < s->opt.top_k; i++)
        *total += mass_at(s, i);
    return s->opt.top_k;
}

/* Top-p and min-p keep the first so many of n candidates; *total becomes their mass. */
static uint32_t keep(entro_sampler *s, uint32_t n, double *total)
{
    double enough = s->opt.top_p < 1.0f ? s->opt.top_p * *total : INFINITY;
    double floor = (double)s->opt.min_p; /* the likeliest has mass 1 */
    if (enough == INFINITY && floor == 0.0)
        return n;
    double sum = 0.0;
    uint32_t kept = 0;
    while (kept < n && mass_at(s, kept) >= floor && (kept == 0 || sum < enough))
        sum += mass_at(s, kept++);
    *total = sum;
    return kept;
}

static int32_t draw(entro_sampler *s, uint32_t n, double total)
{
    double target = en_pcg32_unit(&s->rng) * total, sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += mass_at(s, i);
        if (sum > target)
            return s->picked[i].id;
    }
    return s->picked[n - 1].id; /* rounding: target came out as the whole mass */
}

int32_t en_sampler_sample(entro_sampler *s, const float *logits)
{
    if (s->opt.repeat_penalty != 1.0f && s->n_history > 0) {
        memcpy(s->logits, logits, s->n_vocab * sizeof *logits);
        penalize(s, logits);
        logits = s->logits;
    }
    int32_t token = (int32_t)largest(logits, s->n_vocab);
    s->max_logit = logits[token];
    if (s->opt.temperature > 0.0f && isfinite(s->max_logit)) {
        double total;
        uint32_t n = start(s, logits, &total);
        n = keep(s, n, &total);
        token = draw(s, n, total);
    }
    en_sampler_accept(s, token);
    return token;
}
