/* test_eval_number.c - which number of a text counts, and when two are the same. */
#include "test_support.h"

#include "eval/eval_number.h"

static en_span of(const char *text)
{
    return (en_span){text, strlen(text)};
}

static void expect_last(const char *text, const char *number)
{
    en_span found = en_eval_number_last(of(text));
    if (!en_span_is(found, number))
        fail_msg("'%s': '%.*s'", text, (int)found.n, found.n ? found.p : "");
}

/* As Python's re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)[-1]. */
static void the_last_number(void **state)
{
    (void)state;
    expect_last("", "");
    expect_last("none.", "");
    expect_last("7", "7");
    expect_last("It is 7.", "7.");
    expect_last("3 of 12 cost $1,234.50 each", "$1,234.50");
    expect_last("from 5 to -8 degrees", "-8");
    expect_last("x-12", "-12");
    expect_last("a - b, 3", "3");
    expect_last("so 4 - 3 ... is", "...");
    expect_last("#### 18", "18");
}

static void the_number_behind_the_mark(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"#### 18", "18"},      {"a 5\n#### -1,000. b 7", "-1,000."},
        {"#### x #### 3", "3"}, {"####18", ""},
        {"#### ", ""},          {"#### -", ""},
        {"#### 1 #### 2", "1"}, {"18", ""},
        {"#### $18", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(en_span_is(en_eval_number_strict(of(cases[i][0])), cases[i][1]));
}

static void equal_as_text(void **state)
{
    (void)state;
    assert_true(en_eval_number_equal(of("$1,000."), of("1000")));
    assert_true(en_eval_number_equal(of("18"), of("18\n")));
    assert_true(en_eval_number_equal(of("1.5"), of("1.5")));
    assert_false(en_eval_number_equal(of("18.00"), of("18")));
    assert_false(en_eval_number_equal(of("-18"), of("18")));
    assert_false(en_eval_number_equal(of(""), of("")));
    assert_false(en_eval_number_equal(of("$."), of(",,")));
    char longest[200];
    memset(longest, '1', sizeof longest);
    assert_false(en_eval_number_equal((en_span){longest, 200}, (en_span){longest, 200}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_number),
        cmocka_unit_test(the_number_behind_the_mark),
        cmocka_unit_test(equal_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
