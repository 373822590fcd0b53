/*
 * test_linear.c - products with coded and plain matrices against sums in double.
 */
#include "test_support.h"

#include <math.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/linear.h"
#include "linear/linear_plain.h"
#include "linear_support.h"

static uint64_t random_state = 7;

static float random_float(void)
{
    return (float)(int32_t)(test_random(&random_state) >> 32) * 0x1p-31f;
}

/* Roughly normal, as weights are. */
static float random_weight(void)
{
    return random_float() + random_float() + random_float() + random_float();
}

/* ---- matrices -------------------------------------------------------------------------------- */

typedef struct matrix {
    en_linear linear;
    float *weights; /* as they come back from the stored form */
    /* coded */
    en_coded coded;
    en_code *code;
    void *grids;    /* steps, then offsets */
    uint8_t *bytes; /* index, then segments */
    /* plain */
    en_tensor tensor;
    en_source source;
} matrix;

static entro_status read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err)
{
    (void)source;
    uint64_t row_bytes = 0;
    assert_true(en_dtype_bytes(tensor->dtype, tensor->dims[0], &row_bytes));
    assert_true(row + n_rows <= tensor->dims[1]);
    if (tensor->data == NULL)
        return en_fail(err, ENTRO_ERR_IO, "the disk fell out");
    en_kernels_get()->dequantize[tensor->dtype](tensor->data + row * row_bytes, out,
                                                (size_t)(n_rows * tensor->dims[0]));
    return ENTRO_OK;
}

static const en_source_ops source_ops = {.read_rows = read_rows};

/* Random blocks whose f16 - a scale, and a minimum of the types that have one - are 1/64. */
static void draw_blocks(uint32_t dtype, uint8_t *bytes, uint64_t n_bytes)
{
    uint32_t block_bytes = en_dtype_get(dtype)->block_bytes;
    uint32_t scale = dtype == EN_DTYPE_Q6_K ? 208 : 0;
    bool has_min = dtype == EN_DTYPE_Q4_1 || dtype == EN_DTYPE_Q5_1 || dtype == EN_DTYPE_Q4_K ||
                   dtype == EN_DTYPE_Q5_K;
    for (uint64_t i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)test_random(&random_state);
    for (uint64_t i = 0; i < n_bytes; i += block_bytes) {
        en_store16(bytes + i + scale, 0x2400);
        if (has_min)
            en_store16(bytes + i + 2, 0x2400);
    }
}

static void make_plain(matrix *m, uint32_t dtype, uint64_t n_rows, uint64_t n_cols)
{
    uint64_t n_bytes = 0;
    assert_true(en_dtype_bytes(dtype, n_cols, &n_bytes));
    *m = (matrix){.tensor = {.dtype = dtype, .n_dims = 2, .dims = {n_cols, n_rows, 1, 1}},
                  .source = {.ops = &source_ops}};
    m->bytes = en_alloc_zero(n_rows, n_bytes);
    m->weights = en_alloc(n_rows * n_cols, sizeof *m->weights);
    assert_true(m->bytes && m->weights);
    for (uint64_t i = 0; i < n_rows * n_cols; i++)
        m->weights[i] = random_weight();
    if (dtype == EN_DTYPE_F16) {
        en_kernels_ref()->f32_to_f16(m->weights, (uint16_t *)m->bytes, n_rows * n_cols);
    } else if (dtype == EN_DTYPE_BF16) {
        en_kernels_ref()->f32_to_bf16(m->weights, (uint16_t *)m->bytes, n_rows * n_cols);
    } else if (dtype == EN_DTYPE_F32) {
        memcpy(m->bytes, m->weights, n_rows * n_bytes);
    } else {
        draw_blocks(dtype, m->bytes, n_rows * n_bytes);
    }
    en_kernels_ref()->dequantize[dtype](m->bytes, m->weights, n_rows * n_cols);
    m->tensor.data = m->bytes;
    m->linear = (en_linear){.n_rows = n_rows,
                            .n_cols = n_cols,
                            .name = "plain.weight",
                            .plain = &m->tensor,
                            .source = &m->source};
}

static void set_grid(matrix *m, uint64_t i, float step, float offset)
{
    const en_coded *c = &m->coded;
    if (c->half_grids) {
        uint16_t *halves = (uint16_t *)m->grids;
        en_kernels_ref()->f32_to_f16(&step, halves + i, 1);
        en_kernels_ref()->f32_to_f16(&offset, halves + c->n_grids + i, 1);
    } else {
        ((float *)m->grids)[i] = step;
        ((float *)m->grids)[c->n_grids + i] = offset;
    }
}

/* Quantizes random weights to codes and grids; m->weights becomes what the codes mean.  u4-row has
 * grids of f16, the others have f32. */
static void quantize(matrix *m, uint8_t *codes, const char *method, float shift)
{
    en_coded *c = &m->coded;
    c->method = en_quant_method_find(method);
    assert_non_null(c->method);
    uint64_t n_cols = c->n_cols, n = c->n_rows * n_cols;
    c->n_grids = c->method->per_row ? c->n_rows : 1;
    m->weights = en_alloc(n, sizeof *m->weights);
    c->half_grids = strcmp(method, "u4-row") == 0;
    m->grids = en_alloc(2 * c->n_grids, sizeof(float));
    assert_true(m->weights && m->grids);
    for (uint64_t i = 0; i < n; i++)
        m->weights[i] = random_weight() + shift;
    uint64_t each = n / c->n_grids;
    const en_kernels *k = en_kernels_ref();
    for (uint64_t g = 0; g < c->n_grids; g++) {
        float lo = 0, hi = 0, *w = m->weights + g * each;
        assert_true(k->min_max(w, each, &lo, &hi));
        en_grid grid = en_quant_grid(lo, hi, c->method->bits);
        if (c->half_grids)
            assert_true(en_quant_grid_half(lo, hi, c->method->bits, &grid));
        k->quantize(w, grid.offset, grid.inverse_step, grid.max_code, codes + g * each, each);
        k->expand_codes(codes + g * each, grid.step, grid.offset, w, each);
        set_grid(m, g, grid.step, grid.offset);
    }
    c->steps = m->grids;
    c->offsets = (uint8_t *)m->grids + c->n_grids * (c->half_grids ? 2 : 4);
}

static void encode(matrix *m, const uint8_t *codes)
{
    en_coded *c = &m->coded;
    en_histogram *h = NULL;
    assert_int_equal(en_histogram_new(&h, 1u << c->method->bits, NULL), ENTRO_OK);
    for (uint32_t s = 0; s < c->n_segments; s++)
        en_histogram_add(h, codes + en_coded_segment_row(c, s) * c->n_cols,
                         en_coded_segment_rows(c, s) * c->n_cols);
    assert_int_equal(en_code_build(&m->code, h, NULL), ENTRO_OK);
    en_histogram_free(h);
    size_t index_bytes = (c->n_segments + 1) * 8, used = 0;
    size_t bound = en_code_encode_bound(m->code, c->rows_per_segment * c->n_cols);
    m->bytes = en_alloc(1, index_bytes + c->n_segments * bound + EN_CODE_IN_PAD);
    assert_non_null(m->bytes);
    uint8_t *segments = m->bytes + index_bytes;
    for (uint32_t s = 0; s < c->n_segments; s++) {
        en_store64(m->bytes + 8 * s, used);
        used += en_code_encode(m->code, codes + en_coded_segment_row(c, s) * c->n_cols,
                               en_coded_segment_rows(c, s) * c->n_cols, segments + used);
    }
    en_store64(m->bytes + 8 * c->n_segments, used);
    memset(segments + used, 0, EN_CODE_IN_PAD);
    c->code = m->code;
    c->index = m->bytes;
    c->segments = segments;
    c->n_segment_bytes = used;
}

static void make_coded(matrix *m, const char *method, uint64_t n_rows, uint64_t n_cols,
                       uint32_t rows_per_segment, float shift)
{
    *m = (matrix){.coded = {.n_rows = n_rows, .n_cols = n_cols}};
    m->coded.rows_per_segment = rows_per_segment;
    m->coded.n_segments = (uint32_t)((n_rows + rows_per_segment - 1) / rows_per_segment);
    uint8_t *codes = en_alloc(n_rows, n_cols);
    assert_non_null(codes);
    quantize(m, codes, method, shift);
    encode(m, codes);
    en_free(codes);
    m->linear =
        (en_linear){.n_rows = n_rows, .n_cols = n_cols, .name = "coded.weight", .coded = &m->coded};
}

static void free_matrix(matrix *m)
{
    en_free(m->weights);
    en_free(m->grids);
    en_free(m->bytes);
    en_code_free(m->code);
}

/* ---- products -------------------------------------------------------------------------------- */

static entro_status try_apply(test_run *out, matrix *const *matrices, size_t n, const float *x,
                              size_t n_tokens, uint32_t n_threads, entro_error *err)
{
    const en_linear *linears[TEST_MAX_PRODUCTS];
    for (size_t i = 0; i < n; i++)
        linears[i] = &matrices[i]->linear;
    return test_try_apply(out, linears, n, x, n_tokens, n_threads, err);
}

static float *make_inputs(uint64_t n_cols, size_t n_tokens)
{
    float *x = en_alloc((n_cols + TEST_X_GAP) * n_tokens, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < (n_cols + TEST_X_GAP) * n_tokens; i++)
        x[i] = random_weight() + 0.2f;
    return x;
}

/* Root mean square over all outputs of error / (|w| |x|), |.| the Euclidean norm. */
static double relative_error(const matrix *m, const float *x, size_t n_tokens, const float *y)
{
    uint64_t n_rows = m->linear.n_rows, n_cols = m->linear.n_cols;
    double squares = 0;
    for (size_t t = 0; t < n_tokens; t++)
        for (uint64_t r = 0; r < n_rows; r++) {
            const float *w = m->weights + r * n_cols, *xt = x + t * (n_cols + TEST_X_GAP);
            double sum = 0, ww = 0, xx = 0;
            for (uint64_t k = 0; k < n_cols; k++) {
                sum += (double)w[k] * (double)xt[k];
                ww += (double)w[k] * (double)w[k];
                xx += (double)xt[k] * (double)xt[k];
            }
            double error = ((double)y[t * (n_rows + 1) + r] - sum) / sqrt(ww * xx);
            squares += error * error;
        }
    return sqrt(squares / (double)(n_tokens * n_rows));
}

/* One token and several, one thread and several: right, equal, and nothing outside y touched. */
static void check_product_within(matrix *m, const char *what, double integer_limit)
{
    static const size_t token_counts[] = {1, 2, 7, 20};
    float *x = make_inputs(m->linear.n_cols, 20);
    for (size_t i = 0; i < 4; i++) {
        size_t n_tokens = token_counts[i];
        test_run base, other;
        assert_int_equal(try_apply(&base, &m, 1, x, n_tokens, 1, NULL), ENTRO_OK);
        double error = relative_error(m, x, n_tokens, base.y[0]);
        bool integers = m->linear.coded == NULL && en_plain_takes_integers(&m->linear, n_tokens);
        if (error > (integers ? integer_limit : 2e-7))
            fail_msg("%s, %zu tokens: rms error %.3g of |w| |x|", what, n_tokens, error);
        for (size_t t = 0; t < n_tokens; t++)
            assert_true(base.y[0][t * (m->linear.n_rows + 1) + m->linear.n_rows] == 12345.0f);
        for (uint32_t n_threads = 2; n_threads <= 5; n_threads += 3) {
            assert_int_equal(try_apply(&other, &m, 1, x, n_tokens, n_threads, NULL), ENTRO_OK);
            assert_memory_equal(base.y[0], other.y[0], base.n_floats[0] * sizeof(float));
            test_run_free(&other, 1);
        }
        test_run_free(&base, 1);
    }
    en_free(x);
}

static void check_product(matrix *m, const char *what)
{
    check_product_within(m, what, 2e-7);
}

static void coded_products_are_right(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        uint64_t n_rows, n_cols;
        uint32_t rows_per_segment;
        float shift;
    } cases[] = {
        {"u8", 100, 576, 56, 0.0f},   {"u8", 37, 1536, 21, 0.3f},    {"u4", 100, 576, 56, 0.0f},
        {"u8-row", 70, 300, 9, 0.0f}, {"u4-row", 70, 301, 9, -0.5f}, {"u8", 20, 8960, 3, 0.0f},
        {"u8", 50, 200, 7, 9.0f},     {"u8", 50, 200, 50, -9.0f},    {"u8", 1, 33, 1, 0.0f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        matrix m;
        make_coded(&m, cases[i].method, cases[i].n_rows, cases[i].n_cols, cases[i].rows_per_segment,
                   cases[i].shift);
        char what[64];
        snprintf(what, sizeof what, "%s case %zu", cases[i].method, i);
        check_product(&m, what);
        free_matrix(&m);
    }
}

static void plain_products_are_right(void **state)
{
    (void)state;
    matrix m;
    make_plain(&m, EN_DTYPE_F16, 101, 576);
    check_product(&m, "F16");
    free_matrix(&m);
    make_plain(&m, EN_DTYPE_F32, 7, 33);
    check_product(&m, "F32");
    free_matrix(&m);
    make_plain(&m, EN_DTYPE_BF16, 40, 96);
    check_product(&m, "BF16");
    free_matrix(&m);
    make_plain(&m, EN_DTYPE_IQ4_NL, 40, 96);
    check_product(&m, "IQ4_NL");
    free_matrix(&m);
}

/* Few tokens are integers of 15 bits, many are f32. */
static void products_of_blocks_are_right(void **state)
{
    (void)state;
    static const uint32_t types[] = {EN_DTYPE_Q4_0, EN_DTYPE_Q4_1, EN_DTYPE_Q5_0, EN_DTYPE_Q5_1,
                                     EN_DTYPE_Q8_0, EN_DTYPE_Q4_K, EN_DTYPE_Q5_K, EN_DTYPE_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const en_dtype_info *info = en_dtype_get(types[i]);
        matrix m;
        make_plain(&m, types[i], 101, 7 * info->block_elems);
        check_product_within(&m, info->name, 1e-5);
        free_matrix(&m);
        make_plain(&m, types[i], 3, 10240);
        check_product_within(&m, info->name, 1e-5);
        free_matrix(&m);
    }
}

/* A token that is no number spoils its own outputs only; one of zeros has zeros. */
static void strange_tokens_stay_alone(void **state)
{
    (void)state;
    matrix m, *one = &m;
    test_run r;
    make_plain(&m, EN_DTYPE_Q4_K, 20, 512);
    float *x = make_inputs(512, 4);
    x[517 + 100] = NAN;
    x[2 * 517 + 3] = INFINITY;
    memset(x + 3 * 517, 0, 512 * sizeof *x);
    assert_int_equal(try_apply(&r, &one, 1, x, 4, 2, NULL), ENTRO_OK);
    for (int i = 0; i < 20; i++) {
        assert_true(isfinite(r.y[0][i]));
        assert_false(isfinite(r.y[0][21 + i]));
        assert_false(isfinite(r.y[0][42 + i]));
        assert_true(r.y[0][63 + i] == 0.0f);
    }
    test_run_free(&r, 1);
    en_free(x);
    free_matrix(&m);
}

static void constant_rows_are_right(void **state)
{
    (void)state;
    const char *methods[] = {"u8-row", "u4-row"};
    for (int i = 0; i < 2; i++) {
        matrix m;
        make_coded(&m, methods[i], 12, 64, 5, 0.0f);
        set_grid(&m, 3, 0.0f, 0.25f); /* every weight of row 3 is 0.25: step 0 */
        for (int k = 0; k < 64; k++)
            m.weights[3 * 64 + k] = 0.25f;
        check_product(&m, methods[i]);
        free_matrix(&m);
    }
}

static void fused_products_equal_single_ones(void **state)
{
    (void)state;
    matrix q, k, v, gate;
    make_plain(&gate, EN_DTYPE_Q8_0, 19, 576);
    make_coded(&q, "u8", 60, 576, 13, 0.0f);
    make_plain(&k, EN_DTYPE_F16, 33, 576);
    make_coded(&v, "u4-row", 17, 576, 4, 0.0f);
    matrix *all[] = {&q, &k, &v, &gate};
    float *x = make_inputs(576, 9);
    for (size_t n_tokens = 1; n_tokens <= 9; n_tokens += 8) {
        test_run fused, single;
        assert_int_equal(try_apply(&fused, all, 4, x, n_tokens, 3, NULL), ENTRO_OK);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(try_apply(&single, all + i, 1, x, n_tokens, 2, NULL), ENTRO_OK);
            assert_memory_equal(fused.y[i], single.y[0], single.n_floats[0] * sizeof(float));
            test_run_free(&single, 1);
        }
        test_run_free(&fused, 4);
    }
    en_free(x);
    for (int i = 0; i < 4; i++)
        free_matrix(all[i]);
}

static void rows_are_read(void **state)
{
    (void)state;
    matrix coded, plain;
    make_coded(&coded, "u4-row", 50, 96, 7, 0.0f);
    make_plain(&plain, EN_DTYPE_Q8_0, 50, 96);
    const en_linear *both[] = {&coded.linear, &plain.linear};
    en_linear_scratch *scratch = NULL;
    assert_int_equal(en_linear_scratch_new(&scratch, both, 2, 1, NULL), ENTRO_OK);
    float row[96];
    entro_error err;
    for (uint64_t r = 0; r < 50; r++) {
        assert_int_equal(en_linear_read_row(both[0], r, row, scratch, &err), ENTRO_OK);
        assert_memory_equal(row, coded.weights + r * 96, sizeof row);
        assert_int_equal(en_linear_read_row(both[1], r, row, scratch, &err), ENTRO_OK);
        assert_memory_equal(row, plain.weights + r * 96, sizeof row);
    }
    assert_int_equal(en_linear_read_row(both[0], 50, row, scratch, &err), ENTRO_ERR_ARGUMENT);
    en_linear_scratch_free(scratch);
    free_matrix(&coded);
    free_matrix(&plain);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void damaged_segment_is_reported(void **state)
{
    (void)state;
    matrix m, good, *both[] = {&good, &m};
    make_coded(&m, "u8", 90, 64, 5, 0.0f);
    make_plain(&good, EN_DTYPE_F32, 10, 64);
    en_store64(m.bytes + 8 * 11, en_load64(m.bytes + 8 * 11) - 1); /* segment 10 lacks a byte */
    float *x = make_inputs(64, 3);
    for (size_t n_tokens = 1; n_tokens <= 3; n_tokens += 2) {
        test_run r;
        entro_error err = {0};
        assert_int_equal(try_apply(&r, both, 2, x, n_tokens, 2, &err), ENTRO_ERR_CHECKSUM);
        assert_non_null(strstr(err.where, "coded.weight"));
        test_run_free(&r, 2);
        assert_int_equal(try_apply(&r, both, 2, x, n_tokens, 2, NULL), ENTRO_ERR_CHECKSUM);
        test_run_free(&r, 2);
    }
    const en_linear *linear = &m.linear;
    en_linear_scratch *scratch = NULL;
    assert_int_equal(en_linear_scratch_new(&scratch, &linear, 1, 1, NULL), ENTRO_OK);
    float row[64];
    entro_error err = {0};
    assert_int_equal(en_linear_read_row(linear, 52, row, scratch, &err), ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.message, "segment 10"));
    assert_int_equal(en_linear_read_row(linear, 4, row, scratch, &err), ENTRO_OK);
    en_linear_scratch_free(scratch);
    en_free(x);
    free_matrix(&m);
    free_matrix(&good);
}

static void read_failure_is_passed_on(void **state)
{
    (void)state;
    matrix m, *one = &m;
    make_plain(&m, EN_DTYPE_F16, 90, 64);
    m.tensor.data = NULL;
    float *x = make_inputs(64, 1);
    test_run r;
    entro_error err = {0};
    assert_int_equal(try_apply(&r, &one, 1, x, 1, 2, &err), ENTRO_ERR_IO);
    assert_string_equal(err.message, "the disk fell out");
    test_run_free(&r, 1);
    en_free(x);
    free_matrix(&m);
}

static void scratch_fits_its_matrices(void **state)
{
    (void)state;
    /* The largest of a model of 1.5 billion parameters, two threads. */
    static const en_coded embedding = {.n_rows = 151936, .n_cols = 1536, .rows_per_segment = 21};
    static const en_coded down = {.n_rows = 1536, .n_cols = 8960, .rows_per_segment = 3};
    const en_linear a = {.n_rows = 151936, .n_cols = 1536, .coded = &embedding};
    const en_linear b = {.n_rows = 1536, .n_cols = 8960, .coded = &down};
    const en_linear *both[] = {&a, &b};
    en_linear_scratch *scratch = NULL;
    size_t before = en_memory_in_use();
    assert_int_equal(en_linear_scratch_new(&scratch, both, 2, 2, NULL), ENTRO_OK);
    assert_true(en_linear_scratch_bytes(scratch) < 4 << 20);
    assert_true(en_linear_scratch_bytes(scratch) <= en_memory_in_use() - before);
    en_linear_scratch_free(scratch);
    en_linear_scratch_free(NULL);

    const en_linear huge = {.n_rows = 1, .n_cols = UINT64_MAX / 8};
    const en_linear *one = &huge;
    assert_int_equal(en_linear_scratch_new(&scratch, &one, 1, 2, NULL), ENTRO_ERR_NOMEM);
    for (uint64_t i = 0; i < 2; i++) {
        en_memory_fail_at(i);
        assert_int_equal(en_linear_scratch_new(&scratch, both, 2, 2, NULL), ENTRO_ERR_NOMEM);
    }
    en_memory_fail_at(UINT64_MAX);
    assert_int_equal(en_memory_in_use(), before);
}

static void scratch_for_fewer_threads_is_refused(void **state)
{
    (void)state;
    matrix m;
    make_plain(&m, EN_DTYPE_F32, 4, 8);
    const en_linear *one = &m.linear;
    en_pool *pool = NULL;
    en_linear_scratch *scratch = NULL;
    assert_int_equal(en_pool_new(&pool, 2, NULL), ENTRO_OK);
    assert_int_equal(en_linear_scratch_new(&scratch, &one, 1, 1, NULL), ENTRO_OK);
    float x[8] = {0}, y[4];
    en_linear_product product = {one, y, 4};
    assert_int_equal(en_linear_apply(&product, 1, x, 8, 1, pool, scratch, NULL),
                     ENTRO_ERR_ARGUMENT);
    en_linear_scratch_free(scratch);
    en_pool_free(pool);
    free_matrix(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coded_products_are_right),
        cmocka_unit_test(plain_products_are_right),
        cmocka_unit_test(products_of_blocks_are_right),
        cmocka_unit_test(strange_tokens_stay_alone),
        cmocka_unit_test(constant_rows_are_right),
        cmocka_unit_test(fused_products_equal_single_ones),
        cmocka_unit_test(rows_are_read),
        cmocka_unit_test(damaged_segment_is_reported),
        cmocka_unit_test(read_failure_is_passed_on),
        cmocka_unit_test(scratch_fits_its_matrices),
        cmocka_unit_test(scratch_for_fewer_threads_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
