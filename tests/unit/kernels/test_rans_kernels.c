/*
 * test_rans_kernels.c - coding 4: every variant this machine supports gives what the reference gives, be the
 * stream sound or noise, and reads no further than EN_STRIP_IN_PAD bytes behind its end: there lies a page that
 * must not be touched.
 */
#include "test_support.h"

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

/* Few symbols or many, frequent and rare. */
static void random_table(en_rans_table *table)
{
    en_rans_code code = {.n = 1 + draw() % EN_RANS_SYMBOLS};
    uint32_t left = EN_RANS_SCALE - code.n;
    for (uint32_t i = 0; i < code.n; i++) {
        uint32_t more = i + 1 == code.n ? left : draw() % (left / 2 + 1);
        code.freq[i] = (uint16_t)(1 + more);
        left -= more;
    }
    en_rans_table_fill(table, &code);
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
    random_table(&table);
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
        for (int round = 0; round < 400; round++)
            check(&variants[i]);
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
