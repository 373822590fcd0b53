/* test_rate_search.c - sizes are met from below in a few passes, or it is said what can be met. */
#include "pipeline/rate_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "test_support.h"

enum { N_COLS = 64, N_ROWS = 10000 };

static en_rate_search make(uint64_t target, bool sloped)
{
    en_rate_search s;
    en_rate_search_init(&s, target);
    for (int m = 0; m < 3; m++) {
        float *spreads = sloped ? en_alloc(N_COLS, sizeof *spreads) : NULL;
        for (int k = 0; spreads != NULL && k < N_COLS; k++)
            spreads[k] = 1e-4f * (float)(m + 1) * (float)(k + 1);
        assert_int_equal(en_rate_search_add(&s, N_ROWS, N_COLS, spreads, NULL), ENTRO_OK);
    }
    s.other_bytes = 20000;
    return s;
}

/* A coder that takes 0.17 bit more than expected, a twentieth more at low rates, and 50 kB besides. */
static uint64_t coded(const en_rate_search *s)
{
    double bits = en_rate_search_bits(s, s->x);
    return (uint64_t)(50000 + 3.0 * N_ROWS * N_COLS / 8 * (bits * 1.01 + 0.17 + 0.1 / (1 + bits)));
}

static void meets_sizes_from_below(void **state)
{
    (void)state;
    for (int sloped = 0; sloped < 2; sloped++)
        for (double bpw = 1.5; bpw < 7; bpw += 0.37) {
            uint64_t target = (uint64_t)(bpw / 8 * 3 * N_ROWS * N_COLS) + 50000;
            en_rate_search s = make(target, sloped);
            bool again = true;
            uint64_t n = 0;
            assert_int_equal(en_rate_search_start(&s, NULL), ENTRO_OK);
            while (again) {
                n = coded(&s);
                assert_int_equal(en_rate_search_next(&s, n, &again, NULL), ENTRO_OK);
            }
            assert_true(n <= target && (double)n >= 0.995 * (double)target);
            assert_true(s.n_passes <= EN_RATE_MAX_PASSES);
            en_rate_search_free(&s);
        }
}

static void says_what_can_be_met(void **state)
{
    (void)state;
    const uint64_t targets[] = {30000, 100, 50000000};
    for (int i = 0; i < 3; i++) {
        en_rate_search s = make(targets[i], true);
        entro_error err = {0};
        assert_int_equal(en_rate_search_start(&s, &err), ENTRO_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "can have from about"));
        en_rate_search_free(&s);
    }
    en_rate_search nothing;
    en_rate_search_init(&nothing, 1000);
    assert_int_equal(en_rate_search_start(&nothing, NULL), ENTRO_ERR_ARGUMENT);
    en_rate_search_free(&nothing);
}

/* Errors fall to a quarter with each bit, a tenth slower than that at low rates. */
static void meets_losses_from_below(void **state)
{
    (void)state;
    for (double target = 0.003; target < 0.3; target *= 1.7) {
        en_rate_search s = make(0, true);
        s.target_loss = target;
        bool again = true;
        double loss = 0;
        assert_int_equal(en_rate_search_start(&s, NULL), ENTRO_OK);
        while (again) {
            double bits = en_rate_search_bits(&s, s.x);
            loss = 4 * exp2(-2 * bits + 0.2 / bits);
            assert_int_equal(en_rate_search_next_loss(&s, loss, &again, NULL), ENTRO_OK);
        }
        assert_true(loss <= target && loss > 0.8 * target && s.n_passes <= EN_RATE_MAX_PASSES + 2);
        en_rate_search_free(&s);
    }
    en_rate_search s = make(0, true);
    bool again;
    s.target_loss = 0.01;
    assert_int_equal(en_rate_search_start(&s, NULL), ENTRO_OK);
    assert_int_equal(en_rate_search_next_loss(&s, (double)NAN, &again, NULL), ENTRO_ERR_ARGUMENT);
    en_rate_search_free(&s);
}

static void without_a_target_one_pass_does(void **state)
{
    (void)state;
    en_rate_search s = make(0, false);
    bool again = true;
    assert_int_equal(en_rate_search_start(&s, NULL), ENTRO_OK);
    assert_int_equal(en_rate_search_next(&s, 12345, &again, NULL), ENTRO_OK);
    assert_false(again);
    en_rate_search_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meets_sizes_from_below),
        cmocka_unit_test(says_what_can_be_met),
        cmocka_unit_test(meets_losses_from_below),
        cmocka_unit_test(without_a_target_one_pass_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
