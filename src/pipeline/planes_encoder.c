/* planes_encoder.c - see planes_encoder.h. */
#include "pipeline/planes_encoder.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "pipeline/error_sums.h"

enum {
    MAX_BATCH = 256,
    BATCH_BYTES = 32 << 20,
    RESIDENT_BYTES = 64 << 20 /* source bytes of a tensor that may stay mapped between passes */
};

struct en_planes_thread {
    uint8_t *numbers; /* a segment as it is stored ... */
    uint8_t *planes;  /* ... and its planes, one after the other */
    float *floats;    /* and as f32 */
    en_histogram *histograms[EN_MAX_PLANES];
    en_error_sums sums;
};

/* ---- rows of a source ---------------------------------------------------------------------- */

static entro_status read_source(void *context, uint64_t row, uint64_t n_rows, uint8_t *out,
                                entro_error *err)
{
    const en_source_rows *from = context;
    return en_source_read_bytes(from->source, from->tensor, row, n_rows, out, err);
}

en_number_rows en_number_rows_of(en_source_rows *from)
{
    const en_tensor *t = from->tensor;
    return (en_number_rows){.read = read_source,
                            .context = from,
                            .name = t->name,
                            .dtype = t->dtype,
                            .n_rows = en_tensor_n_rows(t),
                            .n_cols = t->dims[0],
                            .source = from->source,
                            .tensor = t};
}

/* ---- memory -------------------------------------------------------------------------------- */

entro_status en_planes_encoder_open(en_planes_encoder *e, en_job *job, entro_error *err)
{
    *e = (en_planes_encoder){.job = job};
    e->threads = en_alloc_zero(job->n_threads, sizeof *e->threads);
    e->slot_used = en_alloc((size_t)MAX_BATCH * EN_MAX_PLANES, sizeof *e->slot_used);
    if (e->threads != NULL && e->slot_used != NULL)
        return ENTRO_OK;
    en_planes_encoder_close(e);
    return en_fail_memory(err);
}

static void free_segments(en_planes_encoder *e)
{
    for (uint32_t i = 0; e->threads != NULL && i < e->job->n_threads; i++) {
        en_free(e->threads[i].numbers);
        en_free(e->threads[i].planes);
        en_free(e->threads[i].floats);
        e->threads[i].numbers = e->threads[i].planes = NULL;
        e->threads[i].floats = NULL;
    }
    e->segment_cap = 0;
}

static void free_codes(en_planes_encoder *e)
{
    for (int p = 0; p < EN_MAX_PLANES; p++) {
        en_code_free(e->codes[p]);
        e->codes[p] = NULL;
    }
}

void en_planes_encoder_close(en_planes_encoder *e)
{
    free_codes(e);
    free_segments(e);
    for (uint32_t i = 0; e->threads != NULL && i < e->job->n_threads; i++)
        for (int p = 0; p < EN_MAX_PLANES; p++)
            en_histogram_free(e->threads[i].histograms[p]);
    en_free(e->threads);
    en_free(e->slot_used);
    en_free(e->slots);
    en_free(e->payload);
    *e = (en_planes_encoder){0};
}

static entro_status fit_thread(en_planes_thread *t, const en_planes_plan *plan, size_t n_segment,
                               bool new_segments, entro_error *err)
{
    if (new_segments) {
        t->numbers = en_alloc(n_segment, EN_MAX_PLANES);
        t->planes = en_alloc(n_segment, EN_MAX_PLANES);
        t->floats = en_alloc(n_segment, sizeof *t->floats);
        if (t->numbers == NULL || t->planes == NULL || t->floats == NULL)
            return en_fail_memory(err);
    }
    for (uint32_t p = 0; p < plan->n_planes; p++) {
        if (t->histograms[p] == NULL)
            EN_TRY(en_histogram_new(&t->histograms[p], 256, err));
        en_histogram_clear(t->histograms[p]);
    }
    t->sums = (en_error_sums){0};
    return ENTRO_OK;
}

static entro_status fit_threads(en_planes_encoder *e, entro_error *err)
{
    size_t n = (size_t)(e->plan.rows_per_segment * e->plan.n_cols);
    bool grow = n > e->segment_cap;
    if (grow)
        free_segments(e);
    for (uint32_t i = 0; i < e->job->n_threads; i++)
        EN_TRY(fit_thread(&e->threads[i], &e->plan, n, grow, err));
    e->segment_cap = grow ? n : e->segment_cap;
    return ENTRO_OK;
}

/* At least n bytes; the old contents may go. */
static bool reserve(uint8_t **bytes, size_t *cap, size_t n)
{
    if (*cap >= n)
        return true;
    en_free(*bytes);
    *bytes = en_alloc(n, 1);
    *cap = *bytes != NULL ? n : 0;
    return *bytes != NULL;
}

/* ---- one segment --------------------------------------------------------------------------- */

/* Reads a segment and splits it; planes[p] and their n numbers are set. */
static entro_status split_segment(en_planes_encoder *e, uint32_t segment, en_planes_thread *t,
                                  uint8_t *planes[EN_MAX_PLANES], size_t *n, entro_error *err)
{
    const en_planes_plan *plan = &e->plan;
    uint64_t row = (uint64_t)segment * plan->rows_per_segment, left = plan->n_rows - row;
    uint64_t n_rows = left < plan->rows_per_segment ? left : plan->rows_per_segment;
    *n = (size_t)(n_rows * plan->n_cols);
    for (uint32_t p = 0; p < EN_MAX_PLANES; p++)
        planes[p] = t->planes + p * (size_t)(plan->rows_per_segment * plan->n_cols);
    EN_TRY(e->rows->read(e->rows->context, row, n_rows, t->numbers, err));
    en_planes_split(plan->dtype, t->numbers, *n, planes);
    return ENTRO_OK;
}

static void add_weights(en_planes_thread *t, uint32_t dtype, size_t n)
{
    en_kernels_get()->dequantize[dtype](t->numbers, t->floats, n);
    for (size_t i = 0; i < n; i += EN_ERROR_PIECE)
        en_error_sums_add(&t->sums, t->floats + i, t->floats + i,
                          n - i < EN_ERROR_PIECE ? n - i : EN_ERROR_PIECE);
}

static entro_status count_segment(void *context, uint32_t segment, uint32_t thread,
                                  entro_error *err)
{
    en_planes_encoder *e = context;
    en_planes_thread *t = &e->threads[thread];
    uint8_t *planes[EN_MAX_PLANES];
    size_t n;
    EN_TRY(split_segment(e, segment, t, planes, &n, err));
    for (uint32_t p = 0; p < e->plan.n_planes; p++)
        en_histogram_add(t->histograms[p], planes[p], n);
    if (e->plan.dtype != EN_DTYPE_I8)
        add_weights(t, e->plan.dtype, n);
    return ENTRO_OK;
}

static entro_status encode_segment(void *context, uint32_t segment, uint32_t thread,
                                   entro_error *err)
{
    en_planes_encoder *e = context;
    const en_planes_plan *plan = &e->plan;
    uint8_t *planes[EN_MAX_PLANES];
    size_t n, n_all = (size_t)(plan->n_rows * plan->n_cols), stream = segment - e->first;
    EN_TRY(split_segment(e, segment, &e->threads[thread], planes, &n, err));
    uint8_t *raw = e->payload + plan->parts[EN_PLANES_RAW].offset +
                   (size_t)segment * plan->rows_per_segment * plan->n_cols;
    stream *= plan->n_coded;
    for (uint32_t p = 0; p < plan->n_planes; p++) {
        if (e->codes[p] == NULL) {
            memcpy(raw, planes[p], n);
            raw += n_all;
            continue;
        }
        e->slot_used[stream] =
            en_code_encode(e->codes[p], planes[p], n, e->slots + stream * e->stream_bytes);
        stream++;
    }
    return ENTRO_OK;
}

/* ---- measure ------------------------------------------------------------------------------- */

static entro_status choose_code(en_planes_encoder *e, uint32_t p, entro_error *err)
{
    en_histogram *all = e->threads[0].histograms[p];
    for (uint32_t i = 1; i < e->job->n_threads; i++)
        en_histogram_merge(all, e->threads[i].histograms[p]);
    double huffman_bits = en_histogram_huffman_bits(all);
    if (huffman_bits > 8.0 - EN_PLANES_WORTH_CODING_EIGHTHS / 8.0) {
        e->plan.entropy += 8.0;
        e->plan.huffman_bits += 8.0;
        return ENTRO_OK;
    }
    e->plan.entropy += en_histogram_entropy(all);
    e->plan.huffman_bits += huffman_bits;
    return en_code_build(&e->codes[p], all, err);
}

/* Segments taken in one parallel run. */
static uint32_t batch_of(size_t bytes_each)
{
    size_t n = bytes_each > 0 ? BATCH_BYTES / bytes_each : MAX_BATCH;
    return n < 1 ? 1 : n > MAX_BATCH ? MAX_BATCH : (uint32_t)n;
}

static entro_status moved(en_planes_encoder *e, uint32_t n_done, uint64_t done, uint64_t n_bytes,
                          entro_error *err)
{
    if (e->rows->source != NULL && e->rows->tensor->n_bytes > RESIDENT_BYTES)
        en_source_forget(e->rows->source, e->rows->tensor);
    uint64_t here = (uint64_t)((double)n_bytes * n_done / e->plan.n_segments);
    return en_job_reach(e->job, e->rows->name, done + here, err);
}

static entro_status measure(en_planes_encoder *e, uint64_t done, uint64_t n_bytes, entro_error *err)
{
    uint32_t n = e->plan.n_segments;
    for (uint32_t first = 0; first < n; first += MAX_BATCH) {
        uint32_t n_now = n - first < MAX_BATCH ? n - first : MAX_BATCH;
        EN_TRY(en_job_run(e->job, count_segment, e, first, n_now, err));
        EN_TRY(moved(e, first + n_now, done, n_bytes, err));
    }
    for (uint32_t p = 0; p < e->plan.n_planes; p++)
        EN_TRY(choose_code(e, p, err));
    e->weight = 0;
    for (uint32_t i = 0; i < e->job->n_threads; i++)
        e->weight += e->threads[i].sums.weight;
    return ENTRO_OK;
}

/* ---- encode -------------------------------------------------------------------------------- */

/* Everything before the streams; the index is filled in as they come. */
static entro_status start_payload(en_planes_encoder *e, entro_error *err)
{
    size_t n_tables[EN_MAX_PLANES] = {0};
    e->n_table_bytes = 0;
    for (uint32_t p = 0; p < e->plan.n_planes; p++) {
        n_tables[p] = e->codes[p] != NULL ? en_code_stored_bytes(e->codes[p]) : 0;
        e->n_table_bytes += n_tables[p];
    }
    en_planes_payload_layout(&e->plan, n_tables);
    const en_payload_part *parts = e->plan.parts;
    size_t n_front = (size_t)parts[EN_PLANES_STREAMS].offset;
    double coded_bits = e->plan.huffman_bits - 8.0 * e->plan.n_raw;
    /* A guess that is rarely too small; more room is made when it is. */
    size_t guess = n_front +
                   (size_t)((double)(e->plan.n_rows * e->plan.n_cols) * coded_bits / 8 * 1.02) +
                   (size_t)e->plan.n_segments * e->plan.n_coded * 64 + 4096;
    if (!reserve(&e->payload, &e->cap, guess))
        return en_fail_memory(err);
    memset(e->payload, 0, (size_t)parts[EN_PLANES_RAW].offset);
    size_t end = (size_t)(parts[EN_PLANES_RAW].offset + parts[EN_PLANES_RAW].n_bytes);
    memset(e->payload + end, 0, n_front - end);
    for (uint32_t p = 0; p < e->plan.n_planes; p++)
        if (e->codes[p] != NULL)
            en_code_store(e->codes[p], e->payload + parts[EN_PLANES_TABLES + p].offset);
    e->n_bytes = n_front;
    return ENTRO_OK;
}

/* Moves the batch behind what is there and notes where its streams end. */
static entro_status collect(en_planes_encoder *e, uint32_t n_now, entro_error *err)
{
    size_t n_streams = (size_t)n_now * e->plan.n_coded, n_new = e->n_bytes;
    for (size_t i = 0; i < n_streams; i++)
        n_new += e->slot_used[i];
    /* Room for the padding is kept, so that the end never needs another copy. */
    size_t need = n_new + EN_CODE_IN_PAD + EN_PAYLOAD_ALIGN;
    if (need > e->cap && !en_grow((void **)&e->payload, &e->cap, need, SIZE_MAX, 1))
        return en_fail_memory(err);
    uint64_t base = e->plan.parts[EN_PLANES_STREAMS].offset;
    uint8_t *index = e->payload + e->plan.parts[EN_PLANES_INDEX].offset +
                     8 * ((size_t)e->first * e->plan.n_coded + 1);
    for (size_t i = 0; i < n_streams; i++) {
        memcpy(e->payload + e->n_bytes, e->slots + i * e->stream_bytes, e->slot_used[i]);
        e->n_bytes += e->slot_used[i];
        en_store64(index + 8 * i, e->n_bytes - base);
    }
    return ENTRO_OK;
}

static entro_status encode(en_planes_encoder *e, uint64_t done, uint64_t n_bytes, entro_error *err)
{
    size_t n_segment = (size_t)(e->plan.rows_per_segment * e->plan.n_cols);
    e->stream_bytes = 0;
    for (uint32_t p = 0; p < e->plan.n_planes; p++) {
        size_t bound = e->codes[p] != NULL ? en_code_encode_bound(e->codes[p], n_segment) : 0;
        e->stream_bytes = bound > e->stream_bytes ? bound : e->stream_bytes;
    }
    uint32_t batch = batch_of(e->stream_bytes * e->plan.n_coded), n = e->plan.n_segments;
    if (!reserve(&e->slots, &e->slots_cap, batch * e->stream_bytes * e->plan.n_coded))
        return en_fail_memory(err);
    for (e->first = 0; e->first < n; e->first += batch) {
        uint32_t n_now = n - e->first < batch ? n - e->first : batch;
        EN_TRY(en_job_run(e->job, encode_segment, e, e->first, n_now, err));
        EN_TRY(collect(e, n_now, err));
        EN_TRY(moved(e, e->first + n_now, done, n_bytes, err));
    }
    return ENTRO_OK;
}

static entro_status run(en_planes_encoder *e, uint64_t done, uint64_t n_bytes, entro_error *err)
{
    uint64_t half = n_bytes / 2;
    EN_TRY(fit_threads(e, err));
    EN_TRY(measure(e, done, half, err));
    EN_TRY(start_payload(e, err));
    EN_TRY(encode(e, done + half, n_bytes - half, err));
    en_payload_part *streams = &e->plan.parts[EN_PLANES_STREAMS];
    streams->n_bytes = e->n_bytes - streams->offset;
    size_t total = (size_t)en_planes_payload_total_bytes(&e->plan, streams->n_bytes);
    if (!en_grow((void **)&e->payload, &e->cap, total, SIZE_MAX, 1))
        return en_fail_memory(err);
    memset(e->payload + e->n_bytes, 0, total - e->n_bytes);
    e->n_bytes = total;
    en_planes_payload_store_header(&e->plan, e->payload);
    return ENTRO_OK;
}

entro_status en_planes_encoder_run(en_planes_encoder *e, const en_number_rows *rows, uint64_t done,
                                   uint64_t n_bytes, entro_error *err)
{
    e->rows = rows;
    en_planes_payload_plan(&e->plan, rows->dtype, rows->n_rows, rows->n_cols);
    entro_status status = run(e, done, n_bytes, err);
    free_codes(e);
    return status;
}
