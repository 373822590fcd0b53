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
    entro_compress_options opt = {0};
    assert_int_equal(en_recipe_init(&r, &opt, NULL), ENTRO_OK);
    assert_string_equal(r.text, "u8 table=tensor");
    en_store_choice c = choose(&r, "token_embd.weight", EN_DTYPE_F16, 2, 64, 64, 1);
    assert_int_equal(c.kind, EN_STORE_CODED);
    assert_string_equal(c.method->name, "u8");
    assert_int_equal(choose(&r, "a", EN_DTYPE_Q4_K, 2, 256, 64, 1).kind, EN_STORE_CODED);
    assert_int_equal(choose(&r, "norm", EN_DTYPE_BF16, 1, 4096, 1, 1).kind, EN_STORE_F32);
    assert_int_equal(choose(&r, "small", EN_DTYPE_F16, 2, 31, 33, 1).kind, EN_STORE_KEEP);
    assert_int_equal(choose(&r, "experts", EN_DTYPE_F16, 3, 64, 64, 8).kind, EN_STORE_KEEP);
    assert_int_equal(choose(&r, "ids", EN_DTYPE_I32, 2, 64, 64, 1).kind, EN_STORE_KEEP);
    assert_int_equal(choose(&r, "wide", EN_DTYPE_F16, 2, 1 << 23, 2, 1).kind, EN_STORE_KEEP);
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
    assert_string_equal(r.text, "u4 table=model blk.0.*=u4-row blk.*=keep out*=f16 emb=f32");
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
    refuse((entro_compress_options){.method = "u5"}, "u8, u4, u8-row, u4-row");
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
        cmocka_unit_test(first_override_wins),
        cmocka_unit_test(refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
