/*
 * huffman_lengths.h - optimal code lengths under a limit (package-merge), and canonical codes.
 */
#ifndef EN_ENTROPY_HUFFMAN_LENGTHS_H
#define EN_ENTROPY_HUFFMAN_LENGTHS_H

#include "base/status.h"

enum {
    EN_HUFFMAN_MAX_BITS = 12,
    EN_HUFFMAN_MAX_ITEMS = 2048,
};

/* Scratch memory of en_huffman_lengths(). */
typedef struct en_huffman_work {
    uint64_t sorted[EN_HUFFMAN_MAX_ITEMS];
    uint16_t order[EN_HUFFMAN_MAX_ITEMS];
    uint64_t lists[2][2 * EN_HUFFMAN_MAX_ITEMS];
    uint8_t is_package[EN_HUFFMAN_MAX_BITS][2 * EN_HUFFMAN_MAX_ITEMS];
} en_huffman_work;

/*
 * Lengths of a complete prefix code, none above max_bits, of least total weight.
 * 1 <= n <= min(2^max_bits, EN_HUFFMAN_MAX_ITEMS); one item alone gets length 0.
 */
void en_huffman_lengths(en_huffman_work *work, const uint64_t *weights, unsigned n,
                        unsigned max_bits, uint8_t *bits);

/*
 * Canonical codes: shorter ones first, ties in the order of the items; the first is all zeros.
 * 'order', when not NULL, gets the items in the order of their codes.  Returns false when the
 * lengths are not those of a complete code (one item of length 0, or Kraft's sum exactly one).
 */
bool en_huffman_codes(const uint8_t *bits, unsigned n, unsigned max_bits, uint16_t *codes,
                      uint16_t *order);

/* What decoding bit by bit needs: the first code of every length, how many there are, and the place
 * of the first one in the order of all codes. */
typedef struct en_huffman_ranges {
    uint16_t first[EN_HUFFMAN_MAX_BITS + 1];
    uint16_t count[EN_HUFFMAN_MAX_BITS + 1];
    uint16_t place[EN_HUFFMAN_MAX_BITS + 1];
} en_huffman_ranges;

/* Of lengths that en_huffman_codes() accepted. */
void en_huffman_set_ranges(en_huffman_ranges *r, const uint8_t *bits, unsigned n);

/* Total bits of Huffman's code without limit over n <= 256 counts (zeros have no code). */
uint64_t en_huffman_total(const uint64_t *counts, unsigned n);

#endif
