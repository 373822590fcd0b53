/* weights.c - see weights.h. */
#include "pipeline/weights.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum { BLOCK_ELEMS = 32768 };

en_weights en_weights_of(const en_source *source, const en_tensor *tensor, const en_coded *coded)
{
    en_weights w = {.source = source, .tensor = tensor, .coded = coded};
    w.n_cols = tensor->dims[0];
    w.n_rows = en_tensor_n_rows(tensor);
    uint64_t rows = w.n_cols > 0 ? BLOCK_ELEMS / w.n_cols : 1;
    w.rows_per_block = coded != NULL ? coded->rows_per_segment : rows > 0 ? rows : 1;
    uint64_t n_blocks = (w.n_rows + w.rows_per_block - 1) / w.rows_per_block;
    w.n_blocks = w.n_cols > 0 ? (uint32_t)n_blocks : 0;
    return w;
}

static entro_status read_coded(const en_weights *w, uint32_t segment, float *rows, uint8_t *codes,
                               entro_error *err)
{
    const en_coded *m = w->coded;
    if (!en_coded_decode_segment(m, segment, codes))
        return en_fail(
            err, ENTRO_ERR_CHECKSUM,
            "segment %u of %u does not decode: the file is damaged; copy or make it again", segment,
            m->n_segments);
    uint64_t row = en_coded_segment_row(m, segment), n_rows = en_coded_segment_rows(m, segment);
    for (uint64_t r = 0; r < n_rows; r++) {
        float step, offset;
        en_coded_grid(m, row + r, &step, &offset);
        en_kernels_get()->expand_codes(codes + r * m->n_cols, step, offset, rows + r * m->n_cols,
                                       (size_t)m->n_cols);
    }
    return ENTRO_OK;
}

entro_status en_weights_read(const en_weights *w, uint32_t block, float *rows, uint8_t *codes,
                             entro_error *err)
{
    if (w->coded != NULL)
        return read_coded(w, block, rows, codes, err);
    return en_source_read_rows(w->source, w->tensor, en_weights_block_row(w, block),
                               en_weights_block_rows(w, block), rows, err);
}

entro_status en_weights_scratch_fit(en_weights_scratch *scratch, const en_weights *w,
                                    uint32_t n_threads, entro_error *err)
{
    size_t n = (size_t)(w->rows_per_block * w->n_cols);
    if (scratch->rows != NULL && n <= scratch->n_block_elems)
        return ENTRO_OK;
    en_weights_scratch_free(scratch);
    scratch->n_threads = n_threads;
    scratch->n_block_elems = n;
    size_t n_all, n_codes;
    bool fits = en_mul(n, n_threads, &n_all) && en_mul(n + EN_CODE_OUT_SLACK, n_threads, &n_codes);
    scratch->rows = fits ? en_alloc(n_all, sizeof(float)) : NULL;
    scratch->others = fits ? en_alloc(n_all, sizeof(float)) : NULL;
    scratch->codes = fits ? en_alloc(n_codes, 1) : NULL;
    if (scratch->rows && scratch->others && scratch->codes)
        return ENTRO_OK;
    en_weights_scratch_free(scratch);
    return en_fail_memory(err);
}

void en_weights_scratch_free(en_weights_scratch *scratch)
{
    en_free(scratch->rows);
    en_free(scratch->others);
    en_free(scratch->codes);
    *scratch = (en_weights_scratch){0};
}

float *en_weights_scratch_rows(const en_weights_scratch *scratch, uint32_t thread)
{
    return scratch->rows + thread * scratch->n_block_elems;
}

float *en_weights_scratch_others(const en_weights_scratch *scratch, uint32_t thread)
{
    return scratch->others + thread * scratch->n_block_elems;
}

uint8_t *en_weights_scratch_codes(const en_weights_scratch *scratch, uint32_t thread)
{
    return scratch->codes + thread * (scratch->n_block_elems + EN_CODE_OUT_SLACK);
}

/* ---- conversion ------------------------------------------------------------------------ */

typedef struct conversion {
    const en_weights *weights;
    const en_weights_scratch *scratch;
    uint32_t dtype, first;
    uint8_t *out;
    _Atomic uint64_t n_clipped;
} conversion;

static uint64_t clip_to_f16(float *x, size_t n)
{
    const float largest = 65504.0f;
    uint64_t n_clipped = 0;
    for (size_t i = 0; i < n; i++) {
        /* What rounds to 65504 is inside; a NaN stays one. */
        n_clipped += x[i] >= 65520.0f || x[i] <= -65520.0f;
        x[i] = x[i] > largest ? largest : x[i] < -largest ? -largest : x[i];
    }
    return n_clipped;
}

static entro_status convert_block(void *context, uint32_t block, uint32_t thread, entro_error *err)
{
    conversion *c = context;
    const en_weights *w = c->weights;
    float *rows = en_weights_scratch_rows(c->scratch, thread);
    size_t n = (size_t)(en_weights_block_rows(w, block) * w->n_cols);
    size_t at = (size_t)((block - c->first) * w->rows_per_block * w->n_cols);
    EN_TRY(en_weights_read(w, block, rows, en_weights_scratch_codes(c->scratch, thread), err));
    if (c->dtype == EN_DTYPE_F32) {
        memcpy(c->out + 4 * at, rows, 4 * n);
    } else if (c->dtype == EN_DTYPE_F16) {
        atomic_fetch_add_explicit(&c->n_clipped, clip_to_f16(rows, n), memory_order_relaxed);
        en_kernels_get()->f32_to_f16(rows, (uint16_t *)(void *)(c->out + 2 * at), n);
    } else {
        en_kernels_get()->f32_to_bf16(rows, (uint16_t *)(void *)(c->out + 2 * at), n);
    }
    return ENTRO_OK;
}

entro_status en_weights_convert(const en_weights *w, en_job *job, en_weights_scratch *scratch,
                                uint32_t first, uint32_t n_blocks, uint32_t dtype, uint8_t *out,
                                uint64_t *n_clipped, entro_error *err)
{
    EN_TRY(en_weights_scratch_fit(scratch, w, job->n_threads, err));
    conversion c = {.weights = w, .scratch = scratch, .dtype = dtype, .first = first, .out = out};
    EN_TRY(en_job_run(job, convert_block, &c, first, n_blocks, err));
    *n_clipped += c.n_clipped;
    return ENTRO_OK;
}
