/*
 * planes_read.c - checks the payload of a matrix in coding 3 before anyone decodes it.
 *
 * After it has been accepted, raw planes hold a byte for each weight, every segment's streams and the
 * padding behind them lie inside, and no segment holds more than EN_PAYLOAD_MAX_SEGMENT numbers; so
 * a decoder needs no further checks than those of en_code_decode().
 */
#include "container/planes_payload.h"

#include <string.h>

#include "base/memory.h"

#define ULL(x) ((unsigned long long)(x))

bool en_planes_payload_is(const uint8_t *bytes, size_t n_bytes)
{
    return n_bytes >= EN_PLANES_HEADER_BYTES && memcmp(bytes, EN_PAYLOAD_MAGIC, 8) == 0 &&
           en_load32(bytes + 16) == EN_CODING_PLANES;
}

void en_planes_free(en_planes *planes)
{
    if (planes == NULL)
        return;
    for (int i = 0; i < EN_MAX_PLANES; i++)
        en_code_free(planes->codes[i]);
    en_free(planes);
}

/* ---- header ------------------------------------------------------------------------------ */

static entro_status check_fixed(const uint8_t *bytes, entro_error *err)
{
    uint32_t version = en_load32(bytes + 8), n_header = en_load32(bytes + 12);
    uint32_t flags = en_load32(bytes + 20), n_dims = en_load32(bytes + 28);
    if (version != EN_PAYLOAD_VERSION || flags != 0)
        return en_fail(
            err, ENTRO_ERR_VERSION,
            "layout %u, coding %d, flags %x; this program reads layout %d, no flags; use "
            "a newer entrollm",
            version, EN_CODING_PLANES, flags, EN_PAYLOAD_VERSION);
    if (n_header != EN_PLANES_HEADER_BYTES || n_dims != 2 || en_load64(bytes + 48) != 1 ||
        en_load64(bytes + 56) != 1 || en_load64(bytes + 72) != 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "header of %u bytes, %u dimensions and %llu grids, expected %d, 2 and 0",
                       n_header, n_dims, ULL(en_load64(bytes + 72)), EN_PLANES_HEADER_BYTES);
    if (memcmp(bytes + 96, EN_LOSSLESS "\0\0\0\0\0\0\0\0", 16) != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "is in coding %d, but not of method " EN_LOSSLESS,
                       EN_CODING_PLANES);
    return ENTRO_OK;
}

static entro_status read_shape(en_planes_plan *p, const uint8_t *bytes, entro_error *err)
{
    p->dtype = en_load32(bytes + 24);
    p->n_planes = en_planes_of_dtype(p->dtype);
    p->n_cols = en_load64(bytes + 32);
    p->n_rows = en_load64(bytes + 40);
    p->rows_per_segment = en_load32(bytes + 64);
    p->n_segments = en_load32(bytes + 68);
    p->entropy = en_load_f64(bytes + 80);
    p->huffman_bits = en_load_f64(bytes + 88);
    if (p->n_planes == 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "holds numbers of type %u, expected F32, F16, BF16 or bytes", p->dtype);
    EN_TRY(
        en_payload_check_segments(p->n_rows, p->n_cols, p->rows_per_segment, p->n_segments, err));
    double most = 8.0 * p->n_planes;
    if (!(p->entropy >= 0 && p->entropy <= most) ||
        !(p->huffman_bits >= 0 && p->huffman_bits <= most))
        return en_fail(err, ENTRO_ERR_FORMAT, "says its entropy is %g and its Huffman rate %g bits",
                       p->entropy, p->huffman_bits);
    return ENTRO_OK;
}

/* ---- parts ------------------------------------------------------------------------------- */

/* Parts follow each other, aligned, and the padding after the last is inside. */
static entro_status check_places(const en_planes_plan *p, size_t n_bytes, entro_error *err)
{
    uint64_t end = EN_PLANES_HEADER_BYTES;
    for (int i = 0; i < EN_PLANES_PART_COUNT; i++)
        EN_TRY(en_payload_check_part(&p->parts[i], i, EN_PAYLOAD_PART_ALIGN, n_bytes, &end, err));
    if (n_bytes - end < EN_CODE_IN_PAD)
        return en_fail(err, ENTRO_ERR_FORMAT, "ends %llu bytes after its streams, expected %d",
                       ULL(n_bytes - end), EN_CODE_IN_PAD);
    return ENTRO_OK;
}

static entro_status check_lengths(const en_planes_plan *p, entro_error *err)
{
    for (uint32_t i = p->n_planes; i < EN_MAX_PLANES; i++)
        if (p->parts[EN_PLANES_TABLES + i].n_bytes != 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "has a table for plane %u of %u", i, p->n_planes);
    uint64_t n_index = ((uint64_t)p->n_segments * p->n_coded + 1) * 8;
    uint64_t n_raw = p->n_rows * p->n_cols * p->n_raw; /* at most 2^46 */
    if (p->parts[EN_PLANES_INDEX].n_bytes != n_index || p->parts[EN_PLANES_RAW].n_bytes != n_raw)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "index of %llu bytes and raw planes of %llu, expected %llu and %llu",
                       ULL(p->parts[EN_PLANES_INDEX].n_bytes), ULL(p->parts[EN_PLANES_RAW].n_bytes),
                       ULL(n_index), ULL(n_raw));
    return ENTRO_OK;
}

static entro_status read_parts(en_planes_plan *p, const uint8_t *bytes, size_t n_bytes,
                               entro_error *err)
{
    en_payload_load_parts(p->parts, EN_PLANES_PART_COUNT, bytes + 112);
    for (uint32_t i = 0; i < p->n_planes; i++)
        p->n_coded += p->parts[EN_PLANES_TABLES + i].n_bytes > 0;
    p->n_raw = p->n_planes - p->n_coded;
    EN_TRY(check_places(p, n_bytes, err));
    return check_lengths(p, err);
}

static entro_status check_index(const en_planes_plan *p, const uint8_t *index, entro_error *err)
{
    uint64_t last = 0, n = (uint64_t)p->n_segments * p->n_coded;
    for (uint64_t i = 0; i <= n; i++) {
        uint64_t start = en_load64(index + 8 * i);
        if (start < last || (i == 0 && start != 0))
            return en_fail(err, ENTRO_ERR_FORMAT, "stream %llu starts at byte %llu, before %llu",
                           ULL(i), ULL(start), ULL(last));
        last = start;
    }
    if (last != p->parts[EN_PLANES_STREAMS].n_bytes)
        return en_fail(err, ENTRO_ERR_FORMAT, "streams end at byte %llu, expected %llu", ULL(last),
                       ULL(p->parts[EN_PLANES_STREAMS].n_bytes));
    return ENTRO_OK;
}

/* ---- all of it --------------------------------------------------------------------------- */

static entro_status load_planes(en_planes *m, const en_planes_plan *p, const uint8_t *bytes,
                                entro_error *err)
{
    const uint8_t *raw = bytes + p->parts[EN_PLANES_RAW].offset;
    for (uint32_t i = 0; i < p->n_planes; i++) {
        const en_payload_part *table = &p->parts[EN_PLANES_TABLES + i];
        if (table->n_bytes > 0) {
            EN_TRY(en_code_load(&m->codes[i], 256, bytes + table->offset, (size_t)table->n_bytes,
                                err));
        } else {
            m->raw[i] = raw;
            raw += p->n_rows * p->n_cols;
        }
    }
    return ENTRO_OK;
}

static entro_status make_planes(en_planes **out, const en_planes_plan *p, const uint8_t *bytes,
                                entro_error *err)
{
    en_planes *m = en_alloc_zero(1, sizeof *m);
    if (m == NULL)
        return en_fail_memory(err);
    m->dtype = p->dtype;
    m->n_planes = p->n_planes;
    m->n_coded = p->n_coded;
    m->n_rows = p->n_rows;
    m->n_cols = p->n_cols;
    m->rows_per_segment = p->rows_per_segment;
    m->n_segments = p->n_segments;
    m->index = bytes + p->parts[EN_PLANES_INDEX].offset;
    m->streams = bytes + p->parts[EN_PLANES_STREAMS].offset;
    entro_status status = load_planes(m, p, bytes, err);
    if (status == ENTRO_OK)
        *out = m;
    else
        en_planes_free(m);
    return status;
}

entro_status en_planes_payload_parse(en_coded *coded, en_planes **planes, const uint8_t *bytes,
                                     size_t n_bytes, entro_error *err)
{
    en_planes_plan p = {0};
    *planes = NULL;
    if (!en_planes_payload_is(bytes, n_bytes))
        return en_fail(err, ENTRO_ERR_FORMAT, "does not start like a tensor in coding %d",
                       EN_CODING_PLANES);
    if ((uintptr_t)bytes % EN_PAYLOAD_ALIGN != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "is not aligned to %d bytes", EN_PAYLOAD_ALIGN);
    EN_TRY(check_fixed(bytes, err));
    EN_TRY(read_shape(&p, bytes, err));
    EN_TRY(read_parts(&p, bytes, n_bytes, err));
    EN_TRY(check_index(&p, bytes + p.parts[EN_PLANES_INDEX].offset, err));
    EN_TRY(make_planes(planes, &p, bytes, err));
    uint64_t n_data = p.parts[EN_PLANES_RAW].n_bytes + p.parts[EN_PLANES_STREAMS].n_bytes;
    *coded = (en_coded){
        .method = en_quant_method_find(EN_LOSSLESS),
        .n_rows = p.n_rows,
        .n_cols = p.n_cols,
        .n_segments = p.n_segments,
        .rows_per_segment = p.rows_per_segment,
        .planes = *planes,
        .n_segment_bytes = n_data,
        .n_side_bytes = n_bytes - n_data,
        .entropy = p.entropy,
        .huffman_bits = p.huffman_bits,
    };
    return ENTRO_OK;
}
