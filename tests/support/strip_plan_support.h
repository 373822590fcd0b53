/*
 * strip_plan_support.h - plans of codings 2 and 4 for tests: orders, classes, codes, the payload written.
 *
 * Integers are in stored order, rows padded to en_strip_padded_cols() columns and strips to EN_STRIP_ROWS.
 */
#ifndef EN_TESTS_STRIP_PLAN_SUPPORT_H
#define EN_TESTS_STRIP_PLAN_SUPPORT_H

#include <stdlib.h>

#include "base/memory.h"
#include "container/strip_write.h"

static inline int test_by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Any order of 'n' that keeps the members of a class, ends[] times 'unit' of them, as they come;
 * en_free() it. */
static inline uint32_t *test_strip_order(uint64_t n, const uint32_t *ends, uint32_t unit,
                                         uint64_t *random)
{
    uint32_t *order = en_alloc(n, sizeof *order);
    assert_non_null(order);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = (uint32_t)n - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(test_random(random) >> 32) % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint64_t first = 0, class = 0; first < n; class ++) {
        uint64_t end = (uint64_t)ends[class] * unit;
        end = end < n ? end : n;
        qsort(order + first, end - first, sizeof *order, test_by_number);
        first = end;
    }
    return order;
}

/* Classes of about the same size. */
static inline void test_strip_classes(en_strip_plan *plan, uint32_t n_row_classes,
                                      uint32_t n_col_classes)
{
    en_strip_matrix *m = &plan->shape;
    m->n_row_classes = n_row_classes;
    m->n_col_classes = n_col_classes;
    for (uint32_t i = 0; i < n_row_classes; i++)
        m->row_class_end[i] = m->n_strips * (i + 1) / n_row_classes;
    for (uint32_t i = 0; i < n_col_classes; i++)
        m->col_class_end[i] = m->n_units * (i + 1) / n_col_classes;
    en_strip_plan_count_chunks(plan);
}

/* A layout and a code for each pair of classes; 'rans' stays NULL in coding 2.  en_free() both. */
static inline void test_strip_codes(en_strip_plan *plan, const int32_t *stored, bool is_rans,
                                    en_pair_code **codes, en_rans_code **rans)
{
    en_strip_matrix *m = &plan->shape;
    size_t padded = en_strip_padded_cols(m);
    size_t n_pairs = (size_t)m->n_row_classes * m->n_col_classes;
    plan->codes = *codes = en_alloc(n_pairs, sizeof **codes);
    plan->rans = *rans = is_rans ? en_alloc(n_pairs, sizeof **rans) : NULL;
    for (uint32_t r = 0, strip = 0; r < m->n_row_classes; strip = m->row_class_end[r++])
        for (uint32_t c = 0, unit = 0; c < m->n_col_classes; unit = m->col_class_end[c++]) {
            uint32_t both = r * m->n_col_classes + c;
            double bits;
            const int32_t *z = stored + strip * EN_STRIP_ROWS * padded + unit * EN_UNIT_COLS;
            uint32_t n_strips = m->row_class_end[r] - strip;
            size_t n_cols = (size_t)(m->col_class_end[c] - unit) * EN_UNIT_COLS;
            if (is_rans)
                en_strip_choose_rans(&m->layouts[both], *rans + both, z, padded, n_strips, n_cols,
                                     &bits);
            else
                assert_int_equal(en_strip_choose(&m->layouts[both], *codes + both, z, padded,
                                                 n_strips, n_cols, &bits, NULL),
                                 ENTRO_OK);
            assert_true(bits >= 0 && bits < 30);
        }
}

/* The payload is w->front, w->n_front bytes; en_strip_writer_close() it. */
static inline void test_strip_write(en_strip_writer *w, const en_strip_plan *plan,
                                    const int32_t *stored)
{
    en_chunk_encoder e;
    size_t padded = en_strip_padded_cols(&plan->shape);
    assert_int_equal(en_chunk_encoder_open(&e, NULL), ENTRO_OK);
    assert_int_equal(en_strip_writer_begin(w, plan, NULL), ENTRO_OK);
    for (uint32_t i = 0; i < plan->shape.n_chunks; i++) {
        size_t row = (size_t)en_strip_chunk_at(&plan->shape, i).first_strip * EN_STRIP_ROWS;
        assert_int_equal(en_strip_encode_chunk(&e, plan, i, stored + row * padded, NULL), ENTRO_OK);
        assert_int_equal(en_strip_writer_add(w, &e, NULL), ENTRO_OK);
    }
    assert_int_equal(en_strip_writer_finish(w, NULL), ENTRO_OK);
    en_chunk_encoder_close(&e);
}

#endif
