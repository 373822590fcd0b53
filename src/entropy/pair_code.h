/*
 * pair_code.h - prefix codes of at most 7 bits for pairs of small integers.
 *
 * A symbol is a byte, two nibbles: what is coded of a weight (low nibble) and of the one four columns
 * further on (high nibble).  Pairs too rare to deserve 7 bits are dropped from the code; the encoder
 * replaces one by a kept pair and puts the difference on a list of exceptions (strips.h).
 *
 * Seven bits, so that the table is 128 bytes: two vector registers on AVX-512, one look-up.
 */
#ifndef EN_ENTROPY_PAIR_CODE_H
#define EN_ENTROPY_PAIR_CODE_H

#include "base/status.h"

enum {
    EN_PAIR_MAX_BITS = 7,
    EN_PAIR_ENTRIES = 1 << EN_PAIR_MAX_BITS,
    EN_PAIR_STORED_BYTES = 8 + EN_PAIR_ENTRIES,
    EN_PAIR_REPLACED = 128,
};

/* What a decoder needs: by the next 7 bits of a stream, its first bit lowest.  The code is complete, so
 * length[w] == length[w ^ 64]: a decoder may keep half of the lengths. */
typedef struct en_pair_table {
    _Alignas(64) uint8_t symbol[EN_PAIR_ENTRIES];
    _Alignas(64) uint8_t length[EN_PAIR_ENTRIES]; /* 0 to 7; 0: the only symbol */
} en_pair_table;

/* What an encoder needs besides. */
typedef struct en_pair_code {
    en_pair_table table;
    uint8_t stored[EN_PAIR_STORED_BYTES];
    uint8_t kept[256]; /* the symbol that is coded for this one: itself, or its substitute */
    /* Of the symbol that is kept for this one.  Code: first bit lowest; EN_PAIR_REPLACED is added to the
     * length of a substitute's. */
    _Alignas(64) uint8_t code[256];
    _Alignas(64) uint8_t length[256];
    double bits; /* of all pairs counted: codes and exceptions */
} en_pair_code;

/*
 * The code with which so many pairs take the fewest bits.  'exception_bits' is the price of one entry
 * of the list of exceptions; a dropped pair takes one or two of them.
 */
entro_status en_pair_code_build(en_pair_code *code, const uint64_t counts[256],
                                double exception_bits, entro_error *err);

/* From the stored form (docs/format.md); ENTRO_ERR_FORMAT when it is no complete code. */
entro_status en_pair_table_load(en_pair_table *table, const uint8_t stored[EN_PAIR_STORED_BYTES],
                                entro_error *err);

#endif
