/* weight_rows.c - see weight_rows.h. */
#include "container/weight_rows.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum { BLOCK_ELEMS = 32768 };

en_weight_rows en_weight_rows_of(const en_source *source, const en_tensor *tensor,
                                 const en_coded *coded)
{
    en_weight_rows w = {.source = source, .tensor = tensor, .coded = coded};
    w.n_cols = tensor->dims[0];
    w.n_rows = en_tensor_n_rows(tensor);
    uint64_t rows = w.n_cols > 0 ? BLOCK_ELEMS / w.n_cols : 1;
    w.rows_per_block = rows > 0 ? rows : 1;
    if (coded != NULL && coded->strips != NULL) {
        w.rows_per_block = (uint64_t)coded->strips->strips_per_chunk * EN_STRIP_ROWS;
        w.n_blocks = coded->strips->n_chunks;
        return w;
    }
    if (coded != NULL)
        w.rows_per_block = coded->rows_per_segment;
    uint64_t n_blocks = (w.n_rows + w.rows_per_block - 1) / w.rows_per_block;
    w.n_blocks = w.n_cols > 0 ? (uint32_t)n_blocks : 0;
    return w;
}

uint64_t en_weight_rows_block_row(const en_weight_rows *w, uint32_t block)
{
    if (w->coded != NULL && w->coded->strips != NULL)
        return (uint64_t)en_strip_chunk_at(w->coded->strips, block).first_strip * EN_STRIP_ROWS;
    return (uint64_t)block * w->rows_per_block;
}

uint64_t en_weight_rows_block_rows(const en_weight_rows *w, uint32_t block)
{
    uint64_t left = w->n_rows - en_weight_rows_block_row(w, block), n = w->rows_per_block;
    if (w->coded != NULL && w->coded->strips != NULL)
        n = (uint64_t)en_strip_chunk_at(w->coded->strips, block).n_strips * EN_STRIP_ROWS;
    return left < n ? left : n;
}

/* ---- reading ----------------------------------------------------------------------------- */

static entro_status read_segment(const en_weight_rows *w, uint32_t segment, float *rows,
                                 uint8_t *codes, entro_error *err)
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

static entro_status read_chunk(const en_weight_rows *w, uint32_t chunk, float *rows,
                               const en_weight_rows_scratch *scratch, uint8_t *codes,
                               entro_error *err)
{
    const en_coded *m = w->coded;
    int32_t *z = (int32_t *)(void *)(codes + en_strip_scratch_bytes(m->strips));
    if (!en_strip_decode_chunk(m->strips, chunk, codes, z))
        return en_fail(err, ENTRO_ERR_CHECKSUM,
                       "chunk %u of %u does not decode: the file is damaged; copy or make it again",
                       chunk, m->strips->n_chunks);
    size_t n_cols = (size_t)m->n_cols;
    uint64_t row = en_weight_rows_block_row(w, chunk), n_rows = en_weight_rows_block_rows(w, chunk);
    for (uint64_t r = 0; r < n_rows; r++, z += n_cols, rows += n_cols) {
        float step, offset;
        en_coded_grid(m, row + r, &step, &offset);
        for (size_t k = 0; k < n_cols; k++)
            rows[k] = (float)z[k] * step + offset;
        for (size_t k = 0; k < scratch->n_col_scales; k++)
            rows[k] *= scratch->col_scales[k];
    }
    return ENTRO_OK;
}

static size_t elem_bytes(const en_planes *m)
{
    return m->n_planes; /* a plane is a byte of each */
}

static entro_status decode_planes(const en_weight_rows *w, uint32_t segment, uint8_t *codes,
                                  entro_error *err)
{
    if (en_planes_decode(w->coded->planes, segment, codes))
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_CHECKSUM,
                   "segment %u of %u does not decode: the file is damaged; copy or make it again",
                   segment, w->coded->n_segments);
}

static entro_status read_planes(const en_weight_rows *w, uint32_t segment, float *rows,
                                uint8_t *codes, entro_error *err)
{
    const en_planes *m = w->coded->planes;
    uint8_t *numbers = codes + en_planes_room_bytes(m);
    size_t n = (size_t)(en_weight_rows_block_rows(w, segment) * w->n_cols);
    EN_TRY(decode_planes(w, segment, codes, err));
    en_planes_join(m, segment, codes, 0, n, numbers);
    en_kernels_get()->dequantize[m->dtype](numbers, rows, n);
    return ENTRO_OK;
}

size_t en_weight_rows_block_bytes(const en_weight_rows *w, uint32_t block)
{
    size_t n_rows = (size_t)en_weight_rows_block_rows(w, block);
    if (w->coded != NULL)
        return n_rows * (size_t)w->n_cols * elem_bytes(w->coded->planes);
    return n_rows * (size_t)en_source_row_bytes(w->tensor);
}

entro_status en_weight_rows_read_bytes(const en_weight_rows *w, uint32_t block, uint8_t *out,
                                       const en_weight_rows_scratch *scratch, uint32_t thread,
                                       entro_error *err)
{
    if (w->coded == NULL)
        return en_source_read_bytes(w->source, w->tensor, en_weight_rows_block_row(w, block),
                                    en_weight_rows_block_rows(w, block), out, err);
    uint8_t *codes = scratch->codes + thread * scratch->n_code_bytes;
    EN_TRY(decode_planes(w, block, codes, err));
    en_planes_join(w->coded->planes, block, codes, 0,
                   (size_t)(en_weight_rows_block_rows(w, block) * w->n_cols), out);
    return ENTRO_OK;
}

entro_status en_weight_rows_read(const en_weight_rows *w, uint32_t block, float *rows,
                                 const en_weight_rows_scratch *scratch, uint32_t thread,
                                 entro_error *err)
{
    if (w->coded == NULL)
        return en_source_read_rows(w->source, w->tensor, en_weight_rows_block_row(w, block),
                                   en_weight_rows_block_rows(w, block), rows, err);
    uint8_t *codes = scratch->codes + thread * scratch->n_code_bytes;
    if (w->coded->strips != NULL)
        return read_chunk(w, block, rows, scratch, codes, err);
    if (w->coded->planes != NULL)
        return read_planes(w, block, rows, codes, err);
    return read_segment(w, block, rows, codes, err);
}

/* ---- scratch ----------------------------------------------------------------------------- */

/* Bytes for what is decoded of one block. */
static bool code_bytes(const en_weight_rows *w, size_t n_elems, size_t *n)
{
    if (w->coded != NULL && w->coded->planes != NULL)
        return en_mul(n_elems, elem_bytes(w->coded->planes), n) &&
               en_add(*n, en_planes_room_bytes(w->coded->planes), n);
    if (w->coded == NULL || w->coded->strips == NULL)
        return en_add(n_elems, EN_CODE_OUT_SLACK, n);
    return en_mul(n_elems, sizeof(int32_t), n) &&
           en_add(*n, en_strip_scratch_bytes(w->coded->strips), n);
}

static bool fit_blocks(en_weight_rows_scratch *scratch, size_t n_elems, size_t n_code_bytes,
                       uint32_t n_threads)
{
    size_t n_all, n_codes, n_bytes;
    if (!en_add(n_code_bytes, 63, &n_bytes))
        return false;
    n_bytes = n_bytes / 64 * 64; /* vectors want their part of it aligned */
    if (scratch->rows != NULL && n_elems <= scratch->n_block_elems &&
        n_bytes <= scratch->n_code_bytes)
        return true;
    en_weight_rows_scratch_free(scratch);
    bool fits = en_mul(n_elems, n_threads, &n_all) && en_mul(n_bytes, n_threads, &n_codes);
    scratch->rows = fits ? en_alloc(n_all, sizeof(float)) : NULL;
    scratch->others = fits ? en_alloc(n_all, sizeof(float)) : NULL;
    scratch->codes = fits ? en_alloc(n_codes, 1) : NULL;
    scratch->n_threads = n_threads;
    scratch->n_block_elems = n_elems;
    scratch->n_code_bytes = n_bytes;
    return scratch->rows && scratch->others && scratch->codes;
}

static bool fit_col_scales(en_weight_rows_scratch *scratch, const en_weight_rows *w)
{
    const en_strip_matrix *m = w->coded != NULL ? w->coded->strips : NULL;
    scratch->n_col_scales = 0;
    if (m == NULL || m->col_scales == NULL)
        return true;
    size_t n = (size_t)w->n_cols;
    if (n > scratch->col_scales_cap &&
        !en_grow((void **)&scratch->col_scales, &scratch->col_scales_cap, n, SIZE_MAX,
                 sizeof(float)))
        return false;
    for (size_t k = 0; k < n; k++)
        scratch->col_scales[en_strip_col(m, k)] = en_half_to_f32(en_load16(m->col_scales + 2 * k));
    scratch->n_col_scales = n;
    return true;
}

entro_status en_weight_rows_scratch_fit(en_weight_rows_scratch *scratch, const en_weight_rows *w,
                                        uint32_t n_threads, entro_error *err)
{
    size_t n = (size_t)(w->rows_per_block * w->n_cols), n_code_bytes;
    if (code_bytes(w, n, &n_code_bytes) && fit_blocks(scratch, n, n_code_bytes, n_threads) &&
        fit_col_scales(scratch, w))
        return ENTRO_OK;
    en_weight_rows_scratch_free(scratch);
    return en_fail_memory(err);
}

void en_weight_rows_scratch_free(en_weight_rows_scratch *scratch)
{
    en_free(scratch->rows);
    en_free(scratch->others);
    en_free(scratch->codes);
    en_free(scratch->col_scales);
    *scratch = (en_weight_rows_scratch){0};
}

float *en_weight_rows_scratch_rows(const en_weight_rows_scratch *scratch, uint32_t thread)
{
    return scratch->rows + thread * scratch->n_block_elems;
}

float *en_weight_rows_scratch_others(const en_weight_rows_scratch *scratch, uint32_t thread)
{
    return scratch->others + thread * scratch->n_block_elems;
}

/* ---- conversion ------------------------------------------------------------------------ */

typedef struct conversion {
    const en_weight_rows *weights;
    const en_weight_rows_scratch *scratch;
    uint32_t dtype;
    uint64_t first_row; /* that 'out' begins with */
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

/* n weights to place 'at' of 'out'. */
static void convert(conversion *c, float *rows, size_t n, size_t at)
{
    if (c->dtype == EN_DTYPE_F32) {
        memcpy(c->out + 4 * at, rows, 4 * n);
    } else if (c->dtype == EN_DTYPE_F16) {
        atomic_fetch_add_explicit(&c->n_clipped, clip_to_f16(rows, n), memory_order_relaxed);
        en_kernels_get()->f32_to_f16(rows, (uint16_t *)(void *)(c->out + 2 * at), n);
    } else {
        en_kernels_get()->f32_to_bf16(rows, (uint16_t *)(void *)(c->out + 2 * at), n);
    }
}

static entro_status convert_block(void *context, uint32_t block, uint32_t thread, entro_error *err)
{
    conversion *c = context;
    const en_weight_rows *w = c->weights;
    float *rows = en_weight_rows_scratch_rows(c->scratch, thread);
    size_t n_cols = (size_t)w->n_cols;
    uint64_t row = en_weight_rows_block_row(w, block), n_rows = en_weight_rows_block_rows(w, block);
    EN_TRY(en_weight_rows_read(w, block, rows, c->scratch, thread, err));
    if (!en_weight_rows_reorders(w)) {
        convert(c, rows, (size_t)n_rows * n_cols, (size_t)(row - c->first_row) * n_cols);
        return ENTRO_OK;
    }
    for (uint64_t r = 0; r < n_rows; r++)
        convert(c, rows + r * n_cols, n_cols, (size_t)en_weight_rows_row(w, row + r) * n_cols);
    return ENTRO_OK;
}

entro_status en_weight_rows_convert(const en_weight_rows *w, en_job *job,
                                    en_weight_rows_scratch *scratch, uint32_t first,
                                    uint32_t n_blocks, uint32_t dtype, uint8_t *out,
                                    uint64_t *n_clipped, entro_error *err)
{
    EN_TRY(en_weight_rows_scratch_fit(scratch, w, job->n_threads, err));
    conversion c = {.weights = w, .scratch = scratch, .dtype = dtype, .out = out};
    c.first_row = n_blocks > 0 ? en_weight_rows_block_row(w, first) : 0;
    EN_TRY(en_job_run(job, convert_block, &c, first, n_blocks, err));
    *n_clipped += c.n_clipped;
    return ENTRO_OK;
}
