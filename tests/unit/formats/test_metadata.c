/* test_metadata.c - the ordered map of keys to typed values. */
#include "formats/metadata.h"

#include <stdio.h>

#include "base/memory.h"
#include "test_support.h"

static en_meta *new_meta(void)
{
    en_meta *meta;
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    return meta;
}

static void scalars_come_back(void **state)
{
    (void)state;
    en_meta *meta = new_meta();
    assert_int_equal(en_meta_set_u32(meta, "u", 4000000000u, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_f32(meta, "f", 0.5f, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_bool(meta, "b", true, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_string(meta, "s", "text", NULL), ENTRO_OK);
    assert_int_equal(en_meta_count(meta), 4);
    assert_int_equal(en_meta_u32(meta, "u", 0), 4000000000u);
    assert_true(en_meta_f32(meta, "f", 0) == 0.5f);
    assert_true(en_meta_bool(meta, "b", false));
    assert_true(en_span_is(en_meta_string(meta, "s"), "text"));
    assert_string_equal(en_meta_key(meta, 2), "b");
    assert_ptr_equal(en_meta_at(meta, 2), en_meta_get(meta, "b"));
    en_meta_free(meta);
}

static void absent_or_other_kind_gives_the_fallback(void **state)
{
    (void)state;
    en_meta *meta = new_meta();
    en_meta_set_string(meta, "s", "7", NULL);
    en_meta_set_f32(meta, "f", 7.0f, NULL);
    en_meta_set_u32(meta, "u", 7, NULL);
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    en_meta_value array = {.type = EN_META_U8, .is_array = true, .n = 4, .data = bytes};
    en_meta_set(meta, "a", &array, NULL);
    assert_int_equal(en_meta_u32(meta, "none", 5), 5);
    assert_int_equal(en_meta_u32(meta, "s", 5), 5);
    assert_int_equal(en_meta_u32(meta, "f", 5), 5);
    assert_int_equal(en_meta_u32(meta, "a", 5), 5);
    assert_true(en_meta_f32(meta, "s", 2.0f) == 2.0f);
    assert_true(en_meta_f32(meta, "u", 2.0f) == 7.0f);
    assert_true(en_meta_bool(meta, "u", true));
    assert_null(en_meta_string(meta, "u").p);
    assert_null(en_meta_get(meta, "none"));
    en_meta_free(meta);
}

static void integers_of_every_width_are_accepted_when_they_fit(void **state)
{
    (void)state;
    en_meta *meta = new_meta();
    const struct {
        en_meta_value value;
        uint32_t expected;
    } cases[] = {
        {{.type = EN_META_I32, .n = 1, .i = 12}, 12},
        {{.type = EN_META_I8, .n = 1, .i = -1}, 99},
        {{.type = EN_META_U64, .n = 1, .u = UINT32_MAX}, UINT32_MAX},
        {{.type = EN_META_U64, .n = 1, .u = 1ull << 32}, 99},
        {{.type = EN_META_I64, .n = 1, .i = 1ll << 40}, 99},
        {{.type = EN_META_U16, .n = 1, .u = 3}, 3},
        {{.type = EN_META_BOOL, .n = 1, .u = 1}, 99},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        en_meta_set(meta, "k", &cases[i].value, NULL);
        assert_int_equal(en_meta_u32(meta, "k", 99), cases[i].expected);
    }
    en_meta_set(meta, "k", &(en_meta_value){.type = EN_META_F64, .n = 1, .f = 0.25}, NULL);
    assert_true(en_meta_f32(meta, "k", 0) == 0.25f);
    en_meta_set(meta, "k", &(en_meta_value){.type = EN_META_I64, .n = 1, .i = -3}, NULL);
    assert_true(en_meta_f32(meta, "k", 0) == -3.0f);
    assert_int_equal(en_meta_count(meta), 1);
    en_meta_free(meta);
}

static void values_are_copied(void **state)
{
    (void)state;
    en_meta *meta = new_meta();
    char text[] = "first";
    en_span strings[2] = {{text, 5}, {"", 0}};
    en_meta_value value = {.type = EN_META_STRING, .is_array = true, .n = 2, .strings = strings};
    assert_int_equal(en_meta_set(meta, "strings", &value, NULL), ENTRO_OK);
    int16_t numbers[] = {-5, 6};
    value = (en_meta_value){
        .type = EN_META_I16, .is_array = true, .n = 2, .data = (const uint8_t *)numbers};
    assert_int_equal(en_meta_set(meta, "numbers", &value, NULL), ENTRO_OK);
    memset(text, 'x', sizeof text);
    memset(strings, 0, sizeof strings);
    memset(numbers, 0, sizeof numbers);
    assert_true(en_span_is(en_meta_get(meta, "strings")->strings[0], "first"));
    assert_int_equal(en_meta_get(meta, "strings")->strings[1].n, 0);
    assert_int_equal(en_meta_array_int(en_meta_get(meta, "numbers"), 0), -5);
    assert_true(en_meta_array_f32(en_meta_get(meta, "numbers"), 1) == 6.0f);
    /* A value may be set to itself. */
    assert_int_equal(en_meta_set(meta, "strings", en_meta_get(meta, "strings"), NULL), ENTRO_OK);
    assert_true(en_span_is(en_meta_get(meta, "strings")->strings[0], "first"));
    en_meta_free(meta);
}

static void array_elements_of_every_type(void **state)
{
    (void)state;
    static const uint8_t bytes[17] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t *unaligned = bytes + 1; /* eight bytes of ones, then zeros */
    const struct {
        en_meta_type type;
        int64_t expected;
    } cases[] = {{EN_META_U8, 255},        {EN_META_I8, -1},          {EN_META_U16, 65535},
                 {EN_META_I16, -1},        {EN_META_U32, 4294967295}, {EN_META_I32, -1},
                 {EN_META_U64, INT64_MAX}, {EN_META_I64, -1},         {EN_META_STRING, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        en_meta_value v = {.type = cases[i].type, .is_array = true, .n = 1, .data = unaligned};
        assert_true(en_meta_array_int(&v, 0) == cases[i].expected);
    }
    double d = -1.5;
    uint8_t real[9];
    memcpy(real + 1, &d, sizeof d);
    en_meta_value v = {.type = EN_META_F64, .is_array = true, .n = 1, .data = real + 1};
    assert_true(en_meta_array_f32(&v, 0) == -1.5f);
}

static void unknown_type_is_refused(void **state)
{
    (void)state;
    en_meta *meta = new_meta();
    entro_error err;
    en_meta_value value = {.type = EN_META_ARRAY, .n = 1};
    assert_int_equal(en_meta_set(meta, "k", &value, &err), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_meta_count(meta), 0);
    en_meta_free(meta);
}

static void removal_keeps_order_and_finds_the_rest(void **state)
{
    (void)state;
    en_meta *meta = new_meta();
    char key[16];
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(en_meta_set_u32(meta, key, i, NULL), ENTRO_OK);
    }
    for (uint32_t i = 0; i < 100; i += 3) {
        snprintf(key, sizeof key, "k%u", i);
        en_meta_remove(meta, key);
    }
    en_meta_remove(meta, "absent");
    assert_int_equal(en_meta_count(meta), 66);
    uint32_t last = 0;
    for (size_t i = 0; i < en_meta_count(meta); i++) {
        uint32_t v = en_meta_u32(meta, en_meta_key(meta, i), 0);
        assert_true(v > last && v % 3 != 0);
        last = v;
    }
    en_meta_free(meta);
}

static void check_format(const en_meta_value *value, const char *expected)
{
    char text[256], cut[8];
    assert_int_equal(en_meta_format(value, text, sizeof text), strlen(expected));
    assert_string_equal(text, expected);
    assert_int_equal(en_meta_format(value, cut, sizeof cut), strlen(expected));
    assert_int_equal(strlen(cut), strlen(expected) < 7 ? strlen(expected) : 7);
    assert_memory_equal(cut, expected, strlen(cut));
    assert_int_equal(en_meta_format(value, NULL, 0), strlen(expected));
}

static void values_are_shown(void **state)
{
    (void)state;
    check_format(&(en_meta_value){.type = EN_META_U64, .n = 1, .u = UINT64_MAX},
                 "18446744073709551615");
    check_format(&(en_meta_value){.type = EN_META_I8, .n = 1, .i = -5}, "-5");
    check_format(&(en_meta_value){.type = EN_META_F32, .n = 1, .f = (double)1e-5f}, "1e-05");
    check_format(&(en_meta_value){.type = EN_META_BOOL, .n = 1, .u = 0}, "false");
    /* A terminal must not be told to do things by a model file. */
    check_format(&(en_meta_value){.type = EN_META_STRING, .n = 1, .string = {"a\n\x1b[2J\x7f", 7}},
                 "a\\n\\x1b[2J\\x7f");
    static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    check_format(&(en_meta_value){.type = EN_META_U8, .is_array = true, .n = 8, .data = bytes},
                 "[1, 2, 3, 4, 5, 6, ... 8 in all]");
    check_format(&(en_meta_value){.type = EN_META_U8, .is_array = true, .n = 0}, "[]");
    en_span strings[] = {{"a", 1}, {"0123456789012345678901234567890\xc3\xa9z", 34}};
    check_format(
        &(en_meta_value){.type = EN_META_STRING, .is_array = true, .n = 2, .strings = strings},
        "[\"a\", \"0123456789012345678901234567890...\"]");
}

static entro_status fill(en_meta *meta)
{
    en_span strings[2] = {{"a", 1}, {"b", 1}};
    en_meta_value value = {.type = EN_META_STRING, .is_array = true, .n = 2, .strings = strings};
    char key[16];
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "k%d", i);
        EN_TRY(en_meta_set(meta, key, &value, NULL));
    }
    return en_meta_set_string(meta, "k1", "other", NULL);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        en_meta *meta = NULL;
        en_memory_fail_at(i);
        status = en_meta_new(&meta, NULL);
        if (status == ENTRO_OK)
            status = fill(meta);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        en_meta_free(meta);
        assert_int_equal(en_memory_in_use(), before);
        assert_true(i < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_come_back),
        cmocka_unit_test(absent_or_other_kind_gives_the_fallback),
        cmocka_unit_test(integers_of_every_width_are_accepted_when_they_fit),
        cmocka_unit_test(values_are_copied),
        cmocka_unit_test(array_elements_of_every_type),
        cmocka_unit_test(unknown_type_is_refused),
        cmocka_unit_test(removal_keeps_order_and_finds_the_rest),
        cmocka_unit_test(values_are_shown),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
