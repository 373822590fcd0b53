/*
 * test_kernels.c - kernels in floating point, close to the reference: products, a transformer's small
 * steps; and that every table is complete.
 */
#include "test_support.h"

#include <math.h>
#include <string.h>

#include "kernel_compare.h"
#include "kernels/kernels.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_complete),
        cmocka_unit_test(dots_and_sums_are_close),
        cmocka_unit_test(rounding_to_int8_is_exact),
        cmocka_unit_test(rows_of_int8_are_close),
        cmocka_unit_test(matmul_is_close_and_independent_of_the_cut),
        cmocka_unit_test(steps_are_close),
        cmocka_unit_test(softmax_and_silu_survive_extremes),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
