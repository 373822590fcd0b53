/*
 * test_products.c - tiled products against sums in double; matrices in strips as f32.
 */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/blas.h"

#include "base/memory.h"
#include "calib/block.h"
#include "calib/products.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"

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
    en_product p = {x, w, y, n_tokens, n_in, n_out, is_transposed, beta};
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
        cmocka_unit_test(threads_of_blas_come_back),
        cmocka_unit_test(squares_are_summed_in_double),
        cmocka_unit_test(coded_matrices_come_in_the_models_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
