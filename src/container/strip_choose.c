/*
 * strip_choose.c - the layout in which integers take the fewest bits.
 *
 * Every mode is a candidate, with its range of values centred on the integers' middle, and shifted by
 * half a bucket of raw bits (a bucket around zero is sometimes better than a border there).  What
 * each will take is estimated from how often every integer occurs, as if partners had nothing to do
 * with each other; the few best get a code from counted pairs, and the best of these is taken.
 */
#include <float.h>
#include <math.h>

#include "container/strip_write.h"
#include "kernels/kernels.h"

enum {
    N_TRIED = 3,
    MIDDLE_RANGE = 4096, /* integers beyond do not move the middle further */
    WINDOW = 512,        /* integers this far from the middle are told apart */
};

/* Bits that a wide mode must save: a step of it is two registers, and eight bits a weight when packed
 * in memory (linear/). */
static const double wide_toll = 0.08;

typedef struct sample {
    const int32_t *z;
    size_t stride, n_cols, n_rows;
    int32_t least, most, middle;
    double n;
    uint32_t counts[2 * WINDOW]; /* of integers from middle - WINDOW on; the ends have all beyond */
} sample;

/* Rows are shorter than 2^31 / MIDDLE_RANGE. */
static int32_t held_sum(const int32_t *z, size_t n)
{
    int32_t sum = 0;
    for (size_t k = 0; k < n; k++) {
        int32_t held = z[k] > MIDDLE_RANGE ? MIDDLE_RANGE : z[k];
        sum += held < -MIDDLE_RANGE ? -MIDDLE_RANGE : held;
    }
    return sum;
}

/* The middle is the mean, rounded. */
static void measure(sample *s)
{
    int64_t sum = 0;
    s->least = INT32_MAX;
    s->most = INT32_MIN;
    for (size_t r = 0; r < s->n_rows; r++) {
        const int32_t *z = s->z + r * s->stride;
        int32_t least = z[0], most = z[0];
        uint32_t row_sum = 0;
        for (size_t k = 0; k < s->n_cols; k++) {
            row_sum += (uint32_t)z[k];
            least = z[k] < least ? z[k] : least;
            most = z[k] > most ? z[k] : most;
        }
        s->least = least < s->least ? least : s->least;
        s->most = most > s->most ? most : s->most;
        bool held = least >= -MIDDLE_RANGE && most <= MIDDLE_RANGE;
        sum += held ? (int32_t)row_sum : held_sum(z, s->n_cols);
    }
    s->n = (double)s->n_rows * (double)s->n_cols;
    s->middle = (int32_t)lrint((double)sum / s->n);
}

static void count(sample *s)
{
    enum { TABLES = 4 }; /* several, so that equal neighbours do not wait; n_cols is a multiple */
    uint32_t tables[TABLES][2 * WINDOW] = {{0}};
    int32_t lo = s->middle - WINDOW, hi = s->middle + WINDOW - 1;
    for (size_t r = 0; r < s->n_rows; r++) {
        const int32_t *z = s->z + r * s->stride;
        for (size_t k = 0; k < s->n_cols; k += TABLES)
            for (size_t t = 0; t < TABLES; t++) {
                int32_t held = z[k + t] < lo ? lo : z[k + t];
                tables[t][(held > hi ? hi : held) - lo]++;
            }
    }
    for (size_t i = 0; i < 2 * WINDOW; i++)
        s->counts[i] = tables[0][i] + tables[1][i] + tables[2][i] + tables[3][i];
}

/* ---- the estimate ------------------------------------------------------------------------ */

/* How many integers of the sample have each high part, and how many are out of range. */
static double count_high_parts(const sample *s, en_strip_layout l, double high[16])
{
    unsigned raw = en_strip_raw_bits(l.mode);
    int32_t range = 1 << en_strip_value_bits(l.mode), from = s->middle - WINDOW;
    double n_outside = 0;
    for (int i = 0; i < 16; i++)
        high[i] = 0;
    int64_t first = (int64_t)s->least - from, last = (int64_t)s->most - from;
    first = first < 0 ? 0 : first < 2 * WINDOW ? first : 2 * WINDOW - 1;
    last = last < 0 ? 0 : last < 2 * WINDOW ? last : 2 * WINDOW - 1;
    for (int32_t i = (int32_t)first; i <= (int32_t)last; i++) {
        int32_t v = from + i - l.base;
        n_outside += v < 0 || v >= range ? s->counts[i] : 0;
        v = v < 0 ? 0 : v >= range ? range - 1 : v;
        high[v >> raw] += s->counts[i];
    }
    return n_outside;
}

/*
 * Bits of a pair: those of its probability, but not more than a code can have, as long as there are
 * codes; pairs beyond take an exception.  They are sorted by their bits, four levels a bit.
 */
static double pair_bits(const double high[16], double n)
{
    enum { LEVELS = 160 };
    double bits[16], mass[LEVELS] = {0}, sum = 0;
    unsigned n_pairs[LEVELS] = {0};
    for (int i = 0; i < 16; i++)
        bits[i] = high[i] > 0 ? -log2(high[i] / n) : LEVELS;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            double both = bits[i] + bits[j];
            int level = both < LEVELS / 4 ? (int)(4 * both) : LEVELS - 1;
            mass[level] += high[i] / n * (high[j] / n);
            n_pairs[level]++;
        }
    double left = EN_PAIR_ENTRIES;
    for (int level = 0; level < LEVELS; level++) {
        double each = (level + 0.5) / 4;
        double kept = n_pairs[level] > left ? left / n_pairs[level] : 1.0;
        left -= kept * n_pairs[level];
        sum += mass[level] * (kept * (each < EN_PAIR_MAX_BITS ? each : EN_PAIR_MAX_BITS) +
                              (1 - kept) * EN_STRIP_EXCEPTION_PRICE);
    }
    return sum;
}

static double toll_of(en_strip_mode mode)
{
    return en_strip_is_wide(mode) ? wide_toll : 0.0;
}

static double estimate(const sample *s, en_strip_layout l)
{
    double high[16];
    double n_outside = count_high_parts(s, l, high);
    return en_strip_raw_bits(l.mode) + pair_bits(high, s->n) / 2 +
           EN_STRIP_EXCEPTION_PRICE * n_outside / s->n + toll_of(l.mode);
}

/* ---- candidates -------------------------------------------------------------------------- */

/* No value of the range is given away to integers that do not occur. */
static int32_t fit_base(const sample *s, int64_t base, int64_t range)
{
    int64_t a = s->least, b = (int64_t)s->most - range + 1;
    int64_t lo = a < b ? a : b, hi = a < b ? b : a;
    base = base < lo ? lo : base > hi ? hi : base;
    return (int32_t)(base < -EN_STRIP_MAX_BASE  ? -EN_STRIP_MAX_BASE
                     : base > EN_STRIP_MAX_BASE ? EN_STRIP_MAX_BASE
                                                : base);
}

typedef struct candidate {
    en_strip_layout layout;
    double bits;
} candidate;

/* The N_TRIED with the least estimates, best first. */
static void find_candidates(const sample *s, candidate best[N_TRIED])
{
    for (int i = 0; i < N_TRIED; i++)
        best[i] = (candidate){{EN_STRIP_N0, 0}, DBL_MAX};
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++)
        for (int shifted = 0; shifted < (en_strip_raw_bits(mode) > 0 ? 2 : 1); shifted++) {
            int64_t range = INT64_C(1) << en_strip_value_bits(mode);
            int64_t shift = shifted ? (1 << en_strip_raw_bits(mode)) / 2 : 0;
            en_strip_layout l = {mode, fit_base(s, s->middle - range / 2 + shift, range)};
            candidate c = {l, estimate(s, l)};
            for (int i = 0; i < N_TRIED; i++)
                if (c.bits < best[i].bits) {
                    candidate next = best[i];
                    best[i] = c;
                    c = next;
                }
        }
}

static entro_status try_layout(const sample *s, en_strip_layout layout, en_pair_code *code,
                               double *bits, entro_error *err)
{
    const en_strip_count_fn count_strip = en_kernels_get()->strip_count;
    uint64_t counts[256] = {0}, n_outside = 0;
    for (size_t r = 0; r < s->n_rows; r += EN_STRIP_ROWS)
        count_strip(s->z + r * s->stride, s->stride, s->n_cols, layout, counts, &n_outside);
    EN_TRY(en_pair_code_build(code, counts, EN_STRIP_EXCEPTION_PRICE, err));
    *bits = en_strip_raw_bits(layout.mode) +
            (code->bits + EN_STRIP_EXCEPTION_PRICE * (double)n_outside) / s->n;
    return ENTRO_OK;
}

entro_status en_strip_choose(en_strip_layout *layout, en_pair_code *code, const int32_t *z,
                             size_t stride, uint32_t n_strips, size_t n_cols, double *bits,
                             entro_error *err)
{
    sample s = {.z = z, .stride = stride, .n_cols = n_cols};
    s.n_rows = (size_t)n_strips * EN_STRIP_ROWS;
    candidate best[N_TRIED];
    measure(&s);
    count(&s);
    find_candidates(&s, best);
    double least = DBL_MAX;
    for (int i = 0; i < N_TRIED; i++) {
        en_pair_code tried;
        double b;
        EN_TRY(try_layout(&s, best[i].layout, &tried, &b, err));
        if (b + toll_of(best[i].layout.mode) < least) {
            least = b + toll_of(best[i].layout.mode);
            *bits = b;
            *layout = best[i].layout;
            *code = tried;
        }
    }
    return ENTRO_OK;
}
