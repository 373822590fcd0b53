/* rate_search.c - see rate_search.h. */
#include "pipeline/rate_search.h"

#include <math.h>

#include "base/memory.h"
#include "quant/watersic.h"

/* What a coded weight takes beyond its entropy, until a pass has told. */
#define FIRST_OVERHEAD 0.12
#define FIRST_BITS     4.0 /* where the search for a loss begins */

/* Passes aim a little below the target, for they miss by less than that. */
static const double aims[EN_RATE_MAX_PASSES] = {0.9985, 0.9985, 0.997};

void en_rate_search_init(en_rate_search *s, uint64_t target)
{
    *s = (en_rate_search){.target = target, .best_x = NAN};
}

void en_rate_search_free(en_rate_search *s)
{
    for (size_t i = 0; i < s->n; i++)
        en_free(s->matrices[i].spreads);
    en_free(s->matrices);
    *s = (en_rate_search){0};
}

entro_status en_rate_search_add(en_rate_search *s, uint64_t n_rows, uint64_t n_cols, float *spreads,
                                entro_error *err)
{
    if (s->n == s->cap &&
        !en_grow((void **)&s->matrices, &s->cap, s->n + 1, SIZE_MAX, sizeof *s->matrices)) {
        en_free(spreads);
        return en_fail_memory(err);
    }
    s->matrices[s->n++] = (en_rate_matrix){n_rows, n_cols, spreads};
    double n = (double)n_rows * (double)n_cols;
    s->correction += n * FIRST_OVERHEAD / 8;
    return ENTRO_OK;
}

static double n_weights(const en_rate_search *s)
{
    double n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += (double)s->matrices[i].n_rows * (double)s->matrices[i].n_cols;
    return n;
}

double en_rate_search_bits(const en_rate_search *s, double x)
{
    double bits = 0;
    for (size_t i = 0; i < s->n; i++) {
        const en_rate_matrix *m = &s->matrices[i];
        double each = -x;
        if (m->spreads != NULL)
            each = en_watersic_expected_bits(m->spreads, (size_t)m->n_cols, exp2(x));
        bits += each * (double)m->n_rows * (double)m->n_cols;
    }
    return s->n > 0 ? bits / n_weights(s) : 0.0;
}

/* The x at which that many bits are expected, between ends that always suffice. */
static double x_for(const en_rate_search *s, double bits)
{
    double lo = -100, hi = 100; /* fine, coarse */
    for (int i = 0; i < 60; i++) {
        double middle = (lo + hi) / 2;
        if (en_rate_search_bits(s, middle) > bits)
            lo = middle;
        else
            hi = middle;
    }
    return (lo + hi) / 2;
}

static double bytes_at(const en_rate_search *s, double bits)
{
    return s->other_bytes + s->correction + bits * n_weights(s) / 8;
}

static entro_status aim(en_rate_search *s, double share, entro_error *err)
{
    double wanted = share * (double)s->target - s->other_bytes - s->correction;
    double bits = wanted * 8 / n_weights(s);
    if (!(bits >= EN_RATE_LEAST_BITS && bits <= EN_RATE_MOST_BITS))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "a file of %.2f MB cannot be met: this model can have from about %.2f to "
                       "%.2f MB with the tensors that this method codes",
                       (double)s->target / 1e6, bytes_at(s, EN_RATE_LEAST_BITS) / 1e6,
                       bytes_at(s, EN_RATE_MOST_BITS) / 1e6);
    s->x = x_for(s, bits);
    return ENTRO_OK;
}

entro_status en_rate_search_next_loss(en_rate_search *s, double loss, bool *again, entro_error *err)
{
    s->n_passes++;
    *again = false;
    if (!(loss > 0))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the loss of a file cannot be estimated here: every coded tensor must be of "
                       "method watersic");
    bool fits = loss <= s->target_loss;
    if (fits && (loss >= (1 - EN_RATE_LOSS_TOLERANCE) * s->target_loss ||
                 s->n_passes >= EN_RATE_MAX_PASSES))
        return ENTRO_OK;
    s->x += 0.5 * log2((1 - EN_RATE_LOSS_TOLERANCE / 2) * s->target_loss / loss);
    double bits = en_rate_search_bits(s, s->x);
    if (s->n_passes > EN_RATE_MAX_PASSES + 2 || bits < EN_RATE_LEAST_BITS ||
        bits > EN_RATE_MOST_BITS)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "this KLD cannot be met with %g to %g bits a weight; ask for another",
                       EN_RATE_LEAST_BITS, EN_RATE_MOST_BITS);
    *again = true;
    return ENTRO_OK;
}

entro_status en_rate_search_start(en_rate_search *s, entro_error *err)
{
    if (s->target_loss > 0)
        s->x = x_for(s, FIRST_BITS);
    if (s->target == 0)
        return ENTRO_OK;
    if (s->n == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "no tensor is left whose size could be chosen; leave out --size and --bpw");
    return aim(s, aims[0], err);
}

entro_status en_rate_search_next(en_rate_search *s, uint64_t n_bytes, bool *again, entro_error *err)
{
    *again = false;
    s->n_passes++;
    if (s->target == 0)
        return ENTRO_OK;
    bool fits = n_bytes <= s->target;
    if (fits && (isnan(s->best_x) || n_bytes > s->best_bytes)) {
        s->best_x = s->x;
        s->best_bytes = n_bytes;
    }
    if (fits && (double)n_bytes >= (1 - EN_RATE_TOLERANCE) * (double)s->target)
        return ENTRO_OK;
    double expected = s->other_bytes + en_rate_search_bits(s, s->x) * n_weights(s) / 8;
    s->correction = (double)n_bytes - expected;
    if (s->n_passes < EN_RATE_MAX_PASSES) {
        *again = true;
        return aim(s, aims[s->n_passes], err);
    }
    if (fits) /* a step of the coder larger than the tolerance: a tiny model */
        return ENTRO_OK;
    if (isnan(s->best_x))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "a file of at most %llu bytes could not be met, the smallest try has %llu; "
                       "ask for a larger one",
                       (unsigned long long)s->target, (unsigned long long)n_bytes);
    s->x = s->best_x;
    *again = true;
    return ENTRO_OK;
}

void en_rate_search_forget(en_rate_search *s)
{
    s->best_x = NAN;
    s->best_bytes = 0;
}
