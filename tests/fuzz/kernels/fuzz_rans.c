/*
 * fuzz_rans.c - coding 4, and lists of differences, with hostile frequencies, words and entries: every variant this
 * machine supports must agree with the reference, inside memory of exactly the size the contract asks for.
 *
 *   | units: 1 | entries: 1 | columns less 1: 2 | shift: 1 | stored code | the rest: words; over and over: entries, q |
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "kernels/kernels.h"
#include "fuzz_entry.h"

enum { HEAD = 5, MOST_UNITS = 6, MOST_COLS = 4096, MAX_VARIANTS = 4 };
enum { UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS };

typedef struct input {
    en_rans_table table;
    size_t n_units;
    uint8_t *words; /* and EN_STRIP_IN_PAD zeros */
    size_t n_words;
    en_strip_list list;
    uint8_t *cols, *tags, *large;
    int16_t *q; /* one more than there are columns */
} input;

static void require(int ok)
{
    if (!ok)
        abort();
}

/* n bytes of 'from' from byte 'skip' on, over and over. */
static uint8_t *repeat(const uint8_t *from, size_t n_from, size_t skip, size_t n)
{
    uint8_t *p = malloc(n > 0 ? n : 1);
    require(p != NULL);
    for (size_t i = 0; i < n; i++)
        p[i] = n_from > 0 ? from[(skip + i) % n_from] : 0;
    return p;
}

static void read_list(input *in, const uint8_t *data, const uint8_t *rest, size_t n_rest)
{
    size_t n = data[1], n_cols = en_load16(data + 2) % MOST_COLS + 1;
    in->cols = repeat(rest, n_rest, 1, 2 * n);
    in->tags = repeat(rest, n_rest, 3, n);
    in->list = (en_strip_list){
        .n = (uint32_t)n, .shift = data[4] % 24, .cols = in->cols, .tags = in->tags};
    for (size_t i = 0; i < n; i++) {
        en_store16(in->cols + 2 * i, (uint16_t)(en_load16(in->cols + 2 * i) % n_cols));
        in->list.n_large += in->tags[i] >> 4 == 0;
    }
    in->list.large = in->large = repeat(rest, n_rest, 5, 4 * (size_t)in->list.n_large);
    in->q = (int16_t *)(void *)repeat(rest, n_rest, 7, 2 * (n_cols + 1));
}

static int read_input(input *in, const uint8_t *data, size_t n_bytes)
{
    en_rans_code code;
    entro_error err;
    size_t n_used;
    if (n_bytes < HEAD ||
        en_rans_code_load(&code, data + HEAD, n_bytes - HEAD, &n_used, &err) != ENTRO_OK)
        return 0;
    en_rans_table_fill(&in->table, &code);
    const uint8_t *rest = data + HEAD + n_used;
    size_t n_rest = n_bytes - HEAD - n_used;
    in->n_units = data[0] % (MOST_UNITS + 1);
    in->n_words = n_rest > EN_RANS_START_BYTES ? n_rest : EN_RANS_START_BYTES;
    in->words = repeat(rest, n_rest, 0, in->n_words + EN_STRIP_IN_PAD);
    memset(in->words + in->n_words, 0, EN_STRIP_IN_PAD);
    read_list(in, data, rest, n_rest);
    return 1;
}

static void free_input(input *in)
{
    free(in->words);
    free(in->cols);
    free(in->tags);
    free(in->large);
    free(in->q);
}

typedef struct answer {
    en_rans_lanes lanes;
    uint8_t *units;
    uint32_t last_col, n_large;
    int64_t sums[EN_STRIP_ROWS];
} answer;

static answer ask(const en_kernels *k, const input *in)
{
    answer a = {.units = malloc(in->n_units * UNIT_BYTES + 1)};
    require(a.units != NULL);
    en_rans_start(&a.lanes, in->words, in->words + in->n_words);
    k->rans_decode(&a.lanes, &in->table, in->n_units, a.units);
    require(a.lanes.next - a.lanes.end <= EN_STRIP_IN_PAD);
    a.last_col = k->list_scan(&in->list, &a.n_large);
    require(a.n_large == in->list.n_large);
    k->list_add(&in->list, in->q, a.sums);
    return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const uint32_t features[MAX_VARIANTS] = {EN_CPU_AVX2, EN_CPU_AVX2 | EN_CPU_AVX512,
                                                    EN_CPU_NEON, EN_CPU_NEON | EN_CPU_DOTPROD};
    static input in;
    memset(&in, 0, sizeof in);
    if (!read_input(&in, data, n_bytes))
        return 0;
    answer expected = ask(en_kernels_ref(), &in);
    for (int i = 0; i < MAX_VARIANTS; i++) {
        if ((features[i] & en_cpu_features()) != features[i])
            continue;
        en_kernels variant;
        en_kernels_fill(&variant, features[i]);
        answer found = ask(&variant, &in);
        require(memcmp(found.units, expected.units, in.n_units * UNIT_BYTES) == 0);
        require(memcmp(found.lanes.states, expected.lanes.states, sizeof found.lanes.states) == 0);
        require(found.lanes.next == expected.lanes.next && found.last_col == expected.last_col);
        require(memcmp(found.sums, expected.sums, sizeof found.sums) == 0);
        free(found.units);
    }
    free(expected.units);
    free_input(&in);
    return 0;
}
