/*
 * histogram.c - counts of symbols and, for 16-symbol alphabets, a sample of their runs.
 *
 * Four sets of 32-bit counters take turns, so that equal neighbours do not wait for each other's
 * store; they are folded into 64-bit ones before they can overflow.
 *
 * The sample is a set of blocks chosen by a hash of how they begin: those whose hash ends in
 * 'level' zero bits, one more bit whenever the room is full.  So it depends on the pieces that
 * were counted, not on their order or on how histograms were merged: the same tensor gives the
 * same code whatever threads did.
 */
#include "entropy/histogram.h"

#include <math.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "entropy/huffman_lengths.h"

enum { LANES = 4, FOLD_AT = 1 << 30, LEVEL_MAX = 60, HASHED = 64 };

struct en_histogram {
    unsigned alphabet;
    uint64_t pending; /* symbols since the last fold */
    uint64_t *counts;
    uint32_t *lanes;   /* LANES x 256: of symbols, or of two 4-bit ones, the first one lower */
    en_sample *sample; /* NULL with 256 symbols */
};

entro_status en_histogram_new(en_histogram **out, unsigned alphabet, entro_error *err)
{
    if (alphabet != 16 && alphabet != 256)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "alphabet of %u symbols; expected 16 or 256",
                       alphabet);
    en_histogram *h = en_alloc_zero(1, sizeof *h);
    if (!h)
        return en_fail_memory(err);
    h->alphabet = alphabet;
    h->counts = en_alloc_zero(256, sizeof *h->counts);
    h->lanes = en_alloc_zero(LANES * 256, sizeof *h->lanes);
    if (alphabet == 16)
        h->sample = en_alloc_zero(1, sizeof *h->sample);
    if (!h->counts || !h->lanes || (alphabet == 16 && !h->sample)) {
        en_histogram_free(h);
        return en_fail_memory(err);
    }
    *out = h;
    return ENTRO_OK;
}

void en_histogram_free(en_histogram *h)
{
    if (!h)
        return;
    en_free(h->counts);
    en_free(h->lanes);
    en_free(h->sample);
    en_free(h);
}

void en_histogram_clear(en_histogram *h)
{
    memset(h->counts, 0, 256 * sizeof *h->counts);
    memset(h->lanes, 0, LANES * 256 * sizeof *h->lanes);
    h->pending = 0;
    if (h->sample)
        h->sample->n_blocks = h->sample->level = 0;
}

/* A histogram belongs to one thread, so a const one may be brought up to date as well. */
static void fold(const en_histogram *h)
{
    for (size_t i = 0; i < LANES * 256; i++) {
        if (h->alphabet == 256) {
            h->counts[i & 255] += h->lanes[i];
        } else {
            h->counts[i & 15] += h->lanes[i];
            h->counts[i >> 4 & 15] += h->lanes[i];
        }
    }
    memset(h->lanes, 0, LANES * 256 * sizeof *h->lanes);
}

/* ---- the sample -------------------------------------------------------------------------- */

bool en_sample_chosen(const en_sample *s, unsigned block, unsigned level)
{
    return (s->keys[block] & (((uint64_t)1 << level) - 1)) == 0;
}

static void move_block(en_sample *to, unsigned at, const en_sample *from, unsigned block)
{
    memmove(to->symbols[at], from->symbols[block], from->n_symbols[block]);
    to->n_symbols[at] = from->n_symbols[block];
    to->keys[at] = from->keys[block];
}

static void raise_level(en_sample *s)
{
    unsigned n = 0;
    s->level++;
    for (unsigned i = 0; i < s->n_blocks; i++)
        if (en_sample_chosen(s, i, s->level))
            move_block(s, n++, s, i);
    s->n_blocks = n;
}

/* Makes room for a block with this key, unless the level says that it is not chosen. */
static bool make_room(en_sample *s, uint64_t key)
{
    for (;;) {
        if ((key & (((uint64_t)1 << s->level) - 1)) != 0)
            return false;
        if (s->n_blocks < EN_SAMPLE_BLOCKS)
            return true;
        if (s->level == LEVEL_MAX)
            return false;
        raise_level(s);
    }
}

static void sample_piece(en_sample *s, const uint8_t *symbols, size_t n)
{
    for (size_t at = 0; at < n; at += EN_SAMPLE_BLOCK) {
        size_t m = n - at < EN_SAMPLE_BLOCK ? n - at : EN_SAMPLE_BLOCK;
        /* The first symbols tell most blocks apart, the place in the piece some of those that are
         * equal. */
        uint64_t hash = en_hash64(symbols + at, m < HASHED ? m : HASHED);
        uint64_t key = (hash + at) * 0x9e3779b97f4a7c15u;
        key ^= key >> 32;
        if (!make_room(s, key))
            continue;
        memcpy(s->symbols[s->n_blocks], symbols + at, m);
        s->n_symbols[s->n_blocks] = (uint16_t)m;
        s->keys[s->n_blocks++] = key;
    }
}

static void merge_samples(en_sample *to, const en_sample *from)
{
    while (to->level < from->level)
        raise_level(to);
    for (unsigned i = 0; i < from->n_blocks; i++)
        if (make_room(to, from->keys[i]))
            move_block(to, to->n_blocks++, from, i);
}

/* ---- counting ---------------------------------------------------------------------------- */

static void count_bytes(en_histogram *h, const uint8_t *s, size_t n)
{
    uint32_t *a = h->lanes, *b = a + 256, *c = b + 256, *d = c + 256;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x = en_load64(s + i);
        a[x & 255]++;
        b[x >> 8 & 255]++;
        c[x >> 16 & 255]++;
        d[x >> 24 & 255]++;
        a[x >> 32 & 255]++;
        b[x >> 40 & 255]++;
        c[x >> 48 & 255]++;
        d[x >> 56]++;
    }
    for (; i < n; i++)
        a[s[i]]++;
}

static void count_nibbles(en_histogram *h, const uint8_t *s, size_t n)
{
    uint32_t *a = h->lanes, *b = a + 256, *c = b + 256, *d = c + 256;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x = en_load64(s + i);
        x |= x >> 4;
        a[x & 255]++;
        b[x >> 16 & 255]++;
        c[x >> 32 & 255]++;
        d[x >> 48 & 255]++;
    }
    for (; i < n; i++)
        h->counts[s[i] & 15]++;
}

void en_histogram_add(en_histogram *h, const uint8_t *symbols, size_t n)
{
    if (h->sample)
        sample_piece(h->sample, symbols, n);
    while (n > 0) {
        size_t piece = n < FOLD_AT ? n : FOLD_AT;
        if (h->pending + piece > UINT32_MAX) {
            fold(h);
            h->pending = 0;
        }
        h->pending += piece;
        if (h->alphabet == 256)
            count_bytes(h, symbols, piece);
        else
            count_nibbles(h, symbols, piece);
        symbols += piece;
        n -= piece;
    }
}

void en_histogram_merge(en_histogram *to, const en_histogram *from)
{
    const uint64_t *counts = en_histogram_counts(from);
    for (unsigned i = 0; i < 256; i++)
        to->counts[i] += counts[i];
    if (to->sample && from->sample)
        merge_samples(to->sample, from->sample);
}

unsigned en_histogram_alphabet(const en_histogram *h)
{
    return h->alphabet;
}

const en_sample *en_histogram_sample(const en_histogram *h)
{
    return h->sample;
}

const uint64_t *en_histogram_counts(const en_histogram *h)
{
    fold(h);
    return h->counts;
}

uint64_t en_histogram_total(const en_histogram *h)
{
    const uint64_t *counts = en_histogram_counts(h);
    uint64_t total = 0;
    for (unsigned i = 0; i < h->alphabet; i++)
        total += counts[i];
    return total;
}

double en_histogram_entropy(const en_histogram *h)
{
    double total = (double)en_histogram_total(h), bits = 0;
    for (unsigned i = 0; i < h->alphabet; i++)
        if (h->counts[i])
            bits += (double)h->counts[i] * log2(total / (double)h->counts[i]);
    return total > 0 ? bits / total : 0;
}

double en_histogram_huffman_bits(const en_histogram *h)
{
    uint64_t total = en_histogram_total(h);
    return total ? (double)en_huffman_total(h->counts, h->alphabet) / (double)total : 0;
}
