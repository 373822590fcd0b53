/* test_integer_histogram.c - the run around the most frequent value: what is in it, what is left out. */
#include "entropy/integer_histogram.h"

#include <string.h>

#include "test_support.h"

enum { N = 1024 };

static uint64_t sum_of(const entro_histogram *h)
{
    uint64_t sum = h->n_others;
    for (uint32_t i = 0; i < h->n_values; i++)
        sum += h->counts[i];
    return sum;
}

static void keeps_all_that_is_near(void **state)
{
    (void)state;
    uint64_t counts[N] = {0};
    counts[500] = 7;
    counts[501] = 50;
    counts[503] = 3;
    entro_histogram h;
    en_integer_histogram_take(&h, counts, N, -512, 0);
    assert_int_equal(h.n_others, 0);
    assert_int_equal(h.first, -12);
    assert_int_equal(h.n_values, 4);
    assert_int_equal(h.counts[0], 7);
    assert_int_equal(h.counts[1], 50);
    assert_int_equal(h.counts[2], 0);
    assert_int_equal(h.counts[3], 3);
}

static void leaves_out_one_in_ten_thousand(void **state)
{
    (void)state;
    uint64_t counts[N] = {0};
    counts[100] = 1;
    counts[200] = 10000;
    counts[201] = 9998;
    counts[900] = 1;
    entro_histogram h;
    en_integer_histogram_take(&h, counts, N, 0, 0);
    assert_int_equal(h.n_values, 2);
    assert_int_equal(h.first, 200);
    assert_int_equal(h.n_others, 2);
    /* What the caller could not count is left out as well: the run goes on to the end of its room. */
    en_integer_histogram_take(&h, counts, N, 0, 3);
    assert_int_equal(h.n_values, ENTRO_HISTOGRAM_VALUES);
    assert_int_equal(sum_of(&h), 10000 + 9998 + 2 + 3);
}

static void stays_within_the_counts(void **state)
{
    (void)state;
    uint64_t counts[300];
    for (size_t at = 0; at < 300; at += 299) { /* the peak at either end */
        for (size_t i = 0; i < 300; i++)
            counts[i] = 100 + (i == at);
        entro_histogram h;
        en_integer_histogram_take(&h, counts, 300, 0, 0);
        assert_int_equal(h.n_values, ENTRO_HISTOGRAM_VALUES);
        assert_int_equal(h.first, at == 0 ? 0 : 300 - ENTRO_HISTOGRAM_VALUES);
        assert_int_equal(sum_of(&h), 30001);
        en_integer_histogram_take(&h, counts + at, 1, 4, 0);
        assert_int_equal(h.n_values, 1);
        assert_int_equal(h.first, 4);
        assert_int_equal(h.counts[0], 101);
    }
    /* 16 symbols, one outside. */
    entro_histogram h;
    en_integer_histogram_take(&h, counts, 16, 0, 1);
    assert_int_equal(h.n_values, 16);
    assert_int_equal(h.n_others, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_all_that_is_near),
        cmocka_unit_test(leaves_out_one_in_ten_thousand),
        cmocka_unit_test(stays_within_the_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
