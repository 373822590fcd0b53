/*
 * strip_parse.c - checks the payload of a matrix in coding 2 or 4 before anyone decodes it.
 *
 * After it has been accepted, every chunk's words, raw bits and exceptions lie inside, its start
 * words are there, and classes are as large as they should be; decoders then need only keep 'next' from passing
 * 'end', and exceptions within their chunk.
 */
#include <math.h>

#include "base/memory.h"
#include "container/payload.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"
#include "tensor/short_float.h"

#define ULL(x) ((unsigned long long)(x))

typedef struct parser {
    const uint8_t *bytes;
    size_t n_bytes;
    en_coded *coded;
    en_strip_matrix *m;
    uint32_t coding; /* 2 or 4 */
    bool short_grids;
    en_payload_part parts[EN_STRIP_PART_COUNT];
} parser;

static const uint8_t *part(const parser *p, en_strip_part_name name)
{
    return p->parts[name].n_bytes > 0 ? p->bytes + p->parts[name].offset : NULL;
}

/* ---- header ------------------------------------------------------------------------------ */

static entro_status read_method(parser *p, entro_error *err)
{
    const uint8_t *name = p->bytes + 96;
    uint32_t bits = en_load32(p->bytes + 24);
    if (name[15] != '\0')
        return en_fail(err, ENTRO_ERR_FORMAT, "the method's name is not terminated");
    p->coded->method = en_quant_method_find((const char *)name);
    if (p->coded->method == NULL)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "is quantized by a method this program does not know; use a newer entrollm");
    if (p->coded->method->exact)
        return en_fail(err, ENTRO_ERR_FORMAT, "is of method %s, which coding %u cannot hold",
                       p->coded->method->name, p->coding);
    if (p->coded->method->bits != bits)
        return en_fail(err, ENTRO_ERR_FORMAT, "says %u-bit codes, but method %s has %u bits", bits,
                       p->coded->method->name, p->coded->method->bits);
    return ENTRO_OK;
}

static entro_status read_shape(parser *p, entro_error *err)
{
    en_strip_matrix *m = p->m;
    m->n_cols = en_load64(p->bytes + 32);
    m->n_rows = en_load64(p->bytes + 40);
    if (!en_strip_fits(m->n_rows, m->n_cols) || en_load64(p->bytes + 48) != 1 ||
        en_load64(p->bytes + 56) != 1)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "has %llu rows of %llu columns, which is not possible", ULL(m->n_rows),
                       ULL(m->n_cols));
    m->n_units = (uint32_t)((m->n_cols + EN_UNIT_COLS - 1) / EN_UNIT_COLS);
    m->n_strips = (uint32_t)((m->n_rows + EN_STRIP_ROWS - 1) / EN_STRIP_ROWS);
    m->strips_per_chunk = en_load32(p->bytes + 64);
    m->n_chunks = en_load32(p->bytes + 68);
    if (m->strips_per_chunk == 0 || m->strips_per_chunk > m->n_strips ||
        (m->strips_per_chunk > 1 &&
         m->strips_per_chunk > EN_STRIP_MAX_CHUNK / (EN_STRIP_ROWS * en_strip_padded_cols(m))))
        return en_fail(err, ENTRO_ERR_FORMAT, "has chunks of %u strips of %u units",
                       m->strips_per_chunk, m->n_units);
    p->coded->n_rows = m->n_rows;
    p->coded->n_cols = m->n_cols;
    p->coded->n_grids = en_load64(p->bytes + 72);
    if (p->coded->n_grids != 1 && p->coded->n_grids != m->n_rows)
        return en_fail(err, ENTRO_ERR_FORMAT, "has %llu grids for %llu rows",
                       ULL(p->coded->n_grids), ULL(m->n_rows));
    return ENTRO_OK;
}

static entro_status read_classes_header(parser *p, entro_error *err)
{
    en_strip_matrix *m = p->m;
    m->n_row_classes = en_load32(p->bytes + 112);
    m->n_col_classes = en_load32(p->bytes + 116);
    if (m->n_row_classes == 0 || m->n_row_classes > EN_STRIP_MAX_ROW_CLASSES ||
        m->n_col_classes == 0 || m->n_col_classes > EN_STRIP_MAX_COL_CLASSES)
        return en_fail(err, ENTRO_ERR_FORMAT, "has %u classes of rows and %u of columns",
                       m->n_row_classes, m->n_col_classes);
    return ENTRO_OK;
}

/* How long each part must be; those whose length is free are left out.  0 is allowed for
 * 'optional' ones. */
static entro_status check_lengths(const parser *p, entro_error *err)
{
    const en_strip_matrix *m = p->m;
    uint64_t grid = p->short_grids ? EN_STRIP_SHORT_HEAD + p->coded->n_grids
                                   : p->coded->n_grids * (p->coded->half_grids ? 2 : 4);
    uint64_t scales = p->short_grids ? EN_STRIP_SHORT_HEAD + m->n_cols : 2 * m->n_cols;
    uint64_t n_ends = 4 * (m->n_row_classes + m->n_col_classes);
    uint64_t n_classes = (uint64_t)m->n_row_classes * m->n_col_classes;
    const struct {
        uint64_t n_bytes;
        bool optional, any;
    } expected[EN_STRIP_PART_COUNT] = {
        [EN_STRIP_STEPS] = {.n_bytes = grid},
        [EN_STRIP_OFFSETS] = {.n_bytes = p->short_grids ? 0 : grid, .optional = true},
        [EN_STRIP_COL_SCALES] = {.n_bytes = scales, .optional = true},
        [EN_STRIP_COL_ORDER] = {.n_bytes = (m->n_cols + 1) / 2, .optional = true},
        [EN_STRIP_ROW_ORDER] = {.n_bytes = (m->n_rows + 1) / 2, .optional = true},
        [EN_STRIP_CLASSES] = {.n_bytes = n_ends + n_classes * EN_STRIP_CLASS_BYTES,
                              .any = p->coding == EN_CODING_RANS},
        [EN_STRIP_INDEX] = {.n_bytes = 24 * ((uint64_t)m->n_chunks + 1)},
        [EN_STRIP_RAW] = {.any = true},
        [EN_STRIP_WORDS] = {.any = true},
        [EN_STRIP_EXCEPTIONS] = {.any = true},
    };
    for (int i = 0; i < EN_STRIP_PART_COUNT; i++) {
        uint64_t n = p->parts[i].n_bytes;
        if (!expected[i].any && n != expected[i].n_bytes && !(expected[i].optional && n == 0))
            return en_fail(err, ENTRO_ERR_FORMAT, "part %d has %llu bytes, expected %llu", i,
                           ULL(n), ULL(expected[i].n_bytes));
    }
    return ENTRO_OK;
}

static entro_status read_parts(parser *p, entro_error *err)
{
    uint64_t end = EN_STRIP_HEADER_BYTES;
    en_payload_load_parts(p->parts, EN_STRIP_PART_COUNT, p->bytes + EN_STRIP_PARTS_AT);
    for (int i = 0; i < EN_STRIP_PART_COUNT; i++) {
        unsigned align = i == EN_STRIP_RAW ? EN_PAYLOAD_ALIGN : EN_PAYLOAD_PART_ALIGN;
        EN_TRY(en_payload_check_part(&p->parts[i], i, align, p->n_bytes, &end, err));
    }
    if (p->n_bytes - end < EN_STRIP_IN_PAD)
        return en_fail(err, ENTRO_ERR_FORMAT, "ends %llu bytes after its last part, expected %d",
                       ULL(p->n_bytes - end), EN_STRIP_IN_PAD);
    return check_lengths(p, err);
}

static entro_status read_header(parser *p, entro_error *err)
{
    uint32_t version = en_load32(p->bytes + 8), n_header = en_load32(p->bytes + 12);
    uint32_t flags = en_load32(p->bytes + 20);
    const uint32_t known = EN_PAYLOAD_HALF_GRIDS | EN_PAYLOAD_SHORT_GRIDS;
    p->coding = en_load32(p->bytes + 16);
    if (version != EN_PAYLOAD_VERSION || (flags & ~known) != 0 || flags == known)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "layout %u, coding %u, flags %x; this program reads layout %d; use a newer "
                       "entrollm",
                       version, p->coding, flags, EN_PAYLOAD_VERSION);
    if (p->n_bytes < EN_STRIP_HEADER_BYTES || n_header != EN_STRIP_HEADER_BYTES ||
        en_load32(p->bytes + 28) != 2)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "header of %u bytes and %u dimensions, expected %d, 2", n_header,
                       en_load32(p->bytes + 28), EN_STRIP_HEADER_BYTES);
    p->short_grids = (flags & EN_PAYLOAD_SHORT_GRIDS) != 0;
    p->coded->half_grids = flags != 0; /* short ones become f16 */
    p->coded->entropy = en_load_f64(p->bytes + 80);
    p->coded->huffman_bits = en_load_f64(p->bytes + 88);
    p->m->n_exceptions = en_load64(p->bytes + 120);
    EN_TRY(read_method(p, err));
    EN_TRY(read_shape(p, err));
    EN_TRY(read_classes_header(p, err));
    return read_parts(p, err);
}

/* ---- parts ------------------------------------------------------------------------------- */

/* Ends of classes rise, and the last one is the end of all. */
static entro_status read_ends(const uint8_t *at, uint32_t n, uint32_t all, uint32_t *ends,
                              const char *what, entro_error *err)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        ends[i] = en_load32(at + 4 * i);
        if (ends[i] <= last || (i + 1 == n ? ends[i] != all : ends[i] >= all))
            return en_fail(err, ENTRO_ERR_FORMAT, "class %u of %s ends at %u of %u, after %u", i,
                           what, ends[i], all, last);
        last = ends[i];
    }
    return ENTRO_OK;
}

static entro_status check_base(int32_t base, entro_error *err)
{
    if (base < -EN_STRIP_MAX_BASE || base > EN_STRIP_MAX_BASE)
        return en_fail(err, ENTRO_ERR_FORMAT, "has values from %d up", base);
    return ENTRO_OK;
}

static entro_status read_pair_tables(en_strip_matrix *m, uint32_t n, const uint8_t *at,
                                     entro_error *err)
{
    m->tables = en_alloc(n, sizeof *m->tables);
    if (m->tables == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < n; i++, at += EN_STRIP_CLASS_BYTES) {
        uint32_t mode = en_load32(at);
        if (mode >= EN_STRIP_MODE_COUNT)
            return en_fail(err, ENTRO_ERR_VERSION, "has mode %u; use a newer entrollm", mode);
        m->layouts[i] = (en_strip_layout){(en_strip_mode)mode, (int32_t)en_load32(at + 4)};
        EN_TRY(check_base(m->layouts[i].base, err));
        EN_TRY(en_pair_table_load(&m->tables[i], at + 8, err));
    }
    return ENTRO_OK;
}

/* Frequencies are as many bytes as they are. */
static entro_status read_frequencies(en_strip_matrix *m, uint32_t n, const uint8_t *at,
                                     size_t n_bytes, entro_error *err)
{
    m->rans = en_alloc(n, sizeof *m->rans);
    if (m->rans == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        size_t n_used;
        EN_TRY(en_rans_code_load(&m->rans[i], at, n_bytes, &n_used, err));
        m->layouts[i] = (en_strip_layout){EN_STRIP_BYTES, m->rans[i].base};
        EN_TRY(check_base(m->layouts[i].base, err));
        at += n_used;
        n_bytes -= n_used;
    }
    if (n_bytes > 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "has %zu bytes behind its frequencies", n_bytes);
    return ENTRO_OK;
}

static entro_status read_classes(parser *p, entro_error *err)
{
    en_strip_matrix *m = p->m;
    const uint8_t *at = part(p, EN_STRIP_CLASSES);
    uint32_t n = m->n_row_classes * m->n_col_classes;
    size_t n_ends = 4 * ((size_t)m->n_row_classes + m->n_col_classes);
    size_t n_bytes = (size_t)p->parts[EN_STRIP_CLASSES].n_bytes;
    if (n_bytes < n_ends)
        return en_fail(err, ENTRO_ERR_FORMAT, "its classes take %zu bytes, expected %zu and more",
                       n_bytes, n_ends);
    EN_TRY(read_ends(at, m->n_row_classes, m->n_strips, m->row_class_end, "rows", err));
    EN_TRY(read_ends(at + 4 * m->n_row_classes, m->n_col_classes, m->n_units, m->col_class_end,
                     "columns", err));
    if (p->coding == EN_CODING_RANS)
        EN_TRY(read_frequencies(m, n, at + n_ends, n_bytes - n_ends, err));
    else
        EN_TRY(read_pair_tables(m, n, at + n_ends, err));
    if (m->n_chunks != en_strip_count_chunks(m))
        return en_fail(err, ENTRO_ERR_FORMAT, "has %u chunks, expected %u", m->n_chunks,
                       en_strip_count_chunks(m));
    return ENTRO_OK;
}

/* From the classes of all rows or columns to their order; a class must have as many as its runs of
 * 'unit' say. */
static entro_status read_order(uint32_t **order, const uint8_t *classes, uint64_t n,
                               const uint32_t *ends, uint32_t n_classes, uint32_t unit,
                               const char *what, entro_error *err)
{
    uint64_t next[16], end[16];
    if (classes == NULL)
        return ENTRO_OK;
    for (uint32_t c = 0; c < n_classes; c++) {
        next[c] = c > 0 ? (uint64_t)ends[c - 1] * unit : 0;
        end[c] = c + 1 < n_classes ? (uint64_t)ends[c] * unit : n;
    }
    if (n % 2 != 0 && classes[n / 2] >> 4 != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "has a class for more than its %llu %s", ULL(n),
                       what);
    *order = en_alloc(n, sizeof **order);
    if (*order == NULL)
        return en_fail_memory(err);
    for (uint64_t i = 0; i < n; i++) {
        unsigned c = classes[i / 2] >> i % 2 * 4 & 15;
        if (c >= n_classes || next[c] == end[c])
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "class %u of its %s, of %u, has more than there is room for", c, what,
                           n_classes);
        (*order)[next[c]++] = (uint32_t)i;
    }
    return ENTRO_OK;
}

static entro_status check_floats(const parser *p, entro_error *err)
{
    const en_coded *c = p->coded;
    if (!(c->entropy >= 0 && c->entropy <= 32) || !(c->huffman_bits >= 0 && c->huffman_bits <= 32))
        return en_fail(err, ENTRO_ERR_FORMAT, "says its entropy is %g and its Huffman rate %g bits",
                       c->entropy, c->huffman_bits);
    for (uint64_t i = 0; i < c->n_grids; i++) {
        float step, offset;
        en_coded_grid(c, i, &step, &offset);
        if (!isfinite(step) || !isfinite(offset))
            return en_fail(err, ENTRO_ERR_FORMAT, "grid %llu is not finite", ULL(i));
    }
    for (uint64_t i = 0; p->m->col_scales != NULL && i < c->n_cols; i++)
        if (!isfinite(en_half_to_f32(en_load16(p->m->col_scales + 2 * i))))
            return en_fail(err, ENTRO_ERR_FORMAT, "the scale of column %llu is not finite", ULL(i));
    return ENTRO_OK;
}

/* Streams follow each other; words begin with those of all lanes; raw bits are as many as needed. */
static entro_status check_index(const parser *p, entro_error *err)
{
    const en_strip_matrix *m = p->m;
    uint64_t last[3] = {0};
    uint64_t least = p->coding == EN_CODING_RANS ? EN_RANS_START_BYTES : 2 * EN_STRIP_START_WORDS;
    for (uint32_t i = 0; i <= m->n_chunks; i++) {
        const uint8_t *at = m->index + 24 * (size_t)i;
        uint64_t words = en_load64(at), raw = en_load64(at + 8), list = en_load64(at + 16);
        uint64_t n_words = words - last[0], n_raw = 0;
        if (i > 0) {
            en_strip_chunk c = en_strip_chunk_at(m, i - 1);
            n_raw = c.n_strips * en_strip_raw_bytes(m, c.row_class);
        }
        if (words < last[0] || list < last[2] || raw != last[1] + n_raw ||
            (i == 0 ? words != 0 || list != 0 : n_words < least) || n_words % 2 != 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "the index is wrong at chunk %u", i);
        last[0] = words;
        last[1] = raw;
        last[2] = list;
    }
    if (last[0] != p->parts[EN_STRIP_WORDS].n_bytes || last[1] != p->parts[EN_STRIP_RAW].n_bytes ||
        last[2] != p->parts[EN_STRIP_EXCEPTIONS].n_bytes)
        return en_fail(err, ENTRO_ERR_FORMAT, "the index does not end where its streams do");
    return ENTRO_OK;
}

/* Short numbers as f16, to 'out'. */
static entro_status expand_short(const uint8_t *from, uint64_t n, uint8_t *out, entro_error *err)
{
    int32_t exponent = (int32_t)en_load32(from);
    if (exponent < EN_SHORT_MIN_EXPONENT || exponent > EN_SHORT_MAX_EXPONENT)
        return en_fail(err, ENTRO_ERR_FORMAT, "has grids of exponent %d, expected %d to %d",
                       (int)exponent, EN_SHORT_MIN_EXPONENT, EN_SHORT_MAX_EXPONENT);
    for (uint64_t i = 0; i < n; i++)
        en_store16(out + 2 * i, en_short_to_half(from[EN_STRIP_SHORT_HEAD + i], exponent));
    return ENTRO_OK;
}

static entro_status read_short_grids(parser *p, entro_error *err)
{
    en_strip_matrix *m = p->m;
    const uint8_t *scales = part(p, EN_STRIP_COL_SCALES);
    m->own_grids = en_alloc((size_t)(p->coded->n_grids + m->n_cols), 2);
    if (m->own_grids == NULL)
        return en_fail_memory(err);
    p->coded->steps = m->own_grids;
    EN_TRY(expand_short(part(p, EN_STRIP_STEPS), p->coded->n_grids, m->own_grids, err));
    if (scales == NULL)
        return ENTRO_OK;
    uint8_t *own = m->own_grids + 2 * p->coded->n_grids;
    m->col_scales = own;
    return expand_short(scales, m->n_cols, own, err);
}

static entro_status read_grids(parser *p, entro_error *err)
{
    if (p->short_grids)
        return read_short_grids(p, err);
    p->coded->steps = part(p, EN_STRIP_STEPS);
    p->coded->offsets = part(p, EN_STRIP_OFFSETS);
    p->m->col_scales = part(p, EN_STRIP_COL_SCALES);
    return ENTRO_OK;
}

static entro_status read_all(parser *p, entro_error *err)
{
    en_strip_matrix *m = p->m;
    EN_TRY(read_header(p, err));
    EN_TRY(read_grids(p, err));
    m->index = part(p, EN_STRIP_INDEX);
    m->raw = p->bytes + p->parts[EN_STRIP_RAW].offset;
    m->words = p->bytes + p->parts[EN_STRIP_WORDS].offset;
    m->exceptions = p->bytes + p->parts[EN_STRIP_EXCEPTIONS].offset;
    p->coded->n_segment_bytes = p->parts[EN_STRIP_RAW].n_bytes + p->parts[EN_STRIP_WORDS].n_bytes +
                                p->parts[EN_STRIP_EXCEPTIONS].n_bytes;
    p->coded->n_side_bytes = p->n_bytes - p->coded->n_segment_bytes;
    EN_TRY(read_classes(p, err));
    EN_TRY(read_order(&m->col_order, part(p, EN_STRIP_COL_ORDER), m->n_cols, m->col_class_end,
                      m->n_col_classes, EN_UNIT_COLS, "columns", err));
    EN_TRY(read_order(&m->row_order, part(p, EN_STRIP_ROW_ORDER), m->n_rows, m->row_class_end,
                      m->n_row_classes, EN_STRIP_ROWS, "rows", err));
    EN_TRY(check_floats(p, err));
    return check_index(p, err);
}

bool en_strip_payload_is(const uint8_t *bytes, size_t n_bytes)
{
    uint32_t coding = en_payload_is(bytes, n_bytes) ? en_load32(bytes + 16) : 0;
    return coding == EN_CODING_STRIPS || coding == EN_CODING_RANS;
}

entro_status en_strip_payload_parse(en_coded *coded, en_strip_matrix **matrix, const uint8_t *bytes,
                                    size_t n_bytes, entro_error *err)
{
    *matrix = NULL;
    *coded = (en_coded){0};
    if (n_bytes < EN_PAYLOAD_HEADER_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT, "does not start like a coded tensor");
    if ((uintptr_t)bytes % EN_PAYLOAD_ALIGN != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "is not aligned to %d bytes", EN_PAYLOAD_ALIGN);
    parser p = {.bytes = bytes, .n_bytes = n_bytes, .coded = coded};
    p.m = en_alloc_zero(1, sizeof *p.m);
    if (p.m == NULL)
        return en_fail_memory(err);
    entro_status status = read_all(&p, err);
    if (status != ENTRO_OK) {
        en_strip_matrix_free(p.m);
        return status;
    }
    *matrix = p.m;
    coded->strips = p.m;
    return ENTRO_OK;
}

void en_strip_matrix_free(en_strip_matrix *matrix)
{
    if (matrix == NULL)
        return;
    en_free(matrix->tables);
    en_free(matrix->rans);
    en_free(matrix->own_grids);
    en_free(matrix->col_order);
    en_free(matrix->row_order);
    en_free(matrix);
}
