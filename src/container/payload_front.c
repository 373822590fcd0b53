/* payload_front.c - how the payloads of all codings begin and where their parts lie; see payload.h. */
#include "container/payload.h"

#include <string.h>

#define ULL(x) ((unsigned long long)(x))

/* ---- stored ------------------------------------------------------------------------------ */

void en_payload_store_front(uint8_t *header, const en_payload_front *front)
{
    memcpy(header, EN_PAYLOAD_MAGIC, 8);
    en_store32(header + 8, EN_PAYLOAD_VERSION);
    en_store32(header + 12, front->n_header_bytes);
    en_store32(header + 16, front->coding);
    en_store32(header + 20, front->flags);
    en_store32(header + 24, front->kind);
    en_store32(header + 28, 2);
    en_store64(header + 32, front->n_cols);
    en_store64(header + 40, front->n_rows);
    en_store64(header + 48, 1);
    en_store64(header + 56, 1);
    en_store32(header + 64, front->rows_per_segment);
    en_store32(header + 68, front->n_segments);
    en_store64(header + 72, front->n_grids);
    memcpy(header + 80, &front->entropy, 8);
    memcpy(header + 88, &front->huffman_bits, 8);
    memcpy(header + 96, front->method, strlen(front->method));
}

void en_payload_store_parts(uint8_t *out, const en_payload_part *parts, int n_parts)
{
    for (int i = 0; i < n_parts; i++) {
        en_store64(out + 16 * i, parts[i].offset);
        en_store64(out + 16 * i + 8, parts[i].n_bytes);
    }
}

void en_payload_load_parts(en_payload_part *parts, int n_parts, const uint8_t *from)
{
    for (int i = 0; i < n_parts; i++) {
        parts[i].offset = en_load64(from + 16 * i);
        parts[i].n_bytes = en_load64(from + 16 * i + 8);
    }
}

/* ---- checked ----------------------------------------------------------------------------- */

bool en_payload_fits(uint64_t n_rows, uint64_t n_cols)
{
    /* 2^44 weights: no size computed from them overflows, and segment numbers fit 32 bits. */
    return n_cols > 0 && n_cols <= EN_PAYLOAD_MAX_SEGMENT && n_rows > 0 && n_rows < UINT32_MAX &&
           n_rows <= (UINT64_C(1) << 44) / n_cols;
}

entro_status en_payload_check_segments(uint64_t n_rows, uint64_t n_cols, uint32_t rows_per_segment,
                                       uint32_t n_segments, entro_error *err)
{
    if (!en_payload_fits(n_rows, n_cols))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "has %llu rows of %llu columns, which is not possible", ULL(n_rows),
                       ULL(n_cols));
    if (rows_per_segment == 0 || rows_per_segment > n_rows ||
        rows_per_segment > EN_PAYLOAD_MAX_SEGMENT / n_cols)
        return en_fail(err, ENTRO_ERR_FORMAT, "has segments of %u rows of %llu columns",
                       rows_per_segment, ULL(n_cols));
    uint64_t expected = (n_rows + rows_per_segment - 1) / rows_per_segment;
    if (n_segments != expected)
        return en_fail(err, ENTRO_ERR_FORMAT, "has %u segments, expected %llu", n_segments,
                       ULL(expected));
    return ENTRO_OK;
}

entro_status en_payload_check_part(const en_payload_part *part, int i, unsigned align,
                                   size_t n_bytes, uint64_t *end, entro_error *err)
{
    if (part->offset < *end || part->offset % align != 0 || part->offset > n_bytes ||
        part->n_bytes > n_bytes - part->offset)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "part %d lies at byte %llu with %llu bytes, in a payload of %zu", i,
                       ULL(part->offset), ULL(part->n_bytes), n_bytes);
    *end = part->offset + part->n_bytes;
    return ENTRO_OK;
}
