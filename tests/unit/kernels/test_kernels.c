/*
 * test_kernels.c - the comparator: every variant this machine supports against the reference.
 *
 * Each input and output ends at a page that must not be touched, so that reading or writing one
 * byte too far is a crash, and has canary bytes before it.  Lengths 0 to 130 cover every tail.
 */
#include "test_support.h"

#include <math.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "kernels/kernels.h"

enum { MAX_LENGTH = 130, N_LONG = 3, CANARY = 64, REGION = 1 << 20, N_REGIONS = 7 };

static const size_t long_lengths[N_LONG] = {576, 1536 + 5, 8960};
static const en_kernels *ref;
static en_kernels variants[4];
static const char *variant_names[4];
static int n_variants;
static const char *variant_name; /* of the one being tested, for messages */

/* ---- memory with guards ------------------------------------------------------------------- */

static uint8_t *region_ends[N_REGIONS];

/* n_bytes that end at the guard page of region i. */
static void *place(int i, size_t n_bytes)
{
    assert_true(n_bytes + CANARY <= REGION);
    uint8_t *p = region_ends[i] - n_bytes;
    memset(p - CANARY, 0xA5, CANARY + n_bytes);
    return p;
}

static void check_canary(const void *p)
{
    const uint8_t *bytes = p;
    for (int i = 1; i <= CANARY; i++)
        assert_int_equal(bytes[-i], 0xA5);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static uint32_t random32(void)
{
    static uint64_t state = 42;
    return (uint32_t)(test_random(&state) >> 32);
}

/* Numbers between -1 and 1, now and then far larger or smaller. */
static float random_float(void)
{
    float x = (float)random32() * 0x1p-31f - 1.0f;
    return random32() % 16 == 0 ? x * 40.0f : x;
}

static void fill_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
}

static float *place_floats(int region, size_t n)
{
    float *x = place(region, n * sizeof *x);
    fill_floats(x, n);
    return x;
}

static void fill_bytes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(random32() >> 8);
}

/* Finite halves. */
static void fill_halves(uint16_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint16_t)(random32() & 0x83ff) | (uint16_t)(random32() % 18 << 10);
}

static void check_close(double found, double expected, double tolerance, size_t n)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%s: n %zu: found %.9g, expected %.9g +- %.3g", variant_name, n, found, expected,
                 tolerance);
}

static void check_same(const void *found, const void *expected, size_t n_bytes, size_t n)
{
    if (n_bytes != 0 && memcmp(found, expected, n_bytes) != 0)
        fail_msg("%s: n %zu: not the same bytes as the reference", variant_name, n);
}

static double dot_magnitude(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)a[i] * (double)b[i]);
    return sum;
}

/* Calls test(k, n) for all variants and lengths. */
static void for_all(void (*test)(const en_kernels *k, size_t n))
{
    for (int v = 0; v < n_variants; v++) {
        variant_name = variant_names[v];
        for (size_t n = 0; n <= MAX_LENGTH; n++)
            test(&variants[v], n);
        for (int i = 0; i < N_LONG; i++)
            test(&variants[v], long_lengths[i]);
    }
}

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

/* ---- products ----------------------------------------------------------------------------------- */

static void dot_length(const en_kernels *k, size_t n)
{
    float *a = place_floats(0, n), *x = place_floats(1, n), *wide = place(2, n * sizeof *wide);
    check_close(k->dot_f32(a, x, n), ref->dot_f32(a, x, n), 1e-6 * dot_magnitude(a, x, n), n);
    for (size_t i = 0; i < n; i++)
        wide[i] = 1.0f;
    check_close(k->sum(x, n), ref->sum(x, n), 1e-6 * dot_magnitude(wide, x, n), n);

    uint8_t *codes = place(3, n);
    fill_bytes(codes, n);
    static const float centres[] = {0.0f, 127.0f, 255.0f};
    for (int c = 0; c < 3; c++) {
        ref->expand_codes(codes, 1.0f, -centres[c], wide, n);
        check_close(k->dot_codes(codes, centres[c], x, n), ref->dot_codes(codes, centres[c], x, n),
                    1e-6 * dot_magnitude(wide, x, n), n);
    }

    uint16_t *halves = place(4, n * 2);
    fill_halves(halves, n);
    ref->dequantize[EN_DTYPE_F16]((uint8_t *)halves, wide, n);
    check_close(k->dot_f16(halves, x, n), ref->dot_f16(halves, x, n),
                1e-6 * dot_magnitude(wide, x, n), n);

    float *y = place_floats(5, n), *before = place(0, n * sizeof *y);
    memcpy(before, y, n * sizeof *y);
    k->axpy_f16(0.37f, halves, y, n);
    for (size_t i = 0; i < n; i++) {
        double product = (double)0.37f * (double)wide[i];
        check_close(y[i], before[i] + product, 2e-7 * (fabs(before[i]) + fabs(product)), n);
    }
    check_canary(y);
}

static void dots_and_sums_are_close(void **state)
{
    (void)state;
    for_all(dot_length);
}

/* ---- rows of int8 with scales --------------------------------------------------------------------- */

static void round_length(const en_kernels *k, size_t n)
{
    static const float inverses[] = {1.0f, 0.0f, 1e30f, 0.7f};
    float *x = place(0, n * sizeof *x);
    for (size_t i = 0; i < n; i++) /* ties, and beyond 127 on both sides */
        x[i] = ((float)(random32() % 601) - 300.0f) * 0.5f;
    for (int s = 0; s < 4; s++) {
        int8_t *expected = place(1, n), *found = place(2, n);
        ref->round_i8(x, inverses[s], expected, n);
        k->round_i8(x, inverses[s], found, n);
        check_same(found, expected, n, n);
        check_canary(found);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(expected[i],
                             (int)fmaxf(-127.0f, fminf(127.0f, rintf(x[i] * inverses[s]))));
    }
}

static void rounding_to_int8_is_exact(void **state)
{
    (void)state;
    for_all(round_length);
}

/* a[r] . x and sum of a[r] against rows made f32, whose products are those of dots in double. */
static void check_rows(const en_kernels *k, size_t n_rows, size_t n_cols, size_t more)
{
    size_t n_blocks = (n_cols + EN_SCALE_COLS - 1) / EN_SCALE_COLS, stride = n_rows + more;
    size_t n_scales = n_blocks != 0 ? (n_blocks - 1) * stride + n_rows : 0;
    int8_t *a = place(0, n_rows * n_cols);
    fill_bytes((uint8_t *)a, n_rows * n_cols);
    float *scales = place_floats(1, n_scales), *x = place_floats(2, n_cols);
    float *wide = place(3, n_rows * n_cols * sizeof *wide);
    k->expand_i8(a, scales, stride, n_rows, n_cols, wide);
    check_canary(wide);
    for (size_t r = 0; r < n_rows; r++) /* by the definition */
        for (size_t c = 0; c < n_cols; c++)
            assert_true(wide[r * n_cols + c] ==
                        scales[c / EN_SCALE_COLS * stride + r] * (float)a[r * n_cols + c]);

    float *out = place(4, n_rows * sizeof *out);
    k->dot_i8(a, scales, stride, n_rows, n_cols, x, out);
    check_canary(out);
    for (size_t r = 0; r < n_rows; r++) {
        const float *row = wide + r * n_cols;
        float alone;
        check_close(out[r], ref->dot_f32(row, x, n_cols), 1e-6 * dot_magnitude(row, x, n_cols),
                    n_cols);
        k->dot_i8(a + r * n_cols, scales + r, stride, 1, n_cols, x, &alone);
        check_same(&alone, &out[r], sizeof alone, n_cols);
    }

    float *y = place_floats(5, n_cols), *before = place(6, n_cols * sizeof *y);
    memcpy(before, y, n_cols * sizeof *y);
    k->axpy_i8(a, scales, stride, n_rows, n_cols, y);
    check_canary(y);
    for (size_t c = 0; c < n_cols; c++) {
        double sum = before[c], magnitude = fabs(before[c]);
        for (size_t r = 0; r < n_rows; r++) {
            sum += wide[r * n_cols + c];
            magnitude += fabs(wide[r * n_cols + c]);
        }
        check_close(y[c], sum, 3e-6 * magnitude, n_cols);
    }
}

static void rows_of_int8_are_close(void **state)
{
    (void)state;
    for (int v = 0; v < n_variants; v++) {
        variant_name = variant_names[v];
        for (size_t n_cols = 0; n_cols <= MAX_LENGTH; n_cols++)
            check_rows(&variants[v], n_cols % 19, n_cols, n_cols % 3);
        for (size_t n_rows = 0; n_rows <= 64; n_rows++)
            check_rows(&variants[v], n_rows, 64, 64 - n_rows);
        check_rows(&variants[v], 64, 128, 0);
        check_rows(&variants[v], 64, 576 + 5, 1);
    }
}

/* ---- products of matrices ------------------------------------------------------------------------- */

static void check_matmul(const en_kernels *k, size_t n_rows, size_t n_cols, size_t n_tokens)
{
    size_t x_stride = n_cols + 3, y_stride = n_rows + 2;
    size_t x_floats = n_tokens ? (n_tokens - 1) * x_stride + n_cols : 0;
    size_t y_floats = n_tokens ? (n_tokens - 1) * y_stride + n_rows : 0;
    float *w = place_floats(0, n_rows * n_cols), *x = place_floats(1, x_floats);
    float *y = place(2, y_floats * sizeof *y), *alone = place(3, y_floats * sizeof *alone);
    uint32_t gap;
    memset(&gap, 0xA5, sizeof gap); /* what place() fills with */
    k->matmul_f32(w, n_rows, n_cols, x, x_stride, n_tokens, y, y_stride);
    check_canary(y);
    for (size_t t = 0; t < n_tokens; t++) {
        const float *xt = x + t * x_stride;
        for (size_t r = 0; r < n_rows; r++) {
            const float *wr = w + r * n_cols;
            check_close(y[t * y_stride + r], ref->dot_f32(wr, xt, n_cols),
                        2e-6 * dot_magnitude(wr, xt, n_cols), n_cols);
            k->matmul_f32(wr, 1, n_cols, xt, x_stride, 1, alone + t * y_stride + r, y_stride);
        }
        for (size_t r = 0; r < 2 && t + 1 < n_tokens; r++)
            memcpy(&alone[t * y_stride + n_rows + r], &gap, sizeof gap);
    }
    /* The numbers of a pair do not depend on its neighbours; the gaps between rows are untouched. */
    check_same(y, alone, y_floats * sizeof *y, n_cols);
}

static void matmul_is_close_and_independent_of_the_cut(void **state)
{
    (void)state;
    for (int v = 0; v < n_variants; v++) {
        variant_name = variant_names[v];
        for (size_t n_cols = 0; n_cols <= MAX_LENGTH; n_cols++)
            check_matmul(&variants[v], 1 + n_cols % 11, n_cols, 1 + n_cols % 15);
        for (size_t n_rows = 0; n_rows <= 9; n_rows++)
            for (size_t n_tokens = 0; n_tokens <= 14; n_tokens++)
                check_matmul(&variants[v], n_rows, 70, n_tokens);
        check_matmul(&variants[v], 5, 1280, 7);
        check_matmul(&variants[v], 5, 1281, 7);
        check_matmul(&variants[v], 6, 8960, 9);
        check_matmul(&variants[v], 3, 4099, 13);
    }
}

/* ---- the small steps of a transformer ---------------------------------------------------------- */

static void steps_length(const en_kernels *k, size_t n)
{
    size_t n_bytes = n * sizeof(float);
    float *x = place_floats(0, n), *gain = place_floats(1, n);
    float *expected = place(2, n_bytes), *found = place(3, n_bytes);
    ref->rms_norm(x, gain, 1e-5f, expected, n);
    k->rms_norm(x, gain, 1e-5f, found, n);
    for (size_t i = 0; i < n; i++)
        check_close(found[i], expected[i], 1e-6 * fabs(expected[i]), n);
    check_canary(found);
    memcpy(found, x, n_bytes);
    k->rms_norm(found, gain, 1e-5f, found, n); /* in place */
    for (size_t i = 0; i < n; i++)
        check_close(found[i], expected[i], 1e-6 * fabs(expected[i]), n);

    ref->silu_mul(x, gain, expected, n);
    memcpy(found, x, n_bytes);
    k->silu_mul(found, gain, found, n);
    for (size_t i = 0; i < n; i++)
        check_close(found[i], expected[i], 1e-6 * fabs(expected[i]) + 1e-30, n);
    check_canary(found);

    memcpy(expected, x, n_bytes);
    memcpy(found, x, n_bytes);
    ref->softmax(expected, n);
    k->softmax(found, n);
    for (size_t i = 0; i < n; i++)
        check_close(found[i], expected[i], 1e-6 * expected[i] + 1e-37, n);
    check_canary(found);

    memcpy(expected, x, n_bytes);
    memcpy(found, x, n_bytes);
    ref->add(gain, expected, n);
    k->add(gain, found, n);
    check_same(found, expected, n_bytes, n);
    check_canary(found);
}

static void steps_are_close(void **state)
{
    (void)state;
    for_all(steps_length);
}

static void softmax_and_silu_survive_extremes(void **state)
{
    (void)state;
    static const float in[19] = {0,   -1e30f, 3e30f, -INFINITY, 88.5f, -88.5f, -87.3f,
                                 100, -100,   3e30f, 1e-40f,    1,     2,      3,
                                 4,   -200,   -150,  5,         -104};
    for (int v = 0; v < n_variants; v++) {
        variant_name = variant_names[v];
        float x[19], expected[19], up[19];
        memcpy(x, in, sizeof x);
        variants[v].softmax(x, 19);
        for (int i = 0; i < 19; i++)
            check_close(x[i], i == 2 || i == 9 ? 0.5 : 0.0, 0.0, 19);
        memcpy(x, in, sizeof x);
        x[3] = -1e20f;
        for (int i = 0; i < 19; i++)
            up[i] = 1.0f;
        ref->silu_mul(x, up, expected, 19);
        variants[v].silu_mul(x, up, x, 19);
        for (int i = 0; i < 19; i++)
            if (in[i] > -1e10f)
                check_close(x[i], expected[i], 1e-6 * fabs(expected[i]) + 1e-35, 19);
        memcpy(x, in, sizeof x);
        x[5] = NAN;
        variants[v].softmax(x, 19);
        for (int i = 0; i < 19; i++)
            assert_true(isnan(x[i])); /* a broken model must not look like a working one */
    }
}

/* ---- the table ---------------------------------------------------------------------------------- */

static void tables_are_complete(void **state)
{
    (void)state;
    const en_kernels *tables[] = {ref, en_kernels_get(), &variants[0]};
    for (int i = 0; i < 3; i++) {
        const en_kernels *k = tables[i];
        assert_true(k->f32_to_f16 && k->f32_to_bf16 && k->min_max && k->quantize &&
                    k->expand_codes && k->quantize_planes && k->dot_codes && k->dot_f32 &&
                    k->matmul_f32 && k->dot_f16 && k->axpy_f16 && k->sum && k->rms_norm &&
                    k->softmax && k->silu_mul && k->add && k->join_planes_16 && k->join_planes_32 &&
                    k->round_i8 && k->expand_i8 && k->dot_i8 && k->axpy_i8);
    }
}

static void add_variant(const char *name, uint32_t features)
{
    if ((features & en_cpu_features()) != features)
        return;
    en_kernels_fill(&variants[n_variants], features);
    variant_names[n_variants++] = name;
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < N_REGIONS; i++) {
        uint8_t *p =
            mmap(NULL, REGION + 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p + REGION, 65536, PROT_NONE) != 0)
            return -1;
        region_ends[i] = p + REGION;
    }
    ref = en_kernels_ref();
    add_variant("reference", 0);
    add_variant("avx2", EN_CPU_AVX2);
    add_variant("avx512", EN_CPU_AVX2 | EN_CPU_AVX512);
    add_variant("neon", EN_CPU_NEON);
    print_message("variants:");
    for (int i = 0; i < n_variants; i++)
        print_message(" %s", variant_names[i]);
    print_message("\n");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_complete),
        cmocka_unit_test(reference_rounds_to_halves),
        cmocka_unit_test(f32_to_halves_are_exact),
        cmocka_unit_test(dequantize_is_exact),
        cmocka_unit_test(min_max_finds_extremes_and_refuses_nan),
        cmocka_unit_test(quantize_and_expand_are_exact),
        cmocka_unit_test(planes_are_exact),
        cmocka_unit_test(joining_planes_is_exact),
        cmocka_unit_test(dots_and_sums_are_close),
        cmocka_unit_test(rounding_to_int8_is_exact),
        cmocka_unit_test(rows_of_int8_are_close),
        cmocka_unit_test(matmul_is_close_and_independent_of_the_cut),
        cmocka_unit_test(steps_are_close),
        cmocka_unit_test(softmax_and_silu_survive_extremes),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
