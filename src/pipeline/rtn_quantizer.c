/* rtn_quantizer.c - see rtn_quantizer.h. */
#include "pipeline/rtn_quantizer.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "entropy/integer_histogram.h"
#include "kernels/kernels.h"
#include "quant/finite.h"
#include "quant/method.h"
#include "tensor/half.h"

enum {
    BLOCK_ELEMS = 1 << 16,
    CHUNK_ELEMS = 1 << 24, /* between two reports of progress */
    SAMPLE_ELEMS = 1 << 17,
    /* Source bytes of a tensor that may stay mapped between passes: mapping them again costs time. */
    RESIDENT_BYTES = 64 << 20,
};

entro_status en_rtn_open(en_rtn_quantizer *q, const en_source *source, en_job *job,
                         entro_error *err)
{
    *q = (en_rtn_quantizer){.source = source, .job = job};
    q->threads = en_alloc_zero(job->n_threads, sizeof *q->threads);
    return q->threads != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_rtn_close(en_rtn_quantizer *q)
{
    for (uint32_t i = 0; q->threads != NULL && i < q->job->n_threads; i++)
        en_free(q->threads[i].row);
    en_free(q->threads);
    en_free(q->steps);
    *q = (en_rtn_quantizer){0};
}

static entro_status read_row(en_rtn_quantizer *q, uint64_t row, uint32_t thread, entro_error *err)
{
    return en_source_read_rows(q->source, q->tensor, row, 1, q->threads[thread].row, err);
}

/* ---- the first pass ---------------------------------------------------------------------- */

/* In f64, so that no square over- or underflows; always in the same order, so that files are the
 * same on every machine. */
static double row_rms(const float *w, size_t n)
{
    enum { LANES = 8 };
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            sums[j] += (double)w[i + j] * (double)w[i + j];
    for (size_t j = 0; i < n; i++, j++)
        sums[j] += (double)w[i] * (double)w[i];
    for (size_t j = 0; j < LANES; j++)
        sum += sums[j];
    return sqrt(sum / (double)n);
}

static uint64_t rows_per_block(const en_rtn_quantizer *q)
{
    return q->n_cols < BLOCK_ELEMS ? BLOCK_ELEMS / q->n_cols : 1;
}

/* Until the factor is known, each row's rms stands in the place of its step. */
static entro_status measure_block(void *context, uint32_t block, uint32_t thread, entro_error *err)
{
    en_rtn_quantizer *q = context;
    uint64_t first = block * rows_per_block(q), left = q->n_rows - first;
    uint64_t n = left < rows_per_block(q) ? left : rows_per_block(q);
    for (uint64_t r = first; r < first + n; r++) {
        EN_TRY(read_row(q, r, thread, err));
        const float *row = q->threads[thread].row;
        double rms = row_rms(row, (size_t)q->n_cols);
        if (!isfinite(rms)) {
            size_t col = en_finite_count(row, (size_t)q->n_cols);
            return en_fail_not_finite(r, col, row[col], err);
        }
        q->steps[r] = (float)rms;
    }
    return ENTRO_OK;
}

static entro_status measure_rows(en_rtn_quantizer *q, uint64_t done, uint64_t n_bytes,
                                 entro_error *err)
{
    uint64_t n_blocks = (q->n_rows + rows_per_block(q) - 1) / rows_per_block(q);
    uint64_t chunk = CHUNK_ELEMS / (rows_per_block(q) * q->n_cols);
    chunk = chunk > 0 ? chunk : 1;
    for (uint64_t first = 0; first < n_blocks; first += chunk) {
        uint64_t n_now = n_blocks - first < chunk ? n_blocks - first : chunk;
        EN_TRY(en_job_run(q->job, measure_block, q, (uint32_t)first, (uint32_t)n_now, err));
        if (q->tensor->n_bytes > RESIDENT_BYTES)
            en_source_forget(q->source, q->tensor);
        uint64_t moved = (uint64_t)((double)n_bytes * (double)(first + n_now) / (double)n_blocks);
        EN_TRY(en_job_reach(q->job, q->tensor->name, done + moved, err));
    }
    return ENTRO_OK;
}

/* ---- the factor -------------------------------------------------------------------------- */

/* Weights over their row's rms. */
typedef struct sample {
    float *x;
    int32_t *z;
    size_t n;
    en_integer_counts *counts;
} sample;

/* Rounds, ties to even; returns the largest magnitude, of which 2^30 is the limit (integers are of no
 * use when it is passed). */
static double round_all(const float *w, double inverse_step, int32_t *z, size_t n)
{
    const double limit = EN_QUANT_MAX_INTEGER, magic = 0x1.8p52;
    float lo, hi;
    en_kernels_get()->min_max(w, n, &lo, &hi);
    double largest = (double)(hi > -lo ? hi : -lo) * inverse_step;
    /* So that the compiler can use vectors: no integer overflows, and no branch. */
    double factor = largest > limit ? limit / largest * inverse_step : inverse_step;
    for (size_t i = 0; i < n; i++)
        z[i] = (int32_t)(((double)w[i] * factor + magic) - magic);
    return largest;
}

static entro_status take_sample(en_rtn_quantizer *q, sample *s, entro_error *err)
{
    uint64_t n_rows = SAMPLE_ELEMS / q->n_cols;
    n_rows = n_rows < 4 ? 4 : n_rows;
    n_rows = n_rows > q->n_rows ? q->n_rows : n_rows;
    size_t n_cols = (size_t)q->n_cols;
    s->n = (size_t)n_rows * n_cols;
    s->x = en_alloc(s->n, sizeof *s->x);
    s->z = en_alloc(s->n, sizeof *s->z);
    s->counts = en_alloc(1, sizeof *s->counts);
    if (!s->x || !s->z || !s->counts)
        return en_fail_memory(err);
    for (uint64_t i = 0; i < n_rows; i++) {
        uint64_t row = i * q->n_rows / n_rows;
        EN_TRY(read_row(q, row, 0, err));
        /* A row of zeros stays one, whatever it is divided by. */
        double inverse = q->steps[row] > 0 ? 1.0 / (double)q->steps[row] : 0.0;
        for (size_t k = 0; k < n_cols; k++)
            s->x[i * n_cols + k] = (float)((double)q->threads[0].row[k] * inverse);
    }
    return ENTRO_OK;
}

/* Integers beyond the window count as all the same here: steps so fine that most are must not look
 * like the ones searched for. */
static double entropy_with(const sample *s, double factor)
{
    round_all(s->x, 1.0 / factor, s->z, s->n);
    en_integer_counts_clear(s->counts);
    en_integer_counts_add(s->counts, s->z, s->n);
    s->counts->inside[0] += s->counts->n_outside;
    s->counts->n_outside = 0;
    return en_integer_counts_entropy(s->counts);
}

/* Of the step that gives normally distributed weights this entropy: log2 sqrt(2 pi e) = 2.047. */
static double factor_log2(double bits)
{
    return 2.047 - bits;
}

/*
 * Half the step is a bit more: from the step that is right for a normal distribution the entropy's
 * error is the next move, within what is known of both sides.
 */
static double find_factor(const sample *s, double bits)
{
    const double start = factor_log2(bits), enough = 0.001;
    double at = start, best = start, best_miss = DBL_MAX;
    double below = start - 22, above = start + 12; /* log2 of factors: too fine, too coarse */
    bool seen_above = false;
    for (int i = 0; i < 40 && best_miss > enough; i++) {
        double entropy = entropy_with(s, exp2(at)), miss = entropy - bits;
        if (fabs(miss) < best_miss) {
            best_miss = fabs(miss);
            best = at;
        }
        seen_above |= miss >= -enough;
        if (miss > 0)
            below = at;
        else
            above = at;
        at += miss;
        /* Where the entropy moves in leaps, halve. */
        if (!(at > below && at < above) || i % 4 == 3)
            at = (below + above) / 2;
    }
    return exp2(seen_above ? best : factor_log2(fmax(bits, EN_QUANT_DEFAULT_ENTROPY)));
}

/* ---- steps ------------------------------------------------------------------------------- */

static float half_of(float x)
{
    uint16_t half;
    en_kernels_get()->f32_to_f16(&x, &half, 1);
    return en_half_to_f32(half);
}

static float step_of(float rms, double factor)
{
    if (rms == 0.0f)
        return 1.0f;
    double step = (double)rms * factor;
    return step > FLT_TRUE_MIN ? step < FLT_MAX ? (float)step : FLT_MAX : FLT_TRUE_MIN;
}

/* From each row's rms.  A step of f16 may miss the right one by a hundredth: integers are computed
 * against what is stored, so that changes the rate of the row only, and little. */
static void set_steps(en_rtn_quantizer *q, double factor)
{
    q->half_steps = true;
    for (uint64_t r = 0; r < q->n_rows; r++) {
        q->steps[r] = step_of(q->steps[r], factor);
        float half = half_of(q->steps[r]);
        q->half_steps &= fabsf(half - q->steps[r]) <= 0.01f * q->steps[r];
    }
    for (uint64_t r = 0; r < q->n_rows && q->half_steps; r++)
        q->steps[r] = half_of(q->steps[r]);
}

static entro_status choose_steps(en_rtn_quantizer *q, double bits, entro_error *err)
{
    sample s = {0};
    entro_status status = take_sample(q, &s, err);
    if (status == ENTRO_OK)
        set_steps(q, find_factor(&s, bits));
    en_free(s.x);
    en_free(s.z);
    en_free(s.counts);
    return status;
}

static entro_status prepare(en_rtn_quantizer *q, const en_tensor *tensor, entro_error *err)
{
    q->tensor = tensor;
    q->n_rows = en_tensor_n_rows(tensor);
    q->n_cols = tensor->dims[0];
    if (q->n_rows > q->steps_cap &&
        !en_grow((void **)&q->steps, &q->steps_cap, (size_t)q->n_rows, SIZE_MAX, sizeof(float)))
        return en_fail_memory(err);
    for (uint32_t i = 0; i < q->job->n_threads; i++) {
        en_rtn_thread *t = &q->threads[i];
        if (q->n_cols > t->cap &&
            !en_grow((void **)&t->row, &t->cap, (size_t)q->n_cols, SIZE_MAX, sizeof(float)))
            return en_fail_memory(err);
        t->errors = (en_error_sums){0};
        en_integer_counts_clear(&t->counts);
    }
    return ENTRO_OK;
}

entro_status en_rtn_measure(en_rtn_quantizer *q, const en_tensor *tensor, double bits,
                            uint64_t done, uint64_t n_bytes, entro_error *err)
{
    EN_TRY(prepare(q, tensor, err));
    EN_TRY(measure_rows(q, done, n_bytes, err));
    return choose_steps(q, bits, err);
}

/* ---- the second pass --------------------------------------------------------------------- */

static void account(en_rtn_thread *t, const int32_t *z, float step, size_t n)
{
    float back[EN_ERROR_PIECE];
    for (size_t i = 0; i < n; i += EN_ERROR_PIECE) {
        size_t n_piece = n - i < EN_ERROR_PIECE ? n - i : EN_ERROR_PIECE;
        for (size_t k = 0; k < n_piece; k++)
            back[k] = (float)z[i + k] * step;
        en_error_sums_add(&t->errors, t->row + i, back, n_piece);
    }
    en_integer_counts_add(&t->counts, z, n);
}

entro_status en_rtn_read(en_rtn_quantizer *q, uint64_t row, uint64_t n_rows, int32_t *z,
                         size_t stride, bool is_final, uint32_t thread, entro_error *err)
{
    en_rtn_thread *t = &q->threads[thread];
    size_t n = (size_t)q->n_cols;
    for (uint64_t r = row; r < row + n_rows; r++, z += stride) {
        EN_TRY(read_row(q, r, thread, err));
        double largest = round_all(t->row, 1.0 / (double)q->steps[r], z, n);
        if (largest > EN_QUANT_MAX_INTEGER)
            return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                           "row %llu has a weight of %.3g steps, at most 2^30 can be stored; ask "
                           "for fewer bits, or store this tensor as it is with '--keep NAME'",
                           (unsigned long long)r, largest);
        if (is_final)
            account(t, z, q->steps[r], n);
    }
    return ENTRO_OK;
}

void en_rtn_gather(en_rtn_quantizer *q)
{
    en_integer_counts *all = &q->threads[0].counts;
    q->errors = q->threads[0].errors;
    for (uint32_t i = 1; i < q->job->n_threads; i++) {
        en_integer_counts_merge(all, &q->threads[i].counts);
        en_error_sums_merge(&q->errors, &q->threads[i].errors);
    }
    q->entropy = en_integer_counts_entropy(all);
    en_integer_histogram_take(&q->histogram, all->inside, 2 * (size_t)EN_INTEGER_WINDOW,
                              -EN_INTEGER_WINDOW, all->n_outside);
}
