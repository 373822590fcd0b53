/* source_check.c - see source_check.h. */
#include "pipeline/source_check.h"

#include "container/weight_rows.h"
#include "quant/finite.h"

enum {
    CHUNK_BLOCKS = 256,      /* between two reports, and before pages are forgotten */
    QUIET_BYTES = 16u << 20, /* are looked through sooner than a report is read */
};

typedef struct check {
    const en_compress_plan *plan;
    en_job *job;
    bool is_quiet;
    en_weight_rows_scratch scratch;
    en_weight_rows rows; /* of the tensor at hand */
    uint64_t done;
} check;

static bool wants_check(const en_compress_plan *plan, uint32_t i)
{
    const en_store_choice *choice = &plan->choices[i];
    if (!en_dtype_get(en_source_tensor(plan->source, i)->dtype)->is_float)
        return false;
    if (plan->needs_statistics)
        return true;
    bool is_quantized = choice->kind == EN_STORE_CODED && !choice->method->exact;
    return !plan->recipe.method->exact && !is_quantized;
}

static entro_status fail_number(const en_weight_rows *w, uint64_t row, uint64_t col, float value,
                                entro_error *err)
{
    if (w->tensor->n_dims > 1)
        return en_fail_not_finite(row, col, value, err);
    return en_fail(err, ENTRO_ERR_FORMAT,
                   "the number in column %llu is %s, expected finite numbers (damaged file?)",
                   (unsigned long long)col, en_finite_name(value));
}

static entro_status check_block(void *context, uint32_t block, uint32_t thread, entro_error *err)
{
    const check *c = context;
    const en_weight_rows *w = &c->rows;
    float *rows = en_weight_rows_scratch_rows(&c->scratch, thread);
    EN_TRY(en_weight_rows_read(w, block, rows, &c->scratch, thread, err));
    size_t n = (size_t)(en_weight_rows_block_rows(w, block) * w->n_cols);
    size_t i = en_finite_count(rows, n);
    if (i == n)
        return ENTRO_OK;
    return fail_number(w, en_weight_rows_block_row(w, block) + i / w->n_cols, i % w->n_cols,
                       rows[i], err);
}

static entro_status check_tensor(check *c, const en_tensor *t, entro_error *err)
{
    c->rows = en_weight_rows_of(c->plan->source, t, NULL);
    EN_TRY(en_weight_rows_scratch_fit(&c->scratch, &c->rows, c->job->n_threads, err));
    uint32_t n = c->rows.n_blocks;
    for (uint32_t first = 0; first < n; first += CHUNK_BLOCKS) {
        uint32_t n_now = n - first < CHUNK_BLOCKS ? n - first : CHUNK_BLOCKS;
        EN_TRY(en_job_run(c->job, check_block, c, first, n_now, err));
        en_source_forget(c->plan->source, t);
        uint64_t moved = (uint64_t)((double)t->n_bytes * (first + n_now) / n);
        if (!c->is_quiet)
            EN_TRY(en_job_reach(c->job, t->name, c->done + moved, err));
    }
    c->done += t->n_bytes;
    return ENTRO_OK;
}

static entro_status check_all(check *c, entro_error *err)
{
    const en_source *source = c->plan->source;
    for (uint32_t i = 0; i < c->plan->n_source; i++) {
        const en_tensor *t = en_source_tensor(source, i);
        if (!wants_check(c->plan, i))
            continue;
        entro_status status = check_tensor(c, t, err);
        if (status == ENTRO_OK)
            continue;
        if (status != ENTRO_ERR_CANCELLED && err != NULL && err->where[0] == '\0') {
            en_error_place(err, "%s", t->name);
            en_error_place(err, "%s", en_source_path(source));
        }
        return status;
    }
    return ENTRO_OK;
}

entro_status en_source_check(const en_compress_plan *plan, en_job *job, entro_error *err)
{
    check c = {.plan = plan, .job = job};
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < plan->n_source; i++)
        n_bytes += wants_check(plan, i) ? en_source_tensor(plan->source, i)->n_bytes : 0;
    c.is_quiet = n_bytes < QUIET_BYTES;
    if (!c.is_quiet)
        en_job_stage(job, "check", n_bytes);
    entro_status status = check_all(&c, err);
    en_weight_rows_scratch_free(&c.scratch);
    return status;
}
