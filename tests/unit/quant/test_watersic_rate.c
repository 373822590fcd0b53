/*
 * test_watersic_rate.c - the bits that watersic expects to take, and those that it takes.
 */
#include "quant/watersic.h"

#include <math.h>
#include <string.h>

#include "test_support.h"
#include "watersic_support.h"

static void normal_entropy_is_the_sum_over_integers(void **state)
{
    (void)state;
    for (double x = 0.01; x < 40; x *= 1.037) {
        double sum = 0;
        for (int k = -400; k <= 400; k++) {
            double p =
                0.5 * (erfc((k - 0.5) / (x * sqrt(2.0))) - erfc((k + 0.5) / (x * sqrt(2.0))));
            sum += p > 0 ? -p * log2(p) : 0;
        }
        assert_true(fabs(en_normal_entropy(x) - sum) < 5e-5);
    }
    assert_true(en_normal_entropy(0) == 0);
    assert_true(en_normal_entropy(1e6) > 21.9 && en_normal_entropy(1e6) < 22);
}

static void spreads_are_of_weighted_columns(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(5, 300, 7);
    float spread[300], r[5];
    en_watersic_row_weights(&t.p, r);
    en_watersic_spreads(&t.p, r, spread);
    for (size_t j = 0; j < 300; j++) {
        double sum = 0;
        for (size_t i = 0; i < 5; i++)
            sum += pow((double)r[i] * (double)t.weights[i * 300 + j], 2);
        double expected = sqrt(sum / 5) * (double)t.factor[j * 300 + j];
        assert_true(fabs((double)spread[j] - expected) <= 1e-5 * expected);
    }
    float rows[5];
    double norms[5], all = 0;
    memcpy(rows, r, sizeof rows);
    en_watersic_row_spreads(&t.p, rows);
    for (size_t i = 0; i < 5; i++) {
        norms[i] = 0;
        for (size_t j = 0; j < 300; j++)
            norms[i] += pow((double)r[i] * (double)t.weights[i * 300 + j], 2);
        all += norms[i];
    }
    for (size_t i = 0; i < 5; i++)
        assert_true(fabs((double)rows[i] - sqrt(5 * norms[i] / all)) < 1e-5 * (double)rows[i]);
    memset(t.importance, 0, 5 * sizeof *t.importance);
    en_watersic_row_weights(&t.p, r);
    for (size_t i = 0; i < 5; i++)
        assert_true(r[i] == 1.0f);
    t.p.importance = NULL;
    en_watersic_row_weights(&t.p, r);
    assert_true(r[4] == 1.0f);
    test_watersic_drop(&t);
}

static void expects_the_bits_it_takes(void **state)
{
    (void)state;
    test_watersic t = test_watersic_make(4000, 100, 6);
    t.p.importance = NULL; /* rows of different weights are no normal distribution: fewer bits */
    for (double bits = 1; bits <= 4; bits += 1) {
        assert_int_equal(test_watersic_solve(&t, test_watersic_step(&t, bits)), ENTRO_OK);
        double entropy = test_watersic_entropy(&t);
        /* Coarse steps feed back errors as large as the weights: the integers spread more. */
        if (entropy < bits - 0.05 || entropy > bits + (bits < 2 ? 0.2 : 0.1))
            fail_msg("expected %.2f bits, got %.3f", bits, entropy);
    }
    test_watersic_drop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_entropy_is_the_sum_over_integers),
        cmocka_unit_test(spreads_are_of_weighted_columns),
        cmocka_unit_test(expects_the_bits_it_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
