/* linear_strips.c - see linear_strips.h. */
#include "linear/linear_strips.h"

#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/linear_pack.h"

/* ---- items ------------------------------------------------------------------------------- */

static uint32_t chunks_of_class(const en_strip_matrix *m, uint32_t row_class)
{
    uint32_t first = row_class == 0 ? 0 : m->row_class_end[row_class - 1];
    return (m->row_class_end[row_class] - first + m->strips_per_chunk - 1) / m->strips_per_chunk;
}

uint32_t en_strips_side_by_side(uint32_t most, uint64_t n_chunks, uint32_t n_threads)
{
    enum { ITEMS_A_THREAD = 3 };
    uint32_t n = most;
    while (n > 1 && n_threads > 1 && n_chunks / n < (uint64_t)ITEMS_A_THREAD * n_threads)
        n--;
    return n;
}

uint32_t en_strips_count_items(const en_strip_matrix *m, uint32_t side_by_side)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_row_classes; i++)
        n += (chunks_of_class(m, i) + side_by_side - 1) / side_by_side;
    return n;
}

/* Chunks side by side share tables, so they are of one row class.  Returns how many. */
static uint32_t chunks_of_item(const en_strip_matrix *m, uint32_t side_by_side, uint32_t item,
                               uint32_t *first)
{
    *first = 0;
    for (uint32_t i = 0;; i++) {
        uint32_t n = chunks_of_class(m, i), n_items = (n + side_by_side - 1) / side_by_side;
        if (item < n_items) {
            uint32_t skipped = item * side_by_side;
            *first += skipped;
            return n - skipped < side_by_side ? n - skipped : side_by_side;
        }
        item -= n_items;
        *first += n;
    }
}

/* ---- sums -------------------------------------------------------------------------------- */

/* S of each row of a strip, for one token: products have room for EN_STRIP_MAX_COLS columns. */
typedef int64_t row_sums[EN_STRIP_ROWS];

/* What the column classes' bases add to every row of a row class: base sum q. */
static void sum_bases(const en_strips_product *p, const en_strips_form *forms, size_t first_token,
                      size_t n, int64_t *bases)
{
    const en_strip_matrix *m = p->matrix->coded->strips;
    for (size_t t = 0; t < n; t++) {
        bases[t] = 0;
        for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++])
            bases[t] += forms[i].base *
                        en_activations_sum(p->x, first_token + t, first, m->col_class_end[i]);
    }
}

/* What the outputs of a strip's rows take besides S. */
typedef struct strip_rows {
    uint32_t n;   /* without padding */
    bool in_line; /* all of them, as they come */
    float step[EN_STRIP_ROWS], offset[EN_STRIP_ROWS];
    uint64_t row[EN_STRIP_ROWS];
} strip_rows;

static void load_rows(strip_rows *rows, const en_coded *c, uint32_t strip)
{
    uint64_t first = (uint64_t)strip * EN_STRIP_ROWS, left = c->n_rows - first;
    rows->n = left < EN_STRIP_ROWS ? (uint32_t)left : EN_STRIP_ROWS;
    en_coded_grids(c, first, rows->n, rows->step, rows->offset);
    for (uint32_t r = 0; r < rows->n; r++)
        rows->row[r] = en_strip_row(c->strips, first + r);
    for (uint32_t r = rows->n; r < EN_STRIP_ROWS; r++)
        rows->step[r] = rows->offset[r] = 0.0f;
    rows->in_line = rows->n == EN_STRIP_ROWS && c->strips->row_order == NULL;
}

static void store_token(const en_strips_product *p, const strip_rows *rows, size_t token,
                        const int64_t *sums)
{
    float *y = p->y + token * p->y_stride, out[EN_STRIP_ROWS];
    float *at = rows->in_line ? y + rows->row[0] : out;
    double all = (double)en_activations_sum(p->x, token, 0, p->x->n_padded / EN_UNIT_COLS);
    en_kernels_get()->strip_outputs(sums, rows->step, rows->offset, p->x->scales[token], all, at);
    for (uint32_t r = 0; r < rows->n && !rows->in_line; r++)
        y[rows->row[r]] = out[r];
}

static void store_tokens(const en_strips_product *p, uint32_t strip, size_t first, size_t n,
                         row_sums *sums)
{
    strip_rows rows;
    load_rows(&rows, p->matrix->coded, strip);
    for (size_t t = 0; t < n; t++)
        store_token(p, &rows, first + t, sums[t]);
}

/* What is needed after a strip's units comes from memory while these are multiplied: steps, and the lines of the
 * first token's outputs, whose rows lie anywhere and which other threads write to as well. */
static void fetch_ends(const en_strips_product *p, uint32_t strip)
{
    const en_coded *c = p->matrix->coded;
    uint64_t first = (uint64_t)strip * EN_STRIP_ROWS, left = c->n_rows - first;
    size_t grid = c->n_grids == 1 ? 0 : (size_t)first * (c->half_grids ? 2 : 4);
    en_fetch(c->steps, grid, 1);
    if (c->offsets != NULL)
        en_fetch(c->offsets, grid, 1);
    for (uint64_t r = 0; r < EN_STRIP_ROWS && r < left; r++)
        en_fetch_to_write(p->y + en_strip_row(c->strips, first + r), 1);
}

/* ---- few tokens: decoded and multiplied in registers ---------------------------------------- */

enum { MAX_FEW = EN_STRIP_MAX_VECTORS / 2, FEW_VECTORS = 2 * MAX_FEW };
_Static_assert((int)EN_STRIPS_FEW_TOKENS <= (int)MAX_FEW, "two vectors a token");
_Static_assert((int)EN_STRIPS_SIDE_BY_SIDE <= (int)EN_STRIP_MAX_CHUNKS, "as kernels allow");

/* One strip of each of n chunks; sums[chunk * n_tokens + token].  'bases': of each token. */
static void dot_strips(const en_strips_product *p, en_strips_decoder *decoders, uint32_t n,
                       const int64_t *bases, row_sums *sums)
{
    const en_strip_matrix *m = p->matrix->coded->strips;
    const en_activations *x = p->x;
    en_strip_lanes *lanes[EN_STRIP_MAX_CHUNKS];
    const int8_t *vectors[FEW_VECTORS];
    int32_t dots[EN_STRIP_MAX_CHUNKS * FEW_VECTORS * EN_STRIP_ROWS];
    size_t n_vectors = 2 * x->n_tokens;
    for (uint32_t i = 0; i < n; i++)
        lanes[i] = &decoders[i].reader.lanes;
    memset(dots, 0, n * n_vectors * EN_STRIP_ROWS * sizeof *dots);
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        uint32_t both = decoders[0].place.row_class * m->n_col_classes + i;
        uint32_t end = m->col_class_end[i];
        for (size_t v = 0; v < n_vectors; v++)
            vectors[v] = en_activations_plane(x, v / 2, v % 2) + (size_t)first * EN_UNIT_COLS;
        en_kernels_get()->strip_dot(lanes, n, &m->tables[both], m->layouts[both].mode, end - first,
                                    vectors, n_vectors, dots);
    }
    for (size_t k = 0; k < n * x->n_tokens; k++)
        en_kernels_get()->strip_sums(dots + 2 * k * EN_STRIP_ROWS, bases[k % x->n_tokens], sums[k]);
}

static void add_list(const en_strips_product *p, const en_strip_list *list, row_sums *sums)
{
    for (size_t t = 0; t < p->x->n_tokens; t++)
        en_kernels_get()->list_add(list, p->x->q + t * p->x->n_padded, sums[t]);
}

static entro_status run_few(const en_strips_product *p, uint32_t first, uint32_t n_chunks,
                            entro_error *err)
{
    en_strips_decoder decoders[EN_STRIP_MAX_CHUNKS];
    row_sums sums[EN_STRIP_MAX_CHUNKS * MAX_FEW];
    const en_strip_matrix *m = p->matrix->coded->strips;
    size_t n_tokens = p->x->n_tokens;
    int64_t bases[MAX_FEW];
    for (uint32_t i = 0; i < n_chunks; i++)
        en_strips_decoder_start(&decoders[i], m, first + i, NULL);
    en_strip_chunk place = en_strip_chunk_at(m, first);
    en_strips_form forms[EN_STRIP_MAX_COL_CLASSES];
    en_strips_decoded_forms(m, place.row_class, forms);
    sum_bases(p, forms, 0, n_tokens, bases);
    uint32_t n = n_chunks, n_strips = place.n_strips;
    for (uint32_t s = 0; s < n_strips; s++) { /* only the last chunk may have fewer */
        n -= decoders[n - 1].place.n_strips == s;
        for (uint32_t i = 0; i < n; i++)
            fetch_ends(p, decoders[i].place.first_strip + s);
        if (s + 1 == n_strips) /* this thread's next ones, but for a job's last */
            en_strips_fetch_chunks(m, first + n_chunks, first + 2 * n_chunks);
        dot_strips(p, decoders, n, bases, sums);
        for (uint32_t i = 0; i < n; i++) {
            en_strip_list list;
            en_strips_next_list(&decoders[i], &list);
            add_list(p, &list, sums + i * n_tokens);
            store_tokens(p, decoders[i].place.first_strip + s, 0, n_tokens, sums + i * n_tokens);
        }
    }
    for (uint32_t i = 0; i < n_chunks; i++)
        if (!en_strips_decoder_ended(&decoders[i]))
            return en_strips_fail(p->matrix, first + i, err);
    return ENTRO_OK;
}

/* ---- decoded strips ---------------------------------------------------------------------- */

enum { BLOCK_TOKENS = 32, BLOCK_VECTORS = 2 * BLOCK_TOKENS };

/* One decoded strip times tokens first_token to first_token + n - 1; 'bases': of each of them. */
static void dot_units(const en_strips_product *p, const uint8_t *units, const en_strips_form *forms,
                      size_t first_token, size_t n, const int64_t *bases, row_sums *sums)
{
    const en_strip_matrix *m = p->matrix->coded->strips;
    const int8_t *vectors[BLOCK_VECTORS];
    int32_t dots[BLOCK_VECTORS * EN_STRIP_ROWS];
    memset(dots, 0, 2 * n * EN_STRIP_ROWS * sizeof *dots);
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        uint32_t end = m->col_class_end[i];
        for (size_t v = 0; v < 2 * n; v++)
            vectors[v] = en_activations_plane(p->x, first_token + v / 2, v % 2) +
                         (size_t)first * EN_UNIT_COLS;
        en_kernels_get()->unit_dot(units, forms[i].bits, end - first, vectors, 2 * n, dots);
        units += (end - first) * en_unit_bytes(forms[i].bits);
    }
    for (size_t t = 0; t < n; t++)
        en_kernels_get()->strip_sums(dots + 2 * t * EN_STRIP_ROWS, bases[t], sums[t]);
}

/* Some strips of a chunk. */
typedef struct strip_run {
    const uint8_t *units;
    size_t strip_bytes;
    en_strips_form forms[EN_STRIP_MAX_COL_CLASSES];
    uint32_t first_strip, n_strips; /* of the matrix */
    const en_strip_exception *rest; /* rows counted from the chunk's first */
    size_t n_rest;
    uint32_t first_row; /* of the run, counted likewise */
} strip_run;

/* All tokens, a block at a time: the block's planes stay in cache while the strips pass by. */
static void multiply_run(const en_strips_product *p, const strip_run *run)
{
    row_sums sums[BLOCK_TOKENS];
    int64_t bases[BLOCK_TOKENS];
    for (size_t first = 0; first < p->x->n_tokens; first += BLOCK_TOKENS) {
        size_t left = p->x->n_tokens - first, n = left < BLOCK_TOKENS ? left : BLOCK_TOKENS;
        const en_strip_exception *e = run->rest, *end = e + run->n_rest;
        sum_bases(p, run->forms, first, n, bases);
        for (uint32_t s = 0; s < run->n_strips; s++) {
            uint32_t end_row = run->first_row + (s + 1) * EN_STRIP_ROWS;
            dot_units(p, run->units + s * run->strip_bytes, run->forms, first, n, bases, sums);
            for (; e < end && e->row < end_row; e++)
                for (size_t t = 0; t < n; t++)
                    sums[t][e->row % EN_STRIP_ROWS] +=
                        (int64_t)e->delta * en_activations_q(p->x, first + t, e->col);
            store_tokens(p, run->first_strip + s, first, n, sums);
        }
    }
}

/* Strips that are decoded before the tokens pass by: as many as stay in L2 beside a block's planes. */
static uint32_t strips_at_once(const en_strip_matrix *m)
{
    enum { UNITS_BYTES = 128 << 10 };
    uint32_t n = (uint32_t)(UNITS_BYTES / (m->n_units * en_unit_bytes(8)));
    n = n > m->strips_per_chunk ? m->strips_per_chunk : n;
    return n < 1 ? 1 : n;
}

size_t en_strips_units_bytes(const en_strip_matrix *m)
{
    return m->n_units * en_unit_bytes(8) * strips_at_once(m);
}

/* Packed strips that are bytes as they lie in memory, without lists: so are rounded matrices. */
static bool run_in_place(const en_strips_product *p, en_strip_chunk place)
{
    const en_linear_packed *packed = p->matrix->packed;
    uint32_t first = place.first_strip, n = place.n_strips;
    strip_run run = {.first_strip = first, .n_strips = n};
    run.strip_bytes = en_strips_packed_forms(p->matrix, place.row_class, run.forms);
    if (run.strip_bytes != p->matrix->coded->strips->n_units * en_unit_bytes(8) ||
        packed->list_start[first + n] > packed->list_start[first])
        return false;
    run.units = en_pack_strip(p->matrix, place.row_class, first);
    multiply_run(p, &run);
    return true;
}

/* The strips of a packed chunk as bytes, a run at a time. */
static void run_packed_many(const en_strips_product *p, en_strip_chunk place,
                            const en_strips_room *room)
{
    const en_strip_matrix *m = p->matrix->coded->strips;
    uint32_t at_once = strips_at_once(m);
    if (run_in_place(p, place))
        return;
    strip_run run = {.units = room->units, .rest = room->rest};
    run.strip_bytes = en_strips_byte_forms(m, place.row_class, run.forms);
    for (uint32_t s = 0; s < place.n_strips; s += run.n_strips) {
        uint32_t left = place.n_strips - s;
        run.first_strip = place.first_strip + s;
        run.n_strips = left < at_once ? left : at_once;
        run.first_row = s * EN_STRIP_ROWS;
        run.n_rest = 0;
        for (uint32_t i = 0; i < run.n_strips; i++)
            en_strips_expand(p->matrix, place.row_class, run.first_strip + i,
                             run.first_row + i * EN_STRIP_ROWS, room->units + i * run.strip_bytes,
                             room->rest, &run.n_rest);
        multiply_run(p, &run);
    }
}

/* A packed strip's list comes as late. */
static void fetch_list(const en_linear_packed *p, uint32_t strip)
{
    en_fetch(p->lists, p->list_start[strip], p->list_start[strip + 1] - p->list_start[strip]);
}

/* Packed strips times few tokens, as they lie in memory. */
static void run_packed_few(const en_strips_product *p, en_strip_chunk place)
{
    row_sums sums[EN_STRIPS_FEW_PACKED];
    en_strips_form forms[EN_STRIP_MAX_COL_CLASSES];
    int64_t bases[EN_STRIPS_FEW_PACKED];
    size_t strip_bytes = en_strips_packed_forms(p->matrix, place.row_class, forms);
    const uint8_t *units = en_pack_strip(p->matrix, place.row_class, place.first_strip);
    sum_bases(p, forms, 0, p->x->n_tokens, bases);
    for (uint32_t i = place.first_strip; i < place.first_strip + place.n_strips; i++) {
        fetch_list(p->matrix->packed, i);
        fetch_ends(p, i);
        en_pack_list list = en_pack_list_of(p->matrix->packed, i);
        dot_units(p, units, forms, 0, p->x->n_tokens, bases, sums);
        units += strip_bytes;
        for (size_t t = 0; t < p->x->n_tokens; t++)
            en_pack_list_add(&list, p->x->q + t * p->x->n_padded, sums[t]);
        store_tokens(p, i, 0, p->x->n_tokens, sums);
    }
}

/* Chunks side by side, of one row class: the next 'n_strips' strips of each, at most, are decoded and
 * multiplied.  'first': which of a chunk. */
static void run_decoded_strips(const en_strips_product *p, en_strips_decoder *decoders,
                               uint32_t n_chunks, uint32_t first, uint32_t n_strips,
                               const en_strips_room *room)
{
    strip_run run = {.rest = room->rest, .first_row = first * EN_STRIP_ROWS};
    run.strip_bytes =
        en_strips_decoded_forms(p->matrix->coded->strips, decoders[0].place.row_class, run.forms);
    size_t stride = n_strips * run.strip_bytes;
    for (uint32_t s = 0, n = n_chunks; s < n_strips; s++) {
        while (n > 0 && first + s >= decoders[n - 1].place.n_strips)
            n--;
        if (n > 0)
            en_strips_decode_units(decoders, n, room->units + s * run.strip_bytes, stride);
    }
    for (uint32_t i = 0; i < n_chunks; i++) {
        en_strip_chunk place = decoders[i].place;
        uint32_t left = place.n_strips > first ? place.n_strips - first : 0;
        uint8_t *units = room->units + i * stride;
        run.units = units;
        run.first_strip = place.first_strip + first;
        run.n_strips = left < n_strips ? left : n_strips;
        run.n_rest = 0;
        for (uint32_t s = 0; s < run.n_strips; s++)
            en_strips_put_right(&decoders[i], units + s * run.strip_bytes, room->rest, &run.n_rest);
        multiply_run(p, &run);
    }
}

static entro_status run_decoded(const en_strips_product *p, uint32_t first, uint32_t n_chunks,
                                const en_strips_room *room, entro_error *err)
{
    const en_strip_matrix *m = p->matrix->coded->strips;
    en_strips_decoder decoders[EN_STRIP_MAX_CHUNKS];
    for (uint32_t i = 0; i < n_chunks; i++)
        en_strips_decoder_start(&decoders[i], m, first + i, room->reader);
    uint32_t n_strips = en_strip_chunk_at(m, first).n_strips,
             at_once = strips_at_once(m) / n_chunks;
    for (uint32_t s = 0; s < n_strips; s += at_once)
        run_decoded_strips(p, decoders, n_chunks, s, at_once, room);
    for (uint32_t i = 0; i < n_chunks; i++)
        if (!en_strips_decoder_ended(&decoders[i]))
            return en_strips_fail(p->matrix, first + i, err);
    return ENTRO_OK;
}

/* As many chunks at a time as the room has strips of; coding 4 gains nothing from several. */
static uint32_t decoded_together(const en_strip_matrix *m)
{
    uint32_t n = strips_at_once(m);
    return m->rans != NULL ? 1 : n < EN_STRIP_MAX_CHUNKS ? n : EN_STRIP_MAX_CHUNKS;
}

entro_status en_strips_run_item(const en_strips_product *p, uint32_t item,
                                const en_strips_room *room, entro_error *err)
{
    bool packed = p->matrix->packed != NULL;
    bool few = p->x->n_tokens <= (packed ? EN_STRIPS_FEW_PACKED : EN_STRIPS_FEW_TOKENS);
    bool in_registers = few && !packed && p->matrix->coded->strips->rans == NULL;
    uint32_t first, n = chunks_of_item(p->matrix->coded->strips, p->side_by_side, item, &first);
    if (in_registers)
        return run_few(p, first, n, err);
    uint32_t end = first + n, each = packed ? 1 : decoded_together(p->matrix->coded->strips);
    for (; first < end; first += each) {
        en_strip_chunk place = en_strip_chunk_at(p->matrix->coded->strips, first);
        if (few && packed)
            run_packed_few(p, place);
        else if (packed)
            run_packed_many(p, place, room);
        else
            EN_TRY(run_decoded(p, first, end - first < each ? end - first : each, room, err));
    }
    return ENTRO_OK;
}

/* ---- one row ----------------------------------------------------------------------------- */

/* The stored row that is row 'row'. */
static uint64_t find_row(const en_strip_matrix *m, uint64_t row)
{
    uint64_t s = row;
    if (m->row_order != NULL)
        for (s = 0; en_strip_row(m, s) != row;)
            s++;
    return s;
}

static uint32_t chunk_of_strip(const en_strip_matrix *m, uint32_t strip)
{
    uint32_t chunk = 0, first = 0, i = 0;
    for (; strip >= m->row_class_end[i]; first = m->row_class_end[i++])
        chunk += chunks_of_class(m, i);
    return chunk + (strip - first) / m->strips_per_chunk;
}

/* A row of a decoded strip, in stored order. */
static void unpack_row(const en_strip_matrix *m, const en_strips_form *forms, const uint8_t *units,
                       unsigned row, int32_t *z)
{
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        bool wide = forms[i].bits == 8;
        for (uint32_t step = 0; step < (m->col_class_end[i] - first) * EN_UNIT_STEPS; step++) {
            const uint8_t *at = units + row * 4;
            for (unsigned c = 0; c < 4; c++) {
                z[c] = forms[i].base + (wide ? at[c] : at[c] & 15);
                z[4 + c] = forms[i].base + (wide ? at[EN_STRIP_LANES + c] : at[c] >> 4);
            }
            z += EN_STEP_COLS;
            units += wide ? 2 * EN_STRIP_LANES : EN_STRIP_LANES;
        }
    }
}

static void add_rest(const en_strip_exception *rest, size_t n_rest, uint32_t row, int32_t *z)
{
    for (size_t i = 0; i < n_rest; i++)
        if (rest[i].row == row)
            z[rest[i].col] = (int32_t)((uint32_t)z[rest[i].col] + (uint32_t)rest[i].delta);
}

/* Row 'row' of the chunk.  Decodes all of it, to know whether it is sound. */
static entro_status decode_row(const en_linear *matrix, uint32_t chunk, uint32_t row,
                               const en_strips_room *room, int32_t *z, entro_error *err)
{
    en_strips_decoder d;
    en_strips_decoder_start(&d, matrix->coded->strips, chunk, room->reader);
    size_t n_rest = 0;
    for (uint32_t s = 0; s < d.place.n_strips; s++) {
        en_strips_decode(&d, room->units, room->rest, &n_rest);
        if (s == row / EN_STRIP_ROWS) {
            unpack_row(d.matrix, d.forms, room->units, row % EN_STRIP_ROWS, z);
            add_rest(room->rest, n_rest, row, z);
        }
    }
    return en_strips_decoder_ended(&d) ? ENTRO_OK : en_strips_fail(matrix, chunk, err);
}

static void expand_row(const en_linear *matrix, uint32_t row_class, uint64_t stored,
                       const en_strips_room *room, int32_t *z)
{
    const en_strip_matrix *m = matrix->coded->strips;
    en_strips_form forms[EN_STRIP_MAX_COL_CLASSES];
    size_t n_rest = 0;
    uint32_t row = stored % EN_STRIP_ROWS;
    en_strips_expand(matrix, row_class, (uint32_t)(stored / EN_STRIP_ROWS), 0, room->units,
                     room->rest, &n_rest);
    en_strips_byte_forms(m, row_class, forms);
    unpack_row(m, forms, room->units, row, z);
    add_rest(room->rest, n_rest, row, z);
}

static void dequantize_row(const en_coded *c, uint64_t stored_row, const int32_t *z, float *out)
{
    const en_strip_matrix *m = c->strips;
    float step, offset;
    en_coded_grid(c, stored_row, &step, &offset);
    for (uint64_t k = 0; k < m->n_cols; k++) {
        double w = (double)step * z[k] + (double)offset;
        if (m->col_scales != NULL)
            w *= (double)en_half_to_f32(en_load16(m->col_scales + 2 * k));
        out[en_strip_col(m, k)] = (float)w;
    }
}

entro_status en_strips_read_row(const en_linear *matrix, uint64_t row, float *out,
                                const en_strips_room *room, entro_error *err)
{
    const en_strip_matrix *m = matrix->coded->strips;
    uint64_t stored = find_row(m, row);
    uint32_t chunk = chunk_of_strip(m, (uint32_t)(stored / EN_STRIP_ROWS));
    en_strip_chunk place = en_strip_chunk_at(m, chunk);
    int32_t *z = (int32_t *)(void *)room->ordered; /* as large as floats, which it is not now */
    if (matrix->packed != NULL)
        expand_row(matrix, place.row_class, stored, room, z);
    else
        EN_TRY(decode_row(matrix, chunk,
                          (uint32_t)(stored - (uint64_t)place.first_strip * EN_STRIP_ROWS), room, z,
                          err));
    dequantize_row(matrix->coded, stored, z, out);
    return ENTRO_OK;
}
