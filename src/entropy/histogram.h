/*
 * histogram.h - what the builder of words wants to know of a histogram beyond code.h.
 *
 * A histogram belongs to one thread: asking for its counts brings them up to date.
 */
#ifndef EN_ENTROPY_HISTOGRAM_H
#define EN_ENTROPY_HISTOGRAM_H

#include "entropy/code.h"

enum { EN_SAMPLE_BLOCK = 1024, EN_SAMPLE_BLOCKS = 256 };

/* Blocks of neighbouring symbols, to count words in. */
typedef struct en_sample {
    unsigned n_blocks;
    unsigned level; /* all keys end in this many zero bits */
    uint64_t keys[EN_SAMPLE_BLOCKS];
    uint16_t n_symbols[EN_SAMPLE_BLOCKS];
    uint8_t symbols[EN_SAMPLE_BLOCKS][EN_SAMPLE_BLOCK];
} en_sample;

unsigned en_histogram_alphabet(const en_histogram *h);
/* NULL for 256 symbols. */
const en_sample *en_histogram_sample(const en_histogram *h);
/* Whether a block belongs to the part of the sample at this level. */
bool en_sample_chosen(const en_sample *s, unsigned block, unsigned level);

#endif
