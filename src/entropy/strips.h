/*
 * strips.h - "coding 2": small integers in 64 lanes, made to be decoded in vector registers.
 *
 *   strip: 16 rows          step: 8 columns         unit: 4 steps
 *   lane (r, c), r < 16, c < 4: row r, columns 8 s + c and 8 s + 4 + c of every step s
 *   chunk: strips decoded one after the other by the same lanes
 *
 * An integer z is a value v = z - base, 0 <= v < 2^value_bits.  Its raw_bits low bits lie plainly in
 * vectors of 64 bytes; the rest, the high part, is coded together with that of its partner four
 * columns further on (pair_code.h).  What neither holds - values out of range, pairs that have no
 * code - is put right by a list of exceptions.
 *
 *   mode   value_bits  raw_bits   coded of each          a step decodes to
 *   N0-N2  4           0, 1, 2    v without its raw bits 64 bytes: v of 4 columns, v of the others << 4
 *   W1-W4  4 + raw     1 to 4     v >> raw, 4 bits       64 bytes: v of 4 columns; 64 bytes: the others
 *
 * Each lane is a bit string of its own, first bit lowest.  A decoder holds two 16-bit words of it, low
 * and high, and a position.  Before every second step, each lane whose position has reached 16 takes a
 * word: low becomes high, high the next word of the chunk's one stream, position falls by 16; first
 * all lanes with even c, in order, then those with odd c.  So the words of all lanes lie in the order
 * in which they are asked for, and nothing else needs to be stored.
 */
#ifndef EN_ENTROPY_STRIPS_H
#define EN_ENTROPY_STRIPS_H

#include "entropy/pair_code.h"

enum {
    EN_STRIP_ROWS = 16,
    EN_STRIP_LANES = 64,
    EN_STEP_COLS = 8,
    EN_UNIT_STEPS = 4,
    EN_UNIT_COLS = EN_UNIT_STEPS * EN_STEP_COLS,
    EN_STRIP_START_WORDS = 2 * EN_STRIP_LANES, /* low[2][32], high[2][32] of a chunk's start */
    EN_STRIP_IN_PAD = 64, /* bytes that may be read behind words and raw bits */
};

typedef enum en_strip_mode {
    EN_STRIP_N0,
    EN_STRIP_N1,
    EN_STRIP_N2,
    EN_STRIP_W1,
    EN_STRIP_W2,
    EN_STRIP_W3,
    EN_STRIP_W4,
    EN_STRIP_MODE_COUNT,
    EN_STRIP_BYTES = EN_STRIP_MODE_COUNT /* none of coding 2: what rans.h decodes to, v in 8 bits */
} en_strip_mode;

static inline bool en_strip_is_wide(en_strip_mode mode)
{
    return mode >= EN_STRIP_W1;
}

static inline unsigned en_strip_raw_bits(en_strip_mode mode)
{
    if (mode == EN_STRIP_BYTES)
        return 0;
    return en_strip_is_wide(mode) ? (unsigned)mode - EN_STRIP_W1 + 1 : (unsigned)mode;
}

static inline unsigned en_strip_value_bits(en_strip_mode mode)
{
    if (mode == EN_STRIP_BYTES)
        return 8;
    return en_strip_is_wide(mode) ? 4 + en_strip_raw_bits(mode) : 4;
}

/* Bytes of raw bits of a strip's unit: 2 * raw_bits bits for each lane and step. */
static inline size_t en_strip_raw_unit_bytes(en_strip_mode mode)
{
    return (size_t)EN_STRIP_LANES * en_strip_raw_bits(mode);
}

/*
 * Values kept in memory after decoding: 1 to 8 bits each, for a unit as many vectors of 64 bytes.  A
 * unit's columns are eight groups of four; group j of all rows, one value a lane, is cut into pieces
 * of 8, 4, 2 and 1 bits as the number of bits has ones, the piece of most bits lowest:
 *
 *   piece   vectors  where group j lies
 *   8 bits  8        vector j
 *   4       4        vector j / 2, from bit 4 (j % 2) on
 *   2       2        vector j / 4, from bit 2 (j % 4) on
 *   1       1        bit j
 *
 * Vectors of longer pieces come first.  With 4 and with 8 bits this is what a unit decodes to.
 */
static inline size_t en_unit_bytes(unsigned bits)
{
    return (size_t)EN_STRIP_LANES * bits;
}

static inline unsigned en_strip_decoded_bits(en_strip_mode mode)
{
    return en_strip_is_wide(mode) ? 8 : 4;
}

static inline size_t en_strip_unit_bytes(en_strip_mode mode)
{
    return en_unit_bytes(en_strip_decoded_bits(mode));
}

/* Half 0 has the lanes with c = 0 and 2, half 1 those with c = 1 and 3; word i of half h belongs to
 * lane 2 i + h, and position 2 i + h too. */
typedef struct en_strip_lanes {
    _Alignas(64) uint16_t low[2][EN_STRIP_LANES / 2];
    _Alignas(64) uint16_t high[2][EN_STRIP_LANES / 2];
    _Alignas(64) uint8_t position[EN_STRIP_LANES];
    const uint8_t *next; /* word of the stream; never beyond 'end', however bad the stream */
    const uint8_t *end;
    const uint8_t *raw; /* the next unit's raw bits */
} en_strip_lanes;

/* How one run of columns of one strip is coded. */
typedef struct en_strip_layout {
    en_strip_mode mode;
    int32_t base; /* z = v + base */
} en_strip_layout;

/* ---- encoding ---------------------------------------------------------------------------- */

/* One integer that a decoder gets wrong by 'delta', in a chunk. */
typedef struct en_strip_exception {
    uint32_t row, col;
    int32_t delta; /* z less what is decoded */
} en_strip_exception;

/* Bits that an exception takes in the file, about, and what it is counted for in choices: one cost
 * as much time as some fifty weights, half of that with AVX-512 now: a third more than it takes in the file. */
#define EN_STRIP_EXCEPTION_BITS  24.0
#define EN_STRIP_EXCEPTION_PRICE 32.0

/* Columns of a strip from z on: 16 rows, 'stride' apart. */
typedef struct en_strip_run {
    const int32_t *z;
    size_t stride;
    en_strip_layout layout;
    const en_pair_code *code;
} en_strip_run;

/* The strings of a chunk's lanes while they grow; item i of half h is lane 2 i + h, so that items lie in
 * the order in which a decoder asks for their words. */
typedef struct en_strip_strings {
    uint32_t bits[2][EN_STRIP_LANES / 2], n_bits[2][EN_STRIP_LANES / 2]; /* less than two words */
    uint32_t place[2][EN_STRIP_LANES / 2], next_place[2][EN_STRIP_LANES / 2]; /* of these two */
    uint8_t *words;   /* with room for all that is to come */
    uint32_t n_words; /* places taken, also those without their bits yet */
} en_strip_strings;

/*
 * The hot loops, of which kernels/ has variants.
 *
 * en_strip_encode_fn: appends n_units of a run to the strings, and their raw bits to 'raw'.
 * suspects[4 u + j]: the lanes of unit u's step j that may decode to other integers; a superset.
 *
 * en_strip_count_fn: adds the pairs of the high parts of a strip's run to 'counts', and counts values
 * out of range.  n_cols: a multiple of EN_UNIT_COLS.
 */
typedef void (*en_strip_encode_fn)(en_strip_strings *s, const en_strip_run *run, size_t n_units,
                                   uint8_t *raw, uint64_t *suspects);
typedef void (*en_strip_count_fn)(const int32_t *z, size_t stride, size_t n_cols,
                                  en_strip_layout layout, uint64_t counts[256],
                                  uint64_t *n_outside);
void en_strip_encode_ref(en_strip_strings *s, const en_strip_run *run, size_t n_units, uint8_t *raw,
                         uint64_t *suspects);
void en_strip_count_ref(const int32_t *z, size_t stride, size_t n_cols, en_strip_layout layout,
                        uint64_t counts[256], uint64_t *n_outside);

/* Bytes behind 'buf' that grow by themselves. */
typedef struct en_strip_bytes {
    uint8_t *data;
    size_t n, cap;
} en_strip_bytes;

/* The encoder of one chunk: runs are added in the order of decoding, then it is finished. */
typedef struct en_strip_encoder en_strip_encoder;
entro_status en_strip_encoder_new(en_strip_encoder **out, en_strip_encode_fn encode,
                                  entro_error *err);
void en_strip_encoder_free(en_strip_encoder *e);
void en_strip_encoder_start(en_strip_encoder *e);
/* n_cols: a multiple of EN_UNIT_COLS; 'row' and 'col': place of the run's first weight in the chunk, for
 * exceptions. */
entro_status en_strip_encoder_add(en_strip_encoder *e, const int32_t *z, size_t stride,
                                  size_t n_cols, en_strip_layout layout, const en_pair_code *code,
                                  uint32_t row, uint32_t col, entro_error *err);
/* The chunk's words, raw bits and exceptions (by strip, column and row), until the next start; owned by
 * the encoder.  The work is done by the first call. */
entro_status en_strip_encoder_finish(en_strip_encoder *e, const uint8_t **words, size_t *n_words,
                                     const uint8_t **raw, size_t *n_raw, en_strip_exception **list,
                                     size_t *n_list, entro_error *err);

#endif
