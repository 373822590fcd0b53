/* quantizer.c - see quantizer.h. */
#include "pipeline/quantizer.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "quant/finite.h"

enum {
    CHUNK_ELEMS = 1 << 24,
    /* Source bytes of a tensor that may stay mapped between passes: mapping them again costs time. */
    RESIDENT_BYTES = 64 << 20
};

void en_quantizer_need_add(en_quantizer_need *need, const en_tensor *tensor,
                           const en_quant_method *method)
{
    en_payload plan;
    en_payload_plan(&plan, method, en_tensor_n_rows(tensor), tensor->dims[0]);
    size_t n_block = (size_t)(plan.rows_per_segment * plan.n_cols);
    size_t n_codes = (size_t)(plan.n_rows * plan.n_cols);
    need->n_block_elems = n_block > need->n_block_elems ? n_block : need->n_block_elems;
    need->n_codes = n_codes > need->n_codes ? n_codes : need->n_codes;
    need->n_grids = plan.n_grids > need->n_grids ? (size_t)plan.n_grids : need->n_grids;
    need->alphabets[en_model_codes_slot(method->bits)] = true;
}

static entro_status open_thread(en_quantizer_thread *t, const en_quantizer_need *need,
                                entro_error *err)
{
    t->rows = en_alloc(need->n_block_elems, sizeof *t->rows);
    if (t->rows == NULL)
        return en_fail_memory(err);
    for (int slot = 0; slot < 2; slot++)
        if (need->alphabets[slot])
            EN_TRY(en_histogram_new(&t->histograms[slot], slot == 1 ? 256 : 16, err));
    return ENTRO_OK;
}

static entro_status open_parts(en_quantizer *q, const en_quantizer_need *need, entro_error *err)
{
    q->codes = en_alloc(need->n_codes, 1);
    q->steps = en_alloc(need->n_grids, sizeof *q->steps);
    q->offsets = en_alloc(need->n_grids, sizeof *q->offsets);
    q->threads = en_alloc_zero(q->job->n_threads, sizeof *q->threads);
    if (!q->codes || !q->steps || !q->offsets || !q->threads)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < q->job->n_threads; i++)
        EN_TRY(open_thread(&q->threads[i], need, err));
    for (int slot = 0; slot < 2; slot++)
        if (need->alphabets[slot])
            EN_TRY(en_histogram_new(&q->histograms[slot], slot == 1 ? 256 : 16, err));
    return ENTRO_OK;
}

entro_status en_quantizer_open(en_quantizer *q, const en_source *source, en_job *job,
                               const en_quantizer_need *need, entro_error *err)
{
    *q = (en_quantizer){.source = source, .job = job};
    entro_status status = open_parts(q, need, err);
    if (status != ENTRO_OK)
        en_quantizer_close(q);
    return status;
}

void en_quantizer_close(en_quantizer *q)
{
    for (uint32_t i = 0; q->threads != NULL && i < q->job->n_threads; i++) {
        en_free(q->threads[i].rows);
        en_histogram_free(q->threads[i].histograms[0]);
        en_histogram_free(q->threads[i].histograms[1]);
    }
    en_histogram_free(q->histograms[0]);
    en_histogram_free(q->histograms[1]);
    en_free(q->threads);
    en_free(q->codes);
    en_free(q->steps);
    en_free(q->offsets);
    *q = (en_quantizer){0};
}

/* ---- one block of rows ----------------------------------------------------------------- */

static entro_status read_block(en_quantizer *q, uint32_t segment, float *rows, uint64_t *row,
                               uint64_t *n_rows, entro_error *err)
{
    uint64_t left;
    *row = (uint64_t)segment * q->plan.rows_per_segment;
    left = q->plan.n_rows - *row;
    *n_rows = left < q->plan.rows_per_segment ? left : q->plan.rows_per_segment;
    return en_source_read_rows(q->source, q->tensor, *row, *n_rows, rows, err);
}

/* Smallest and largest weight of a row, all of which must be finite. */
static entro_status row_range(const en_quantizer *q, uint64_t row, const float *w, float *lo,
                              float *hi, entro_error *err)
{
    size_t n = (size_t)q->plan.n_cols;
    if (en_kernels_get()->min_max(w, n, lo, hi))
        return ENTRO_OK;
    size_t col = en_finite_count(w, n);
    return en_fail_not_finite(row, col, w[col], err);
}

static entro_status measure_block(void *context, uint32_t segment, uint32_t thread,
                                  entro_error *err)
{
    en_quantizer *q = context;
    en_quantizer_thread *t = &q->threads[thread];
    uint64_t row, n_rows;
    EN_TRY(read_block(q, segment, t->rows, &row, &n_rows, err));
    for (uint64_t r = 0; r < n_rows; r++) {
        float lo, hi;
        EN_TRY(row_range(q, row + r, t->rows + r * q->plan.n_cols, &lo, &hi, err));
        t->lo = lo < t->lo ? lo : t->lo;
        t->hi = hi > t->hi ? hi : t->hi;
    }
    return ENTRO_OK;
}

static void quantize_row(en_quantizer_thread *t, const en_grid *grid, const float *w,
                         uint8_t *codes, size_t n)
{
    const en_kernels *k = en_kernels_get();
    float back[EN_ERROR_PIECE];
    for (size_t i = 0; i < n; i += EN_ERROR_PIECE) {
        size_t n_piece = n - i < EN_ERROR_PIECE ? n - i : EN_ERROR_PIECE;
        k->quantize(w + i, grid->offset, grid->inverse_step, grid->max_code, codes + i, n_piece);
        k->expand_codes(codes + i, grid->step, grid->offset, back, n_piece);
        en_error_sums_add(&t->errors, w + i, back, n_piece);
    }
}

static entro_status make_grid(const en_quantizer *q, uint64_t row, float lo, float hi,
                              en_grid *grid, entro_error *err)
{
    *grid = en_quant_grid(lo, hi, q->plan.method->bits);
    if (!isfinite(grid->step))
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "row %llu spans more than the range of f32, which no grid can hold; store "
                       "this tensor as it is with '--keep NAME'",
                       (unsigned long long)row);
    return ENTRO_OK;
}

/* The row's own grid, which is also noted. */
static entro_status make_row_grid(en_quantizer *q, uint64_t row, const float *w, en_grid *grid,
                                  entro_error *err)
{
    float lo, hi;
    EN_TRY(row_range(q, row, w, &lo, &hi, err));
    if (!q->plan.half_grids)
        EN_TRY(make_grid(q, row, lo, hi, grid, err));
    else if (!en_quant_grid_half(lo, hi, q->plan.method->bits, grid))
        atomic_store_explicit(&q->needs_f32_grids, true, memory_order_relaxed);
    q->steps[row] = grid->step;
    q->offsets[row] = grid->offset;
    return ENTRO_OK;
}

static bool is_pass_void(const en_quantizer *q)
{
    return atomic_load_explicit(&q->needs_f32_grids, memory_order_relaxed);
}

static entro_status quantize_block(void *context, uint32_t segment, uint32_t thread,
                                   entro_error *err)
{
    en_quantizer *q = context;
    en_quantizer_thread *t = &q->threads[thread];
    size_t n_cols = (size_t)q->plan.n_cols;
    bool per_row = q->plan.method->per_row;
    uint64_t row, n_rows;
    if (is_pass_void(q))
        return ENTRO_OK;
    EN_TRY(read_block(q, segment, t->rows, &row, &n_rows, err));
    uint8_t *codes = q->codes + row * n_cols;
    en_grid grid;
    if (!per_row)
        EN_TRY(make_grid(q, row, q->threads[0].lo, q->threads[0].hi, &grid, err));
    for (size_t r = 0; r < n_rows; r++) {
        const float *w = t->rows + r * n_cols;
        if (per_row)
            EN_TRY(make_row_grid(q, row + r, w, &grid, err));
        if (is_pass_void(q))
            return ENTRO_OK;
        quantize_row(t, &grid, w, codes + r * n_cols, n_cols);
    }
    en_histogram_add(t->histograms[en_model_codes_slot(q->plan.method->bits)], codes,
                     (size_t)n_rows * n_cols);
    return ENTRO_OK;
}

/* ---- the tensor ------------------------------------------------------------------------ */

uint32_t en_quantizer_chunk(const en_payload *plan)
{
    uint64_t n = CHUNK_ELEMS / (plan->rows_per_segment * plan->n_cols);
    return n > 0 ? (uint32_t)n : 1;
}

/* One pass over all blocks. */
static entro_status pass(en_quantizer *q, en_job_fn fn, uint64_t done, uint64_t n_bytes,
                         entro_error *err)
{
    uint32_t n = q->plan.n_segments, chunk = en_quantizer_chunk(&q->plan);
    for (uint32_t first = 0; first < n; first += chunk) {
        uint32_t n_now = n - first < chunk ? n - first : chunk;
        EN_TRY(en_job_run(q->job, fn, q, first, n_now, err));
        if (is_pass_void(q))
            return ENTRO_OK;
        if (q->tensor->n_bytes > RESIDENT_BYTES)
            en_source_forget(q->source, q->tensor);
        uint64_t moved = (uint64_t)((double)n_bytes * (first + n_now) / n);
        EN_TRY(en_job_reach(q->job, q->tensor->name, done + moved, err));
    }
    return ENTRO_OK;
}

static void gather(en_quantizer *q)
{
    int slot = en_model_codes_slot(q->plan.method->bits);
    q->histogram = q->histograms[slot];
    en_histogram_clear(q->histogram);
    q->errors = (en_error_sums){0};
    for (uint32_t i = 0; i < q->job->n_threads; i++) {
        const en_quantizer_thread *t = &q->threads[i];
        en_histogram_merge(q->histogram, t->histograms[slot]);
        en_error_sums_merge(&q->errors, &t->errors);
    }
}

/* Forgets what the threads have seen. */
static void start_over(en_quantizer *q)
{
    atomic_store_explicit(&q->needs_f32_grids, false, memory_order_relaxed);
    for (uint32_t i = 0; i < q->job->n_threads; i++) {
        en_quantizer_thread *t = &q->threads[i];
        t->lo = INFINITY;
        t->hi = -INFINITY;
        t->errors = (en_error_sums){0};
        en_histogram_clear(t->histograms[en_model_codes_slot(q->plan.method->bits)]);
    }
}

static entro_status quantize_by_rows(en_quantizer *q, uint64_t done, uint64_t n_bytes,
                                     entro_error *err)
{
    q->plan.half_grids = true;
    EN_TRY(pass(q, quantize_block, done, n_bytes, err));
    if (!is_pass_void(q))
        return ENTRO_OK;
    q->plan.half_grids = false;
    start_over(q);
    return pass(q, quantize_block, done, n_bytes, err);
}

static entro_status run_passes(en_quantizer *q, uint64_t done, uint64_t n_bytes, entro_error *err)
{
    start_over(q);
    if (q->plan.method->per_row)
        return quantize_by_rows(q, done, n_bytes, err);
    EN_TRY(pass(q, measure_block, done, n_bytes / 3, err));
    en_quantizer_thread *first = &q->threads[0];
    for (uint32_t i = 1; i < q->job->n_threads; i++) {
        first->lo = q->threads[i].lo < first->lo ? q->threads[i].lo : first->lo;
        first->hi = q->threads[i].hi > first->hi ? q->threads[i].hi : first->hi;
    }
    en_grid grid = en_quant_grid(first->lo, first->hi, q->plan.method->bits);
    q->steps[0] = grid.step;
    q->offsets[0] = grid.offset;
    return pass(q, quantize_block, done + n_bytes / 3, n_bytes - n_bytes / 3, err);
}

entro_status en_quantizer_run(en_quantizer *q, const en_tensor *tensor,
                              const en_quant_method *method, uint64_t done, uint64_t n_bytes,
                              entro_error *err)
{
    q->tensor = tensor;
    en_payload_plan(&q->plan, method, en_tensor_n_rows(tensor), tensor->dims[0]);
    EN_TRY(run_passes(q, done, n_bytes, err));
    gather(q);
    q->plan.entropy = en_histogram_entropy(q->histogram);
    q->plan.huffman_bits = en_histogram_huffman_bits(q->histogram);
    return ENTRO_OK;
}
