/*
 * code_words.h - the parts of a code ("Huffman words"), shared by the files of this room.
 *
 *   symbol:  common, or rare (stands behind the one letter 'escape'), or absent
 *   letters: the common symbols in ascending order, then the escape if there are rare symbols
 *   tree:    every inner node has a child for every letter; the leaves are the words; an escape
 *            is always a leaf.  So any run of symbols parses into words in one way.
 *   codes:   one canonical code over the words (in the order in which a depth-first walk meets
 *            them), one over the rare symbols.  A word that ends in the escape is followed by
 *            the code of the rare symbol.
 *
 * Why an escape: symbols so rare that their share of the code space would be many times their
 * probability would otherwise cost that at every node of the tree.
 */
#ifndef EN_ENTROPY_CODE_WORDS_H
#define EN_ENTROPY_CODE_WORDS_H

#include "entropy/code.h"
#include "entropy/huffman_lengths.h"

enum {
    EN_WORD_MAX = 14,        /* symbols of a word, the escape included */
    EN_LOOKUP_BITS_16 = 11,  /* longest code, and look-up width, with 16 symbols ... */
    EN_LOOKUP_BITS_256 = 12, /* ... and with 256 */
    EN_STREAMS = 4,
    EN_STREAMS_MIN_SYMBOLS = 1024, /* shorter segments are one stream */
};

enum { EN_ABSENT = 0, EN_COMMON = 1, EN_RARE = 2 };

typedef struct en_word {
    uint8_t symbols[EN_WORD_MAX];
    uint8_t n_symbols; /* without the escape */
    uint8_t escape;    /* 1: a rare symbol follows */
    uint8_t bits;
    uint16_t code;
} en_word;

/*
 * How the decoder's look-up entries are laid out.  An escape's entry has no bits and no symbols, so
 * looking it up again changes nothing, and holds the index of its word in its first two bytes.
 */
typedef enum en_entry_layout {
    EN_ENTRY_FILL, /* one word, no bits: nothing to look up */
    EN_ENTRY_2,    /* 4 bytes:  2 symbols, bits, count */
    EN_ENTRY_7,    /* 8 bytes:  7 symbols, count << 4 | bits */
    EN_ENTRY_14,   /* 16 bytes: 14 symbols, bits, count */
} en_entry_layout;

struct en_code {
    unsigned alphabet;
    unsigned max_bits;
    uint8_t class_of[EN_CODE_MAX_SYMBOLS];

    /* letters and tree: child[node * n_letters + letter] is an inner node, or 0 for a leaf */
    unsigned n_common, n_rare, n_letters;
    uint8_t common[EN_CODE_MAX_SYMBOLS], rare[EN_CODE_MAX_SYMBOLS];
    unsigned n_inner, n_words;
    uint16_t *child;

    en_word *words;    /* in depth-first order */
    uint16_t *by_code; /* words in the order of their codes */
    uint8_t rare_bits[EN_CODE_MAX_SYMBOLS];
    uint16_t rare_code[EN_CODE_MAX_SYMBOLS];
    uint16_t rare_by_code[EN_CODE_MAX_SYMBOLS];
    en_huffman_ranges word_ranges, rare_ranges;

    /* decoder */
    en_entry_layout layout;
    unsigned rare_lookup_bits;
    void *entries;         /* 2^max_bits */
    uint16_t *rare_lookup; /* 2^rare_lookup_bits: bits << 8 | symbol */

    /* encoder, only of codes that were built (segment_encode.c): steps of one symbol and of two,
     * and per node the shortest code of a word that goes on from there */
    uint64_t *singles, *pairs;
    uint32_t *endings;
};

static inline unsigned en_code_max_bits(unsigned alphabet)
{
    return alphabet == 16 ? EN_LOOKUP_BITS_16 : EN_LOOKUP_BITS_256;
}

static inline unsigned en_segment_streams(size_t n_symbols)
{
    return n_symbols < EN_STREAMS_MIN_SYMBOLS ? 1 : EN_STREAMS;
}

/* The first symbol of stream s. */
static inline size_t en_stream_start(size_t n_symbols, unsigned n_streams, unsigned s)
{
    return n_symbols / n_streams * s + n_symbols % n_streams * s / n_streams;
}

/* A stream's place in a segment. */
typedef struct en_stream {
    const uint8_t *in;
    size_t n_bytes;
    uint8_t *out;
    size_t n_symbols;
} en_stream;

/* Reads a segment's header; false when it contradicts itself.  n_symbols > 0. */
bool en_segment_split(const uint8_t *in, size_t n_bytes, uint8_t *out, size_t n_symbols,
                      en_stream streams[EN_STREAMS]);

/* Decodes the next word, bit by bit, and writes those of its symbols that the stream still lacks;
 * false when the stream's bytes end before. */
bool en_stream_step(const en_code *code, const en_stream *stream, size_t *bit_pos, size_t *n_done);
/* Whether a stream's bytes end where its last word does, but for zero bits. */
bool en_stream_ends(const en_stream *stream, size_t bit_pos);

/* An empty code; the caller fills in classes, letters, tree and lengths. */
entro_status en_code_new(en_code **out, unsigned alphabet, entro_error *err);
/* Sets common[], rare[] and n_letters from class_of[]. */
void en_code_set_letters(en_code *code);
/* Lists the words of the tree; words have no code yet. */
entro_status en_code_list_words(en_code *code, entro_error *err);
/* From the lengths of words and rare symbols to codes; ENTRO_ERR_FORMAT if they are no code. */
entro_status en_code_assign(en_code *code, entro_error *err);
entro_status en_code_make_decoder(en_code *code, entro_error *err);
entro_status en_code_make_encoder(en_code *code, entro_error *err);

#endif
