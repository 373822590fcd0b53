/* class_choice.c - see class_choice.h. */
#include "pipeline/class_choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    MAX_BINS = 48,
    WINDOW = 48, /* integers this far from 0 are told apart */
    N_VALUES = 2 * WINDOW + 1,
    HELD = 1 << 12, /* integers beyond do not make a spread larger still */
    SAMPLE_WEIGHTS = 1 << 22,
    PIECE_ROWS = 64,
};

/* What classes cost in the file, and how many of columns there may be. */
typedef struct class_price {
    double table_bits; /* of a class's layout and table */
    double chunk_bits; /* a row class begins with a chunk of its own: lanes' starts, index */
    uint32_t max_cols;
} class_price;

/* With more than 8, runs of columns get short, which costs strips time. */
static const class_price price_strips = {1200, 1600, 8};
static const class_price price_rans = {400, 1200, EN_STRIP_MAX_COL_CLASSES};

typedef uint32_t histogram[N_VALUES];

/* A run of rows or columns, sorted: bins at first, classes in the end. */
typedef struct run {
    uint32_t end;          /* in units (strips) */
    histogram *histograms; /* of each class of the other kind */
    double bits;           /* of all of them */
} run;

typedef struct choice {
    const class_price *price;
    const int32_t *z;
    size_t n_rows, n_cols;
    size_t row_step; /* rows of the sample are this far apart */
    en_job *job;
    uint32_t n_threads;
    double *sums; /* squares: of each column, a set for each thread */
    double *row_sums;
    uint8_t *col_bin, *row_bin; /* of each column, row */
    uint32_t n_col_bins, n_row_bins;
    histogram *counts; /* [thread][row bin][column bin] */
    histogram *merged; /* of all threads */
} choice;

/* ---- spreads ----------------------------------------------------------------------------- */

static size_t n_sample_rows(const choice *c)
{
    return (c->n_rows + c->row_step - 1) / c->row_step;
}

static uint32_t n_pieces(const choice *c)
{
    return (uint32_t)((n_sample_rows(c) + PIECE_ROWS - 1) / PIECE_ROWS);
}

static inline int64_t held(int32_t z)
{
    return z > HELD ? HELD : z < -HELD ? -HELD : z;
}

/* Sums of squares are integers below 2^53: in any order the same. */
static entro_status sum_piece(void *context, uint32_t piece, uint32_t thread, entro_error *err)
{
    (void)err;
    choice *c = context;
    double *sums = c->sums + thread * c->n_cols;
    size_t first = (size_t)piece * PIECE_ROWS, end = first + PIECE_ROWS, all = n_sample_rows(c);
    for (size_t i = first; i < end && i < all; i++) {
        const int32_t *z = c->z + i * c->row_step * c->n_cols;
        for (size_t k = 0; k < c->n_cols; k++)
            sums[k] += (double)(held(z[k]) * held(z[k]));
    }
    return ENTRO_OK;
}

/* Every row has a place in the order, not only those of the sample. */
static entro_status sum_rows(void *context, uint32_t piece, uint32_t thread, entro_error *err)
{
    (void)thread, (void)err;
    choice *c = context;
    size_t first = (size_t)piece * PIECE_ROWS, end = first + PIECE_ROWS;
    for (size_t r = first; r < end && r < c->n_rows; r++) {
        const int32_t *z = c->z + r * c->n_cols;
        int64_t sum = 0;
        for (size_t k = 0; k < c->n_cols; k++)
            sum += held(z[k]) * held(z[k]);
        c->row_sums[r] = (double)sum;
    }
    return ENTRO_OK;
}

typedef struct ranked {
    double sum;
    uint32_t index;
} ranked;

static int by_sum(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->sum != y->sum)
        return x->sum < y->sum ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* ---- bins -------------------------------------------------------------------------------- */

static uint32_t n_units_of(size_t n, uint32_t unit)
{
    return (uint32_t)((n + unit - 1) / unit);
}

/* Sorts by 'sums' and gives each its bin; 'order' gets the indices, sorted. */
static entro_status make_bins(const double *sums, size_t n, uint32_t unit, uint32_t *order,
                              uint8_t *bin, uint32_t ends[MAX_BINS], uint32_t *n_bins,
                              entro_error *err)
{
    ranked *all = en_alloc(n, sizeof *all);
    if (all == NULL)
        return en_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        all[i] = (ranked){sums[i], (uint32_t)i};
    qsort(all, n, sizeof *all, by_sum);
    uint32_t n_units = n_units_of(n, unit);
    *n_bins = n_units < MAX_BINS ? n_units : MAX_BINS;
    for (uint32_t b = 0, first = 0; b < *n_bins; first = ends[b++]) {
        ends[b] = (uint32_t)((uint64_t)n_units * (b + 1) / *n_bins);
        for (size_t i = (size_t)first * unit; i < (size_t)ends[b] * unit && i < n; i++) {
            order[i] = all[i].index;
            bin[all[i].index] = (uint8_t)b;
        }
    }
    en_free(all);
    return ENTRO_OK;
}

static entro_status count_piece(void *context, uint32_t piece, uint32_t thread, entro_error *err)
{
    (void)err;
    choice *c = context;
    histogram *mine = c->counts + (size_t)thread * c->n_row_bins * c->n_col_bins;
    size_t first = (size_t)piece * PIECE_ROWS, end = first + PIECE_ROWS, all = n_sample_rows(c);
    for (size_t i = first; i < end && i < all; i++) {
        size_t row = i * c->row_step;
        const int32_t *z = c->z + row * c->n_cols;
        histogram *of_row = mine + (size_t)c->row_bin[row] * c->n_col_bins;
        for (size_t k = 0; k < c->n_cols; k++) {
            int32_t v = z[k] < -WINDOW ? -WINDOW : z[k] > WINDOW ? WINDOW : z[k];
            of_row[c->col_bin[k]][v + WINDOW]++;
        }
    }
    return ENTRO_OK;
}

static void add_histogram(histogram to, const histogram from)
{
    for (int v = 0; v < N_VALUES; v++)
        to[v] += from[v];
}

static double bits_of(const histogram h)
{
    double n = 0, sum = 0;
    for (int v = 0; v < N_VALUES; v++) {
        n += h[v];
        sum += h[v] > 0 ? h[v] * log2((double)h[v]) : 0.0;
    }
    return n > 0 ? n * log2(n) - sum : 0.0;
}

/* ---- merging ----------------------------------------------------------------------------- */

static double bits_of_run(const run *r, uint32_t n_others)
{
    double bits = 0;
    for (uint32_t i = 0; i < n_others; i++)
        bits += bits_of(r->histograms[i]);
    return bits;
}

static double bits_together(const run *a, const run *b, uint32_t n_others)
{
    double bits = 0;
    for (uint32_t i = 0; i < n_others; i++) {
        histogram both;
        memcpy(both, a->histograms[i], sizeof both);
        add_histogram(both, b->histograms[i]);
        bits += bits_of(both);
    }
    return bits;
}

static void merge(run *runs, uint32_t *n, uint32_t at, double bits, uint32_t n_others)
{
    for (uint32_t i = 0; i < n_others; i++)
        add_histogram(runs[at].histograms[i], runs[at + 1].histograms[i]);
    runs[at].end = runs[at + 1].end;
    runs[at].bits = bits;
    memmove(&runs[at + 1], &runs[at + 2], (*n - at - 2) * sizeof *runs);
    --*n;
}

/* Merges neighbours until there are at most 'most' and every border left saves 'price'; 'scale': weights
 * for each one of the sample. */
static void merge_runs(run *runs, uint32_t *n, uint32_t n_others, uint32_t most, double price,
                       double scale)
{
    double together[MAX_BINS];
    for (uint32_t i = 0; i < *n; i++)
        runs[i].bits = bits_of_run(&runs[i], n_others);
    for (uint32_t i = 0; i + 1 < *n; i++)
        together[i] = bits_together(&runs[i], &runs[i + 1], n_others);
    while (*n > 1) {
        uint32_t best = 0;
        double least = INFINITY;
        for (uint32_t i = 0; i + 1 < *n; i++) {
            double saved = together[i] - runs[i].bits - runs[i + 1].bits;
            if (saved < least) {
                least = saved;
                best = i;
            }
        }
        if (*n <= most && least * scale > price)
            return;
        merge(runs, n, best, together[best], n_others);
        memmove(&together[best], &together[best + 1], (*n - best) * sizeof *together);
        if (best > 0)
            together[best - 1] = bits_together(&runs[best - 1], &runs[best], n_others);
        if (best + 1 < *n)
            together[best] = bits_together(&runs[best], &runs[best + 1], n_others);
    }
}

/* Whether the runs save more than their order costs. */
static bool is_worth_it(const run *runs, uint32_t n, uint32_t n_others, double order_bits,
                        double price, double scale)
{
    double apart = 0, together = 0;
    for (uint32_t k = 0; k < n_others; k++) {
        histogram all = {0};
        for (uint32_t i = 0; i < n; i++)
            add_histogram(all, runs[i].histograms[k]);
        together += bits_of(all);
    }
    for (uint32_t i = 0; i < n; i++)
        apart += runs[i].bits;
    return (together - apart) * scale > order_bits + (n - 1) * price;
}

/* ---- classes ----------------------------------------------------------------------------- */

static int by_index(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Members of a class come in their own order, for only classes are stored. */
static void sort_classes(uint32_t *order, size_t n, const uint32_t *ends, uint32_t n_classes,
                         uint32_t unit)
{
    size_t first = 0;
    for (uint32_t c = 0; c < n_classes; c++) {
        size_t end = (size_t)ends[c] * unit;
        end = end < n ? end : n;
        qsort(order + first, end - first, sizeof *order, by_index);
        first = end;
    }
}

/* The classes that 'runs' have become; 'order' is freed when there is but one. */
static void set_classes(const run *runs, uint32_t n, uint32_t *ends, uint32_t *n_classes,
                        uint32_t **order, size_t n_members, uint32_t unit)
{
    *n_classes = n;
    for (uint32_t i = 0; i < n; i++)
        ends[i] = runs[i].end;
    if (n > 1) {
        sort_classes(*order, n_members, ends, n, unit);
        return;
    }
    en_free(*order);
    *order = NULL;
}

static void start_runs(run *runs, uint32_t n, const uint32_t *ends, histogram *histograms,
                       uint32_t n_others)
{
    for (uint32_t i = 0; i < n; i++)
        runs[i] = (run){ends[i], histograms + (size_t)i * n_others, 0};
}

static void choose_cols(choice *c, en_strip_classes *out, const uint32_t *ends, histogram *pooled,
                        double scale)
{
    run runs[MAX_BINS];
    uint32_t n = c->n_col_bins;
    for (uint32_t r = 0; r < c->n_row_bins; r++)
        for (uint32_t k = 0; k < n; k++)
            add_histogram(pooled[k], c->merged[(size_t)r * n + k]);
    start_runs(runs, n, ends, pooled, 1);
    merge_runs(runs, &n, 1, c->price->max_cols, c->price->table_bits, scale);
    if (!is_worth_it(runs, n, 1, 4.0 * (double)c->n_cols, c->price->table_bits, scale)) {
        runs[0].end = ends[c->n_col_bins - 1];
        n = 1;
    }
    set_classes(runs, n, out->col_class_end, &out->n_col_classes, &out->col_order, c->n_cols,
                EN_UNIT_COLS);
}

static uint32_t class_of_bin(const en_strip_classes *out, uint32_t end)
{
    uint32_t i = 0;
    while (out->col_class_end[i] < end)
        i++;
    return i;
}

static void choose_rows(choice *c, en_strip_classes *out, const uint32_t *row_ends,
                        const uint32_t *col_ends, histogram *by_class, double scale)
{
    run runs[MAX_BINS];
    uint32_t n = c->n_row_bins, n_cols = out->n_col_classes;
    double border = c->price->table_bits * n_cols + c->price->chunk_bits;
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t k = 0; k < c->n_col_bins; k++)
            add_histogram(by_class[(size_t)r * n_cols + class_of_bin(out, col_ends[k])],
                          c->merged[(size_t)r * c->n_col_bins + k]);
    start_runs(runs, n, row_ends, by_class, n_cols);
    merge_runs(runs, &n, n_cols, EN_STRIP_MAX_ROW_CLASSES, border, scale);
    if (!is_worth_it(runs, n, n_cols, 4.0 * (double)c->n_rows, border, scale)) {
        runs[0].end = row_ends[c->n_row_bins - 1];
        n = 1;
    }
    set_classes(runs, n, out->row_class_end, &out->n_row_classes, &out->row_order, c->n_rows,
                EN_STRIP_ROWS);
}

/* ---- all of it --------------------------------------------------------------------------- */

static entro_status allocate(choice *c, en_strip_classes *out, entro_error *err)
{
    c->sums = en_alloc_zero(c->n_threads * c->n_cols, sizeof *c->sums);
    c->row_sums = en_alloc_zero(c->n_rows, sizeof *c->row_sums);
    c->col_bin = en_alloc(c->n_cols, 1);
    c->row_bin = en_alloc(c->n_rows, 1);
    out->col_order = en_alloc(c->n_cols, sizeof *out->col_order);
    out->row_order = en_alloc(c->n_rows, sizeof *out->row_order);
    c->counts = en_alloc_zero((size_t)c->n_threads * MAX_BINS * MAX_BINS, sizeof *c->counts);
    /* Of all threads; then pooled over rows, and by class of columns. */
    c->merged = en_alloc_zero(MAX_BINS * MAX_BINS + MAX_BINS + MAX_BINS * EN_STRIP_MAX_COL_CLASSES,
                              sizeof *c->merged);
    return c->sums && c->row_sums && c->col_bin && c->row_bin && out->col_order && out->row_order &&
                   c->counts && c->merged
               ? ENTRO_OK
               : en_fail_memory(err);
}

static entro_status count_all(choice *c, entro_error *err)
{
    EN_TRY(en_job_run(c->job, count_piece, c, 0, n_pieces(c), err));
    size_t n = (size_t)c->n_row_bins * c->n_col_bins;
    for (uint32_t t = 0; t < c->n_threads; t++)
        for (size_t i = 0; i < n; i++)
            add_histogram(c->merged[i], c->counts[t * n + i]);
    return ENTRO_OK;
}

static entro_status run_choice(choice *c, en_strip_classes *out, entro_error *err)
{
    uint32_t col_ends[MAX_BINS], row_ends[MAX_BINS];
    EN_TRY(allocate(c, out, err));
    EN_TRY(en_job_run(c->job, sum_piece, c, 0, n_pieces(c), err));
    EN_TRY(en_job_run(c->job, sum_rows, c, 0, (uint32_t)((c->n_rows + PIECE_ROWS - 1) / PIECE_ROWS),
                      err));
    for (uint32_t t = 1; t < c->n_threads; t++)
        for (size_t k = 0; k < c->n_cols; k++)
            c->sums[k] += c->sums[t * c->n_cols + k];
    EN_TRY(make_bins(c->sums, c->n_cols, EN_UNIT_COLS, out->col_order, c->col_bin, col_ends,
                     &c->n_col_bins, err));
    EN_TRY(make_bins(c->row_sums, c->n_rows, EN_STRIP_ROWS, out->row_order, c->row_bin, row_ends,
                     &c->n_row_bins, err));
    EN_TRY(count_all(c, err));
    double scale = (double)c->n_rows / (double)n_sample_rows(c);
    histogram *pooled = c->merged + MAX_BINS * MAX_BINS;
    choose_cols(c, out, col_ends, pooled, scale);
    choose_rows(c, out, row_ends, col_ends, pooled + MAX_BINS, scale);
    return ENTRO_OK;
}

entro_status en_strip_classes_choose(en_strip_classes *out, const int32_t *z, size_t n_rows,
                                     size_t n_cols, bool is_rans, en_job *job, entro_error *err)
{
    *out = (en_strip_classes){0};
    choice c = {.z = z, .n_rows = n_rows, .n_cols = n_cols, .job = job};
    c.price = is_rans ? &price_rans : &price_strips;
    c.n_threads = job->n_threads;
    size_t wanted = SAMPLE_WEIGHTS / n_cols + 1;
    c.row_step = n_rows > wanted ? n_rows / wanted : 1;
    entro_status status = run_choice(&c, out, err);
    void *all[] = {c.sums, c.row_sums, c.col_bin, c.row_bin, c.counts, c.merged};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        en_free(all[i]);
    if (status != ENTRO_OK)
        en_strip_classes_free(out);
    return status;
}

void en_strip_classes_free(en_strip_classes *c)
{
    en_free(c->row_order);
    en_free(c->col_order);
    *c = (en_strip_classes){0};
}
