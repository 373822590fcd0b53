/* test_recipe.c - which tensor is stored how. */
#include "pipeline/recipe.h"

#include <stdio.h>
#include <string.h>

#include "test_support.h"

static en_tensor tensor(const char *name, uint32_t dtype, uint32_t n_dims, uint64_t a, uint64_t b,
                        uint64_t c)
{
    en_tensor t = {.dtype = dtype, .n_dims = n_dims, .dims = {a, b, c, 1}};
    snprintf(t.name, sizeof t.name, "%s", name);
    return t;
}

static en_store_choice choose(en_recipe *r, const char *name, uint32_t dtype, uint32_t n_dims,
                              uint64_t a, uint64_t b, uint64_t c)
{
    en_tensor t = tensor(name, dtype, n_dims, a, b, c);
    return en_recipe_choose(r, &t);
}

static void follows_the_rule(void **state)
{
    (void)state;
    en_recipe r;
    entro_compress_options opt = {.method = "u8"};
    assert_int_equal(en_recipe_init(&r, &opt, NULL), ENTRO_OK);
    assert_string_equal(r.text, "u8 coding=auto table=tensor");
    en_store_choice c = choose(&r, "token_embd.weight", EN_DTYPE_F16, 2, 64, 64, 1);
    assert_int_equal(c.kind, EN_STORE_CODED);
    assert_string_equal(c.method->name, "u8");
    assert_int_equal(choose(&r, "a", EN_DTYPE_Q4_K, 2, 256, 64, 1).kind, EN_STORE_CODED);
    assert_int_equal(choose(&r, "norm", EN_DTYPE_BF16, 1, 4096, 1, 1).kind, EN_STORE_F32);
    assert_int_equal(choose(&r, "small", EN_DTYPE_F16, 2, 31, 33, 1).kind, EN_STORE_KEEP);
    assert_int_equal(choose(&r, "experts", EN_DTYPE_F16, 3, 64, 64, 8).kind, EN_STORE_KEEP);
    assert_int_equal(choose(&r, "ids", EN_DTYPE_I32, 2, 64, 64, 1).kind, EN_STORE_KEEP);
    assert_true(c.strips);
    assert_int_equal(choose(&r, "wide", EN_DTYPE_F16, 2, 1 << 23, 2, 1).kind, EN_STORE_KEEP);
    c = choose(&r, "too wide for strips", EN_DTYPE_F16, 2, (1 << 16) + 1, 2, 1);
    assert_true(c.kind == EN_STORE_CODED && !c.strips);
    en_recipe_free(&r);
}

static void the_calibrated_one_is_the_default(void **state)
{
    (void)state;
    en_recipe r;
    assert_int_equal(en_recipe_init(&r, &(entro_compress_options){0}, NULL), ENTRO_OK);
    assert_string_equal(r.method->name, "watersic");
    assert_true(r.coding == EN_MATRIX_RANS && r.bits_per_param == 4);
    assert_string_equal(r.text, "watersic bpw=4 coding=rans table=tensor");
    en_recipe_free(&r);
}

static void first_override_wins(void **state)
{
    (void)state;
    const char *const overrides[] = {"blk.0.*=u4-row", "blk.*=keep", "out*=f16", "emb=f32"};
    entro_compress_options opt = {
        .method = "u4", .table = "model", .overrides = overrides, .n_overrides = 4};
    en_recipe r;
    assert_int_equal(en_recipe_init(&r, &opt, NULL), ENTRO_OK);
    assert_string_equal(r.text,
                        "u4 coding=words table=model blk.0.*=u4-row blk.*=keep out*=f16 emb=f32");
    assert_true(r.model_table);
    assert_string_equal(choose(&r, "blk.0.q", EN_DTYPE_F16, 2, 8, 8, 1).method->name, "u4-row");
    assert_int_equal(choose(&r, "blk.1.q", EN_DTYPE_F16, 2, 64, 64, 1).kind, EN_STORE_KEEP);
    assert_int_equal(choose(&r, "blk.0.norm", EN_DTYPE_F16, 1, 64, 1, 1).kind, EN_STORE_F32);
    assert_int_equal(en_recipe_check_used(&r, NULL), ENTRO_ERR_NOT_FOUND);
    assert_int_equal(choose(&r, "output", EN_DTYPE_F32, 2, 64, 64, 1).kind, EN_STORE_F16);
    entro_error err;
    assert_int_equal(en_recipe_check_used(&r, &err), ENTRO_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "'emb'"));
    assert_int_equal(choose(&r, "emb", EN_DTYPE_F16, 2, 64, 64, 1).kind, EN_STORE_F32);
    assert_int_equal(en_recipe_check_used(&r, NULL), ENTRO_OK);
    en_recipe_free(&r);
}

static void coding_follows_the_options(void **state)
{
    (void)state;
    const struct {
        const char *coding, *table, *text;
        bool strips;
        en_matrix_coding which;
    } cases[] = {
        {"auto", "tensor", "u8 coding=auto table=tensor", true, EN_MATRIX_BY_RATE},
        {"auto", "model", "u8 coding=words table=model", false, 0},
        {"words", "tensor", "u8 coding=words table=tensor", false, 0},
        {"strips", "tensor", "u8 coding=strips table=tensor", true, EN_MATRIX_STRIPS},
        {"rans", "tensor", "u8 coding=rans table=tensor", true, EN_MATRIX_RANS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        en_recipe r;
        entro_compress_options opt = {
            .method = "u8", .coding = cases[i].coding, .table = cases[i].table};
        assert_int_equal(en_recipe_init(&r, &opt, NULL), ENTRO_OK);
        assert_string_equal(r.text, cases[i].text);
        en_store_choice c = choose(&r, "a", EN_DTYPE_F16, 2, 64, 64, 1);
        assert_true(c.strips == cases[i].strips);
        assert_true(!c.strips || c.coding == cases[i].which);
        en_recipe_free(&r);
    }
}

static void bits_are_those_asked_for(void **state)
{
    (void)state;
    const char *const overrides[] = {"a=rtn:6.5", "b=rtn", "c=u8"};
    entro_compress_options opt = {
        .method = "rtn", .bits = 3.5, .overrides = overrides, .n_overrides = 3};
    en_recipe r;
    assert_int_equal(en_recipe_init(&r, &opt, NULL), ENTRO_OK);
    assert_string_equal(r.text, "rtn:3.5 coding=auto table=tensor a=rtn:6.5 b=rtn c=u8");
    assert_true(choose(&r, "a", EN_DTYPE_F16, 2, 64, 64, 1).bits == 6.5);
    assert_true(choose(&r, "b", EN_DTYPE_F16, 2, 64, 64, 1).bits == 3.5);
    assert_int_equal(choose(&r, "c", EN_DTYPE_F16, 2, 64, 64, 1).method->bits, 8);
    /* Words cannot hold integers of any size. */
    assert_int_equal(choose(&r, "wide", EN_DTYPE_F16, 2, (1 << 16) + 1, 2, 1).kind, EN_STORE_KEEP);
    en_recipe_free(&r);
    opt.bits = 0;
    assert_int_equal(en_recipe_init(&r, &opt, NULL), ENTRO_OK);
    assert_true(choose(&r, "b", EN_DTYPE_F16, 2, 64, 64, 1).bits == 4);
    en_recipe_free(&r);
}

static void refuse(entro_compress_options opt, const char *message)
{
    en_recipe r;
    entro_error err;
    assert_int_equal(en_recipe_init(&r, &opt, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, message));
}

static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    refuse((entro_compress_options){.method = "u5"}, "u8, u4, u8-row, u4-row, rtn");
    refuse((entro_compress_options){.coding = "rows"}, "'auto', 'words', 'strips' or 'rans'");
    refuse((entro_compress_options){.method = "u8", .coding = "strips", .table = "model"},
           "tables for each");
    refuse((entro_compress_options){.method = "u8", .coding = "rans", .table = "model"},
           "coding rans has tables");
    refuse((entro_compress_options){.method = "rtn", .coding = "words"}, "rtn needs coding strips");
    refuse((entro_compress_options){.method = "rtn", .table = "model"}, "rtn needs coding strips");
    refuse((entro_compress_options){.method = "u8", .bits = 4}, "only told of method rtn");
    refuse((entro_compress_options){.method = "rtn", .bits = 0.5}, "expected 1 to 9");
    refuse((entro_compress_options){.method = "rtn", .bits = 9.5}, "expected 1 to 9");
    const char *const no_bits[] = {"a=u8:4",   "a=rtn:",    "a=rtn:x",
                                   "a=rtn:4x", "a=rtn:0.5", "a=rtn:nan"};
    for (int i = 0; i < 6; i++)
        refuse((entro_compress_options){.overrides = &no_bits[i], .n_overrides = 1},
               "like 'rtn:6.5', from 1 to 9");
    refuse((entro_compress_options){.table = "row"}, "'tensor' or 'model'");
    const char *const wrong[] = {"blk.*", "=u8", "blk.*=u9"};
    const char *const messages[] = {"PATTERN=METHOD", "PATTERN=METHOD", "keep, f16, f32"};
    for (int i = 0; i < 3; i++)
        refuse((entro_compress_options){.overrides = &wrong[i], .n_overrides = 1}, messages[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_rule),
        cmocka_unit_test(the_calibrated_one_is_the_default),
        cmocka_unit_test(first_override_wins),
        cmocka_unit_test(coding_follows_the_options),
        cmocka_unit_test(bits_are_those_asked_for),
        cmocka_unit_test(refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
