/*
 * test_strip_payload.c - payloads of codings 2 and 4: what is written comes back, what is damaged is refused.
 */
#include <math.h>
#include <stdlib.h>

#include "test_support.h"

#include "base/memory.h"
#include "container/payload.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"
#include "strip_plan_support.h"

/* A matrix of integers with everything that the format can hold. */
typedef struct fixture {
    uint64_t n_rows, n_cols;
    int32_t *z;      /* in the model's order */
    int32_t *stored; /* in stored order, padded */
    uint32_t *row_order, *col_order;
    float *steps, *offsets, *scales;
    en_pair_code *codes;
    en_rans_code *rans;
    en_strip_plan plan;
    en_strip_writer writer;
    uint8_t *payload; /* aligned copy */
    size_t n_bytes;
} fixture;

static uint64_t state = 7;

static uint32_t random32(void)
{
    return (uint32_t)(test_random(&state) >> 32);
}

static int32_t small_integer(int spread)
{
    int32_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (int32_t)(random32() % (2 * (unsigned)spread + 1)) - spread;
    return random32() % 3000 == 0 ? (int32_t)(random32() % 2000001) - 1000000 : sum / 2;
}

/* Spread grows with the stored row and column, so that classes differ. */
static void fill_integers(fixture *f)
{
    size_t padded = en_strip_padded_cols(&f->plan.shape);
    size_t n_padded_rows = (size_t)f->plan.shape.n_strips * EN_STRIP_ROWS;
    f->z = en_alloc_zero(f->n_rows * f->n_cols, sizeof *f->z);
    f->stored = en_alloc_zero(n_padded_rows * padded, sizeof *f->stored);
    for (size_t r = 0; r < f->n_rows; r++)
        for (size_t k = 0; k < f->n_cols; k++) {
            int spread = (int)(1 + 20 * k / f->n_cols + 20 * r / f->n_rows);
            int32_t z = small_integer(spread);
            size_t row = f->row_order ? f->row_order[r] : r,
                   col = f->col_order ? f->col_order[k] : k;
            f->stored[r * padded + k] = z;
            f->z[row * f->n_cols + col] = z;
        }
}

static void write_payload(fixture *f)
{
    en_strip_plan_shorten(&f->plan);
    test_strip_write(&f->writer, &f->plan, f->stored);
    f->n_bytes = f->writer.n_front;
    f->payload = en_alloc(f->n_bytes, 1);
    memcpy(f->payload, f->writer.front, f->n_bytes);
}

typedef struct shape {
    uint64_t n_rows, n_cols;
    uint32_t n_row_classes, n_col_classes;
    bool orders, per_row;
    bool is_rans, is_short; /* coding 4; grids of 8 bits */
} shape;

static void fill_grids(fixture *f, bool is_short)
{
    for (size_t i = 0; i < f->n_rows; i++) {
        f->steps[i] =
            is_short ? ldexpf((float)(16 + i % 16), (int)(i % 7) - 9) : (float)(i % 64 + 1) / 64.0f;
        if (f->offsets != NULL)
            f->offsets[i] = -(float)(i % 32) / 8.0f;
    }
    for (size_t i = 0; f->scales != NULL && i < f->n_cols; i++)
        f->scales[i] = 1.0f + (float)(i % 16) / 16.0f;
}

static fixture make_shape(const shape *s)
{
    uint64_t n_rows = s->n_rows, n_cols = s->n_cols;
    bool orders = s->orders, per_row = s->per_row;
    fixture f = {.n_rows = n_rows, .n_cols = n_cols};
    const en_quant_method *method = en_quant_method_find(per_row ? "u8-row" : "u8");
    en_strip_plan_init(&f.plan, method, n_rows, n_cols, s->is_rans);
    test_strip_classes(&f.plan, s->n_row_classes, s->n_col_classes);
    if (orders) {
        const en_strip_matrix *m = &f.plan.shape;
        f.row_order = test_strip_order(n_rows, m->row_class_end, EN_STRIP_ROWS, &state);
        f.col_order = test_strip_order(n_cols, m->col_class_end, EN_UNIT_COLS, &state);
    }
    f.plan.row_order = f.row_order;
    f.plan.col_order = f.col_order;
    f.plan.n_grids = per_row ? n_rows : 1;
    f.plan.half_grids = per_row;
    f.plan.steps = f.steps = en_alloc(n_rows, sizeof *f.steps);
    f.plan.offsets = f.offsets =
        per_row && !s->is_short ? en_alloc(n_rows, sizeof *f.offsets) : NULL;
    f.plan.col_scales = f.scales = orders ? en_alloc(n_cols, sizeof *f.scales) : NULL;
    fill_grids(&f, s->is_short);
    fill_integers(&f);
    test_strip_codes(&f.plan, f.stored, s->is_rans, &f.codes, &f.rans);
    write_payload(&f);
    return f;
}

static void release(fixture *f)
{
    void *all[] = {f->z,       f->stored, f->row_order, f->col_order, f->steps,
                   f->offsets, f->scales, f->codes,     f->rans,      f->payload};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        en_free(all[i]);
    en_strip_writer_close(&f->writer);
}

static void check_integers(const fixture *f, const en_strip_matrix *m)
{
    size_t rows = (size_t)m->strips_per_chunk * EN_STRIP_ROWS;
    int32_t *z = en_alloc(rows * f->n_cols, sizeof *z);
    uint8_t *units = en_alloc(en_strip_scratch_bytes(m), 1);
    for (uint32_t i = 0; i < m->n_chunks; i++) {
        en_strip_chunk c = en_strip_chunk_at(m, i);
        assert_true(en_strip_decode_chunk(m, i, units, z));
        for (size_t r = 0; r < (size_t)c.n_strips * EN_STRIP_ROWS; r++) {
            uint64_t stored = (uint64_t)c.first_strip * EN_STRIP_ROWS + r;
            if (stored < f->n_rows)
                assert_memory_equal(z + r * f->n_cols, f->z + en_strip_row(m, stored) * f->n_cols,
                                    f->n_cols * sizeof *z);
        }
    }
    en_free(z);
    en_free(units);
}

static void check_round_trip(fixture *f)
{
    en_coded coded;
    en_strip_matrix *m;
    assert_true(en_strip_payload_is(f->payload, f->n_bytes));
    assert_int_equal(en_strip_payload_parse(&coded, &m, f->payload, f->n_bytes, NULL), ENTRO_OK);
    assert_int_equal(coded.n_rows, f->n_rows);
    assert_int_equal(coded.n_cols, f->n_cols);
    assert_true(coded.strips == m);
    assert_true((m->rans != NULL) == (f->rans != NULL));
    for (uint64_t k = 0; f->scales != NULL && k < f->n_cols; k++)
        assert_true(en_half_to_f32(en_load16(m->col_scales + 2 * k)) == f->scales[k]);
    for (uint64_t r = 0; r < coded.n_grids; r++) {
        float step, offset;
        en_coded_grid(&coded, r, &step, &offset);
        assert_true(step == f->steps[r] && offset == (f->offsets ? f->offsets[r] : 0.0f));
    }
    check_integers(f, m);
    en_strip_matrix_free(m);
}

static void test_round_trips(void **context)
{
    (void)context;
    static const shape shapes[] = {
        {16, 32, 1, 1, false, false, false, false},  {64, 96, 1, 1, false, true, false, false},
        {130, 70, 1, 1, false, true, false, true},   {1, 1, 1, 1, false, false, false, false},
        {200, 256, 3, 4, true, true, false, true},   {161, 129, 2, 2, true, false, false, false},
        {512, 1056, 8, 16, true, true, false, false}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int is_rans = 0; is_rans < 2; is_rans++) {
            shape s = shapes[i];
            s.is_rans = is_rans;
            fixture f = make_shape(&s);
            assert_int_equal(f.plan.short_grids, s.is_short);
            check_round_trip(&f);
            release(&f);
        }
}

/* Any byte of the front may be wrong: refused, or harmless to every decoder. */
static void check_damage(const shape *s)
{
    fixture f = make_shape(s);
    size_t front = f.writer.raw_at;
    unsigned n_refused = 0;
    for (size_t i = 0; i < front; i++) {
        uint8_t old = f.payload[i];
        f.payload[i] = (uint8_t)(old ^ (1u << (i % 8)));
        en_coded coded;
        en_strip_matrix *m;
        entro_error err;
        if (!en_strip_payload_is(f.payload, f.n_bytes) ||
            en_strip_payload_parse(&coded, &m, f.payload, f.n_bytes, &err) != ENTRO_OK) {
            n_refused++;
        } else {
            int32_t *z = en_alloc((size_t)m->strips_per_chunk * EN_STRIP_ROWS * m->n_cols, 4);
            uint8_t *units = en_alloc(en_strip_scratch_bytes(m), 1);
            for (uint32_t c = 0; c < m->n_chunks; c++)
                (void)en_strip_decode_chunk(m, c, units, z);
            en_free(z);
            en_free(units);
            en_strip_matrix_free(m);
        }
        f.payload[i] = old;
    }
    assert_true(n_refused > front / 4);
    release(&f);
}

static void test_damage(void **context)
{
    (void)context;
    const shape shapes[] = {{100, 100, 2, 2, true, true, false, false},
                            {100, 100, 2, 2, true, true, true, true}};
    check_damage(&shapes[0]);
    check_damage(&shapes[1]);
}

/* A chunk with a wrong length of words, or exceptions out of place, says so. */
static unsigned count_noticed(bool is_rans)
{
    const shape s = {64, 64, 1, 1, false, true, is_rans, false};
    fixture f = make_shape(&s);
    en_coded coded;
    en_strip_matrix *m;
    assert_int_equal(en_strip_payload_parse(&coded, &m, f.payload, f.n_bytes, NULL), ENTRO_OK);
    int32_t *z = en_alloc((size_t)m->strips_per_chunk * EN_STRIP_ROWS * m->n_cols, 4);
    uint8_t *units = en_alloc(en_strip_scratch_bytes(m), 1);
    unsigned n_noticed = 0;
    for (unsigned i = 0; i < 200; i++) {
        uint8_t *at = f.payload + (m->words - f.payload) + random32() % 600, old = *at;
        *at ^= (uint8_t)(1 + random32() % 255);
        n_noticed += !en_strip_decode_chunk(m, 0, units, z);
        *at = old;
    }
    assert_true(en_strip_decode_chunk(m, 0, units, z));
    en_free(z);
    en_free(units);
    en_strip_matrix_free(m);
    release(&f);
    return n_noticed;
}

static void test_damaged_streams(void **context)
{
    (void)context;
    assert_true(count_noticed(false) > 0);      /* most are for the checksum to find */
    assert_int_equal(count_noticed(true), 200); /* states end at 2^16 only in a sound chunk */
}

static void check_truncation(bool is_rans)
{
    const shape s = {64, 64, 1, 1, false, true, is_rans, is_rans};
    fixture f = make_shape(&s);
    const uint8_t *last = f.payload + EN_STRIP_PARTS_AT + 16 * EN_STRIP_EXCEPTIONS;
    size_t end = (size_t)(en_load64(last) + en_load64(last + 8)) + EN_STRIP_IN_PAD;
    for (size_t n = 0; n < end; n += n < 600 ? 1 : 61) {
        uint8_t *copy = en_alloc(n, 1);
        memcpy(copy, f.payload, n);
        en_coded coded;
        en_strip_matrix *m;
        assert_int_not_equal(en_strip_payload_parse(&coded, &m, copy, n, NULL), ENTRO_OK);
        en_free(copy);
    }
    release(&f);
}

static void test_truncation(void **context)
{
    (void)context;
    check_truncation(false);
    check_truncation(true);
}

/* Large matrices have longer chunks in coding 4, small ones some chunks in either. */
static void test_chunk_lengths(void **context)
{
    (void)context;
    static const struct {
        uint64_t n_rows, n_cols;
        bool is_rans;
        uint32_t strips, chunks;
    } cases[] = {
        {2048, 2048, true, 8, 16},  {2047, 2048, true, 4, 32}, {2048, 2048, false, 4, 32},
        {2048, 1024, false, 8, 16}, {64, 64, true, 2, 2},      {64, 64, false, 1, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        en_strip_plan plan;
        en_strip_plan_init(&plan, en_quant_method_find("u8"), cases[i].n_rows, cases[i].n_cols,
                           cases[i].is_rans);
        assert_int_equal(plan.shape.strips_per_chunk, cases[i].strips);
        assert_int_equal(plan.shape.n_chunks, cases[i].chunks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk_lengths), cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_damaged_streams),
        cmocka_unit_test(test_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
