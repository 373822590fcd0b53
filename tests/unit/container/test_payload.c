/* test_payload.c - a coded tensor comes back as it was, and every contradiction is refused. */
#include "container/payload.h"

#include "test_support.h"
#include "payload_support.h"
#include "change_support.h"

static const en_model_codes no_codes;

static entro_status parse(const uint8_t *bytes, size_t n_bytes, en_coded *coded, entro_error *err)
{
    en_code *own;
    entro_status status = en_payload_parse(coded, &own, bytes, n_bytes, &no_codes, err);
    if (status != ENTRO_OK)
        assert_null(own);
    en_code_free(own);
    return status;
}

static entro_status parse_alone(const uint8_t *bytes, size_t n_bytes, entro_error *err)
{
    en_coded coded;
    return parse(bytes, n_bytes, &coded, err);
}

static void assert_decodes(const en_coded *m, const uint8_t *expected)
{
    size_t n = (size_t)(m->rows_per_segment * m->n_cols);
    uint8_t *codes = en_alloc(n + EN_CODE_OUT_SLACK, 1);
    for (uint32_t s = 0; s < m->n_segments; s++) {
        uint64_t row = en_coded_segment_row(m, s), n_rows = en_coded_segment_rows(m, s);
        assert_true(en_coded_decode_segment(m, s, codes));
        assert_memory_equal(codes, expected + row * m->n_cols, (size_t)(n_rows * m->n_cols));
    }
    en_free(codes);
}

static void decodes_what_was_coded(void **state)
{
    (void)state;
    const char *methods[] = {"u8", "u4", "u8-row", "u4-row"};
    const struct {
        uint64_t n_rows, n_cols;
        uint32_t rows_per_segment;
    } shapes[] = {{1, 1, 1}, {37, 64, 5}, {3, 5000, 1}, {200, 7, 200}, {130, 31, 64}};
    for (int m = 0; m < 8; m++)
        for (int s = 0; s < 5; s++) {
            const char *method = methods[m % 4];
            bool half_grids = m >= 4;
            test_payload t =
                test_payload_make_of(method, half_grids, shapes[s].n_rows, shapes[s].n_cols,
                                     shapes[s].rows_per_segment, NULL, 1 + (uint64_t)s);
            en_coded coded;
            en_code *own;
            entro_error err;
            assert_int_equal(en_payload_parse(&coded, &own, t.bytes, t.n_bytes, &no_codes, &err),
                             ENTRO_OK);
            assert_string_equal(coded.method->name, method);
            assert_true(coded.half_grids == half_grids);
            assert_int_equal(coded.n_rows, shapes[s].n_rows);
            assert_int_equal(coded.n_cols, shapes[s].n_cols);
            assert_int_equal(coded.n_grids, coded.method->per_row ? coded.n_rows : 1);
            assert_int_equal(coded.n_side_bytes + coded.n_segment_bytes, t.n_bytes);
            for (uint64_t row = 0; row < coded.n_rows; row++) {
                float step, offset;
                en_coded_grid(&coded, row, &step, &offset);
                assert_true(step == 0.5f + (float)(coded.n_grids > 1 ? row : 0) && offset == -1.0f);
            }
            assert_decodes(&coded, t.codes);
            en_code_free(own);
            test_payload_free(&t);
        }
}

static void uses_the_shared_table(void **state)
{
    (void)state;
    uint8_t codes[4096];
    uint64_t seed = 5;
    test_codes(codes, sizeof codes, 256, &seed);
    en_model_codes model = {.code = {NULL, test_code(256, codes, sizeof codes)}};
    test_payload t = test_payload_make("u8", 4, 16, 2, model.code[1], 9);
    en_coded coded;
    en_code *own;
    entro_error err;
    assert_int_equal(en_payload_parse(&coded, &own, t.bytes, t.n_bytes, &model, &err), ENTRO_OK);
    assert_true(coded.model_table);
    assert_null(own);
    assert_decodes(&coded, t.codes);
    assert_int_equal(en_payload_parse(&coded, &own, t.bytes, t.n_bytes, &no_codes, &err),
                     ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "entrollm.table.8"));
    test_payload_free(&t);
    en_code_free(model.code[1]);
}

static void finds_damage_in_segments(void **state)
{
    (void)state;
    test_payload t = test_payload_make("u8", 8, 512, 2, NULL, 3);
    en_coded coded;
    en_code *own;
    assert_int_equal(en_payload_parse(&coded, &own, t.bytes, t.n_bytes, &no_codes, NULL), ENTRO_OK);
    /* The segments' starts are moved by one byte: every segment is then too long or too short. */
    size_t index = (size_t)(coded.index - t.bytes);
    for (uint32_t s = 1; s < coded.n_segments; s++)
        en_store64(t.bytes + index + 8 * s, en_load64(t.bytes + index + 8 * s) - 1);
    uint8_t *codes = en_alloc(2 * 512 + EN_CODE_OUT_SLACK, 1);
    assert_false(en_coded_decode_segment(&coded, 0, codes));
    en_free(codes);
    en_code_free(own);
    test_payload_free(&t);
}

static void refuses_contradictions(void **state)
{
    (void)state;
    const test_change cases[] = {
        {0, 1, 'x', ENTRO_ERR_FORMAT, "coded tensor"},
        {8, 4, 2, ENTRO_ERR_VERSION, "newer entrollm"},
        {12, 4, 256, ENTRO_ERR_FORMAT, "header of 256 bytes"},
        {16, 4, 3, ENTRO_ERR_VERSION, "coding 3"},
        {20, 4, 4, ENTRO_ERR_VERSION, "flags 4"},
        {20, 4, 2, ENTRO_ERR_FORMAT, "has 40 bytes, expected 20"},
        {20, 4, 1, ENTRO_ERR_FORMAT, "beside the model's"},
        {24, 4, 4, ENTRO_ERR_FORMAT, "4-bit codes"},
        {28, 4, 3, ENTRO_ERR_FORMAT, "3 dimensions"},
        {32, 8, 0, ENTRO_ERR_FORMAT, "0 columns"},
        {32, 8, 31, ENTRO_ERR_FORMAT, NULL}, /* parts still fit; segments no longer do */
        {32, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "columns"},
        {32, 8, 1 << 22, ENTRO_ERR_FORMAT, "segments of 3 rows"},
        {40, 8, 0, ENTRO_ERR_FORMAT, "0 rows"},
        {40, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "rows"},
        {40, 8, 13, ENTRO_ERR_FORMAT, "has 4 segments"},
        {48, 8, 2, ENTRO_ERR_FORMAT, "dimensions"},
        {64, 4, 0, ENTRO_ERR_FORMAT, "segments of 0 rows"},
        {64, 4, 100, ENTRO_ERR_FORMAT, "segments of 100 rows"},
        {68, 4, 5, ENTRO_ERR_FORMAT, "has 5 segments"},
        {72, 8, 2, ENTRO_ERR_FORMAT, "has 2 grids"},
        {80, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "entropy"},
        {96, 8, 'x', ENTRO_ERR_VERSION, "method"},
        {111, 1, 'x', ENTRO_ERR_FORMAT, "terminated"},
        {112, 8, 0, ENTRO_ERR_FORMAT, "part 0"},
        {112, 8, 196, ENTRO_ERR_FORMAT, "part 0"},
        {120, 8, 8, ENTRO_ERR_FORMAT, "expected 40"},
        {128, 8, UINT64_MAX - 63, ENTRO_ERR_FORMAT, "part 1"},
        {152, 8, 0, ENTRO_ERR_FORMAT, "no code table"},
        {152, 8, 1, ENTRO_ERR_FORMAT, NULL},
        {176, 8, UINT64_MAX - 63, ENTRO_ERR_FORMAT, "part 4"},
        {184, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "part 4"},
        {184, 8, 1, ENTRO_ERR_FORMAT, "segments end"},
        {192, 4, 0x7f800000, ENTRO_ERR_FORMAT, "not finite"},
    };
    test_payload t = test_payload_make("u8-row", 10, 32, 3, NULL, 4);
    en_coded coded;
    assert_int_equal(parse(t.bytes, t.n_bytes, &coded, NULL), ENTRO_OK);
    test_changes(t.bytes, t.n_bytes, cases, sizeof cases / sizeof *cases, parse_alone);
    test_payload_free(&t);
}

static void refuses_half_grids_that_are_not_finite(void **state)
{
    (void)state;
    const uint16_t bad[] = {0x7c00, 0xfc00, 0x7e00, 0xfdff};
    test_payload t = test_payload_make_of("u8-row", true, 10, 32, 3, NULL, 4);
    en_coded coded;
    entro_error err;
    for (int part = 0; part < 2; part++)
        for (int i = 0; i < 4; i++) {
            uint8_t *last = t.bytes + en_load64(t.bytes + 112 + 16 * part) + 2 * 9;
            uint16_t good = en_load16(last);
            en_store16(last, bad[i]);
            assert_int_equal(parse(t.bytes, t.n_bytes, &coded, &err), ENTRO_ERR_FORMAT);
            assert_string_equal(err.message, "grid 9 is not finite");
            en_store16(last, good);
        }
    en_store32(t.bytes + 20, 0); /* as grids of f32 they are half as many */
    assert_int_equal(parse(t.bytes, t.n_bytes, &coded, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "expected 40"));
    test_payload_free(&t);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    test_payload t = test_payload_make("u4", 10, 32, 3, NULL, 4);
    en_coded coded;
    entro_error err;
    size_t end = (size_t)(en_load64(t.bytes + 176) + en_load64(t.bytes + 184)) + EN_CODE_IN_PAD;
    for (size_t n = 0; n < t.n_bytes; n++)
        assert_int_equal(parse(t.bytes, n, &coded, &err), n >= end ? ENTRO_OK : ENTRO_ERR_FORMAT);
    test_payload_free(&t);
}

static void refuses_misaligned_bytes(void **state)
{
    (void)state;
    test_payload t = test_payload_make("u4", 2, 32, 1, NULL, 4);
    uint8_t *moved = en_alloc(t.n_bytes + 8, 1);
    memcpy(moved + 4, t.bytes, t.n_bytes);
    en_coded coded;
    entro_error err;
    assert_int_equal(parse(moved + 4, t.n_bytes, &coded, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "aligned"));
    en_free(moved);
    test_payload_free(&t);
}

static void side_data_of_real_shapes_is_small(void **state)
{
    (void)state;
    const uint64_t widths[] = {64, 576, 1536, 4096, 8960, 16384, 16385, 28672, 200000};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        en_payload p;
        en_payload_plan(&p, en_quant_method_find("u8"), 100000, widths[i]);
        en_payload_layout(&p, 100);
        double bits = 8.0 * (double)p.parts[EN_PART_INDEX].n_bytes / (1e5 * (double)widths[i]);
        assert_true(bits < 0.005);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_was_coded),
        cmocka_unit_test(uses_the_shared_table),
        cmocka_unit_test(finds_damage_in_segments),
        cmocka_unit_test(refuses_contradictions),
        cmocka_unit_test(refuses_half_grids_that_are_not_finite),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_misaligned_bytes),
        cmocka_unit_test(side_data_of_real_shapes_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
