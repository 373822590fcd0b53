/* matrix_pass.c - see matrix_pass.h. */
#include "pipeline/matrix_pass.h"

#include <string.h>

#include "quant/blas.h"

#include "base/memory.h"
#include "entropy/integer_histogram.h"
#include "quant/cholesky.h"
#include "quant/finite.h"
#include "quant/row_blocks.h"
#include "quant/watersic.h"

/* Gradients at an embedding differ from token to token: what the mean covariance holds for harmless is not,
 * for some.  With it the estimated loss of a quantized embedding is the measured one. */
#define EMBEDDING_RIDGE 0.1

enum { LOAD_WEIGHTS = 1 << 18 /* of an item of loading */ };

entro_status en_matrix_pass_open(en_matrix_pass *p, const en_source *source,
                                 en_statistics *statistics, en_job *job, entro_error *err)
{
    *p = (en_matrix_pass){.source = source, .statistics = statistics, .job = job};
    p->factor_site = SIZE_MAX;
    p->threads = en_alloc_zero(job->n_threads, sizeof *p->threads);
    entro_status status = p->threads != NULL ? ENTRO_OK : en_fail_memory(err);
    for (uint32_t t = 0; status == ENTRO_OK && t < job->n_threads; t++)
        status = en_class_counts_new(&p->threads[t].counts, err);
    if (status == ENTRO_OK && statistics != NULL)
        status = en_blas_open(err);
    if (status == ENTRO_OK && statistics != NULL) {
        p->blas_threads = en_blas_get()->get_num_threads();
        en_blas_get()->set_num_threads((int)job->n_threads);
    }
    if (status != ENTRO_OK)
        en_matrix_pass_close(p);
    return status;
}

void en_matrix_pass_close(en_matrix_pass *p)
{
    if (p->blas_threads > 0)
        en_blas_get()->set_num_threads(p->blas_threads);
    for (uint32_t t = 0; p->threads != NULL && t < p->job->n_threads; t++) {
        en_class_counts_free(&p->threads[t].counts);
        en_free(p->threads[t].row);
    }
    void *all[] = {p->threads,      p->row_factor,     p->weights,
                   p->factor,       p->importance,     p->z,
                   p->steps,        p->offsets,        p->scales,
                   p->stored_steps, p->stored_offsets, p->stored_scales};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        en_free(all[i]);
    en_strip_classes_free(&p->classes);
    en_rounding_loss_free(&p->rounding);
    *p = (en_matrix_pass){0};
}

/* ---- what comes in ----------------------------------------------------------------------- */

/* The old contents go first: there may be no room for both. */
static bool reserve(void **items, size_t *cap, size_t n, size_t item_bytes)
{
    if (*items != NULL && *cap >= n)
        return true;
    en_free(*items);
    *items = en_alloc_huge(n, item_bytes);
    *cap = *items != NULL ? n : 0;
    return *items != NULL;
}

static size_t rows_of_item(const en_matrix_pass *p)
{
    size_t n = LOAD_WEIGHTS / p->n_cols;
    return n > 0 ? n : 1;
}

static entro_status load_item(void *context, uint32_t item, uint32_t thread, entro_error *err)
{
    (void)thread;
    en_matrix_pass *p = context;
    size_t n = rows_of_item(p), first = item * n, left = p->n_rows - first;
    n = left < n ? left : n;
    float *rows = p->weights + first * p->n_cols;
    EN_TRY(en_source_read_rows(p->source, p->tensor, first, n, rows, err));
    for (size_t r = 0; r < n; r++) {
        const float *row = rows + r * p->n_cols;
        size_t k = en_finite_count(row, p->n_cols);
        if (k == p->n_cols)
            continue;
        return en_fail_not_finite(first + r, k, row[k], err);
    }
    return ENTRO_OK;
}

static entro_status load(en_matrix_pass *p, const en_tensor *tensor, entro_error *err)
{
    p->tensor = tensor;
    p->n_rows = (size_t)en_tensor_n_rows(tensor);
    p->n_cols = (size_t)tensor->dims[0];
    if (!reserve((void **)&p->weights, &p->weights_cap, p->n_rows * p->n_cols, sizeof(float)))
        return en_fail_memory(err);
    size_t n = rows_of_item(p);
    entro_status status =
        en_job_run(p->job, load_item, p, 0, (uint32_t)((p->n_rows + n - 1) / n), err);
    en_source_forget(p->source, tensor);
    return status;
}

/* G + EN_WATERSIC_FLOOR mean(diag G) I, shrunk as its tokens say: what keeps rows from being forgotten. */
static entro_status know_gradients(en_matrix_pass *p, entro_error *err)
{
    uint64_t n_tokens;
    size_t n_floats = en_row_blocks_floats(p->n_rows);
    if (!reserve((void **)&p->row_factor, &p->row_factor_cap, n_floats, sizeof(float)))
        return en_fail_memory(err);
    EN_TRY(en_statistics_gradients(p->statistics, p->tensor->name, p->row_factor, &n_tokens, err));
    float *block = p->row_factor;
    for (size_t b = 0; b < en_row_blocks(p->n_rows); b++) {
        size_t n = en_row_block_first(p->n_rows, b + 1) - en_row_block_first(p->n_rows, b);
        en_covariance_ridge ridge = en_covariance_ridge_for(n, n_tokens);
        ridge.ridge = EN_WATERSIC_FLOOR;
        EN_TRY(en_cholesky(block, n, &ridge, NULL, err));
        block += n * n;
    }
    return ENTRO_OK;
}

static entro_status know(en_matrix_pass *p, entro_error *err)
{
    if (p->statistics == NULL || !en_statistics_has(p->statistics, p->tensor->name))
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the statistics know nothing about this tensor; choose a method without "
                       "calibration for it with '--set NAME=rtn:6' (or another)");
    size_t n = p->n_cols, site = en_statistics_site(p->statistics, p->tensor->name);
    bool same = site == p->factor_site && site != SIZE_MAX;
    if (!reserve((void **)&p->importance, &p->importance_cap, p->n_rows, sizeof(float)) ||
        (!same && !reserve((void **)&p->factor, &p->factor_cap, n * n, sizeof(float))))
        return en_fail_memory(err);
    uint64_t n_tokens;
    p->factor_site = SIZE_MAX;
    EN_TRY(en_statistics_of(p->statistics, p->tensor->name, same ? NULL : p->factor, p->importance,
                            &n_tokens, err));
    if (!same) {
        en_covariance_ridge ridge = en_covariance_ridge_for(n, n_tokens);
        if (en_statistics_is_embedding(p->statistics, p->tensor->name))
            ridge.ridge = EMBEDDING_RIDGE;
        EN_TRY(en_cholesky(p->factor, n, &ridge, NULL, err));
    }
    p->factor_site = site;
    p->has_row_factor = en_statistics_has_gradients(p->statistics, p->tensor->name);
    return p->has_row_factor ? know_gradients(p, err) : ENTRO_OK;
}

/* Arrays of n floats each, anew. */
static bool renew(float **arrays[], size_t n_arrays, size_t *cap, size_t n)
{
    if (*cap >= n)
        return true;
    *cap = 0;
    for (size_t i = 0; i < n_arrays; i++) {
        en_free(*arrays[i]);
        *arrays[i] = en_alloc(n, sizeof(float));
        if (*arrays[i] == NULL)
            return false;
    }
    *cap = n;
    return true;
}

static entro_status make_room(en_matrix_pass *p, entro_error *err)
{
    float **of_rows[] = {&p->steps, &p->offsets, &p->stored_steps, &p->stored_offsets};
    float **of_cols[] = {&p->scales, &p->stored_scales};
    return reserve((void **)&p->z, &p->z_cap, p->n_rows * p->n_cols, sizeof *p->z) &&
                   renew(of_rows, 4, &p->rows_cap, p->n_rows) &&
                   renew(of_cols, 2, &p->cols_cap, p->n_cols)
               ? ENTRO_OK
               : en_fail_memory(err);
}

static en_pass_problem problem_of(const en_matrix_pass *p, const en_quant_method *method,
                                  double slope)
{
    bool knows = method->pass->needs_statistics;
    return (en_pass_problem){.n_rows = p->n_rows,
                             .n_cols = p->n_cols,
                             .weights = p->weights,
                             .factor = knows ? p->factor : NULL,
                             .importance = knows ? p->importance : NULL,
                             .row_factor = knows && p->has_row_factor ? p->row_factor : NULL,
                             .slope = slope,
                             .pool = p->job->pool};
}

static entro_status prepare(en_matrix_pass *p, const en_tensor *tensor,
                            const en_quant_method *method, entro_error *err)
{
    EN_TRY(load(p, tensor, err));
    return method->pass->needs_statistics ? know(p, err) : ENTRO_OK;
}

entro_status en_matrix_pass_spreads(en_matrix_pass *p, const en_tensor *tensor,
                                    const en_quant_method *method, float *row_spread,
                                    float *col_spread, entro_error *err)
{
    EN_TRY(prepare(p, tensor, method, err));
    en_pass_problem problem = problem_of(p, method, 1.0);
    method->pass->spreads(&problem, row_spread, col_spread);
    return ENTRO_OK;
}

/* ---- integers ---------------------------------------------------------------------------- */

static uint64_t row_at(const en_matrix_pass *p, uint64_t stored)
{
    return p->classes.row_order != NULL ? p->classes.row_order[stored] : stored;
}

static void set_stored_order(en_matrix_pass *p)
{
    for (size_t s = 0; s < p->n_rows; s++) {
        p->stored_steps[s] = p->steps[row_at(p, s)];
        if (p->result.has_offsets)
            p->stored_offsets[s] = p->offsets[row_at(p, s)];
    }
    for (size_t k = 0; p->result.has_col_scales && k < p->n_cols; k++)
        p->stored_scales[k] = p->scales[p->classes.col_order != NULL ? p->classes.col_order[k] : k];
}

/* The row as it comes back from its integers. */
static void read_back(const en_matrix_pass *p, uint64_t row, float *out)
{
    const int32_t *z = p->z + row * p->n_cols;
    float step = p->steps[row], offset = p->result.has_offsets ? p->offsets[row] : 0.0f;
    for (size_t k = 0; k < p->n_cols; k++)
        out[k] = (float)z[k] * step + offset;
    for (size_t k = 0; p->result.has_col_scales && k < p->n_cols; k++)
        out[k] *= p->scales[k];
}

/* A row is coded: its integers are counted class by class, and it is compared with the source's. */
static entro_status account(en_matrix_pass *p, uint64_t stored, const int32_t *z, uint32_t thread,
                            entro_error *err)
{
    en_matrix_pass_thread *t = &p->threads[thread];
    const en_strip_classes *c = &p->classes;
    uint32_t row_class = 0, strip = (uint32_t)(stored / EN_STRIP_ROWS);
    while (c->row_class_end[row_class] <= strip)
        row_class++;
    size_t first = 0;
    for (uint32_t i = 0; i < c->n_col_classes; i++) {
        size_t end = (size_t)c->col_class_end[i] * EN_UNIT_COLS;
        end = end < p->n_cols ? end : p->n_cols;
        en_class_counts_add(&t->counts, row_class * c->n_col_classes + i, z + first, end - first);
        first = end;
    }
    if (t->row_cap < p->n_cols && !reserve((void **)&t->row, &t->row_cap, p->n_cols, sizeof(float)))
        return en_fail_memory(err);
    uint64_t row = row_at(p, stored);
    read_back(p, row, t->row);
    if (p->knows_rounding)
        t->loss_alone += en_rounding_loss_row(&p->rounding, row, p->weights + row * p->n_cols,
                                              p->steps[row], p->scales);
    for (size_t k = 0; k < p->n_cols; k += EN_ERROR_PIECE) {
        size_t left = p->n_cols - k, n = left < EN_ERROR_PIECE ? left : EN_ERROR_PIECE;
        en_error_sums_add(&t->errors, p->weights + row * p->n_cols + k, t->row + k, n);
    }
    return ENTRO_OK;
}

static entro_status read_stored(void *context, uint64_t row, uint64_t n_rows, int32_t *z,
                                size_t stride, bool is_final, uint32_t thread, entro_error *err)
{
    en_matrix_pass *p = context;
    const uint32_t *order = p->classes.col_order;
    for (uint64_t s = row; s < row + n_rows; s++, z += stride) {
        const int32_t *from = p->z + row_at(p, s) * p->n_cols;
        if (order == NULL)
            memcpy(z, from, p->n_cols * sizeof *z);
        for (size_t k = 0; order != NULL && k < p->n_cols; k++)
            z[k] = from[order[k]];
        if (is_final)
            EN_TRY(account(p, s, z, thread, err));
    }
    return ENTRO_OK;
}

static void gather(en_matrix_pass *p, uint32_t n_pairs)
{
    en_matrix_pass_thread *all = &p->threads[0];
    p->errors = all->errors;
    p->loss_alone = p->knows_rounding ? all->loss_alone : NAN;
    for (uint32_t t = 1; t < p->job->n_threads; t++) {
        en_class_counts_merge(&all->counts, &p->threads[t].counts, n_pairs);
        en_error_sums_merge(&p->errors, &p->threads[t].errors);
        p->loss_alone += p->threads[t].loss_alone;
    }
    p->entropy = en_class_counts_entropy(&all->counts, n_pairs);
    en_class_counts_join(&all->counts, n_pairs);
    p->entropy_one_table = en_class_counts_entropy(&all->counts, 1);
    uint64_t counts[EN_CLASS_VALUES];
    for (size_t v = 0; v < EN_CLASS_VALUES; v++)
        counts[v] = all->counts.inside[v];
    en_integer_histogram_take(&p->histogram, counts, EN_CLASS_VALUES, -EN_CLASS_WINDOW,
                              all->counts.outside[0]);
}

static entro_status encode(en_matrix_pass *p, const en_quant_method *method,
                           en_matrix_encoder *encoder, uint64_t done, uint64_t n_bytes,
                           entro_error *err)
{
    en_strip_classes_free(&p->classes);
    EN_TRY(en_strip_classes_choose(&p->classes, p->z, p->n_rows, p->n_cols,
                                   encoder->asked == EN_MATRIX_RANS, p->job, err));
    set_stored_order(p);
    uint32_t n_pairs = p->classes.n_row_classes * p->classes.n_col_classes;
    for (uint32_t t = 0; t < p->job->n_threads; t++) {
        en_class_counts_clear(&p->threads[t].counts, n_pairs);
        p->threads[t].errors = (en_error_sums){0};
        p->threads[t].loss_alone = 0;
    }
    en_integer_rows rows = {
        .read = read_stored, .context = p, .tensor = p->tensor, .classes = &p->classes};
    EN_TRY(en_matrix_encoder_choose(encoder, method, &rows, err));
    en_strip_plan *plan = &encoder->plan;
    plan->n_grids = p->n_rows;
    plan->steps = p->stored_steps;
    plan->offsets = p->result.has_offsets ? p->stored_offsets : NULL;
    plan->half_grids = p->result.half_steps;
    plan->col_scales = p->result.has_col_scales ? p->stored_scales : NULL;
    EN_TRY(en_matrix_encoder_run(encoder, done, n_bytes, err));
    gather(p, n_pairs);
    plan->entropy = p->entropy;
    return en_matrix_encoder_finish(encoder, err);
}

static void read_for_drift(void *context, uint64_t row, float *out)
{
    read_back(context, row, out);
}

entro_status en_matrix_pass_run(en_matrix_pass *p, const en_tensor *tensor,
                                const en_quant_method *method, double slope,
                                en_matrix_encoder *encoder, uint64_t done, uint64_t n_bytes,
                                entro_error *err)
{
    EN_TRY(prepare(p, tensor, method, err));
    EN_TRY(make_room(p, err));
    if (p->drift != NULL)
        EN_TRY(en_drift_correct(p->drift, tensor->name, p->weights, err));
    en_pass_problem problem = problem_of(p, method, slope);
    p->result = (en_pass_result){
        .z = p->z, .row_steps = p->steps, .row_offsets = p->offsets, .col_scales = p->scales};
    EN_TRY(method->pass->run(&problem, &p->result, err));
    EN_TRY(en_job_reach(p->job, tensor->name, done + n_bytes / 2, err));
    p->knows_rounding =
        problem.factor != NULL && p->result.has_col_scales && !p->result.has_offsets;
    if (p->knows_rounding)
        EN_TRY(en_rounding_loss_prepare(&p->rounding, &problem, err));
    EN_TRY(encode(p, method, encoder, done + n_bytes / 2, n_bytes - n_bytes / 2, err));
    if (p->drift != NULL)
        en_drift_take(p->drift, tensor->name, read_for_drift, p);
    return ENTRO_OK;
}
