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
        static float rows[N_ROWS], cols[N_COLS];
        for (int i = 0; i < N_ROWS; i++)
            rows[i] = 0.5f + (float)i / N_ROWS;
        for (int k = 0; k < N_COLS; k++)
            cols[k] = 1e-4f * (float)(m + 1) * (float)(k + 1);
        assert_int_equal(en_rate_search_add(&s, N_ROWS, N_COLS, sloped ? rows : NULL,
                                            sloped ? cols : NULL, NULL),
                         ENTRO_OK);
    }
    s.other_bytes = 20000;
    s.overhead = 0.12;
    return s;
}

/* A coder that takes 0.17 bit more than expected, a twentieth more at low rates, and 50 kB besides. */
static uint64_t coded(const en_rate_search *s)
{
    double bits = en_rate_search_bits(s, s->x);
    return (uint64_t)(50000 + 3.0 * N_ROWS * N_COLS / 8 * (bits * 1.01 + 0.17 + 0.1 / (1 + bits)));
}

/* The same, with exceptions: a coder whose lists make it ever steeper above 6 bits. */
static uint64_t coded_with_lists(const en_rate_search *s)
{
    double bits = en_rate_search_bits(s, s->x);
    return coded(s) + (uint64_t)(3.0 * N_ROWS * N_COLS / 8 * 0.8 * exp2(2.5 * (bits - 7)));
}

/* Sizes in steps of a hundredth of the target, and of a tenth; none is the target. */
static uint64_t coded_in_small_steps(const en_rate_search *s)
{
    uint64_t step = s->target * 10 / 847;
    return coded(s) / step * step;
}

static uint64_t coded_in_large_steps(const en_rate_search *s)
{
    uint64_t step = s->target / 10 + 1;
    return coded(s) / step * step;
}

/* Whatever the coder does, the search ends. */
static uint64_t coded_at_random(const en_rate_search *s)
{
    uint64_t n = (uint64_t)(fabs(s->x) * 1e9) * 2654435761u + s->n_passes * 40503u;
    return s->target / 2 + n % s->target;
}

/* ... also when what was made once cannot be made again. */
static uint64_t coded_larger_each_time(const en_rate_search *s)
{
    return coded_in_small_steps(s) * (100 + s->n_passes) / 100;
}

typedef uint64_t (*coder)(const en_rate_search *s);

/* Returns the size of the last file. */
static uint64_t search(en_rate_search *s, coder code, entro_status *status, entro_error *err)
{
    bool again = true;
    uint64_t n = 0;
    *status = en_rate_search_start(s, err);
    while (*status == ENTRO_OK && again) {
        n = code(s);
        *status = en_rate_search_next(s, n, &again, err);
        assert_true(s->n_passes <= EN_RATE_MAX_PASSES);
    }
    return n;
}

static uint64_t target_of(double bits)
{
    return (uint64_t)(bits / 8 * 3 * N_ROWS * N_COLS) + 50000;
}

static void expect_met(double bits, bool sloped, coder code, unsigned most_passes)
{
    en_rate_search s = make(target_of(bits), sloped);
    entro_error err = {0};
    entro_status status;
    uint64_t n = search(&s, code, &status, &err);
    if (status != ENTRO_OK || n > s.target || (double)n < 0.995 * (double)s.target ||
        s.n_passes > most_passes || !en_rate_search_is_met(&s))
        fail_msg("%g bits: %g in %u passes %s", bits, 8.0 * (double)n / (3 * N_ROWS * N_COLS),
                 s.n_passes, err.message);
    assert_true(fabs(en_rate_search_below(&s) - 1 + (double)n / (double)s.target) < 1e-9);
    en_rate_search_free(&s);
}

static void meets_sizes_from_below(void **state)
{
    (void)state;
    for (int sloped = 0; sloped < 2; sloped++) {
        for (double bits = 1.5; bits < 7.3; bits += 0.07)
            expect_met(bits, sloped, coded, 3);
        for (double bits = 1.5; bits < 6; bits += 0.07)
            expect_met(bits, sloped, coded_with_lists, 3);
        for (double bits = 6; bits < 8.8; bits += 0.03)
            expect_met(bits, sloped, coded_with_lists, 5);
    }
}

static void steps_are_small_or_told(void **state)
{
    (void)state;
    static const coder coders[] = {coded_in_small_steps, coded_in_large_steps, coded_at_random,
                                   coded_larger_each_time};
    int n_met = 0, n_near = 0, n_failed = 0;
    for (int i = 0; i < 4; i++)
        for (double bits = 1.5; bits < 7; bits += 0.05) {
            en_rate_search s = make(target_of(bits), true);
            entro_error err = {0};
            entro_status status;
            uint64_t n = search(&s, coders[i], &status, &err);
            if (status == ENTRO_OK) {
                assert_true(n <= s.target && (double)n >= (1 - EN_RATE_NEAR) * (double)s.target);
                bool is_met = (double)n >= (1 - EN_RATE_TOLERANCE) * (double)s.target;
                assert_true(en_rate_search_is_met(&s) == is_met);
                n_met += is_met;
                n_near += !is_met;
            } else {
                assert_int_equal(status, ENTRO_ERR_ARGUMENT);
                assert_non_null(strstr(err.message, "cannot be met"));
                n_failed++;
            }
            if (i == 1 && status != ENTRO_OK && !strstr(err.message, "ask for one of these"))
                fail_msg("%g bits: %s", bits, err.message);
            en_rate_search_free(&s);
        }
    assert_true(n_met > 20 && n_near > 20 && n_failed > 20);
}

/* Whatever is asked for beyond an end, the same size is said to be the end, and can be had. */
static void says_what_can_be_met(void **state)
{
    (void)state;
    static const coder coders[] = {coded, coded_with_lists};
    const uint64_t targets[] = {30000, 100, 200000, 3560000, 50000000, 1u << 31};
    for (int k = 0; k < 12; k++) {
        bool is_small = k % 6 < 3;
        coder code = coders[k / 6];
        en_rate_search s = make(targets[k % 6], true);
        s.n_params = 3 * N_ROWS * N_COLS;
        entro_error err = {0};
        entro_status status;
        search(&s, code, &status, &err);
        assert_int_equal(status, ENTRO_ERR_ARGUMENT);
        double bits = en_rate_search_bits(&s, s.x);
        assert_true(fabs(bits - (is_small ? EN_RATE_LEAST_BITS : EN_RATE_MOST_BITS)) < 1e-6);
        const char *end = strstr(err.message, is_small ? "smallest" : "largest");
        assert_non_null(end);
        double asked = strtod(strchr(end, '(') + 1, NULL);
        en_rate_search again;
        again = make((uint64_t)(asked / 8 * (double)s.n_params), true);
        uint64_t n = search(&again, code, &status, NULL);
        assert_int_equal(status, ENTRO_OK);
        assert_true(n == code(&s) && n <= again.target && en_rate_search_is_met(&again));
        en_rate_search_free(&again);
        en_rate_search_free(&s);
    }
    en_rate_search nothing;
    en_rate_search_init(&nothing, 1000);
    assert_int_equal(en_rate_search_start(&nothing, NULL), ENTRO_ERR_ARGUMENT);
    en_rate_search_free(&nothing);
}

/* The first pass counts no more, however good it was; what it told is used. */
static void passes_are_forgotten(void **state)
{
    (void)state;
    for (double bits = 1.5; bits < 7; bits += 0.37) {
        en_rate_search s = make(target_of(bits), true);
        bool again;
        assert_int_equal(en_rate_search_start(&s, NULL), ENTRO_OK);
        assert_int_equal(en_rate_search_next(&s, coded(&s), &again, NULL), ENTRO_OK);
        en_rate_search_forget(&s);
        uint64_t n = 0;
        for (again = true; again;) {
            n = coded(&s) * 1002 / 1000;
            assert_int_equal(en_rate_search_next(&s, n, &again, NULL), ENTRO_OK);
        }
        assert_true(n <= s.target && en_rate_search_is_met(&s) && s.n_passes <= 3);
        en_rate_search_free(&s);
    }
}

/* Errors fall to a quarter with each bit, a tenth slower than that at low rates. */
static double kld_of(const en_rate_search *s)
{
    double bits = en_rate_search_bits(s, s->x);
    return 4 * exp2(-2 * bits + 0.2 / bits);
}

static double search_kld(double target, entro_status *status, entro_error *err)
{
    en_rate_search s = make(0, true);
    s.target_kld = target;
    double kld = 0;
    *status = en_rate_search_start(&s, err);
    for (bool again = true; again && *status == ENTRO_OK;) {
        kld = kld_of(&s);
        *status = en_rate_search_next_kld(&s, kld, &again, err);
        assert_true(s.n_passes <= 5);
    }
    if (*status == ENTRO_OK)
        assert_true(kld <= target && en_rate_search_is_met(&s) == (kld >= 0.96 * target));
    en_rate_search_free(&s);
    return kld;
}

static void meets_klds_from_below(void **state)
{
    (void)state;
    entro_status status;
    for (double target = 0.0003; target < 1.2; target *= 1.7) {
        double kld = search_kld(target, &status, NULL);
        assert_int_equal(status, ENTRO_OK);
        assert_true(kld >= 0.96 * target);
    }
    /* The coarsest file is the smallest within any KLD; the finest says what it has, which can be had. */
    assert_true(search_kld(1000, &status, NULL) < 4);
    assert_int_equal(status, ENTRO_OK);
    entro_error err = {0};
    search_kld(1e-6, &status, &err);
    assert_int_equal(status, ENTRO_ERR_ARGUMENT);
    const char *has = strstr(err.message, " has ");
    assert_non_null(has);
    search_kld(strtod(has + 5, NULL), &status, NULL);
    assert_int_equal(status, ENTRO_OK);
    en_rate_search s = make(0, true);
    bool again;
    s.target_kld = 0.01;
    assert_int_equal(en_rate_search_start(&s, NULL), ENTRO_OK);
    assert_int_equal(en_rate_search_next_kld(&s, (double)NAN, &again, NULL), ENTRO_ERR_ARGUMENT);
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
    assert_true(isnan(en_rate_search_below(&s)) && en_rate_search_is_met(&s));
    en_rate_search_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meets_sizes_from_below), cmocka_unit_test(steps_are_small_or_told),
        cmocka_unit_test(says_what_can_be_met),   cmocka_unit_test(passes_are_forgotten),
        cmocka_unit_test(meets_klds_from_below),  cmocka_unit_test(without_a_target_one_pass_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
