/* test_pretokenizer.c - each scanner cuts as its pattern says. */
#include "text/pretokenizer.h"

#include <string.h>

#include "test_support.h"
#include "text/unicode_class.h"

/* The words of a text, joined by '|'. */
static void check(const char *name, const char *text, const char *want)
{
    const en_pretokenizer *pre = en_pretokenizer_find((en_span){name, strlen(name)});
    char got[256];
    size_t n = strlen(text), n_got = 0;
    assert_non_null(pre);
    for (size_t i = 0, length; i < n; i += length) {
        length = pre->word(text + i, n - i, pre->max_numbers);
        assert_in_range(length, 1, n - i);
        if (i > 0)
            got[n_got++] = '|';
        memcpy(got + n_got, text + i, length);
        n_got += length;
    }
    got[n_got] = 0;
    assert_string_equal(got, want);
}

static void gpt2_words(void **state)
{
    (void)state;
    check("gpt-2", "Hello world, it's 12345", "Hello| world|,| it|'s| 12345");
    check("gpt-2", "a   b", "a|  | b");
    check("gpt-2", "a \n b", "a| \n| b");
    check("gpt-2", "a  ", "a|  ");
    check("gpt-2", "a\tb", "a|\t|b");
    check("gpt-2", "it'S 'll", "it|'|S| '|ll");
}

static void digits_alone(void **state)
{
    (void)state;
    check("smollm", "a 12b", "a| |1|2|b");
    check("smollm", "a  12", "a|  |1|2");
    check("smollm", "x = 3.5", "x| =| |3|.|5");
    check("smollm", "\xC2\xBD kg", "\xC2\xBD| kg");
}

static void cl100k_words(void **state)
{
    (void)state;
    check("qwen2", "it'S 123", "it|'S| |1|2|3");
    check("llama-bpe", "it'LL 12345", "it|'LL| |123|45");
    check("llama-bpe", "(a)\n\n  b", "(a|)\n\n| | b");
    check("llama-bpe", "a \n \n  b", "a| \n \n| | b");
    check("llama-bpe", "\tif", "\tif");
    check("llama-bpe", "x'\xC5\xBF", "x|'\xC5\xBF");
    check("llama-bpe", "a  ", "a|  ");
}

static void o200k_words_follow_case(void **state)
{
    (void)state;
    check("gpt-4o", "HelloWorld ABCdef", "Hello|World| ABCdef");
    check("gpt-4o", "can't CAN'T 1234", "can't| CAN'T| |123|4");
    check("gpt-4o",
          "ABC\xE4\xB8\xAD"
          "D",
          "ABC\xE4\xB8\xAD|D");
    check("gpt-4o", "//\n/x", "//\n/|x");
    check("tekken", "can't 12", "can|'t| |1|2");
}

static void default_words(void **state)
{
    (void)state;
    check("default", "a, 12345+x", "a|,| |123|45|+|x");
    check("default", "it's  (", "it|'|s|  |(");
}

static void broken_bytes_are_symbols(void **state)
{
    (void)state;
    check("gpt-2", "a\xFF\xC3 b", "a|\xFF\xC3| b");
    check("qwen2", "\xE4\xB8(", "\xE4\xB8(");
    check("qwen2", "\xE4z", "\xE4z");
}

static void every_scanner_advances_on_any_bytes(void **state)
{
    (void)state;
    uint64_t seed = 11;
    char text[64];
    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + test_random(&seed) % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = " \n\r'aZ9.sl\xC3\xA9\xE4\xB8\xAD\xFF\xCC\x81"[test_random(&seed) % 18];
        for (size_t k = 0; en_pretokenizer_at(k) != NULL; k++) {
            const en_pretokenizer *pre = en_pretokenizer_at(k);
            for (size_t i = 0, length; i < n; i += length) {
                length = pre->word(text + i, n - i, pre->max_numbers);
                assert_in_range(length, 1, n - i);
            }
        }
    }
}

static void unknown_names_are_not_found(void **state)
{
    (void)state;
    assert_null(en_pretokenizer_find((en_span){"gpt-9", 5}));
    assert_null(en_pretokenizer_find((en_span){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_words),
        cmocka_unit_test(digits_alone),
        cmocka_unit_test(cl100k_words),
        cmocka_unit_test(o200k_words_follow_case),
        cmocka_unit_test(default_words),
        cmocka_unit_test(broken_bytes_are_symbols),
        cmocka_unit_test(every_scanner_advances_on_any_bytes),
        cmocka_unit_test(unknown_names_are_not_found),
    };
    en_unicode_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
