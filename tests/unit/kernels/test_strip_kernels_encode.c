/*
 * test_strip_kernels_encode.c - the encoder of coding 2: every variant's words, raw bits, suspects and
 * counts are those of the reference.  That these decode to the integers is tested in test_strips.c.
 *
 * Integers, words and raw bits end before a page that must not be touched; outputs have canary bytes
 * before them.
 */
#include "test_support.h"

#include <string.h>

#include "base/bytes.h"
#include "kernel_support.h"
#include "kernels/kernels.h"

enum {
    MAX_UNITS = 40,
    MAX_STRIDE = (MAX_UNITS + 1) * EN_UNIT_COLS,
    MAX_WORDS = EN_STRIP_LANES * (MAX_UNITS * EN_UNIT_STEPS * EN_PAIR_MAX_BITS / 16 + 4),
    MAX_RAW = MAX_UNITS * EN_STRIP_LANES * 4,
    HALF = EN_STRIP_LANES / 2,
    Z = 0, /* regions */
    WORDS,
    RAW,
    SUSPECTS,
    N_REGIONS,
    REGION = 1 << 18
};

static uint32_t draw(void)
{
    static uint64_t state = 11;
    return (uint32_t)(test_random(&state) >> 32);
}

/* ---- integers and codes -------------------------------------------------------------------- */

typedef struct example {
    en_strip_run run;
    size_t n_units;
    en_pair_code code;
} example;

static example g_example;

static int32_t draw_integer(double sigma, int32_t centre, unsigned one_of)
{
    static const int32_t extremes[] = {INT32_MIN, INT32_MIN + 1, INT32_MAX - 1, INT32_MAX};
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)draw() * 0x1p-32;
    int32_t z = centre + (int32_t)(sum * sigma + 1000.5) - 1000;
    if (one_of == 0 || draw() % one_of != 0)
        return z;
    return draw() % 4 == 0 ? extremes[draw() % 4] : z + (int32_t)(draw() % 600) - 300;
}

/* one_of: how rare outliers are, 0: there are none.  A code from a part of the integers lacks some
 * pairs. */
static void draw_example(en_strip_mode mode, size_t n_units, double sigma, unsigned one_of)
{
    static const int32_t bases[] = {0, 0, 1000, -70000, 1 << 30, -(1 << 30)};
    example *e = &g_example;
    uint64_t counts[256] = {0}, n_outside = 0;
    size_t stride = n_units * EN_UNIT_COLS + draw() % (EN_UNIT_COLS + 1);
    size_t n = (EN_STRIP_ROWS - 1) * stride + n_units * EN_UNIT_COLS; /* no row ends the last */
    int32_t *z = place(Z, n * sizeof *z);
    int32_t centre = bases[draw() % 6], half = 1 << (en_strip_value_bits(mode) - 1);
    int32_t shift = (int32_t)(draw() % 3) - 1;
    e->run = (en_strip_run){z, stride, {mode, centre - half + shift}, &e->code};
    if (e->run.layout.base < -(1 << 30))
        e->run.layout.base = -(1 << 30);
    e->n_units = n_units;
    for (size_t i = 0; i < n; i++)
        z[i] = draw_integer(sigma, centre, one_of);
    size_t n_counted = one_of > 0 && n_units > 1 ? n_units / 2 : n_units;
    ref->strip_count(z, stride, n_counted * EN_UNIT_COLS, e->run.layout, counts, &n_outside);
    assert_int_equal(en_pair_code_build(&e->code, counts, EN_STRIP_EXCEPTION_BITS, NULL), ENTRO_OK);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void start(en_strip_strings *s, uint8_t *words)
{
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < EN_STRIP_LANES; i++) {
        s->place[i / HALF][i % HALF] = i;
        s->next_place[i / HALF][i % HALF] = EN_STRIP_LANES + i;
    }
    s->n_words = 2 * EN_STRIP_LANES;
    s->words = words;
}

/* In two calls, then the words that are not full yet. */
static void encode(const en_kernels *k, en_strip_strings *s, uint8_t *raw, uint64_t *suspects)
{
    const example *e = &g_example;
    size_t first = e->n_units / 3, unit_raw = en_strip_raw_unit_bytes(e->run.layout.mode);
    en_strip_run later = e->run;
    later.z += first * EN_UNIT_COLS;
    k->strip_encode(s, &e->run, first, raw, suspects);
    k->strip_encode(s, &later, e->n_units - first, raw + first * unit_raw,
                    suspects + first * EN_UNIT_STEPS);
    for (unsigned i = 0; i < EN_STRIP_LANES; i++) {
        uint32_t bits = s->bits[i / HALF][i % HALF];
        en_store16(s->words + 2 * (size_t)s->place[i / HALF][i % HALF], (uint16_t)bits);
        en_store16(s->words + 2 * (size_t)s->next_place[i / HALF][i % HALF],
                   (uint16_t)(bits >> 16));
    }
}

static void check_encode(void)
{
    static uint8_t expected_words[2 * MAX_WORDS], expected_raw[MAX_RAW];
    static uint64_t expected_suspects[MAX_UNITS * EN_UNIT_STEPS];
    const example *e = &g_example;
    en_strip_strings expected, found;
    size_t n_raw = e->n_units * en_strip_raw_unit_bytes(e->run.layout.mode);
    size_t n_suspects = e->n_units * EN_UNIT_STEPS * sizeof *expected_suspects;
    start(&expected, expected_words);
    encode(ref, &expected, expected_raw, expected_suspects);
    for (int i = 0; i < n_variants; i++) {
        uint8_t *words = place(WORDS, 2 * (size_t)expected.n_words), *raw = place(RAW, n_raw);
        uint64_t *suspects = place(SUSPECTS, n_suspects);
        start(&found, words);
        encode(&variants[i], &found, raw, suspects);
        bool same = found.n_words == expected.n_words &&
                    memcmp(words, expected_words, 2 * (size_t)expected.n_words) == 0 &&
                    memcmp(raw, expected_raw, n_raw) == 0 &&
                    memcmp(suspects, expected_suspects, n_suspects) == 0 &&
                    memcmp(&found, &expected, offsetof(en_strip_strings, words)) == 0;
        if (!same)
            fail_msg("%s: mode %d, %zu units: not the reference's streams", variant_names[i],
                     e->run.layout.mode, e->n_units);
        check_canary(words);
        check_canary(raw);
        check_canary(suspects);
    }
}

static void check_count(void)
{
    const example *e = &g_example;
    const en_strip_run *r = &e->run;
    uint64_t expected[257] = {3, 2, 1}, found[257]; /* added to what is there; the last: outside */
    ref->strip_count(r->z, r->stride, e->n_units * EN_UNIT_COLS, r->layout, expected,
                     &expected[256]);
    for (int i = 0; i < n_variants; i++) {
        memset(found, 0, sizeof found);
        memcpy(found, (uint64_t[]){3, 2, 1}, 3 * sizeof *found);
        variants[i].strip_count(r->z, r->stride, e->n_units * EN_UNIT_COLS, r->layout, found,
                                &found[256]);
        if (memcmp(found, expected, sizeof found) != 0)
            fail_msg("%s: mode %d, %zu units: not the reference's counts", variant_names[i],
                     r->layout.mode, e->n_units);
    }
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void variants_equal_reference(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 0.3, 1, 2.5, 6, 15, 60};
    static const unsigned rarities[] = {0, 2000, 100, 3};
    static const size_t lengths[] = {0, 1, 2, 3, 8, 9, 17, 24, MAX_UNITS};
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++)
        for (size_t s = 0; s < 7; s++)
            for (size_t r = 0; r < 4; r++) {
                draw_example(mode, lengths[draw() % 9], sigmas[s], rarities[r]);
                check_encode();
                check_count();
            }
}

/* With every pair a code of 7 bits, the streams are as long as can be. */
static void longest_codes_equal_reference(void **state)
{
    (void)state;
    example *e = &g_example;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++) {
        uint64_t counts[256] = {0};
        draw_example(mode, MAX_UNITS, 100, 2);
        for (unsigned i = 0; i < EN_PAIR_ENTRIES; i++)
            counts[2 * i + i % 2] = 1;
        assert_int_equal(en_pair_code_build(&e->code, counts, 1e6, NULL), ENTRO_OK);
        for (unsigned p = 0; p < 256; p++)
            assert_int_equal(e->code.length[p] & (EN_PAIR_REPLACED - 1), EN_PAIR_MAX_BITS);
        check_encode();
    }
}

static void suspects_are_named(void **state)
{
    (void)state;
    example *e = &g_example;
    uint64_t suspects[EN_UNIT_STEPS];
    uint8_t raw[EN_STRIP_LANES], words[2 * MAX_WORDS];
    for (int i = 0; i < n_variants; i++) {
        en_strip_strings s;
        draw_example(EN_STRIP_N0, 1, 0, 0);
        int32_t *z = place(Z, EN_STRIP_ROWS * EN_UNIT_COLS * sizeof *z);
        memset(z, 0, EN_STRIP_ROWS * EN_UNIT_COLS * sizeof *z);
        e->run.z = z;
        e->run.stride = EN_UNIT_COLS;
        e->run.layout.base = -8;
        uint64_t counts[256] = {[0x88] = 1};
        assert_int_equal(en_pair_code_build(&e->code, counts, 24, NULL), ENTRO_OK);
        z[3 * EN_UNIT_COLS + 9] = 1;    /* a pair without a code: row 3, step 1, c = 1 */
        z[5 * EN_UNIT_COLS + 31] = 100; /* out of range: all of row 5 */
        start(&s, words);
        variants[i].strip_encode(&s, &e->run, 1, raw, suspects);
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++)
            assert_int_equal(suspects[j], UINT64_C(15) << 20 | (uint64_t)(j == 1) << (4 * 3 + 1));
    }
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    (void)state;
    return test_kernels_open(N_REGIONS, REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_equal_reference),
        cmocka_unit_test(longest_codes_equal_reference),
        cmocka_unit_test(suspects_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
