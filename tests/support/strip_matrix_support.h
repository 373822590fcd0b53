/*
 * strip_matrix_support.h - matrices in codings 2 and 4 of every shape, and products with them: coded, packed,
 * any number of threads and of tokens.
 */
#ifndef EN_TESTS_STRIP_MATRIX_SUPPORT_H
#define EN_TESTS_STRIP_MATRIX_SUPPORT_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"
#include "linear/linear.h"
#include "linear_support.h"
#include "strip_plan_support.h"

static uint64_t test_strip_random = 11;

static inline uint32_t test_strip_random32(void)
{
    return (uint32_t)(test_random(&test_strip_random) >> 32);
}

static inline float test_strip_random_float(void)
{
    return (float)(int32_t)test_strip_random32() * 0x1p-31f;
}

/* ---- matrices ---------------------------------------------------------------------------- */

typedef struct test_shape {
    const char *what;
    uint64_t n_rows, n_cols;
    uint32_t n_row_classes, n_col_classes;
    bool rows_moved, cols_moved, scaled, per_row, offsets;
    int spread;
    uint32_t one_in;    /* so many integers are huge; 0: none */
    uint32_t tame_each; /* only every such strip has a spread of 1; 0: all have the same */
    bool is_rans;       /* coding 4 */
} test_shape;

typedef struct test_matrix {
    en_linear linear;
    en_coded coded;
    en_strip_matrix *strips;
    uint8_t *payload;
    double *weights; /* in the model's order */
} test_matrix;

typedef struct test_matrix_maker {
    const test_shape *s;
    en_strip_plan plan;
    int32_t *z; /* stored order, padded */
    uint32_t *row_order, *col_order;
    float *steps, *offsets, *scales;
    en_pair_code *codes;
    en_rans_code *rans;
} test_matrix_maker;

/* Spread grows with stored row and column, so that classes get different modes. */
static inline int32_t test_strip_integer(const test_shape *s, size_t row, size_t col)
{
    if (s->one_in != 0 && test_strip_random32() % s->one_in == 0)
        return (int32_t)(test_strip_random32() % 2000001) - 1000000;
    int spread = s->spread;
    if (s->tame_each != 0 && row / EN_STRIP_ROWS % s->tame_each == 0)
        spread = 1;
    double where = (double)(row + 1) / (double)s->n_rows + (double)col / (double)s->n_cols;
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (double)test_strip_random_float();
    return (int32_t)lrint(sum * (double)spread * where * where);
}

static inline void test_matrix_fill(test_matrix_maker *k, test_matrix *out)
{
    const test_shape *s = k->s;
    size_t padded = en_strip_padded_cols(&k->plan.shape);
    k->z = en_alloc_zero((size_t)k->plan.shape.n_strips * EN_STRIP_ROWS * padded, sizeof *k->z);
    out->weights = en_alloc(s->n_rows * s->n_cols, sizeof *out->weights);
    assert_true(k->z && out->weights);
    for (size_t r = 0; r < s->n_rows; r++)
        for (size_t c = 0; c < s->n_cols; c++) {
            int32_t z = k->z[r * padded + c] = test_strip_integer(s, r, c);
            size_t g = s->per_row ? r : 0, row = s->rows_moved ? k->row_order[r] : r;
            double w = (double)k->steps[g] * z + (s->offsets ? (double)k->offsets[g] : 0.0);
            out->weights[row * s->n_cols + (s->cols_moved ? k->col_order[c] : c)] =
                w * (s->scaled ? (double)k->scales[c] : 1.0);
        }
}

static inline void test_matrix_grids(test_matrix_maker *k)
{
    const test_shape *s = k->s;
    k->steps = en_alloc(s->n_rows, sizeof *k->steps);
    k->offsets = en_alloc(s->n_rows, sizeof *k->offsets);
    k->scales = en_alloc(s->n_cols, sizeof *k->scales);
    assert_true(k->steps && k->offsets && k->scales);
    for (size_t i = 0; i < s->n_rows; i++) {
        k->steps[i] = (float)(i % 64 + 1) / 64.0f;
        k->offsets[i] = (float)(i % 32) / 8.0f - 1.0f;
    }
    for (size_t i = 0; i < s->n_cols; i++)
        k->scales[i] = 0.5f + (float)(i % 16) / 16.0f;
    k->plan.n_grids = s->per_row ? s->n_rows : 1;
    k->plan.half_grids = s->per_row;
    k->plan.steps = k->steps;
    k->plan.offsets = s->offsets ? k->offsets : NULL;
    k->plan.col_scales = s->scaled ? k->scales : NULL;
    const en_strip_matrix *m = &k->plan.shape;
    if (s->rows_moved)
        k->row_order =
            test_strip_order(s->n_rows, m->row_class_end, EN_STRIP_ROWS, &test_strip_random);
    if (s->cols_moved)
        k->col_order =
            test_strip_order(s->n_cols, m->col_class_end, EN_UNIT_COLS, &test_strip_random);
    k->plan.row_order = k->row_order;
    k->plan.col_order = k->col_order;
}

static inline void test_matrix_write(const test_matrix_maker *k, test_matrix *out)
{
    en_strip_writer w = {0};
    test_strip_write(&w, &k->plan, k->z);
    out->payload = en_alloc(w.n_front, 1);
    assert_non_null(out->payload);
    memcpy(out->payload, w.front, w.n_front);
    assert_int_equal(
        en_strip_payload_parse(&out->coded, &out->strips, out->payload, w.n_front, NULL), ENTRO_OK);
    en_strip_writer_close(&w);
}

static inline void test_matrix_make(test_matrix *out, const test_shape *s)
{
    test_matrix_maker k = {.s = s};
    *out = (test_matrix){0};
    en_strip_plan_init(&k.plan, en_quant_method_find(s->per_row ? "u8-row" : "u8"), s->n_rows,
                       s->n_cols, s->is_rans);
    test_strip_classes(&k.plan, s->n_row_classes, s->n_col_classes);
    test_matrix_grids(&k);
    test_matrix_fill(&k, out);
    test_strip_codes(&k.plan, k.z, s->is_rans, &k.codes, &k.rans);
    test_matrix_write(&k, out);
    out->linear = (en_linear){
        .n_rows = s->n_rows, .n_cols = s->n_cols, .name = "strips.weight", .coded = &out->coded};
    en_free(k.z);
    en_free(k.steps);
    en_free(k.offsets);
    en_free(k.scales);
    en_free(k.row_order);
    en_free(k.col_order);
    en_free(k.codes);
    en_free(k.rans);
}

static inline void test_matrix_free(test_matrix *m)
{
    en_linear_unpack(&m->linear);
    en_strip_matrix_free(m->strips);
    en_free(m->payload);
    en_free(m->weights);
}

static inline void test_matrix_pack(test_matrix *m, uint32_t n_threads)
{
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    assert_int_equal(en_linear_pack(&m->linear, NULL, NULL, pool, NULL), ENTRO_OK);
    assert_non_null(m->linear.packed);
    en_pool_free(pool);
}

static const test_shape test_shapes[] = {
    {"one class", 64, 96, 1, 1, .spread = 2},
    {"odd", 37, 75, 1, 1, .spread = 3, .offsets = true},
    {"one row", 1, 1100, 1, 1, .spread = 20, .one_in = 90},
    {"one column", 1030, 1, 1, 1, .spread = 9},
    {"wide", 50, 1000, 1, 1, .spread = 60, .per_row = true, .offsets = true, .one_in = 700},
    {"tiny integers", 130, 320, 1, 1, .spread = 1, .rows_moved = true},
    {"column classes", 90, 330, 1, 4, .spread = 30, .cols_moved = true, .scaled = true,
     .one_in = 100},
    {"all", 205, 301, 3, 5, true, true, true, true, true, 25, 200, 0, false},
    {"all, larger", 700, 1500, 4, 3, true, true, true, true, true, 8, 1000, 0, false},
    {"rans, odd", 37, 75, 1, 1, .spread = 3, .offsets = true, .is_rans = true},
    {"rans, wide", 50, 1000, 1, 1, .spread = 200, .per_row = true, .one_in = 700, .is_rans = true},
    {"rans, all", 405, 301, 3, 5, true, true, true, true, true, 25, 200, 0, true},
};
enum { N_TEST_SHAPES = sizeof test_shapes / sizeof *test_shapes };

/* ---- products ---------------------------------------------------------------------------- */

enum { MAX_TOKENS = 64 };

/* Tokens of very different size, with outliers. */
static inline float *test_inputs(uint64_t n_cols)
{
    size_t stride = n_cols + TEST_X_GAP;
    float *x = en_alloc(stride * MAX_TOKENS, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < stride * MAX_TOKENS; i++)
        x[i] = ldexpf(test_strip_random_float() + test_strip_random_float() + 0.1f,
                      (int)(i / stride % 40) - 20) *
               (test_strip_random32() % 200 == 0 ? 15.0f : 1.0f);
    return x;
}

/* Each count of tokens, coded and packed, with some threads. */
static inline void test_same_in_every_way(const en_linear *linear, const float *x,
                                          const test_run *all)
{
    static const size_t counts[] = {1, 2, 3, 4, 5, 8, 17, MAX_TOKENS};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2) {
            test_run r = test_apply(linear, x, counts[i], n_threads);
            assert_memory_equal(r.y[0], all->y[0], r.n_floats[0] * sizeof(float));
            test_run_free(&r, 1);
        }
    /* a token in the middle by itself */
    size_t at = 7;
    test_run r = test_apply(linear, x + at * (linear->n_cols + TEST_X_GAP), 1, 2);
    assert_memory_equal(r.y[0], all->y[0] + at * (linear->n_rows + 1),
                        linear->n_rows * sizeof(float));
    test_run_free(&r, 1);
}

#endif
