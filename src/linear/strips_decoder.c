/* strips_decoder.c - chunks of coding 2 and 4, strip by strip, with their exceptions; see linear_strips.h. */
#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/linear_pack.h"

static size_t bytes_of(const en_strip_matrix *m, const en_strips_form *forms)
{
    size_t n = 0;
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++])
        n += (m->col_class_end[i] - first) * en_unit_bytes(forms[i].bits);
    return n;
}

size_t en_strips_decoded_forms(const en_strip_matrix *m, uint32_t row_class, en_strips_form *forms)
{
    const en_strip_layout *layouts = m->layouts + row_class * m->n_col_classes;
    for (uint32_t i = 0; i < m->n_col_classes; i++)
        forms[i] = (en_strips_form){en_strip_decoded_bits(layouts[i].mode), layouts[i].base};
    return bytes_of(m, forms);
}

size_t en_strips_byte_forms(const en_strip_matrix *m, uint32_t row_class, en_strips_form *forms)
{
    const en_strip_layout *layouts = m->layouts + row_class * m->n_col_classes;
    for (uint32_t i = 0; i < m->n_col_classes; i++)
        forms[i] = (en_strips_form){8, layouts[i].base};
    return bytes_of(m, forms);
}

size_t en_strips_packed_forms(const en_linear *matrix, uint32_t row_class, en_strips_form *forms)
{
    const en_strip_matrix *m = matrix->coded->strips;
    const en_pack_layout *packed = matrix->packed->layouts + row_class * m->n_col_classes;
    const en_strip_layout *layouts = m->layouts + row_class * m->n_col_classes;
    for (uint32_t i = 0; i < m->n_col_classes; i++)
        forms[i] = (en_strips_form){packed[i].bits, layouts[i].base + packed[i].lift};
    return bytes_of(m, forms);
}

size_t en_strips_max_rest(const en_strip_matrix *m)
{
    enum { ENTRY_BYTES = 3 }; /* the shortest */
    uint64_t most = 0;
    for (uint32_t i = 0; i < m->n_chunks; i++) {
        const uint8_t *exceptions = m->index + 24 * (size_t)i + 16;
        uint64_t n_bytes = en_load64(exceptions + 24) - en_load64(exceptions);
        most = n_bytes > most ? n_bytes : most;
    }
    return (size_t)(most / ENTRY_BYTES);
}

/* The next strip's list comes from memory while its units are decoded.  'last': bytes of the one before. */
static void fetch_list(const en_strips_decoder *d, size_t last)
{
    enum { MORE = 128 };
    en_fetch(d->lists.p, 0, last + MORE);
}

void en_strips_fetch_chunks(const en_strip_matrix *m, uint32_t first, uint32_t end)
{
    enum { MOST = 2048, INDEX_BYTES = 8 * EN_STRIP_STREAMS };
    /* Where those after these begin; of these, the beginning: more is fetched ahead, as it is decoded. */
    en_fetch(m->index, (size_t)end * INDEX_BYTES, (end - first + 1) * INDEX_BYTES);
    for (uint32_t i = first; i < end && i < m->n_chunks; i++) {
        en_strip_span spans[EN_STRIP_STREAMS];
        en_strip_spans_of(m, i, i + 1, spans);
        for (unsigned k = 0; k < EN_STRIP_STREAMS; k++)
            en_fetch(spans[k].data, 0, spans[k].n_bytes < MOST ? (size_t)spans[k].n_bytes : MOST);
    }
}

void en_strips_decoder_start(en_strips_decoder *d, const en_strip_matrix *m, uint32_t chunk,
                             void *memory)
{
    d->matrix = m;
    d->chunk = chunk;
    d->next_strip = 0;
    en_strip_reader_start(&d->reader, m, chunk, memory);
    d->place = d->reader.place;
    en_strips_decoded_forms(m, d->place.row_class, d->forms);
    d->damaged = false;
    d->lists = en_strip_lists_of(m, chunk);
    fetch_list(d, 0);
}

void en_strips_next_list(en_strips_decoder *d, en_strip_list *list)
{
    const uint8_t *start = d->lists.p;
    if (!d->damaged && en_strip_lists_next(&d->lists, list)) {
        fetch_list(d, (size_t)(d->lists.p - start));
        return;
    }
    d->damaged = true;
    *list = (en_strip_list){0};
}

bool en_strips_decoder_ended(const en_strips_decoder *d)
{
    return !d->damaged && en_strip_lists_ended(&d->lists) && en_strip_reader_ended(&d->reader);
}

int32_t en_strips_add_to_value(uint8_t *units, const en_strip_matrix *m,
                               const en_strips_form *forms, uint32_t row, uint32_t col,
                               int32_t delta)
{
    uint32_t unit = col / EN_UNIT_COLS, first = 0, i = 0;
    for (; unit >= m->col_class_end[i]; first = m->col_class_end[i++])
        units += (m->col_class_end[i] - first) * en_unit_bytes(forms[i].bits);
    bool wide = forms[i].bits == 8;
    uint32_t step = (col - first * EN_UNIT_COLS) / EN_STEP_COLS, second = col / 4 % 2;
    uint8_t *at = units + (size_t)step * EN_STRIP_LANES * (wide ? 2 : 1) + row * 4 + col % 4;
    at += wide ? second * EN_STRIP_LANES : 0;
    unsigned shift = wide ? 0 : 4 * second, most = wide ? 255 : 15;
    int64_t v = *at >> shift & most, wanted = v + delta;
    int64_t reached = wanted < 0 ? 0 : wanted > most ? most : wanted;
    *at = (uint8_t)((*at & ~(most << shift)) | (unsigned)reached << shift);
    return (int32_t)(wanted - reached);
}

void en_strips_decode_units(en_strips_decoder *decoders, size_t n, uint8_t *units, size_t stride)
{
    const en_strip_matrix *m = decoders[0].matrix;
    en_strip_reader *readers[EN_STRIP_MAX_CHUNKS];
    for (size_t i = 0; i < n; i++)
        readers[i] = &decoders[i].reader;
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        size_t n_units = m->col_class_end[i] - first;
        en_strip_readers_run(readers, n, i, n_units, units, stride);
        units += n_units * en_unit_bytes(decoders[0].forms[i].bits);
    }
}

void en_strips_put_right(en_strips_decoder *d, uint8_t *units, en_strip_exception *rest,
                         size_t *n_rest)
{
    const en_strip_matrix *m = d->matrix;
    uint32_t strip = d->next_strip++;
    en_strip_list list;
    en_strips_next_list(d, &list);
    const uint8_t *large = list.large;
    for (uint32_t i = 0; i < list.n; i++) {
        en_strip_exception e = en_strip_list_entry(&list, i, &large);
        int32_t left = en_strips_add_to_value(units, m, d->forms, e.row, e.col, e.delta);
        if (left != 0)
            rest[(*n_rest)++] = (en_strip_exception){strip * EN_STRIP_ROWS + e.row, e.col, left};
    }
}

void en_strips_decode(en_strips_decoder *d, uint8_t *units, en_strip_exception *rest,
                      size_t *n_rest)
{
    en_strips_decode_units(d, 1, units, 0);
    en_strips_put_right(d, units, rest, n_rest);
}

void en_strips_expand(const en_linear *matrix, uint32_t row_class, uint32_t strip,
                      uint32_t first_row, uint8_t *bytes, en_strip_exception *rest, size_t *n_rest)
{
    const en_strip_matrix *m = matrix->coded->strips;
    const en_pack_layout *layouts = matrix->packed->layouts + row_class * m->n_col_classes;
    const uint8_t *from = en_pack_strip(matrix, row_class, strip);
    uint8_t *to = bytes;
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        size_t n_units = m->col_class_end[i] - first;
        en_kernels_get()->unit_expand(from, layouts[i].bits, n_units, layouts[i].lift, to);
        from += n_units * en_unit_bytes(layouts[i].bits);
        to += n_units * en_unit_bytes(8);
    }
    en_strips_form forms[EN_STRIP_MAX_COL_CLASSES];
    en_strips_byte_forms(m, row_class, forms);
    en_pack_list list = en_pack_list_of(matrix->packed, strip);
    for (uint32_t i = 0, row = 0; i < list.n + list.n_large; i++) {
        en_strip_exception e = en_pack_list_entry(&list, i, &row);
        int32_t left = en_strips_add_to_value(bytes, m, forms, e.row, e.col, e.delta);
        if (left != 0)
            rest[(*n_rest)++] = (en_strip_exception){first_row + e.row, e.col, left};
    }
}

entro_status en_strips_fail(const en_linear *matrix, uint32_t chunk, entro_error *err)
{
    en_fail(err, ENTRO_ERR_CHECKSUM,
            "coded chunk %u of %u is damaged; check the file with 'entrollm verify' and copy or "
            "make it again",
            chunk, matrix->coded->strips->n_chunks);
    en_error_place(err, "tensor '%s'", matrix->name);
    return ENTRO_ERR_CHECKSUM;
}
