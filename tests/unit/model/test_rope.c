/*
 * Rotary positions: angles, both pairings, divisors, long-rope's choice, partial rotation.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "model/rope.h"

enum { D = 12, BATCH = 4 };

static en_hparams make_hparams(const en_arch *arch)
{
    return (en_hparams){.arch = arch,
                        .n_head_dim = D,
                        .n_rot = 8,
                        .n_ctx_train = 64,
                        .rope = {.base = 100.0f, .linear_factor = 1.0f}};
}

/* Two heads at position 'first' + 'row', against the formula in double. */
static void check(const en_hparams *hp, const en_weights *w, uint32_t n_ctx, const float *divisors,
                  double magnitude)
{
    en_rope rope;
    assert_int_equal(en_rope_new(&rope, hp, w, n_ctx, BATCH, NULL), ENTRO_OK);
    uint32_t first = 37, row = 2, half = hp->n_rot / 2;
    en_rope_fill(&rope, first, BATCH);
    float x[2 * D], y[2 * D];
    for (int i = 0; i < 2 * D; i++)
        x[i] = y[i] = sinf((float)(i + 1));
    en_rope_apply(&rope, row, y, 2, D);
    for (int head = 0; head < 2; head++) {
        const float *in = x + head * D, *out = y + head * D;
        for (uint32_t i = 0; i < half; i++) {
            bool adjacent = hp->arch->rope == EN_ROPE_ADJACENT;
            uint32_t a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : i + half;
            double angle = (first + row) * pow(hp->rope.base, -2.0 * i / hp->n_rot) /
                           (divisors != NULL ? divisors[i] : 1.0) / hp->rope.linear_factor;
            double c = cos(angle) * magnitude, s = sin(angle) * magnitude;
            assert_true(fabs(out[a] - (in[a] * c - in[b] * s)) < 1e-6);
            assert_true(fabs(out[b] - (in[a] * s + in[b] * c)) < 1e-6);
        }
        assert_memory_equal(in + hp->n_rot, out + hp->n_rot, (D - hp->n_rot) * sizeof *in);
    }
    en_rope_free(&rope);
}

static void rotates_both_pairings_and_leaves_the_rest(void **state)
{
    (void)state;
    en_weights w = {0};
    en_hparams hp = make_hparams(&en_arch_llama);
    check(&hp, &w, 64, NULL, 1.0);
    hp = make_hparams(&en_arch_qwen2);
    check(&hp, &w, 64, NULL, 1.0);
    hp.rope.linear_factor = 4.0f;
    check(&hp, &w, 64, NULL, 1.0);
}

static void divides_by_llama3_factors(void **state)
{
    (void)state;
    float freqs[] = {1.0f, 1.0f, 3.5f, 8.0f};
    en_weights w = {.rope_freqs = freqs};
    en_hparams hp = make_hparams(&en_arch_llama);
    check(&hp, &w, 64, freqs, 1.0);
}

static void longrope_chooses_by_the_sessions_context(void **state)
{
    (void)state;
    float short_factors[] = {1.0f, 1.1f, 1.2f, 1.3f}, long_factors[] = {1.5f, 2.0f, 3.0f, 4.0f};
    en_weights w = {.rope_short = short_factors, .rope_long = long_factors};
    en_hparams hp = make_hparams(&en_arch_phi3);
    hp.rope.n_ctx_before = 16;
    double magnitude = sqrt(1.0 + log(64.0 / 16.0) / log(16.0));
    check(&hp, &w, 16, short_factors, magnitude);
    check(&hp, &w, 17, long_factors, magnitude);
    hp.rope.attn_factor = 1.25f; /* stored in the file: wins */
    check(&hp, &w, 17, long_factors, 1.25);
}

static void refuses_a_zero_factor(void **state)
{
    (void)state;
    float freqs[] = {1.0f, 0.0f, 1.0f, 1.0f};
    en_weights w = {.rope_freqs = freqs};
    en_hparams hp = make_hparams(&en_arch_llama);
    en_rope rope;
    entro_error err = {0};
    assert_int_equal(en_rope_new(&rope, &hp, &w, 64, BATCH, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "rope factor 1"));
}

/* <R x, y> = <x, R^T y> for any x, y. */
static void transposed_is_what_gradients_need(void **state)
{
    (void)state;
    static const en_arch *const archs[] = {&en_arch_llama, &en_arch_phi3};
    for (size_t i = 0; i < 2; i++) {
        en_hparams hp = make_hparams(archs[i]);
        float factors[] = {1.0f, 1.1f, 1.2f, 1.3f};
        en_weights w = {.rope_short = factors, .rope_long = factors};
        hp.rope.attn_factor = 1.25f;
        en_rope rope;
        assert_int_equal(en_rope_new(&rope, &hp, &w, 64, BATCH, NULL), ENTRO_OK);
        en_rope_fill(&rope, 37, BATCH);
        float x[2 * D], rx[2 * D], y[2 * D], ry[2 * D];
        for (int k = 0; k < 2 * D; k++) {
            x[k] = rx[k] = sinf((float)(k + 1));
            y[k] = ry[k] = cosf((float)(3 * k + 1));
        }
        en_rope_apply(&rope, 2, rx, 2, D);
        en_rope_apply_transposed(&rope, 2, ry, 2, D);
        double forward = 0, back = 0;
        for (int k = 0; k < 2 * D; k++) {
            forward += (double)rx[k] * (double)y[k];
            back += (double)x[k] * (double)ry[k];
        }
        assert_true(fabs(forward - back) < 1e-6);
        assert_memory_equal(y + hp.n_rot, ry + hp.n_rot, (D - hp.n_rot) * sizeof *y);
        en_rope_free(&rope);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotates_both_pairings_and_leaves_the_rest),
        cmocka_unit_test(divides_by_llama3_factors),
        cmocka_unit_test(longrope_chooses_by_the_sessions_context),
        cmocka_unit_test(refuses_a_zero_factor),
        cmocka_unit_test(transposed_is_what_gradients_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
