/*
 * bench_strips - coding 2 on one core: product and decoding, by rate and mode.
 *
 *   bench_strips [--rows N] [--cols N] [--rounds N] [SIGMA ...]
 *
 * A second table has the product of one decoded strip, which lies in the cache, in multiplications.
 *
 * Integers are rounded Gaussians of each SIGMA.  Every figure is the best of some rounds; every
 * product is compared with the plain sum over the integers.  'cache': one strip group over and over;
 * 'memory': all strips in turn.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <entrollm/entrollm.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/activations.h"
#include "thread_clock.h"

enum { STRIPS_A_CHUNK = 4, MAX_SIGMAS = 32, MANY_VECTORS = 256 };

static size_t n_rows = 4096, n_cols = 4096;
static int n_rounds = 7;

static void stop(const char *what)
{
    fprintf(stderr, "bench_strips: %s\n", what);
    exit(1);
}

static uint64_t random64(void)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static double gaussian(void)
{
    double u = (double)(random64() >> 11) * 0x1p-53 + 1e-18,
           v = (double)(random64() >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

typedef struct matrix {
    int32_t *z;
    double entropy;
    en_strip_layout layout;
    en_pair_code code;
    size_t n_chunks, n_exceptions;
    uint8_t **words, **raw; /* of each chunk */
    size_t *n_words, n_bytes;
    int8_t *x[EN_STRIP_MAX_VECTORS];
    int64_t *sum_x; /* of each vector */
    int32_t *deltas;
} matrix;

static double entropy_of(const int32_t *z, size_t n)
{
    static uint64_t counts[4096];
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < n; i++)
        counts[z[i] + 2048]++;
    double bits = 0;
    for (int i = 0; i < 4096; i++)
        if (counts[i] > 0)
            bits += (double)counts[i] * log2((double)n / (double)counts[i]);
    return bits / (double)n;
}

static en_strip_layout layout_of(en_strip_mode mode)
{
    return (en_strip_layout){mode, -(1 << (en_strip_value_bits(mode) - 1))};
}

static void choose(matrix *m)
{
    double least = 1e300;
    entro_error err;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++) {
        uint64_t counts[256] = {0}, outside = 0;
        en_pair_code code;
        for (size_t r = 0; r < n_rows; r += 128)
            en_kernels_get()->strip_count(m->z + r * n_cols, n_cols, n_cols, layout_of(mode),
                                          counts, &outside);
        if (en_pair_code_build(&code, counts, EN_STRIP_EXCEPTION_BITS, &err) != ENTRO_OK)
            stop("no code");
        double n = (double)(n_rows / 128 * 16 * n_cols);
        double bits =
            (code.bits + EN_STRIP_EXCEPTION_BITS * (double)outside) / n + en_strip_raw_bits(mode);
        if (bits < least) {
            least = bits;
            m->layout = layout_of(mode);
            m->code = code;
        }
    }
}

static void encode(matrix *m)
{
    entro_error err;
    en_strip_encoder *e;
    size_t chunk_rows = STRIPS_A_CHUNK * EN_STRIP_ROWS;
    m->n_chunks = n_rows / chunk_rows;
    m->words = calloc(m->n_chunks, sizeof *m->words);
    m->raw = calloc(m->n_chunks, sizeof *m->raw);
    m->n_words = calloc(m->n_chunks, sizeof *m->n_words);
    if (en_strip_encoder_new(&e, en_kernels_get()->strip_encode, &err) != ENTRO_OK)
        stop("out of memory");
    for (size_t c = 0; c < m->n_chunks; c++) {
        en_strip_encoder_start(e);
        for (unsigned s = 0; s < STRIPS_A_CHUNK; s++)
            if (en_strip_encoder_add(e, m->z + (c * chunk_rows + s * EN_STRIP_ROWS) * n_cols,
                                     n_cols, n_cols, m->layout, &m->code, s * EN_STRIP_ROWS, 0,
                                     &err))
                stop("out of memory");
        const uint8_t *words, *raw;
        en_strip_exception *list;
        size_t n_words, n_raw, n_list;
        if (en_strip_encoder_finish(e, &words, &n_words, &raw, &n_raw, &list, &n_list, &err))
            stop("out of memory");
        m->words[c] = aligned_alloc(64, (n_words + 64 + 127) / 64 * 64);
        m->raw[c] = aligned_alloc(64, (n_raw + 127) / 64 * 64);
        memcpy(m->words[c], words, n_words);
        if (n_raw > 0)
            memcpy(m->raw[c], raw, n_raw);
        m->n_words[c] = n_words;
        m->n_bytes += n_words + n_raw + n_list * 3;
        m->n_exceptions += n_list;
        for (size_t i = 0; i < n_list; i++) /* so that the plain sum agrees */
            m->z[(c * chunk_rows + list[i].row) * n_cols + list[i].col] -= list[i].delta;
    }
    en_strip_encoder_free(e);
}

static void start_chunk(const matrix *m, size_t c, en_strip_lanes *l)
{
    memcpy(l->low, m->words[c], 2 * sizeof l->low);
    memset(l->position, 0, sizeof l->position);
    l->next = m->words[c] + 2 * EN_STRIP_START_WORDS;
    l->end = m->words[c] + m->n_words[c];
    l->raw = m->raw[c];
}

/* Chunk 'first' and the next ones; returns how many there are. */
static size_t start_chunks(const matrix *m, size_t first, size_t side_by_side,
                           en_strip_lanes *lanes, en_strip_lanes **states)
{
    size_t n = m->n_chunks - first < side_by_side ? m->n_chunks - first : side_by_side;
    for (size_t i = 0; i < n; i++) {
        states[i] = &lanes[i];
        start_chunk(m, first + i, states[i]);
    }
    return n;
}

/* All rows; sums[vector][row]. */
static void product(const matrix *m, size_t side_by_side, size_t n_vectors, int32_t *sums)
{
    const en_kernels *k = en_kernels_get();
    en_strip_lanes lanes[EN_STRIP_MAX_CHUNKS], *states[EN_STRIP_MAX_CHUNKS];
    int32_t part[EN_STRIP_MAX_CHUNKS * EN_STRIP_MAX_VECTORS * EN_STRIP_ROWS];
    for (size_t c = 0; c < m->n_chunks; c += side_by_side) {
        size_t n = start_chunks(m, c, side_by_side, lanes, states);
        for (size_t s = 0; s < STRIPS_A_CHUNK; s++) {
            memset(part, 0, sizeof part);
            k->strip_dot(states, n, &m->code.table, m->layout.mode, n_cols / EN_UNIT_COLS,
                         (const int8_t *const *)m->x, n_vectors, part);
            for (size_t i = 0; i < n; i++)
                for (size_t v = 0; v < n_vectors; v++)
                    memcpy(sums + v * n_rows + ((c + i) * STRIPS_A_CHUNK + s) * EN_STRIP_ROWS,
                           part + (i * n_vectors + v) * EN_STRIP_ROWS,
                           sizeof *part * EN_STRIP_ROWS);
        }
    }
}

/* To where it stays in the cache: one strip of each chunk. */
static void decode_all(const matrix *m, size_t side_by_side, uint8_t *out)
{
    en_strip_lanes lanes[EN_STRIP_MAX_CHUNKS], *states[EN_STRIP_MAX_CHUNKS];
    size_t n_units = n_cols / EN_UNIT_COLS;
    for (size_t c = 0; c < m->n_chunks; c += side_by_side) {
        size_t n = start_chunks(m, c, side_by_side, lanes, states);
        for (size_t s = 0; s < STRIPS_A_CHUNK; s++)
            en_kernels_get()->strip_decode(states, n, &m->code.table, m->layout.mode, n_units, out,
                                           n_units * en_strip_unit_bytes(m->layout.mode));
    }
}

static void check(const matrix *m, size_t n_vectors, const int32_t *sums)
{
    for (size_t v = 0; v < n_vectors; v++)
        for (size_t r = 0; r < n_rows; r++) {
            int64_t sum = 0;
            for (size_t k = 0; k < n_cols; k++)
                sum += (int64_t)(m->z[r * n_cols + k] - m->layout.base) * m->x[v][k];
            if (sum != sums[v * n_rows + r])
                stop("a product is wrong");
        }
}

static double rate(double seconds)
{
    return (double)n_rows * (double)n_cols / seconds * 1e-9;
}

static void bench_products(const matrix *m)
{
    static const struct {
        size_t side_by_side, n_vectors;
    } cases[] = {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {1, 2}, {2, 2},
                 {3, 2}, {1, 4}, {2, 4}, {1, 8}, {1, 16}};
    int32_t *sums = calloc(n_rows * EN_STRIP_MAX_VECTORS, sizeof *sums);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double best = 1e9;
        for (int round = 0; round < n_rounds; round++) {
            double start = thread_seconds();
            product(m, cases[i].side_by_side, cases[i].n_vectors, sums);
            double t = thread_seconds() - start;
            best = t < best ? t : best;
        }
        check(m, cases[i].n_vectors, sums);
        printf(" %.1f |", rate(best));
    }
    free(sums);
}

static void bench_decoding(const matrix *m)
{
    uint8_t *out = malloc(EN_STRIP_MAX_CHUNKS * EN_STRIP_ROWS * n_cols);
    for (size_t side_by_side = 1; side_by_side <= EN_STRIP_MAX_CHUNKS; side_by_side++) {
        double best = 1e9;
        for (int round = 0; round < n_rounds; round++) {
            double start = thread_seconds();
            decode_all(m, side_by_side, out);
            double t = thread_seconds() - start;
            best = t < best ? t : best;
        }
        printf(" %.1f |", rate(best));
    }
    free(out);
}

static void bench_sigma(double sigma)
{
    matrix m = {.z = malloc(n_rows * n_cols * sizeof *m.z)};
    for (size_t i = 0; i < n_rows * n_cols; i++)
        m.z[i] = (int32_t)floor(gaussian() * sigma + 0.5);
    m.entropy = entropy_of(m.z, n_rows * n_cols);
    for (size_t v = 0; v < EN_STRIP_MAX_VECTORS; v++) {
        m.x[v] = malloc(n_cols);
        for (size_t k = 0; k < n_cols; k++)
            m.x[v][k] = (int8_t)(random64() >> 40);
    }
    choose(&m);
    encode(&m);
    static const char *const modes[] = {"N0", "N1", "N2", "W1", "W2", "W3", "W4"};
    double stored = 8.0 * (double)m.n_bytes / (double)(n_rows * n_cols);
    printf("| %.2f | %s | %.3f | %.3f (+%.3f) | %.1e |", sigma, modes[m.layout.mode], m.entropy,
           stored, stored - m.entropy, (double)m.n_exceptions / (double)(n_rows * n_cols));
    bench_products(&m);
    bench_decoding(&m);
    printf("\n");
    fflush(stdout);
}

static double time_units(const uint8_t *units, unsigned bits, const int8_t *const *x,
                         size_t n_vectors, int32_t *sums)
{
    enum { CALLS = 10 }; /* asking for the time takes as long as a call with one vector */
    double best = 1e9;
    for (int round = 0; round < n_rounds; round++) {
        double start = thread_seconds();
        for (int i = 0; i < CALLS; i++)
            en_kernels_get()->unit_dot(units, bits, n_cols / EN_UNIT_COLS, x, n_vectors, sums);
        double t = (thread_seconds() - start) / CALLS;
        best = t < best ? t : best;
    }
    return best;
}

static void bench_units(void)
{
    static const size_t n_vectors[] = {1, 2, 3, 4, 8, 12, 16, 64, MANY_VECTORS};
    enum { CASES = sizeof n_vectors / sizeof *n_vectors };
    const int8_t *x[MANY_VECTORS];
    uint8_t *units = malloc(2 * EN_STRIP_ROWS * n_cols);
    size_t stride = en_activations_stride(n_cols);
    int8_t *columns = malloc(MANY_VECTORS * stride);
    int32_t *sums = calloc(MANY_VECTORS * EN_STRIP_ROWS, sizeof *sums);
    for (size_t i = 0; i < 2 * EN_STRIP_ROWS * n_cols; i++)
        units[i] = (uint8_t)random64();
    for (size_t i = 0; i < MANY_VECTORS * stride; i++)
        columns[i] = (int8_t)random64();
    for (size_t v = 0; v < MANY_VECTORS; v++)
        x[v] = columns + v * stride;
    printf("\nproducts of decoded units, G multiply-adds/s; columns: vectors\n\n| units |");
    for (int i = 0; i < CASES; i++)
        printf(" %zu |", n_vectors[i]);
    /* Those of 8 bits again with values of fewer, as a prompt meets them. */
    for (unsigned row = 1, bits, held; row <= 10; row++) {
        bits = row < 8 ? row : 8;
        held = row <= 8 ? bits : row == 9 ? 7 : 5;
        for (size_t i = 0; bits == 8 && i < 2 * EN_STRIP_ROWS * n_cols; i++)
            units[i] &= (uint8_t)((1u << held) - 1);
        printf("\n| %u bits", bits);
        if (held < bits)
            printf(", values of %u", held);
        printf(" |");
        for (int i = 0; i < CASES; i++) {
            double n = (double)(EN_STRIP_ROWS * n_cols * n_vectors[i]);
            printf(" %.0f |", n / time_units(units, bits, x, n_vectors[i], sums) * 1e-9);
        }
    }
    printf("\n");
    free(units);
    free(columns);
    free(sums);
}

int main(int argc, char **argv)
{
    double sigmas[MAX_SIGMAS] = {0.45, 0.6, 0.8, 1.0, 1.3, 1.6, 1.93, 2.4, 3.0, 5.0, 10.0, 20.0};
    size_t n_sigmas = 12, n_given = 0;
    for (int i = 1; i < argc; i++) {
        if (i + 1 < argc && strcmp(argv[i], "--rows") == 0)
            n_rows = (size_t)atoi(argv[++i]) / 64 * 64;
        else if (i + 1 < argc && strcmp(argv[i], "--cols") == 0)
            n_cols = (size_t)atoi(argv[++i]) / 32 * 32;
        else if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0)
            n_rounds = atoi(argv[++i]);
        else if (n_given < MAX_SIGMAS && atof(argv[i]) > 0)
            sigmas[n_given++] = atof(argv[i]);
        else
            stop("usage: bench_strips [--rows N] [--cols N] [--rounds N] [SIGMA ...]");
    }
    printf("%zu x %zu, kernels: %s; G weights/s, one core; columns: chunks side by side x vectors, "
           "then "
           "chunks side by side decoded to the cache\n\n",
           n_rows, n_cols, entro_cpu_name());
    printf(
        "| sigma | mode | entropy | stored | exceptions | 1x1 | 2x1 | 3x1 | 4x1 | 1x2 | 2x2 | 3x2 "
        "| 1x4 | 2x4 | 1x8 | 1x16 | decode 1 | 2 | 3 | 4 |\n");
    for (size_t i = 0; i < (n_given ? n_given : n_sigmas); i++)
        bench_sigma(sigmas[i]);
    bench_units();
    return 0;
}
