/*
 * test_collect_gradients.c - what collection says of gradients, against differences of a plain forward
 * pass in double.
 *
 * The expectation over labels of a squared gradient is the curvature of the divergence: when output i of a
 * matrix moves by d at one token, sum over tokens of KL(p || p') = 1/2 F_i d^2.
 */
#include "calib/collect.h"

#include <math.h>

#include "test_support.h"

#include "calib/statistics.h"
#include "calib/statistics_file.h"
#include "collect_reference.h"

/* The mean over the text's tokens of F of one number. */
static double curvature(const test_reference *r, test_watch w, const en_calib_text *text)
{
    double sum = 0;
    for (uint64_t q = 0; q < text->n_sequences; q++) {
        double base[POSITIONS][VOCAB], moved[POSITIONS][VOCAB];
        test_watch nothing = {.layer = LAYERS};
        test_reference_run(r, &nothing, en_calib_text_sequence(text, q), base);
        for (w.position = 0; w.position < POSITIONS; w.position++) {
            test_reference_run(r, &w, en_calib_text_sequence(text, q), moved);
            for (int t = 0; t < POSITIONS; t++)
                for (int v = 0; v < VOCAB; v++)
                    sum += exp(base[t][v]) * (base[t][v] - moved[t][v]);
        }
    }
    return 2 * sum / (w.delta * w.delta) / (double)(text->n_sequences * POSITIONS);
}

/* Of one block a matrix: the importances are its diagonal, and no row says more of another than that
 * allows. */
static void assert_gradients(const en_statistics *stats, const char *name, const float *importance)
{
    float g[FF * FF];
    uint64_t n_tokens;
    size_t n = strstr(name, "ffn_up") || strstr(name, "ffn_gate") ? FF
               : strstr(name, "attn_k") || strstr(name, "attn_v") ? (KV_HEADS * HEAD)
                                                                  : EMBD;
    assert_true(en_statistics_has_gradients(stats, name));
    assert_int_equal(en_statistics_gradients(stats, name, g, &n_tokens, NULL), ENTRO_OK);
    assert_true(n_tokens > 0);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabsf(g[i * n + i] - importance[i]) <= 1e-4f * importance[i]);
        for (size_t k = 0; k < n; k++)
            assert_true(fabsf(g[i * n + k]) <=
                        1.001f * sqrtf(g[i * n + i] * g[k * n + k]) + 1e-30f);
    }
}

/* Labels are drawn, so single numbers are uncertain by a tenth or more, and their mean by little. */
static void importances_are_expected_squares(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int group, row, row_of_group;
    } rows[] = {{"attn_q", 0, 3, 3},      {"attn_k", 0, 5, 37},  {"attn_v", 0, 10, 58},
                {"attn_output", 1, 6, 6}, {"ffn_gate", 2, 9, 9}, {"ffn_up", 2, 1, 65},
                {"ffn_up", 2, 60, 124},   {"ffn_down", 3, 0, 0}};
    enum { N_ROWS = sizeof rows / sizeof rows[0] };
    entro_model *model = test_open_fixture("llama");
    test_reference *r = test_reference_load(model);
    en_calib_text text = test_collect_text(100, 5);
    const char *folder = test_path("calib");
    test_collect_well(folder, model, &text, 320, 800, 2);
    en_statistics *stats;
    assert_int_equal(en_statistics_open(&stats, folder, model->decoder, NULL, NULL), ENTRO_OK);
    double log_sum = 0;
    for (int i = 0; i < N_ROWS; i++) {
        char name[64];
        float f[2 * FF];
        uint64_t n_tokens;
        int layer = i / N_ROWS, k = i % N_ROWS;
        test_watch w = {
            .layer = layer, .group = rows[k].group, .row = rows[k].row_of_group, .delta = 1e-3};
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, rows[i].name);
        assert_int_equal(en_statistics_of(stats, name, NULL, f, &n_tokens, NULL), ENTRO_OK);
        assert_gradients(stats, name, f);
        double ratio = (double)f[rows[i].row] / curvature(r, w, &text);
        if (!(ratio > 0.7 && ratio < 1.4))
            fail_msg("%s row %d: %g of what was expected", name, rows[i].row, ratio);
        log_sum += log(ratio);
    }
    assert_true(fabs(log_sum / N_ROWS) < 0.12);
    en_statistics_close(stats);
    free(r);
    test_collect_remove(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* Of the embedding: mean of g g^T, and of each row the share of its token. */
static void gradients_at_the_embedding_are_expected_squares(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("llama");
    test_reference *r = test_reference_load(model);
    en_calib_text text = test_collect_text(100, 6);
    const char *folder = test_path("calib");
    test_collect_well(folder, model, &text, 320, 800, 2);
    char *path = en_statistics_path(folder, EN_STATISTICS_FISHER, 0);
    en_statistics_file file;
    float h[EMBD * EMBD], f[VOCAB];
    double log_sum = 0, sum = 0, most = 0;
    assert_int_equal(en_statistics_file_open(&file, path, EN_STATISTICS_FISHER, 0, NULL), ENTRO_OK);
    assert_int_equal(
        en_statistics_file_covariance(&file, EN_TOKENS_COVARIANCE, EMBD, h, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_statistics_file_vector(&file, EN_TOKENS_IMPORTANCE, VOCAB, f, NULL),
                     ENTRO_OK);
    for (int i = 0; i < EMBD; i += 8) {
        test_watch w = {.layer = -1, .row = i, .delta = 1e-3};
        double ratio = (double)h[i * (EMBD + 1)] / curvature(r, w, &text);
        assert_true(ratio > 0.7 && ratio < 1.4);
        log_sum += log(ratio) / (EMBD / 8);
    }
    assert_true(fabs(log_sum) < 0.12);
    for (int v = 0; v < VOCAB; v++) {
        assert_true(f[v] > 0); /* the model expects every token now and then */
        sum += (double)f[v];
        most = fmax(most, (double)f[v]);
    }
    /* Half from the text, where they add up to 1; half of all tokens are 0. */
    if (!(fabs(sum - 1) < 0.5 && most == (double)f[0]))
        fail_msg("sum %g, most %g, of token 0 %g", sum, most, (double)f[0]);
    en_statistics_file_close(&file);
    en_free(path);
    free(r);
    test_collect_remove(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(importances_are_expected_squares),
        cmocka_unit_test(gradients_at_the_embedding_are_expected_squares),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
