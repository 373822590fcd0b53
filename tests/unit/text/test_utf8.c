/* test_utf8.c - valid and broken UTF-8, and composition. */
#include "text/utf8.h"

#include <string.h>

#include "base/memory.h"
#include "test_support.h"
#include "text/compose.h"
#include "text/unicode_class.h"

static void every_code_point_comes_back(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char text[4];
        uint32_t back = 0;
        size_t n = en_utf8_write(text, code);
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        assert_int_equal(en_utf8_read(text, n, &back), surrogate ? 0 : n);
        assert_int_equal(back, surrogate ? 0 : code);
        for (size_t k = 1; k < n; k++) {
            assert_int_equal(en_utf8_read(text, k, &back), 0);
            assert_int_equal(en_utf8_is_prefix(text, k), !surrogate || k == 1);
        }
    }
}

static void broken_sequences_are_not_valid(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\x80",     "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
        "\xF5\x80", "\xFF",     "\xC3(",    "\xE4\xB8("};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        uint32_t code;
        assert_int_equal(en_utf8_read(broken[i], strlen(broken[i]), &code), 0);
        assert_int_equal(en_utf8_length(broken[i], strlen(broken[i])), 1);
    }
}

static void classes(void **state)
{
    (void)state;
    assert_int_equal(en_unicode_class('a') & EN_CLASS_MASK, EN_CLASS_LOWER);
    assert_int_equal(en_unicode_class('_') & EN_CLASS_MASK, EN_CLASS_PUNCT);
    assert_int_equal(en_unicode_class(0x3000) & EN_CLASS_MASK, EN_CLASS_SPACE);
    assert_int_equal(en_unicode_class(0x4E2D) & EN_CLASS_MASK, EN_CLASS_LETTER);
    assert_int_equal(en_unicode_class(0x301), EN_CLASS_MARK | EN_CLASS_NORMALIZES);
    assert_int_equal(en_unicode_class(0x1F600) & EN_CLASS_MASK, EN_CLASS_SYMBOL);
    assert_int_equal(en_unicode_class(0x10FFFF) & EN_CLASS_MASK, EN_CLASS_OTHER);
}

/* 'want' NULL: in NFC already. */
static void check_compose(const char *text, const char *want)
{
    char *out;
    size_t n;
    assert_int_equal(en_compose(text, strlen(text), &out, &n, NULL), ENTRO_OK);
    if (want == NULL) {
        assert_null(out);
        assert_int_equal(n, strlen(text));
    } else {
        assert_non_null(out);
        assert_int_equal(n, strlen(want));
        assert_memory_equal(out, want, n);
    }
    en_free(out);
}

static void composes_what_is_not_composed(void **state)
{
    (void)state;
    check_compose("", NULL);
    check_compose("plain \xC3\xA9 \xE2\x80\x93 \xE4\xB8\xAD", NULL);
    check_compose("xe\xCC\x81y", "x\xC3\xA9y");
    check_compose("\xE2\x84\xAB", "\xC3\x85");
    check_compose("a\xCC\x87\xCC\xA3 \xFF\xCC\x81", "\xE1\xBA\xA1\xCC\x87 \xFF\xCC\x81");
    check_compose("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(broken_sequences_are_not_valid),
        cmocka_unit_test(classes),
        cmocka_unit_test(composes_what_is_not_composed),
    };
    en_unicode_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
