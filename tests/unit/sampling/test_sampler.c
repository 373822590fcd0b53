/*
 * The sampler: each step against its definition, ties, seeds, and what it refuses.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/memory.h"
#include "sampling/pcg32.h"
#include "sampling/sampler.h"

enum { N = 50 };

static const entro_sampler_options plain = {
    .struct_size = sizeof plain, .temperature = 1.0f, .top_p = 1.0f, .repeat_penalty = 1.0f};

static entro_sampler *make(entro_sampler_options opt)
{
    entro_sampler *s = NULL;
    assert_int_equal(en_sampler_new(&s, N, &opt, NULL), ENTRO_OK);
    return s;
}

/* Logits with a known order: id 7 i mod N has rank i. */
static void fill(float *logits)
{
    for (int i = 0; i < N; i++)
        logits[7 * i % N] = 3.0f - 0.2f * (float)i;
}

/* How often each rank comes out of n draws. */
static void count(entro_sampler *s, const float *logits, int n, int *counts)
{
    for (int i = 0; i < N; i++)
        counts[i] = 0;
    for (int i = 0; i < n; i++) {
        int32_t id = en_sampler_sample(s, logits);
        int rank = 0;
        while (7 * rank % N != id)
            rank++;
        counts[rank]++;
    }
}

/* Checks that exactly 'n_kept' ranks occur, with the right frequencies. */
static void expect_head(entro_sampler_options opt, int n_kept)
{
    enum { DRAWS = 40000 };
    float logits[N];
    int counts[N];
    double mass[N], total = 0.0;
    fill(logits);
    for (int i = 0; i < n_kept; i++)
        total += mass[i] = exp(-0.2 * i / opt.temperature);
    entro_sampler *s = make(opt);
    count(s, logits, DRAWS, counts);
    for (int i = 0; i < N; i++) {
        double want = i < n_kept ? DRAWS * mass[i] / total : 0.0;
        assert_true(fabs(counts[i] - want) <= 5.0 * sqrt(want) + (i < n_kept));
    }
    en_sampler_free(s);
}

static void pcg32_gives_the_published_numbers(void **state)
{
    (void)state;
    /* first outputs of pcg32-demo with seed 42, sequence 54 */
    static const uint32_t want[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330,
                                    0x83d2f293, 0xbfa4784b, 0xcbed606e};
    en_pcg32 rng = en_pcg32_seed(42);
    for (int i = 0; i < 6; i++)
        assert_int_equal(en_pcg32_next(&rng), want[i]);
}

static void greedy_takes_the_largest_and_the_smaller_id_on_ties(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.temperature = 0.0f;
    entro_sampler *s = make(opt);
    float logits[N] = {0};
    logits[31] = logits[17] = logits[44] = 2.0f;
    assert_int_equal(en_sampler_sample(s, logits), 17);
    logits[0] = NAN;
    assert_int_equal(en_sampler_sample(s, logits), 17);
    en_sampler_free(s);
}

static void draws_in_proportion_at_every_temperature(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    expect_head(opt, N);
    opt.temperature = 0.3f;
    expect_head(opt, N);
    opt.temperature = 4.0f;
    expect_head(opt, N);
}

static void top_k_keeps_k(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.top_k = 6;
    expect_head(opt, 6);
    opt.top_k = 1;
    expect_head(opt, 1);
    opt.top_k = N + 10;
    expect_head(opt, N);
}

/* Fewest ranks of n whose mass reaches p. */
static int head_for(double p, int n)
{
    double total = 0.0, sum = 0.0;
    for (int i = 0; i < n; i++)
        total += exp(-0.2 * i);
    int kept = 0;
    while (sum < p * total)
        sum += exp(-0.2 * kept++);
    return kept;
}

static void top_p_keeps_the_fewest_that_reach_p(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.top_p = 0.7f;
    expect_head(opt, head_for(0.7, N));
    opt.top_k = 8; /* p counts against what top-k left */
    expect_head(opt, head_for(0.7, 8));
    opt.top_p = 0.0f; /* one always stays */
    expect_head(opt, 1);
}

static void min_p_keeps_what_is_near_the_largest(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.min_p = 0.35f;
    int kept = 0;
    while (exp(-0.2 * kept) >= 0.35)
        kept++;
    expect_head(opt, kept);
    opt.min_p = 1.0f;
    expect_head(opt, 1);
}

static void repeat_penalty_pushes_recent_tokens_down_once(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.temperature = 0.0f;
    opt.repeat_penalty = 2.0f;
    opt.repeat_last_n = 2;
    entro_sampler *s = make(opt);
    float logits[N] = {0};
    for (int i = 0; i < N; i++)
        logits[i] = -10.0f;
    logits[3] = 8.0f;
    logits[4] = 5.0f;
    en_sampler_accept(s, 3);
    en_sampler_accept(s, 3); /* 8 / 2 = 4 < 5, and not 8 / 4 */
    assert_int_equal(en_sampler_sample(s, logits), 4);
    logits[5] = 4.5f; /* history: 3, 4 -> 4 and 2.5 */
    assert_int_equal(en_sampler_sample(s, logits), 5);
    /* history: 4, 5 -> 3 is free again */
    assert_int_equal(en_sampler_sample(s, logits), 3);
    en_sampler_accept(s, -1); /* ids out of range are ignored */
    en_sampler_accept(s, 1000);
    assert_int_equal(en_sampler_sample(s, logits), 3);
    en_sampler_free(s);
}

static void negative_logits_are_multiplied(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.temperature = 0.0f;
    opt.repeat_penalty = 2.0f;
    opt.repeat_last_n = 8;
    entro_sampler *s = make(opt);
    float logits[N];
    for (int i = 0; i < N; i++)
        logits[i] = -9.0f;
    logits[1] = -2.0f;
    logits[2] = -3.0f;
    en_sampler_accept(s, 1);
    assert_int_equal(en_sampler_sample(s, logits), 2);
    en_sampler_free(s);
}

static void same_seed_same_tokens(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.seed = 99;
    opt.top_p = 0.9f;
    float logits[N];
    fill(logits);
    entro_sampler *a = make(opt), *b = make(opt);
    opt.seed = 100;
    entro_sampler *c = make(opt);
    int n_different = 0;
    for (int i = 0; i < 200; i++) {
        int32_t token = en_sampler_sample(a, logits);
        assert_int_equal(token, en_sampler_sample(b, logits));
        n_different += token != en_sampler_sample(c, logits);
    }
    assert_true(n_different > 50);
    en_sampler_free(a);
    en_sampler_free(b);
    en_sampler_free(c);
}

static void survives_infinities_and_nans(void **state)
{
    (void)state;
    entro_sampler *s = make(plain);
    float logits[N];
    for (int i = 0; i < N; i++)
        logits[i] = NAN;
    assert_int_equal(en_sampler_sample(s, logits), 0);
    logits[9] = -INFINITY;
    assert_in_range(en_sampler_sample(s, logits), 0, N - 1);
    logits[9] = 1.0f;
    assert_int_equal(en_sampler_sample(s, logits), 9);
    logits[11] = INFINITY;
    assert_int_equal(en_sampler_sample(s, logits), 11);
    en_sampler_free(s);
}

static void refuse(entro_sampler_options opt)
{
    entro_sampler *s = NULL;
    entro_error err = {0};
    assert_int_equal(en_sampler_new(&s, N, &opt, &err), ENTRO_ERR_ARGUMENT);
    assert_true(err.message[0] != 0);
    assert_null(s);
}

static void refuses_options_out_of_range(void **state)
{
    (void)state;
    entro_sampler_options opt = plain;
    opt.temperature = -0.1f;
    refuse(opt);
    opt.temperature = NAN;
    refuse(opt);
    opt = plain;
    opt.top_p = 1.5f;
    refuse(opt);
    opt = plain;
    opt.min_p = -0.5f;
    refuse(opt);
    opt = plain;
    opt.repeat_penalty = 0.0f;
    refuse(opt);
    opt = plain;
    opt.repeat_last_n = UINT32_MAX;
    refuse(opt);
}

static void failing_allocations_leak_nothing(void **state)
{
    (void)state;
    size_t before = en_memory_in_use();
    entro_sampler_options opt = plain;
    opt.repeat_last_n = 64;
    for (uint64_t i = 0;; i++) {
        entro_sampler *s = NULL;
        en_memory_fail_at(i);
        entro_status status = en_sampler_new(&s, N, &opt, NULL);
        en_memory_fail_at(UINT64_MAX);
        en_sampler_free(s);
        assert_int_equal(en_memory_in_use(), before);
        if (status == ENTRO_OK)
            break;
        assert_int_equal(status, ENTRO_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pcg32_gives_the_published_numbers),
        cmocka_unit_test(greedy_takes_the_largest_and_the_smaller_id_on_ties),
        cmocka_unit_test(draws_in_proportion_at_every_temperature),
        cmocka_unit_test(top_k_keeps_k),
        cmocka_unit_test(top_p_keeps_the_fewest_that_reach_p),
        cmocka_unit_test(min_p_keeps_what_is_near_the_largest),
        cmocka_unit_test(repeat_penalty_pushes_recent_tokens_down_once),
        cmocka_unit_test(negative_logits_are_multiplied),
        cmocka_unit_test(same_seed_same_tokens),
        cmocka_unit_test(survives_infinities_and_nans),
        cmocka_unit_test(refuses_options_out_of_range),
        cmocka_unit_test(failing_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
