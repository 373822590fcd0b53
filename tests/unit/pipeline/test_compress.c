/* test_compress.c - compressing small models: what comes out, and what is refused or undone. */
#include "pipeline/pipeline.h"

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "container/container.h"
#include "container/format_keys.h"
#include "test_support.h"
#include "gguf_support.h"

static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";

static entro_compress_options options(const char *method, const char *table)
{
    return (entro_compress_options){
        .struct_size = sizeof(entro_compress_options), .method = method, .table = table};
}

static void verify(const char *path, const char *source)
{
    entro_verify_report r;
    entro_error err = {0};
    if (en_verify(path, source, NULL, &r, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(r.n_compared == (source != NULL ? r.n_tensors : 0));
    assert_true(r.max_steps <= 0.5001);
}

static void assert_report_adds_up(const entro_compress_report *r)
{
    assert_int_equal(r->n_params, 292800);
    assert_true(r->n_tensors == 48 && r->n_coded_tensors == 37);
    assert_true(r->entropy > 0 && r->huffman_bits >= r->entropy);
    assert_true(r->bits_per_coded_param > r->entropy);
    assert_true(r->rms_error > 0 && r->rms_error < r->rms_weight);
    assert_true(r->max_error >= r->rms_error);
    assert_true(8.0 * (double)r->n_coded_bytes / (double)r->n_coded_params ==
                r->bits_per_coded_param);
}

static void every_method_and_table_verifies(void **state)
{
    (void)state;
    const char *methods[] = {"u8", "u4", "u8-row", "u4-row"}, *tables[] = {"tensor", "model"};
    for (int m = 0; m < 4; m++)
        for (int t = 0; t < 2; t++) {
            entro_compress_options opt = options(methods[m], tables[t]);
            entro_compress_report r;
            const char *path = test_path("out.gguf");
            opt.coding = "words";
            assert_int_equal(en_compress(stories, path, &opt, &r, NULL), ENTRO_OK);
            verify(path, stories);
            assert_report_adds_up(&r);
            assert_true(fabs(r.bits_other_table - r.bits_per_coded_param) < 1);
            assert_int_equal(r.n_strip_tensors, 0);
            unlink(path);
        }
    assert_int_equal(test_folder_count(), 0);
}

static void other_table_is_predicted(void **state)
{
    (void)state;
    const char *methods[] = {"u8", "u4"};
    for (int m = 0; m < 2; m++) {
        entro_compress_report a, b;
        entro_compress_options tensor = options(methods[m], "tensor"),
                               model = options(methods[m], "model");
        tensor.coding = "words";
        assert_int_equal(en_compress(stories, test_path("a"), &tensor, &a, NULL), ENTRO_OK);
        assert_int_equal(en_compress(stories, test_path("b"), &model, &b, NULL), ENTRO_OK);
        assert_true(fabs(a.bits_other_table - b.bits_per_coded_param) < 0.2);
        assert_true(fabs(b.bits_other_table - a.bits_per_coded_param) < 0.2);
        unlink(test_path("a"));
        unlink(test_path("b"));
    }
}

static void assert_threads_do_not_matter(const char *source)
{
    size_t n[2];
    uint8_t *bytes[2];
    for (uint32_t i = 0; i < 2; i++) {
        entro_compress_options opt = options("u4-row", "model");
        opt.n_threads = 1 + 4 * i;
        assert_int_equal(en_compress(source, test_path("t"), &opt, NULL, NULL), ENTRO_OK);
        bytes[i] = test_file_read(test_path("t"), &n[i]);
        unlink(test_path("t"));
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void threads_do_not_change_the_file(void **state)
{
    (void)state;
    assert_threads_do_not_matter(stories);
}

enum { COLS = 96, ROWS = 700 };
static float g_weights[ROWS * COLS];

static void write_model(const char *path)
{
    static float positive[2048], negative[2048], constant[2048], norm[COLS];
    for (size_t i = 0; i < 2048; i++) {
        positive[i] = (float)(i % 100) / 10 + 1;
        negative[i] = -positive[i];
        constant[i] = 0.3f;
    }
    en_tensor tensors[] = {test_floats("blk.0.attn_q.weight", g_weights, COLS, ROWS),
                           test_floats("positive.weight", positive, 64, 32),
                           test_floats("negative.weight", negative, 64, 32),
                           test_floats("constant.weight", constant, 64, 32),
                           test_floats("norm.weight", norm, COLS, 0)};
    test_gguf_write(path, tensors, 5);
}

static void every_sign_of_tensor_verifies(void **state)
{
    (void)state;
    const char *methods[] = {"u8", "u4", "u8-row", "u4-row"};
    test_weights(g_weights, ROWS * COLS, 1);
    write_model(test_path("source"));
    for (int m = 0; m < 4; m++) {
        entro_compress_options opt = options(methods[m], "tensor");
        assert_int_equal(en_compress(test_path("source"), test_path("o"), &opt, NULL, NULL),
                         ENTRO_OK);
        verify(test_path("o"), test_path("source"));
        unlink(test_path("o"));
    }
    unlink(test_path("source"));
}

/* The tensor's grids, and the file's feature bit. */
static void assert_half_grids(const char *path, const char *name, bool half, bool feature)
{
    en_source *s;
    en_container *c;
    assert_int_equal(en_source_open(&s, path, NULL), ENTRO_OK);
    assert_int_equal(en_container_open(&c, s, NULL), ENTRO_OK);
    assert_true(en_container_find(c, name)->coded->half_grids == half);
    uint64_t features = en_meta_get(en_source_meta(s), EN_KEY_FEATURES)->u;
    assert_true(((features & EN_FEATURE_HALF_GRIDS) != 0) == feature);
    en_container_close(c);
    en_source_close(s);
}

static void rows_that_do_not_fit_f16_have_f32_grids(void **state)
{
    (void)state;
    const char *tables[] = {"tensor", "model"};
    const float scales[] = {1.0f, 1e-9f, 1e6f};
    for (int i = 0; i < 6; i++) {
        size_t n_scaled = i % 3 == 0 ? 0 : COLS; /* one row is tiny, or huge */
        test_weights(g_weights, ROWS * COLS, 4);
        for (size_t k = 0; k < n_scaled; k++)
            g_weights[350 * COLS + k] *= scales[i % 3];
        write_model(test_path("source"));
        entro_compress_options opt = options("u4-row", tables[i / 3]);
        assert_int_equal(en_compress(test_path("source"), test_path("o"), &opt, NULL, NULL),
                         ENTRO_OK);
        verify(test_path("o"), test_path("source"));
        assert_half_grids(test_path("o"), "blk.0.attn_q.weight", n_scaled == 0, true);
        assert_half_grids(test_path("o"), "constant.weight", false, true); /* 0.3 is no f16 */
        assert_half_grids(test_path("o"), "negative.weight", true, true);
        unlink(test_path("o"));
        assert_threads_do_not_matter(test_path("source"));
    }
    const char *const keep[] = {"positive*=keep", "negative*=u4"}; /* no grid of f16 is left */
    entro_compress_options opt = options("u8-row", "tensor");
    opt.overrides = keep;
    opt.n_overrides = 2;
    assert_int_equal(en_compress(test_path("source"), test_path("o"), &opt, NULL, NULL), ENTRO_OK);
    verify(test_path("o"), test_path("source"));
    assert_half_grids(test_path("o"), "blk.0.attn_q.weight", false, false);
    unlink(test_path("o"));
    unlink(test_path("source"));
}

static void overrides_are_obeyed(void **state)
{
    (void)state;
    const char *const overrides[] = {"blk.*=u4", "positive*=keep", "negative*=f16", "c*=f32"};
    test_weights(g_weights, ROWS * COLS, 2);
    write_model(test_path("source"));
    entro_compress_options opt = options("u8", "model");
    opt.overrides = overrides;
    opt.n_overrides = 4;
    assert_int_equal(en_compress(test_path("source"), test_path("o"), &opt, NULL, NULL), ENTRO_OK);
    verify(test_path("o"), test_path("source"));
    en_source *s;
    en_container *c;
    assert_int_equal(en_source_open(&s, test_path("o"), NULL), ENTRO_OK);
    assert_int_equal(en_container_open(&c, s, NULL), ENTRO_OK);
    const en_container_tensor *q = en_container_find(c, "blk.0.attn_q.weight");
    assert_string_equal(q->coded->method->name, "u4");
    assert_true(q->coded->model_table);
    assert_int_equal(en_container_find(c, "positive.weight")->tensor.dtype, EN_DTYPE_F32);
    assert_int_equal(en_container_find(c, "negative.weight")->tensor.dtype, EN_DTYPE_F16);
    assert_int_equal(en_container_find(c, "constant.weight")->tensor.dtype, EN_DTYPE_F32);
    assert_non_null(en_meta_get(en_source_meta(s), "general.architecture"));
    assert_null(en_meta_get(en_source_meta(s), "general.file_type"));
    en_span recipe = en_meta_string(en_source_meta(s), EN_KEY_RECIPE);
    assert_true(en_span_is(
        recipe, "u8 coding=words table=model blk.*=u4 positive*=keep negative*=f16 c*=f32"));
    en_container_close(c);
    en_source_close(s);
    unlink(test_path("o"));
    unlink(test_path("source"));
}

static void refuse(const char *source, const char *path, const entro_compress_options *opt,
                   entro_status status, const char *message, const char *where)
{
    entro_error err = {0};
    int n_before = test_folder_count();
    assert_int_equal(en_compress(source, path, opt, NULL, &err), status);
    if (strstr(err.message, message) == NULL || strstr(err.where, where) == NULL)
        fail_msg("'%s' at '%s'", err.message, err.where);
    assert_int_equal(test_folder_count(), n_before);
}

static void refuses_not_a_number(void **state)
{
    (void)state;
    const char *methods[] = {"u8", "u8-row"};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const char *const names[] = {"row 699, column 5 is nan,", "row 699, column 5 is inf,",
                                 "row 699, column 5 is -inf,"};
    for (int i = 0; i < 6; i++) {
        test_weights(g_weights, ROWS * COLS, 3);
        g_weights[699 * COLS + 5] = bad[i / 2];
        write_model(test_path("source"));
        entro_compress_options opt = options(methods[i % 2], "tensor");
        const char *what = names[i / 2];
        refuse(test_path("source"), test_path("o"), &opt, ENTRO_ERR_FORMAT, what,
               "blk.0.attn_q.weight");
    }
    test_weights(g_weights, ROWS * COLS, 3);
    g_weights[0] = 3e38f;
    g_weights[1] = -3e38f;
    write_model(test_path("source"));
    entro_compress_options opt = options("u8-row", "tensor");
    refuse(test_path("source"), test_path("o"), &opt, ENTRO_ERR_UNSUPPORTED, "range of f32",
           "blk.0.attn_q.weight");
    opt.method = "u8";
    refuse(test_path("source"), test_path("o"), &opt, ENTRO_ERR_UNSUPPORTED, "range of f32",
           "blk.0.attn_q.weight");
    const char *const f16[] = {"blk*=f16"};
    opt.overrides = f16;
    opt.n_overrides = 1;
    refuse(test_path("source"), test_path("o"), &opt, ENTRO_ERR_UNSUPPORTED, "range of f16",
           "blk.0.attn_q.weight");
    unlink(test_path("source"));
}

static void refuses_bad_arguments(void **state)
{
    (void)state;
    entro_compress_options opt = options("u8", "tensor");
    const char *path = test_path("o");
    refuse(test_path("nothing"), path, &opt, ENTRO_ERR_NOT_FOUND, "", "nothing");
    refuse(stories, test_path("no/such/folder"), &opt, ENTRO_ERR_NOT_FOUND, "", "no/such");
    assert_int_equal(en_compress(stories, path, &opt, NULL, NULL), ENTRO_OK);
    refuse(stories, path, &opt, ENTRO_ERR_EXISTS, "--force", path);
    refuse(path, test_path("p"), &opt, ENTRO_ERR_ARGUMENT, "already compressed", path);
    opt.overwrite = true;
    assert_int_equal(en_compress(stories, path, &opt, NULL, NULL), ENTRO_OK);
    const char *const unused[] = {"no.such.tensor=keep"};
    opt.overrides = unused;
    opt.n_overrides = 1;
    refuse(stories, path, &opt, ENTRO_ERR_NOT_FOUND, "no.such.tensor", "");
    assert_int_equal(en_compress(stories, path, NULL, NULL, NULL),
                     ENTRO_ERR_EXISTS); /* not calibrated first */
    unlink(path);
}

static bool cancel_later(void *user, const entro_progress *p)
{
    (void)p;
    return --*(int *)user > 0;
}

static void cancelling_leaves_nothing(void **state)
{
    (void)state;
    for (int table = 0; table < 2; table++)
        for (int after = 1; after <= 2; after++) {
            int left = after;
            entro_compress_options opt = options("u8", table ? "model" : "tensor");
            opt.progress = cancel_later;
            opt.progress_user = &left;
            refuse(stories, test_path("o"), &opt, ENTRO_ERR_CANCELLED, "cancelled", "");
        }
    assert_int_equal(test_folder_count(), 0);
}

/* The file may not grow beyond n bytes. */
static void limit_files(rlim_t n)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    entro_compress_options opt = options("u8", "tensor");
    const char *path = test_path("o");
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit_files(100000);
    refuse(stories, path, &opt, ENTRO_ERR_IO, "cannot write", path);
    assert_int_equal(test_folder_count(), 0);

    test_file_write(path, (const uint8_t *)"old", 3);
    opt.overwrite = true;
    refuse(stories, path, &opt, ENTRO_ERR_IO, "cannot write", path);
    limit_files(before.rlim_cur);
    size_t n;
    uint8_t *bytes = test_file_read(path, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(bytes, "old", 3);
    free(bytes);
    unlink(path);
}

static bool die(void *user, const entro_progress *p)
{
    (void)user;
    if (p->done > 0)
        raise(SIGKILL);
    return true;
}

static void kill_leaves_the_old_file(void **state)
{
    (void)state;
    const char *path = test_path("o");
    for (int old = 0; old < 2; old++) {
        if (old)
            test_file_write(path, (const uint8_t *)"old", 3);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            entro_compress_options opt = options("u8", "tensor");
            opt.overwrite = true;
            opt.progress = die;
            en_compress(stories, path, &opt, NULL, NULL);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(access(path, F_OK), old ? 0 : -1);
    }
    size_t n;
    uint8_t *bytes = test_file_read(path, &n);
    assert_true(n == 3 && memcmp(bytes, "old", 3) == 0);
    free(bytes);
    unlink(path);
}

/* In a child with its own view of the file system. */
static int compress_to_a_full_disk(void)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return 77;
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (mount("tmpfs", g_folder, "tmpfs", 0, "size=100k") != 0)
        return 77;
    entro_error err = {0};
    entro_compress_options opt = options("u8", "tensor");
    entro_status status = en_compress(stories, test_path("o"), &opt, NULL, &err);
    bool named = strstr(err.where, test_path("o")) != NULL;
    return status == ENTRO_ERR_NO_SPACE && named && test_folder_count() == 0 ? 0 : 1;
}

static void full_disk_leaves_nothing(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(compress_to_a_full_disk());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no file system could be mounted\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_and_table_verifies),
        cmocka_unit_test(other_table_is_predicted),
        cmocka_unit_test(threads_do_not_change_the_file),
        cmocka_unit_test(every_sign_of_tensor_verifies),
        cmocka_unit_test(rows_that_do_not_fit_f16_have_f32_grids),
        cmocka_unit_test(overrides_are_obeyed),
        cmocka_unit_test(refuses_not_a_number),
        cmocka_unit_test(refuses_bad_arguments),
        cmocka_unit_test(cancelling_leaves_nothing),
        cmocka_unit_test(failed_write_leaves_the_old_file),
        cmocka_unit_test(kill_leaves_the_old_file),
        cmocka_unit_test(full_disk_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
