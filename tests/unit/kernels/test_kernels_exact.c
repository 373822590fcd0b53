/*
 * test_kernels_exact.c - kernels that must give the reference's bits: conversions, quantization, planes.
 */
#include "test_support.h"

#include <math.h>
#include <string.h>

#include "kernel_compare.h"
#include "kernels/kernels.h"

/* ---- conversions ------------------------------------------------------------------------------ */

static void check_f16(const en_kernels *k, const float *in, size_t n)
{
    uint16_t *expected = place(1, n * 2), *found = place(2, n * 2);
    ref->f32_to_f16(in, expected, n);
    k->f32_to_f16(in, found, n);
    check_same(found, expected, n * 2, n);
    check_canary(found);
    ref->f32_to_bf16(in, expected, n);
    k->f32_to_bf16(in, found, n);
    check_same(found, expected, n * 2, n);
    check_canary(found);
}

static void f32_to_halves_length(const en_kernels *k, size_t n)
{
    float *in = place_floats(0, n);
    check_f16(k, in, n);
}

static void f32_to_halves_are_exact(void **state)
{
    (void)state;
    for_all(f32_to_halves_length);
    enum { N = 3 * 65536 };
    float *in = place(0, N * sizeof *in);
    for (int v = 0; v < n_variants; v++) {
        variant_name = variant_names[v];
        /* every half, the middle between it and the next, and the neighbours of that */
        for (uint32_t h = 0; h < 65536; h++) {
            uint32_t exponent = h >> 10 & 31, sign = (h & 0x8000u) << 16;
            uint32_t bits = sign | ((exponent + 112) << 23) | (h & 0x3ff) << 13 | 0x1000;
            if (exponent == 0) {
                float middle = ldexpf((float)(h & 0x3ff) + 0.5f, -24);
                memcpy(&bits, &middle, sizeof bits);
                bits |= sign;
            }
            for (uint32_t i = 0; i < 3; i++) {
                uint32_t near = bits + i - 1;
                memcpy(&in[3 * h + i], &near, sizeof near);
            }
        }
        check_f16(&variants[v], in, N);
        fill_bytes((uint8_t *)in, N * sizeof *in); /* any bits */
        check_f16(&variants[v], in, N);
    }
}

static void reference_rounds_to_halves(void **state)
{
    (void)state;
    static const struct {
        float in;
        uint16_t f16, bf16;
    } cases[] = {
        {0.0f, 0, 0},
        {-0.0f, 0x8000, 0x8000},
        {1.0f, 0x3c00, 0x3f80},
        {-2.0f, 0xc000, 0xc000},
        {65504.0f, 0x7bff, 0x4780},
        {65519.9f, 0x7bff, 0x4780},
        {65520.0f, 0x7c00, 0x4780},
        {INFINITY, 0x7c00, 0x7f80},
        {-INFINITY, 0xfc00, 0xff80},
        {0x1p-24f, 1, 0x3380},
        {0x1p-25f, 0, 0x3300},
        {0x1.8p-24f, 2, 0x33c0},
        {0x1.002p0f, 0x3c00, 0x3f80}, /* tie to even */
        {0x1.006p0f, 0x3c02, 0x3f80}, /* tie to even, upward */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint16_t f16, bf16;
        ref->f32_to_f16(&cases[i].in, &f16, 1);
        ref->f32_to_bf16(&cases[i].in, &bf16, 1);

        assert_int_equal(f16, cases[i].f16);
        assert_int_equal(bf16, cases[i].bf16);
    }
    float nan = NAN;
    uint16_t half;
    ref->f32_to_f16(&nan, &half, 1);
    assert_int_equal(half & 0x7e00, 0x7e00);
    ref->f32_to_bf16(&nan, &half, 1);
    assert_int_equal(half & 0x7fc0, 0x7fc0);
}

static void check_dequantize(const en_kernels *k, uint32_t dtype, size_t n)
{
    uint64_t n_bytes;
    if (!en_dtype_bytes(dtype, n, &n_bytes))
        return;
    uint8_t *in = place(0, (size_t)n_bytes);
    fill_bytes(in, (size_t)n_bytes);
    float *expected = place(1, n * sizeof *expected), *found = place(2, n * sizeof *found);
    ref->dequantize[dtype](in, expected, n);
    k->dequantize[dtype](in, found, n);
    check_same(found, expected, n * sizeof *found, n);
    check_canary(found);
}

static void dequantize_length(const en_kernels *k, size_t n)
{
    for (uint32_t dtype = 0; dtype < EN_DTYPE_COUNT; dtype++) {
        assert_true((ref->dequantize[dtype] != NULL) == en_dtype_get(dtype)->is_float);
        if (ref->dequantize[dtype] == NULL)
            continue;
        uint32_t block = en_dtype_get(dtype)->block_elems;
        check_dequantize(k, dtype, block == 1 ? n : n % 9 * block);
    }
}

static void dequantize_is_exact(void **state)
{
    (void)state;
    for_all(dequantize_length);
    for (int v = 0; v < n_variants; v++) {
        uint16_t *in = place(0, 65536 * sizeof *in);
        for (uint32_t h = 0; h < 65536; h++)
            in[h] = (uint16_t)h;
        for (int dtype = EN_DTYPE_F16; dtype <= EN_DTYPE_BF16;
             dtype += EN_DTYPE_BF16 - EN_DTYPE_F16) {
            float *expected = place(1, 65536 * sizeof(float)),
                  *found = place(2, 65536 * sizeof(float));
            ref->dequantize[dtype]((uint8_t *)in, expected, 65536);
            variants[v].dequantize[dtype]((uint8_t *)in, found, 65536);
            check_same(found, expected, 65536 * sizeof(float), 65536);
        }
    }
}

/* ---- quantization ----------------------------------------------------------------------------- */

static void min_max_length(const en_kernels *k, size_t n)
{
    if (n == 0)
        return;
    float *x = place_floats(0, n), lo[2], hi[2];
    if (n % 3 == 0)
        memset(x, 0, n * sizeof *x);
    if (n % 6 == 0)
        x[random32() % n] = -0.0f;
    assert_true(ref->min_max(x, n, &lo[0], &hi[0]));
    assert_true(k->min_max(x, n, &lo[1], &hi[1]));
    check_same(&lo[1], &lo[0], sizeof(float), n);
    check_same(&hi[1], &hi[0], sizeof(float), n);

    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i<n; i += n> MAX_LENGTH ? 97 : 1) {
        float old = x[i];
        x[i] = bad[i % 3];
        assert_false(ref->min_max(x, n, &lo[0], &hi[0]));
        assert_false(k->min_max(x, n, &lo[1], &hi[1]));
        x[i] = old;
    }
}

static void min_max_finds_extremes_and_refuses_nan(void **state)
{
    (void)state;
    for_all(min_max_length);
}

static void quantize_length(const en_kernels *k, size_t n)
{
    static const struct {
        float offset, inverse_step;
        unsigned max_code;
    } grids[] = {{-1.0f, 127.5f, 255},  {0.0f, 15.0f, 15},  {-1.0f, 7.5f, 15},
                 {0.25f, -100.0f, 255}, {0.0f, 1e30f, 255}, {0.0f, 0.0f, 255}};
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
        float *x = place_floats(0, n);
        for (size_t i = 0; i < n; i += 5) /* exactly between two codes */
            x[i] = grids[g].offset + ((float)(random32() % 16) + 0.5f) / grids[g].inverse_step;
        if (n > 7)
            x[7] = NAN;
        uint8_t *expected = place(1, n), *found = place(2, n);
        ref->quantize(x, grids[g].offset, grids[g].inverse_step, grids[g].max_code, expected, n);
        k->quantize(x, grids[g].offset, grids[g].inverse_step, grids[g].max_code, found, n);
        check_same(found, expected, n, n);
        check_canary(found);

        float *expected_back = place(3, n * sizeof(float)), *back = place(4, n * sizeof(float));
        ref->expand_codes(expected, grids[g].inverse_step, grids[g].offset, expected_back, n);
        k->expand_codes(expected, grids[g].inverse_step, grids[g].offset, back, n);
        check_same(back, expected_back, n * sizeof(float), n);
        check_canary(back);

        en_error_lanes *expected_sums = place(5, sizeof *expected_sums);
        en_error_lanes *sums = place(6, sizeof *sums);
        float *w = place_floats(0, n);
        ref->error_sums(w, back, n, expected_sums);
        k->error_sums(w, back, n, sums);
        check_same(sums, expected_sums, sizeof *sums, n);
        check_canary(sums);
    }
}

static void planes_length(const en_kernels *k, size_t n)
{
    size_t n_units = n % 70, n_elems = n_units * EN_UNIT_COLS;
    float *x = place(0, n_elems * sizeof *x);
    for (size_t i = 0; i < n_elems; i++) /* halves: ties of both roundings */
        x[i] = ((float)(random32() % (4 * EN_PLANES_MAX + 1)) - 2 * EN_PLANES_MAX) * 0.5f;
    for (size_t i = 0; i < n_elems; i += 3)
        x[i] = (float)(i % 6 == 0 ? EN_PLANES_MAX : -EN_PLANES_MAX);
    int8_t *high[2] = {place(1, n_elems), place(2, n_elems)};
    int8_t *low[2] = {place(3, n_elems), place(4, n_elems)};
    int32_t *sums[2] = {place(5, n_units * sizeof(int32_t)), place(6, n_units * sizeof(int32_t))};
    ref->quantize_planes(x, 1.0f, n_units, high[0], low[0], sums[0]);
    k->quantize_planes(x, 1.0f, n_units, high[1], low[1], sums[1]);
    check_same(high[1], high[0], n_elems, n);
    check_same(low[1], low[0], n_elems, n);
    check_same(sums[1], sums[0], n_units * sizeof(int32_t), n);
    for (size_t i = 0; i < n_elems; i++)
        assert_int_equal(128 * high[0][i] + low[0][i], (int)rintf(x[i]));
    check_canary(high[1]);
    check_canary(low[1]);
    check_canary(sums[1]);
}

static void planes_are_exact(void **state)
{
    (void)state;
    for_all(planes_length);
}

static void quantize_and_expand_are_exact(void **state)
{
    (void)state;
    for_all(quantize_length);
}

static void join_length(const en_kernels *k, size_t n)
{
    uint8_t *planes[4];
    for (int i = 0; i < 4; i++) {
        planes[i] = place(i, n);
        fill_bytes(planes[i], n);
    }
    uint16_t *halves[2] = {place(4, 2 * n), place(5, 2 * n)};
    ref->join_planes_16(planes[0], planes[1], halves[0], n);
    k->join_planes_16(planes[0], planes[1], halves[1], n);
    check_same(halves[1], halves[0], 2 * n, n);
    check_canary(halves[1]);
    uint32_t *words[2] = {place(4, 4 * n), place(5, 4 * n)};
    ref->join_planes_32(planes[0], planes[1], planes[2], planes[3], words[0], n);
    k->join_planes_32(planes[0], planes[1], planes[2], planes[3], words[1], n);
    check_same(words[1], words[0], 4 * n, n);
    check_canary(words[1]);
    for (size_t i = 0; i < n; i++) { /* by the page */
        uint32_t top = (uint32_t)(planes[1][i] >> 7) << 15 | (uint32_t)planes[0][i] << 7 |
                       (planes[1][i] & 127u);
        assert_int_equal(words[0][i],
                         top << 16 | (uint32_t)planes[2][i] << 8 | (uint32_t)planes[3][i]);
    }
}

static void joining_planes_is_exact(void **state)
{
    (void)state;
    for_all(join_length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_rounds_to_halves),
        cmocka_unit_test(f32_to_halves_are_exact),
        cmocka_unit_test(dequantize_is_exact),
        cmocka_unit_test(min_max_finds_extremes_and_refuses_nan),
        cmocka_unit_test(quantize_and_expand_are_exact),
        cmocka_unit_test(planes_are_exact),
        cmocka_unit_test(joining_planes_is_exact),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
