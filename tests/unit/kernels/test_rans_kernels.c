/*
 * test_rans_kernels.c - coding 4: every variant this machine supports gives what the reference gives, be the
 * stream sound or noise, and reads no further than EN_STRIP_IN_PAD bytes behind its end: there lies a page that
 * must not be touched.
 */
#include "test_support.h"

#include <stdlib.h>
#include <string.h>

#include "kernel_support.h"
#include "kernels/kernels.h"

enum {
    MAX_UNITS = 9,
    UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS,
    REGION = 1 << 16,
};

static uint64_t state = 5;

static uint32_t draw(void)
{
    return (uint32_t)(test_random(&state) >> 32);
}

/* Few symbols or many, frequent and rare; with_gaps: some within have no frequency. */
static void random_code(en_rans_code *code, bool with_gaps)
{
    *code =
        (en_rans_code){.base = (int32_t)(draw() % 9999) - 5000, .n = 1 + draw() % EN_RANS_SYMBOLS};
    uint32_t left = EN_RANS_SCALE;
    for (uint32_t i = 0; i < code->n; i++) {
        uint32_t after = code->n - 1 - i;
        bool is_gap = with_gaps && i > 0 && after > 0 && draw() % 4 == 0;
        uint32_t freq = after == 0 ? left : is_gap ? 0 : 1 + draw() % ((left - after) / 2 + 1);
        freq = freq > left - after ? left - after : freq;
        code->freq[i] = (uint16_t)freq;
        left -= freq;
    }
}

static void check(const en_kernels *variant)
{
    static en_rans_table table;
    static uint8_t expected[MAX_UNITS * UNIT_BYTES];
    size_t n_units = draw() % (MAX_UNITS + 1), n_bytes = n_units * UNIT_BYTES;
    size_t n_words = EN_RANS_START_BYTES + 2 * (size_t)(draw() % 3000);
    uint8_t *words = place(0, n_words + EN_STRIP_IN_PAD), *units = place(1, n_bytes);
    for (size_t i = 0; i < n_words + EN_STRIP_IN_PAD; i++)
        words[i] = (uint8_t)draw();
    en_rans_code code;
    random_code(&code, false);
    en_rans_table_fill(&table, &code);
    en_rans_lanes a, b;
    en_rans_start(&a, words, words + n_words);
    b = a;
    en_rans_decode(&a, &table, n_units, expected);
    variant->rans_decode(&b, &table, n_units, units);
    assert_memory_equal(units, expected, n_bytes);
    assert_memory_equal(a.states, b.states, sizeof a.states);
    assert_true(a.next == b.next && a.end == b.end);
    check_canary(units);
}

/* Integers of a spread that the code was made for, some of them out of its range, some as far as can be. */
static void random_integers(int32_t *z, size_t n, const en_rans_symbols *symbols)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t kind = draw() % 64;
        z[i] = kind == 0   ? (int32_t)draw()
               : kind == 1 ? symbols->base - 1 - (int32_t)(draw() % 9)
               : kind == 2 ? symbols->base + (int32_t)(symbols->n + draw() % 9)
                           : symbols->base + (int32_t)(draw() % symbols->n);
    }
}

static int by_place(const void *a, const void *b)
{
    return memcmp(a, b, 2 * sizeof(uint32_t));
}

/* Words, states and list of units one after the other. */
static void check_encoder(const en_kernels *variant)
{
    enum {
        STRIDE = 37,
        N_Z = (EN_STRIP_ROWS - 1) * STRIDE + EN_UNIT_COLS,
        N_UNITS = 4,
        N_OUT = N_UNITS * 2 * UNIT_BYTES
    };
    static en_strip_exception lists[2][N_UNITS * UNIT_BYTES + 1];
    static uint8_t expected[N_OUT];
    int32_t *z = place(0, N_Z * sizeof *z);
    uint8_t *out = place(1, N_OUT);
    en_rans_code code;
    random_code(&code, true);
    en_rans_symbols symbols;
    en_rans_symbols_fill(&symbols, &code);
    en_rans_writing a = {.at = expected + N_OUT, .list = lists[0]};
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        a.states[i] = EN_RANS_LOWEST + (draw() >> (draw() % 16 + 1));
    en_rans_writing b = a;
    b.at = out + N_OUT, b.list = lists[1];
    for (uint32_t u = 0; u < N_UNITS; u++) {
        random_integers(z, N_Z, &symbols);
        en_rans_encode_ref(&a, &symbols, z, STRIDE, 16 * u, 32 * u);
        variant->rans_encode(&b, &symbols, z, STRIDE, 16 * u, 32 * u);
    }
    size_t n_words = (size_t)(expected + N_OUT - a.at);
    assert_int_equal(n_words, out + N_OUT - b.at);
    assert_memory_equal(a.at, b.at, n_words);
    assert_memory_equal(a.states, b.states, sizeof a.states);
    assert_int_equal(a.n_list, b.n_list);
    qsort(lists[0], a.n_list, sizeof *lists[0], by_place);
    qsort(lists[1], b.n_list, sizeof *lists[1], by_place);
    assert_memory_equal(lists[0], lists[1], a.n_list * sizeof *lists[0]);
    check_canary(out);
}

static void every_vector_set_has_a_decoder_of_its_own(void **context)
{
    (void)context;
    for (int i = 0; i < n_variants; i++)
        assert_int_equal(variants[i].rans_decode == en_rans_decode,
                         strcmp(variant_names[i], "reference") == 0);
}

/* The reference is among them: it too keeps within its bounds. */
static void variants_equal_the_reference(void **context)
{
    (void)context;
    for (int i = 0; i < n_variants; i++)
        for (int round = 0; round < 400; round++) {
            check(&variants[i]);
            check_encoder(&variants[i]);
        }
}

static int set_up(void **context)
{
    (void)context;
    return test_kernels_open(2, REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_set_has_a_decoder_of_its_own),
        cmocka_unit_test(variants_equal_the_reference),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
