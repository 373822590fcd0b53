/*
 * test_linear_round.c - matrices rounded to bytes: every weight within half a step, products those of the
 * rounded weights, the same for any number of threads and of tokens.
 */
#include "test_support.h"

#include "linear/linear_round.h"
#include "strip_matrix_support.h"

/* ---- a matrix ---------------------------------------------------------------------------- */

typedef struct matrix {
    en_linear plain, rounded;
    en_tensor tensor;
    en_source source;
    float *weights;
} matrix;

static entro_status read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err)
{
    (void)source;
    size_t n_cols = (size_t)tensor->dims[0];
    assert_true(row + n_rows <= tensor->dims[1]);
    if (tensor->data == NULL)
        return en_fail(err, ENTRO_ERR_IO, "the disk fell out");
    memcpy(out, tensor->data + row * n_cols * sizeof *out, n_rows * n_cols * sizeof *out);
    return ENTRO_OK;
}

static const en_source_ops source_ops = {.read_rows = read_rows};

/* Rows of different size and centre; row 2, if there is one, has an outlier. */
static void make(matrix *m, uint64_t n_rows, uint64_t n_cols)
{
    *m = (matrix){.tensor = {.dtype = EN_DTYPE_F32, .n_dims = 2, .dims = {n_cols, n_rows, 1, 1}},
                  .source = {.ops = &source_ops}};
    m->weights = en_alloc(n_rows * n_cols, sizeof *m->weights);
    assert_non_null(m->weights);
    for (size_t i = 0; i < n_rows * n_cols; i++) {
        size_t row = i / n_cols;
        m->weights[i] =
            ldexpf(test_strip_random_float() + test_strip_random_float(), (int)(row % 20) - 10) +
            (row % 3 == 0 ? 0.25f : 0.0f);
    }
    if (n_rows > 2)
        m->weights[2 * n_cols + n_cols / 2] = 30.0f;
    m->tensor.data = (const uint8_t *)m->weights;
    m->plain = (en_linear){.n_rows = n_rows,
                           .n_cols = n_cols,
                           .name = "plain.weight",
                           .plain = &m->tensor,
                           .source = &m->source};
}

static entro_status round_it(matrix *m, uint32_t n_threads, entro_error *err)
{
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    entro_status status = en_linear_round(&m->rounded, &m->plain, pool, err);
    en_pool_free(pool);
    return status;
}

static void free_it(matrix *m)
{
    en_linear_round_free(&m->rounded);
    en_free(m->weights);
}

/* ---- tests ------------------------------------------------------------------------------- */

static void check_row(const matrix *m, uint64_t row, const float *rounded)
{
    size_t n = (size_t)m->plain.n_cols;
    const float *w = m->weights + row * n;
    float lo = w[0], hi = w[0];
    for (size_t k = 0; k < n; k++) {
        lo = w[k] < lo ? w[k] : lo;
        hi = w[k] > hi ? w[k] : hi;
    }
    double half = 0.5 * ((double)hi - (double)lo) / 255, slack = 1e-6 * fmax(fabs(hi), fabs(lo));
    for (size_t k = 0; k < n; k++)
        if (!(fabs((double)rounded[k] - (double)w[k]) <= half * 1.001 + slack))
            fail_msg("row %d, column %zu: %g for %g, half a step is %g", (int)row, k,
                     (double)rounded[k], (double)w[k], half);
}

/* Rows as they are looked up, and products with them in double. */
static void check_products(const matrix *m, const float *x)
{
    const en_linear *r = &m->rounded;
    size_t n_cols = (size_t)r->n_cols, stride = n_cols + TEST_X_GAP;
    float *row = en_alloc(n_cols, sizeof *row);
    en_linear_scratch *scratch;
    test_run all = test_apply(r, x, MAX_TOKENS, 2);
    assert_non_null(row);
    assert_int_equal(en_linear_scratch_new(&scratch, &r, 1, 1, NULL), ENTRO_OK);
    for (uint64_t i = 0; i < r->n_rows; i++) {
        assert_int_equal(en_linear_read_row(r, i, row, scratch, NULL), ENTRO_OK);
        check_row(m, i, row);
        for (size_t t = 0; t < MAX_TOKENS; t++) {
            double sum = 0, largest = 0, weights = 0;
            for (size_t k = 0; k < n_cols; k++) {
                double here = (double)x[t * stride + k];
                sum += (double)row[k] * here;
                weights += fabs((double)row[k]);
                largest = fmax(largest, fabs(here));
            }
            double got = (double)all.y[0][t * (r->n_rows + 1) + i];
            /* an input is within half of its 16256th part of the largest */
            if (!(fabs(got - sum) <= weights * largest * 0.55 / 16256 + 1e-6 * fabs(sum)))
                fail_msg("row %d, token %zu: %g, expected %g", (int)i, t, got, sum);
        }
    }
    test_same_in_every_way(r, x, &all);
    test_run_free(&all, 1);
    en_linear_scratch_free(scratch);
    en_free(row);
}

static void products_are_those_of_rounded_weights(void **state)
{
    (void)state;
    static const uint64_t shapes[][2] = {{64, 96}, {1, 1}, {37, 75}, {16, 1100}, {530, 33}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        matrix m;
        make(&m, shapes[i][0], shapes[i][1]);
        assert_int_equal(round_it(&m, (uint32_t)i % 3 + 1, NULL), ENTRO_OK);
        assert_int_equal(m.rounded.n_rows, shapes[i][0]);
        assert_string_equal(m.rounded.name, "plain.weight");
        float *x = test_inputs(shapes[i][1]);
        check_products(&m, x);
        en_free(x);
        free_it(&m);
    }
}

static void equal_weights_are_exact(void **state)
{
    (void)state;
    matrix m;
    make(&m, 2, 40);
    for (size_t k = 0; k < 40; k++) {
        m.weights[k] = 0.0f;
        m.weights[40 + k] = -1.5f;
    }
    assert_int_equal(round_it(&m, 1, NULL), ENTRO_OK);
    float x[40];
    for (size_t k = 0; k < 40; k++)
        x[k] = 1.0f;
    test_run r = test_apply(&m.rounded, x, 1, 1);
    assert_true(r.y[0][0] == 0.0f && fabsf(r.y[0][1] + 60.0f) < 1e-3f);
    test_run_free(&r, 1);
    free_it(&m);
}

static void what_is_not_finite_stays_so(void **state)
{
    (void)state;
    matrix m;
    make(&m, 20, 64);
    m.weights[3 * 64 + 5] = NAN;
    m.weights[17 * 64 + 6] = -INFINITY;
    assert_int_equal(round_it(&m, 1, NULL), ENTRO_OK);
    float *x = test_inputs(64);
    test_run r = test_apply(&m.rounded, x, 20, 1);
    for (size_t t = 0; t < 20; t++)
        for (size_t i = 0; i < 20; i++)
            assert_true(isnan(r.y[0][t * 21 + i]) == (i == 3 || i == 17));
    test_run_free(&r, 1);
    en_free(x);
    free_it(&m);
}

static void others_are_refused(void **state)
{
    (void)state;
    matrix m;
    entro_error err = {0};
    make(&m, 40, 64);
    m.tensor.data = NULL;
    assert_int_equal(round_it(&m, 2, &err), ENTRO_ERR_IO);
    assert_non_null(strstr(err.message, "the disk fell out"));
    m.plain.plain = NULL;
    assert_false(en_linear_can_round(&m.plain));
    assert_int_equal(round_it(&m, 1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "plain.weight"));
    m.plain.plain = &m.tensor;
    m.plain.n_cols = EN_STRIP_MAX_COLS + 1;
    assert_false(en_linear_can_round(&m.plain));
    free_it(&m);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    matrix m;
    make(&m, 40, 64);
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, 2, NULL), ENTRO_OK);
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        assert_in_range(i, 0, 50);
        en_memory_fail_at(i);
        status = en_linear_round(&m.rounded, &m.plain, pool, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        assert_true(status == ENTRO_OK || en_memory_in_use() == before);
    }
    assert_true(en_memory_in_use() - before < 3 * 64 * 48);
    en_linear_round_free(&m.rounded);
    assert_int_equal(en_memory_in_use(), before);
    en_pool_free(pool);
    free_it(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_rounded_weights),
        cmocka_unit_test(equal_weights_are_exact),
        cmocka_unit_test(what_is_not_finite_stays_so),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
