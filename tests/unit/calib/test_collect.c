/*
 * test_collect.c - statistics of small models: covariances against a plain forward pass in double, and
 * what is refused.
 */
#include "calib/collect.h"

#include <math.h>
#include <sys/stat.h>

#include "test_support.h"

#include "calib/statistics.h"
#include "calib/statistics_file.h"
#include "collect_reference.h"

static void assert_covariance(const float *h, const double *sums, size_t n, double n_tokens,
                              double tolerance)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            double size = sqrt(sums[i * FF + i] * sums[k * FF + k]) / n_tokens;
            double want = sums[i * FF + k] / n_tokens;
            assert_true(fabs((double)h[i * n + k] - want) <= tolerance * size);
        }
}

static void add_squares(double *sums, double (*x)[FF], size_t n)
{
    for (int t = 0; t < POSITIONS; t++)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                sums[i * FF + k] += x[t][i] * x[t][k];
}

static void check_covariances(en_precision precision, double tolerance)
{
    enum { N_SEQUENCES = 300, N_SITES = LAYERS * EN_LAYER_GROUPS + 1 }; /* more than one batch */
    entro_model *model = test_open_fixture("llama");
    test_reference *r = test_reference_load(model);
    en_calib_text text = test_collect_text(N_SEQUENCES + 10, 3);
    const char *folder = test_path("calib");
    en_collect_options opt = {.n_tokens = N_SEQUENCES * POSITIONS,
                              .n_fisher_tokens = 80,
                              .seed = 1,
                              .precision = precision};
    test_collect_with(folder, model, &text, &opt, 2);
    double(*inputs)[POSITIONS][FF] = calloc(N_SITES, sizeof *inputs);
    double *sums = calloc(N_SITES * FF * FF, sizeof *sums);
    test_watch w = {.layer = LAYERS, .output_in = inputs[N_SITES - 1]};
    for (int s = 0; s + 1 < N_SITES; s++)
        w.inputs[s / EN_LAYER_GROUPS][s % EN_LAYER_GROUPS] = inputs[s];
    for (uint64_t q = 0; q < N_SEQUENCES; q++) {
        double logits[POSITIONS][VOCAB];
        test_reference_run(r, &w, en_calib_text_sequence(&text, q), logits);
        for (int s = 0; s < N_SITES; s++)
            add_squares(sums + (size_t)s * FF * FF, inputs[s], s % 4 == 3 ? FF : EMBD);
    }
    en_statistics *stats;
    static const char *const names[] = {"attn_k", "attn_output", "ffn_gate", "ffn_down"};
    float h[FF * FF], f[2 * FF];
    uint64_t n_tokens;
    assert_int_equal(en_statistics_open(&stats, folder, model->decoder, NULL, NULL), ENTRO_OK);
    for (int s = 0; s + 1 < N_SITES; s++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", s / 4, names[s % 4]);
        assert_int_equal(en_statistics_of(stats, name, h, f, &n_tokens, NULL), ENTRO_OK);
        assert_int_equal(n_tokens, N_SEQUENCES * POSITIONS);
        assert_covariance(h, sums + (size_t)s * FF * FF, s % 4 == 3 ? FF : EMBD, (double)n_tokens,
                          tolerance);
    }
    en_statistics_close(stats);
    char *path = en_statistics_path(folder, EN_STATISTICS_OUTPUT, 0);
    en_statistics_file file;
    assert_int_equal(en_statistics_file_open(&file, path, EN_STATISTICS_OUTPUT, 0, NULL), ENTRO_OK);
    assert_int_equal(
        en_statistics_file_covariance(&file, EN_OUTPUT_COVARIANCE, EMBD, h, NULL, NULL), ENTRO_OK);
    assert_covariance(h, sums + (size_t)(N_SITES - 1) * FF * FF, EMBD, N_SEQUENCES * POSITIONS,
                      tolerance);
    en_statistics_file_close(&file);
    en_free(path);
    free(inputs);
    free(sums);
    free(r);
    test_collect_remove(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

static void covariances_are_those_of_the_inputs(void **state)
{
    (void)state;
    check_covariances(EN_PRECISION_F32, 3e-4);
}

/* Weights and inputs lose up to 2^-9 of each number, on the way and in the sums. */
static void nearly_so_in_bf16(void **state)
{
    (void)state;
    check_covariances(EN_PRECISION_BF16, 1e-2);
}

static void every_architecture_is_collected(void **state)
{
    (void)state;
    static const char *const names[] = {
        "llama-bias", "llama-linear-rope", "llama3-rope", "mistral-window",
        "phi3",       "phi3-longrope",     "qwen2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        entro_model *model = test_open_fixture(names[i]);
        en_calib_text text = test_collect_text(12, 4);
        const char *folder = test_path("calib");
        test_collect_well(folder, model, &text, 64, 32, 2);
        en_statistics *s;
        assert_int_equal(en_statistics_open(&s, folder, model->decoder, NULL, NULL), ENTRO_OK);
        for (uint32_t k = 0; k < en_source_n_tensors(model->source); k++) {
            const en_tensor *t = en_source_tensor(model->source, k);
            if (t->n_dims < 2)
                continue;
            float h[FF * FF], f[2 * FF];
            uint64_t n_tokens;
            double sum = 0;
            assert_int_equal(en_statistics_of(s, t->name, h, f, &n_tokens, NULL), ENTRO_OK);
            for (size_t row = 0; row < en_tensor_n_rows(t); row++)
                sum += (double)f[row];
            assert_true(sum > 0 && isfinite(sum) && h[0] > 0);
        }
        en_statistics_close(s);
        test_collect_remove(folder);
        en_calib_text_free(&text);
        en_model_close(model);
    }
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("llama");
    const char *folder = test_path("calib");
    entro_error err = {0};
    en_calib_text text = test_collect_text(2, 8);
    text.n_sequences = 0;
    assert_int_equal(test_collect(folder, model, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "shorter than one sequence"));
    text.n_sequences = 2;
    text.tokens[11] = VOCAB;
    assert_int_equal(test_collect(folder, model, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "token 11"));
    text.tokens[11] = 1;
    assert_int_equal(test_collect("/nowhere/at/all", model, &text, 64, 32, 1, -1, &err),
                     ENTRO_ERR_NOT_FOUND);
    test_collect_remove(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* A copy of the fixture with a number replaced; bf16. */
static void copy_model(const char *to, const char *tensor, uint16_t value)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    assert_int_equal(mkdir(to, 0777), 0);
    for (int i = 0; i < 2; i++) {
        char path[512];
        size_t n;
        snprintf(path, sizeof path, TEST_FIXTURES "/models/llama/%s", names[i]);
        uint8_t *bytes = test_file_read(path, &n);
        if (i == 1) {
            uint64_t n_head = en_load64(bytes);
            char *head = strndup((char *)bytes + 8, n_head);
            char *at = strstr(head, tensor);
            unsigned long first;
            assert_non_null(at);
            assert_int_equal(sscanf(strstr(at, "data_offsets"), "data_offsets\":[%lu", &first), 1);
            memcpy(bytes + 8 + n_head + first + 2 * (5 * EMBD + 7), &value, 2);
            free(head);
        }
        snprintf(path, sizeof path, "%s/%s", to, names[i]);
        test_file_write(path, bytes, n);
        free(bytes);
    }
}

static void numbers_that_are_not_finite_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *where, *message;
        uint16_t value;
    } cases[] = {
        {"model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight", "row 5, column 7 is nan",
         0x7FC0},
        {"model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", "row 5, column 7 is inf",
         0x7F80},
        {"model.layers.0.self_attn.o_proj.weight", "blk.0", "token", 0x7F7F}, /* overflows */
        {"model.embed_tokens.weight", "token_embd.weight", "row 5, column 7 is nan", 0x7FC0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *broken = test_path("broken"), *folder = test_path("calib");
        copy_model(broken, cases[i].tensor, cases[i].value);
        entro_model *model = test_open_model(broken);
        en_calib_text text = test_collect_text(20, 8);
        entro_error err = {0};
        assert_int_equal(test_collect(folder, model, &text, 64, 32, 1, -1, &err), ENTRO_ERR_FORMAT);
        if (strstr(err.where, cases[i].where) == NULL ||
            strstr(err.message, cases[i].message) == NULL)
            fail_msg("%s: %s", err.where, err.message);
        en_calib_text_free(&text);
        en_model_close(model);
        test_collect_remove(folder);
        test_collect_remove(broken);
    }
}

static entro_status collect_and_ask(const char *folder, const entro_model *model,
                                    const en_calib_text *text, entro_error *err)
{
    en_job job;
    en_statistics *s;
    float h[FF * FF], f[VOCAB];
    uint64_t n_tokens;
    en_collect_options opt = {.n_tokens = 16, .n_fisher_tokens = 16};
    EN_TRY(en_job_open(&job, 1, NULL, NULL, err));
    entro_status status = en_statistics_collect(folder, model->decoder, text, &opt, &job, err);
    if (status == ENTRO_OK)
        status = en_statistics_open(&s, folder, model->decoder, NULL, err);
    en_job_close(&job);
    EN_TRY(status);
    status = en_statistics_of(s, "token_embd.weight", h, f, &n_tokens, err);
    if (status == ENTRO_OK)
        status = en_statistics_of(s, "blk.1.ffn_down.weight", h, f, &n_tokens, err);
    en_statistics_close(s);
    return status;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("llama");
    en_calib_text text = test_collect_text(4, 8);
    const char *folder = test_path("calib");
    size_t n_before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        entro_error err = {0};
        assert_in_range(i, 0, 5000);
        test_collect_remove(folder);
        en_memory_fail_at(i);
        status = collect_and_ask(folder, model, &text, &err);
        en_memory_fail_at(UINT64_MAX);
        if (status != ENTRO_OK && status != ENTRO_ERR_NOMEM)
            fail_msg("allocation %u: %s: %s", (unsigned)i, err.where, err.message);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    test_collect_remove(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covariances_are_those_of_the_inputs),
        cmocka_unit_test(nearly_so_in_bf16),
        cmocka_unit_test(every_architecture_is_collected),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
        cmocka_unit_test(numbers_that_are_not_finite_are_named),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
