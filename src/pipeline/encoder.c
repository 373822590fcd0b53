/* encoder.c - see encoder.h. */
#include "pipeline/encoder.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum { MAX_BATCH = 256, BATCH_BYTES = 32 << 20 };

entro_status en_encoder_open(en_encoder *e, en_job *job, entro_error *err)
{
    *e = (en_encoder){.job = job};
    e->slot_used = en_alloc(MAX_BATCH, sizeof *e->slot_used);
    return e->slot_used != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_encoder_close(en_encoder *e)
{
    en_free(e->payload);
    en_free(e->slots);
    en_free(e->slot_used);
    *e = (en_encoder){0};
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

static entro_status encode_segment(void *context, uint32_t segment, uint32_t thread,
                                   entro_error *err)
{
    (void)thread, (void)err;
    en_encoder *e = context;
    const en_payload *plan = &e->q->plan;
    uint64_t row = (uint64_t)segment * plan->rows_per_segment, left = plan->n_rows - row;
    uint64_t n_rows = left < plan->rows_per_segment ? left : plan->rows_per_segment;
    uint32_t slot = segment - e->first;
    e->slot_used[slot] =
        en_code_encode(e->code, e->q->codes + row * plan->n_cols, (size_t)(n_rows * plan->n_cols),
                       e->slots + slot * e->slot_bytes);
    return ENTRO_OK;
}

/* Moves the batch behind what is there and notes where its segments end. */
static entro_status collect(en_encoder *e, uint32_t n_now, entro_error *err)
{
    const en_payload *plan = &e->q->plan;
    size_t n_new = e->n_bytes;
    for (uint32_t i = 0; i < n_now; i++)
        n_new += e->slot_used[i];
    /* Room for the padding is kept, so that the end never needs another copy. */
    size_t need = n_new + EN_CODE_IN_PAD + EN_PAYLOAD_ALIGN;
    if (need > e->cap && !en_grow((void **)&e->payload, &e->cap, need, SIZE_MAX, 1))
        return en_fail_memory(err);
    const en_payload_part *index = &plan->parts[EN_PART_INDEX];
    uint64_t base = plan->parts[EN_PART_SEGMENTS].offset;
    for (uint32_t i = 0; i < n_now; i++) {
        memcpy(e->payload + e->n_bytes, e->slots + i * e->slot_bytes, e->slot_used[i]);
        e->n_bytes += e->slot_used[i];
        en_store64(e->payload + index->offset + 8 * ((size_t)e->first + i + 1), e->n_bytes - base);
    }
    return ENTRO_OK;
}

/* Steps or offsets.  Those of 16 bits were chosen among the values of f16: nothing is rounded. */
static void store_grids(const en_payload *plan, const float *values, uint8_t *out)
{
    if (plan->half_grids)
        en_kernels_get()->f32_to_f16(values, (uint16_t *)(void *)out, (size_t)plan->n_grids);
    else
        memcpy(out, values, (size_t)plan->n_grids * sizeof *values);
}

/* Everything before the segments; the index is filled in as they come. */
static entro_status start_payload(en_encoder *e, bool model_table, entro_error *err)
{
    en_payload plan = e->q->plan;
    const en_payload_part *parts = plan.parts;
    size_t n_front = (size_t)parts[EN_PART_SEGMENTS].offset;
    /* A guess that is rarely too small; more room is made when it is. */
    double n_symbols = (double)plan.n_rows * (double)plan.n_cols;
    size_t guess = n_front + (size_t)(n_symbols * plan.huffman_bits / 8 * 1.02) +
                   (size_t)plan.n_segments * 64 + 4096;
    if (!reserve(&e->payload, &e->cap, guess))
        return en_fail_memory(err);
    memset(e->payload, 0, n_front);
    store_grids(&plan, e->q->steps, e->payload + parts[EN_PART_STEPS].offset);
    store_grids(&plan, e->q->offsets, e->payload + parts[EN_PART_OFFSETS].offset);
    if (!model_table)
        en_code_store(e->code, e->payload + parts[EN_PART_TABLE].offset);
    e->n_bytes = n_front;
    return ENTRO_OK;
}

static entro_status encode_segments(en_encoder *e, uint64_t done, uint64_t n_bytes,
                                    entro_error *err)
{
    const en_payload *plan = &e->q->plan;
    e->slot_bytes = en_code_encode_bound(e->code, (size_t)(plan->rows_per_segment * plan->n_cols));
    size_t batch = BATCH_BYTES / e->slot_bytes;
    batch = batch < 1 ? 1 : batch > MAX_BATCH ? MAX_BATCH : batch;
    batch = batch > plan->n_segments ? plan->n_segments : batch;
    if (!reserve(&e->slots, &e->slots_cap, batch * e->slot_bytes))
        return en_fail_memory(err);
    for (e->first = 0; e->first < plan->n_segments; e->first += (uint32_t)batch) {
        uint32_t left = plan->n_segments - e->first;
        uint32_t n_now = left < batch ? left : (uint32_t)batch;
        EN_TRY(en_job_run(e->job, encode_segment, e, e->first, n_now, err));
        EN_TRY(collect(e, n_now, err));
        uint64_t moved = (uint64_t)((double)n_bytes * (e->first + n_now) / plan->n_segments);
        EN_TRY(en_job_reach(e->job, e->q->tensor->name, done + moved, err));
    }
    return ENTRO_OK;
}

entro_status en_encoder_run(en_encoder *e, en_quantizer *q, const en_code *code, bool model_table,
                            uint64_t done, uint64_t n_bytes, entro_error *err)
{
    e->q = q;
    e->code = code;
    en_payload_layout(&q->plan, model_table ? 0 : en_code_stored_bytes(code));
    EN_TRY(start_payload(e, model_table, err));
    EN_TRY(encode_segments(e, done, n_bytes, err));
    en_payload_part *segments = &q->plan.parts[EN_PART_SEGMENTS];
    segments->n_bytes = e->n_bytes - segments->offset;
    size_t total = (size_t)en_payload_total_bytes(&q->plan, segments->n_bytes);
    memset(e->payload + e->n_bytes, 0, total - e->n_bytes);
    e->n_bytes = total;
    en_payload_store_header(&q->plan, e->payload);
    return ENTRO_OK;
}
