/*
 * code.h - a code table for the integers of quantized tensors, and its encoder and decoder.
 *
 * Symbols are bytes below 'alphabet' (16 or 256).  A code is a prefix-free set of *words* (runs of
 * one or more symbols) with canonical Huffman codes of limited length: with 256 symbols every word
 * is one symbol; with 16 symbols likely runs become words of their own, because at 1.4 bits a
 * symbol a code for single symbols would waste a tenth.  Lengths come from package-merge.
 *
 * A *segment* is a run of symbols coded by itself: several bit streams, interleaved in one
 * decoding loop to hide latency.  Codecs do not allocate: bound() and the caller's buffers.
 */
#ifndef EN_ENTROPY_CODE_H
#define EN_ENTROPY_CODE_H

#include "base/status.h"

typedef struct en_code en_code;

enum {
    EN_CODE_MAX_SYMBOLS = 256,
    EN_CODE_IN_PAD = 64,   /* readable bytes wanted after a segment's last byte */
    EN_CODE_OUT_SLACK = 64 /* writable bytes wanted after a segment's last symbol */
};

/*
 * What the symbols of a tensor look like: counts of single symbols, and for 16-symbol alphabets a
 * sample of their runs, which may become words.  The same pieces give the same histogram in any
 * order, however they were spread over merged ones.  One thread at a time, const functions too.
 */
typedef struct en_histogram en_histogram;
entro_status en_histogram_new(en_histogram **out, unsigned alphabet, entro_error *err);
void en_histogram_free(en_histogram *h);
/* Counts n symbols, a piece that will be coded in one segment. */
void en_histogram_add(en_histogram *h, const uint8_t *symbols, size_t n);
void en_histogram_merge(en_histogram *to, const en_histogram *from);
void en_histogram_clear(en_histogram *h);
uint64_t en_histogram_total(const en_histogram *h);
const uint64_t *en_histogram_counts(const en_histogram *h); /* 'alphabet' counts */
double en_histogram_entropy(const en_histogram *h);         /* bits a symbol, order 0 */
/* Bits a symbol of a plain one-symbol Huffman code without length limit. */
double en_histogram_huffman_bits(const en_histogram *h);

/* Builds the code that stores these symbols in the fewest bytes, its own table included. */
entro_status en_code_build(en_code **out, const en_histogram *h, entro_error *err);
void en_code_free(en_code *code);

/* The table as stored bytes (words, then lengths). */
size_t en_code_stored_bytes(const en_code *code);
void en_code_store(const en_code *code, uint8_t *out);
/* Builds a decoder from untrusted bytes, all n_bytes of which must be the table. */
entro_status en_code_load(en_code **out, unsigned alphabet, const uint8_t *bytes, size_t n_bytes,
                          entro_error *err);
/* Bytes of memory a loaded code holds. */
size_t en_code_memory_bytes(const en_code *code);

/* Expected bits a symbol under another histogram (for comparing tables): INFINITY when it has
 * symbols that the code lacks, NAN when there is no memory or nothing to tell from. */
double en_code_cost(const en_code *code, const en_histogram *h);

/* Upper bound of the coded bytes of any n symbols. */
size_t en_code_encode_bound(const en_code *code, size_t n_symbols);
/* Codes one segment; returns its bytes, at most the bound.  A symbol the code has no word for is an
 * error of ours: codes from en_code_build cover what their histogram counted.  Loaded codes only
 * decode. */
size_t en_code_encode(const en_code *code, const uint8_t *symbols, size_t n_symbols, uint8_t *out);

/*
 * Decodes one segment of exactly n_symbols.  May read EN_CODE_IN_PAD bytes past in + n_bytes
 * and write EN_CODE_OUT_SLACK bytes past out + n_symbols; never more, whatever the bytes are.
 * Returns false when the segment does not decode to exactly n_symbols with exactly n_bytes; the
 * output is then zeros.
 */
bool en_code_decode(const en_code *code, const uint8_t *in, size_t n_bytes, uint8_t *out,
                    size_t n_symbols);
/* The same, one bit at a time straight from the definition: the truth for tests. */
bool en_code_decode_ref(const en_code *code, const uint8_t *in, size_t n_bytes, uint8_t *out,
                        size_t n_symbols);

#endif
