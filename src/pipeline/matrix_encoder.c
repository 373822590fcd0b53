/* matrix_encoder.c - see matrix_encoder.h. */
#include "pipeline/matrix_encoder.h"

#include <string.h>

#include "base/memory.h"

enum {
    MAX_BATCH = 64,          /* chunks */
    BATCH_WEIGHTS = 1 << 23, /* of about 3 bytes each in the encoders */
    SAMPLE_WEIGHTS = 1 << 18,
    MIN_SAMPLE_WEIGHTS = 1 << 16,
    SAMPLE_COLS = 2048, /* of a row */
    RESIDENT_BYTES = 64 << 20,
};

/*
 * Packed in memory such integers take 8 bits.  Strips of more than this save less than a sixteenth of that,
 * at 0.7 of the speed (u8-row of SmolLM2-135M: 8.1 bits, 148 tokens a second, packed 206), and rans, which is
 * always packed, makes the file a twentieth smaller and more (docs/performance.md, "Above 7").
 */
static const double most_strip_bits = 7.5;

static entro_status open_parts(en_matrix_encoder *e, entro_error *err)
{
    e->n_encoders = e->job->n_threads > MAX_BATCH ? e->job->n_threads : MAX_BATCH;
    e->encoders = en_alloc_zero(e->n_encoders, sizeof *e->encoders);
    e->chunks = en_alloc_zero(e->job->n_threads, sizeof *e->chunks);
    if (!e->encoders || !e->chunks)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < e->n_encoders; i++)
        EN_TRY(en_chunk_encoder_open(&e->encoders[i], err));
    return ENTRO_OK;
}

entro_status en_matrix_encoder_open(en_matrix_encoder *e, en_job *job, entro_error *err)
{
    *e = (en_matrix_encoder){.job = job};
    entro_status status = open_parts(e, err);
    if (status != ENTRO_OK)
        en_matrix_encoder_close(e);
    return status;
}

void en_matrix_encoder_close(en_matrix_encoder *e)
{
    for (uint32_t i = 0; e->encoders != NULL && i < e->n_encoders; i++)
        en_chunk_encoder_close(&e->encoders[i]);
    for (uint32_t i = 0; e->chunks != NULL && i < e->job->n_threads; i++)
        en_free(e->chunks[i]);
    en_free(e->encoders);
    en_free(e->chunks);
    en_free(e->codes);
    en_free(e->rans);
    en_strip_writer_close(&e->writer);
    *e = (en_matrix_encoder){0};
}

/* ---- the sample -------------------------------------------------------------------------- */

/*
 * Rows of a class far apart, of a wide run of columns a window each.  Pairs are neighbours within a row, so
 * that rows of a sampled strip need not be neighbours.  Rows and columns repeat where there are less
 * than a strip or a unit of them.
 */
typedef struct sample {
    const en_matrix_encoder *e;
    uint64_t first_row, n_all_rows;   /* of the class */
    uint64_t first_col, n_class_cols; /* of the class; padding left out */
    int32_t *row;                     /* a whole one */
    int32_t *z;
    size_t n_rows, n_cols;
} sample;

static entro_status fill_sample(sample *s, uint32_t thread, entro_error *err)
{
    const en_integer_rows *rows = s->e->rows;
    size_t all_cols = (size_t)s->e->plan.shape.n_cols, n_class = (size_t)s->n_class_cols;
    size_t n_windows = n_class > s->n_cols ? n_class / s->n_cols : 1;
    for (size_t i = 0; i < s->n_rows; i++) {
        uint64_t row = s->first_row + i * s->n_all_rows / s->n_rows;
        EN_TRY(rows->read(rows->context, row, 1, s->row, all_cols, false, thread, err));
        const int32_t *from = s->row + s->first_col + i % n_windows * s->n_cols;
        size_t n = s->n_cols < n_class ? s->n_cols : n_class;
        memcpy(s->z + i * s->n_cols, from, n * sizeof *s->z);
        for (size_t k = n; k < s->n_cols; k++)
            s->z[i * s->n_cols + k] = from[k % n_class];
    }
    return ENTRO_OK;
}

/* How large the sample is. */
static void size_sample(sample *s)
{
    size_t whole = (size_t)s->n_class_cols / EN_UNIT_COLS * EN_UNIT_COLS;
    s->n_cols = whole == 0 ? EN_UNIT_COLS : whole < SAMPLE_COLS ? whole : SAMPLE_COLS;
    uint64_t n_rows = SAMPLE_WEIGHTS / s->n_cols;
    uint64_t all = (s->n_all_rows + EN_STRIP_ROWS - 1) / EN_STRIP_ROWS * EN_STRIP_ROWS;
    /* Of a small matrix a part will do as well. */
    uint64_t part = all / 8, least = MIN_SAMPLE_WEIGHTS / s->n_cols;
    part = part < least ? least : part;
    n_rows = n_rows < part ? n_rows : part;
    n_rows = n_rows < all ? n_rows : all;
    n_rows = n_rows / EN_STRIP_ROWS * EN_STRIP_ROWS;
    s->n_rows = (size_t)(n_rows > 0 ? n_rows : EN_STRIP_ROWS);
}

static entro_status choose_pair(void *context, uint32_t pair, uint32_t thread, entro_error *err)
{
    en_matrix_encoder *e = context;
    en_strip_matrix *m = &e->plan.shape;
    uint32_t r = pair / m->n_col_classes, c = pair % m->n_col_classes;
    sample s = {.e = e};
    s.first_row = r > 0 ? (uint64_t)m->row_class_end[r - 1] * EN_STRIP_ROWS : 0;
    s.first_col = c > 0 ? (uint64_t)m->col_class_end[c - 1] * EN_UNIT_COLS : 0;
    uint64_t row_end = (uint64_t)m->row_class_end[r] * EN_STRIP_ROWS;
    uint64_t col_end = (uint64_t)m->col_class_end[c] * EN_UNIT_COLS;
    s.n_all_rows = (row_end < m->n_rows ? row_end : m->n_rows) - s.first_row;
    s.n_class_cols = (col_end < m->n_cols ? col_end : m->n_cols) - s.first_col;
    size_sample(&s);
    s.row = en_alloc((size_t)m->n_cols, sizeof *s.row);
    s.z = en_alloc(s.n_rows * s.n_cols, sizeof *s.z);
    double *bits = &e->sample_bits[pair];
    uint32_t n_strips = (uint32_t)(s.n_rows / EN_STRIP_ROWS);
    entro_status status = s.row && s.z ? fill_sample(&s, thread, err) : en_fail_memory(err);
    if (status == ENTRO_OK && e->plan.rans != NULL)
        en_strip_choose_rans(&m->layouts[pair], &e->rans[pair], s.z, s.n_cols, n_strips, s.n_cols,
                             bits);
    else if (status == ENTRO_OK)
        status = en_strip_choose(&m->layouts[pair], &e->codes[pair], s.z, s.n_cols, n_strips,
                                 s.n_cols, bits, err);
    en_free(s.row);
    en_free(s.z);
    return status;
}

static void set_classes(en_strip_plan *plan, const en_strip_classes *classes)
{
    en_strip_matrix *m = &plan->shape;
    m->n_row_classes = classes->n_row_classes;
    m->n_col_classes = classes->n_col_classes;
    memcpy(m->row_class_end, classes->row_class_end, sizeof m->row_class_end);
    memcpy(m->col_class_end, classes->col_class_end, sizeof m->col_class_end);
    plan->row_order = classes->row_order;
    plan->col_order = classes->col_order;
    en_strip_plan_count_chunks(plan);
}

static entro_status choose_so(en_matrix_encoder *e, const en_quant_method *method, bool is_rans,
                              entro_error *err)
{
    const en_integer_rows *rows = e->rows;
    en_strip_plan_init(&e->plan, method, en_tensor_n_rows(rows->tensor), rows->tensor->dims[0],
                       is_rans);
    if (rows->classes != NULL)
        set_classes(&e->plan, rows->classes);
    uint32_t n = e->plan.shape.n_row_classes * e->plan.shape.n_col_classes;
    bool has_room = is_rans ? n <= e->rans_cap || en_grow((void **)&e->rans, &e->rans_cap, n,
                                                          SIZE_MAX, sizeof *e->rans)
                            : n <= e->codes_cap || en_grow((void **)&e->codes, &e->codes_cap, n,
                                                           SIZE_MAX, sizeof *e->codes);
    if (!has_room)
        return en_fail_memory(err);
    e->plan.codes = is_rans ? NULL : e->codes;
    e->plan.rans = is_rans ? e->rans : NULL;
    return en_job_run(e->job, choose_pair, e, 0, n, err);
}

/* What a weight of the matrix takes, by the samples of its classes. */
static double chosen_bits(const en_matrix_encoder *e)
{
    const en_strip_matrix *m = &e->plan.shape;
    double bits = 0, n_weights = 0;
    for (uint32_t r = 0, row = 0; r < m->n_row_classes; row = m->row_class_end[r++])
        for (uint32_t c = 0, col = 0; c < m->n_col_classes; col = m->col_class_end[c++]) {
            double n = (double)(m->row_class_end[r] - row) * (m->col_class_end[c] - col);
            bits += n * e->sample_bits[r * m->n_col_classes + c];
            n_weights += n;
        }
    return bits / n_weights;
}

entro_status en_matrix_encoder_choose(en_matrix_encoder *e, const en_quant_method *method,
                                      const en_integer_rows *rows, entro_error *err)
{
    e->rows = rows;
    EN_TRY(choose_so(e, method, e->asked == EN_MATRIX_RANS, err));
    double bits = chosen_bits(e);
    if (e->asked != EN_MATRIX_BY_RATE || bits <= most_strip_bits)
        return ENTRO_OK;
    en_strip_plan strips = e->plan;
    EN_TRY(choose_so(e, method, true, err));
    /* With a quarter of the integers out of range strips are the smaller again: a list's differences are
     * multiples of 16 there, and most take three bytes, in rans seven. */
    if (chosen_bits(e) >= bits)
        e->plan = strips;
    return ENTRO_OK;
}

/* ---- chunks ------------------------------------------------------------------------------ */

static entro_status encode_chunk(void *context, uint32_t chunk, uint32_t thread, entro_error *err)
{
    en_matrix_encoder *e = context;
    const en_strip_matrix *m = &e->plan.shape;
    en_strip_chunk c = en_strip_chunk_at(m, chunk);
    size_t stride = en_strip_padded_cols(m), n_pad = stride - (size_t)m->n_cols;
    size_t n_padded_rows = (size_t)c.n_strips * EN_STRIP_ROWS;
    uint64_t row = (uint64_t)c.first_strip * EN_STRIP_ROWS, left = m->n_rows - row;
    size_t n_rows = left < n_padded_rows ? (size_t)left : n_padded_rows;
    int32_t *z = e->chunks[thread];
    EN_TRY(e->rows->read(e->rows->context, row, n_rows, z, stride, true, thread, err));
    for (size_t r = 0; r < n_rows && n_pad > 0; r++)
        memset(z + r * stride + m->n_cols, 0, n_pad * sizeof *z);
    memset(z + n_rows * stride, 0, (n_padded_rows - n_rows) * stride * sizeof *z);
    return en_strip_encode_chunk(&e->encoders[chunk - e->first], &e->plan, chunk, z, err);
}

static entro_status reserve_chunks(en_matrix_encoder *e, size_t n, entro_error *err)
{
    if (n <= e->chunk_cap)
        return ENTRO_OK;
    e->chunk_cap = 0;
    for (uint32_t i = 0; i < e->job->n_threads; i++) {
        en_free(e->chunks[i]);
        e->chunks[i] = en_alloc(n, sizeof **e->chunks);
        if (e->chunks[i] == NULL)
            return en_fail_memory(err);
    }
    e->chunk_cap = n;
    return ENTRO_OK;
}

static uint32_t batch_size(const en_matrix_encoder *e, size_t chunk_weights)
{
    size_t n = BATCH_WEIGHTS / chunk_weights;
    n = n < e->job->n_threads ? e->job->n_threads : n;
    return n < e->n_encoders ? (uint32_t)n : e->n_encoders;
}

entro_status en_matrix_encoder_run(en_matrix_encoder *e, uint64_t done, uint64_t n_bytes,
                                   entro_error *err)
{
    const en_strip_matrix *m = &e->plan.shape;
    const en_tensor *t = e->rows->tensor;
    size_t chunk_weights = (size_t)m->strips_per_chunk * EN_STRIP_ROWS * en_strip_padded_cols(m);
    uint32_t batch = batch_size(e, chunk_weights);
    EN_TRY(reserve_chunks(e, chunk_weights, err));
    en_strip_plan_shorten(&e->plan);
    EN_TRY(en_strip_writer_begin(&e->writer, &e->plan, err));
    for (e->first = 0; e->first < m->n_chunks; e->first += batch) {
        uint32_t left = m->n_chunks - e->first, n_now = left < batch ? left : batch;
        EN_TRY(en_job_run(e->job, encode_chunk, e, e->first, n_now, err));
        for (uint32_t i = 0; i < n_now; i++)
            EN_TRY(en_strip_writer_add(&e->writer, &e->encoders[i], err));
        if (e->rows->source != NULL && t->n_bytes > RESIDENT_BYTES)
            en_source_forget(e->rows->source, t);
        uint64_t moved = (uint64_t)((double)n_bytes * (e->first + n_now) / m->n_chunks);
        EN_TRY(en_job_reach(e->job, t->name, done + moved, err));
    }
    return ENTRO_OK;
}

entro_status en_matrix_encoder_finish(en_matrix_encoder *e, entro_error *err)
{
    return en_strip_writer_finish(&e->writer, err);
}
