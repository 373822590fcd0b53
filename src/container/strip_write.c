/* strip_write.c - see strip_write.h. */
#include "container/strip_write.h"

#include "base/memory.h"
#include "container/payload.h"
#include "container/strip_payload.h"
#include "kernels/kernels.h"
#include "tensor/short_float.h"

/* ---- the plan ---------------------------------------------------------------------------- */

bool en_strip_fits(uint64_t n_rows, uint64_t n_cols)
{
    return en_payload_fits(n_rows, n_cols) && n_cols <= EN_STRIP_MAX_COLS;
}

void en_strip_plan_init(en_strip_plan *plan, const en_quant_method *method, uint64_t n_rows,
                        uint64_t n_cols, bool is_rans)
{
    uint64_t min_chunks = is_rans ? EN_RANS_MIN_CHUNKS : EN_STRIP_MIN_CHUNKS;
    *plan = (en_strip_plan){.method = method};
    en_strip_matrix *m = &plan->shape;
    m->n_rows = n_rows;
    m->n_cols = n_cols;
    m->n_units = (uint32_t)((n_cols + EN_UNIT_COLS - 1) / EN_UNIT_COLS);
    m->n_strips = (uint32_t)((n_rows + EN_STRIP_ROWS - 1) / EN_STRIP_ROWS);
    bool is_long = is_rans && n_rows * n_cols >= EN_RANS_LARGE;
    uint64_t weights = is_long ? EN_RANS_LARGE_CHUNK_WEIGHTS : EN_STRIP_CHUNK_WEIGHTS;
    uint64_t strips = weights / (EN_STRIP_ROWS * en_strip_padded_cols(m));
    /* Several chunks are decoded side by side, by several threads: small matrices have short ones. */
    uint64_t most = (m->n_strips + min_chunks - 1) / min_chunks;
    strips = strips > most ? most : strips;
    m->strips_per_chunk = strips < 1 ? 1 : (uint32_t)strips;
    m->n_row_classes = m->n_col_classes = 1;
    m->row_class_end[0] = m->n_strips;
    m->col_class_end[0] = m->n_units;
    en_strip_plan_count_chunks(plan);
}

void en_strip_plan_count_chunks(en_strip_plan *plan)
{
    plan->shape.n_chunks = en_strip_count_chunks(&plan->shape);
}

void en_strip_plan_shorten(en_strip_plan *plan)
{
    plan->short_grids =
        plan->half_grids && plan->offsets == NULL && plan->n_grids > 1 &&
        en_short_exponent(plan->steps, (size_t)plan->n_grids, &plan->steps_exponent) &&
        (plan->col_scales == NULL ||
         en_short_exponent(plan->col_scales, (size_t)plan->shape.n_cols, &plan->scales_exponent));
}

/* ---- chunks ------------------------------------------------------------------------------ */

entro_status en_chunk_encoder_open(en_chunk_encoder *e, entro_error *err)
{
    *e = (en_chunk_encoder){0};
    EN_TRY(en_strip_encoder_new(&e->strips, en_kernels_get()->strip_encode, err));
    return en_rans_encoder_new(&e->rans, en_kernels_get()->rans_encode, err);
}

void en_chunk_encoder_close(en_chunk_encoder *e)
{
    en_strip_encoder_free(e->strips);
    en_rans_encoder_free(e->rans);
    *e = (en_chunk_encoder){0};
}

/* What an encoder has made of a chunk. */
typedef struct streams {
    const uint8_t *words, *raw;
    size_t n_words, n_raw, n_list;
    en_strip_exception *list;
} streams;

static entro_status finish(en_chunk_encoder *e, const en_strip_plan *plan, streams *s,
                           entro_error *err)
{
    *s = (streams){0};
    if (plan->rans != NULL)
        return en_rans_encoder_finish(e->rans, &s->words, &s->n_words, &s->list, &s->n_list, err);
    return en_strip_encoder_finish(e->strips, &s->words, &s->n_words, &s->raw, &s->n_raw, &s->list,
                                   &s->n_list, err);
}

static entro_status add_run(en_chunk_encoder *e, const en_strip_plan *plan, uint32_t both,
                            const int32_t *z, size_t n_cols, uint32_t row, uint32_t col,
                            entro_error *err)
{
    size_t stride = en_strip_padded_cols(&plan->shape);
    if (plan->rans != NULL)
        return en_rans_encoder_add(e->rans, z, stride, n_cols, &plan->rans[both], row, col, err);
    return en_strip_encoder_add(e->strips, z, stride, n_cols, plan->shape.layouts[both],
                                &plan->codes[both], row, col, err);
}

entro_status en_strip_encode_chunk(en_chunk_encoder *e, const en_strip_plan *plan, uint32_t chunk,
                                   const int32_t *z, entro_error *err)
{
    const en_strip_matrix *m = &plan->shape;
    en_strip_chunk c = en_strip_chunk_at(m, chunk);
    size_t stride = en_strip_padded_cols(m);
    en_strip_encoder_start(e->strips);
    en_rans_encoder_start(e->rans);
    for (uint32_t s = 0; s < c.n_strips; s++) {
        uint32_t first = 0;
        for (uint32_t i = 0; i < m->n_col_classes; i++) {
            uint32_t both = c.row_class * m->n_col_classes + i, end = m->col_class_end[i];
            uint32_t col = first * EN_UNIT_COLS;
            EN_TRY(add_run(e, plan, both, z + s * EN_STRIP_ROWS * stride + col,
                           (size_t)(end - first) * EN_UNIT_COLS, s * EN_STRIP_ROWS, col, err));
            first = end;
        }
    }
    /* Here, where threads work side by side; the writer asks again. */
    streams made;
    return finish(e, plan, &made, err);
}

/* ---- the front --------------------------------------------------------------------------- */

static uint64_t class_bytes(const en_strip_plan *plan)
{
    const en_strip_matrix *m = &plan->shape;
    uint64_t n_pairs = (uint64_t)m->n_row_classes * m->n_col_classes, n_bytes = 0;
    uint8_t stored[EN_RANS_MAX_STORED];
    for (uint32_t i = 0; plan->rans != NULL && i < n_pairs; i++)
        n_bytes += en_rans_code_store(&plan->rans[i], stored);
    return 4 * ((uint64_t)m->n_row_classes + m->n_col_classes) +
           (plan->rans != NULL ? n_bytes : n_pairs * EN_STRIP_CLASS_BYTES);
}

/* Bytes of n steps, or of n column scales. */
static uint64_t float_bytes(const en_strip_plan *plan, uint64_t n, bool half)
{
    return plan->short_grids ? EN_STRIP_SHORT_HEAD + n : n * (half ? 2 : 4);
}

/* Lengths of the parts before the raw bits, and of those. */
static void set_parts(const en_strip_plan *plan, en_payload_part parts[EN_STRIP_PART_COUNT])
{
    const en_strip_matrix *m = &plan->shape;
    uint64_t grid = float_bytes(plan, plan->n_grids, plan->half_grids), n_raw = 0;
    for (uint32_t i = 0, first = 0; i < m->n_row_classes; first = m->row_class_end[i++])
        n_raw += (m->row_class_end[i] - first) * en_strip_raw_bytes(m, i);
    uint64_t n_bytes[EN_STRIP_PART_COUNT] = {
        [EN_STRIP_STEPS] = grid,
        [EN_STRIP_OFFSETS] = plan->offsets ? grid : 0,
        [EN_STRIP_COL_SCALES] = plan->col_scales ? float_bytes(plan, m->n_cols, true) : 0,
        [EN_STRIP_COL_ORDER] = plan->col_order ? (m->n_cols + 1) / 2 : 0,
        [EN_STRIP_ROW_ORDER] = plan->row_order ? (m->n_rows + 1) / 2 : 0,
        [EN_STRIP_CLASSES] = class_bytes(plan),
        [EN_STRIP_INDEX] = 24 * ((uint64_t)m->n_chunks + 1),
        [EN_STRIP_RAW] = n_raw,
    };
    uint64_t offset = EN_STRIP_HEADER_BYTES;
    for (int i = 0; i <= EN_STRIP_RAW; i++) {
        offset = en_payload_align_up(offset,
                                     i == EN_STRIP_RAW ? EN_PAYLOAD_ALIGN : EN_PAYLOAD_PART_ALIGN);
        parts[i] = (en_payload_part){offset, n_bytes[i]};
        offset += n_bytes[i];
    }
}

static void store_header(uint8_t *out, const en_strip_plan *plan)
{
    const en_strip_matrix *m = &plan->shape;
    uint32_t flags = plan->short_grids  ? EN_PAYLOAD_SHORT_GRIDS
                     : plan->half_grids ? EN_PAYLOAD_HALF_GRIDS
                                        : 0;
    uint32_t coding = plan->rans != NULL ? EN_CODING_RANS : EN_CODING_STRIPS;
    en_payload_store_front(out, &(en_payload_front){.n_header_bytes = EN_STRIP_HEADER_BYTES,
                                                    .coding = coding,
                                                    .flags = flags,
                                                    .kind = plan->method->bits,
                                                    .n_rows = m->n_rows,
                                                    .n_cols = m->n_cols,
                                                    .n_grids = plan->n_grids,
                                                    .rows_per_segment = m->strips_per_chunk,
                                                    .n_segments = m->n_chunks,
                                                    .entropy = plan->entropy,
                                                    .huffman_bits = plan->huffman_bits,
                                                    .method = plan->method->name});
    en_store32(out + 112, m->n_row_classes);
    en_store32(out + 116, m->n_col_classes);
}

static void store_floats(uint8_t *out, const float *x, uint64_t n, bool half)
{
    if (x != NULL && half)
        en_kernels_get()->f32_to_f16(x, (uint16_t *)(void *)out, n);
    else if (x != NULL)
        memcpy(out, x, 4 * n);
}

static void store_short(uint8_t *out, const float *x, uint64_t n, int exponent)
{
    en_store32(out, (uint32_t)exponent);
    for (uint64_t i = 0; i < n; i++)
        out[EN_STRIP_SHORT_HEAD + i] = en_short_store(x[i], exponent);
}

static void store_grids(uint8_t *front, const en_strip_plan *plan,
                        const en_payload_part parts[EN_STRIP_PART_COUNT])
{
    uint8_t *steps = front + parts[EN_STRIP_STEPS].offset;
    uint8_t *scales = front + parts[EN_STRIP_COL_SCALES].offset;
    if (plan->short_grids) {
        store_short(steps, plan->steps, plan->n_grids, plan->steps_exponent);
        if (plan->col_scales != NULL)
            store_short(scales, plan->col_scales, plan->shape.n_cols, plan->scales_exponent);
        return;
    }
    store_floats(steps, plan->steps, plan->n_grids, plan->half_grids);
    store_floats(front + parts[EN_STRIP_OFFSETS].offset, plan->offsets, plan->n_grids,
                 plan->half_grids);
    store_floats(scales, plan->col_scales, plan->shape.n_cols, true);
}

/* The class of each row or column, 4 bits: 'ends' counts 'unit' of them. */
static void store_order(uint8_t *out, const uint32_t *order, uint64_t n, const uint32_t *ends,
                        uint32_t unit)
{
    unsigned class = 0;
    for (uint64_t i = 0; order != NULL && i < n; i++) {
        class += i >= (uint64_t)ends[class] * unit;
        out[order[i] / 2] |= (uint8_t)(class << order[i] % 2 * 4);
    }
}

static void store_classes(uint8_t *out, const en_strip_plan *plan)
{
    const en_strip_matrix *m = &plan->shape;
    for (uint32_t i = 0; i < m->n_row_classes; i++, out += 4)
        en_store32(out, m->row_class_end[i]);
    for (uint32_t i = 0; i < m->n_col_classes; i++, out += 4)
        en_store32(out, m->col_class_end[i]);
    for (uint32_t i = 0; i < m->n_row_classes * m->n_col_classes; i++) {
        if (plan->rans != NULL) {
            out += en_rans_code_store(&plan->rans[i], out);
            continue;
        }
        en_store32(out, m->layouts[i].mode);
        en_store32(out + 4, (uint32_t)m->layouts[i].base);
        memcpy(out + 8, plan->codes[i].stored, EN_PAIR_STORED_BYTES);
        out += EN_STRIP_CLASS_BYTES;
    }
}

static bool make_room(uint8_t **p, size_t *cap, size_t n)
{
    return n <= *cap || en_grow((void **)p, cap, n, SIZE_MAX, 1);
}

entro_status en_strip_writer_begin(en_strip_writer *w, const en_strip_plan *plan, entro_error *err)
{
    en_payload_part parts[EN_STRIP_PART_COUNT] = {{0}};
    set_parts(plan, parts);
    size_t n_all = (size_t)(parts[EN_STRIP_RAW].offset + parts[EN_STRIP_RAW].n_bytes);
    if (!make_room(&w->front, &w->cap_front, n_all))
        return en_fail_memory(err);
    memset(w->front, 0, n_all);
    store_header(w->front, plan);
    store_grids(w->front, plan, parts);
    store_order(w->front + parts[EN_STRIP_COL_ORDER].offset, plan->col_order, plan->shape.n_cols,
                plan->shape.col_class_end, EN_UNIT_COLS);
    store_order(w->front + parts[EN_STRIP_ROW_ORDER].offset, plan->row_order, plan->shape.n_rows,
                plan->shape.row_class_end, EN_STRIP_ROWS);
    store_classes(w->front + parts[EN_STRIP_CLASSES].offset, plan);
    en_payload_store_parts(w->front + EN_STRIP_PARTS_AT, parts, EN_STRIP_PART_COUNT);
    w->plan = plan;
    w->n_table_bytes = parts[EN_STRIP_CLASSES].n_bytes;
    w->raw_at = w->n_front = (size_t)parts[EN_STRIP_RAW].offset;
    w->index_at = (size_t)parts[EN_STRIP_INDEX].offset;
    w->n_words = w->n_exceptions = 0;
    w->n_chunks = 0;
    w->n_listed = 0;
    return ENTRO_OK;
}

/* ---- the streams ------------------------------------------------------------------------- */

/* Differences are multiples of 2 to the power of the raw bits, of the fewest that occur. */
static unsigned list_shift(const en_strip_matrix *m, uint32_t row_class)
{
    unsigned least = EN_STRIP_MAX_SHIFT;
    for (uint32_t i = 0; i < m->n_col_classes; i++) {
        unsigned raw = en_strip_raw_bits(m->layouts[row_class * m->n_col_classes + i].mode);
        least = raw < least ? raw : least;
    }
    return least;
}

/* 0: the difference is too large. */
static unsigned tag_of(int32_t delta, unsigned shift)
{
    int32_t k = delta / (1 << shift);
    return k * (1 << shift) == delta && k >= -7 && k <= 7 ? (unsigned)(k + 8) : 0;
}

/* One strip's list, of n entries; returns its end. */
static uint8_t *put_list(uint8_t *out, const en_strip_exception *list, uint32_t n, unsigned shift)
{
    uint8_t *cols = out + 4, *tags = cols + 2 * (size_t)n, *large = tags + n;
    en_store32(out, n | shift << EN_STRIP_LIST_SHIFT_AT);
    for (uint32_t i = 0; i < n; i++) {
        unsigned tag = tag_of(list[i].delta, shift);
        en_store16(cols + 2 * (size_t)i, (uint16_t)list[i].col);
        tags[i] = (uint8_t)(list[i].row % EN_STRIP_ROWS | tag << 4);
        if (tag == 0) {
            en_store32(large, (uint32_t)list[i].delta);
            large += 4;
        }
    }
    return large;
}

/* The lists of the chunk's strips.  What padding decodes to does not matter, so it has none. */
static entro_status put_exceptions(en_strip_writer *w, en_strip_exception *list, size_t n,
                                   entro_error *err)
{
    const en_strip_matrix *m = &w->plan->shape;
    en_strip_chunk c = en_strip_chunk_at(m, w->n_chunks);
    if (!make_room(&w->exceptions, &w->cap_exceptions,
                   w->n_exceptions + 4 * (size_t)c.n_strips + 7 * n))
        return en_fail_memory(err);
    uint64_t n_rows = m->n_rows - (uint64_t)c.first_strip * EN_STRIP_ROWS;
    uint8_t *out = w->exceptions + w->n_exceptions;
    unsigned shift = list_shift(m, c.row_class);
    for (uint32_t s = 0, i = 0; s < c.n_strips; s++) {
        uint32_t n_here = 0, first = i;
        for (; i < n && list[i].row / EN_STRIP_ROWS == s; i++)
            if (list[i].row < n_rows && list[i].col < m->n_cols)
                list[first + n_here++] = list[i];
        out = put_list(out, list + first, n_here, shift);
        w->n_listed += n_here;
    }
    w->n_exceptions = (size_t)(out - w->exceptions);
    return ENTRO_OK;
}

static void put_index(en_strip_writer *w)
{
    uint8_t *at = w->front + w->index_at + 24 * (size_t)w->n_chunks;
    en_store64(at, w->n_words);
    en_store64(at + 8, w->n_front - w->raw_at);
    en_store64(at + 16, w->n_exceptions);
}

entro_status en_strip_writer_add(en_strip_writer *w, en_chunk_encoder *e, entro_error *err)
{
    streams made;
    EN_TRY(finish(e, w->plan, &made, err));
    if (!make_room(&w->words, &w->cap_words, w->n_words + made.n_words))
        return en_fail_memory(err);
    put_index(w);
    memcpy(w->words + w->n_words, made.words, made.n_words);
    w->n_words += made.n_words;
    if (made.n_raw > 0)
        memcpy(w->front + w->n_front, made.raw, made.n_raw); /* room was made in the beginning */
    w->n_front += made.n_raw;
    EN_TRY(put_exceptions(w, made.list, made.n_list, err));
    w->n_chunks++;
    return ENTRO_OK;
}

entro_status en_strip_writer_finish(en_strip_writer *w, entro_error *err)
{
    uint64_t words_at = en_payload_align_up(w->n_front, EN_PAYLOAD_PART_ALIGN);
    uint64_t list_at = en_payload_align_up(words_at + w->n_words, EN_PAYLOAD_PART_ALIGN);
    uint64_t n_all =
        en_payload_align_up(list_at + w->n_exceptions + EN_STRIP_IN_PAD, EN_PAYLOAD_ALIGN);
    if (!make_room(&w->front, &w->cap_front, (size_t)n_all))
        return en_fail_memory(err);
    put_index(w);
    memset(w->front + w->n_front, 0, (size_t)n_all - w->n_front);
    memcpy(w->front + words_at, w->words, w->n_words);
    if (w->n_exceptions > 0)
        memcpy(w->front + list_at, w->exceptions, w->n_exceptions);
    memcpy(w->front + 80, &w->plan->entropy, 8); /* may be known only now */
    memcpy(w->front + 88, &w->plan->huffman_bits, 8);
    uint8_t *places = w->front + EN_STRIP_PARTS_AT;
    en_store64(places + 16 * EN_STRIP_WORDS, words_at);
    en_store64(places + 16 * EN_STRIP_WORDS + 8, w->n_words);
    en_store64(places + 16 * EN_STRIP_EXCEPTIONS, list_at);
    en_store64(places + 16 * EN_STRIP_EXCEPTIONS + 8, w->n_exceptions);
    en_store64(w->front + 120, w->n_listed);
    w->n_front = (size_t)n_all;
    return ENTRO_OK;
}

void en_strip_writer_close(en_strip_writer *w)
{
    en_free(w->front);
    en_free(w->words);
    en_free(w->exceptions);
    *w = (en_strip_writer){0};
}
