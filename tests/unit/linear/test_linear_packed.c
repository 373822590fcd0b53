/*
 * test_linear_packed.c - matrices in codings 2 and 4: what their packed form takes, and damage and lack of
 * memory, coded and packed.
 */
#include "test_support.h"

#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "linear/linear.h"
#include "strip_matrix_support.h"

/* ---- damage ------------------------------------------------------------------------------ */

static void expect_damage(test_matrix *m)
{
    float *x = test_inputs(m->linear.n_cols);
    const en_linear *linear = &m->linear;
    for (size_t n_tokens = 1; n_tokens <= 9; n_tokens += 8) {
        test_run r;
        entro_error err = {0};
        assert_int_equal(test_try_apply(&r, &linear, 1, x, n_tokens, 2, &err), ENTRO_ERR_CHECKSUM);
        assert_non_null(strstr(err.where, "strips.weight"));
        assert_non_null(strstr(err.message, "chunk 2 of "));
        test_run_free(&r, 1);
    }
    en_pool *pool;
    entro_error err = {0};
    size_t before = en_memory_in_use();
    assert_int_equal(en_pool_new(&pool, 2, NULL), ENTRO_OK);
    assert_int_equal(en_linear_pack(&m->linear, NULL, NULL, pool, &err), ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.message, "chunk 2 of "));
    assert_null(m->linear.packed);
    en_pool_free(pool);
    assert_int_equal(en_memory_in_use(), before);

    en_linear_scratch *scratch = NULL;
    assert_int_equal(en_linear_scratch_new(&scratch, &linear, 1, 1, NULL), ENTRO_OK);
    uint64_t row = (uint64_t)en_strip_chunk_at(m->strips, 2).first_strip * EN_STRIP_ROWS + 1;
    assert_int_equal(en_linear_read_row(linear, row, x, scratch, &err), ENTRO_ERR_CHECKSUM);
    assert_int_equal(en_linear_read_row(linear, 0, x, scratch, &err), ENTRO_OK);
    en_linear_scratch_free(scratch);
    en_free(x);
}

static const test_shape damaged_shape = {"damaged", 200, 320, 1, 1, .spread = 9, .one_in = 500};

static void damaged_words_are_reported(void **state)
{
    (void)state;
    test_matrix m;
    test_matrix_make(&m, &damaged_shape);
    uint8_t *index = m.payload + (m.strips->index - m.payload);
    uint64_t first = en_load64(index + 24 * 2), end = en_load64(index + 24 * 3);
    uint8_t *words = m.payload + (m.strips->words - m.payload);
    /* Short codes for the words' second half, so that words are left over.  (A stream that wants
     * more than there are cannot be told from a sound one.) */
    en_pool *pool;
    entro_status status = ENTRO_OK;
    assert_int_equal(en_pool_new(&pool, 1, NULL), ENTRO_OK);
    for (int test_matrix_fill = 0; test_matrix_fill < 256 && status == ENTRO_OK;
         test_matrix_fill += 17) {
        memset(words + (first + end) / 2, test_matrix_fill, (end - first) / 2);
        status = en_linear_pack(&m.linear, NULL, NULL, pool, NULL);
        en_linear_unpack(&m.linear);
    }
    en_pool_free(pool);
    expect_damage(&m);
    test_matrix_free(&m);
}

static void damaged_exceptions_are_reported(void **state)
{
    (void)state;
    test_matrix m;
    test_matrix_make(&m, &damaged_shape);
    uint8_t *index = m.payload + (m.strips->index - m.payload);
    uint64_t first = en_load64(index + 24 * 2 + 16), end = en_load64(index + 24 * 3 + 16);
    assert_true(end - first > 8);
    uint8_t *exceptions = m.payload + (m.strips->exceptions - m.payload);
    memset(exceptions + first, 0xff, end - first);
    expect_damage(&m);
    test_matrix_free(&m);
}

/* ---- the packed form --------------------------------------------------------------------- */

static void other_matrices_are_not_packed(void **state)
{
    (void)state;
    en_linear plain = {.n_rows = 2, .n_cols = 2, .name = "plain.weight"};
    en_pool *pool;
    assert_int_equal(en_linear_pack_bytes(&plain), 0);
    assert_int_equal(en_pool_new(&pool, 1, NULL), ENTRO_OK);
    assert_int_equal(en_linear_pack(&plain, NULL, NULL, pool, NULL), ENTRO_ERR_ARGUMENT);
    en_pool_free(pool);
}

/* Bits a weight of the packed form, after a check that its products are those of the coded one. */
static double packed_bits(const test_shape *s)
{
    test_matrix m;
    test_matrix_make(&m, s);
    float *x = test_inputs(m.linear.n_cols);
    test_run all = test_apply(&m.linear, x, MAX_TOKENS, 1);
    uint64_t expected = en_linear_pack_bytes(&m.linear);
    test_matrix_pack(&m, 2);
    uint64_t n_bytes = en_linear_pack_bytes(&m.linear);
    test_same_in_every_way(&m.linear, x, &all);
    assert_true(expected > 0 && n_bytes > expected); /* lists come on top */
    test_run_free(&all, 1);
    en_free(x);
    double bits = 8.0 * (double)n_bytes / (double)(s->n_rows * s->n_cols);
    test_matrix_free(&m);
    return bits;
}

static void packed_matrices_take_the_bits_they_need(void **state)
{
    (void)state;
    static const test_shape fine = {"fine", 640, 1024, 4, 4, .spread = 6, .rows_moved = true};
    static const test_shape outliers = {"outliers", 320, 1024, 1, 1, .spread = 2, .one_in = 200};
    double bits = packed_bits(&fine);
    assert_true(bits > 4 && bits < 7.9);
    assert_true(packed_bits(&outliers) < 6);
}

/* The sample is of the first strips of chunks. */
static void a_sample_that_lies_is_survived(void **state)
{
    (void)state;
    static const test_shape two_faced = {"two-faced", 700,          1500,          1,
                                         1,           .spread = 12, .tame_each = 5};
    double bits = packed_bits(&two_faced);
    assert_true(bits > 8 && bits < 8.5); /* as decoded */
}

static void memory_is_small_and_failures_are_clean(void **state)
{
    (void)state;
    test_matrix m;
    test_matrix_make(&m, &test_shapes[N_TEST_SHAPES - 1]);
    const en_linear *linear = &m.linear;
    uint64_t n_weights = m.linear.n_rows * m.linear.n_cols, n_bytes = en_linear_pack_bytes(linear);
    assert_true(n_bytes > n_weights / 2 && n_bytes < n_weights * 11 / 10);
    float *x = test_inputs(m.linear.n_cols), *y = en_alloc(m.linear.n_rows, sizeof *y);
    en_linear_product product = {linear, y, m.linear.n_rows};
    en_pool *pool;
    en_linear_scratch *scratch;
    assert_int_equal(en_pool_new(&pool, 2, NULL), ENTRO_OK);
    size_t before = en_memory_in_use();
    assert_int_equal(en_linear_scratch_new(&scratch, &linear, 1, 2, NULL), ENTRO_OK);
    en_memory_fail_at(0);
    assert_int_equal(en_linear_apply(&product, 1, x, 0, 1, pool, scratch, NULL), ENTRO_ERR_NOMEM);
    assert_int_equal(en_linear_apply(&product, 1, x, 0, 1, pool, scratch, NULL), ENTRO_OK);
    assert_true(en_linear_scratch_bytes(scratch) <= en_memory_in_use() - before);
    assert_true(en_linear_scratch_bytes(scratch) < 1 << 20);
    en_linear_scratch_free(scratch);
    int n_failures = 0;
    do
        en_memory_fail_at((uint64_t)n_failures);
    while (en_linear_pack(&m.linear, NULL, NULL, pool, NULL) == ENTRO_ERR_NOMEM &&
           ++n_failures < 100);
    en_memory_fail_at(UINT64_MAX);
    assert_true(n_failures >= 5 && m.linear.packed != NULL);
    assert_true(en_memory_in_use() - before < n_bytes + n_weights / 4);
    assert_int_equal(en_linear_pack(&m.linear, NULL, NULL, pool, NULL), ENTRO_OK);
    en_linear_unpack(&m.linear);
    assert_int_equal(en_memory_in_use(), before);
    en_pool_free(pool);
    en_free(x);
    en_free(y);
    test_matrix_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_words_are_reported),
        cmocka_unit_test(damaged_exceptions_are_reported),
        cmocka_unit_test(other_matrices_are_not_packed),
        cmocka_unit_test(packed_matrices_take_the_bits_they_need),
        cmocka_unit_test(a_sample_that_lies_is_survived),
        cmocka_unit_test(memory_is_small_and_failures_are_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
