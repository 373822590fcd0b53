/* payload_write.c - plans the parts of a coded tensor and stores its header; see payload.h. */
#include "container/payload.h"

#include <string.h>

void en_payload_plan(en_payload *p, const en_quant_method *method, uint64_t n_rows, uint64_t n_cols)
{
    *p = (en_payload){.method = method, .n_rows = n_rows, .n_cols = n_cols};
    uint64_t rows =
        (method->bits == 8 ? EN_PAYLOAD_SEGMENT_SYMBOLS_8 : EN_PAYLOAD_SEGMENT_SYMBOLS_4) / n_cols;
    rows = rows < 1 ? 1 : rows > n_rows ? n_rows : rows;
    p->rows_per_segment = (uint32_t)rows;
    p->n_segments = (uint32_t)((n_rows + rows - 1) / rows);
    p->n_grids = method->per_row ? n_rows : 1;
}

void en_payload_layout(en_payload *p, size_t n_table_bytes)
{
    uint64_t n_bytes[EN_PART_COUNT] = {
        [EN_PART_STEPS] = en_payload_grid_bytes(p),
        [EN_PART_OFFSETS] = en_payload_grid_bytes(p),
        [EN_PART_TABLE] = n_table_bytes,
        [EN_PART_INDEX] = ((uint64_t)p->n_segments + 1) * 8,
    };
    uint64_t offset = EN_PAYLOAD_HEADER_BYTES;
    for (int i = 0; i < EN_PART_COUNT; i++) {
        p->parts[i] = (en_payload_part){.offset = offset, .n_bytes = n_bytes[i]};
        offset = en_payload_align_up(offset + n_bytes[i], EN_PAYLOAD_PART_ALIGN);
    }
    p->model_table = n_table_bytes == 0;
}

uint64_t en_payload_total_bytes(const en_payload *p, uint64_t n_segment_bytes)
{
    return en_payload_align_up(p->parts[EN_PART_SEGMENTS].offset + n_segment_bytes + EN_CODE_IN_PAD,
                               EN_PAYLOAD_ALIGN);
}

void en_payload_store_header(const en_payload *p, uint8_t out[EN_PAYLOAD_HEADER_BYTES])
{
    uint32_t flags = p->model_table ? EN_PAYLOAD_MODEL_TABLE : 0;
    flags |= p->half_grids ? EN_PAYLOAD_HALF_GRIDS : 0;
    memset(out, 0, EN_PAYLOAD_HEADER_BYTES);
    en_payload_store_front(out, &(en_payload_front){.n_header_bytes = EN_PAYLOAD_HEADER_BYTES,
                                                    .coding = EN_CODING_HUFFMAN,
                                                    .flags = flags,
                                                    .kind = p->method->bits,
                                                    .n_rows = p->n_rows,
                                                    .n_cols = p->n_cols,
                                                    .n_grids = p->n_grids,
                                                    .rows_per_segment = p->rows_per_segment,
                                                    .n_segments = p->n_segments,
                                                    .entropy = p->entropy,
                                                    .huffman_bits = p->huffman_bits,
                                                    .method = p->method->name});
    en_payload_store_parts(out + 112, p->parts, EN_PART_COUNT);
}
