/*
 * payload.h - the bytes of one coded tensor; docs/format.md, "Coded tensors", is the contract.
 * Here those of coding 1, and what all codings have.
 *
 *   | header 192 | steps | offsets | code table | segment index | segments | >= 64 zeros |
 *
 * Every part starts at a multiple of 8, the payload itself at one of 64.  The code table is absent
 * when the tensor uses the model's.
 */
#ifndef EN_CONTAINER_PAYLOAD_H
#define EN_CONTAINER_PAYLOAD_H

#include "container/container.h"

#define EN_PAYLOAD_MAGIC "EntroTns"

enum {
    EN_PAYLOAD_VERSION = 1,
    EN_PAYLOAD_HEADER_BYTES = 192,
    EN_PAYLOAD_ALIGN = 64,            /* of the payload */
    EN_PAYLOAD_PART_ALIGN = 8,        /* of a part in it */
    EN_PAYLOAD_MAX_SEGMENT = 1 << 22, /* symbols; bounds what a decoder must allocate */
    /* What the encoder aims at: a decoded segment stays in L2, and its fixed bytes weigh little. */
    EN_PAYLOAD_SEGMENT_SYMBOLS_8 = 32768,
    EN_PAYLOAD_SEGMENT_SYMBOLS_4 = 65536,
    EN_CODING_HUFFMAN = 1,      /* words and tables of docs/coding.md */
    EN_PAYLOAD_MODEL_TABLE = 1, /* flag: the code is the model's */
    EN_PAYLOAD_HALF_GRIDS = 2,  /* flag: steps and offsets are f16, not f32 */
    EN_PAYLOAD_SHORT_GRIDS = 4  /* flag: steps and column scales are of tensor/short_float.h */
};

typedef enum en_payload_part_name {
    EN_PART_STEPS,
    EN_PART_OFFSETS,
    EN_PART_TABLE,
    EN_PART_INDEX,
    EN_PART_SEGMENTS,
    EN_PART_COUNT
} en_payload_part_name;

typedef struct en_payload_part {
    uint64_t offset; /* from the start of the payload */
    uint64_t n_bytes;
} en_payload_part;

/* The header as numbers. */
typedef struct en_payload {
    const en_quant_method *method;
    bool model_table, half_grids;
    uint64_t n_rows, n_cols, n_grids;
    uint32_t rows_per_segment, n_segments;
    double entropy, huffman_bits;
    en_payload_part parts[EN_PART_COUNT];
} en_payload;

/* ---- what payloads of all codings have --------------------------------------------------- */

/* The first 112 bytes of a header as numbers. */
typedef struct en_payload_front {
    uint32_t n_header_bytes, coding, flags;
    uint32_t kind; /* bits of a code, or the type of what is coded */
    uint64_t n_rows, n_cols, n_grids;
    uint32_t rows_per_segment, n_segments; /* or strips a chunk, and chunks */
    double entropy, huffman_bits;
    const char *method; /* at most 15 bytes */
} en_payload_front;

/* Into a header of zeros. */
void en_payload_store_front(uint8_t *header, const en_payload_front *front);
/* Where parts lie, 16 bytes each. */
void en_payload_store_parts(uint8_t *out, const en_payload_part *parts, int n_parts);
void en_payload_load_parts(en_payload_part *parts, int n_parts, const uint8_t *from);

static inline uint64_t en_payload_align_up(uint64_t n, unsigned align)
{
    return (n + align - 1) / align * align;
}

/* May a tensor of this shape be coded at all? */
bool en_payload_fits(uint64_t n_rows, uint64_t n_cols);
/* Does the shape fit, and are the segments those of it? */
entro_status en_payload_check_segments(uint64_t n_rows, uint64_t n_cols, uint32_t rows_per_segment,
                                       uint32_t n_segments, entro_error *err);
/* Does a part lie behind *end, aligned and inside?  Then *end is its own. */
entro_status en_payload_check_part(const en_payload_part *part, int i, unsigned align,
                                   size_t n_bytes, uint64_t *end, entro_error *err);

/* ---- coding 1 ---------------------------------------------------------------------------- */

/* Bytes of the steps, and of the offsets. */
static inline uint64_t en_payload_grid_bytes(const en_payload *p)
{
    return p->n_grids * (p->half_grids ? 2 : 4);
}

/* The codes stored once for all tensors, by alphabet; NULL where the file has none. */
typedef struct en_model_codes {
    en_code *code[2]; /* [0]: 4 bits, [1]: 8 bits */
} en_model_codes;

static inline unsigned en_model_codes_slot(unsigned bits)
{
    return bits == 8;
}

/* Name of the tensor that holds the shared table. */
static inline const char *en_model_table_name(unsigned bits)
{
    return bits == 8 ? "entrollm.table.8" : "entrollm.table.4";
}

bool en_payload_is(const uint8_t *bytes, size_t n_bytes);

/*
 * Checks untrusted bytes and fills 'coded', which then points into them.  *own_code is a new code
 * (free it after 'coded') or NULL when the model's is used.
 */
entro_status en_payload_parse(en_coded *coded, en_code **own_code, const uint8_t *bytes,
                              size_t n_bytes, const en_model_codes *model, entro_error *err);

/* ---- writing --------------------------------------------------------------------------- */

/* Fills in segments and grids (of f32) for a method and shape that fits. */
void en_payload_plan(en_payload *p, const en_quant_method *method, uint64_t n_rows,
                     uint64_t n_cols);
/* Lays out the parts for n_table_bytes (0: the model's table); the segments come last and their
 * length is not needed. */
void en_payload_layout(en_payload *p, size_t n_table_bytes);
/* Bytes of the whole payload when the segments take n_segment_bytes. */
uint64_t en_payload_total_bytes(const en_payload *p, uint64_t n_segment_bytes);
void en_payload_store_header(const en_payload *p, uint8_t out[EN_PAYLOAD_HEADER_BYTES]);

#endif
