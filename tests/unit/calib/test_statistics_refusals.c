/*
 * test_statistics_refusals.c - a folder of statistics: what is missing, damaged or of another model or text
 * is refused.
 */
#include "calib/statistics.h"

#include <math.h>

#include "test_support.h"

#include "statistics_support.h"

static void what_is_missing_is_named(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    unlink(test_statistics_path(EN_STATISTICS_LAYER, 1));
    test_statistics_expect(&m, ENTRO_ERR_NOT_FOUND, "layer-001.gguf", "");
    unlink(test_statistics_path(EN_STATISTICS_FISHER, 0));
    test_statistics_expect(&m, ENTRO_ERR_NOT_FOUND, "fisher.gguf", "");
    test_statistics_unmake(&m);
}

static void statistics_of_another_model_are_refused(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    entro_model *right = m.model;
    m.model = test_open_fixture("qwen2");
    test_statistics_expect(&m, ENTRO_ERR_ARGUMENT, "fisher.gguf",
                           "another model: of a llama of 2 layers");
    en_model_close(m.model);
    m.model = right;
    /* the same shapes, other weights */
    en_statistics_identity other = test_statistics_identity(right);
    other.model_hash++;
    test_statistics_write_layer(&m, &other, 1);
    test_statistics_expect(&m, ENTRO_ERR_ARGUMENT, "layer-001.gguf", "another model");
    test_statistics_unmake(&m);
}

static void statistics_of_two_texts_are_refused(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    en_statistics_identity other = test_statistics_identity(m.model);
    other.text_hash++;
    test_statistics_write_layer(&m, &other, 1);
    test_statistics_expect(&m, ENTRO_ERR_NOT_FOUND, "layer-001.gguf", "another text");
    test_statistics_unmake(&m);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    en_statistics *s = test_statistics_open(&m);
    size_t n_bytes;
    uint8_t *bytes = test_file_read(test_statistics_path(EN_STATISTICS_LAYER, 0), &n_bytes);
    float h[64 * 64], f[128];
    uint64_t n_tokens;
    entro_error err = {0};
    bytes[n_bytes - 300] ^= 1;  /* in ffn_out.diagonal, the last one of 256 bytes */
    bytes[n_bytes - 3000] ^= 1; /* in ffn_out.correlation */
    test_file_write(test_statistics_path(EN_STATISTICS_LAYER, 0), bytes, n_bytes);
    assert_int_equal(en_statistics_of(s, "blk.0.ffn_down.weight", h, f, &n_tokens, &err),
                     ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.where, "layer-000.gguf"));
    assert_non_null(strstr(err.where, "ffn_out.correlation"));
    assert_int_equal(en_statistics_of(s, "blk.0.attn_q.weight", h, f, &n_tokens, NULL), ENTRO_OK);
    for (size_t n = 0; n < n_bytes; n += n_bytes / 40) {
        test_file_write(test_statistics_path(EN_STATISTICS_LAYER, 0), bytes, n);
        test_statistics_expect(&m, ENTRO_ERR_FORMAT, "layer-000.gguf", "");
        assert_int_equal(en_statistics_of(s, "blk.0.attn_q.weight", h, f, &n_tokens, NULL),
                         ENTRO_ERR_FORMAT);
    }
    free(bytes);
    en_statistics_close(s);
    test_statistics_unmake(&m);
}

static void renamed_files_are_refused(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    assert_int_equal(rename(test_statistics_path(EN_STATISTICS_LAYER, 0),
                            test_statistics_path(EN_STATISTICS_LAYER, 1)),
                     0);
    en_statistics_identity id = test_statistics_identity(m.model);
    test_statistics_write_layer(&m, &id, 0);
    test_statistics_expect(&m, ENTRO_ERR_FORMAT, "layer-001.gguf", "renamed?");
    test_statistics_unmake(&m);
}

static void numbers_that_are_not_finite_are_not_written(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    en_statistics_identity id = test_statistics_identity(m.model);
    entro_error err = {0};
    int n_files = test_folder_count();
    m.sums[0][65] = NAN;
    en_statistics_item item = {.name = "attn_in", .n = 32, .sums = m.sums[0], .scale = 1};
    assert_int_equal(en_statistics_file_write(test_path("new.gguf"), &id, EN_STATISTICS_OUTPUT, 0,
                                              &item, 1, NULL, &err),
                     ENTRO_ERR_FORMAT);
    assert_string_equal(err.where, "attn_in");
    assert_int_equal(test_folder_count(), n_files);
    test_statistics_unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(statistics_of_another_model_are_refused),
        cmocka_unit_test(statistics_of_two_texts_are_refused),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(renamed_files_are_refused),
        cmocka_unit_test(numbers_that_are_not_finite_are_not_written),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
