/* test_draft.c - guesses from the context. */
#include "test_support.h"

#include "sampling/draft.h"

static size_t propose(const int32_t *context, size_t n, int32_t *draft, size_t n_max)
{
    entro_drafter *d;
    assert_int_equal(en_drafter_new(&d, NULL), ENTRO_OK);
    assert_int_equal(en_drafter_accept(d, context, n / 2, NULL), ENTRO_OK);
    assert_int_equal(en_drafter_accept(d, context + n / 2, n - n / 2, NULL), ENTRO_OK);
    size_t n_draft = en_drafter_propose(d, draft, n_max);
    en_drafter_free(d);
    return n_draft;
}

static void test_what_followed_is_proposed(void **state)
{
    (void)state;
    static const int32_t context[] = {1, 2, 3, 4, 5, 6, 7, 9, 2, 3};
    static const int32_t expected[] = {4, 5, 6, 7};
    int32_t draft[8];
    assert_int_equal(propose(context, 10, draft, 8), 4);
    assert_memory_equal(draft, expected, sizeof expected);
    assert_int_equal(propose(context, 10, draft, 3), 3);
    assert_int_equal(propose(context, 10, draft, 0), 0);
}

static void test_longest_then_latest_match(void **state)
{
    (void)state;
    static const int32_t longest[] = {1, 2, 3, 40, 5, 2, 3, 50, 1, 2, 3};
    static const int32_t latest[] = {2, 3, 40, 5, 2, 3, 50, 6, 2, 3};
    int32_t draft[8];
    assert_true(propose(longest, 11, draft, 1) == 1 && draft[0] == 40);
    assert_true(propose(latest, 10, draft, 1) == 1 && draft[0] == 50);
}

static void test_nothing_to_say(void **state)
{
    (void)state;
    static const int32_t context[] = {1, 2, 3, 4, 5, 3};
    int32_t draft[4];
    assert_int_equal(propose(context, 0, draft, 4), 0);
    assert_int_equal(propose(context, 1, draft, 4), 0);
    assert_int_equal(propose(context, 6, draft, 4), 0); /* one token alone is no reason */
}

static void test_repetition_goes_on(void **state)
{
    (void)state;
    static const int32_t context[] = {7, 8, 7, 8, 7, 8};
    static const int32_t expected[] = {7, 8, 7, 8, 7, 8, 7};
    int32_t draft[7];
    assert_int_equal(propose(context, 6, draft, 7), 7);
    assert_memory_equal(draft, expected, sizeof expected);
}

static void test_truncated_context_is_forgotten(void **state)
{
    (void)state;
    static const int32_t context[] = {1, 2, 3, 1, 2};
    int32_t draft[4];
    entro_drafter *d;
    assert_int_equal(en_drafter_new(&d, NULL), ENTRO_OK);
    assert_int_equal(en_drafter_accept(d, context, 5, NULL), ENTRO_OK);
    assert_true(en_drafter_propose(d, draft, 4) > 0 && draft[0] == 3);
    en_drafter_truncate(d, 4);
    assert_int_equal(en_drafter_propose(d, draft, 4), 0);
    en_drafter_truncate(d, 10);
    assert_int_equal(en_drafter_propose(d, draft, 4), 0);
    en_drafter_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_followed_is_proposed),
        cmocka_unit_test(test_longest_then_latest_match),
        cmocka_unit_test(test_nothing_to_say),
        cmocka_unit_test(test_repetition_goes_on),
        cmocka_unit_test(test_truncated_context_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
