/*
 * test_strips_encode.c - codes of pairs and their stored form, and what the encoder of strips says of
 * its streams.  That the streams decode to the integers is tested with the kernels.
 */
#include "test_support.h"

#include <stdlib.h>
#include <string.h>

#include "entropy/strips.h"

enum { COLS = 4 * EN_UNIT_COLS };

static uint32_t draw(void)
{
    static uint64_t state = 5;
    return (uint32_t)(test_random(&state) >> 32);
}

/* ---- codes --------------------------------------------------------------------------------------- */

static void build(en_pair_code *code, const uint64_t counts[256])
{
    entro_error err;
    assert_int_equal(en_pair_code_build(code, counts, EN_STRIP_EXCEPTION_BITS, &err), ENTRO_OK);
    /* each kept symbol is found again behind its code, whatever follows */
    for (unsigned s = 0; s < 256; s++) {
        unsigned kept = code->kept[s], length = code->length[kept];
        assert_int_equal(code->kept[kept], kept);
        assert_in_range(length, 0, EN_PAIR_MAX_BITS);
        for (unsigned w = code->code[kept]; w < EN_PAIR_ENTRIES; w += 1u << length) {
            assert_int_equal(code->table.symbol[w], kept);
            assert_int_equal(code->table.length[w], length);
        }
    }
    en_pair_table again;
    assert_int_equal(en_pair_table_load(&again, code->stored, &err), ENTRO_OK);
    assert_memory_equal(&again, &code->table, sizeof again);
}

static unsigned count_kept(const en_pair_code *code)
{
    unsigned n = 0;
    for (unsigned s = 0; s < 256; s++)
        n += code->kept[s] == s;
    return n;
}

static void builds_without_counts(void **state)
{
    (void)state;
    uint64_t counts[256] = {0};
    en_pair_code code;
    build(&code, counts);
    assert_int_equal(count_kept(&code), 1);
    assert_true(code.bits == 0);
}

static void one_symbol_takes_no_bits(void **state)
{
    (void)state;
    uint64_t counts[256] = {0};
    en_pair_code code;
    counts[0x4c] = 1000;
    build(&code, counts);
    assert_int_equal(count_kept(&code), 1);
    for (unsigned s = 0; s < 256; s++)
        assert_int_equal(code.kept[s], 0x4c);
    assert_int_equal(code.length[0x4c], 0);
    assert_true(code.bits == 0);
}

static void two_symbols_take_a_bit_each(void **state)
{
    (void)state;
    uint64_t counts[256] = {0};
    en_pair_code code;
    counts[0] = 900;
    counts[255] = 100;
    build(&code, counts);
    assert_int_equal(count_kept(&code), 2);
    assert_int_equal(code.length[0], 1);
    assert_true(code.bits == 1000);
    counts[255] = 1; /* cheaper as exceptions of both halves */
    build(&code, counts);
    assert_int_equal(count_kept(&code), 1);
    assert_true(code.bits == 2 * EN_STRIP_EXCEPTION_BITS);
}

static void equally_likely_symbols_fill_the_table(void **state)
{
    (void)state;
    uint64_t counts[256];
    en_pair_code code;
    for (unsigned s = 0; s < 256; s++)
        counts[s] = 1 << 20;
    build(&code, counts);
    assert_in_range(count_kept(&code), 2, EN_PAIR_ENTRIES);
    /* others differ from their substitute in one nibble: one exception, not two */
    for (unsigned s = 0; s < 256; s++) {
        unsigned differs = s ^ code.kept[s];
        assert_true((differs & 0x0f) == 0 || (differs & 0xf0) == 0);
    }
}

static void huge_counts_do_not_overflow(void **state)
{
    (void)state;
    uint64_t counts[256];
    en_pair_code code;
    for (unsigned s = 0; s < 256; s++)
        counts[s] = (uint64_t)1 << (s % 48);
    build(&code, counts);
    assert_true(code.bits > 0);
}

static void refuses(const uint8_t stored[EN_PAIR_STORED_BYTES])
{
    en_pair_table table;
    entro_error err;
    assert_int_equal(en_pair_table_load(&table, stored, &err), ENTRO_ERR_FORMAT);
}

static void refuses_broken_codes(void **state)
{
    (void)state;
    uint8_t stored[EN_PAIR_STORED_BYTES] = {0};
    refuses(stored); /* no code at all */
    stored[1] = 1;
    refuses(stored); /* not complete */
    stored[1] = 3;
    refuses(stored); /* too many */
    stored[1] = 2;
    stored[7] = 1;
    refuses(stored);
    memset(stored, 255, sizeof stored); /* sums that no byte holds */
    refuses(stored);
    memset(stored, 0, sizeof stored);
    stored[7] = EN_PAIR_ENTRIES; /* complete */
    en_pair_table table;
    entro_error err;
    assert_int_equal(en_pair_table_load(&table, stored, &err), ENTRO_OK);
    stored[7]--;
    refuses(stored);
}

static void loads_any_complete_code_and_nothing_else(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        uint8_t stored[EN_PAIR_STORED_BYTES];
        unsigned filled = 0;
        for (unsigned i = 0; i < sizeof stored; i++)
            stored[i] = (uint8_t)(draw() % (i < 8 ? 1u << i % 8 : 256));
        stored[0] = 0;
        for (unsigned length = 1; length <= EN_PAIR_MAX_BITS; length++)
            filled += stored[length] * (EN_PAIR_ENTRIES >> length);
        if (round % 2 == 0 && filled <= EN_PAIR_ENTRIES) { /* made complete */
            stored[7] = (uint8_t)(stored[7] + EN_PAIR_ENTRIES - filled);
            filled = EN_PAIR_ENTRIES;
        }
        en_pair_table table;
        entro_error err;
        assert_int_equal(en_pair_table_load(&table, stored, &err),
                         filled == EN_PAIR_ENTRIES ? ENTRO_OK : ENTRO_ERR_FORMAT);
        for (unsigned w = 0; filled == EN_PAIR_ENTRIES && w < EN_PAIR_ENTRIES; w++)
            assert_in_range(table.length[w], 1, EN_PAIR_MAX_BITS);
    }
}

/* ---- strips --------------------------------------------------------------------------------------- */

typedef struct streams {
    const uint8_t *words, *raw;
    en_strip_exception *list;
    size_t n_words, n_raw, n_list;
} streams;

static void count(const int32_t *z, en_strip_layout layout, uint64_t counts[256],
                  uint64_t *n_outside)
{
    memset(counts, 0, 256 * sizeof *counts);
    *n_outside = 0;
    en_strip_count_ref(z, COLS, COLS, layout, counts, n_outside);
}

static streams encode(en_strip_encoder *e, const int32_t *z, en_strip_layout layout,
                      const en_pair_code *code, uint32_t row, uint32_t col)
{
    entro_error err;
    streams s;
    en_strip_encoder_start(e);
    assert_int_equal(en_strip_encoder_add(e, z, COLS, COLS, layout, code, row, col, &err),
                     ENTRO_OK);
    assert_int_equal(en_strip_encoder_finish(e, &s.words, &s.n_words, &s.raw, &s.n_raw, &s.list,
                                             &s.n_list, &err),
                     ENTRO_OK);
    return s;
}

static en_strip_encoder *new_encoder(void)
{
    en_strip_encoder *e;
    entro_error err;
    assert_int_equal(en_strip_encoder_new(&e, en_strip_encode_ref, &err), ENTRO_OK);
    return e;
}

static void counts_pairs_and_values_outside(void **state)
{
    (void)state;
    int32_t z[EN_STRIP_ROWS * COLS] = {0};
    uint64_t counts[256], n_outside;
    en_strip_layout layout = {EN_STRIP_N0, -8};
    z[0] = 7;   /* with z[4] */
    z[5] = 100; /* outside, held as 15 */
    z[COLS] = -9;
    count(z, layout, counts, &n_outside);
    assert_int_equal(n_outside, 2);
    assert_int_equal(counts[0x8f], 1);
    assert_int_equal(counts[0xf8], 1);
    assert_int_equal(counts[0x80], 1);
    assert_int_equal(counts[0x88], EN_STRIP_ROWS * COLS / 2 - 3);
    layout.mode = EN_STRIP_W2;
    layout.base = -32;
    count(z, layout, counts, &n_outside); /* v 32 is 8, raw 0; 39 is 9, raw 3 */
    assert_int_equal(n_outside, 1);
    assert_int_equal(counts[0x89], 1);
}

static void equal_integers_have_no_stream(void **state)
{
    (void)state;
    int32_t z[EN_STRIP_ROWS * COLS];
    uint64_t counts[256], n_outside;
    en_pair_code code;
    en_strip_encoder *e = new_encoder();
    for (size_t i = 0; i < EN_STRIP_ROWS * COLS; i++)
        z[i] = -3;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++) {
        en_strip_layout layout = {mode, -4};
        count(z, layout, counts, &n_outside);
        build(&code, counts);
        streams s = encode(e, z, layout, &code, 0, 0);
        assert_int_equal(s.n_words, 2 * EN_STRIP_START_WORDS);
        assert_int_equal(s.n_raw, COLS / EN_UNIT_COLS * en_strip_raw_unit_bytes(mode));
        assert_int_equal(s.n_list, 0);
        for (size_t i = 0; i < s.n_words; i++)
            assert_int_equal(s.words[i], 0);
    }
    en_strip_encoder_free(e);
}

static void lists_exceptions_in_order(void **state)
{
    (void)state;
    int32_t z[EN_STRIP_ROWS * COLS];
    uint64_t counts[256], n_outside;
    en_pair_code code;
    en_strip_encoder *e = new_encoder();
    en_strip_layout layout = {EN_STRIP_N0, -8};
    for (size_t i = 0; i < EN_STRIP_ROWS * COLS; i++)
        z[i] = (int32_t)(draw() % 2) - 1;
    count(z, layout, counts, &n_outside);
    build(&code, counts);
    z[3 * COLS + 9] = 1000;
    z[3 * COLS + 2] = INT32_MIN + 8;
    z[70] = INT32_MAX - 7;
    streams s = encode(e, z, layout, &code, 32, 100);
    assert_int_equal(s.n_list, 3);
    assert_int_equal(s.list[0].row, 35); /* by strip, then column */
    assert_int_equal(s.list[0].col, 102);
    assert_int_equal(s.list[1].col, 109);
    assert_int_equal(s.list[2].row, 32);
    assert_int_equal(s.list[2].col, 170);
    for (size_t i = 0; i < 3; i++) { /* decoded is one of the two values that have codes */
        int64_t decoded = (int64_t)z[(s.list[i].row - 32) * COLS + s.list[i].col - 100];
        assert_in_range(decoded - s.list[i].delta + 1, 0, 1);
    }
    s = encode(e, z, layout, &code, 0, 0); /* nothing is left of the chunk before */
    assert_int_equal(s.n_list, 3);
    en_strip_encoder_free(e);
    en_strip_encoder_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builds_without_counts),
        cmocka_unit_test(one_symbol_takes_no_bits),
        cmocka_unit_test(two_symbols_take_a_bit_each),
        cmocka_unit_test(equally_likely_symbols_fill_the_table),
        cmocka_unit_test(huge_counts_do_not_overflow),
        cmocka_unit_test(refuses_broken_codes),
        cmocka_unit_test(loads_any_complete_code_and_nothing_else),
        cmocka_unit_test(counts_pairs_and_values_outside),
        cmocka_unit_test(equal_integers_have_no_stream),
        cmocka_unit_test(lists_exceptions_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
