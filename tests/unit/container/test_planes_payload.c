/* test_planes_payload.c - numbers in coding 3 come back bit for bit, and contradictions are refused. */
#include "container/planes_payload.h"

#include "test_support.h"
#include "planes_support.h"
#include "change_support.h"

static const uint32_t dtypes[] = {EN_DTYPE_BF16, EN_DTYPE_F16, EN_DTYPE_F32, EN_DTYPE_I8};

static entro_status parse(const uint8_t *bytes, size_t n_bytes, entro_error *err)
{
    en_coded coded;
    en_planes *planes;
    entro_status status = en_planes_payload_parse(&coded, &planes, bytes, n_bytes, err);
    if (status != ENTRO_OK)
        assert_null(planes);
    en_planes_free(planes);
    return status;
}

static void assert_decodes(const en_planes *m, const test_planes *t)
{
    size_t each = en_planes_segment_elems(m);
    /* Exactly the room promised, so that a sanitizer sees one byte more. */
    uint8_t *room = en_alloc(en_planes_room_bytes(m), 1), *out = en_alloc(each, m->n_planes);
    for (uint32_t s = 0; s < m->n_segments; s++) {
        size_t first = s * each, n = t->n_numbers - first < each ? t->n_numbers - first : each;
        assert_true(en_planes_decode(m, s, room));
        en_planes_join(m, s, room, 0, n, out);
        assert_memory_equal(out, t->numbers + first * m->n_planes, n * m->n_planes);
        en_planes_join(m, s, room, n / 2, n - n / 2, out);
        assert_memory_equal(out, t->numbers + (first + n / 2) * m->n_planes,
                            (n - n / 2) * m->n_planes);
    }
    en_free(room);
    en_free(out);
}

static void gives_back_every_bit(void **state)
{
    (void)state;
    const struct {
        uint64_t n_rows, n_cols;
        uint32_t rows_per_segment;
    } shapes[] = {{1, 1, 1}, {37, 64, 5}, {3, 5000, 1}, {200, 7, 200}, {1025, 31, 64}};
    for (int d = 0; d < 4; d++)
        for (int s = 0; s < 5; s++)
            for (unsigned coded = 0; coded < 1u << en_planes_of_dtype(dtypes[d]); coded++) {
                test_planes t =
                    test_planes_make(dtypes[d], shapes[s].n_rows, shapes[s].n_cols,
                                     shapes[s].rows_per_segment, coded, 1 + (uint64_t)s);
                en_coded c;
                en_planes *m;
                entro_error err;
                if (en_planes_payload_parse(&c, &m, t.bytes, t.n_bytes, &err) != ENTRO_OK)
                    fail_msg("%s", err.message);
                assert_true(c.method->exact && c.planes == m && c.n_grids == 0);
                assert_int_equal(c.n_rows, shapes[s].n_rows);
                assert_int_equal(c.n_cols, shapes[s].n_cols);
                assert_int_equal(c.n_side_bytes + c.n_segment_bytes, t.n_bytes);
                assert_int_equal(m->dtype, dtypes[d]);
                assert_int_equal(m->n_coded, __builtin_popcount(coded));
                assert_decodes(m, &t);
                en_planes_free(m);
                test_planes_free(&t);
            }
}

/* The sign goes to the second plane, so that the first is an exponent alone. */
static void planes_are_those_of_the_page(void **state)
{
    (void)state;
    const uint16_t bf16 = 0xbf81; /* -1.0078125: sign, exponent 127, mantissa 1 */
    const uint32_t f32 = 0xbf812345;
    uint8_t p[4];
    uint8_t *const planes[EN_MAX_PLANES] = {p, p + 1, p + 2, p + 3};
    en_planes_split(EN_DTYPE_BF16, &bf16, 1, planes);
    assert_int_equal(p[0], 127);
    assert_int_equal(p[1], 0x81);
    en_planes_split(EN_DTYPE_F32, &f32, 1, planes);
    assert_int_equal(p[0], 127);
    assert_int_equal(p[1], 0x81);
    assert_int_equal(p[2], 0x23);
    assert_int_equal(p[3], 0x45);
}

static void finds_damage_in_streams(void **state)
{
    (void)state;
    test_planes t = test_planes_make(EN_DTYPE_BF16, 8, 512, 2, 1, 3);
    en_coded c;
    en_planes *m;
    assert_int_equal(en_planes_payload_parse(&c, &m, t.bytes, t.n_bytes, NULL), ENTRO_OK);
    /* The streams' starts are moved by one byte: every one is then too long or too short. */
    size_t index = (size_t)(m->index - t.bytes);
    for (uint32_t s = 1; s < m->n_segments; s++)
        en_store64(t.bytes + index + 8 * s, en_load64(t.bytes + index + 8 * s) - 1);
    uint8_t *room = en_alloc(en_planes_room_bytes(m), 1);
    assert_false(en_planes_decode(m, 0, room));
    en_free(room);
    en_planes_free(m);
    test_planes_free(&t);
}

static void refuses_contradictions(void **state)
{
    (void)state;
    const test_change cases[] = {
        {0, 1, 'x', ENTRO_ERR_FORMAT, "does not start"},
        {8, 4, 2, ENTRO_ERR_VERSION, "newer entrollm"},
        {12, 4, 192, ENTRO_ERR_FORMAT, "header of 192 bytes"},
        {16, 4, 4, ENTRO_ERR_FORMAT, "coding 3"},
        {20, 4, 1, ENTRO_ERR_VERSION, "flags 1"},
        {24, 4, EN_DTYPE_Q4_0, ENTRO_ERR_FORMAT, "type 2"},
        {24, 4, EN_DTYPE_F32, ENTRO_ERR_FORMAT, "raw planes of 320, expected 40 and 960"},
        {24, 4, EN_DTYPE_I8, ENTRO_ERR_FORMAT, ""},
        {28, 4, 3, ENTRO_ERR_FORMAT, "3 dimensions"},
        {32, 8, 0, ENTRO_ERR_FORMAT, "0 columns"},
        {32, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "columns"},
        {32, 8, 1 << 22, ENTRO_ERR_FORMAT, "segments of 3 rows"},
        {40, 8, 0, ENTRO_ERR_FORMAT, "0 rows"},
        {40, 8, 13, ENTRO_ERR_FORMAT, "has 4 segments"},
        {40, 8, 11, ENTRO_ERR_FORMAT, "raw planes of 320, expected 40 and 352"},
        {48, 8, 2, ENTRO_ERR_FORMAT, "dimensions"},
        {64, 4, 0, ENTRO_ERR_FORMAT, "segments of 0 rows"},
        {64, 4, 100, ENTRO_ERR_FORMAT, "segments of 100 rows"},
        {68, 4, 5, ENTRO_ERR_FORMAT, "has 5 segments"},
        {72, 8, 1, ENTRO_ERR_FORMAT, "1 grids"},
        {80, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "entropy"},
        {96, 8, 'x', ENTRO_ERR_FORMAT, "method lossless"},
        {111, 1, 'x', ENTRO_ERR_FORMAT, "method lossless"},
        {112, 8, 0, ENTRO_ERR_FORMAT, "part 0"},
        {120, 8, 0, ENTRO_ERR_FORMAT, "expected 8 and 640"},
        {128, 8, UINT64_MAX - 63, ENTRO_ERR_FORMAT, "part 1"},
        {136, 8, 8, ENTRO_ERR_FORMAT, ""},
        {152, 8, 1, ENTRO_ERR_FORMAT, ""},
        {184, 8, 48, ENTRO_ERR_FORMAT, ""},
        {208, 8, UINT64_MAX - 63, ENTRO_ERR_FORMAT, "part 6"},
        {216, 8, 1, ENTRO_ERR_FORMAT, "streams end"},
        {216, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "part 6"},
    };
    test_planes t = test_planes_make(EN_DTYPE_BF16, 10, 32, 3, 1, 4);
    assert_int_equal(parse(t.bytes, t.n_bytes, NULL), ENTRO_OK);
    test_changes(t.bytes, t.n_bytes, cases, sizeof cases / sizeof *cases, parse);
    test_planes_free(&t);
}

static void refuses_an_index_that_goes_back(void **state)
{
    (void)state;
    test_planes t = test_planes_make(EN_DTYPE_BF16, 10, 32, 3, 3, 4);
    uint8_t *index = t.bytes + en_load64(t.bytes + 112 + 16 * EN_PLANES_INDEX);
    entro_error err;
    en_store64(index + 16, en_load64(index + 24) + 1);
    assert_int_equal(parse(t.bytes, t.n_bytes, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "stream 3 starts"));
    test_planes_free(&t);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    test_planes t = test_planes_make(EN_DTYPE_F16, 10, 32, 3, 1, 4);
    size_t end = (size_t)(en_load64(t.bytes + 208) + en_load64(t.bytes + 216)) + EN_CODE_IN_PAD;
    for (size_t n = 0; n < t.n_bytes; n++)
        assert_int_equal(parse(t.bytes, n, NULL), n >= end ? ENTRO_OK : ENTRO_ERR_FORMAT);
    test_planes_free(&t);
}

static void refuses_misaligned_bytes(void **state)
{
    (void)state;
    test_planes t = test_planes_make(EN_DTYPE_F16, 2, 32, 1, 1, 4);
    uint8_t *moved = en_alloc(t.n_bytes + 8, 1);
    memcpy(moved + 4, t.bytes, t.n_bytes);
    entro_error err;
    assert_int_equal(parse(moved + 4, t.n_bytes, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "aligned"));
    en_free(moved);
    test_planes_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_every_bit),
        cmocka_unit_test(planes_are_those_of_the_page),
        cmocka_unit_test(finds_damage_in_streams),
        cmocka_unit_test(refuses_contradictions),
        cmocka_unit_test(refuses_an_index_that_goes_back),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_misaligned_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
