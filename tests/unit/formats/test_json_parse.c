/*
 * test_json_parse.c - JSON: values, strings, and every way to be wrong.
 */
#include "formats/json_parse.h"

#include <stdio.h>

#include "base/memory.h"
#include "test_support.h"

static en_json parse(const char *text)
{
    en_json json;
    entro_error err = {0};
    if (en_json_parse(&json, text, strlen(text), false, &err) != ENTRO_OK)
        fail_msg("%s: %s", text, err.message);
    return json;
}

static void refused(const char *text, const char *words)
{
    en_json json;
    entro_error err = {0};
    size_t before = en_memory_in_use();
    assert_int_equal(en_json_parse(&json, text, strlen(text), false, &err), ENTRO_ERR_FORMAT);
    if (strstr(err.message, words) == NULL)
        fail_msg("%s: '%s' lacks '%s'", text, err.message, words);
    assert_null(json.nodes);
    assert_int_equal(en_memory_in_use(), before);
}

static void reads_every_kind_of_value(void **state)
{
    (void)state;
    en_json j = parse(" {\"a\": [1, -2, 3.5, 1e3, true, false, null], \"b\": {\"c\": \"x\"},\n"
                      "\"big\": 1000000000000000019884624838656, \"exact\": 9007199254740992} ");
    const en_json_node *a = en_json_get(j.nodes, "a");
    int64_t i = 0;
    double f = 0;
    bool b = false;
    assert_int_equal(a->n, 7);
    assert_true(en_json_int(a + 1, &i) && i == 1);
    assert_true(en_json_int(a + 2, &i) && i == -2);
    assert_true(en_json_real(a + 3, &f) && f == 3.5);
    assert_false(en_json_int(a + 3, &i));
    assert_true(en_json_real(a + 4, &f) && f == 1000);
    assert_true(en_json_bool(a + 5, &b) && b);
    assert_true(en_json_bool(a + 6, &b) && !b);
    assert_int_equal(a[7].type, EN_JSON_NULL);
    assert_true(en_json_is(en_json_get(en_json_get(j.nodes, "b"), "c"), "x"));
    assert_true(en_json_real(en_json_get(j.nodes, "big"), &f) && f > 9e29);
    assert_false(en_json_int(en_json_get(j.nodes, "big"), &i));
    assert_true(en_json_int(en_json_get(j.nodes, "exact"), &i) && i == INT64_C(1) << 53);
    en_json_close(&j);
}

static void visits_children_in_order(void **state)
{
    (void)state;
    en_json j = parse("{\"k\": [[1, 2], {\"x\": 3}, 4], \"l\": 5}");
    unsigned n_members = 0, n_items = 0;
    for (EN_JSON_MEMBERS(key, j.nodes)) {
        n_members++;
        for (EN_JSON_EACH(item, key + 1))
            n_items++;
    }
    assert_int_equal(n_members, 2);
    assert_int_equal(n_items, 3);
    for (EN_JSON_EACH(item, en_json_get(j.nodes, "absent")))
        fail();
    en_json_close(&j);
}

static void takes_the_last_of_equal_keys_and_null_as_absent(void **state)
{
    (void)state;
    en_json j = parse("{\"a\": 1, \"a\": 2, \"n\": null}");
    int64_t i = 0;
    assert_true(en_json_int(en_json_get(j.nodes, "a"), &i) && i == 2);
    assert_null(en_json_get(j.nodes, "n"));
    assert_null(en_json_get(j.nodes, "b"));
    assert_null(en_json_get(NULL, "b"));
    en_json_close(&j);
}

static void refuses_equal_keys_when_asked(void **state)
{
    (void)state;
    en_json json;
    entro_error err;
    const char *text = "{\"a\": 1, \"a\": 2}";
    assert_int_equal(en_json_parse(&json, text, strlen(text), true, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "names must be unique"));
}

static void decodes_strings(void **state)
{
    (void)state;
    en_json j =
        parse("[\"\\u0041\\u00e9\\u2581\\ud83d\\ude00\\n\\\"\\/\\\\\", \"▁é😀\", \"a\\u0000b\"]");
    en_span s;
    assert_true(en_json_string(j.nodes + 1, &s));
    assert_true(en_span_is(s, "Aé▁😀\n\"/\\"));
    assert_int_equal(s.p[s.n], 0);
    assert_true(en_json_is(j.nodes + 2, "▁é😀"));
    assert_true(en_json_string(j.nodes + 3, &s) && s.n == 3 && memcmp(s.p, "a\0b", 3) == 0);
    en_json_close(&j);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const wrong[] = {"[1,]",
                                        "{\"a\":1,}",
                                        "[1 2]",
                                        "{\"a\" 1}",
                                        "{a: 1}",
                                        "01",
                                        "1.",
                                        "1e",
                                        "-",
                                        "+1",
                                        "tru",
                                        "NaN",
                                        "-Infinity",
                                        "[1] 2",
                                        "'a'",
                                        "{\"a\":1]",
                                        "\"\\x\"",
                                        "\"\\u12g4\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00\"",
                                        "\"\\ud800\\u0041\"",
                                        "\"a\nb\"",
                                        "\"\xff\"",
                                        "\"\xc0\x80\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf5\x80\x80\x80\"",
                                        "\"\xe0\x80\x80\""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(wrong[i], "JSON");
    refused("", "truncated download?");
    refused("{\"a\": [1, 2", "JSON ends after 11 bytes");
    refused("\"abc", "truncated download?");
}

static void refuses_deep_nesting(void **state)
{
    (void)state;
    char text[2 * EN_JSON_MAX_DEPTH + 3];
    for (int depth = EN_JSON_MAX_DEPTH; depth <= EN_JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        if (depth > EN_JSON_MAX_DEPTH) {
            refused(text, "nested deeper than 64");
        } else {
            en_json j = parse(text);
            en_json_close(&j);
        }
    }
}

static void survives_every_failing_allocation(void **state)
{
    (void)state;
    const char *text = "{\"a\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18],"
                       "\"a string whose buffer grows\": \"0123456789abcdef0123456789abcdef0123\"}";
    en_json json;
    size_t before = en_memory_in_use();
    for (uint64_t n = 0;; n++) {
        en_memory_fail_at(n);
        entro_status status = en_json_parse(&json, text, strlen(text), false, NULL);
        en_memory_fail_at(UINT64_MAX);
        en_json_close(&json);
        assert_int_equal(en_memory_in_use(), before);
        if (status == ENTRO_OK)
            break;
        assert_int_equal(status, ENTRO_ERR_NOMEM);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_value),
        cmocka_unit_test(visits_children_in_order),
        cmocka_unit_test(takes_the_last_of_equal_keys_and_null_as_absent),
        cmocka_unit_test(refuses_equal_keys_when_asked),
        cmocka_unit_test(decodes_strings),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_deep_nesting),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
