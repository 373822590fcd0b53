/* test_method.c - methods by name, and the grid of every kind of tensor. */
#include "quant/method.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tensor/half.h"
#include "test_support.h"

static void finds_methods_by_name(void **state)
{
    (void)state;
    assert_int_equal(en_quant_n_methods(), 8);
    for (uint32_t i = 0; i < en_quant_n_methods(); i++) {
        const en_quant_method *m = en_quant_method_at(i);
        assert_ptr_equal(en_quant_method_find(m->name), m);
        assert_true(strlen(m->name) < 16); /* its place in a payload's header */
    }
    assert_true(en_quant_method_find("u4-row")->per_row);
    assert_int_equal(en_quant_method_find("u4")->bits, 4);
    assert_int_equal(en_quant_method_find("rtn")->bits, 0);
    assert_true(en_quant_is_unlimited(en_quant_method_find("rtn")));
    assert_true(en_quant_method_find(EN_LOSSLESS)->exact);
    assert_false(en_quant_is_unlimited(en_quant_method_find(EN_LOSSLESS)));
    assert_non_null(en_quant_method_find("watersic")->pass);
    assert_non_null(en_quant_method_find("u4-row-sparse")->pass);
    assert_null(en_quant_method_find("u5"));
    assert_null(en_quant_method_find(""));
    assert_null(en_quant_method_at(8));
}

/* The code of w by the definition. */
static long code_of(const en_grid *grid, float w)
{
    float q = rintf((w - grid->offset) * grid->inverse_step);
    return q < 0 ? 0 : q > (float)grid->max_code ? (long)grid->max_code : (long)q;
}

static void asymmetric_grid_covers_both_ends(void **state)
{
    (void)state;
    en_grid g = en_quant_grid(-1.0f, 3.0f, 8);
    assert_true(g.inverse_step == 255.0f / 4.0f);
    assert_true(g.step == 1.0f / (255.0f / 4.0f));
    assert_true(g.offset == -1.0f);
    assert_int_equal(g.max_code, 255);
    assert_int_equal(code_of(&g, -1.0f), 0);
    assert_int_equal(code_of(&g, 3.0f), 255);
}

static void unsigned_grid_starts_at_zero(void **state)
{
    (void)state;
    en_grid g = en_quant_grid(0.5f, 3.0f, 4);
    assert_true(g.offset == 0.0f && g.inverse_step == 5.0f && g.step == 0.2f);
    assert_int_equal(code_of(&g, 3.0f), 15);
    assert_int_equal(code_of(&g, 0.5f), 2); /* 2.5 to even */
}

static void negative_tensor_has_a_negative_step(void **state)
{
    (void)state;
    en_grid g = en_quant_grid(-3.0f, 0.0f, 4);
    assert_true(g.offset == 0.0f && g.inverse_step == -5.0f && g.step == -0.2f);
    assert_int_equal(code_of(&g, -3.0f), 15);
    assert_int_equal(code_of(&g, 0.0f), 0);
}

static void constant_tensor_is_exact(void **state)
{
    (void)state;
    const float values[] = {0.0f, -0.7f, 1e30f, 1e-40f};
    for (size_t i = 0; i < 4; i++) {
        en_grid g = en_quant_grid(values[i], values[i], 8);
        assert_int_equal(code_of(&g, values[i]), 0);
        assert_true(0.0f * g.step + g.offset == values[i]);
    }
}

static void tiny_ranges_count_as_constant(void **state)
{
    (void)state;
    en_grid g = en_quant_grid(-1e-40f, 1e-39f, 8);
    assert_true(g.step == 1.0f && isfinite(g.inverse_step));
    assert_int_equal(code_of(&g, 1e-39f), 0);
    assert_true(fabsf(g.offset - 1e-39f) < 1e-36f);
    /* The product of the bounds underflows to -0, but the sign does change. */
    g = en_quant_grid(-1e-30f, 1e-30f, 8);
    assert_true(g.offset == -1e-30f);
}

static void impossible_range_gives_an_infinite_step(void **state)
{
    (void)state;
    assert_true(isinf(en_quant_grid(-3e38f, 3e38f, 8).step));
    assert_true(isfinite(en_quant_grid(0.0f, 3e38f, 8).step));
}

static void weights_come_back_within_half_a_step(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 2000; round++) {
        float a = (float)((double)(test_random(&seed) >> 40) / (1 << 23) - 1);
        float b = (float)((double)(test_random(&seed) >> 40) / (1 << 23) - 1);
        float lo = a < b ? a : b, hi = a < b ? b : a;
        en_grid g = en_quant_grid(lo, hi, round % 2 ? 8 : 4);
        for (int i = 0; i <= 50; i++) {
            float w = lo + (hi - lo) * (float)i / 50;
            w = w > hi ? hi : w;
            float back = (float)code_of(&g, w) * g.step + g.offset;
            assert_true(fabs((double)back - (double)w) <= 0.5001 * fabs((double)g.step));
        }
    }
}

/* ---- grids of f16 -------------------------------------------------------------------------- */

static float random_signed(uint64_t *seed)
{
    return (float)((double)(test_random(seed) >> 40) / (1 << 23) - 1);
}

static void half_grids_are_f16_and_cover_the_row(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int round = 0; round < 20000; round++) {
        float scale = ldexpf(1.0f, (int)(test_random(&seed) % 20) - 5);
        float a = random_signed(&seed) * scale, b = random_signed(&seed) * scale;
        float lo = a < b ? a : b, hi = a < b ? b : a;
        unsigned bits = round % 2 ? 8 : 4;
        en_grid full = en_quant_grid(lo, hi, bits), g;
        if (!en_quant_grid_half(lo, hi, bits, &g)) {
            assert_true(fabsf(full.step) < 0x1p-14f); /* the only reason there is in this range */
            continue;
        }
        uint16_t half[2];
        float stored[2] = {g.step, g.offset};
        en_kernels_ref()->f32_to_f16(stored, half, 2);
        assert_true(en_half_to_f32(half[0]) == g.step && en_half_to_f32(half[1]) == g.offset);
        assert_true(g.inverse_step == 1.0f / g.step && g.max_code == full.max_code);
        assert_true(fabsf(g.step) >= fabsf(full.step) * (1 - 0x1p-22f));
        assert_true(fabsf(g.step) <= fabsf(full.step) * EN_HALF_GRID_COST);
        assert_true(g.offset <= full.offset && (full.offset != 0.0f || g.offset == 0.0f));
        for (int i = 0; i <= 20; i++) {
            float w = i == 20 ? hi : lo + (hi - lo) * (float)i / 20;
            double back = (double)code_of(&g, w) * (double)g.step + (double)g.offset;
            assert_true(fabs(back - (double)w) <= 0.5001 * fabs((double)g.step));
        }
    }
}

static void half_grid_rounds_outwards(void **state)
{
    (void)state;
    en_grid g;
    assert_true(en_quant_grid_half(-1.0f, 14.0f, 4, &g)); /* all exact */
    assert_true(g.offset == -1.0f && g.step == 1.0f);
    assert_true(en_quant_grid_half(-1.0f - 0x1p-20f, 14.0f, 4, &g));
    assert_true(g.offset == -1.0f - 0x1p-10f && g.step == 1.0f + 0x1p-10f);
    assert_true(en_quant_grid_half(0.0f, 15.0f + 0x1p-10f, 4, &g));
    assert_true(g.offset == 0.0f && g.step == 1.0f + 0x1p-10f);
    assert_true(en_quant_grid_half(-15.0f - 0x1p-10f, -2.0f, 4, &g));
    assert_true(g.offset == 0.0f && g.step == -1.0f - 0x1p-10f && g.inverse_step < 0.0f);
}

static void half_grid_ends_with_f16(void **state)
{
    (void)state;
    en_grid g;
    assert_true(en_quant_grid_half(-65504.0f, 65504.0f, 8, &g));
    assert_true(g.offset == -65504.0f);
    assert_true(en_quant_grid_half(0.0f, 1e6f, 8, &g)); /* only the step is stored */
    assert_false(en_quant_grid_half(-65505.0f, 0.5f, 8, &g));
    assert_false(en_quant_grid_half(0.0f, 65505.0f * 255.0f, 8, &g));
    assert_false(en_quant_grid_half(-3e38f, 3e38f, 8, &g));
    /* Below 2^-14 steps are multiples of 2^-24; those that happen to be close are taken. */
    assert_true(en_quant_grid_half(0.0f, 15 * 0x1p-20f, 4, &g));
    assert_true(g.step == 0x1p-20f);
    assert_false(en_quant_grid_half(0.0f, 15.5f * 0x1p-20f, 4, &g));
    assert_false(en_quant_grid_half(-1e-10f, 1e-10f, 4, &g));
    assert_false(en_quant_grid_half(-1e-30f, 1e-30f, 8, &g));
}

static void half_constants_are_exact_or_refused(void **state)
{
    (void)state;
    const float exact[] = {0.0f, -0.0f, 1.0f, -0.75f, 65504.0f, 0x1p-24f, -3 * 0x1p-24f};
    const float others[] = {0.7f, -0.7f, 65505.0f, 1e30f, 0x1p-25f, -1e-40f, 1.0f + 0x1p-11f};
    en_grid g;
    for (size_t i = 0; i < 7; i++) {
        assert_true(en_quant_grid_half(exact[i], exact[i], 8, &g));
        assert_int_equal(code_of(&g, exact[i]), 0);
        assert_true(g.step == 1.0f && g.offset == exact[i]);
        assert_false(en_quant_grid_half(others[i], others[i], 8, &g));
    }
    assert_true(en_quant_grid_half(0.0f, 1e-40f, 8, &g)); /* as good as constant, and 0 is f16 */
    assert_true(g.offset == 0.0f && g.step == 1.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_methods_by_name),
        cmocka_unit_test(asymmetric_grid_covers_both_ends),
        cmocka_unit_test(unsigned_grid_starts_at_zero),
        cmocka_unit_test(negative_tensor_has_a_negative_step),
        cmocka_unit_test(constant_tensor_is_exact),
        cmocka_unit_test(tiny_ranges_count_as_constant),
        cmocka_unit_test(impossible_range_gives_an_infinite_step),
        cmocka_unit_test(weights_come_back_within_half_a_step),
        cmocka_unit_test(half_grids_are_f16_and_cover_the_row),
        cmocka_unit_test(half_grid_rounds_outwards),
        cmocka_unit_test(half_grid_ends_with_f16),
        cmocka_unit_test(half_constants_are_exact_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
