/*
 * payload_read.c - checks the bytes of a coded tensor before anyone decodes them.
 *
 * After en_payload_parse() has accepted a payload, every segment's bytes and the padding behind it
 * lie inside, and no segment holds more than EN_PAYLOAD_MAX_SEGMENT symbols; so a decoder needs
 * no further checks than those of en_code_decode().
 */
#include "container/payload.h"

#include <math.h>
#include <string.h>

#define ULL(x) ((unsigned long long)(x))

bool en_payload_is(const uint8_t *bytes, size_t n_bytes)
{
    return n_bytes >= EN_PAYLOAD_HEADER_BYTES && memcmp(bytes, EN_PAYLOAD_MAGIC, 8) == 0;
}

static entro_status read_method(en_payload *p, const uint8_t name[16], uint32_t bits,
                                entro_error *err)
{
    if (name[15] != '\0')
        return en_fail(err, ENTRO_ERR_FORMAT, "the method's name is not terminated");
    p->method = en_quant_method_find((const char *)name);
    if (p->method == NULL)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "is quantized by a method this program does not know; use a newer entrollm");
    if (p->method->bits == 0) /* rtn, lossless */
        return en_fail(err, ENTRO_ERR_FORMAT, "is of method %s, which coding 1 cannot hold",
                       p->method->name);
    if (p->method->bits != bits)
        return en_fail(err, ENTRO_ERR_FORMAT, "says %u-bit codes, but method %s has %u bits", bits,
                       p->method->name, p->method->bits);
    return ENTRO_OK;
}

static entro_status check_shape(const en_payload *p, entro_error *err)
{
    EN_TRY(
        en_payload_check_segments(p->n_rows, p->n_cols, p->rows_per_segment, p->n_segments, err));
    uint64_t n_grids = p->method->per_row ? p->n_rows : 1;
    if (p->n_grids != n_grids)
        return en_fail(err, ENTRO_ERR_FORMAT, "has %llu grids, expected %llu for %s",
                       ULL(p->n_grids), ULL(n_grids), p->method->name);
    return ENTRO_OK;
}

/* Parts follow each other, aligned, and the padding after the last is inside. */
static entro_status check_parts(const en_payload *p, size_t n_bytes, entro_error *err)
{
    uint64_t expected[EN_PART_COUNT] = {
        [EN_PART_STEPS] = en_payload_grid_bytes(p),
        [EN_PART_OFFSETS] = en_payload_grid_bytes(p),
        [EN_PART_INDEX] = ((uint64_t)p->n_segments + 1) * 8,
    };
    uint64_t end = EN_PAYLOAD_HEADER_BYTES;
    for (int i = 0; i < EN_PART_COUNT; i++) {
        const en_payload_part *part = &p->parts[i];
        EN_TRY(en_payload_check_part(part, i, EN_PAYLOAD_PART_ALIGN, n_bytes, &end, err));
        if (i != EN_PART_TABLE && i != EN_PART_SEGMENTS && part->n_bytes != expected[i])
            return en_fail(err, ENTRO_ERR_FORMAT, "part %d has %llu bytes, expected %llu", i,
                           ULL(part->n_bytes), ULL(expected[i]));
    }
    if (p->model_table != (p->parts[EN_PART_TABLE].n_bytes == 0))
        return en_fail(err, ENTRO_ERR_FORMAT, "has %s",
                       p->model_table ? "a code table beside the model's" : "no code table");
    if (n_bytes - end < EN_CODE_IN_PAD)
        return en_fail(err, ENTRO_ERR_FORMAT, "ends %llu bytes after its segments, expected %d",
                       ULL(n_bytes - end), EN_CODE_IN_PAD);
    return ENTRO_OK;
}

static entro_status read_header(en_payload *p, const uint8_t *bytes, size_t n_bytes,
                                entro_error *err)
{
    if (!en_payload_is(bytes, n_bytes))
        return en_fail(err, ENTRO_ERR_FORMAT, "does not start like a coded tensor");
    uint32_t version = en_load32(bytes + 8), n_header = en_load32(bytes + 12);
    uint32_t coding = en_load32(bytes + 16), flags = en_load32(bytes + 20);
    uint32_t bits = en_load32(bytes + 24), n_dims = en_load32(bytes + 28);
    if (version != EN_PAYLOAD_VERSION || coding != EN_CODING_HUFFMAN ||
        (flags & ~(uint32_t)(EN_PAYLOAD_MODEL_TABLE | EN_PAYLOAD_HALF_GRIDS)) != 0)
        return en_fail(
            err, ENTRO_ERR_VERSION,
            "layout %u, coding %u, flags %x; this program reads layout %d, coding %d; use "
            "a newer entrollm",
            version, coding, flags, EN_PAYLOAD_VERSION, EN_CODING_HUFFMAN);
    if (n_header != EN_PAYLOAD_HEADER_BYTES || n_dims != 2 || en_load64(bytes + 48) != 1 ||
        en_load64(bytes + 56) != 1)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "header of %u bytes and %u dimensions, expected %d, 2", n_header, n_dims,
                       EN_PAYLOAD_HEADER_BYTES);
    p->model_table = (flags & EN_PAYLOAD_MODEL_TABLE) != 0;
    p->half_grids = (flags & EN_PAYLOAD_HALF_GRIDS) != 0;
    p->n_cols = en_load64(bytes + 32);
    p->n_rows = en_load64(bytes + 40);
    p->rows_per_segment = en_load32(bytes + 64);
    p->n_segments = en_load32(bytes + 68);
    p->n_grids = en_load64(bytes + 72);
    memcpy(&p->entropy, bytes + 80, 8);
    memcpy(&p->huffman_bits, bytes + 88, 8);
    en_payload_load_parts(p->parts, EN_PART_COUNT, bytes + 112);
    EN_TRY(read_method(p, bytes + 96, bits, err));
    EN_TRY(check_shape(p, err));
    return check_parts(p, n_bytes, err);
}

static entro_status check_index(const en_payload *p, const uint8_t *index, entro_error *err)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i <= p->n_segments; i++) {
        uint64_t start = en_load64(index + (size_t)i * 8);
        if (start < last || (i == 0 && start != 0))
            return en_fail(err, ENTRO_ERR_FORMAT, "segment %u starts at byte %llu, before %llu", i,
                           ULL(start), ULL(last));
        last = start;
    }
    if (last != p->parts[EN_PART_SEGMENTS].n_bytes)
        return en_fail(err, ENTRO_ERR_FORMAT, "segments end at byte %llu, expected %llu", ULL(last),
                       ULL(p->parts[EN_PART_SEGMENTS].n_bytes));
    return ENTRO_OK;
}

static entro_status check_numbers(const en_coded *coded, entro_error *err)
{
    if (!(coded->entropy >= 0 && coded->entropy <= 8) ||
        !(coded->huffman_bits >= 0 && coded->huffman_bits <= 8))
        return en_fail(err, ENTRO_ERR_FORMAT, "says its entropy is %g and its Huffman rate %g bits",
                       coded->entropy, coded->huffman_bits);
    for (uint64_t i = 0; i < coded->n_grids; i++) {
        float step, offset;
        en_coded_grid(coded, i, &step, &offset);
        if (!isfinite(step) || !isfinite(offset))
            return en_fail(err, ENTRO_ERR_FORMAT, "grid %llu is not finite", ULL(i));
    }
    return ENTRO_OK;
}

entro_status en_payload_parse(en_coded *coded, en_code **own_code, const uint8_t *bytes,
                              size_t n_bytes, const en_model_codes *model, entro_error *err)
{
    en_payload p = {0};
    *own_code = NULL;
    EN_TRY(read_header(&p, bytes, n_bytes, err));
    if ((uintptr_t)bytes % EN_PAYLOAD_ALIGN != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "is not aligned to %d bytes", EN_PAYLOAD_ALIGN);
    const en_payload_part *parts = p.parts;
    *coded = (en_coded){
        .method = p.method,
        .model_table = p.model_table,
        .n_rows = p.n_rows,
        .n_cols = p.n_cols,
        .n_segments = p.n_segments,
        .rows_per_segment = p.rows_per_segment,
        .steps = bytes + parts[EN_PART_STEPS].offset,
        .offsets = bytes + parts[EN_PART_OFFSETS].offset,
        .half_grids = p.half_grids,
        .n_grids = p.n_grids,
        .index = bytes + parts[EN_PART_INDEX].offset,
        .segments = bytes + parts[EN_PART_SEGMENTS].offset,
        .n_segment_bytes = parts[EN_PART_SEGMENTS].n_bytes,
        .n_side_bytes = n_bytes - parts[EN_PART_SEGMENTS].n_bytes,
        .entropy = p.entropy,
        .huffman_bits = p.huffman_bits,
    };
    EN_TRY(check_index(&p, coded->index, err));
    EN_TRY(check_numbers(coded, err));
    if (p.model_table) {
        coded->code = model->code[en_model_codes_slot(p.method->bits)];
        if (coded->code == NULL)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "uses the shared code table, but the file has no "
                           "tensor %s",
                           en_model_table_name(p.method->bits));
        return ENTRO_OK;
    }
    EN_TRY(en_code_load(own_code, 1u << p.method->bits, bytes + parts[EN_PART_TABLE].offset,
                        (size_t)parts[EN_PART_TABLE].n_bytes, err));
    coded->code = *own_code;
    return ENTRO_OK;
}

bool en_coded_decode_segment(const en_coded *m, uint32_t segment, uint8_t *codes)
{
    uint64_t start = en_load64(m->index + (size_t)segment * 8);
    uint64_t end = en_load64(m->index + (size_t)segment * 8 + 8);
    return en_code_decode(m->code, m->segments + start, (size_t)(end - start), codes,
                          (size_t)(en_coded_segment_rows(m, segment) * m->n_cols));
}
