/*
 * container.h - our file: a GGUF v3 file whose weight matrices are coded.  docs/format.md is the
 * contract.
 *
 *   en_source (a GGUF file with entrollm.* keys) --en_container_open--> logical tensors: plain ones
 *   as they are, coded ones with shape, grids, code and segments.
 *
 * A coded matrix is cut into segments of whole rows; each is decoded by itself, by any thread.
 */
#ifndef EN_CONTAINER_CONTAINER_H
#define EN_CONTAINER_CONTAINER_H

#include "base/bytes.h"
#include "container/original.h"
#include "container/planes_matrix.h"
#include "container/strip_matrix.h"
#include "entropy/code.h"
#include "formats/source.h"
#include "quant/method.h"
#include "tensor/half.h"

/* A coded matrix, ready to decode.  Everything points into the mapped file or is owned by the
 * container; immutable. */
typedef struct en_coded {
    const en_quant_method *method;
    bool model_table; /* code is the model's shared one */
    uint64_t n_rows, n_cols;
    uint32_t n_segments;
    uint32_t rows_per_segment;   /* the last segment may have fewer */
    const void *steps, *offsets; /* n_grids each, as stored; read them with en_coded_grid() */
    bool half_grids;             /* they are f16, else f32 */
    uint64_t n_grids;            /* 1 or n_rows */
    const en_strip_matrix
        *strips;             /* coding 2, 4; then there are no segments, and offsets may be NULL;
                                      grids are in the order of stored rows */
    const en_planes *planes; /* coding 3; then there are no grids.  Both NULL: coding 1 */
    const en_code *code;
    const uint8_t *index;    /* n_segments + 1 starts, little-endian u64, relative to 'segments' */
    const uint8_t *segments; /* n_segment_bytes, readable EN_CODE_IN_PAD bytes further */
    uint64_t n_segment_bytes;
    uint64_t n_side_bytes;        /* payload bytes that are not segments */
    double entropy, huffman_bits; /* as measured by the encoder, stored */
} en_coded;

typedef struct en_container_tensor {
    en_tensor tensor; /* logical name and shape; for a coded one dtype, data, n_bytes and offset are
                         those of its payload as stored */
    const en_coded *coded; /* NULL for a plain tensor */
    uint64_t hash;         /* XXH3-64 of the stored bytes, from the file */
    uint32_t number;       /* among the file's tensor infos */
} en_container_tensor;

typedef struct en_container en_container;

bool en_container_is(const en_source *source);

/* Parses and checks everything but the checksums and the streams.  'source' must be open and
 * outlive the container; its metadata gets the keys that the container holds packed, and must not be asked
 * for them when the container is closed. */
entro_status en_container_open(en_container **out, en_source *source, entro_error *err);
void en_container_close(en_container *c);

uint32_t en_container_n_tensors(const en_container *c);
const en_container_tensor *en_container_tensor_at(const en_container *c, uint32_t i);
const en_container_tensor *en_container_find(const en_container *c, const char *name);

/* The files that a lossless container was made from, NULL in any other.  Pieces are tensors and literal
 * bytes of the container whose lengths add up to those of the files. */
const en_original *en_container_original(const en_container *c);
/* Where the literal bytes are: as many rows of one byte as the pieces take.  NULL when there is no
 * original. */
const en_planes *en_container_literals(const en_container *c);
/* The tensor that a piece names. */
const en_container_tensor *en_container_numbered(const en_container *c, uint64_t number);
/* Bytes of a tensor in its source: 0 where they are not kept. */
uint64_t en_container_source_bytes(const en_container_tensor *t);

/* Rows and first row of a segment. */
static inline uint64_t en_coded_segment_row(const en_coded *m, uint32_t segment)
{
    return (uint64_t)segment * m->rows_per_segment;
}

static inline uint64_t en_coded_segment_rows(const en_coded *m, uint32_t segment)
{
    uint64_t row = en_coded_segment_row(m, segment), left = m->n_rows - row;
    return left < m->rows_per_segment ? left : m->rows_per_segment;
}

/* The grid of a (stored) row: w = code * step + offset. */
static inline void en_coded_grid(const en_coded *m, uint64_t row, float *step, float *offset)
{
    size_t i = m->n_grids == 1 ? 0 : (size_t)row;
    const uint8_t *steps = m->steps, *offsets = m->offsets;
    if (m->half_grids) {
        *step = en_half_to_f32(en_load16(steps + 2 * i));
        *offset = offsets != NULL ? en_half_to_f32(en_load16(offsets + 2 * i)) : 0.0f;
    } else {
        *step = en_load_f32(steps + 4 * i);
        *offset = offsets != NULL ? en_load_f32(offsets + 4 * i) : 0.0f;
    }
}

/* Of n rows from 'first' on. */
void en_coded_grids(const en_coded *m, uint64_t first, size_t n, float *steps, float *offsets);

/* Codes of one segment, row after row: room for rows_per_segment * n_cols + EN_CODE_OUT_SLACK.
 * False when the stream is damaged (codes are then any valid ones). */
bool en_coded_decode_segment(const en_coded *m, uint32_t segment, uint8_t *codes);

/* Compares the stored checksum of tensor i with its bytes. */
entro_status en_container_check_hash(const en_container *c, uint32_t i, entro_error *err);
/* The same for the literal bytes of an original; their list is checked when the file is opened. */
entro_status en_container_check_literals(const en_container *c, entro_error *err);

#endif
