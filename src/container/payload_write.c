/* payload_write.c - plans the parts of a coded tensor and stores its header; see payload.h. */
#include "container/payload.h"

#include <string.h>

static uint64_t align_up(uint64_t n, unsigned align)
{
    return (n + align - 1) / align * align;
}

bool en_payload_fits(uint64_t n_rows, uint64_t n_cols)
{
    /* 2^44 weights: no size computed from them overflows, and segment numbers fit 32 bits. */
    return n_cols > 0 && n_cols <= EN_PAYLOAD_MAX_SEGMENT && n_rows > 0 && n_rows < UINT32_MAX &&
           n_rows <= (UINT64_C(1) << 44) / n_cols;
}

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
        offset = align_up(offset + n_bytes[i], EN_PAYLOAD_PART_ALIGN);
    }
    p->model_table = n_table_bytes == 0;
}

uint64_t en_payload_total_bytes(const en_payload *p, uint64_t n_segment_bytes)
{
    return align_up(p->parts[EN_PART_SEGMENTS].offset + n_segment_bytes + EN_CODE_IN_PAD,
                    EN_PAYLOAD_ALIGN);
}

void en_payload_store_header(const en_payload *p, uint8_t out[EN_PAYLOAD_HEADER_BYTES])
{
    uint32_t flags = p->model_table ? EN_PAYLOAD_MODEL_TABLE : 0;
    flags |= p->half_grids ? EN_PAYLOAD_HALF_GRIDS : 0;
    memset(out, 0, EN_PAYLOAD_HEADER_BYTES);
    memcpy(out, EN_PAYLOAD_MAGIC, 8);
    en_store32(out + 8, EN_PAYLOAD_VERSION);
    en_store32(out + 12, EN_PAYLOAD_HEADER_BYTES);
    en_store32(out + 16, EN_CODING_HUFFMAN);
    en_store32(out + 20, flags);
    en_store32(out + 24, p->method->bits);
    en_store32(out + 28, 2);
    en_store64(out + 32, p->n_cols);
    en_store64(out + 40, p->n_rows);
    en_store64(out + 48, 1);
    en_store64(out + 56, 1);
    en_store32(out + 64, p->rows_per_segment);
    en_store32(out + 68, p->n_segments);
    en_store64(out + 72, p->n_grids);
    memcpy(out + 80, &p->entropy, 8);
    memcpy(out + 88, &p->huffman_bits, 8);
    memcpy(out + 96, p->method->name, strlen(p->method->name)); /* at most 15 of 16 bytes */
    for (int i = 0; i < EN_PART_COUNT; i++) {
        en_store64(out + 112 + 16 * i, p->parts[i].offset);
        en_store64(out + 120 + 16 * i, p->parts[i].n_bytes);
    }
}
