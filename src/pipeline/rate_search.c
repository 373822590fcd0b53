/* rate_search.c - see rate_search.h. */
#include "pipeline/rate_search.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"

#define FIRST_BITS 4.0 /* where the search for a KLD begins */

/* Where passes aim within the tolerance: near the target, until one has missed that. */
#define FIRST_AIM 0.9985
#define LATER_AIM 0.9975

#define LEAST_DISTANCE 0.02 /* in x, of passes that tell a slope */

void en_rate_search_init(en_rate_search *s, uint64_t target)
{
    *s = (en_rate_search){.target = target};
}

void en_rate_search_free(en_rate_search *s)
{
    en_free(s->matrices);
    *s = (en_rate_search){0};
}

entro_status en_rate_search_add(en_rate_search *s, uint64_t n_rows, uint64_t n_cols,
                                const float *row_spreads, const float *col_spreads,
                                entro_error *err)
{
    if (s->n == s->cap &&
        !en_grow((void **)&s->matrices, &s->cap, s->n + 1, SIZE_MAX, sizeof *s->matrices))
        return en_fail_memory(err);
    EN_TRY(en_rate_matrix_set(&s->matrices[s->n], n_rows, n_cols, row_spreads, col_spreads, err));
    s->n++;
    return ENTRO_OK;
}

/* ---- the prediction -------------------------------------------------------------------- */

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
        double each = m->has_spreads ? en_rate_matrix_bits(m, exp2(x)) : -x;
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

/* What a pass's value would be; of a KLD only how it changes: a quarter of it for every bit. */
static double predict(const en_rate_search *s, double x)
{
    if (s->target_kld > 0)
        return 2 * x;
    return s->other_bytes + (en_rate_search_bits(s, x) + s->overhead) * n_weights(s) / 8;
}

/* ---- the target ------------------------------------------------------------------------ */

static bool has_target(const en_rate_search *s)
{
    return s->target > 0 || s->target_kld > 0;
}

/* A value within the limit fits. */
static double limit(const en_rate_search *s)
{
    return s->target_kld > 0 ? log2(s->target_kld) : (double)s->target;
}

static double goal(const en_rate_search *s)
{
    if (s->target_kld > 0)
        return log2((1 - EN_RATE_KLD_TOLERANCE / 2) * s->target_kld);
    return (s->n_counted < 2 ? FIRST_AIM : LATER_AIM) * (double)s->target;
}

static bool fits(const en_rate_search *s, double value)
{
    return value <= limit(s);
}

/* Share by which a value is below the limit. */
static double below(const en_rate_search *s, double value)
{
    if (s->target_kld > 0)
        return 1 - exp2(value) / s->target_kld;
    return 1 - value / (double)s->target;
}

static bool is_good(const en_rate_search *s, double value)
{
    double tolerance = s->target_kld > 0 ? EN_RATE_KLD_TOLERANCE : EN_RATE_TOLERANCE;
    return fits(s, value) && below(s, value) <= tolerance;
}

/* Not good, but good enough when nothing nearer can be had.  Any KLD below the one asked for is that. */
static bool is_near(const en_rate_search *s, double value)
{
    return fits(s, value) && (s->target_kld > 0 || below(s, value) <= EN_RATE_NEAR);
}

/* Where values are largest and smallest. */
static double largest_end(const en_rate_search *s)
{
    return s->target_kld > 0 ? s->coarsest : s->finest;
}

static double smallest_end(const en_rate_search *s)
{
    return s->target_kld > 0 ? s->finest : s->coarsest;
}

/* The pass next to the limit on the side that fits, or on the other, the later of equals; NULL: none. */
static const en_rate_pass *nearest(const en_rate_search *s, bool fitting)
{
    const en_rate_pass *found = NULL;
    for (unsigned i = 0; i < s->n_counted; i++) {
        const en_rate_pass *p = &s->passes[i];
        bool is_nearer =
            found == NULL || (fitting ? p->value >= found->value : p->value <= found->value);
        if (fits(s, p->value) == fitting && is_nearer)
            found = p;
    }
    return found;
}

/* ---- messages -------------------------------------------------------------------------- */

typedef struct value_text {
    char s[64];
} value_text;

/* Bits and KLDs are rounded up, so that who asks for them gets this file. */
static value_text text_of(const en_rate_search *s, double value)
{
    value_text t;
    if (s->target_kld > 0) {
        double unit = pow(10, floor(value * log10(2)) - 2); /* of the third digit */
        snprintf(t.s, sizeof t.s, "%.3g", ceil(exp2(value) / unit - 1e-6) * unit);
        return t;
    }
    int n = snprintf(t.s, sizeof t.s, "%.*f MB", value < 1e7 ? 4 : 2, value / 1e6);
    if (s->n_params > 0)
        snprintf(t.s + n, sizeof t.s - (size_t)n, " (%.3f bits a parameter)",
                 ceil(8e3 * value / (double)s->n_params) / 1e3);
    return t;
}

/* Beyond an end, which was made and has that value. */
static entro_status fail_at_end(const en_rate_search *s, double value, entro_error *err)
{
    value_text asked = text_of(s, limit(s)), end = text_of(s, value);
    if (s->target_kld > 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "an expected KLD of %s cannot be met: the finest file, of %g bits a weight, "
                       "has %s",
                       asked.s, EN_RATE_MOST_BITS, end.s);
    return en_fail(err, ENTRO_ERR_ARGUMENT,
                   "a file of %s cannot be met: the %s that this model can have, with the tensors "
                   "that this method codes, is %s",
                   asked.s, fits(s, value) ? "largest" : "smallest", end.s);
}

static entro_status fail_between(const en_rate_search *s, entro_error *err)
{
    const en_rate_pass *less = nearest(s, true), *more = nearest(s, false);
    value_text asked = text_of(s, limit(s));
    value_text a = text_of(s, less != NULL ? less->value : 0.0);
    value_text b = text_of(s, more != NULL ? more->value : 0.0);
    bool both = less != NULL && more != NULL;
    return en_fail(err, ENTRO_ERR_ARGUMENT,
                   "%s of %s cannot be met: the nearest of %u passes %s %s%s%s; ask for %s",
                   s->target_kld > 0 ? "an expected KLD" : "a file", asked.s, s->n_passes,
                   both ? "have" : "has", less != NULL ? a.s : "", both ? " and " : "",
                   more != NULL ? b.s : "", both ? "one of these" : "this");
}

/* ---- the next x ------------------------------------------------------------------------ */

/* What the prediction is wrong by: Newton's polynomial through up to three passes. */
typedef struct corrections {
    double x[3], differences[3];
    int n;
} corrections;

static void add_correction(const en_rate_search *s, corrections *c, const en_rate_pass *p)
{
    double difference = p->value - predict(s, p->x);
    for (int i = 0; i < c->n; i++)
        difference = (difference - c->differences[i]) / (p->x - c->x[i]);
    c->x[c->n] = p->x;
    c->differences[c->n++] = difference;
}

/* One pass more, the latest that is far enough from the others to tell a slope. */
static void add_another(const en_rate_search *s, corrections *c)
{
    for (unsigned i = s->n_counted; i-- > 0;) {
        double distance = INFINITY;
        for (int k = 0; k < c->n; k++)
            distance = fmin(distance, fabs(s->passes[i].x - c->x[k]));
        if (distance >= LEAST_DISTANCE) {
            add_correction(s, c, &s->passes[i]);
            return;
        }
    }
}

static double corrected(const en_rate_search *s, const corrections *c, double x)
{
    double sum = 0;
    for (int i = c->n; i-- > 0;)
        sum = sum * (x - c->x[i]) + c->differences[i];
    return predict(s, x) + sum;
}

/* Where the goal is met between an x of less and one of more. */
static double solve(const en_rate_search *s, const corrections *c, double less, double more)
{
    double wanted = goal(s);
    for (int i = 0; i < 60; i++) {
        double middle = (less + more) / 2;
        if (corrected(s, c, middle) > wanted)
            more = middle;
        else
            less = middle;
    }
    return (less + more) / 2;
}

static double between(const en_rate_search *s, const en_rate_pass *less, const en_rate_pass *more)
{
    corrections c = {0};
    add_correction(s, &c, less);
    add_correction(s, &c, more);
    add_another(s, &c);
    return solve(s, &c, less->x, more->x);
}

/* A step that brought less than a quarter of what was missing, on the flat of a jump, is four times as long the
 * next time: at least to this x. */
static double at_least(const en_rate_search *s, const en_rate_pass *from)
{
    if (s->n_counted < 2)
        return from->x;
    const en_rate_pass *last = &s->passes[s->n_counted - 1];
    if (from != last)
        return from->x + 4 * (last->x - from->x);
    double missing = goal(s) - last[-1].value, brought = last->value - last[-1].value;
    return brought / missing < 0.25 ? last->x + 4 * (last->x - last[-1].x) : from->x;
}

/* Towards the target from passes on one side of it; 'from' NULL: from the prediction alone. */
static double beyond(const en_rate_search *s, const en_rate_pass *from)
{
    corrections c = {0};
    if (from == NULL)
        return solve(s, &c, smallest_end(s), largest_end(s));
    bool is_less = fits(s, from->value);
    double to = is_less ? largest_end(s) : smallest_end(s);
    to = fmax(from->x - EN_RATE_MAX_STEP, fmin(from->x + EN_RATE_MAX_STEP, to));
    add_correction(s, &c, from);
    if ((corrected(s, &c, to) > goal(s)) != is_less)
        return to;
    double x = is_less ? solve(s, &c, from->x, to) : solve(s, &c, to, from->x);
    double least = at_least(s, from);
    if (to > from->x)
        return fmin(to, fmax(x, least));
    return fmax(to, fmin(x, least));
}

/* ---- the search ------------------------------------------------------------------------ */

entro_status en_rate_search_start(en_rate_search *s, entro_error *err)
{
    if (!has_target(s))
        return ENTRO_OK;
    if (s->n == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "no tensor is left whose size could be chosen; leave out --size and --bpw");
    s->finest = x_for(s, EN_RATE_MOST_BITS);
    s->coarsest = x_for(s, EN_RATE_LEAST_BITS);
    s->x = s->target_kld > 0 ? x_for(s, FIRST_BITS) : beyond(s, NULL);
    return ENTRO_OK;
}

/* No further pass would be nearer, or none is left.  The best file may have to be made again. */
static entro_status settle(en_rate_search *s, double last, bool *again, entro_error *err)
{
    const en_rate_pass *best = nearest(s, true);
    if (best == NULL || !is_near(s, best->value))
        return fail_between(s, err);
    if (fits(s, last) && last >= best->value)
        return ENTRO_OK;
    if (s->n_passes >= EN_RATE_MAX_PASSES)
        return fail_between(s, err);
    s->x = best->x;
    *again = s->repeats = true;
    return ENTRO_OK;
}

static entro_status next(en_rate_search *s, double value, bool *again, entro_error *err)
{
    s->n_passes++;
    s->last = value;
    if (s->repeats) /* whatever it has become: there is no third time */
        return is_near(s, value) ? ENTRO_OK : fail_between(s, err);
    s->passes[s->n_counted++] = (en_rate_pass){s->x, value};
    if (is_good(s, value))
        return ENTRO_OK;
    if (fabs(s->x - (fits(s, value) ? largest_end(s) : smallest_end(s))) < 1e-6)
        return is_near(s, value) ? ENTRO_OK : fail_at_end(s, value, err);
    const en_rate_pass *less = nearest(s, true), *more = nearest(s, false);
    bool both = less != NULL && more != NULL;
    unsigned n_left = EN_RATE_MAX_PASSES - s->n_passes;
    if (n_left == 0 || (n_left == 1 && less != NULL && is_near(s, less->value)) ||
        (both && fabs(less->x - more->x) < EN_RATE_NARROW))
        return settle(s, value, again, err);
    s->x = both ? between(s, less, more) : beyond(s, less != NULL ? less : more);
    *again = true;
    return ENTRO_OK;
}

entro_status en_rate_search_next(en_rate_search *s, uint64_t n_bytes, bool *again, entro_error *err)
{
    *again = false;
    if (s->target > 0)
        return next(s, (double)n_bytes, again, err);
    s->n_passes++;
    return ENTRO_OK;
}

entro_status en_rate_search_next_kld(en_rate_search *s, double kld, bool *again, entro_error *err)
{
    *again = false;
    if (!(kld > 0))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the KLD of a file cannot be estimated here: every coded tensor must be of "
                       "method watersic");
    return next(s, log2(kld), again, err);
}

void en_rate_search_forget(en_rate_search *s)
{
    s->n_counted = 0;
    s->repeats = false;
}

double en_rate_search_below(const en_rate_search *s)
{
    return has_target(s) ? below(s, s->last) : NAN;
}

bool en_rate_search_is_met(const en_rate_search *s)
{
    return !has_target(s) || is_good(s, s->last);
}
