/*
 * test_code.c - codes over words: what is stored can be loaded, what is coded decodes, both
 * decoders agree, sizes are near the entropy, damage is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "entropy/code.h"

static uint64_t g_random = 88172645463325252u;

static uint32_t draw(void)
{
    g_random ^= g_random << 13;
    g_random ^= g_random >> 7;
    g_random ^= g_random << 17;
    return (uint32_t)(g_random >> 32);
}

static double draw_normal(void)
{
    double u = (draw() + 0.5) / 4294967296.0, v = (draw() + 0.5) / 4294967296.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static void fill_normal(uint8_t *s, size_t n, unsigned alphabet, double sigma)
{
    for (size_t i = 0; i < n; i++) {
        double x = nearbyint(draw_normal() * sigma + alphabet / 2.0);
        s[i] = (uint8_t)(x < 0 ? 0 : x > alphabet - 1 ? alphabet - 1 : x);
    }
}

typedef struct pair {
    en_code *built, *loaded;
    en_histogram *h;
    size_t table_bytes;
} pair;

static pair make_pair(unsigned alphabet, const uint8_t *s, size_t n, size_t segment)
{
    pair p;
    assert_int_equal(en_histogram_new(&p.h, alphabet, NULL), ENTRO_OK);
    for (size_t at = 0; at < n; at += segment)
        en_histogram_add(p.h, s + at, n - at < segment ? n - at : segment);
    assert_int_equal(en_histogram_total(p.h), n);
    assert_int_equal(en_code_build(&p.built, p.h, NULL), ENTRO_OK);
    p.table_bytes = en_code_stored_bytes(p.built);
    uint8_t *table = malloc(p.table_bytes);
    assert_non_null(table);
    en_code_store(p.built, table);
    assert_int_equal(en_code_load(&p.loaded, alphabet, table, p.table_bytes, NULL), ENTRO_OK);
    /* stored again, the loaded one gives the same bytes */
    uint8_t *again = malloc(p.table_bytes);
    assert_non_null(again);
    assert_int_equal(en_code_stored_bytes(p.loaded), p.table_bytes);
    en_code_store(p.loaded, again);
    assert_memory_equal(table, again, p.table_bytes);
    free(table);
    free(again);
    return p;
}

static void free_pair(pair *p)
{
    en_histogram_free(p->h);
    en_code_free(p->built);
    en_code_free(p->loaded);
}

/* Codes a segment and decodes it with both decoders and both codes, in memory of exactly the size
 * the contract asks for.  Returns the segment's bytes. */
static size_t check_segment(const pair *p, const uint8_t *s, size_t n)
{
    size_t bound = en_code_encode_bound(p->built, n);
    uint8_t *coded = malloc(bound + EN_CODE_IN_PAD), *out = malloc(n + EN_CODE_OUT_SLACK);
    assert_true(coded && out);
    size_t n_bytes = en_code_encode(p->built, s, n, coded);
    assert_true(n_bytes <= bound);
    uint8_t *exact = malloc(n_bytes + EN_CODE_IN_PAD);
    assert_non_null(exact);
    memcpy(exact, coded, n_bytes);
    memset(exact + n_bytes, 0xa5, EN_CODE_IN_PAD);
    const en_code *codes[] = {p->built, p->loaded};
    for (int i = 0; i < 2; i++) {
        memset(out, 0xee, n + EN_CODE_OUT_SLACK);
        assert_true(en_code_decode(codes[i], exact, n_bytes, out, n));
        assert_memory_equal(out, s, n);
        memset(out, 0xee, n + EN_CODE_OUT_SLACK);
        assert_true(en_code_decode_ref(codes[i], exact, n_bytes, out, n));
        assert_memory_equal(out, s, n);
        for (size_t k = 0; k < EN_CODE_OUT_SLACK; k++)
            assert_int_equal(out[n + k], 0xee); /* the reference is exact */
    }
    free(coded);
    free(exact);
    free(out);
    return n_bytes;
}

static const size_t lengths[] = {0,    1,    2,    3,    7,    8,    63,    64,    100,  1000,
                                 1023, 1024, 1025, 1026, 1027, 4095, 16384, 20001, 65539};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* ---- round trips ------------------------------------------------------------------------- */

static void test_normal(void **state)
{
    (void)state;
    static const double sigmas[] = {0.05, 0.2, 0.47, 0.6, 0.95, 2, 5, 11.75, 30, 200};
    for (unsigned a = 0; a < 2; a++) {
        unsigned alphabet = a ? 256 : 16;
        for (unsigned k = 0; k < sizeof sigmas / sizeof *sigmas; k++) {
            size_t n = 1 << 17;
            uint8_t *s = malloc(n);
            assert_non_null(s);
            fill_normal(s, n, alphabet, sigmas[k]);
            pair p = make_pair(alphabet, s, n, 32768);
            for (unsigned i = 0; i < N_LENGTHS; i++)
                check_segment(&p, s + i, lengths[i]);
            free_pair(&p);
            free(s);
        }
    }
}

static void test_every_length(void **state)
{
    (void)state;
    enum { N = 1300 };
    uint8_t s[N];
    fill_normal(s, N, 16, 0.7);
    pair p = make_pair(16, s, N, N);
    for (size_t n = 0; n <= N; n++)
        check_segment(&p, s, n);
    free_pair(&p);
    fill_normal(s, N, 256, 9);
    p = make_pair(256, s, N, N);
    for (size_t n = 0; n <= N; n++)
        check_segment(&p, s, n);
    free_pair(&p);
}

static void test_few_symbols(void **state)
{
    (void)state;
    enum { N = 5000 };
    uint8_t s[N];
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240)
        for (unsigned distinct = 1; distinct <= 3; distinct++)
            for (unsigned odds = 1; odds <= 1000; odds *= 10) {
                for (size_t i = 0; i < N; i++)
                    s[i] = (uint8_t)(draw() % odds ? 3 : 3 + draw() % distinct * 5);
                pair p = make_pair(alphabet, s, N, N);
                size_t n_bytes = check_segment(&p, s, N);
                if (distinct == 1)
                    assert_int_equal(n_bytes, 1);
                for (unsigned i = 0; i < N_LENGTHS && lengths[i] <= N; i++)
                    check_segment(&p, s, lengths[i]);
                free_pair(&p);
            }
}

static void test_tiny_tensors(void **state)
{
    (void)state;
    uint8_t s[40];
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240)
        for (size_t n = 0; n < sizeof s; n++) {
            for (size_t i = 0; i < n; i++)
                s[i] = (uint8_t)(draw() % alphabet);
            pair p = make_pair(alphabet, s, n, 64);
            check_segment(&p, s, n);
            free_pair(&p);
        }
}

static void test_uniform(void **state)
{
    (void)state;
    size_t n = 1 << 16;
    uint8_t *s = malloc(n);
    assert_non_null(s);
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240) {
        for (size_t i = 0; i < n; i++)
            s[i] = (uint8_t)(draw() % alphabet);
        pair p = make_pair(alphabet, s, n, n);
        double bits = alphabet == 16 ? 4 : 8;
        assert_true((double)check_segment(&p, s, n) * 8 < 1.01 * bits * (double)n);
        free_pair(&p);
    }
    free(s);
}

/* Data that looks nothing like what the code was made for, but covered by it. */
static void test_wrong_code(void **state)
{
    (void)state;
    enum { N = 20000 };
    uint8_t *s = malloc(N);
    assert_non_null(s);
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240) {
        fill_normal(s, N, alphabet, alphabet / 20.0);
        for (unsigned i = 0; i < alphabet; i++)
            s[i] = (uint8_t)i;
        pair p = make_pair(alphabet, s, N, N);
        for (unsigned symbol = 0; symbol < alphabet; symbol += alphabet / 16) {
            memset(s, (int)symbol, N);
            check_segment(&p, s, N);
        }
        for (size_t i = 0; i < N; i++)
            s[i] = (uint8_t)(draw() % alphabet);
        check_segment(&p, s, N);
        free_pair(&p);
    }
    free(s);
}

/* ---- sizes ------------------------------------------------------------------------------- */

static void check_size(unsigned alphabet, double sigma, size_t n, double limit)
{
    uint8_t *s = malloc(n);
    assert_non_null(s);
    fill_normal(s, n, alphabet, sigma);
    pair p = make_pair(alphabet, s, n, 32768);
    size_t bytes = p.table_bytes;
    for (size_t at = 0; at < n; at += 32768)
        bytes += check_segment(&p, s + at, n - at < 32768 ? n - at : 32768);
    double bits = 8.0 * (double)bytes / (double)n, entropy = en_histogram_entropy(p.h);
    if (bits > limit * entropy)
        fail_msg("%u symbols, sigma %g: %g bits, entropy %g", alphabet, sigma, bits, entropy);
    assert_true(fabs(en_code_cost(p.built, p.h) - bits) < 0.01 * bits);
    assert_true(en_histogram_huffman_bits(p.h) >= entropy);
    free_pair(&p);
    free(s);
}

static void test_sizes(void **state)
{
    (void)state;
    check_size(256, 11.75, 1 << 20, 1.01);
    check_size(256, 8.8, 1 << 20, 1.01);
    check_size(16, 0.95, 1 << 20, 1.01);
    check_size(16, 0.6, 1 << 20, 1.01);
    check_size(16, 0.47, 1 << 20, 1.01);
    check_size(16, 0.6, 1 << 17, 1.015);
}

static void test_histogram(void **state)
{
    (void)state;
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240) {
        enum { N = 10007 };
        uint8_t s[N];
        uint64_t counts[256] = {0};
        fill_normal(s, N, alphabet, alphabet / 16.0);
        for (size_t i = 0; i < N; i++)
            counts[s[i]]++;
        en_histogram *a, *b;
        assert_int_equal(en_histogram_new(&a, alphabet, NULL), ENTRO_OK);
        assert_int_equal(en_histogram_new(&b, alphabet, NULL), ENTRO_OK);
        en_histogram_add(a, s, 3001);
        en_histogram_add(b, s + 3001, N - 3001);
        en_histogram_merge(a, b);
        assert_memory_equal(en_histogram_counts(a), counts, alphabet * sizeof *counts);
        en_histogram_clear(b);
        assert_int_equal(en_histogram_total(b), 0);
        en_histogram_add(b, s, N);
        assert_memory_equal(en_histogram_counts(b), counts, alphabet * sizeof *counts);
        en_histogram_free(a);
        en_histogram_free(b);
    }
    en_histogram *h;
    assert_int_equal(en_histogram_new(&h, 17, NULL), ENTRO_ERR_ARGUMENT);
}

static void test_cost_of_other_data(void **state)
{
    (void)state;
    enum { N = 4096 };
    uint8_t s[N];
    memset(s, 5, N);
    pair p = make_pair(16, s, N, N);
    assert_true(en_code_cost(p.built, p.h) == 0);
    s[17] = 6;
    pair q = make_pair(16, s, N, N);
    assert_true(isinf(en_code_cost(p.built, q.h)));
    assert_true(en_code_cost(q.built, p.h) < 0.2);
    free_pair(&p);
    free_pair(&q);
}

/* ---- untrusted bytes --------------------------------------------------------------------- */

/* The example of docs/coding.md. */
static void test_example(void **state)
{
    (void)state;
    static const uint8_t table[] = {0x0d, 0x55, 0x43, 0x52, 0x00, 0x47, 0xc0, 0x0c};
    static const uint8_t coded[2 + EN_CODE_IN_PAD] = {0x4d, 0xe4};
    static const uint8_t symbols[] = {7, 8, 7, 8, 9, 6, 7, 8};
    uint8_t out[8 + EN_CODE_OUT_SLACK];
    en_code *code;
    assert_int_equal(en_code_load(&code, 16, table, sizeof table, NULL), ENTRO_OK);
    assert_true(en_code_decode_ref(code, coded, 2, out, 8));
    assert_memory_equal(out, symbols, 8);
    memset(out, 0, 8);
    assert_true(en_code_decode(code, coded, 2, out, 8));
    assert_memory_equal(out, symbols, 8);
    assert_false(en_code_decode(code, coded, 1, out, 8));
    assert_false(en_code_decode(code, coded, 3, out, 8));
    assert_false(en_code_decode(code, coded, 2, out, 5));
    assert_false(en_code_decode(code, coded, 2, out, 20));
    en_code_free(code);
}

static void test_damaged_tables(void **state)
{
    (void)state;
    enum { N = 30000 };
    uint8_t *s = malloc(N);
    assert_non_null(s);
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240) {
        fill_normal(s, N, alphabet, alphabet / 20.0);
        pair p = make_pair(alphabet, s, N, N);
        uint8_t *table = malloc(p.table_bytes + 1);
        assert_non_null(table);
        table[p.table_bytes] = 0;
        en_code_store(p.built, table);
        en_code *code;
        entro_error err;
        for (size_t cut = 0; cut < p.table_bytes; cut++)
            assert_int_equal(en_code_load(&code, alphabet, table, cut, &err), ENTRO_ERR_FORMAT);
        assert_int_equal(en_code_load(&code, alphabet, table, p.table_bytes + 1, &err),
                         ENTRO_ERR_FORMAT);
        assert_true(strstr(err.message, "code table") != NULL);
        for (size_t bit = 0; bit < 8 * p.table_bytes; bit++) {
            table[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (en_code_load(&code, alphabet, table, p.table_bytes, NULL) == ENTRO_OK)
                en_code_free(code);
            table[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(table);
        free_pair(&p);
    }
    free(s);
    en_code *code;
    assert_int_equal(en_code_load(&code, 4, NULL, 0, NULL), ENTRO_ERR_ARGUMENT);
}

static void test_damaged_segments(void **state)
{
    (void)state;
    enum { N = 6000 };
    uint8_t *s = malloc(N);
    assert_non_null(s);
    for (unsigned alphabet = 16; alphabet <= 256; alphabet += 240) {
        fill_normal(s, N, alphabet, alphabet / 20.0);
        pair p = make_pair(alphabet, s, N, N);
        uint8_t *coded = malloc(en_code_encode_bound(p.built, N) + EN_CODE_IN_PAD);
        uint8_t *a = malloc(N + EN_CODE_OUT_SLACK), *b = malloc(N + EN_CODE_OUT_SLACK);
        assert_true(coded && a && b);
        size_t n_bytes = en_code_encode(p.built, s, N, coded);
        memset(coded + n_bytes, 0, EN_CODE_IN_PAD);
        unsigned refused = 0;
        for (unsigned k = 0; k < 400; k++) {
            size_t bit = k < 100 ? k : draw() % (8 * n_bytes);
            size_t n = k % 3 ? N : N - draw() % 50;
            coded[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bool x = en_code_decode(p.loaded, coded, n_bytes, a, n);
            bool y = en_code_decode_ref(p.loaded, coded, n_bytes, b, n);
            assert_int_equal(x, y);
            assert_memory_equal(a, b, n);
            refused += !x;
            coded[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(refused > 50); /* many a flip makes other symbols of the same length */
        free(coded);
        free(a);
        free(b);
        free_pair(&p);
    }
    free(s);
}

static void test_no_memory(void **state)
{
    (void)state;
    enum { N = 3000 };
    uint8_t s[N], table[1024];
    fill_normal(s, N, 16, 0.8);
    size_t before = en_memory_in_use();
    for (uint64_t k = 0, done = 0; !done; k++) {
        en_histogram *h = NULL;
        en_code *code = NULL, *loaded = NULL;
        en_memory_fail_at(k);
        entro_status status = en_histogram_new(&h, 16, NULL);
        if (status == ENTRO_OK) {
            en_histogram_add(h, s, N);
            status = en_code_build(&code, h, NULL);
        }
        if (status == ENTRO_OK) {
            en_code_store(code, table);
            status = en_code_load(&loaded, 16, table, en_code_stored_bytes(code), NULL);
        }
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        done = status == ENTRO_OK && k > 20;
        en_histogram_free(h);
        en_code_free(code);
        en_code_free(loaded);
        assert_int_equal(en_memory_in_use(), before);
        assert_true(k < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_few_symbols),
        cmocka_unit_test(test_tiny_tensors),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_wrong_code),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_cost_of_other_data),
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_damaged_tables),
        cmocka_unit_test(test_damaged_segments),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
