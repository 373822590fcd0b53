/*
 * test_statistics.c - a folder of statistics: what is written is read.
 */
#include "calib/statistics.h"

#include <math.h>

#include "test_support.h"

#include "statistics_support.h"

static void gradients_are_found_by_tensor(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    en_statistics *s = test_statistics_open(&m);
    const char *const names[] = {"attn_q", "attn_v", "attn_output", "ffn_up", "ffn_down"};
    float *g = malloc(4096 * 64);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        char name[64];
        uint64_t n_tokens;
        snprintf(name, sizeof name, "blk.1.%s.weight", names[k]);
        const en_tensor *t = en_source_find(m.model->source, name);
        size_t n = (size_t)t->dims[1];
        assert_true(n * n <= 4096 * 16 && en_statistics_has_gradients(s, name));
        assert_int_equal(en_statistics_gradients(s, name, g, &n_tokens, NULL), ENTRO_OK);
        assert_int_equal(n_tokens, 160);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double want = 2.0 * (double)((i + 1) * (j + 1)) * (i == j ? 1.01 : 1.0);
                assert_true(fabs((double)g[i * n + j] - want) <= 1e-3 * want);
            }
    }
    uint64_t n_tokens;
    assert_false(en_statistics_has_gradients(s, "output.weight"));
    assert_int_equal(en_statistics_gradients(s, "output.weight", g, &n_tokens, NULL),
                     ENTRO_ERR_NOT_FOUND);
    assert_int_equal(en_statistics_gradients(s, "nobody", g, &n_tokens, NULL), ENTRO_ERR_NOT_FOUND);
    free(g);
    en_statistics_close(s);
    unlink(test_statistics_path(EN_STATISTICS_GRADIENTS, 1));
    test_statistics_expect(&m, ENTRO_ERR_NOT_FOUND, "gradients-001.gguf", "");
    test_statistics_unmake(&m);
}

static void answers_by_tensor(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama-bias");
    en_statistics *s = test_statistics_open(&m);
    en_statistics_info info;
    en_statistics_get_info(s, &info);
    assert_int_equal(info.n_tokens, 1600);
    assert_int_equal(info.n_fisher_tokens, 160);
    assert_string_equal(info.text, "some text");
    float h[64 * 64], f[128];
    uint64_t n_tokens;
    const struct {
        const char *name;
        size_t n_rows, n_cols, first, site;
        unsigned layer, group;
    } matrices[] = {{"blk.0.attn_q.weight", 32, 32, 0, 0, 0, 0},
                    {"blk.0.attn_v.weight", 16, 32, 48, 0, 0, 0},
                    {"blk.1.attn_output.weight", 32, 32, 0, 5, 1, 1},
                    {"blk.1.ffn_up.weight", 64, 32, 64, 6, 1, 2},
                    {"blk.1.ffn_down.weight", 32, 64, 0, 7, 1, 3}};
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        assert_true(en_statistics_has(s, matrices[i].name));
        assert_int_equal(en_statistics_site(s, matrices[i].name), matrices[i].site);
        assert_int_equal(en_statistics_of(s, matrices[i].name, h, f, &n_tokens, NULL), ENTRO_OK);
        assert_int_equal(n_tokens, 1600);
        size_t n = matrices[i].n_cols;
        for (size_t k = 0; k < n; k++)
            assert_true(h[k * n + k] == (float)((double)m.sums[matrices[i].group][k * n + k] /
                                                (matrices[i].layer + 1)));
        for (size_t k = 0; k < matrices[i].n_rows; k++)
            assert_true(f[k] == (float)(100 * matrices[i].layer + 10 * matrices[i].group) +
                                    (float)(matrices[i].first + k) / 1000);
        memset(f, 0, sizeof f);
        assert_int_equal(en_statistics_of(s, matrices[i].name, NULL, f, &n_tokens, NULL), ENTRO_OK);
        assert_true(f[1] > 0);
    }
    float *vocab = malloc(96 * sizeof *vocab);
    assert_int_equal(en_statistics_of(s, "token_embd.weight", h, vocab, &n_tokens, NULL), ENTRO_OK);
    assert_int_equal(n_tokens, 160);
    assert_true(h[33] == m.gradients[33] && vocab[1] == 1.0f);
    assert_int_equal(en_statistics_of(s, "output.weight", h, vocab, &n_tokens, NULL), ENTRO_OK);
    assert_true(h[33] == m.sums[0][33] && vocab[1] == 0.5f && n_tokens == 1600);
    assert_int_not_equal(en_statistics_site(s, "token_embd.weight"),
                         en_statistics_site(s, "output.weight"));
    assert_false(en_statistics_has(s, "blk.0.attn_norm.weight"));
    assert_true(en_statistics_site(s, "blk.2.attn_q.weight") == SIZE_MAX);
    assert_int_equal(en_statistics_of(s, "blk.2.attn_q.weight", h, f, &n_tokens, NULL),
                     ENTRO_ERR_NOT_FOUND);
    free(vocab);
    en_statistics_close(s);
    test_statistics_unmake(&m);
}

static void answers_for_a_tied_embedding(void **state)
{
    (void)state;
    test_statistics m;
    test_statistics_make(&m, "llama");
    en_statistics *s = test_statistics_open(&m);
    float h[32 * 32], f[96], again[96];
    uint64_t n_tokens;
    assert_false(en_statistics_has(s, "output.weight"));
    assert_int_equal(en_statistics_of(s, "token_embd.weight", NULL, again, &n_tokens, NULL),
                     ENTRO_OK);
    assert_int_equal(en_statistics_of(s, "token_embd.weight", h, f, &n_tokens, NULL), ENTRO_OK);
    assert_memory_equal(f, again, sizeof f);
    assert_in_range(n_tokens, 160, 1600);
    double mean = 0;
    for (int i = 0; i < 32; i++)
        mean += (double)h[33 * i] / 32;
    assert_true(fabs(mean - 1) < 1e-3);
    for (int v = 1; v < 96; v++) /* both uses fall as 1 / (v + 1) */
        assert_true(fabs((double)f[0] / (double)f[v] - (v + 1)) < 1e-3 * v);
    en_statistics_close(s);
    test_statistics_unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_by_tensor),
        cmocka_unit_test(gradients_are_found_by_tensor),
        cmocka_unit_test(answers_for_a_tied_embedding),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
