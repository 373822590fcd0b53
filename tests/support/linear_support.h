/*
 * linear_support.h - products with any number of matrices, tokens and threads, as a test wants them.
 */
#ifndef EN_TESTS_LINEAR_SUPPORT_H
#define EN_TESTS_LINEAR_SUPPORT_H

#include "base/memory.h"
#include "linear/linear.h"

enum {
    TEST_MAX_PRODUCTS = 4,
    TEST_X_GAP = 5 /* numbers between the inputs of two tokens */
};

typedef struct test_run {
    float *y[TEST_MAX_PRODUCTS]; /* with a stride of n_rows + 1 */
    size_t n_floats[TEST_MAX_PRODUCTS];
} test_run;

static inline entro_status test_try_apply(test_run *out, const en_linear *const *linears, size_t n,
                                          const float *x, size_t n_tokens, uint32_t n_threads,
                                          entro_error *err)
{
    en_linear_product products[TEST_MAX_PRODUCTS];
    for (size_t i = 0; i < n; i++) {
        const en_linear *l = linears[i];
        out->n_floats[i] = n_tokens * (l->n_rows + 1);
        out->y[i] = en_alloc(out->n_floats[i], sizeof(float));
        assert_non_null(out->y[i]);
        for (size_t k = 0; k < out->n_floats[i]; k++)
            out->y[i][k] = 12345.0f;
        products[i] = (en_linear_product){l, out->y[i], l->n_rows + 1};
    }
    en_pool *pool = NULL;
    en_linear_scratch *scratch = NULL;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    assert_int_equal(en_linear_scratch_new(&scratch, linears, n, n_threads, NULL), ENTRO_OK);
    entro_status status = en_linear_apply(products, n, x, linears[0]->n_cols + TEST_X_GAP, n_tokens,
                                          pool, scratch, err);
    en_linear_scratch_free(scratch);
    en_pool_free(pool);
    return status;
}

static inline test_run test_apply(const en_linear *linear, const float *x, size_t n_tokens,
                                  uint32_t n_threads)
{
    test_run r;
    assert_int_equal(test_try_apply(&r, &linear, 1, x, n_tokens, n_threads, NULL), ENTRO_OK);
    return r;
}

static inline void test_run_free(test_run *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        en_free(r->y[i]);
}

#endif
