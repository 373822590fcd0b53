/*
 * planes_payload.h - the bytes of a matrix in coding 3; docs/format.md is the contract.
 *
 *   | header 256 | code tables of planes 0..3 | index | raw planes | streams | >= 64 zeros |
 *
 * A plane without a table is raw.  Raw planes follow each other, each a byte a weight; streams follow
 * each other segment by segment, in each the coded planes in turn.
 */
#ifndef EN_CONTAINER_PLANES_PAYLOAD_H
#define EN_CONTAINER_PLANES_PAYLOAD_H

#include "container/payload.h"
#include "container/planes_matrix.h"

enum {
    EN_PLANES_HEADER_BYTES = 256,
    /* What a byte must gain to be coded: decoding it takes time.  In bits of a one-symbol code. */
    EN_PLANES_WORTH_CODING_EIGHTHS = 4,
};

typedef enum en_planes_part {
    EN_PLANES_TABLES, /* the first of four */
    EN_PLANES_INDEX = EN_MAX_PLANES,
    EN_PLANES_RAW,
    EN_PLANES_STREAMS,
    EN_PLANES_PART_COUNT
} en_planes_part;

/* The header as numbers. */
typedef struct en_planes_plan {
    uint32_t dtype, n_planes, n_coded, n_raw;
    uint64_t n_rows, n_cols;
    uint32_t rows_per_segment, n_segments;
    double entropy, huffman_bits; /* of all planes together, raw ones counted as they are */
    en_payload_part parts[EN_PLANES_PART_COUNT];
} en_planes_plan;

bool en_planes_payload_is(const uint8_t *bytes, size_t n_bytes);
/* Checks untrusted bytes that begin like a coded tensor; *planes is a new one (and coded->planes),
 * freed with en_planes_free(). */
entro_status en_planes_payload_parse(en_coded *coded, en_planes **planes, const uint8_t *bytes,
                                     size_t n_bytes, entro_error *err);
void en_planes_free(en_planes *planes); /* NULL is fine */

/* ---- writing --------------------------------------------------------------------------- */

/* Fills in planes and segments for a type that coding 3 can hold and a shape that
 * en_payload_fits(). */
void en_planes_payload_plan(en_planes_plan *p, uint32_t dtype, uint64_t n_rows, uint64_t n_cols);
/* Lays out the parts; n_table_bytes 0: the plane is raw.  The streams come last and their length is not
 * needed. */
void en_planes_payload_layout(en_planes_plan *p, const size_t n_table_bytes[EN_MAX_PLANES]);
/* Bytes of the whole payload when the streams take so many. */
uint64_t en_planes_payload_total_bytes(const en_planes_plan *p, uint64_t n_stream_bytes);
void en_planes_payload_store_header(const en_planes_plan *p, uint8_t out[EN_PLANES_HEADER_BYTES]);

#endif
