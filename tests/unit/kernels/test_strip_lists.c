/*
 * test_strip_lists.c - sums over lists of differences, and what is counted in them: the reference and every
 * variant against entries taken one at a time.
 *
 * All inputs end before a page that must not be touched, activations one behind their last; sums have canary
 * bytes before them.
 */
#include "test_support.h"

#include <string.h>

#include "kernel_support.h"
#include "kernels/kernels.h"

enum {
    MAX_ENTRIES = 20000,
    MAX_COLS = 9000,
    REGION = 1 << 18,
    COLS = 0,
    TAGS,
    LARGE,
    Q,
    SUMS,
    N_REGIONS
};

static uint32_t draw(void)
{
    static uint64_t state = 99;
    return (uint32_t)(test_random(&state) >> 32);
}

/* One entry of 'rarity' has a large difference; rarity 1: all. */
static en_strip_list draw_list(uint32_t n, uint32_t n_cols, uint32_t rarity)
{
    uint8_t *cols = place(COLS, 2 * (size_t)n), *tags = place(TAGS, n), *large;
    en_strip_list list = {.n = n, .shift = draw() % 5, .cols = cols, .tags = tags};
    for (uint32_t i = 0; i < n; i++) {
        bool is_large = draw() % rarity == 0;
        en_store16(cols + 2 * (size_t)i, (uint16_t)(draw() % n_cols));
        tags[i] = (uint8_t)(draw() % 16 | (is_large ? 0 : 1 + draw() % 15) << 4);
        list.n_large += is_large;
    }
    list.large = large = place(LARGE, 4 * (size_t)list.n_large);
    for (uint32_t i = 0; i < 4 * list.n_large; i++)
        large[i] = (uint8_t)draw();
    return list;
}

static const int16_t *draw_activations(uint32_t n_cols)
{
    int16_t *q = (int16_t *)(void *)place(Q, 2 * ((size_t)n_cols + 1));
    for (uint32_t i = 0; i <= n_cols; i++)
        q[i] = (int16_t)(draw() % 4 == 0 ? INT16_MIN : (int32_t)(draw() >> 16) - 32768);
    return q;
}

static const en_kernels *kernels_of(int i)
{
    return i < 0 ? ref : &variants[i];
}

/* 'n_known': of the large entries, those after which a list is said to end. */
static void check_list(en_strip_list list, const int16_t *q, uint32_t n_known)
{
    int64_t expected[EN_STRIP_ROWS], start[EN_STRIP_ROWS];
    uint32_t last = 0;
    const uint8_t *large = list.large;
    for (size_t r = 0; r < EN_STRIP_ROWS; r++)
        expected[r] = start[r] = (int64_t)((uint64_t)draw() << 20) - ((int64_t)draw() << 19);
    for (uint32_t i = 0, n_seen = 0; i < list.n; i++) {
        en_strip_exception e = en_strip_list_entry(&list, i, &large);
        last = e.col > last ? e.col : last;
        if (list.tags[i] >= 16 || n_seen++ < n_known)
            expected[e.row] += (int64_t)e.delta * q[e.col];
    }
    for (int i = -1; i < n_variants; i++) {
        uint32_t n_large = 77;
        assert_int_equal(kernels_of(i)->list_scan(&list, &n_large), last);
        assert_int_equal(n_large, list.n_large);
        en_strip_list told = list;
        told.n_large = n_known;
        int64_t *sums = (int64_t *)(void *)place(SUMS, sizeof expected);
        memcpy(sums, start, sizeof start);
        kernels_of(i)->list_add(&told, q, sums);
        assert_memory_equal(sums, expected, sizeof expected);
        check_canary(sums);
    }
}

static void lists_of_all_lengths(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 300; n++) {
        uint32_t n_cols = 1 + draw() % MAX_COLS, rarity = n % 3 == 0 ? 4 : 30;
        en_strip_list list = draw_list(n, n_cols, rarity);
        check_list(list, draw_activations(n_cols), list.n_large);
    }
    en_strip_list all_large = draw_list(150, 100, 1);
    check_list(all_large, draw_activations(100), all_large.n_large);
}

/* More than 32 bits would hold, and all in one row. */
static void sums_do_not_overflow(void **state)
{
    (void)state;
    const int16_t *q = draw_activations(MAX_COLS);
    en_strip_list list = draw_list(MAX_ENTRIES, MAX_COLS, 1000);
    check_list(list, q, list.n_large);
    int16_t *least = (int16_t *)(void *)place(Q, 2 * (MAX_COLS + 1));
    memset((uint8_t *)(uintptr_t)list.tags, 0x15, list.n); /* -7 in row 5 */
    list.n_large = 0;
    for (uint32_t i = 0; i <= MAX_COLS; i++)
        least[i] = INT16_MIN;
    check_list(list, least, 0);
}

/* A file that changes while it is mapped: what was counted is no longer true. */
static void no_more_large_ones_than_counted(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 200; n += 7) {
        en_strip_list list = draw_list(n, MAX_COLS, 3);
        check_list(list, draw_activations(MAX_COLS), list.n_large / 2);
    }
}

static int set_up(void **state)
{
    (void)state;
    return test_kernels_open(N_REGIONS, REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_all_lengths),
        cmocka_unit_test(sums_do_not_overflow),
        cmocka_unit_test(no_more_large_ones_than_counted),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
