/*
 * test_huffman_lengths.c - package-merge against exhaustive search and against Huffman's code, and
 * canonical codes against their definition.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "entropy/huffman_lengths.h"

static en_huffman_work g_work;
static uint64_t g_random = 88172645463325252u;

static uint32_t draw(void)
{
    g_random ^= g_random << 13;
    g_random ^= g_random >> 7;
    g_random ^= g_random << 17;
    return (uint32_t)(g_random >> 32);
}

static uint64_t total(const uint64_t *w, const uint8_t *bits, unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += w[i] * bits[i];
    return sum;
}

static void check_complete(const uint8_t *bits, unsigned n, unsigned max_bits)
{
    uint64_t kraft = 0;
    for (unsigned i = 0; i < n; i++) {
        assert_in_range(bits[i], 1, max_bits);
        kraft += (uint64_t)1 << (max_bits - bits[i]);
    }
    assert_int_equal(kraft, (uint64_t)1 << max_bits);
}

/* The least total over all lengths with Kraft's sum at most one. */
static uint64_t search(const uint64_t *w, unsigned n, unsigned max_bits, int left)
{
    if (n == 0)
        return 0;
    uint64_t best = UINT64_MAX;
    for (unsigned b = 1; b <= max_bits; b++) {
        int share = 1 << (max_bits - b);
        if (share > left)
            continue;
        uint64_t rest = search(w + 1, n - 1, max_bits, left - share);
        if (rest != UINT64_MAX && w[0] * b + rest < best)
            best = w[0] * b + rest;
    }
    return best;
}

static void test_exhaustive(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        unsigned n = 2 + draw() % 5, max_bits = 3 + draw() % 2;
        uint64_t w[6];
        uint8_t bits[6];
        for (unsigned i = 0; i < n; i++)
            w[i] = draw() >> (draw() % 32);
        en_huffman_lengths(&g_work, w, n, max_bits, bits);
        check_complete(bits, n, max_bits);
        assert_int_equal(total(w, bits, n), search(w, n, max_bits, 1 << max_bits));
    }
}

static void test_no_limit_is_huffman(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        unsigned n = 2 + draw() % 255;
        uint64_t w[256];
        uint8_t bits[256];
        for (unsigned i = 0; i < n; i++)
            w[i] = 1000 + draw() % 2000; /* so flat that 12 bits are no limit */
        en_huffman_lengths(&g_work, w, n, 12, bits);
        check_complete(bits, n, 12);
        assert_int_equal(total(w, bits, n), en_huffman_total(w, n));
    }
}

static void test_full_and_single(void **state)
{
    (void)state;
    static uint64_t w[EN_HUFFMAN_MAX_ITEMS];
    static uint8_t bits[EN_HUFFMAN_MAX_ITEMS];
    for (unsigned i = 0; i < EN_HUFFMAN_MAX_ITEMS; i++)
        w[i] = (uint64_t)1 << (i % 40);
    en_huffman_lengths(&g_work, w, EN_HUFFMAN_MAX_ITEMS, 11, bits);
    for (unsigned i = 0; i < EN_HUFFMAN_MAX_ITEMS; i++)
        assert_int_equal(bits[i], 11);
    en_huffman_lengths(&g_work, w, 1, 11, bits);
    assert_int_equal(bits[0], 0);
    uint16_t code, order;
    assert_true(en_huffman_codes(bits, 1, 11, &code, &order));
    assert_int_equal(en_huffman_total((uint64_t[]){0, 7, 0}, 3), 7);
}

static void test_canonical(void **state)
{
    (void)state;
    static const uint8_t bits[] = {3, 1, 3, 3, 3}, over[] = {1, 1, 1}, under[] = {2, 2, 2},
                         zero[] = {0, 1};
    uint16_t codes[5], order[5];
    assert_true(en_huffman_codes(bits, 5, 11, codes, order));
    assert_memory_equal(codes, ((uint16_t[]){4, 0, 5, 6, 7}), sizeof codes);
    assert_memory_equal(order, ((uint16_t[]){1, 0, 2, 3, 4}), sizeof order);
    assert_false(en_huffman_codes(over, 3, 11, codes, order));
    assert_false(en_huffman_codes(under, 3, 11, codes, order));
    assert_false(en_huffman_codes(zero, 2, 11, codes, order));
    assert_false(en_huffman_codes(bits, 5, 2, codes, order));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exhaustive),
        cmocka_unit_test(test_no_limit_is_huffman),
        cmocka_unit_test(test_full_and_single),
        cmocka_unit_test(test_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
