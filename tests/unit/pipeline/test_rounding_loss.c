/*
 * test_rounding_loss.c - the loss of plain rounding, against 1/2 tr(G dW H dW^T) with whole matrices.
 *
 * With diagonal H and G the two are the same; with others they are in the mean, and over many weights the
 * mean is what there is.
 */
#include "pipeline/rounding_loss.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "quant/watersic.h"
#include "test_support.h"

enum { ROWS = 96, COLS = 80 };

typedef struct matrices {
    float weights[ROWS * COLS], factor[COLS * COLS], row_factor[ROWS * ROWS];
    float importance[ROWS], row_steps[ROWS], col_scales[COLS];
    double errors[ROWS * COLS];
} matrices;

static double uniform(uint64_t *state)
{
    return (double)(test_random(state) >> 11) * 0x1p-53;
}

static void fill_factor(float *lower, size_t n, double beside, uint64_t *state)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            lower[i * n + k] = k == i  ? (float)(0.5 + uniform(state))
                               : k < i ? (float)(beside * (uniform(state) - 0.5))
                                       : 0.0f;
}

static matrices *make(double beside, uint64_t seed)
{
    matrices *m = malloc(sizeof *m);
    fill_factor(m->factor, COLS, beside, &seed);
    fill_factor(m->row_factor, ROWS, beside, &seed);
    for (size_t i = 0; i < ROWS; i++) {
        m->importance[i] = (float)uniform(&seed);
        m->row_steps[i] = (float)(0.01 + 0.02 * uniform(&seed));
    }
    for (size_t j = 0; j < COLS; j++)
        m->col_scales[j] = (float)(0.5 + uniform(&seed));
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLS; j++) {
            double step = (double)m->row_steps[i] * (double)m->col_scales[j];
            float w = (float)(uniform(&seed) - 0.5);
            m->weights[i * COLS + j] = w;
            m->errors[i * COLS + j] = (double)w - step * rint((double)w / step);
        }
    return m;
}

/* |M^T E L|^2 / 2; rows weighted by 'weights' where there is no M. */
static double by_definition(const matrices *m, const double *weights)
{
    double sum = 0;
    double *el = calloc((size_t)ROWS * COLS, sizeof *el);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLS; j++)
            for (size_t k = j; k < COLS; k++)
                el[i * COLS + j] += m->errors[i * COLS + k] * (double)m->factor[k * COLS + j];
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLS; j++) {
            double at = weights ? sqrt(weights[i]) * el[i * COLS + j] : 0;
            for (size_t k = i; !weights && k < ROWS; k++)
                at += (double)m->row_factor[k * ROWS + i] * el[k * COLS + j];
            sum += 0.5 * at * at;
        }
    free(el);
    return sum;
}

static double found(const matrices *m, bool two_sided)
{
    en_rounding_loss r = {0};
    const en_pass_problem p = {.n_rows = ROWS,
                               .n_cols = COLS,
                               .weights = m->weights,
                               .factor = m->factor,
                               .importance = m->importance,
                               .row_factor = two_sided ? m->row_factor : NULL};
    assert_int_equal(en_rounding_loss_prepare(&r, &p, NULL), ENTRO_OK);
    double sum = 0;
    for (size_t i = 0; i < ROWS; i++)
        sum += en_rounding_loss_row(&r, i, m->weights + i * COLS, m->row_steps[i], m->col_scales);
    en_rounding_loss_free(&r);
    return sum;
}

static void check(double beside, double tolerance)
{
    matrices *m = make(beside, 11);
    double weights[ROWS];
    float r[ROWS];
    const en_watersic_problem p = {.n_rows = ROWS, .n_cols = COLS, .importance = m->importance};
    en_watersic_row_weights(&p, r);
    for (size_t i = 0; i < ROWS; i++)
        weights[i] = (double)r[i] * (double)r[i];
    double one_sided = by_definition(m, weights), two_sided = by_definition(m, NULL);
    assert_true(fabs(found(m, false) / one_sided - 1) < tolerance);
    assert_true(fabs(found(m, true) / two_sided - 1) < tolerance);
    free(m);
}

static void is_the_loss_where_nothing_depends(void **state)
{
    (void)state;
    check(0, 1e-5);
}

static void is_the_loss_in_the_mean(void **state)
{
    (void)state;
    check(0.4, 0.1);
}

static void rows_that_do_not_matter_count_alike(void **state)
{
    (void)state;
    matrices *m = make(0, 3);
    double ones[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        m->importance[i] = 0;
        ones[i] = 1;
    }
    assert_true(fabs(found(m, false) / by_definition(m, ones) - 1) < 1e-6);
    free(m);
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    matrices *m = make(0, 3);
    en_rounding_loss r = {0};
    const en_pass_problem p = {
        .n_rows = ROWS, .n_cols = COLS, .factor = m->factor, .importance = m->importance};
    for (uint64_t n = 0; n < 2; n++) {
        en_memory_fail_at(n);
        assert_int_equal(en_rounding_loss_prepare(&r, &p, NULL), ENTRO_ERR_NOMEM);
        en_memory_fail_at(UINT64_MAX);
        en_rounding_loss_free(&r);
    }
    assert_int_equal(en_rounding_loss_prepare(&r, &p, NULL), ENTRO_OK);
    en_rounding_loss_free(&r);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_loss_where_nothing_depends),
        cmocka_unit_test(is_the_loss_in_the_mean),
        cmocka_unit_test(rows_that_do_not_matter_count_alike),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
