/* test_restore.c - plain files of containers and of plain models. */
#include "pipeline/pipeline.h"

#include <math.h>

#include "container/container.h"
#include "formats/source.h"
#include "test_support.h"
#include "gguf_support.h"

static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";

static void read_row(const en_source *s, const char *name, float *out)
{
    const en_tensor *t = en_source_find(s, name);
    assert_non_null(t);
    assert_int_equal(en_source_read_rows(s, t, 0, 1, out, NULL), ENTRO_OK);
}

/* Every weight of the f32 file is code * step + offset of the container. */
static void f32_gives_the_weights_of_the_container(void **state)
{
    (void)state;
    const char *methods[] = {"u8", "u4-row"};
    for (int m = 0; m < 2; m++) {
        entro_compress_options opt = {.method = methods[m], .coding = "words", .overwrite = true};
        entro_job_options job = {.overwrite = true};
        entro_restore_report report;
        assert_int_equal(en_compress(stories, test_path("c"), &opt, NULL, NULL), ENTRO_OK);
        assert_int_equal(en_restore(test_path("c"), test_path("r"), "f32", &job, &report, NULL),
                         ENTRO_OK);
        assert_int_equal(report.n_tensors, 48);
        assert_int_equal(report.n_clipped, 0);
        en_source *c, *r;
        en_container *container;
        assert_int_equal(en_source_open(&c, test_path("c"), NULL), ENTRO_OK);
        assert_int_equal(en_container_open(&container, c, NULL), ENTRO_OK);
        assert_int_equal(en_source_open(&r, test_path("r"), NULL), ENTRO_OK);
        assert_int_equal(en_source_file_bytes(r), report.n_file_bytes);
        const en_coded *coded = en_container_find(container, "blk.2.ffn_up.weight")->coded;
        uint8_t *codes =
            en_alloc((size_t)(coded->rows_per_segment * coded->n_cols) + EN_CODE_OUT_SLACK, 1);
        assert_true(en_coded_decode_segment(coded, 0, codes));
        float row[64], step, offset;
        assert_int_equal(coded->n_cols, 64);
        assert_true(coded->half_grids == coded->method->per_row);
        en_coded_grid(coded, 0, &step, &offset);
        read_row(r, "blk.2.ffn_up.weight", row);
        for (int i = 0; i < 64; i++)
            assert_true(row[i] == (float)codes[i] * step + offset);
        en_free(codes);
        en_container_close(container);
        en_source_close(c);
        en_source_close(r);
    }
    unlink(test_path("c"));
    unlink(test_path("r"));
}

static void keys_are_those_of_a_plain_file(void **state)
{
    (void)state;
    const struct {
        const char *type;
        uint32_t dtype, file_type;
    } types[] = {{"f16", EN_DTYPE_F16, 1}, {"bf16", EN_DTYPE_BF16, 32}, {"f32", EN_DTYPE_F32, 0}};
    entro_compress_options u8 = {.method = "u8"};
    assert_int_equal(en_compress(stories, test_path("c"), &u8, NULL, NULL), ENTRO_OK);
    for (int i = 0; i < 3; i++) {
        entro_job_options job = {.n_threads = 3, .overwrite = true};
        assert_int_equal(
            en_restore(test_path("c"), test_path("r"), types[i].type, &job, NULL, NULL), ENTRO_OK);
        en_source *s, *original;
        assert_int_equal(en_source_open(&s, test_path("r"), NULL), ENTRO_OK);
        assert_int_equal(en_source_open(&original, stories, NULL), ENTRO_OK);
        assert_false(en_container_is(s));
        const en_meta *meta = en_source_meta(s);
        assert_int_equal(en_meta_u32(meta, "general.file_type", 99), types[i].file_type);
        for (size_t k = 0; k < en_meta_count(meta); k++)
            assert_int_not_equal(strncmp(en_meta_key(meta, k), "entrollm.", 9), 0);
        assert_int_equal(en_meta_get(meta, "tokenizer.ggml.tokens")->n, 512);
        assert_int_equal(en_source_n_tensors(s), en_source_n_tensors(original));
        for (uint32_t t = 0; t < en_source_n_tensors(s); t++) {
            const en_tensor *a = en_source_tensor(s, t), *b = en_source_tensor(original, t);
            assert_string_equal(a->name, b->name);
            assert_memory_equal(a->dims, b->dims, sizeof a->dims);
            assert_int_equal(a->dtype, a->n_dims == 1 ? EN_DTYPE_F32 : types[i].dtype);
        }
        en_source_close(s);
        en_source_close(original);
    }
    unlink(test_path("c"));
    unlink(test_path("r"));
}

static void plain_models_are_converted(void **state)
{
    (void)state;
    static float w[2048], big[4] = {1e6f, -1e6f, 65519.0f, 65520.0f};
    static const int32_t ids[3] = {1, 2, 3};
    test_weights(w, 2048, 5);
    en_tensor tensors[] = {test_floats("w", w, 64, 32), test_floats("big", big, 2, 2),
                           test_floats("ids", (const float *)(const void *)ids, 3, 0)};
    tensors[2].dtype = EN_DTYPE_I32;
    test_gguf_write(test_path("s"), tensors, 3);
    entro_restore_report report;
    assert_int_equal(en_restore(test_path("s"), test_path("r"), "f16", NULL, &report, NULL),
                     ENTRO_OK);
    assert_int_equal(report.n_clipped, 3);
    en_source *r;
    assert_int_equal(en_source_open(&r, test_path("r"), NULL), ENTRO_OK);
    float row[64];
    read_row(r, "big", row);
    assert_true(row[0] == 65504.0f && row[1] == -65504.0f);
    read_row(r, "w", row);
    for (int i = 0; i < 64; i++)
        assert_true(fabsf(row[i] - w[i]) <= fabsf(w[i]) * 0x1p-11f + 0x1p-24f);
    const en_tensor *t = en_source_find(r, "ids");
    assert_int_equal(t->dtype, EN_DTYPE_I32);
    assert_memory_equal(t->data, ids, sizeof ids);
    en_source_close(r);
    unlink(test_path("s"));
    unlink(test_path("r"));
}

static void refusals_leave_nothing(void **state)
{
    (void)state;
    entro_error err;
    assert_int_equal(en_restore(stories, test_path("r"), "q4_0", NULL, NULL, &err),
                     ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "f16, bf16 or f32"));
    assert_int_equal(en_restore(test_path("no"), test_path("r"), "f16", NULL, NULL, &err),
                     ENTRO_ERR_NOT_FOUND);
    assert_int_equal(test_folder_count(), 0);
    entro_compress_options words = {.method = "u8", .coding = "words"};
    assert_int_equal(en_compress(stories, test_path("c"), &words, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_restore(stories, test_path("c"), "f16", NULL, NULL, &err),
                     ENTRO_ERR_EXISTS);

    /* A damaged segment: found while restoring, the tensor is named. */
    size_t n;
    uint8_t *bytes = test_file_read(test_path("c"), &n);
    en_source *s;
    en_container *c;
    assert_int_equal(en_source_open(&s, test_path("c"), NULL), ENTRO_OK);
    assert_int_equal(en_container_open(&c, s, NULL), ENTRO_OK);
    const en_container_tensor *t = en_container_find(c, "blk.1.ffn_down.weight");
    size_t at = (size_t)(t->tensor.offset + (uint64_t)(t->coded->segments - t->tensor.data));
    for (size_t i = 0; i < 200; i++)
        bytes[at + i] ^= 0x5a;
    en_container_close(c);
    en_source_close(s);
    test_file_write(test_path("d"), bytes, n);
    free(bytes);
    assert_int_equal(en_restore(test_path("d"), test_path("r"), "f16", NULL, NULL, &err),
                     ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.where, "blk.1.ffn_down.weight"));
    unlink(test_path("c"));
    unlink(test_path("d"));
    assert_int_equal(test_folder_count(), 0);
}

static bool cancel(void *user, const entro_progress *p)
{
    (void)user;
    assert_string_equal(p->stage, "restore");
    return false;
}

static void cancelling_leaves_nothing(void **state)
{
    (void)state;
    entro_job_options job = {.progress = cancel};
    assert_int_equal(en_restore(stories, test_path("r"), "f16", &job, NULL, NULL),
                     ENTRO_ERR_CANCELLED);
    assert_int_equal(test_folder_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_gives_the_weights_of_the_container),
        cmocka_unit_test(keys_are_those_of_a_plain_file),
        cmocka_unit_test(plain_models_are_converted),
        cmocka_unit_test(refusals_leave_nothing),
        cmocka_unit_test(cancelling_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
