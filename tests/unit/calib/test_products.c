/*
 * test_products.c - tiled products against sums in double; matrices in strips as f32.
 */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/blas.h"

#include "base/memory.h"
#include "base/cpu.h"
#include "calib/bf16_product.h"
#include "calib/block.h"
#include "calib/gram.h"
#include "calib/products.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"
#include "kernels/kernels.h"
#include "tensor/half.h"

static float number(uint64_t *seed)
{
    return (float)(int32_t)(test_random(seed) >> 32) * 0x1p-31f;
}

static float *numbers(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = number(&seed);
    return x;
}

static en_pool *new_pool(uint32_t n_threads)
{
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    return pool;
}

/* ---- products ---------------------------------------------------------------------------- */

static double entry(const en_product *p, size_t token, size_t out)
{
    double sum = 0;
    for (size_t k = 0; k < p->n_in; k++)
        sum += (double)p->x[token * p->n_in + k] *
               (double)(p->is_transposed ? p->w[out * p->n_in + k] : p->w[k * p->n_out + out]);
    return sum;
}

/* All entries of small ones, some of large ones; nothing beyond y is touched. */
static void check(size_t n_tokens, size_t n_in, size_t n_out, bool is_transposed, float beta,
                  en_pool *pool)
{
    size_t n = n_tokens * n_out;
    float *x = numbers(n_tokens * n_in, 3), *w = numbers(n_in * n_out, 4), *y = numbers(n + 1, 5);
    float *before = malloc((n + 1) * sizeof *before);
    memcpy(before, y, (n + 1) * sizeof *y);
    en_product p = {x, w, y, n_tokens, n_in, n_out, is_transposed, beta, EN_PRECISION_F32};
    int blas = en_blas_take();
    en_product_run(&p, pool);
    en_blas_give_back(blas);
    for (size_t i = 0; i < n; i += 1 + n / 5000) {
        double want = entry(&p, i / n_out, i % n_out) + (double)(beta * before[i]);
        assert_true(fabs((double)y[i] - want) < 1e-6 * (double)n_in + 1e-6);
    }
    assert_true(y[n] == before[n]);
    free(x);
    free(w);
    free(y);
    free(before);
}

static void products_of_any_shape(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},    {1, 70, 3},    {5, 33, 1},     {130, 20, 257},
                                       {2, 9, 5000}, {4100, 3, 40}, {300, 64, 2100}};
    en_pool *pool = new_pool(3);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int k = 0; k < 4; k++)
            check(shapes[i][0], shapes[i][1], shapes[i][2], k & 1, k & 2 ? 1.0f : 0.0f, pool);
    en_pool_free(pool);
}

/* ---- in bf16 ----------------------------------------------------------------------------- */

static double rounded(float x)
{
    uint16_t bf16;
    en_kernels_get()->f32_to_bf16(&x, &bf16, 1);
    return (double)en_bf16_to_f32(bf16);
}

static double number_of(const en_bf16_factor *f, size_t line, size_t k)
{
    return rounded(f->is_along ? f->x[line * f->stride + k] : f->x[k * f->stride + line]);
}

/* Against sums of rounded numbers in double, whatever this processor has. */
static void check_bf16(size_t n_rows, size_t n, size_t n_cols, int how)
{
    bool a_along = how & 1, b_along = how & 2, add = how & 4, is_lower = n_rows == n_cols;
    size_t stride = n_cols + 1, n_sums = n_rows * stride;
    size_t a_stride = (a_along ? n : n_rows) + 2, b_stride = (b_along ? n : n_cols) + 3;
    float *a = numbers((a_along ? n_rows : n) * a_stride, 6);
    float *b = numbers((b_along ? n_cols : n) * b_stride, 7);
    float *c = numbers(n_sums, 8), *before = malloc(n_sums * sizeof *c);
    uint32_t *scratch = en_bf16_scratch(2);
    assert_true(scratch != NULL && before != NULL);
    memcpy(before, c, n_sums * sizeof *c);
    en_bf16_product p = {.a = {a, a_stride, a_along},
                         .b = {b, b_stride, b_along},
                         .n_rows = n_rows,
                         .n_cols = n_cols,
                         .n = n,
                         .c = c,
                         .stride = stride,
                         .add = add,
                         .is_lower = is_lower};
    en_bf16_product_run(&p, scratch, 1);
    for (size_t i = 0; i < n_sums; i += 1 + n_sums / 5000) {
        size_t row = i / stride, col = i % stride;
        if (is_lower && col > row && col < n_cols)
            continue;
        double want = add || col >= n_cols ? (double)before[i] : 0;
        for (size_t k = 0; k < n && col < n_cols; k++)
            want += number_of(&p.a, row, k) * number_of(&p.b, col, k);
        assert_true(fabs((double)c[i] - want) < 1e-6 * (double)n + 1e-6);
    }
    en_free(scratch);
    free(a);
    free(b);
    free(c);
    free(before);
}

static void products_of_bf16_of_any_shape(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},     {12, 256, 32},  {13, 257, 33},
                                       {7, 90, 1060}, {300, 31, 300}, {150, 600, 40}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int how = 0; how < 8; how++)
            check_bf16(shapes[i][0], shapes[i][1], shapes[i][2], how);
}

/* Where the processor has bf16 the result is that of rounded numbers, elsewhere that of f32; with any number of
 * threads the same. */
static void precision_is_chosen_by_the_processor(void **state)
{
    (void)state;
    enum { TOKENS = 300, IN = 70, OUT = 600 };
    bool has_bf16 = en_cpu_features() & EN_CPU_BF16;
    float *x = numbers(TOKENS * IN, 9), *w = numbers(IN * OUT, 10);
    float *y[4], *sums[2];
    for (int i = 0; i < 4; i++) {
        en_pool *pool = new_pool(1 + 2 * (uint32_t)(i % 2));
        y[i] = numbers(TOKENS * OUT, 11);
        en_product p = {
            x, w, y[i], TOKENS, IN, OUT, true, 0, i < 2 ? EN_PRECISION_BF16 : EN_PRECISION_F32};
        int blas = en_blas_take();
        en_product_run(&p, pool);
        if (i < 2) {
            sums[i] = numbers(IN * IN, 12);
            en_gram(x, IN, TOKENS, IN, EN_PRECISION_BF16, false, sums[i], pool);
        }
        en_blas_give_back(blas);
        en_pool_free(pool);
    }
    assert_memory_equal(y[0], y[1], TOKENS * OUT * sizeof *y[0]);
    assert_memory_equal(y[2], y[3], TOKENS * OUT * sizeof *y[0]);
    assert_true((memcmp(y[0], y[2], TOKENS * OUT * sizeof *y[0]) != 0) == has_bf16);
    for (size_t i = 0; i < IN; i++)
        for (size_t j = 0; j <= i; j++) {
            double want = 0;
            for (size_t t = 0; t < TOKENS; t++) {
                float a = x[t * IN + i], b = x[t * IN + j];
                want += has_bf16 ? rounded(a) * rounded(b) : (double)a * (double)b;
            }
            assert_true(sums[0][i * IN + j] == sums[1][i * IN + j]);
            assert_true(fabs((double)sums[0][i * IN + j] - want) < 1e-6 * TOKENS);
        }
    for (int i = 0; i < 4; i++)
        free(y[i]);
    free(sums[0]);
    free(sums[1]);
    free(x);
    free(w);
}

static void threads_of_blas_come_back(void **state)
{
    (void)state;
    en_blas_get()->set_num_threads(2);
    int before = en_blas_get()->get_num_threads(), taken = en_blas_take();
    assert_int_equal(en_blas_get()->get_num_threads(), 1);
    en_blas_give_back(taken);
    assert_int_equal(en_blas_get()->get_num_threads(), before);
}

static void squares_are_summed_in_double(void **state)
{
    (void)state;
    enum { TOKENS = 500, COLS = 300 };
    en_pool *pool = new_pool(2);
    float *x = numbers((size_t)TOKENS * COLS, 8);
    double sums[COLS + 1] = {0}, want[COLS + 1] = {0};
    x[7] = 1e4f; /* beside it, the others are below the precision of f32 */
    sums[9] = want[9] = 5;
    for (size_t i = 0; i < (size_t)TOKENS * COLS; i++)
        want[i % COLS] += (double)x[i] * (double)x[i];
    en_sum_squares(x, TOKENS, COLS, sums, pool);
    for (size_t i = 0; i <= COLS; i++)
        assert_true(fabs(sums[i] - want[i]) <= 1e-12 * want[i]);
    free(x);
    en_pool_free(pool);
}

/* ---- matrices in strips ------------------------------------------------------------------ */

enum { ROWS = 75, COLS = 40 };

typedef struct coded_matrix {
    en_coded coded;
    en_strip_matrix *strips;
    uint8_t *payload;
    size_t n_payload;
    float weights[ROWS * COLS]; /* in the model's order */
} coded_matrix;

/* The last strip of rows is stored first, a class of its own; each row has its step. */
static void code(coded_matrix *m)
{
    static float steps[ROWS];
    static uint32_t order[ROWS];
    en_strip_plan plan;
    en_strip_plan_init(&plan, en_quant_method_find("u8-row"), ROWS, COLS, false);
    en_strip_matrix *shape = &plan.shape;
    shape->n_row_classes = 2;
    shape->n_col_classes = 1;
    shape->row_class_end[0] = 1;
    shape->row_class_end[1] = shape->n_strips;
    shape->col_class_end[0] = shape->n_units;
    en_strip_plan_count_chunks(&plan);
    size_t padded = en_strip_padded_cols(shape);
    int32_t *z = calloc((size_t)shape->n_strips * EN_STRIP_ROWS * padded, sizeof *z);
    for (uint32_t r = 0; r < ROWS; r++) {
        order[r] = r < EN_STRIP_ROWS ? ROWS - EN_STRIP_ROWS + r : r - EN_STRIP_ROWS;
        steps[r] = (float)(r + 1) / 16.0f;
        for (uint32_t c = 0; c < COLS; c++) {
            z[r * padded + c] = (int32_t)((r * 7 + c * 5) % 11) - 5;
            m->weights[order[r] * COLS + c] = steps[r] * (float)z[r * padded + c];
        }
    }
    plan.n_grids = ROWS;
    plan.half_grids = true;
    plan.steps = steps;
    plan.row_order = order;
    en_pair_code pairs[2];
    double bits;
    plan.codes = pairs;
    assert_int_equal(en_strip_choose(&shape->layouts[0], &pairs[0], z, padded, shape->n_strips,
                                     (size_t)shape->n_units * EN_UNIT_COLS, &bits, NULL),
                     ENTRO_OK);
    shape->layouts[1] = shape->layouts[0];
    pairs[1] = pairs[0];

    en_chunk_encoder e;
    en_strip_writer w = {0};
    assert_int_equal(en_chunk_encoder_open(&e, NULL), ENTRO_OK);
    assert_int_equal(en_strip_writer_begin(&w, &plan, NULL), ENTRO_OK);
    for (uint32_t i = 0; i < shape->n_chunks; i++) {
        size_t row = (size_t)en_strip_chunk_at(shape, i).first_strip * EN_STRIP_ROWS;
        assert_int_equal(en_strip_encode_chunk(&e, &plan, i, z + row * padded, NULL), ENTRO_OK);
        assert_int_equal(en_strip_writer_add(&w, &e, NULL), ENTRO_OK);
    }
    assert_int_equal(en_strip_writer_finish(&w, NULL), ENTRO_OK);
    m->n_payload = w.n_front;
    m->payload = en_alloc(w.n_front, 1);
    memcpy(m->payload, w.front, w.n_front);
    assert_int_equal(en_strip_payload_parse(&m->coded, &m->strips, m->payload, w.n_front, NULL),
                     ENTRO_OK);
    en_strip_writer_close(&w);
    en_chunk_encoder_close(&e);
    free(z);
}

static void coded_matrices_come_in_the_models_order(void **state)
{
    (void)state;
    static coded_matrix m;
    en_pool *pool = new_pool(2);
    code(&m);
    const en_linear linear = {
        .n_rows = ROWS, .n_cols = COLS, .name = "blk.0.x.weight", .coded = &m.coded};
    float out[ROWS * COLS];
    assert_int_equal(en_matrix_load(&linear, out, pool, NULL), ENTRO_OK);
    assert_memory_equal(out, m.weights, sizeof out);

    size_t n_before = en_memory_in_use();
    entro_error err = {0};
    en_memory_fail_at(0);
    entro_status status = en_matrix_load(&linear, out, pool, &err);
    en_memory_fail_at(UINT64_MAX);
    assert_int_equal(status, ENTRO_ERR_NOMEM);

    /* A damaged stream is noticed and its tensor named; the last bytes may be padding. */
    status = ENTRO_OK;
    for (size_t at = m.n_payload; at-- > 0 && status == ENTRO_OK;) {
        m.payload[at] ^= 0xff;
        status = en_matrix_load(&linear, out, pool, &err);
        m.payload[at] ^= 0xff;
    }
    assert_int_equal(status, ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.where, "blk.0.x.weight"));
    assert_int_equal(en_memory_in_use(), n_before);
    en_strip_matrix_free(m.strips);
    en_free(m.payload);
    en_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_any_shape),
        cmocka_unit_test(products_of_bf16_of_any_shape),
        cmocka_unit_test(precision_is_chosen_by_the_processor),
        cmocka_unit_test(threads_of_blas_come_back),
        cmocka_unit_test(squares_are_summed_in_double),
        cmocka_unit_test(coded_matrices_come_in_the_models_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
