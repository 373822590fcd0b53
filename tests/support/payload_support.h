/*
 * payload_support.h - makes small coded tensors and container files for tests.
 */
#ifndef EN_TESTS_PAYLOAD_SUPPORT_H
#define EN_TESTS_PAYLOAD_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "container/format_keys.h"
#include "container/payload.h"
#include "formats/gguf.h"
#include "kernels/kernels.h"

typedef struct test_payload {
    uint8_t *bytes; /* en_free */
    size_t n_bytes;
    uint8_t *codes; /* what is in it; en_free */
} test_payload;

/* A code for symbols like test_codes() makes. */
static inline void test_codes(uint8_t *codes, size_t n, unsigned alphabet, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) { /* a hump in the middle */
        uint64_t r = test_random(seed);
        codes[i] = (uint8_t)(((r & 0xffff) % alphabet + (r >> 16 & 0xffff) % alphabet +
                              (r >> 32 & 0xffff) % alphabet) /
                             3);
    }
}

static inline en_code *test_code(unsigned alphabet, const uint8_t *codes, size_t n)
{
    en_histogram *h;
    en_code *code;
    assert_int_equal(en_histogram_new(&h, alphabet, NULL), ENTRO_OK);
    en_histogram_add(h, codes, n);
    assert_int_equal(en_code_build(&code, h, NULL), ENTRO_OK);
    en_histogram_free(h);
    return code;
}

/* Steps 0.5, 1.5, 2.5 ... and offsets -1. */
static inline void test_payload_store_grids(const en_payload *p, uint8_t *bytes)
{
    uint8_t *steps = bytes + p->parts[EN_PART_STEPS].offset;
    uint8_t *offsets = bytes + p->parts[EN_PART_OFFSETS].offset;
    for (uint64_t i = 0; i < p->n_grids; i++) {
        float step = 0.5f + (float)i, offset = -1.0f;
        if (p->half_grids) {
            en_kernels_ref()->f32_to_f16(&step, (uint16_t *)(void *)steps + i, 1);
            en_kernels_ref()->f32_to_f16(&offset, (uint16_t *)(void *)offsets + i, 1);
        } else {
            en_store_f32(steps + 4 * i, step);
            en_store_f32(offsets + 4 * i, offset);
        }
    }
}

/* Random codes for what has been planned; 'shared' NULL: a table of its own. */
static inline test_payload test_payload_fill(en_payload p, const en_code *shared, uint64_t seed)
{
    test_payload t;
    p.entropy = p.huffman_bits = 1;
    size_t n = (size_t)(p.n_rows * p.n_cols);
    size_t per_segment = (size_t)(p.rows_per_segment * p.n_cols);
    t.codes = en_alloc(n, 1);
    test_codes(t.codes, n, 1u << p.method->bits, &seed);
    en_code *own = shared ? NULL : test_code(1u << p.method->bits, t.codes, n);
    const en_code *code = shared ? shared : own;
    en_payload_layout(&p, own ? en_code_stored_bytes(own) : 0);
    size_t at = (size_t)p.parts[EN_PART_SEGMENTS].offset, base = at;
    t.bytes = en_alloc_zero(
        base + p.n_segments * (en_code_encode_bound(code, per_segment) + 64) + 256, 1);
    test_payload_store_grids(&p, t.bytes);
    if (own)
        en_code_store(own, t.bytes + p.parts[EN_PART_TABLE].offset);
    for (uint32_t s = 0; s < p.n_segments; s++) {
        size_t first = s * per_segment, left = n - first;
        at += en_code_encode(code, t.codes + first, left < per_segment ? left : per_segment,
                             t.bytes + at);
        en_store64(t.bytes + p.parts[EN_PART_INDEX].offset + 8 * (s + 1), at - base);
    }
    p.parts[EN_PART_SEGMENTS].n_bytes = at - base;
    t.n_bytes = (size_t)en_payload_total_bytes(&p, at - base);
    memset(t.bytes + at, 0, t.n_bytes - at);
    en_payload_store_header(&p, t.bytes);
    en_code_free(own);
    return t;
}

/* With segments of 'rows_per_segment' and grids of f16 or f32. */
static inline test_payload test_payload_make_of(const char *method, bool half_grids,
                                                uint64_t n_rows, uint64_t n_cols,
                                                uint32_t rows_per_segment, const en_code *shared,
                                                uint64_t seed)
{
    en_payload p;
    en_payload_plan(&p, en_quant_method_find(method), n_rows, n_cols);
    p.half_grids = half_grids;
    p.rows_per_segment = rows_per_segment;
    p.n_segments = (uint32_t)((n_rows + rows_per_segment - 1) / rows_per_segment);
    return test_payload_fill(p, shared, seed);
}

static inline test_payload test_payload_make(const char *method, uint64_t n_rows, uint64_t n_cols,
                                             uint32_t rows_per_segment, const en_code *shared,
                                             uint64_t seed)
{
    return test_payload_make_of(method, false, n_rows, n_cols, rows_per_segment, shared, seed);
}

static inline void test_payload_free(test_payload *t)
{
    en_free(t->bytes);
    en_free(t->codes);
}

/* A container in memory: keys are set by 'meta', hashes are computed here.  en_free the result. */
static inline uint8_t *test_container_bytes(en_meta *meta, en_tensor *tensors, uint32_t n_tensors,
                                            size_t *n_bytes)
{
    uint64_t hashes[16];
    size_t n_head, n_data = 0;
    assert_true(n_tensors <= 16);
    for (uint32_t i = 0; i < n_tensors; i++) {
        tensors[i].offset = n_data;
        n_data += ((size_t)tensors[i].n_bytes + 63) / 64 * 64;
        hashes[i] = en_hash64(tensors[i].data, (size_t)tensors[i].n_bytes);
    }
    en_meta_value v = {.type = EN_META_U64, .is_array = true, .n = n_tensors};
    v.data = (const uint8_t *)hashes;
    if (en_meta_get(meta, EN_KEY_HASHES) == NULL)
        assert_int_equal(en_meta_set(meta, EN_KEY_HASHES, &v, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_u32(meta, "general.alignment", 64, NULL), ENTRO_OK);
    assert_int_equal(en_gguf_head_bytes(meta, tensors, n_tensors, 64, &n_head, NULL), ENTRO_OK);
    uint8_t *bytes = en_alloc_zero(n_head + n_data, 1);
    assert_int_equal(en_gguf_head_write(meta, tensors, n_tensors, 64, bytes, n_head, NULL),
                     ENTRO_OK);
    for (uint32_t i = 0; i < n_tensors; i++)
        memcpy(bytes + n_head + tensors[i].offset, tensors[i].data, (size_t)tensors[i].n_bytes);
    *n_bytes = n_head + n_data;
    return bytes;
}

static inline en_tensor test_tensor(const char *name, uint32_t dtype, const void *data,
                                    uint64_t n_elems, uint64_t n_bytes)
{
    en_tensor t = {.dtype = dtype, .n_dims = 1, .dims = {n_elems, 1, 1, 1}, .n_bytes = n_bytes};
    t.data = data;
    snprintf(t.name, sizeof t.name, "%s", name);
    return t;
}

/* The keys every container has, but for the hashes. */
static inline en_meta *test_container_meta(uint32_t version, uint64_t features)
{
    en_meta *meta;
    en_meta_value v = {.type = EN_META_U64, .n = 1, .u = features};
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_string(meta, "general.architecture", "llama", NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_u32(meta, EN_KEY_VERSION, version, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set(meta, EN_KEY_FEATURES, &v, NULL), ENTRO_OK);
    return meta;
}

#endif
