/*
 * test_rans_kernels.c - coding 4: every variant this machine supports gives what the reference gives, be the
 * stream sound or noise, and reads no further than EN_STRIP_IN_PAD bytes behind its end: there lies a page that
 * must not be touched.
 */
#include "test_support.h"

#include <string.h>
#include <sys/mman.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

enum {
    MAX_UNITS = 9,
    UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS,
    CANARY = 64,
    REGION = 1 << 16,
};

static const uint32_t features[] = {EN_CPU_AVX2, EN_CPU_AVX2 | EN_CPU_AVX512, EN_CPU_NEON};

static uint64_t state = 5;

static uint32_t draw(void)
{
    return (uint32_t)(test_random(&state) >> 32);
}

/* The end of a region that is followed by a guard page. */
static uint8_t *new_region(void)
{
    uint8_t *p =
        mmap(NULL, REGION + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + REGION, 4096, PROT_NONE), 0);
    return p + REGION;
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

static void check(const en_kernels *variant, uint8_t *words_end, uint8_t *units_end)
{
    static en_rans_table table;
    static uint8_t expected[MAX_UNITS * UNIT_BYTES];
    size_t n_units = draw() % (MAX_UNITS + 1), n_bytes = n_units * UNIT_BYTES;
    size_t n_words = EN_RANS_START_BYTES + 2 * (size_t)(draw() % 3000);
    uint8_t *words = words_end - EN_STRIP_IN_PAD - n_words, *units = units_end - n_bytes;
    for (uint8_t *p = words; p < words_end; p++)
        *p = (uint8_t)draw();
    memset(units - CANARY, 0xA5, CANARY + n_bytes);
    random_table(&table);
    en_rans_lanes a, b;
    en_rans_start(&a, words, words + n_words);
    b = a;
    en_rans_decode(&a, &table, n_units, expected);
    variant->rans_decode(&b, &table, n_units, units);
    assert_memory_equal(units, expected, n_bytes);
    assert_memory_equal(a.states, b.states, sizeof a.states);
    assert_true(a.next == b.next && a.end == b.end);
    for (int i = 1; i <= CANARY; i++)
        assert_int_equal(units[-i], 0xA5);
}

static void variants_equal_the_reference(void **context)
{
    (void)context;
    uint8_t *words_end = new_region(), *units_end = new_region();
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        if ((features[i] & ~en_cpu_features()) != 0)
            continue;
        en_kernels variant;
        en_kernels_fill(&variant, features[i]);
        for (int round = 0; round < 400; round++)
            check(&variant, words_end, units_end);
    }
    for (int round = 0; round < 100; round++) /* the reference too keeps within its bounds */
        check(en_kernels_ref(), words_end, units_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(variants_equal_the_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
