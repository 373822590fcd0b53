/*
 * planes_support.h - makes small payloads in coding 3 for tests.
 */
#ifndef EN_TESTS_PLANES_SUPPORT_H
#define EN_TESTS_PLANES_SUPPORT_H

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "container/planes_payload.h"
#include "kernels/kernels.h"

typedef struct test_planes {
    uint8_t *bytes; /* en_free */
    size_t n_bytes;
    uint8_t *numbers; /* what is in it, as a file has them; en_free */
    size_t n_numbers;
} test_planes;

/* Numbers like weights, with some of every odd kind among them; or bytes like text. */
static inline void test_numbers(uint8_t *out, uint32_t dtype, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t r = test_random(seed);
        float w = ((float)(r & 0xffff) + (float)(r >> 16 & 0xffff) - 65535.0f) * 0x1p-20f;
        uint32_t any = (uint32_t)(r >> 32); /* NaNs, infinities, subnormals */
        bool odd = any % 97 == 0;
        switch (dtype) {
        case EN_DTYPE_I8: out[i] = (uint8_t)("the cat sat. "[any % 13]); break;
        case EN_DTYPE_F16:
            en_kernels_ref()->f32_to_f16(&w, (uint16_t *)(void *)out + i, 1);
            if (odd)
                en_store16(out + 2 * i, (uint16_t)(any >> 8));
            break;
        case EN_DTYPE_BF16:
            en_kernels_ref()->f32_to_bf16(&w, (uint16_t *)(void *)out + i, 1);
            if (odd)
                en_store16(out + 2 * i, (uint16_t)(any >> 8));
            break;
        default:
            memcpy(out + 4 * i, &w, 4);
            if (odd)
                en_store32(out + 4 * i, any);
        }
    }
}

/* Codes one plane of one segment behind the streams that are there. */
static inline size_t test_planes_stream(const en_planes_plan *p, const en_code *code,
                                        const uint8_t *plane, uint32_t segment, uint8_t *out)
{
    size_t each = (size_t)(p->rows_per_segment * p->n_cols);
    size_t first = segment * each, left = (size_t)(p->n_rows * p->n_cols) - first;
    return en_code_encode(code, plane + first, left < each ? left : each, out);
}

/* The payload of these numbers; planes named in 'coded' (bit p) are coded. */
static inline test_planes test_planes_of(const uint8_t *numbers, uint32_t dtype, uint64_t n_rows,
                                         uint64_t n_cols, uint32_t rows_per_segment, unsigned coded)
{
    en_planes_plan p;
    en_planes_payload_plan(&p, dtype, n_rows, n_cols);
    p.rows_per_segment = rows_per_segment;
    p.n_segments = (uint32_t)((n_rows + rows_per_segment - 1) / rows_per_segment);
    p.entropy = p.huffman_bits = 1;
    size_t n = (size_t)(n_rows * n_cols), n_tables[EN_MAX_PLANES] = {0}, bound = 0;
    uint8_t *planes[EN_MAX_PLANES];
    en_code *codes[EN_MAX_PLANES] = {0};
    for (int i = 0; i < EN_MAX_PLANES; i++)
        planes[i] = en_alloc(n + 64, 1);
    en_planes_split(dtype, numbers, n, planes);
    for (uint32_t i = 0; i < p.n_planes; i++) {
        if (!(coded >> i & 1))
            continue;
        en_histogram *h;
        assert_int_equal(en_histogram_new(&h, 256, NULL), ENTRO_OK);
        en_histogram_add(h, planes[i], n);
        assert_int_equal(en_code_build(&codes[i], h, NULL), ENTRO_OK);
        en_histogram_free(h);
        n_tables[i] = en_code_stored_bytes(codes[i]);
        bound += p.n_segments * en_code_encode_bound(codes[i], (size_t)(rows_per_segment * n_cols));
    }
    en_planes_payload_layout(&p, n_tables);
    test_planes t = {.n_numbers = n};
    size_t base = (size_t)p.parts[EN_PLANES_STREAMS].offset, at = base;
    t.bytes = en_alloc_zero(base + bound + 256, 1);
    uint8_t *raw = t.bytes + p.parts[EN_PLANES_RAW].offset;
    for (uint32_t i = 0; i < p.n_planes; i++) {
        if (codes[i] != NULL) {
            en_code_store(codes[i], t.bytes + p.parts[EN_PLANES_TABLES + i].offset);
        } else {
            memcpy(raw, planes[i], n);
            raw += n;
        }
    }
    uint8_t *index = t.bytes + p.parts[EN_PLANES_INDEX].offset + 8;
    for (uint32_t s = 0; s < p.n_segments; s++)
        for (uint32_t i = 0; i < p.n_planes; i++) {
            if (codes[i] == NULL)
                continue;
            at += test_planes_stream(&p, codes[i], planes[i], s, t.bytes + at);
            en_store64(index, at - base);
            index += 8;
        }
    p.parts[EN_PLANES_STREAMS].n_bytes = at - base;
    t.n_bytes = (size_t)en_planes_payload_total_bytes(&p, at - base);
    memset(t.bytes + at, 0, t.n_bytes - at);
    en_planes_payload_store_header(&p, t.bytes);
    for (int i = 0; i < EN_MAX_PLANES; i++) {
        en_free(planes[i]);
        en_code_free(codes[i]);
    }
    t.numbers = en_alloc(n, p.n_planes);
    memcpy(t.numbers, numbers, n * p.n_planes);
    return t;
}

/* Of random numbers. */
static inline test_planes test_planes_make(uint32_t dtype, uint64_t n_rows, uint64_t n_cols,
                                           uint32_t rows_per_segment, unsigned coded, uint64_t seed)
{
    size_t n = (size_t)(n_rows * n_cols);
    uint8_t *numbers = en_alloc(n, 4);
    test_numbers(numbers, dtype, n, &seed);
    test_planes t = test_planes_of(numbers, dtype, n_rows, n_cols, rows_per_segment, coded);
    en_free(numbers);
    return t;
}

static inline void test_planes_free(test_planes *t)
{
    en_free(t->bytes);
    en_free(t->numbers);
}

#endif
