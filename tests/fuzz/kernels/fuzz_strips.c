/*
 * fuzz_strips.c - coding 2 with hostile tables, words and raw bits: every variant this machine
 * supports must agree with the reference in values, sums and lanes, inside memory of exactly the
 * size the contract asks for.
 *
 *   | mode: 1 | chunks - 1, in bits 0, 1; vectors - 1: 1 | units: 1 | bytes of words: 2 |
 *   | stored table | words | the rest, over and over: raw bits, units, then x |
 *
 * The units are of 1 to 8 bits a value: one more than the first byte has beyond the mode.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "kernels/kernels.h"
#include "fuzz_entry.h"

enum { HEAD = 5, MOST_UNITS = 20, MAX_VARIANTS = 5 };

typedef struct input {
    en_pair_table table;
    en_strip_mode mode;
    size_t n_chunks, n_vectors, n_units;
    uint8_t *words, *raw; /* of all chunks */
    unsigned unit_bits;
    uint8_t *units;
    size_t n_words;
    int8_t *x[EN_STRIP_MAX_VECTORS];
} input;

static void require(int ok)
{
    if (!ok)
        abort();
}

static void *exact(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    require(p != NULL);
    return p;
}

/* n bytes of 'from' over and over, and zeros behind them. */
static uint8_t *repeat(const uint8_t *from, size_t n_from, size_t n, size_t n_pad)
{
    uint8_t *p = exact(n + n_pad);
    memset(p, 0, n + n_pad);
    for (size_t i = 0; i < n && n_from > 0; i++)
        p[i] = from[i % n_from];
    return p;
}

static int read_input(input *in, const uint8_t *data, size_t n_bytes)
{
    entro_error err;
    if (n_bytes < HEAD + EN_PAIR_STORED_BYTES ||
        en_pair_table_load(&in->table, data + HEAD, &err) != ENTRO_OK)
        return 0;
    in->mode = data[0] % EN_STRIP_MODE_COUNT;
    in->n_chunks = data[1] % EN_STRIP_MAX_CHUNKS + 1;
    in->n_vectors = data[1] / EN_STRIP_MAX_CHUNKS % EN_STRIP_MAX_VECTORS + 1;
    /* The more side by side, the fewer units: what takes long finds nothing more. */
    in->n_units = data[2] % (MOST_UNITS / (in->n_chunks + in->n_vectors - 1) + 1);
    const uint8_t *rest = data + HEAD + EN_PAIR_STORED_BYTES;
    size_t n_rest = n_bytes - HEAD - EN_PAIR_STORED_BYTES, n_words = en_load16(data + 3);
    in->n_words = n_words < n_rest ? n_words : n_rest;
    in->words = repeat(rest, in->n_words, in->n_words, EN_STRIP_IN_PAD);
    rest += in->n_words;
    n_rest -= in->n_words;
    in->raw =
        repeat(rest, n_rest, in->n_units * en_strip_raw_unit_bytes(in->mode), EN_STRIP_IN_PAD);
    in->unit_bits = data[0] / EN_STRIP_MODE_COUNT % 8 + 1;
    in->units = repeat(rest, n_rest, in->n_units * en_unit_bytes(in->unit_bits), 0);
    for (size_t v = 0; v < in->n_vectors; v++) {
        size_t skip = n_rest > v ? v : 0;
        in->x[v] = (int8_t *)repeat(rest + skip, n_rest - skip, in->n_units * EN_UNIT_COLS, 0);
    }
    return 1;
}

static void free_input(input *in)
{
    free(in->words);
    free(in->raw);
    free(in->units);
    for (size_t v = 0; v < in->n_vectors; v++)
        free(in->x[v]);
}

/* The chunks start at different words, without the words that a real chunk starts with. */
static void start(const input *in, en_strip_lanes lanes[EN_STRIP_MAX_CHUNKS])
{
    memset(lanes, 0, EN_STRIP_MAX_CHUNKS * sizeof *lanes);
    for (size_t c = 0; c < in->n_chunks; c++) {
        lanes[c].next = in->words + in->n_words * c / EN_STRIP_MAX_CHUNKS;
        lanes[c].end = in->words + in->n_words;
        lanes[c].raw = in->raw;
        for (size_t i = 0; i < EN_STRIP_LANES; i++)
            lanes[c].position[i] = (uint8_t)((c + i) % 30);
    }
}

/* Units as they are and as bytes have the same products, and the reference's. */
static void check_units(const en_kernels *k, const input *in)
{
    size_t n_sums = in->n_vectors * EN_STRIP_ROWS * sizeof(int32_t);
    int32_t *sums[3];
    uint8_t *bytes = exact(in->n_units * en_unit_bytes(8));
    const int8_t *const *x = (const int8_t *const *)in->x;
    for (int i = 0; i < 3; i++)
        memset(sums[i] = exact(n_sums), 0, n_sums);
    k->unit_dot(in->units, in->unit_bits, in->n_units, x, in->n_vectors, sums[0]);
    k->unit_expand(in->units, in->unit_bits, in->n_units, 0, bytes);
    k->unit_dot(bytes, 8, in->n_units, x, in->n_vectors, sums[1]);
    en_kernels_ref()->unit_dot(in->units, in->unit_bits, in->n_units, x, in->n_vectors, sums[2]);
    require(memcmp(sums[0], sums[1], n_sums) == 0 && memcmp(sums[0], sums[2], n_sums) == 0);
    free(bytes);
    for (int i = 0; i < 3; i++)
        free(sums[i]);
}

/* What the kernels answer, one after the other. */
static uint8_t *answers(const en_kernels *k, const input *in, size_t *n_bytes)
{
    static en_strip_lanes lanes[2][EN_STRIP_MAX_CHUNKS];
    en_strip_lanes *at[2][EN_STRIP_MAX_CHUNKS];
    size_t stride = in->n_units * en_strip_unit_bytes(in->mode), n_units = in->n_chunks * stride;
    size_t n_sums = in->n_vectors * EN_STRIP_ROWS * sizeof(int32_t);
    uint8_t *units = exact(n_units);
    int32_t *sums = exact(n_sums * in->n_chunks), *unit_sums = exact(n_sums * in->n_chunks);
    memset(sums, 1, n_sums * in->n_chunks);
    memset(unit_sums, 1, n_sums * in->n_chunks);
    start(in, lanes[0]);
    start(in, lanes[1]);
    for (size_t c = 0; c < in->n_chunks; c++)
        for (int i = 0; i < 2; i++)
            at[i][c] = &lanes[i][c];
    k->strip_dot(at[0], in->n_chunks, &in->table, in->mode, in->n_units,
                 (const int8_t *const *)in->x, in->n_vectors, sums);
    k->strip_decode(at[1], in->n_chunks, &in->table, in->mode, in->n_units, units, stride);
    for (size_t c = 0; c < in->n_chunks; c++)
        k->unit_dot(units + c * stride, en_strip_decoded_bits(in->mode), in->n_units,
                    (const int8_t *const *)in->x, in->n_vectors,
                    unit_sums + c * in->n_vectors * EN_STRIP_ROWS);
    require(memcmp(sums, unit_sums, n_sums * in->n_chunks) == 0);
    check_units(k, in);
    for (size_t c = 0; c < in->n_chunks; c++)
        require(lanes[0][c].next <= lanes[0][c].end && lanes[1][c].next == lanes[0][c].next);
    *n_bytes = sizeof lanes + n_units + n_sums * in->n_chunks;
    uint8_t *all = exact(*n_bytes);
    memcpy(all, lanes, sizeof lanes);
    memcpy(all + sizeof lanes, sums, n_sums * in->n_chunks);
    if (n_units > 0)
        memcpy(all + sizeof lanes + n_sums * in->n_chunks, units, n_units);
    free(units);
    free(sums);
    free(unit_sums);
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const uint32_t features[MAX_VARIANTS] = {EN_CPU_AVX2, EN_CPU_AVX2 | EN_CPU_AVX512,
                                                    EN_CPU_AVX2 | EN_CPU_AVX512 | EN_CPU_AMX,
                                                    EN_CPU_NEON, EN_CPU_NEON | EN_CPU_DOTPROD};
    static input in;
    if (!read_input(&in, data, n_bytes))
        return 0;
    size_t n_expected, n_found;
    uint8_t *expected = answers(en_kernels_ref(), &in, &n_expected);
    for (int i = 0; i < MAX_VARIANTS; i++) {
        if ((features[i] & en_cpu_features()) != features[i])
            continue;
        en_kernels variant;
        en_kernels_fill(&variant, features[i]);
        uint8_t *found = answers(&variant, &in, &n_found);
        require(n_found == n_expected && memcmp(found, expected, n_found) == 0);
        free(found);
    }
    free(expected);
    free_input(&in);
    return 0;
}
