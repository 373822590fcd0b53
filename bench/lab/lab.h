/*
 * lab.h - what the programs of this folder share: data, codes, streams of lanes, timing.
 *
 * Each program tries one layout of coded weights on the same rounded Gaussians and prints one row of
 * a table for each sigma.  These are experiments: they trust their own streams, run one matrix on one
 * core, and stop on any failure.  What was learnt is in docs/performance.md; the layout that was
 * chosen is src/entropy/strips.h.
 */
#ifndef EN_BENCH_LAB_H
#define EN_BENCH_LAB_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "entropy/huffman_lengths.h"

#define INLINED static inline __attribute__((always_inline))

enum {
    LAB_ROWS = 3072,
    LAB_COLS = 4096,
    LAB_WEIGHTS = LAB_ROWS * LAB_COLS,
    LAB_LIST_BITS = 24, /* of a value that a layout cannot hold, as in the library's choices */
    LAB_ROUNDS = 15,
    LAB_PAD = 64, /* bytes that may be read behind a stream */
};

static const double lab_sigmas[] = {0.45, 0.6, 0.8, 1.0, 1.3, 1.93, 2.4, 5, 10};
enum { LAB_SIGMAS = sizeof lab_sigmas / sizeof *lab_sigmas };

static inline void lab_stop(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* The programs' files are compiled for these processors, so main() asks before all else. */
static inline void lab_need(uint32_t feature, const char *name)
{
    if ((en_cpu_features() & feature) != 0)
        return;
    printf("needs %s\n", name);
    exit(0);
}

static inline void *lab_alloc(size_t n_bytes)
{
    void *p = en_alloc_zero(n_bytes + LAB_PAD, 1);
    if (p == NULL)
        lab_stop("out of memory");
    return p;
}

/* ---- data ---------------------------------------------------------------------------------- */

static inline uint64_t lab_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Weights as values, the integer 0 at LAB_ZERO until lab_matrix_keep(); 'x' for products. */
enum { LAB_VALUES = 128, LAB_ZERO = LAB_VALUES / 2 };

typedef struct lab_matrix {
    uint8_t *values;
    int8_t x[LAB_COLS];
    uint64_t counts[LAB_VALUES];
    double entropy;
    size_t n_clamped; /* which go to a list; counted here, neither stored nor added */
} lab_matrix;

static inline double lab_entropy(const uint64_t *counts, size_t n_counts)
{
    double n = 0, bits = 0;
    for (size_t i = 0; i < n_counts; i++)
        n += (double)counts[i];
    for (size_t i = 0; i < n_counts; i++)
        if (counts[i] > 0)
            bits += (double)counts[i] / n * log2(n / (double)counts[i]);
    return bits;
}

static inline lab_matrix *lab_matrix_new(double sigma)
{
    lab_matrix *m = lab_alloc(sizeof *m);
    uint64_t state = 88172645463325252;
    m->values = lab_alloc(LAB_WEIGHTS);
    for (size_t i = 0; i < LAB_WEIGHTS; i++) {
        double u = (double)(lab_random(&state) >> 11) * 0x1p-53 + 1e-18,
               v = (double)(lab_random(&state) >> 11) * 0x1p-53;
        double z = floor(sqrt(-2 * log(u)) * cos(6.283185307179586 * v) * sigma + 0.5);
        int value = LAB_ZERO + (int)z;
        if (value < 0 || value >= LAB_VALUES)
            lab_stop("sigma too large");
        m->counts[value]++;
        m->values[i] = (uint8_t)value;
    }
    for (size_t i = 0; i < LAB_COLS; i++)
        m->x[i] = (int8_t)(lab_random(&state) >> 40);
    m->entropy = lab_entropy(m->counts, LAB_VALUES);
    return m;
}

/* Clamps to n values from 'first' and counts from there. */
static inline void lab_matrix_keep(lab_matrix *m, int first, int n)
{
    for (size_t i = 0; i < LAB_WEIGHTS; i++) {
        int value = m->values[i] - first, held = value < 0 ? 0 : value >= n ? n - 1 : value;
        m->n_clamped += held != value;
        m->values[i] = (uint8_t)held;
    }
}

static inline void lab_matrix_free(lab_matrix *m)
{
    en_free(m->values);
    en_free(m);
}

static inline double lab_list_bits(const lab_matrix *m)
{
    return (double)LAB_LIST_BITS * (double)m->n_clamped / LAB_WEIGHTS;
}

/* Stops unless sums[r] is the product of row r. */
static inline void lab_check_sums(const lab_matrix *m, const int32_t *sums)
{
    for (size_t r = 0; r < LAB_ROWS; r++) {
        int32_t sum = 0;
        for (size_t c = 0; c < LAB_COLS; c++)
            sum += m->values[r * LAB_COLS + c] * m->x[c];
        if (sum != sums[r])
            lab_stop("a product is wrong");
    }
}

/* G weights a second of 'work', which takes all of a matrix; best of some rounds. */
static inline double lab_rate(void (*work)(void *), void *arg)
{
    double best = 1e9;
    for (int round = 0; round < LAB_ROUNDS; round++) {
        double start = en_clock_seconds();
        work(arg);
        double t = en_clock_seconds() - start;
        best = t < best ? t : best;
    }
    return LAB_WEIGHTS / best * 1e-9;
}

/* ---- codes --------------------------------------------------------------------------------- */

typedef struct lab_code {
    uint8_t bits[256];
    uint16_t code[256]; /* first bit of the code lowest, as it lies in a stream */
} lab_code;

/* Best lengths for n <= 256 counts; symbols that do not occur get none. */
static inline void lab_code_build(lab_code *c, const uint64_t *counts, unsigned n,
                                  unsigned max_bits)
{
    static en_huffman_work work;
    uint64_t weights[256];
    uint8_t symbols[256], bits[256];
    uint16_t codes[256];
    unsigned n_used = 0;
    for (unsigned i = 0; i < n; i++)
        if (counts[i] > 0) {
            symbols[n_used] = (uint8_t)i;
            weights[n_used++] = counts[i];
        }
    en_huffman_lengths(&work, weights, n_used, max_bits, bits);
    if (!en_huffman_codes(bits, n_used, max_bits, codes, NULL))
        lab_stop("no code");
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < n_used; i++) {
        c->bits[symbols[i]] = bits[i];
        for (unsigned b = 0; b < bits[i]; b++)
            c->code[symbols[i]] |= (uint16_t)((codes[i] >> b & 1u) << (bits[i] - 1u - b));
    }
}

/*
 * The code for single weights that needs the fewest bits, the list included, and the matrix brought
 * to what it holds: at most 16 values around 0.  Under a limit of the lengths a rare value would take
 * its share of codes from the others.
 */
static inline void lab_code_choose(lab_code *best, lab_matrix *m, unsigned max_bits)
{
    double least = 1e300;
    int first = 0, n = 0;
    for (int below = 1; below <= 8; below++)
        for (int above = 1; above <= 7; above++) {
            uint64_t counts[16] = {0};
            int n_kept = below + above + 1;
            for (int i = 0; i < LAB_VALUES; i++) {
                int value = i - (LAB_ZERO - below);
                counts[value < 0 ? 0 : value >= n_kept ? n_kept - 1 : value] += m->counts[i];
            }
            lab_code code;
            lab_code_build(&code, counts, (unsigned)n_kept, max_bits);
            double bits = 0;
            for (int i = 0; i < n_kept; i++)
                bits += (double)counts[i] * code.bits[i];
            for (int i = 0; i < LAB_VALUES; i++)
                if (i < LAB_ZERO - below || i > LAB_ZERO + above)
                    bits += LAB_LIST_BITS * (double)m->counts[i];
            if (bits < least) {
                least = bits;
                *best = code;
                first = LAB_ZERO - below;
                n = n_kept;
            }
        }
    lab_matrix_keep(m, first, n);
}

/* Table of 64 windows for codes of at most 6 bits: symbol | length << 4. */
static inline void lab_code_table(const lab_code *c, uint8_t table[64])
{
    for (unsigned window = 0; window < 64; window++)
        for (unsigned s = 0; s < 16; s++)
            if (c->bits[s] > 0 && (window & ((1u << c->bits[s]) - 1)) == c->code[s])
                table[window] = (uint8_t)(s | (unsigned)c->bits[s] << 4);
}

/* ---- streams of lanes ---------------------------------------------------------------------- */

/*
 * Bit strings of up to 64 lanes in 16-bit words, in the order in which a decoder asks for them: two
 * words of every lane at the start; then, before every second step, one word for each lane whose
 * position has reached 16, which falls by 16.
 */
typedef struct lab_lanes {
    const uint8_t *symbols; /* of a step: n_lanes, in the order of the lanes' turns */
    size_t n_lanes, n_steps;
    const lab_code *code;
} lab_lanes;

static inline uint16_t *lab_lane_words(const lab_lanes *l, size_t lane)
{
    uint16_t *words = lab_alloc(l->n_steps + 16);
    size_t at = 0;
    for (size_t s = 0; s < l->n_steps; s++) {
        uint8_t symbol = l->symbols[s * l->n_lanes + lane];
        uint32_t bits = (uint32_t)l->code->code[symbol] << (at & 15);
        words[at >> 4] |= (uint16_t)bits;
        words[(at >> 4) + 1] |= (uint16_t)(bits >> 16);
        at += l->code->bits[symbol];
    }
    return words;
}

/* Returns the words; *n_words of them. */
static inline uint16_t *lab_lanes_encode(const lab_lanes *l, size_t *n_words)
{
    uint16_t *lane[64], *out = lab_alloc(l->n_lanes * (l->n_steps + 4));
    size_t next[64], position[64] = {0}, n = 0;
    for (size_t i = 0; i < l->n_lanes; i++)
        lane[i] = lab_lane_words(l, i);
    for (size_t word = 0; word < 2; word++)
        for (size_t i = 0; i < l->n_lanes; i++)
            out[n++] = lane[i][word];
    for (size_t i = 0; i < l->n_lanes; i++)
        next[i] = 2;
    for (size_t s = 0; s < l->n_steps; s++)
        for (size_t i = 0; i < l->n_lanes; i++) {
            if (s % 2 == 0 && position[i] >= 16) {
                out[n++] = lane[i][next[i]++];
                position[i] -= 16;
            }
            position[i] += l->code->bits[l->symbols[s * l->n_lanes + i]];
        }
    for (size_t i = 0; i < l->n_lanes; i++)
        en_free(lane[i]);
    *n_words = n;
    return out;
}

#endif
