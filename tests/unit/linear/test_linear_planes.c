/*
 * test_linear_planes.c - a matrix in coding 3 gives what the plain matrix of the same numbers gives, bit
 * for bit.
 */
#include "test_support.h"

#include <math.h>

#include "linear/linear.h"
#include "planes_support.h"

static const uint32_t dtypes[] = {EN_DTYPE_BF16, EN_DTYPE_F16, EN_DTYPE_F32};

static entro_status read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err)
{
    (void)source, (void)err;
    uint64_t row_bytes = tensor->n_bytes / tensor->dims[1];
    en_kernels_get()->dequantize[tensor->dtype](tensor->data + row * row_bytes, out,
                                                (size_t)(n_rows * tensor->dims[0]));
    return ENTRO_OK;
}

static const en_source_ops source_ops = {.read_rows = read_rows};
static const en_source source = {.ops = &source_ops};

typedef struct pair {
    test_planes stored;
    en_coded coded;
    en_planes *planes;
    en_tensor tensor;
    en_linear plain, exact;
} pair;

/* Finite numbers only, or sums of NaNs would be compared. */
static void make(pair *p, uint32_t dtype, uint64_t n_rows, uint64_t n_cols, uint32_t each,
                 unsigned coded)
{
    size_t n = (size_t)(n_rows * n_cols), size = dtype == EN_DTYPE_F32 ? 4 : 2;
    uint8_t *numbers = en_alloc(n, 4);
    float *w = en_alloc(n, sizeof *w);
    uint64_t seed = n_rows + n_cols;
    for (size_t i = 0; i < n; i++)
        w[i] = (float)(int32_t)(test_random(&seed) >> 32) * 0x1p-36f *
               (float)(1 << (test_random(&seed) % 8));
    if (dtype == EN_DTYPE_F32)
        memcpy(numbers, w, 4 * n);
    else if (dtype == EN_DTYPE_F16)
        en_kernels_ref()->f32_to_f16(w, (uint16_t *)(void *)numbers, n);
    else
        en_kernels_ref()->f32_to_bf16(w, (uint16_t *)(void *)numbers, n);
    p->stored = test_planes_of(numbers, dtype, n_rows, n_cols, each, coded);
    en_free(numbers);
    en_free(w);
    assert_int_equal(
        en_planes_payload_parse(&p->coded, &p->planes, p->stored.bytes, p->stored.n_bytes, NULL),
        ENTRO_OK);
    p->tensor = (en_tensor){.dtype = dtype,
                            .n_dims = 2,
                            .dims = {n_cols, n_rows, 1, 1},
                            .data = p->stored.numbers,
                            .n_bytes = n * size};
    p->plain = (en_linear){.n_rows = n_rows, .n_cols = n_cols, .name = "w", .plain = &p->tensor};
    p->plain.source = &source;
    p->exact = (en_linear){.n_rows = n_rows, .n_cols = n_cols, .name = "w", .coded = &p->coded};
}

static void unmake(pair *p)
{
    en_planes_free(p->planes);
    test_planes_free(&p->stored);
}

static void apply(const en_linear *m, const float *x, size_t n_tokens, uint32_t n_threads, float *y)
{
    en_pool *pool;
    en_linear_scratch *scratch;
    entro_error err;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    assert_int_equal(en_linear_scratch_new(&scratch, &m, 1, n_threads, NULL), ENTRO_OK);
    en_linear_product product = {.matrix = m, .y = y, .y_stride = (size_t)m->n_rows};
    if (en_linear_apply(&product, 1, x, (size_t)m->n_cols, n_tokens, pool, scratch, &err))
        fail_msg("%s: %s", err.where, err.message);
    en_linear_scratch_free(scratch);
    en_pool_free(pool);
}

static void products_equal_those_of_the_plain_matrix(void **state)
{
    (void)state;
    const struct {
        uint64_t n_rows, n_cols;
        uint32_t each;
    } shapes[] = {{1, 1, 1}, {77, 130, 9}, {40, 1537, 3}, {9, 9001, 1}, {300, 16, 128}};
    for (int d = 0; d < 3; d++)
        for (int s = 0; s < 5; s++)
            for (size_t n_tokens = 1; n_tokens <= 19; n_tokens += n_tokens < 3 ? 1 : 8) {
                pair p;
                make(&p, dtypes[d], shapes[s].n_rows, shapes[s].n_cols, shapes[s].each,
                     s % 2 == 0 ? 1 : 15);
                size_t n_x = (size_t)shapes[s].n_cols * n_tokens;
                size_t n_y = (size_t)shapes[s].n_rows * n_tokens;
                float *x = en_alloc(n_x, sizeof *x);
                float *expected = en_alloc(n_y, sizeof *x), *y = en_alloc(n_y, sizeof *x);
                uint64_t seed = 5;
                for (size_t i = 0; i < n_x; i++)
                    x[i] = (float)(int32_t)(test_random(&seed) >> 32) * 0x1p-31f;
                apply(&p.plain, x, n_tokens, 1, expected);
                for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2) {
                    memset(y, 0xff, n_y * sizeof *y);
                    apply(&p.exact, x, n_tokens, n_threads, y);
                    assert_memory_equal(y, expected, n_y * sizeof *y);
                }
                en_free(x);
                en_free(y);
                en_free(expected);
                unmake(&p);
            }
}

static void rows_are_the_source_s(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++) {
        pair p;
        float row[130], expected[130];
        const en_linear *list[1] = {&p.exact};
        en_linear_scratch *scratch;
        make(&p, dtypes[d], 77, 130, 9, 1);
        assert_int_equal(en_linear_scratch_new(&scratch, list, 1, 1, NULL), ENTRO_OK);
        for (uint64_t r = 0; r < 77; r += 4) {
            assert_int_equal(en_linear_read_row(&p.exact, r, row, scratch, NULL), ENTRO_OK);
            assert_int_equal(read_rows(&source, &p.tensor, r, 1, expected, NULL), ENTRO_OK);
            assert_memory_equal(row, expected, sizeof row);
        }
        assert_int_equal(en_linear_read_row(&p.exact, 77, row, scratch, NULL), ENTRO_ERR_ARGUMENT);
        en_linear_scratch_free(scratch);
        unmake(&p);
    }
}

static void damage_is_reported(void **state)
{
    (void)state;
    pair p;
    make(&p, EN_DTYPE_BF16, 64, 256, 8, 1);
    uint8_t *index = p.stored.bytes + en_load64(p.stored.bytes + 112 + 16 * EN_PLANES_INDEX);
    en_store64(index + 8, en_load64(index + 8) - 1);
    const en_linear *list[1] = {&p.exact};
    en_pool *pool;
    en_linear_scratch *scratch;
    assert_int_equal(en_pool_new(&pool, 1, NULL), ENTRO_OK);
    assert_int_equal(en_linear_scratch_new(&scratch, list, 1, 1, NULL), ENTRO_OK);
    float x[512] = {0}, y[128];
    entro_error err;
    for (size_t n_tokens = 1; n_tokens <= 2; n_tokens++) {
        en_linear_product product = {.matrix = &p.exact, .y = y, .y_stride = 64};
        assert_int_equal(en_linear_apply(&product, 1, x, 256, n_tokens, pool, scratch, &err),
                         ENTRO_ERR_CHECKSUM);
        assert_non_null(strstr(err.message, "segment 0 of 8"));
        assert_string_equal(err.where, "tensor 'w'");
    }
    assert_int_equal(en_linear_read_row(&p.exact, 0, x, scratch, &err), ENTRO_ERR_CHECKSUM);
    assert_int_equal(en_linear_read_row(&p.exact, 63, x, scratch, &err), ENTRO_OK);
    en_linear_scratch_free(scratch);
    en_pool_free(pool);
    unmake(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_those_of_the_plain_matrix),
        cmocka_unit_test(rows_are_the_source_s),
        cmocka_unit_test(damage_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
