/*
 * strip_write.h - from the integers of a matrix to its payload in coding 2 or 4.
 *
 *   en_strip_plan_open(shape) -> the caller sets grids, orders, classes, layouts and codes
 *   en_strip_writer_begin -> for every chunk: en_strip_encode_chunk (any thread, an encoder each),
 *   then en_strip_writer_add in order -> en_strip_writer_finish
 *
 * Of coding 4 is a plan with 'rans'.
 */
#ifndef EN_CONTAINER_STRIP_WRITE_H
#define EN_CONTAINER_STRIP_WRITE_H

#include "container/strip_matrix.h"
#include "quant/method.h"

/* What is stored before the streams.  Pointers are borrowed. */
typedef struct en_strip_plan {
    const en_quant_method *method;
    en_strip_matrix shape;        /* its pointers are not used */
    en_pair_code *codes;          /* [row class * n_col_classes + column class]; of the caller */
    en_rans_code *rans;           /* likewise, in their place: coding 4 */
    uint64_t n_grids;             /* 1 or n_rows; in stored order */
    const float *steps, *offsets; /* n_grids; offsets NULL: all 0 */
    bool half_grids;              /* stored as f16 (values of f16), else f32 */
    bool short_grids;             /* steps and column scales as bytes (en_strip_plan_shorten()) */
    int steps_exponent, scales_exponent;
    const float *col_scales; /* n_cols values of f16 in stored order; NULL: all 1 */
    /* Rising within a class; NULL: as they are. */
    const uint32_t *col_order, *row_order;
    double entropy, huffman_bits;
} en_strip_plan;

/* May a matrix of this shape be stored so? */
bool en_strip_fits(uint64_t n_rows, uint64_t n_cols);

/* Everything about a matrix that fits but layouts, codes, grids and orders: one class, chunks of
 * EN_STRIP_CHUNK_WEIGHTS. */
void en_strip_plan_init(en_strip_plan *plan, const en_quant_method *method, uint64_t n_rows,
                        uint64_t n_cols, bool is_rans);
/* After classes were set: recounts the chunks. */
void en_strip_plan_count_chunks(en_strip_plan *plan);
/* After grids and scales were set: stores them as bytes, if they can be. */
void en_strip_plan_shorten(en_strip_plan *plan);

/*
 * The layout and code with which the strips in z take the fewest bits (exceptions made a bit dearer
 * than they are, for they are slow).  z: n_strips * 16 rows, 'stride' apart, from column 0; n_cols a
 * multiple of EN_UNIT_COLS.  A sample of some hundred thousand weights is enough.  Returns the bits
 * of a weight in *bits.
 */
entro_status en_strip_choose(en_strip_layout *layout, en_pair_code *code, const int32_t *z,
                             size_t stride, uint32_t n_strips, size_t n_cols, double *bits,
                             entro_error *err);

/* The same for coding 4. */
void en_strip_choose_rans(en_strip_layout *layout, en_rans_code *code, const int32_t *z,
                          size_t stride, uint32_t n_strips, size_t n_cols, double *bits);

/* Holds the streams of a chunk, in either coding. */
typedef struct en_chunk_encoder {
    en_strip_encoder *strips;
    en_rans_encoder *rans;
} en_chunk_encoder;
entro_status en_chunk_encoder_open(en_chunk_encoder *e, entro_error *err);
void en_chunk_encoder_close(en_chunk_encoder *e); /* a zeroed one is fine */

/* Codes a chunk whose integers, in stored order and padded with zeros, are z: 16 rows a strip. */
entro_status en_strip_encode_chunk(en_chunk_encoder *e, const en_strip_plan *plan, uint32_t chunk,
                                   const int32_t *z, entro_error *err);

typedef struct en_strip_writer {
    const en_strip_plan *plan;
    uint8_t *front; /* header to raw bits; the whole payload in the end */
    size_t n_front, cap_front;
    uint8_t *words, *exceptions;
    size_t n_words, cap_words, n_exceptions, cap_exceptions;
    size_t raw_at, index_at; /* in 'front' */
    uint32_t n_chunks;       /* added */
    uint64_t n_listed;       /* exceptions */
    uint64_t n_table_bytes;
} en_strip_writer;

/* 'w' is zeroed before its first use; its memory is used again for the next matrix. */
entro_status en_strip_writer_begin(en_strip_writer *w, const en_strip_plan *plan, entro_error *err);
/* What the encoder holds becomes the next chunk. */
entro_status en_strip_writer_add(en_strip_writer *w, en_chunk_encoder *e, entro_error *err);
/* The payload: w->front, w->n_front bytes. */
entro_status en_strip_writer_finish(en_strip_writer *w, entro_error *err);
void en_strip_writer_close(en_strip_writer *w);

#endif
