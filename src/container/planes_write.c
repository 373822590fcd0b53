/* planes_write.c - plans the parts of a matrix in coding 3 and stores its header. */
#include "container/planes_payload.h"

#include <string.h>

void en_planes_payload_plan(en_planes_plan *p, uint32_t dtype, uint64_t n_rows, uint64_t n_cols)
{
    *p = (en_planes_plan){.dtype = dtype, .n_rows = n_rows, .n_cols = n_cols};
    p->n_planes = en_planes_of_dtype(dtype);
    uint64_t rows = EN_PAYLOAD_SEGMENT_SYMBOLS_8 / n_cols;
    rows = rows < 1 ? 1 : rows > n_rows ? n_rows : rows;
    p->rows_per_segment = (uint32_t)rows;
    p->n_segments = (uint32_t)((n_rows + rows - 1) / rows);
}

void en_planes_payload_layout(en_planes_plan *p, const size_t n_table_bytes[EN_MAX_PLANES])
{
    uint64_t n_bytes[EN_PLANES_PART_COUNT] = {0};
    p->n_coded = 0;
    for (uint32_t i = 0; i < p->n_planes; i++) {
        n_bytes[EN_PLANES_TABLES + i] = n_table_bytes[i];
        p->n_coded += n_table_bytes[i] > 0;
    }
    p->n_raw = p->n_planes - p->n_coded;
    n_bytes[EN_PLANES_INDEX] = ((uint64_t)p->n_segments * p->n_coded + 1) * 8;
    n_bytes[EN_PLANES_RAW] = p->n_rows * p->n_cols * p->n_raw;
    uint64_t offset = EN_PLANES_HEADER_BYTES;
    for (int i = 0; i < EN_PLANES_PART_COUNT; i++) {
        p->parts[i] = (en_payload_part){.offset = offset, .n_bytes = n_bytes[i]};
        offset = en_payload_align_up(offset + n_bytes[i], EN_PAYLOAD_PART_ALIGN);
    }
}

uint64_t en_planes_payload_total_bytes(const en_planes_plan *p, uint64_t n_stream_bytes)
{
    return en_payload_align_up(p->parts[EN_PLANES_STREAMS].offset + n_stream_bytes + EN_CODE_IN_PAD,
                               EN_PAYLOAD_ALIGN);
}

void en_planes_payload_store_header(const en_planes_plan *p, uint8_t out[EN_PLANES_HEADER_BYTES])
{
    memset(out, 0, EN_PLANES_HEADER_BYTES);
    en_payload_store_front(out, &(en_payload_front){.n_header_bytes = EN_PLANES_HEADER_BYTES,
                                                    .coding = EN_CODING_PLANES,
                                                    .kind = p->dtype,
                                                    .n_rows = p->n_rows,
                                                    .n_cols = p->n_cols,
                                                    .rows_per_segment = p->rows_per_segment,
                                                    .n_segments = p->n_segments,
                                                    .entropy = p->entropy,
                                                    .huffman_bits = p->huffman_bits,
                                                    .method = EN_LOSSLESS});
    en_payload_store_parts(out + 112, p->parts, EN_PLANES_PART_COUNT);
}
