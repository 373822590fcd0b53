/* test_compress_passes.c - calibrated and sparse methods on a small real model: sizes, errors, refusals. */
#include "formats/source.h"
#include "pipeline/pipeline.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compress_support.h"
#include "test_support.h"
#include "gguf_support.h"

static const char tiny[] = TEST_SHARED "/data/models/tinystories-656k";
static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";
static const char *const calib[] = {TEST_SHARED "/data/eval/calibration/tinystories_1000.json"};

static entro_compress_options options(const char *method, double bits_per_param)
{
    return (entro_compress_options){.struct_size = sizeof(entro_compress_options),
                                    .method = method,
                                    .bits_per_param = bits_per_param,
                                    .calib = calib,
                                    .n_calib = 1,
                                    .n_calib_tokens = 4096,
                                    .n_threads = 2,
                                    .overwrite = true};
}

static void expect(entro_status status, const char *text, const char *source, const char *path,
                   const entro_compress_options *opt)
{
    entro_error err = {0};
    struct stat there;
    assert_int_equal(en_compress(source, path, opt, NULL, &err), status);
    if (strstr(err.message, text) == NULL && strstr(err.where, text) == NULL)
        fail_msg("expected '%s', got '%s: %s'", text, err.where, err.message);
    assert_int_not_equal(stat(path, &there), 0);
}

static void remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(folder);
}

typedef struct seen {
    bool statistics; /* was a stage */
    uint32_t n_tensors, n_classes;
    double loss, loss_alone;
} seen;

static bool watch_progress(void *user, const entro_progress *p)
{
    seen *s = user;
    s->statistics |= strcmp(p->stage, "statistics") == 0;
    return true;
}

static void watch_account(void *user, const entro_tensor_account *a)
{
    seen *s = user;
    s->n_tensors++;
    s->n_classes += a->n_row_classes * a->n_col_classes;
    s->loss += a->loss;
    assert_true(a->bits > 0 && a->entropy > 0 && a->entropy < a->bits && a->rms_error < 1);
    /* One table for all is never better than one a class; feedback is there to make the loss smaller. */
    bool classes = a->n_row_classes * a->n_col_classes > 1;
    assert_true(a->entropy_one_table >= a->entropy - 1e-9);
    assert_true(classes || fabs(a->entropy_one_table - a->entropy) < 1e-9);
    s->loss_alone += a->loss_alone;
    uint64_t n = a->histogram->n_others;
    for (uint32_t i = 0; i < a->histogram->n_values; i++)
        n += a->histogram->counts[i];
    assert_int_equal(n, a->n_params);
}

static void sizes_are_met_and_statistics_used_again(void **state)
{
    (void)state;
    const char *path = test_path("coded.gguf"), *folder = test_path("calib");
    double last_loss = 0;
    for (int i = 0; i < 2; i++) {
        seen s = {0};
        entro_compress_options opt = options("watersic", i ? 6 : 5);
        opt.statistics = folder;
        opt.progress = watch_progress;
        opt.progress_user = &s;
        opt.account = watch_account;
        opt.account_user = &s;
        entro_compress_report r = test_compress(tiny, path, &opt);
        double most = opt.bits_per_param / 8 * (double)r.n_params;
        assert_true((double)r.n_file_bytes <= most && (double)r.n_file_bytes >= 0.98 * most);
        assert_true(fabs(r.size_below - 1 + (double)r.n_file_bytes / floor(most)) < 1e-9);
        assert_true(r.is_asked_met == (r.size_below <= 0.005) && isnan(r.kld_below));
        assert_true(s.statistics == (i == 0));
        assert_int_equal(s.n_tensors, r.n_coded_tensors * r.n_passes);
        assert_true(s.n_classes >= s.n_tensors && r.loss > 0 && isfinite(r.loss));
        assert_true(s.loss < s.loss_alone && s.loss_alone < 20 * s.loss);
        if (i > 0) /* a bit less, four times the error */
            assert_true(last_loss > 2 * r.loss);
        last_loss = r.loss;
        entro_verify_report v;
        assert_int_equal(en_verify(path, tiny, NULL, &v, NULL), ENTRO_OK);
        assert_int_equal(v.n_compared, v.n_tensors);
    }
    entro_compress_options opt = options("watersic", 5);
    opt.statistics = folder;
    expect(ENTRO_ERR_ARGUMENT, "another model", stories, test_path("other.gguf"), &opt);
    opt.bits_per_param = 0;
    opt.file_bytes = 1000;
    expect(ENTRO_ERR_ARGUMENT, "the smallest that this model can have", tiny,
           test_path("small.gguf"), &opt);
    opt.bits_per_param = 4;
    expect(ENTRO_ERR_ARGUMENT, "leave out one", tiny, test_path("both.gguf"), &opt);
    remove_folder(folder);
}

/* Without text, the model writes its own; the same for the same seed. */
static void models_calibrate_on_what_they_write(void **state)
{
    (void)state;
    uint64_t n_bytes[2];
    for (int i = 0; i < 2; i++) {
        char path[64], folder[64];
        snprintf(path, sizeof path, "own%d.gguf", i);
        snprintf(folder, sizeof folder, "own%d.calib", i);
        entro_compress_options opt = options("watersic", 5);
        opt.n_calib = 0;
        opt.n_calib_tokens = 1024;
        opt.seed = 7;
        char folder_path[512];
        snprintf(folder_path, sizeof folder_path, "%s", test_path(folder));
        opt.statistics = folder_path;
        n_bytes[i] = test_compress(stories, test_path(path), &opt).n_file_bytes;
        remove_folder(folder_path);
    }
    assert_int_equal(n_bytes[0], n_bytes[1]);
}

static void no_tokenizer_no_text(void **state)
{
    (void)state;
    const char *folder = test_path("none.calib");
    for (size_t n_calib = 0; n_calib < 2; n_calib++) {
        entro_compress_options opt = options("watersic", 9);
        opt.n_calib = n_calib;
        opt.statistics = folder;
        expect(ENTRO_ERR_NOT_FOUND, "no tokenizer", TEST_FIXTURES "/models/llama",
               test_path("none.gguf"), &opt);
    }
    remove_folder(folder);
}

static void rounding_meets_sizes_too(void **state)
{
    (void)state;
    const char *path = test_path("rtn.gguf");
    entro_compress_options opt = options("rtn", 5.5);
    entro_compress_report r = test_compress(tiny, path, &opt);
    double most = 5.5 / 8 * (double)r.n_params;
    assert_true((double)r.n_file_bytes <= most && (double)r.n_file_bytes >= 0.98 * most);
    opt.bits = 4;
    expect(ENTRO_ERR_ARGUMENT, "leave out", tiny, test_path("both.gguf"), &opt);
    entro_compress_options u8 = options("u8", 5);
    expect(ENTRO_ERR_ARGUMENT, "whose bits are fixed", tiny, test_path("u8.gguf"), &u8);
}

/* Where lists of exceptions make files grow fast: up to the end, and what is said to be the end can be had. */
static void fine_rates_are_met_or_refused(void **state)
{
    (void)state;
    const char *path = test_path("fine.gguf"), *folder = test_path("calib");
    static const double bits[] = {7.85, 8.2, 8.55};
    for (int i = 0; i < 6; i++) {
        entro_compress_options opt = options(i < 3 ? "watersic" : "rtn", bits[i % 3]);
        opt.n_calib = i < 3 ? opt.n_calib : 0;
        opt.statistics = i < 3 ? folder : NULL;
        entro_compress_report r = test_compress(tiny, path, &opt);
        assert_true(r.bits_per_param <= bits[i % 3] && r.is_asked_met && r.n_passes <= 5);
    }
    for (int i = 0; i < 2; i++) {
        entro_compress_options opt = options(i ? "rtn" : "watersic", 16);
        entro_error err = {0};
        opt.n_calib = i ? 0 : opt.n_calib;
        opt.statistics = i ? NULL : folder;
        assert_int_equal(en_compress(tiny, path, &opt, NULL, &err), ENTRO_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "largest"));
        opt.bits_per_param = strtod(strrchr(err.message, '(') + 1, NULL);
        assert_true(opt.bits_per_param > 8.4 && opt.bits_per_param < 9.6);
        entro_compress_report r = test_compress(tiny, path, &opt);
        assert_true(r.is_asked_met && r.size_below < 0.001);
    }
    remove_folder(folder);
}

/* Half a percent of the weights on a list narrows the grids of all others. */
static void outliers_apart_lower_the_error(void **state)
{
    (void)state;
    const char *dense = test_path("dense.gguf"), *sparse = test_path("sparse.gguf");
    entro_compress_options opt = options("u4-row", 0);
    entro_compress_report all = test_compress(tiny, dense, &opt);
    opt.method = "u4-row-sparse";
    entro_compress_report apart = test_compress(tiny, sparse, &opt);
    if (!(apart.rms_error < 0.95 * all.rms_error))
        fail_msg("%g of %g", apart.rms_error, all.rms_error);
    assert_true(apart.bits_per_coded_param < all.bits_per_coded_param + 1.0);
    entro_verify_report v;
    assert_int_equal(en_verify(sparse, tiny, NULL, &v, NULL), ENTRO_OK);
    assert_true(v.max_steps <= 0.501);
    opt.coding = "words";
    expect(ENTRO_ERR_ARGUMENT, "needs coding strips", tiny, test_path("words.gguf"), &opt);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n[2];
    uint8_t *bytes[] = {test_file_read(a, &n[0]), test_file_read(b, &n[1])};
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
}

/* Corrected from the second pass on, in the order of the layers, whatever the number of threads. */
static void drift_is_corrected(void **state)
{
    (void)state;
    const char *folder = test_path("calib");
    char paths[2][256];
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s", test_path(i ? "two.gguf" : "one.gguf"));
        entro_compress_options opt = options("watersic", 5);
        opt.statistics = folder;
        opt.n_drift_tokens = 2048;
        opt.n_threads = i + 1;
        entro_compress_report r = test_compress(tiny, paths[i], &opt);
        double most = 5.0 / 8 * (double)r.n_params;
        assert_true((double)r.n_file_bytes <= most && (double)r.n_file_bytes >= 0.98 * most);
        assert_true(r.n_passes >= 2 && r.n_drift_tokens == 2048);
        assert_int_equal(en_verify(paths[i], tiny, NULL, NULL, NULL), ENTRO_OK);
    }
    assert_same_file(paths[0], paths[1]);
    en_source *s = NULL;
    assert_int_equal(en_source_open(&s, paths[0], NULL), ENTRO_OK);
    assert_non_null(
        memmem(en_meta_string(en_source_meta(s), "entrollm.recipe").p, 60, " drift=2048", 11));
    int last = -1;
    static const char *const steps[] = {"blk.0.attn_v.", "blk.0.attn_output.", "blk.0.ffn_up.",
                                        "blk.0.ffn_down.", "blk.1.attn_q."};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        int at = 0;
        while (strncmp(en_source_tensor(s, (uint32_t)at)->name, steps[k], strlen(steps[k])) != 0)
            at++;
        assert_true(at > last);
        last = at;
    }
    en_source_close(s);
    entro_compress_options opt = options("watersic", 0);
    opt.statistics = folder;
    opt.n_drift_tokens = 2048;
    opt.max_kld = 0.05;
    entro_compress_report r = test_compress(tiny, paths[0], &opt);
    assert_true(r.expected_kld <= 0.05 && r.n_drift_tokens == 2048);
    opt.max_kld = 0;
    opt.method = "rtn";
    expect(ENTRO_ERR_ARGUMENT, "leave out --drift", tiny, test_path("rtn.gguf"), &opt);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_met_and_statistics_used_again),
        cmocka_unit_test(drift_is_corrected),
        cmocka_unit_test(models_calibrate_on_what_they_write),
        cmocka_unit_test(no_tokenizer_no_text),
        cmocka_unit_test(rounding_meets_sizes_too),
        cmocka_unit_test(fine_rates_are_met_or_refused),
        cmocka_unit_test(outliers_apart_lower_the_error),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
