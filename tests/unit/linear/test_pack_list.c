/*
 * test_pack_list.c - lists of packed strips: sums against entries taken one at a time, and entries as they were
 * given, row by row.
 */
#include "test_support.h"

#include <string.h>

#include "base/memory.h"
#include "linear/pack_list.h"

enum { MAX_ENTRIES = 5000, N_COLS = 9000 };

static uint64_t state = 7;

static uint32_t draw(void)
{
    return (uint32_t)(test_random(&state) >> 32);
}

static int32_t draw_delta(uint32_t rarity)
{
    static const int32_t ends[] = {INT32_MIN, INT32_MAX, INT8_MIN - 1, INT8_MAX + 1};
    return draw() % rarity == 0 ? ends[draw() % 4] : (int32_t)(draw() % 256) - 128;
}

/* Rows below 'n_rows' only, so that others are empty. */
static void draw_entries(en_strip_exception *e, size_t n, uint32_t n_rows, uint32_t rarity)
{
    for (size_t i = 0; i < n; i++)
        e[i] = (en_strip_exception){draw() % n_rows, draw() % N_COLS, draw_delta(rarity)};
}

static void check_entries(const en_pack_list *list, const en_strip_exception *e, size_t n)
{
    size_t n_small = 0;
    for (size_t i = 0; i < n; i++)
        n_small += e[i].delta >= INT8_MIN && e[i].delta <= INT8_MAX;
    assert_int_equal(list->n, n_small);
    assert_int_equal(list->n + list->n_large, n);
    uint32_t place = 0, at_row = 0;
    for (uint32_t row = 0; row < EN_STRIP_ROWS; row++)
        for (size_t i = 0; i < n; i++) {
            if (e[i].row != row || e[i].delta < INT8_MIN || e[i].delta > INT8_MAX)
                continue;
            en_strip_exception found = en_pack_list_entry(list, place++, &at_row);
            assert_memory_equal(&found, &e[i], sizeof found);
        }
    for (size_t i = 0; i < n; i++)
        if (e[i].delta < INT8_MIN || e[i].delta > INT8_MAX) {
            en_strip_exception found = en_pack_list_entry(list, place++, &at_row);
            assert_memory_equal(&found, &e[i], sizeof found);
        }
}

static void check(size_t n, uint32_t n_rows, uint32_t rarity, int16_t most)
{
    static en_strip_exception e[MAX_ENTRIES];
    static int16_t q[N_COLS];
    int64_t sums[EN_STRIP_ROWS], wanted[EN_STRIP_ROWS];
    en_pack_lists lists = {0};
    draw_entries(e, n, n_rows, rarity);
    for (size_t i = 0; i < N_COLS; i++)
        q[i] = (int16_t)(draw() % 2 == 0 ? most : -most);
    for (int r = 0; r < EN_STRIP_ROWS; r++)
        sums[r] = wanted[r] = (int64_t)draw() * INT32_MAX;
    assert_true(en_pack_lists_add(&lists, e, 1)); /* of the strip before */
    size_t start = lists.n;
    assert_true(en_pack_lists_add(&lists, e, n));
    en_pack_list list = en_pack_list_at(lists.data + start, lists.n - start);
    check_entries(&list, e, n);
    for (size_t i = 0; i < n; i++)
        wanted[e[i].row] += (int64_t)e[i].delta * q[e[i].col];
    en_pack_list_add(&list, q, sums);
    assert_memory_equal(sums, wanted, sizeof sums);
    en_free(lists.data);
}

static void test_sums(void **unused)
{
    static const size_t counts[] = {1, 7, 8, 9, 1023, 1024, 1025, 2049, MAX_ENTRIES};
    (void)unused;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        check(counts[i], EN_STRIP_ROWS, 1000000, 16256);
        check(counts[i], EN_STRIP_ROWS, 20, 16256);
        check(counts[i], 3, 2, 100);
        check(counts[i], 1, 1, 16256);
    }
}

/* The largest sums of a block: all differences and activations at their ends. */
static void test_ends(void **unused)
{
    static en_strip_exception e[MAX_ENTRIES];
    static int16_t q[N_COLS];
    int64_t sums[EN_STRIP_ROWS] = {0};
    en_pack_lists lists = {0};
    (void)unused;
    q[5] = -16256;
    for (size_t i = 0; i < MAX_ENTRIES; i++)
        e[i] = (en_strip_exception){3, 5, INT8_MIN};
    assert_true(en_pack_lists_add(&lists, e, MAX_ENTRIES));
    en_pack_list list = en_pack_list_at(lists.data, lists.n);
    en_pack_list_add(&list, q, sums);
    for (int r = 0; r < EN_STRIP_ROWS; r++)
        assert_true(sums[r] == (r == 3 ? INT64_C(128) * 16256 * MAX_ENTRIES : 0));
    en_free(lists.data);
}

static void test_nothing(void **unused)
{
    en_pack_lists lists = {0};
    (void)unused;
    assert_true(en_pack_lists_add(&lists, NULL, 0));
    assert_int_equal(lists.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
