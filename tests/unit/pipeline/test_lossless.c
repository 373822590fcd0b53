/* test_lossless.c - method lossless: files come back byte for byte, and what can go wrong. */
#include "pipeline/pipeline.h"

#include <math.h>
#include <sys/stat.h>

#include "container/container.h"
#include "container/format_keys.h"
#include "kernels/kernels.h"
#include "test_support.h"
#include "gguf_support.h"

static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";
static const char llama[] = TEST_FIXTURES "/models/llama";
static const char shards[] = TEST_FIXTURES "/models/llama-bias";

static const entro_compress_options lossless = {.method = "lossless", .overwrite = true};

static void compress(const char *source, const char *to)
{
    entro_error err;
    if (en_compress(source, to, &lossless, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n_a, n_b;
    uint8_t *bytes_a = test_file_read(a, &n_a), *bytes_b = test_file_read(b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(bytes_a, bytes_b, n_a);
    free(bytes_a);
    free(bytes_b);
}

/* Files in a folder that are the same in another; both have as many. */
static int compare_folders(const char *a, const char *b, bool remove)
{
    int n = 0;
    DIR *folder = opendir(a);
    assert_non_null(folder);
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        char in_a[512], in_b[512];
        if (e->d_name[0] == '.')
            continue;
        snprintf(in_a, sizeof in_a, "%s/%s", a, e->d_name);
        snprintf(in_b, sizeof in_b, "%s/%s", b, e->d_name);
        assert_same_file(in_a, in_b);
        n++;
        if (remove)
            unlink(in_b);
    }
    closedir(folder);
    if (remove)
        assert_int_equal(rmdir(b), 0); /* nothing else was there */
    return n;
}

/* Every kind of tensor, data out of order, and bytes in gaps that should be zeros. */
static void write_odd_gguf(const char *path)
{
    static float w[2048];
    static uint16_t halves[2048], bfloats[2048], bias[64];
    static uint8_t blocks[34 * 64];
    static const int32_t ids[5] = {1, 2, 3, 4, 5};
    test_weights(w, 2048, 5);
    en_kernels_ref()->f32_to_f16(w, halves, 2048);
    en_kernels_ref()->f32_to_bf16(w, bfloats, 2048);
    en_kernels_ref()->f32_to_bf16(w, bias, 64);
    w[7] = NAN;
    bfloats[5] = 0x7f81; /* a signalling NaN */
    bfloats[6] = 0xff80;
    bias[3] = 0x7fa5;
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)(i * 7);
    en_tensor t[] = {test_floats("a", w, 64, 32),
                     test_floats("b", (const float *)(const void *)halves, 64, 32),
                     test_floats("c", (const float *)(const void *)bfloats, 64, 32),
                     test_floats("d", (const float *)(const void *)bias, 64, 0),
                     test_floats("e", (const float *)(const void *)blocks, 64, 32),
                     test_floats("f", (const float *)(const void *)ids, 5, 0),
                     test_floats("g", w, 3, 5)};
    const struct {
        uint32_t dtype;
        uint64_t n_bytes, offset;
    } places[] = {{EN_DTYPE_F32, 8192, 12288}, {EN_DTYPE_F16, 4096, 8192},
                  {EN_DTYPE_BF16, 4096, 0},    {EN_DTYPE_BF16, 128, 4096},
                  {EN_DTYPE_Q8_0, 2176, 5120}, {EN_DTYPE_I32, 20, 4352},
                  {EN_DTYPE_F32, 60, 20512}};
    for (int i = 0; i < 7; i++) {
        t[i].dtype = places[i].dtype;
        t[i].n_bytes = places[i].n_bytes;
        t[i].offset = places[i].offset;
    }
    en_meta *meta;
    size_t n_head;
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_string(meta, "general.architecture", "llama", NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_u32(meta, "general.file_type", 7, NULL), ENTRO_OK);
    assert_int_equal(en_gguf_head_bytes(meta, t, 7, 32, &n_head, NULL), ENTRO_OK);
    size_t n = n_head + 20512 + 60 + 13; /* and something behind the last one */
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, 0xee, n);
    assert_int_equal(en_gguf_head_write(meta, t, 7, 32, bytes, n_head, NULL), ENTRO_OK);
    for (int i = 0; i < 7; i++)
        memcpy(bytes + n_head + t[i].offset, t[i].data, (size_t)t[i].n_bytes);
    test_file_write(path, bytes, n);
    free(bytes);
    en_meta_free(meta);
}

static void gguf_files_come_back(void **state)
{
    (void)state;
    write_odd_gguf(test_path("odd"));
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2)
        for (int i = 0; i < 2; i++) {
            const char *source = i == 0 ? test_path("odd") : stories;
            entro_compress_options opt = lossless;
            opt.n_threads = n_threads;
            entro_job_options job = {.n_threads = n_threads, .overwrite = true};
            entro_compress_report report;
            entro_restore_report restored;
            entro_verify_report verified;
            entro_error err;
            if (en_compress(source, test_path("c"), &opt, &report, &err) != ENTRO_OK)
                fail_msg("%s: %s", err.where, err.message);
            assert_int_equal(report.n_exact_tensors, i == 0 ? 3 : 37);
            assert_int_equal(report.n_coded_tensors, report.n_exact_tensors);
            assert_int_equal(report.n_original_files, 1);
            assert_true(report.max_error == 0 && report.rms_error == 0);
            if (en_restore(test_path("c"), test_path("r"), NULL, &job, &restored, &err) != ENTRO_OK)
                fail_msg("%s: %s", err.where, err.message);
            assert_true(restored.is_original && !restored.is_folder && restored.n_files == 1);
            assert_int_equal(restored.n_file_bytes, report.n_source_bytes);
            assert_same_file(source, test_path("r"));
            if (en_verify(test_path("c"), source, &job, &verified, &err) != ENTRO_OK)
                fail_msg("%s: %s", err.where, err.message);
            assert_int_equal(verified.n_files, 1);
            assert_true(verified.max_steps == 0 && verified.rms_error == 0);
        }
    unlink(test_path("odd"));
    unlink(test_path("c"));
    unlink(test_path("r"));
    assert_int_equal(test_folder_count(), 0);
}

static void folders_come_back(void **state)
{
    (void)state;
    const char *sources[] = {llama, shards};
    const int n_files[] = {3, 6};
    for (int i = 0; i < 2; i++) {
        entro_restore_report report;
        entro_error err;
        compress(sources[i], test_path("c"));
        if (en_restore(test_path("c"), test_path("r//"), "original", NULL, &report, &err) !=
            ENTRO_OK)
            fail_msg("%s: %s", err.where, err.message);
        assert_true(report.is_folder);
        assert_int_equal(report.n_files, n_files[i]);
        assert_int_equal(test_folder_count(), 2);
        assert_int_equal(compare_folders(sources[i], test_path("r"), true), n_files[i]);
        unlink(test_path("c"));
    }
}

static void an_existing_folder_is_filled_only_when_asked(void **state)
{
    (void)state;
    entro_job_options force = {.overwrite = true};
    entro_error err;
    compress(llama, test_path("c"));
    assert_int_equal(mkdir(test_path("r"), 0777), 0);
    test_file_write(test_path("r/config.json"), (const uint8_t *)"old", 3);
    test_file_write(test_path("r/notes"), (const uint8_t *)"mine", 4);
    assert_int_equal(en_restore(test_path("c"), test_path("r"), NULL, NULL, NULL, &err),
                     ENTRO_ERR_EXISTS);
    assert_int_equal(test_folder_count(), 2); /* no temporary folder either */
    assert_int_equal(en_restore(test_path("c"), test_path("r"), NULL, &force, NULL, &err),
                     ENTRO_OK);
    assert_int_equal(test_folder_count(), 2);
    assert_int_equal(unlink(test_path("r/notes")), 0);
    assert_int_equal(compare_folders(llama, test_path("r"), true), 3);
    test_file_write(test_path("r"), (const uint8_t *)"x", 1);
    assert_int_equal(en_restore(test_path("c"), test_path("r"), NULL, &force, NULL, &err),
                     ENTRO_ERR_EXISTS);
    assert_non_null(strstr(err.message, "is a file"));
    unlink(test_path("r"));
    unlink(test_path("c"));
}

static void other_types_and_changed_models_are_plain_files(void **state)
{
    (void)state;
    entro_job_options force = {.overwrite = true};
    entro_restore_report report;
    entro_error err;
    compress(stories, test_path("c"));
    assert_int_equal(en_restore(test_path("c"), test_path("r"), "f16", &force, &report, &err),
                     ENTRO_OK);
    assert_false(report.is_original);
    const char *const changed[] = {"blk.0.attn_q.weight=u8"};
    const char *const kept[] = {"blk.0.attn_q.weight=keep"};
    for (int i = 0; i < 2; i++) {
        entro_compress_options opt = lossless;
        entro_compress_report compressed;
        opt.overrides = i == 0 ? changed : kept;
        opt.n_overrides = 1;
        assert_int_equal(en_compress(stories, test_path("c"), &opt, &compressed, &err), ENTRO_OK);
        assert_int_equal(compressed.n_exact_tensors, 36);
        assert_int_equal(compressed.n_original_files, i);
        entro_status expected = i == 0 ? ENTRO_ERR_ARGUMENT : ENTRO_OK;
        assert_int_equal(en_restore(test_path("c"), test_path("r"), "original", &force, NULL, &err),
                         expected);
        if (i == 0)
            assert_non_null(strstr(err.message, "does not hold the files"));
        assert_int_equal(en_restore(test_path("c"), test_path("r"), NULL, &force, &report, &err),
                         ENTRO_OK);
        assert_int_equal(report.is_original, i);
    }
    /* One tensor of another method's file. */
    const char *const exact[] = {"blk.0.attn_q.weight=lossless"};
    entro_compress_options opt = {
        .method = "u4", .overwrite = true, .overrides = exact, .n_overrides = 1};
    assert_int_equal(en_compress(stories, test_path("c"), &opt, NULL, &err), ENTRO_OK);
    assert_int_equal(en_verify(test_path("c"), stories, NULL, NULL, &err), ENTRO_OK);
    en_source *s;
    en_container *c;
    assert_int_equal(en_source_open(&s, test_path("c"), NULL), ENTRO_OK);
    assert_int_equal(en_container_open(&c, s, NULL), ENTRO_OK);
    assert_true(en_container_find(c, "blk.0.attn_q.weight")->coded->method->exact);
    assert_null(en_container_original(c));
    assert_int_equal(en_meta_get(en_source_meta(s), EN_KEY_FEATURES)->u,
                     EN_FEATURE_STRIPS | EN_FEATURE_PLANES);
    en_container_close(c);
    en_source_close(s);
    unlink(test_path("c"));
    unlink(test_path("r"));
    assert_int_equal(test_folder_count(), 0);
}

/* Changes a byte of a stored tensor's data, from a part of it on. */
static void damage(const char *from, const char *to, const char *name, size_t at)
{
    size_t n;
    uint8_t *bytes = test_file_read(from, &n);
    en_source *s;
    assert_int_equal(en_source_open(&s, from, NULL), ENTRO_OK);
    const en_tensor *t = en_source_find(s, name);
    assert_non_null(t);
    assert_true(at < t->n_bytes);
    bytes[t->offset + at] ^= 0x5a;
    en_source_close(s);
    test_file_write(to, bytes, n);
    free(bytes);
}

static void damage_is_found_and_leaves_nothing(void **state)
{
    (void)state;
    const struct {
        const char *tensor;
        size_t at;
        const char *where;
    } cases[] = {
        {"token_embd.weight", 2000,
         "token_embd.weight"}, /* a stream, or a raw plane: still decodes */
        {"output_norm.weight", 5, "output_norm.weight"},
        {EN_ORIGINAL_LITERALS, 1000, EN_ORIGINAL_LITERALS},
    };
    entro_error err;
    compress(llama, test_path("c"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        damage(test_path("c"), test_path("d"), cases[i].tensor, cases[i].at);
        assert_int_equal(en_restore(test_path("d"), test_path("r"), NULL, NULL, NULL, &err),
                         ENTRO_ERR_CHECKSUM);
        assert_int_equal(en_verify(test_path("d"), NULL, NULL, NULL, &err), ENTRO_ERR_CHECKSUM);
        assert_non_null(strstr(err.where, cases[i].where));
        assert_int_equal(test_folder_count(), 2);
    }
    damage(test_path("c"), test_path("d"), EN_ORIGINAL_FILES, 40);
    assert_int_equal(en_restore(test_path("d"), test_path("r"), NULL, NULL, NULL, &err),
                     ENTRO_ERR_CHECKSUM); /* found when it is opened */
    assert_non_null(strstr(err.where, EN_ORIGINAL_FILES));
    unlink(test_path("c"));
    unlink(test_path("d"));
    assert_int_equal(test_folder_count(), 0);
}

static bool cancel_late(void *user, const entro_progress *p)
{
    (void)user;
    assert_string_equal(p->stage, "restore");
    return p->done < p->total;
}

static void cancelling_leaves_nothing(void **state)
{
    (void)state;
    entro_job_options job = {.progress = cancel_late};
    compress(shards, test_path("c"));
    assert_int_equal(en_restore(test_path("c"), test_path("r"), NULL, &job, NULL, NULL),
                     ENTRO_ERR_CANCELLED);
    unlink(test_path("c"));
    assert_int_equal(test_folder_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_files_come_back),
        cmocka_unit_test(folders_come_back),
        cmocka_unit_test(an_existing_folder_is_filled_only_when_asked),
        cmocka_unit_test(other_types_and_changed_models_are_plain_files),
        cmocka_unit_test(damage_is_found_and_leaves_nothing),
        cmocka_unit_test(cancelling_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
