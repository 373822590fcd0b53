/*
 * test_linear_strips.c - products with matrices in codings 2 and 4 against sums in double; coded, packed,
 * any number of threads and of tokens give the same bits.
 */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/memory.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"
#include "kernels/kernels.h"
#include "linear/linear.h"

static uint64_t random_state = 11;

static uint32_t random32(void)
{
    return (uint32_t)(test_random(&random_state) >> 32);
}

static float random_float(void)
{
    return (float)(int32_t)random32() * 0x1p-31f;
}

/* ---- matrices ---------------------------------------------------------------------------- */

typedef struct shape {
    const char *what;
    uint64_t n_rows, n_cols;
    uint32_t n_row_classes, n_col_classes;
    bool rows_moved, cols_moved, scaled, per_row, offsets;
    int spread;
    uint32_t one_in;    /* so many integers are huge; 0: none */
    uint32_t tame_each; /* only every such strip has a spread of 1; 0: all have the same */
    bool is_rans;       /* coding 4 */
} shape;

typedef struct matrix {
    en_linear linear;
    en_coded coded;
    en_strip_matrix *strips;
    uint8_t *payload;
    double *weights; /* in the model's order */
} matrix;

typedef struct maker {
    const shape *s;
    en_strip_plan plan;
    int32_t *z; /* stored order, padded */
    uint32_t *row_order, *col_order;
    float *steps, *offsets, *scales;
    en_pair_code *codes;
    en_rans_code *rans;
} maker;

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Any order of 'n' that keeps the members of a class, ends[] times 'unit' of them, as they come. */
static uint32_t *permutation(uint64_t n, bool wanted, const uint32_t *ends, uint32_t unit)
{
    if (!wanted)
        return NULL;
    uint32_t *order = en_alloc(n, sizeof *order);
    assert_non_null(order);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = (uint32_t)n - 1; i > 0; i--) {
        uint32_t j = random32() % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint64_t first = 0, class = 0; first < n; class ++) {
        uint64_t end = (uint64_t)ends[class] * unit;
        end = end < n ? end : n;
        qsort(order + first, end - first, sizeof *order, by_number);
        first = end;
    }
    return order;
}

/* Spread grows with stored row and column, so that classes get different modes. */
static int32_t random_integer(const shape *s, size_t row, size_t col)
{
    if (s->one_in != 0 && random32() % s->one_in == 0)
        return (int32_t)(random32() % 2000001) - 1000000;
    int spread = s->spread;
    if (s->tame_each != 0 && row / EN_STRIP_ROWS % s->tame_each == 0)
        spread = 1;
    double where = (double)(row + 1) / (double)s->n_rows + (double)col / (double)s->n_cols;
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (double)random_float();
    return (int32_t)lrint(sum * (double)spread * where * where);
}

static void set_classes(maker *k)
{
    en_strip_matrix *m = &k->plan.shape;
    m->n_row_classes = k->s->n_row_classes;
    m->n_col_classes = k->s->n_col_classes;
    for (uint32_t i = 0; i < m->n_row_classes; i++)
        m->row_class_end[i] = m->n_strips * (i + 1) / m->n_row_classes;
    for (uint32_t i = 0; i < m->n_col_classes; i++)
        m->col_class_end[i] = m->n_units * (i + 1) / m->n_col_classes;
    en_strip_plan_count_chunks(&k->plan);
}

static void choose_codes(maker *k)
{
    en_strip_matrix *m = &k->plan.shape;
    size_t padded = en_strip_padded_cols(m);
    size_t n_pairs = (size_t)m->n_row_classes * m->n_col_classes;
    k->codes = en_alloc(n_pairs, sizeof *k->codes);
    k->plan.codes = k->codes;
    k->rans = k->s->is_rans ? en_alloc(n_pairs, sizeof *k->rans) : NULL;
    k->plan.rans = k->rans;
    for (uint32_t r = 0, strip = 0; r < m->n_row_classes; strip = m->row_class_end[r++])
        for (uint32_t c = 0, unit = 0; c < m->n_col_classes; unit = m->col_class_end[c++]) {
            uint32_t both = r * m->n_col_classes + c;
            double bits;
            const int32_t *z = k->z + strip * EN_STRIP_ROWS * padded + unit * EN_UNIT_COLS;
            uint32_t n_strips = m->row_class_end[r] - strip;
            size_t n_cols = (size_t)(m->col_class_end[c] - unit) * EN_UNIT_COLS;
            if (k->s->is_rans)
                en_strip_choose_rans(&m->layouts[both], &k->rans[both], z, padded, n_strips, n_cols,
                                     &bits);
            else
                assert_int_equal(en_strip_choose(&m->layouts[both], &k->codes[both], z, padded,
                                                 n_strips, n_cols, &bits, NULL),
                                 ENTRO_OK);
        }
}

static void fill(maker *k, matrix *out)
{
    const shape *s = k->s;
    size_t padded = en_strip_padded_cols(&k->plan.shape);
    k->z = en_alloc_zero((size_t)k->plan.shape.n_strips * EN_STRIP_ROWS * padded, sizeof *k->z);
    out->weights = en_alloc(s->n_rows * s->n_cols, sizeof *out->weights);
    assert_true(k->z && out->weights);
    for (size_t r = 0; r < s->n_rows; r++)
        for (size_t c = 0; c < s->n_cols; c++) {
            int32_t z = k->z[r * padded + c] = random_integer(s, r, c);
            size_t g = s->per_row ? r : 0, row = s->rows_moved ? k->row_order[r] : r;
            double w = (double)k->steps[g] * z + (s->offsets ? (double)k->offsets[g] : 0.0);
            out->weights[row * s->n_cols + (s->cols_moved ? k->col_order[c] : c)] =
                w * (s->scaled ? (double)k->scales[c] : 1.0);
        }
}

static void set_grids(maker *k)
{
    const shape *s = k->s;
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
    k->plan.row_order = k->row_order =
        permutation(s->n_rows, s->rows_moved, k->plan.shape.row_class_end, EN_STRIP_ROWS);
    k->plan.col_order = k->col_order =
        permutation(s->n_cols, s->cols_moved, k->plan.shape.col_class_end, EN_UNIT_COLS);
}

static void write_payload(const maker *k, matrix *out)
{
    en_chunk_encoder e;
    en_strip_writer w = {0};
    const en_strip_matrix *m = &k->plan.shape;
    assert_int_equal(en_chunk_encoder_open(&e, NULL), ENTRO_OK);
    assert_int_equal(en_strip_writer_begin(&w, &k->plan, NULL), ENTRO_OK);
    for (uint32_t i = 0; i < m->n_chunks; i++) {
        size_t row = (size_t)en_strip_chunk_at(m, i).first_strip * EN_STRIP_ROWS;
        assert_int_equal(
            en_strip_encode_chunk(&e, &k->plan, i, k->z + row * en_strip_padded_cols(m), NULL),
            ENTRO_OK);
        assert_int_equal(en_strip_writer_add(&w, &e, NULL), ENTRO_OK);
    }
    assert_int_equal(en_strip_writer_finish(&w, NULL), ENTRO_OK);
    en_chunk_encoder_close(&e);
    out->payload = en_alloc(w.n_front, 1);
    assert_non_null(out->payload);
    memcpy(out->payload, w.front, w.n_front);
    assert_int_equal(
        en_strip_payload_parse(&out->coded, &out->strips, out->payload, w.n_front, NULL), ENTRO_OK);
    en_strip_writer_close(&w);
}

static void make(matrix *out, const shape *s)
{
    maker k = {.s = s};
    *out = (matrix){0};
    en_strip_plan_init(&k.plan, en_quant_method_find(s->per_row ? "u8-row" : "u8"), s->n_rows,
                       s->n_cols, s->is_rans);
    set_classes(&k);
    set_grids(&k);
    fill(&k, out);
    choose_codes(&k);
    write_payload(&k, out);
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

static void free_matrix(matrix *m)
{
    en_linear_unpack(&m->linear);
    en_strip_matrix_free(m->strips);
    en_free(m->payload);
    en_free(m->weights);
}

static void pack(matrix *m, uint32_t n_threads)
{
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
    assert_int_equal(en_linear_pack(&m->linear, NULL, NULL, pool, NULL), ENTRO_OK);
    assert_non_null(m->linear.packed);
    en_pool_free(pool);
}

static const shape shapes[] = {
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
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* ---- products ---------------------------------------------------------------------------- */

enum { MAX_PRODUCTS = 3, MAX_TOKENS = 64, X_GAP = 5 };

typedef struct run {
    float *y[MAX_PRODUCTS]; /* with a stride of n_rows + 1 */
    size_t n_floats[MAX_PRODUCTS];
} run;

static entro_status try_apply(run *out, const en_linear *const *linears, size_t n, const float *x,
                              size_t n_tokens, uint32_t n_threads, entro_error *err)
{
    en_linear_product products[MAX_PRODUCTS];
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
    entro_status status =
        en_linear_apply(products, n, x, linears[0]->n_cols + X_GAP, n_tokens, pool, scratch, err);
    en_linear_scratch_free(scratch);
    en_pool_free(pool);
    return status;
}

static run apply(const en_linear *linear, const float *x, size_t n_tokens, uint32_t n_threads)
{
    run r;
    assert_int_equal(try_apply(&r, &linear, 1, x, n_tokens, n_threads, NULL), ENTRO_OK);
    return r;
}

static void free_run(run *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        en_free(r->y[i]);
}

/* Tokens of very different size, with outliers. */
static float *make_inputs(uint64_t n_cols)
{
    size_t stride = n_cols + X_GAP;
    float *x = en_alloc(stride * MAX_TOKENS, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < stride * MAX_TOKENS; i++)
        x[i] = ldexpf(random_float() + random_float() + 0.1f, (int)(i / stride % 40) - 20) *
               (random32() % 200 == 0 ? 15.0f : 1.0f);
    return x;
}

/* 15 bits an input: a relative error of 1e-4 of sum |w| max |x| at the very most. */
static void check_values(const matrix *m, const char *what, const float *x, const run *r)
{
    uint64_t n_rows = m->linear.n_rows, n_cols = m->linear.n_cols;
    for (size_t t = 0; t < MAX_TOKENS; t++) {
        const float *xt = x + t * (n_cols + X_GAP), *y = r->y[0] + t * (n_rows + 1);
        assert_true(y[n_rows] == 12345.0f);
        for (uint64_t row = 0; row < n_rows; row++) {
            double sum = 0, most = 0, size = 0;
            for (uint64_t k = 0; k < n_cols; k++) {
                double w = m->weights[row * n_cols + k];
                sum += w * (double)xt[k];
                size += fabs(w);
                most = fmax(most, fabs((double)xt[k]));
            }
            double error = fabs((double)y[row] - sum);
            if (!(error <= 1e-4 * size * most))
                fail_msg("%s: token %zu, row %zu: %.9g instead of %.9g", what, t, (size_t)row,
                         (double)y[row], sum);
        }
    }
}

/* Each count of tokens, coded and packed, with some threads. */
static void check_same(const en_linear *linear, const float *x, const run *all)
{
    static const size_t counts[] = {1, 2, 3, 4, 5, 8, 17, MAX_TOKENS};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2) {
            run r = apply(linear, x, counts[i], n_threads);
            assert_memory_equal(r.y[0], all->y[0], r.n_floats[0] * sizeof(float));
            free_run(&r, 1);
        }
    /* a token in the middle by itself */
    size_t at = 7;
    run r = apply(linear, x + at * (linear->n_cols + X_GAP), 1, 2);
    assert_memory_equal(r.y[0], all->y[0] + at * (linear->n_rows + 1),
                        linear->n_rows * sizeof(float));
    free_run(&r, 1);
}

static void products_are_right_and_the_same_in_every_way(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        matrix m;
        make(&m, &shapes[i]);
        float *x = make_inputs(m.linear.n_cols);
        run all = apply(&m.linear, x, MAX_TOKENS, 1);
        check_values(&m, shapes[i].what, x, &all);
        check_same(&m.linear, x, &all);
        pack(&m, 1 + (uint32_t)i % 3);
        check_same(&m.linear, x, &all);
        free_run(&all, 1);
        en_free(x);
        free_matrix(&m);
    }
}

/* Bits that were there when this was written, on x86 and ARM. */
static void results_are_the_same_on_every_processor(void **state)
{
    (void)state;
    uint64_t hash = 0, of_strips = 0;
    random_state = 11;
    for (int i = 0; i < N_SHAPES; i++) {
        matrix m;
        make(&m, &shapes[i]);
        float *x = make_inputs(m.linear.n_cols);
        run r = apply(&m.linear, x, 9, 2);
        hash = hash * 31 + en_hash64(r.y[0], r.n_floats[0] * sizeof(float));
        of_strips = shapes[i].is_rans ? of_strips : hash;
        free_run(&r, 1);
        en_free(x);
        free_matrix(&m);
    }
    if (of_strips != UINT64_C(0xce5a846677cc3aca) || hash != UINT64_C(0xe4282d92a6e55b71))
        fail_msg("0x%016llx, 0x%016llx", (unsigned long long)of_strips, (unsigned long long)hash);
}

static void modes_differ_between_classes(void **state)
{
    (void)state;
    bool narrow = false, wide = false;
    matrix m;
    make(&m, &shapes[8]);
    for (uint32_t i = 0; i < m.strips->n_row_classes * m.strips->n_col_classes; i++) {
        narrow = narrow || !en_strip_is_wide(m.strips->layouts[i].mode);
        wide = wide || en_strip_is_wide(m.strips->layouts[i].mode);
    }
    assert_true(narrow && wide); /* else the other tests show less than they say */
    free_matrix(&m);
}

static void fused_products_equal_single_ones(void **state)
{
    (void)state;
    static const shape three[] = {
        {"a", 100, 301, 2, 2, .spread = 5, .one_in = 300},
        {"b", 60, 301, 1, 3, .spread = 25, .cols_moved = true, .scaled = true},
        {"c", 33, 301, 1, 1, .spread = 2},
    };
    matrix m[3];
    const en_linear *linears[3];
    for (int i = 0; i < 3; i++) {
        make(&m[i], &three[i]);
        linears[i] = &m[i].linear;
    }
    pack(&m[2], 1);
    float *x = make_inputs(301);
    for (size_t n_tokens = 1; n_tokens <= 9; n_tokens += 4) {
        run fused;
        assert_int_equal(try_apply(&fused, linears, 3, x, n_tokens, 3, NULL), ENTRO_OK);
        for (int i = 0; i < 3; i++) {
            run single = apply(linears[i], x, n_tokens, 2);
            assert_memory_equal(fused.y[i], single.y[0], single.n_floats[0] * sizeof(float));
            free_run(&single, 1);
        }
        free_run(&fused, 3);
    }
    en_free(x);
    for (int i = 0; i < 3; i++)
        free_matrix(&m[i]);
}

static void odd_inputs_are_survived(void **state)
{
    (void)state;
    matrix m;
    make(&m, &shapes[0]);
    float *x = make_inputs(m.linear.n_cols);
    size_t stride = m.linear.n_cols + X_GAP;
    memset(x, 0, stride * sizeof *x);
    x[stride + 3] = NAN;
    x[2 * stride] = -INFINITY;
    x[3 * stride] = 3e38f;
    for (size_t k = 0; k < stride; k++)
        x[4 * stride + k] = 1e-42f;
    run r = apply(&m.linear, x, 6, 2);
    for (size_t row = 0; row < m.linear.n_rows; row++) {
        const float *y = r.y[0] + row;
        assert_true(y[0] == 0.0f);
        assert_true(isnan(y[m.linear.n_rows + 1]) && isnan(y[2 * (m.linear.n_rows + 1)]));
        assert_true(fabsf(y[4 * (m.linear.n_rows + 1)]) < 1e-30f);
        assert_true(isfinite(y[5 * (m.linear.n_rows + 1)]));
    }
    free_run(&r, 1);
    en_free(x);
    free_matrix(&m);
}

/* ---- rows -------------------------------------------------------------------------------- */

static void rows_are_read(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        for (int packed = 0; packed < 2; packed++) {
            matrix m;
            make(&m, &shapes[i]);
            if (packed)
                pack(&m, 2);
            const en_linear *linear = &m.linear;
            en_linear_scratch *scratch = NULL;
            assert_int_equal(en_linear_scratch_new(&scratch, &linear, 1, 1, NULL), ENTRO_OK);
            float *row = en_alloc(m.linear.n_cols, sizeof *row);
            for (uint64_t r = 0; r < m.linear.n_rows; r += 1 + m.linear.n_rows / 90) {
                assert_int_equal(en_linear_read_row(linear, r, row, scratch, NULL), ENTRO_OK);
                for (uint64_t k = 0; k < m.linear.n_cols; k++)
                    assert_true(row[k] == (float)m.weights[r * m.linear.n_cols + k]);
            }
            assert_int_equal(en_linear_read_row(linear, m.linear.n_rows, row, scratch, NULL),
                             ENTRO_ERR_ARGUMENT);
            en_free(row);
            en_linear_scratch_free(scratch);
            free_matrix(&m);
        }
}

/* ---- failures ---------------------------------------------------------------------------- */

static void expect_damage(matrix *m)
{
    float *x = make_inputs(m->linear.n_cols);
    const en_linear *linear = &m->linear;
    for (size_t n_tokens = 1; n_tokens <= 9; n_tokens += 8) {
        run r;
        entro_error err = {0};
        assert_int_equal(try_apply(&r, &linear, 1, x, n_tokens, 2, &err), ENTRO_ERR_CHECKSUM);
        assert_non_null(strstr(err.where, "strips.weight"));
        assert_non_null(strstr(err.message, "chunk 2 of "));
        free_run(&r, 1);
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

static const shape damaged_shape = {"damaged", 200, 320, 1, 1, .spread = 9, .one_in = 500};

static void damaged_words_are_reported(void **state)
{
    (void)state;
    matrix m;
    make(&m, &damaged_shape);
    uint8_t *index = m.payload + (m.strips->index - m.payload);
    uint64_t first = en_load64(index + 24 * 2), end = en_load64(index + 24 * 3);
    uint8_t *words = m.payload + (m.strips->words - m.payload);
    /* Short codes for the words' second half, so that words are left over.  (A stream that wants
     * more than there are cannot be told from a sound one.) */
    en_pool *pool;
    entro_status status = ENTRO_OK;
    assert_int_equal(en_pool_new(&pool, 1, NULL), ENTRO_OK);
    for (int fill = 0; fill < 256 && status == ENTRO_OK; fill += 17) {
        memset(words + (first + end) / 2, fill, (end - first) / 2);
        status = en_linear_pack(&m.linear, NULL, NULL, pool, NULL);
        en_linear_unpack(&m.linear);
    }
    en_pool_free(pool);
    expect_damage(&m);
    free_matrix(&m);
}

static void damaged_exceptions_are_reported(void **state)
{
    (void)state;
    matrix m;
    make(&m, &damaged_shape);
    uint8_t *index = m.payload + (m.strips->index - m.payload);
    uint64_t first = en_load64(index + 24 * 2 + 16), end = en_load64(index + 24 * 3 + 16);
    assert_true(end - first > 8);
    uint8_t *exceptions = m.payload + (m.strips->exceptions - m.payload);
    memset(exceptions + first, 0xff, end - first);
    expect_damage(&m);
    free_matrix(&m);
}

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
static double packed_bits(const shape *s)
{
    matrix m;
    make(&m, s);
    float *x = make_inputs(m.linear.n_cols);
    run all = apply(&m.linear, x, MAX_TOKENS, 1);
    uint64_t expected = en_linear_pack_bytes(&m.linear);
    pack(&m, 2);
    uint64_t n_bytes = en_linear_pack_bytes(&m.linear);
    check_same(&m.linear, x, &all);
    assert_true(expected > 0 && n_bytes > expected); /* lists come on top */
    free_run(&all, 1);
    en_free(x);
    double bits = 8.0 * (double)n_bytes / (double)(s->n_rows * s->n_cols);
    free_matrix(&m);
    return bits;
}

static void packed_matrices_take_the_bits_they_need(void **state)
{
    (void)state;
    static const shape fine = {"fine", 640, 1024, 4, 4, .spread = 6, .rows_moved = true};
    static const shape outliers = {"outliers", 320, 1024, 1, 1, .spread = 2, .one_in = 200};
    double bits = packed_bits(&fine);
    assert_true(bits > 4 && bits < 7.9);
    assert_true(packed_bits(&outliers) < 6);
}

/* The sample is of the first strips of chunks. */
static void a_sample_that_lies_is_survived(void **state)
{
    (void)state;
    static const shape two_faced = {"two-faced", 700, 1500, 1, 1, .spread = 12, .tame_each = 5};
    double bits = packed_bits(&two_faced);
    assert_true(bits > 8 && bits < 8.5); /* as decoded */
}

static void memory_is_small_and_failures_are_clean(void **state)
{
    (void)state;
    matrix m;
    make(&m, &shapes[N_SHAPES - 1]);
    const en_linear *linear = &m.linear;
    uint64_t n_weights = m.linear.n_rows * m.linear.n_cols, n_bytes = en_linear_pack_bytes(linear);
    assert_true(n_bytes > n_weights / 2 && n_bytes < n_weights * 11 / 10);
    float *x = make_inputs(m.linear.n_cols), *y = en_alloc(m.linear.n_rows, sizeof *y);
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
    free_matrix(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right_and_the_same_in_every_way),
        cmocka_unit_test(results_are_the_same_on_every_processor),
        cmocka_unit_test(modes_differ_between_classes),
        cmocka_unit_test(fused_products_equal_single_ones),
        cmocka_unit_test(odd_inputs_are_survived),
        cmocka_unit_test(rows_are_read),
        cmocka_unit_test(damaged_words_are_reported),
        cmocka_unit_test(damaged_exceptions_are_reported),
        cmocka_unit_test(other_matrices_are_not_packed),
        cmocka_unit_test(packed_matrices_take_the_bits_they_need),
        cmocka_unit_test(a_sample_that_lies_is_survived),
        cmocka_unit_test(memory_is_small_and_failures_are_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
