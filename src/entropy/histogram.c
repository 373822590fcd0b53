/*
 * histogram.c - counts of symbols and, for 16-symbol alphabets, of runs of four.
 *
 * Runs are counted without overlap: one increment for four symbols is cheaper than four, and single
 * symbols follow by summing up.  Every 41st symbol counts singly, so that runs begin at all columns
 * of a matrix alike: columns differ, and widths are multiples of four.
 * Two sets of 32-bit counters take turns so that equal neighbours do not wait for each other's
 * store; they are folded into 64-bit ones before they can overflow.
 */
#include "entropy/histogram.h"

#include <math.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/huffman_lengths.h"

enum { GRAMS = 65536, LANES = 4, PHASE = 41, FOLD_AT = 1 << 30 };

struct en_histogram {
    unsigned alphabet;
    uint64_t pending;  /* increments since the last fold */
    uint64_t *counts;  /* of single symbols; for grams: brought up to date when asked for */
    uint64_t *singles; /* counted singly */
    uint64_t *grams;   /* NULL with 256 symbols */
    uint32_t *lanes;   /* 2 x GRAMS, or LANES x 256 */
};

static size_t lane_items(const en_histogram *h)
{
    return h->alphabet == 16 ? 2 * GRAMS : LANES * 256;
}

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
    h->singles = en_alloc_zero(256, sizeof *h->singles);
    h->lanes = en_alloc_zero(lane_items(h), sizeof *h->lanes);
    if (alphabet == 16)
        h->grams = en_alloc_zero(GRAMS, sizeof *h->grams);
    if (!h->counts || !h->singles || !h->lanes || (alphabet == 16 && !h->grams)) {
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
    en_free(h->singles);
    en_free(h->grams);
    en_free(h->lanes);
    en_free(h);
}

void en_histogram_clear(en_histogram *h)
{
    memset(h->singles, 0, 256 * sizeof *h->singles);
    memset(h->lanes, 0, lane_items(h) * sizeof *h->lanes);
    if (h->grams)
        memset(h->grams, 0, GRAMS * sizeof *h->grams);
    h->pending = 0;
}

static void fold(const en_histogram *h)
{
    uint64_t *to = h->grams ? h->grams : h->singles;
    size_t n = h->grams ? GRAMS : 256;
    for (size_t lane = 0; lane < lane_items(h); lane += n)
        for (size_t i = 0; i < n; i++)
            to[i] += h->lanes[lane + i];
    memset(h->lanes, 0, lane_items(h) * sizeof *h->lanes);
}

static void add_bytes(en_histogram *h, const uint8_t *s, size_t n)
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

static void add_nibbles(en_histogram *h, const uint8_t *s, size_t n)
{
    uint32_t *a = h->lanes, *b = a + GRAMS;
    size_t i = 0;
    while (i + PHASE <= n) {
        for (const uint8_t *end = s + i + PHASE - 1; s + i < end; i += 8) {
            uint64_t x = __builtin_bswap64(en_load64(s + i)) & 0x0f0f0f0f0f0f0f0f;
            x = (x | x >> 4) & 0x00ff00ff00ff00ff;
            x = (x | x >> 8) & 0x0000ffff0000ffff;
            a[x >> 32]++;
            b[x & 0xffff]++;
        }
        h->singles[s[i++] & 15]++;
    }
    for (; i + 4 <= n; i += 4)
        a[(s[i] & 15) << 12 | (s[i + 1] & 15) << 8 | (s[i + 2] & 15) << 4 | (s[i + 3] & 15)]++;
    for (; i < n; i++)
        h->singles[s[i] & 15]++;
}

void en_histogram_add(en_histogram *h, const uint8_t *symbols, size_t n)
{
    while (n > 0) {
        size_t piece = n < FOLD_AT ? n : FOLD_AT;
        if (h->pending + piece > UINT32_MAX) {
            fold(h);
            h->pending = 0;
        }
        h->pending += piece;
        if (h->grams)
            add_nibbles(h, symbols, piece);
        else
            add_bytes(h, symbols, piece);
        symbols += piece;
        n -= piece;
    }
}

void en_histogram_merge(en_histogram *to, const en_histogram *from)
{
    fold(from);
    for (unsigned i = 0; i < 256; i++)
        to->singles[i] += from->singles[i];
    for (size_t i = 0; from->grams && to->grams && i < GRAMS; i++)
        to->grams[i] += from->grams[i];
}

unsigned en_histogram_alphabet(const en_histogram *h)
{
    return h->alphabet;
}

const uint64_t *en_histogram_counts(const en_histogram *h)
{
    fold(h);
    memcpy(h->counts, h->singles, 256 * sizeof *h->counts);
    for (size_t i = 0; h->grams && i < GRAMS; i++) {
        uint64_t n = h->grams[i];
        if (n == 0)
            continue;
        h->counts[i >> 12] += n;
        h->counts[i >> 8 & 15] += n;
        h->counts[i >> 4 & 15] += n;
        h->counts[i & 15] += n;
    }
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

/* ---- what follows what ------------------------------------------------------------------- */

entro_status en_run_model_new(en_run_model **out, const en_histogram *h, entro_error *err)
{
    en_run_model *m = en_alloc_zero(1, sizeof *m);
    if (!m)
        return en_fail_memory(err);
    const uint64_t *counts = en_histogram_counts(h);
    m->total = en_histogram_total(h);
    memcpy(m->counts, counts, sizeof m->counts);
    for (unsigned c = 0; c < h->alphabet; c++)
        m->single[c] = m->total ? (double)counts[c] / (double)m->total : 0;
    for (unsigned i = 0; h->grams && i < GRAMS; i++) {
        m->four[i] = (double)h->grams[i];
        m->three[i >> 4] += m->four[i];
        m->two[i >> 8] += m->four[i];
        m->one[i >> 12] += m->four[i];
    }
    *out = m;
    return ENTRO_OK;
}

void en_run_model_next(const en_run_model *m, unsigned run, unsigned n_run, double next[16])
{
    /* As if this many symbols more had been seen, distributed like single symbols: runs that were
     * rarely seen fall back on those. */
    const double prior = 8;
    const double *counts = n_run == 1   ? m->two + (run & 0xf) * 16
                           : n_run == 2 ? m->three + (run & 0xff) * 16
                                        : m->four + (run & 0xfff) * 16;
    double seen = n_run == 1   ? m->one[run & 0xf]
                  : n_run == 2 ? m->two[run & 0xff]
                               : m->three[run & 0xfff];
    for (unsigned c = 0; c < 16; c++)
        next[c] = n_run == 0 ? m->single[c] : (counts[c] + prior * m->single[c]) / (seen + prior);
}
