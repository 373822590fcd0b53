/*
 * linear_strips.h - products with matrices in coding 2 or 4, item by item.
 *
 *   S = sum over column classes [128 v . high + v . low + base sum q] + sum of exceptions delta q
 *   y = scale (step S + offset sum q)
 *
 * Few tokens: lanes of several chunks run side by side and multiply what they decode in registers.
 * Many: some strips are decoded to where they stay in L2, then all tokens pass by.  A packed matrix
 * (linear_pack.h) is multiplied as it is by few tokens, and turned into bytes for many.  The integers
 * S are the same in every case.
 */
#ifndef EN_LINEAR_LINEAR_STRIPS_H
#define EN_LINEAR_LINEAR_STRIPS_H

#include "linear/activations.h"
#include "linear/linear.h"

enum {
    /* Up to so many tokens are multiplied in registers. */
    EN_STRIPS_FEW_TOKENS = 4,   /* measured: for 8 it makes no difference */
    EN_STRIPS_FEW_PACKED = 5,   /* measured: for more it pays to turn them into bytes once */
    EN_STRIPS_SIDE_BY_SIDE = 3, /* chunks, for one token */
    EN_STRIPS_SIDE_TWO = 2,     /* for two */
    EN_STRIPS_SIDE_MANY = 4,    /* for more than few */
};

/* Coding 2 or 4. */
static inline bool en_linear_in_strips(const en_linear *m)
{
    return m->coded != NULL && m->coded->strips != NULL;
}

/* One thread's memory. */
typedef struct en_strips_room {
    uint8_t *units;           /* en_strips_units_bytes() */
    en_strip_exception *rest; /* en_strips_max_rest() */
    float *ordered;           /* padded columns */
    void *reader;             /* en_strip_reader_bytes() */
} en_strips_room;
size_t en_strips_units_bytes(const en_strip_matrix *m);
/* Entries: no chunk's list of exceptions has more. */
size_t en_strips_max_rest(const en_strip_matrix *m);

/* A product that is cut into items. */
typedef struct en_strips_product {
    const en_linear *matrix;
    const en_activations *x;
    float *y; /* y[t * y_stride + r] */
    size_t y_stride;
    uint32_t side_by_side; /* chunks an item */
} en_strips_product;

/* Chunks decoded side by side hide each other's latency, but make fewer items: at most 'most', as long as there
 * are some items a thread. */
uint32_t en_strips_side_by_side(uint32_t most, uint64_t n_chunks, uint32_t n_threads);
uint32_t en_strips_count_items(const en_strip_matrix *m, uint32_t side_by_side);
/* ENTRO_ERR_CHECKSUM when a stream is damaged. */
entro_status en_strips_run_item(const en_strips_product *p, uint32_t item,
                                const en_strips_room *room, entro_error *err);
entro_status en_strips_read_row(const en_linear *matrix, uint64_t row, float *out,
                                const en_strips_room *room, entro_error *err);

/* ---- decoded strips, between the files of coding 2 ----------------------------------------- */

/* How the units of a column class lie in a strip, and what their values lack. */
typedef struct en_strips_form {
    unsigned bits;
    int32_t base;
} en_strips_form;

/* Adds delta to a value of 4 or 8 bits as far as these reach; returns what is left of it. */
int32_t en_strips_add_to_value(uint8_t *units, const en_strip_matrix *m,
                               const en_strips_form *forms, uint32_t row, uint32_t col,
                               int32_t delta);

/* As strips are decoded; returns the bytes of one. */
size_t en_strips_decoded_forms(const en_strip_matrix *m, uint32_t row_class, en_strips_form *forms);
/* As they lie in a packed matrix, and as bytes. */
size_t en_strips_packed_forms(const en_linear *matrix, uint32_t row_class, en_strips_form *forms);
size_t en_strips_byte_forms(const en_strip_matrix *m, uint32_t row_class, en_strips_form *forms);

/* One strip of a packed matrix as bytes, its list put right as far as bytes reach; appends what is
 * left to rest[*n_rest], in rows from first_row on. */
void en_strips_expand(const en_linear *matrix, uint32_t row_class, uint32_t strip,
                      uint32_t first_row, uint8_t *bytes, en_strip_exception *rest, size_t *n_rest);

/* Decodes the strips of a chunk in turn, exceptions put right as far as possible. */
typedef struct en_strips_decoder {
    const en_strip_matrix *matrix;
    uint32_t chunk, next_strip; /* in the chunk */
    en_strip_chunk place;
    en_strip_reader reader;
    en_strip_lists lists;
    en_strips_form forms[EN_STRIP_MAX_COL_CLASSES];
    bool damaged; /* a list is */
} en_strips_decoder;

/* 'memory': a reader's, en_strip_reader_bytes(). */
void en_strips_decoder_start(en_strips_decoder *d, const en_strip_matrix *m, uint32_t chunk,
                             void *memory);
/* Soon chunks first to end - 1 will be started: what they begin with comes from memory meanwhile. */
void en_strips_fetch_chunks(const en_strip_matrix *m, uint32_t first, uint32_t end);
/* The next strip of each of n chunks (1 to EN_STRIP_MAX_CHUNKS) of one row class, to units + chunk *
 * stride, without its list: that is to be taken next, from each. */
void en_strips_decode_units(en_strips_decoder *decoders, size_t n, uint8_t *units, size_t stride);
/* Takes the list of the strip at hand; appends what is left to rest[*n_rest]. */
void en_strips_put_right(en_strips_decoder *d, uint8_t *units, en_strip_exception *rest,
                         size_t *n_rest);
/* Both, for one chunk. */
void en_strips_decode(en_strips_decoder *d, uint8_t *units, en_strip_exception *rest,
                      size_t *n_rest);
/* The list of the strip at hand; empty when it is damaged. */
void en_strips_next_list(en_strips_decoder *d, en_strip_list *list);
/* After the last strip. */
bool en_strips_decoder_ended(const en_strips_decoder *d);
entro_status en_strips_fail(const en_linear *matrix, uint32_t chunk, entro_error *err);

#endif
