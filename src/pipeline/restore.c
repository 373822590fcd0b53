/*
 * restore.c - any model to a plain GGUF file of f16, bf16 or f32 weights, or a lossless container to
 * the files it was made from (restore_original.h).
 *
 *   floats of one dimension   f32, as everybody expects norms and biases
 *   other floats              the type asked for
 *   everything else           as it is
 *
 * All sizes are known beforehand, so tensors stream through a buffer of bounded size; only those
 * stored with their rows in another order are there whole.
 */
#include "pipeline/pipeline.h"

#include <string.h>

#include "base/memory.h"
#include "pipeline/file_meta.h"
#include "pipeline/restore_original.h"
#include "container/gguf_output.h"
#include "container/weight_rows.h"

enum { ALIGNMENT = 32, CHUNK_ELEMS = 1 << 22 };

typedef struct restoration {
    en_source *source;
    en_container *container; /* NULL when the source is none */
    uint32_t n_tensors;
    uint32_t dtype, file_type;
    en_job job;
    en_weight_rows_scratch scratch;
    en_meta *meta;
    en_tensor *tensors; /* as written */
    uint8_t *buffer;
    size_t buffer_cap;
    en_gguf_output out;
    uint64_t done;
    uint64_t n_clipped;
} restoration;

static entro_status parse_type(restoration *r, const char *type, entro_error *err)
{
    static const struct {
        const char *name;
        uint32_t dtype, file_type; /* the latter is llama.cpp's number for general.file_type */
    } types[] = {{"f16", EN_DTYPE_F16, 1}, {"bf16", EN_DTYPE_BF16, 32}, {"f32", EN_DTYPE_F32, 0}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(type != NULL ? type : "f16", types[i].name) != 0)
            continue;
        r->dtype = types[i].dtype;
        r->file_type = types[i].file_type;
        return ENTRO_OK;
    }
    return en_fail(err, ENTRO_ERR_ARGUMENT, "type is '%s', expected original, f16, bf16 or f32",
                   type);
}

/* The logical tensor, and how to read it. */
static const en_tensor *input(const restoration *r, uint32_t i, const en_coded **coded)
{
    *coded = NULL;
    if (r->container == NULL)
        return en_source_tensor(r->source, i);
    const en_container_tensor *t = en_container_tensor_at(r->container, i);
    *coded = t->coded;
    return &t->tensor;
}

static entro_status plan(restoration *r, entro_error *err)
{
    r->n_tensors =
        r->container ? en_container_n_tensors(r->container) : en_source_n_tensors(r->source);
    r->tensors = en_alloc_zero(r->n_tensors, sizeof *r->tensors);
    if (r->tensors == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < r->n_tensors; i++) {
        const en_coded *coded;
        const en_tensor *t = input(r, i, &coded);
        r->tensors[i] = *t;
        if (coded != NULL || en_dtype_get(t->dtype)->is_float)
            r->tensors[i].dtype = t->n_dims == 1 ? EN_DTYPE_F32 : r->dtype;
    }
    EN_TRY(en_file_meta_copy(&r->meta, r->source, err));
    en_meta_remove(r->meta, "general.quantization_version");
    return en_meta_set_u32(r->meta, "general.file_type", r->file_type, err);
}

static entro_status reserve(restoration *r, size_t n_bytes, entro_error *err)
{
    if (n_bytes <= r->buffer_cap)
        return ENTRO_OK;
    en_free(r->buffer);
    r->buffer = en_alloc(n_bytes, 1);
    r->buffer_cap = r->buffer != NULL ? n_bytes : 0;
    return r->buffer != NULL ? ENTRO_OK : en_fail_memory(err);
}

/* A float tensor, a few million weights at a time. */
static entro_status put_floats(restoration *r, uint32_t i, const en_weight_rows *w,
                               entro_error *err)
{
    uint32_t dtype = r->tensors[i].dtype;
    uint64_t n_block = w->rows_per_block * w->n_cols, elem = en_dtype_get(dtype)->block_bytes;
    uint64_t chunk = n_block > 0 && n_block < CHUNK_ELEMS ? CHUNK_ELEMS / n_block : 1;
    chunk = en_weight_rows_reorders(w) ? w->n_blocks : chunk;
    for (uint64_t first = 0; first < w->n_blocks; first += chunk) {
        uint32_t n = (uint32_t)(w->n_blocks - first < chunk ? w->n_blocks - first : chunk);
        uint64_t row = en_weight_rows_block_row(w, (uint32_t)first);
        uint32_t last = (uint32_t)first + n - 1;
        uint64_t n_rows =
            en_weight_rows_block_row(w, last) + en_weight_rows_block_rows(w, last) - row;
        size_t n_bytes = (size_t)(n_rows * w->n_cols * elem);
        EN_TRY(reserve(r, n_bytes, err));
        EN_TRY(en_weight_rows_convert(w, &r->job, &r->scratch, (uint32_t)first, n, dtype, r->buffer,
                                      &r->n_clipped, err));
        EN_TRY(en_gguf_output_put(&r->out, i, r->buffer, n_bytes, err));
        uint64_t moved = (uint64_t)((double)w->tensor->n_bytes * (first + n) / w->n_blocks);
        EN_TRY(en_job_reach(&r->job, w->tensor->name, r->done + moved, err));
    }
    return ENTRO_OK;
}

static entro_status put(restoration *r, uint32_t i, entro_error *err)
{
    const en_coded *coded;
    const en_tensor *t = input(r, i, &coded);
    EN_TRY(en_gguf_output_start(&r->out, i, err));
    if (coded == NULL && t->data != NULL && r->tensors[i].dtype == t->dtype)
        return en_gguf_output_put(&r->out, i, t->data, (size_t)t->n_bytes, err);
    en_weight_rows w = en_weight_rows_of(r->source, t, coded);
    return put_floats(r, i, &w, err);
}

static entro_status put_all(restoration *r, entro_error *err)
{
    uint64_t total = 0;
    const en_coded *coded;
    for (uint32_t i = 0; i < r->n_tensors; i++)
        total += input(r, i, &coded)->n_bytes;
    en_job_stage(&r->job, "restore", total);
    for (uint32_t i = 0; i < r->n_tensors; i++) {
        const en_tensor *t = input(r, i, &coded);
        entro_status status = put(r, i, err);
        en_source_forget(r->source, t);
        r->done += t->n_bytes;
        if (status == ENTRO_OK)
            status = en_job_reach(&r->job, t->name, r->done, err);
        if (status == ENTRO_OK)
            continue;
        if (status != ENTRO_ERR_CANCELLED && err != NULL && err->where[0] == '\0') {
            en_error_place(err, "tensor '%s'", t->name);
            en_error_place(err, "%s", en_source_path(r->source));
        }
        return status;
    }
    return ENTRO_OK;
}

/* Has the container's source to be written, rather than a plain file? */
static entro_status wants_original(const restoration *r, const char *type, bool *wants,
                                   entro_error *err)
{
    bool holds = r->container != NULL && en_container_original(r->container) != NULL;
    *wants = type != NULL ? strcmp(type, "original") == 0 : holds;
    if (!*wants || holds)
        return ENTRO_OK;
    en_fail(err, ENTRO_ERR_ARGUMENT,
            "does not hold the files it was made from, only 'entrollm compress --method lossless' "
            "keeps them; --type f16 writes a plain file");
    en_error_place(err, "%s", en_source_path(r->source));
    return ENTRO_ERR_ARGUMENT;
}

static entro_status write_plain(restoration *r, const char *path, const entro_job_options *opt,
                                entro_restore_report *done, entro_error *err)
{
    EN_TRY(plan(r, err));
    EN_TRY(en_gguf_output_begin(&r->out, path, opt->overwrite, r->meta, r->tensors, r->n_tensors,
                                ALIGNMENT, err));
    EN_TRY(put_all(r, err));
    *done =
        (entro_restore_report){.n_tensors = r->n_tensors, .n_clipped = r->n_clipped, .n_files = 1};
    return en_gguf_output_finish(&r->out, &done->n_file_bytes, err);
}

static entro_status run(restoration *r, const char *model, const char *path, const char *type,
                        const entro_job_options *opt, entro_restore_report *report,
                        entro_error *err)
{
    if (type == NULL || strcmp(type, "original") != 0)
        EN_TRY(parse_type(r, type, err));
    EN_TRY(en_source_open(&r->source, model, err));
    if (en_container_is(r->source))
        EN_TRY(en_container_open(&r->container, r->source, err));
    EN_TRY(en_job_open(&r->job, opt->n_threads, opt->progress, opt->progress_user, err));
    bool original;
    EN_TRY(wants_original(r, type, &original, err));
    entro_restore_report done;
    if (original)
        EN_TRY(en_restore_original(r->source, r->container, &r->job, path, opt->overwrite, &done,
                                   err));
    else
        EN_TRY(write_plain(r, path, opt, &done, err));
    if (report != NULL)
        *report = done;
    return ENTRO_OK;
}

entro_status en_restore(const char *model, const char *path, const char *type,
                        const entro_job_options *opt, entro_restore_report *report,
                        entro_error *err)
{
    entro_job_options defaults = {.struct_size = sizeof defaults};
    restoration r = {0};
    entro_status status = run(&r, model, path, type, opt != NULL ? opt : &defaults, report, err);
    en_gguf_output_abort(&r.out);
    en_meta_free(r.meta);
    en_free(r.tensors);
    en_free(r.buffer);
    en_weight_rows_scratch_free(&r.scratch);
    en_job_close(&r.job);
    en_container_close(r.container);
    en_source_close(r.source);
    return status;
}
