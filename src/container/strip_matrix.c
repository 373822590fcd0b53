/* strip_matrix.c - chunks and exceptions of a matrix in coding 2; see strip_matrix.h. */
#include "container/strip_matrix.h"

#include "kernels/kernels.h"

static uint32_t chunks_of(uint32_t n_strips, uint32_t strips_per_chunk)
{
    return (n_strips + strips_per_chunk - 1) / strips_per_chunk;
}

en_strip_chunk en_strip_chunk_at(const en_strip_matrix *m, uint32_t chunk)
{
    uint32_t first = 0, row_class = 0;
    for (;; row_class++) {
        uint32_t end = m->row_class_end[row_class];
        uint32_t n = chunks_of(end - first, m->strips_per_chunk);
        if (chunk < n || row_class + 1 == m->n_row_classes) {
            uint32_t strip = first + chunk * m->strips_per_chunk, left = end - strip;
            uint32_t n_strips = left < m->strips_per_chunk ? left : m->strips_per_chunk;
            return (en_strip_chunk){strip, n_strips, row_class};
        }
        chunk -= n;
        first = end;
    }
}

uint32_t en_strip_count_chunks(const en_strip_matrix *m)
{
    uint32_t n = 0, first = 0;
    for (uint32_t i = 0; i < m->n_row_classes; i++) {
        n += chunks_of(m->row_class_end[i] - first, m->strips_per_chunk);
        first = m->row_class_end[i];
    }
    return n;
}

uint64_t en_strip_raw_bytes(const en_strip_matrix *m, uint32_t row_class)
{
    uint64_t n = 0;
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++])
        n += (uint64_t)(m->col_class_end[i] - first) *
             en_strip_raw_unit_bytes(m->layouts[row_class * m->n_col_classes + i].mode);
    return n;
}

static uint64_t index_at(const en_strip_matrix *m, uint32_t chunk, unsigned stream)
{
    return en_load64(m->index + 24 * (size_t)chunk + 8 * stream);
}

void en_strip_spans_of(const en_strip_matrix *m, uint32_t first, uint32_t end,
                       en_strip_span spans[EN_STRIP_STREAMS])
{
    const uint8_t *streams[EN_STRIP_STREAMS] = {m->words, m->raw, m->exceptions};
    for (unsigned i = 0; i < EN_STRIP_STREAMS; i++) {
        uint64_t start = index_at(m, first, i);
        spans[i] = (en_strip_span){streams[i] + start, index_at(m, end, i) - start};
    }
}

/* ---- values ------------------------------------------------------------------------------ */

size_t en_strip_reader_bytes(const en_strip_matrix *m)
{
    return m->rans != NULL ? m->n_col_classes * sizeof(en_rans_table) : 0;
}

static void start_lanes(en_strip_lanes *lanes, const uint8_t *words, const uint8_t *end,
                        const uint8_t *raw)
{
    memcpy(lanes->low, words, sizeof lanes->low);
    memcpy(lanes->high, words + sizeof lanes->low, sizeof lanes->high);
    memset(lanes->position, 0, sizeof lanes->position);
    lanes->next = words + 2 * EN_STRIP_START_WORDS;
    lanes->end = end;
    lanes->raw = raw;
}

void en_strip_reader_start(en_strip_reader *r, const en_strip_matrix *m, uint32_t chunk,
                           void *memory)
{
    const uint8_t *words = m->words + index_at(m, chunk, 0);
    r->matrix = m;
    r->place = en_strip_chunk_at(m, chunk);
    r->end = m->words + index_at(m, chunk + 1, 0);
    if (m->rans == NULL) {
        start_lanes(&r->lanes, words, r->end, m->raw + index_at(m, chunk, 1));
        return;
    }
    r->tables = memory;
    for (uint32_t i = 0; i < m->n_col_classes; i++)
        en_rans_table_fill(&r->tables[i], &m->rans[r->place.row_class * m->n_col_classes + i]);
    en_rans_start(&r->rans, words, r->end);
}

void en_strip_readers_run(en_strip_reader *const *readers, size_t n, uint32_t col_class,
                          size_t n_units, uint8_t *units, size_t stride)
{
    const en_strip_matrix *m = readers[0]->matrix;
    uint32_t both = readers[0]->place.row_class * m->n_col_classes + col_class;
    en_strip_lanes *lanes[EN_STRIP_MAX_CHUNKS];
    for (size_t i = 0; i < n; i++)
        lanes[i] = &readers[i]->lanes;
    if (m->rans == NULL)
        en_kernels_get()->strip_decode(lanes, n, &m->tables[both], m->layouts[both].mode, n_units,
                                       units, stride);
    for (size_t i = 0; m->rans != NULL && i < n; i++)
        en_kernels_get()->rans_decode(&readers[i]->rans, &readers[i]->tables[col_class], n_units,
                                      units + i * stride);
}

bool en_strip_reader_ended(const en_strip_reader *r)
{
    return r->matrix->rans != NULL ? en_rans_ended(&r->rans) : r->lanes.next == r->end;
}

/* ---- exceptions -------------------------------------------------------------------------- */

en_strip_lists en_strip_lists_of(const en_strip_matrix *m, uint32_t chunk)
{
    return (en_strip_lists){m->exceptions + index_at(m, chunk, 2),
                            m->exceptions + index_at(m, chunk + 1, 2),
                            (uint32_t)en_strip_padded_cols(m)};
}

bool en_strip_lists_next(en_strip_lists *lists, en_strip_list *list)
{
    size_t left = (size_t)(lists->end - lists->p);
    if (left < 4)
        return false;
    uint32_t head = en_load32(lists->p), n = head & ((1u << EN_STRIP_LIST_SHIFT_AT) - 1);
    *list = (en_strip_list){.n = n, .shift = head >> EN_STRIP_LIST_SHIFT_AT, .cols = lists->p + 4};
    if (list->shift > EN_STRIP_MAX_SHIFT || n > (left - 4) / 3)
        return false;
    list->tags = list->cols + 2 * (size_t)n;
    list->large = list->tags + n;
    uint32_t n_large, last_col = en_kernels_get()->list_scan(list, &n_large);
    if (last_col >= lists->padded_cols || n_large > (size_t)(lists->end - list->large) / 4)
        return false;
    list->n_large = n_large;
    lists->p = list->large + 4 * (size_t)n_large;
    return true;
}

/* ---- all integers ------------------------------------------------------------------------ */

/* Values of one run of a strip to z; 'col' is its first stored column. */
static void spread_run(const en_strip_matrix *m, const uint8_t *units, en_strip_layout layout,
                       size_t col, size_t n_units, uint32_t n_rows, int32_t *z)
{
    bool wide = en_strip_is_wide(layout.mode);
    for (size_t step = 0; step < n_units * EN_UNIT_STEPS; step++) {
        for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++) {
            unsigned row = lane / 4, first = units[lane], second = units[lane] >> 4;
            if (wide)
                second = units[EN_STRIP_LANES + lane];
            else
                first &= 15;
            if (row >= n_rows)
                continue;
            size_t a = col + step * EN_STEP_COLS + lane % 4, b = a + 4;
            if (a < m->n_cols)
                z[row * m->n_cols + en_strip_col(m, a)] = (int32_t)first + layout.base;
            if (b < m->n_cols)
                z[row * m->n_cols + en_strip_col(m, b)] = (int32_t)second + layout.base;
        }
        units += wide ? 2 * EN_STRIP_LANES : EN_STRIP_LANES;
    }
}

static uint32_t rows_of_strip(const en_strip_matrix *m, uint32_t strip)
{
    uint64_t left = m->n_rows - (uint64_t)strip * EN_STRIP_ROWS;
    return left < EN_STRIP_ROWS ? (uint32_t)left : EN_STRIP_ROWS;
}

static bool add_exceptions(const en_strip_matrix *m, en_strip_lists *lists, uint32_t n_rows,
                           int32_t *z)
{
    en_strip_list list;
    if (!en_strip_lists_next(lists, &list))
        return false;
    const uint8_t *large = list.large;
    for (uint32_t i = 0; i < list.n; i++) {
        en_strip_exception e = en_strip_list_entry(&list, i, &large);
        if (e.row >= n_rows || e.col >= m->n_cols)
            return false; /* in the padding */
        int32_t *at = &z[e.row * m->n_cols + en_strip_col(m, e.col)];
        *at = (int32_t)((uint32_t)*at + (uint32_t)e.delta);
    }
    return true;
}

/* Tables, then a decoded run. */
size_t en_strip_scratch_bytes(const en_strip_matrix *m)
{
    return en_strip_reader_bytes(m) + m->n_units * en_unit_bytes(8);
}

bool en_strip_decode_chunk(const en_strip_matrix *m, uint32_t chunk, uint8_t *scratch, int32_t *z)
{
    en_strip_reader reader;
    en_strip_lists lists = en_strip_lists_of(m, chunk);
    en_strip_reader_start(&reader, m, chunk, scratch);
    uint8_t *units = scratch + en_strip_reader_bytes(m);
    en_strip_chunk c = reader.place;
    for (uint32_t s = 0; s < c.n_strips; s++) {
        uint32_t first_unit = 0, n_rows = rows_of_strip(m, c.first_strip + s);
        int32_t *of_strip = z + (size_t)s * EN_STRIP_ROWS * m->n_cols;
        for (uint32_t i = 0; i < m->n_col_classes; i++) {
            uint32_t n_units = m->col_class_end[i] - first_unit;
            uint32_t both = c.row_class * m->n_col_classes + i;
            en_strip_reader_run(&reader, i, n_units, units);
            spread_run(m, units, m->layouts[both], (size_t)first_unit * EN_UNIT_COLS, n_units,
                       n_rows, of_strip);
            first_unit = m->col_class_end[i];
        }
        if (!add_exceptions(m, &lists, n_rows, of_strip))
            return false;
    }
    return en_strip_reader_ended(&reader) && en_strip_lists_ended(&lists);
}
