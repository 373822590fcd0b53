/*
 * rans.h - "coding 4": range asymmetric numeral systems (arXiv 1311.2540) over 16 rows and two columns at
 * once: integers in as many bits as their entropy, for files that must be small; vector decoders of strips.h
 * are some ten times as fast.
 *
 *   state x of a row's even or odd columns: 32 bits, at least 2^16 before each symbol
 *   frequencies add up to 2^12
 *
 *   decode:  slot = x mod 2^12;  symbol s: start_s <= slot < start_s + freq_s
 *            x = freq_s (x >> 12) + slot - start_s;  when x < 2^16: x = x 2^16 + next word
 *
 * A column of a strip is 16 symbols, one a row; rows that need a word take it in their order, so that one
 * stream of words serves all.  A row has two states that take turns, for a processor to work on both.  A
 * chunk begins with the 32 states, those of even columns first; when it has been decoded, all states are
 * 2^16 and the words are used up, which a damaged stream does not reach.
 *
 * A symbol is a value v = z - base below 256.  Values too rare to deserve a 4096th, or out of range, are
 * replaced by the nearest that is coded, and put right by the list of exceptions of strips.h.
 */
#ifndef EN_ENTROPY_RANS_H
#define EN_ENTROPY_RANS_H

#include "entropy/strips.h"

enum {
    EN_RANS_SCALE_BITS = 12,
    EN_RANS_SCALE = 1 << EN_RANS_SCALE_BITS,
    EN_RANS_LOWEST = 1 << 16, /* state */
    EN_RANS_SYMBOLS = 256,
    EN_RANS_STATES = 2 * EN_STRIP_ROWS,
    EN_RANS_START_BYTES = 4 * EN_RANS_STATES,
    EN_RANS_MAX_STORED = 4 + 1 + 2 * EN_RANS_SYMBOLS,
};

/* Frequencies of the values base, base + 1 ... */
typedef struct en_rans_code {
    int32_t base;
    uint32_t n;                     /* 1 to 256; the first and the last frequency are not 0 */
    uint16_t freq[EN_RANS_SYMBOLS]; /* sum: EN_RANS_SCALE */
} en_rans_code;

/*
 * The code with which integers of which counts[i] are base + i, and n_outside are others, take the fewest
 * bits; what it leaves out costs exception_bits.  *bits: of all of them.
 */
void en_rans_code_build(en_rans_code *code, int32_t base, const uint64_t counts[EN_RANS_SYMBOLS],
                        uint64_t n_outside, double exception_bits, double *bits);

/* Returns the bytes written: at most EN_RANS_MAX_STORED. */
size_t en_rans_code_store(const en_rans_code *code, uint8_t *out);
/* Checks untrusted bytes; *n_used are the code's.  ENTRO_ERR_FORMAT. */
entro_status en_rans_code_load(en_rans_code *code, const uint8_t *bytes, size_t n_bytes,
                               size_t *n_used, entro_error *err);

/* ---- encoding ---------------------------------------------------------------------------- */

/* Places of an entry's fields, of encoding and of decoding: symbol in the low byte, frequency less 1, then start
 * (encoding) or slot less start (decoding). */
enum { EN_RANS_FREQ_AT = 8, EN_RANS_OFFSET_AT = 20, EN_RANS_FIELD = 0xfff }; /* 12 bits each */

/* What a value is coded as, by value less base: itself, or the nearest that has a frequency. */
typedef struct en_rans_symbols {
    int32_t base;
    uint32_t n;
    uint32_t entries[EN_RANS_SYMBOLS];
} en_rans_symbols;

void en_rans_symbols_fill(en_rans_symbols *symbols, const en_rans_code *code);

/* Encoding under way, from the end of a buffer towards its start.  EN_RANS_SLACK bytes before 'at' are writable,
 * beyond the words that come there. */
typedef struct en_rans_writing {
    uint32_t states[EN_RANS_STATES];
    uint8_t *at;
    en_strip_exception *list; /* room for every weight of the unit, and one more */
    size_t n_list;
} en_rans_writing;

enum { EN_RANS_SLACK = 2 * EN_STRIP_ROWS };

/* Lists those of a row's columns from 'col' on that 'missed' has a bit for. */
static inline void en_rans_list_missed(en_rans_writing *w, uint32_t missed, const int32_t *deltas,
                                       uint32_t row, uint32_t col)
{
    for (; missed != 0; missed &= missed - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(missed);
        w->list[w->n_list++] = (en_strip_exception){row, col + k, deltas[k]};
    }
}

/* One unit, 16 rows of z by 32 columns, from its last column to its first; 'row' and 'col': its place in the chunk.
 * Vector variants are in kernels/. */
typedef void (*en_rans_encode_fn)(en_rans_writing *w, const en_rans_symbols *symbols,
                                  const int32_t *z, size_t stride, uint32_t row, uint32_t col);
void en_rans_encode_ref(en_rans_writing *w, const en_rans_symbols *symbols, const int32_t *z,
                        size_t stride, uint32_t row, uint32_t col);

/* The encoder of one chunk; runs are added in the order of decoding, then it is finished. */
typedef struct en_rans_encoder en_rans_encoder;
entro_status en_rans_encoder_new(en_rans_encoder **out, en_rans_encode_fn encode, entro_error *err);
void en_rans_encoder_free(en_rans_encoder *e);
void en_rans_encoder_start(en_rans_encoder *e);
/* 16 rows of z, 'stride' apart, of whole units of columns.  'z' and 'code' must live until the chunk is finished;
 * 'row' and 'col': place of the run's first weight in the chunk, for exceptions. */
entro_status en_rans_encoder_add(en_rans_encoder *e, const int32_t *z, size_t stride, size_t n_cols,
                                 const en_rans_code *code, uint32_t row, uint32_t col,
                                 entro_error *err);
/* States, words and exceptions of the chunk (by strip, column and row), until the next start; owned by
 * the encoder.  The work is done by the first call. */
entro_status en_rans_encoder_finish(en_rans_encoder *e, const uint8_t **bytes, size_t *n_bytes,
                                    en_strip_exception **list, size_t *n_list, entro_error *err);

/* ---- decoding ---------------------------------------------------------------------------- */

/* An entry for each slot. */
typedef struct en_rans_table {
    uint32_t slots[EN_RANS_SCALE];
} en_rans_table;

void en_rans_table_fill(en_rans_table *table, const en_rans_code *code);

typedef struct en_rans_lanes {
    uint32_t states[EN_RANS_STATES];
    const uint8_t *next, *end; /* EN_STRIP_IN_PAD bytes behind the end are readable */
} en_rans_lanes;

/* At least EN_RANS_START_BYTES bytes. */
void en_rans_start(en_rans_lanes *lanes, const uint8_t *bytes, const uint8_t *end);
/* n_units units of 16 x 32 values, 8 bits each (strips.h): v less the base's.  Vector variants are in
 * kernels/. */
void en_rans_decode(en_rans_lanes *lanes, const en_rans_table *table, size_t n_units,
                    uint8_t *units);
bool en_rans_ended(const en_rans_lanes *lanes);

#endif
