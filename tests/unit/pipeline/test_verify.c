/* test_verify.c - verify finds every flipped byte that is covered, and every wrong source. */
#include "pipeline/pipeline.h"

#include "container/container.h"
#include "test_support.h"
#include "gguf_support.h"

static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";

static void make(const char *path, const char *method, const char *table)
{
    entro_compress_options opt = {.method = method, .table = table, .overwrite = true};
    assert_int_equal(en_compress(stories, path, &opt, NULL, NULL), ENTRO_OK);
}

static void reports_what_was_checked(void **state)
{
    (void)state;
    entro_verify_report r;
    make(test_path("c"), "u8", "model");
    assert_int_equal(en_verify(test_path("c"), NULL, NULL, &r, NULL), ENTRO_OK);
    assert_true(r.n_tensors == 48 && r.n_compared == 0 && r.n_bytes > 200000);
    entro_job_options job = {.n_threads = 3};
    assert_int_equal(en_verify(test_path("c"), stories, &job, &r, NULL), ENTRO_OK);
    assert_true(r.n_compared == 48 && r.max_steps > 0.49 && r.rms_error > 0);
    unlink(test_path("c"));
}

/* A byte of each tensor's data. */
static void finds_flipped_bytes(void **state)
{
    (void)state;
    make(test_path("c"), "u4", "tensor");
    size_t n;
    uint8_t *bytes = test_file_read(test_path("c"), &n);
    en_source *s;
    assert_int_equal(en_source_open(&s, test_path("c"), NULL), ENTRO_OK);
    for (uint32_t i = 0; i < en_source_n_tensors(s); i += 5) {
        const en_tensor *t = en_source_tensor(s, i);
        size_t at = (size_t)(t->offset + t->n_bytes * 3 / 4);
        bytes[at] ^= 0x10;
        test_file_write(test_path("d"), bytes, n);
        bytes[at] ^= 0x10;
        entro_error err;
        assert_int_equal(en_verify(test_path("d"), NULL, NULL, NULL, &err), ENTRO_ERR_CHECKSUM);
        assert_non_null(strstr(err.where, t->name));
        assert_non_null(strstr(err.where, test_path("d")));
    }
    en_source_close(s);
    free(bytes);
    unlink(test_path("c"));
    unlink(test_path("d"));
}

static void truncated_file_is_refused(void **state)
{
    (void)state;
    make(test_path("c"), "u8", "tensor");
    size_t n;
    uint8_t *bytes = test_file_read(test_path("c"), &n);
    for (int i = 0; i < 8; i++) {
        test_file_write(test_path("d"), bytes, n * (size_t)i / 8);
        assert_int_equal(en_verify(test_path("d"), NULL, NULL, NULL, NULL), ENTRO_ERR_FORMAT);
    }
    free(bytes);
    unlink(test_path("c"));
    unlink(test_path("d"));
}

static void expect(const char *path, const char *source, entro_status status, const char *message)
{
    entro_error err = {0};
    char text[1100];
    assert_int_equal(en_verify(path, source, NULL, NULL, &err), status);
    snprintf(text, sizeof text, "%s: %s", err.where, err.message);
    if (strstr(text, message) == NULL)
        fail_msg("%s", text);
}

static void wrong_files_are_named(void **state)
{
    (void)state;
    make(test_path("c"), "u8", "tensor");
    expect(stories, NULL, ENTRO_ERR_ARGUMENT, "is not an EntroLLM container");
    expect(test_path("no"), NULL, ENTRO_ERR_NOT_FOUND, "no");
    expect(test_path("c"), test_path("c"), ENTRO_ERR_ARGUMENT, "is a container itself");
    unlink(test_path("c"));
}

static void wrong_sources_are_found(void **state)
{
    (void)state;
    static float w[2048], other[2048], norm[8], matrix[4096];
    test_weights(w, 2048, 1);
    test_weights(matrix, 4096, 3);
    memcpy(other, w, sizeof w);
    en_tensor made[] = {test_floats("w", w, 64, 32), test_floats("norm", norm, 8, 0)};
    test_gguf_write(test_path("s"), made, 2);
    entro_compress_options opt = {.method = "u8-row"};
    assert_int_equal(en_compress(test_path("s"), test_path("c"), &opt, NULL, NULL), ENTRO_OK);
    expect(test_path("c"), test_path("s"), ENTRO_OK, "");

    other[70] += 0.01f; /* one weight */
    en_tensor changed[] = {test_floats("w", other, 64, 32), test_floats("norm", norm, 8, 0)};
    test_gguf_write(test_path("s"), changed, 2);
    expect(test_path("c"), test_path("s"), ENTRO_ERR_MISMATCH, "weight 6 of row 1");

    float norm2[8] = {0, 0, 0, 1e-9f};
    en_tensor plain[] = {test_floats("w", w, 64, 32), test_floats("norm", norm2, 8, 0)};
    test_gguf_write(test_path("s"), plain, 2);
    expect(test_path("c"), test_path("s"), ENTRO_ERR_MISMATCH, "tensor 'norm'");

    en_tensor shape[] = {test_floats("w", matrix, 64, 64), test_floats("norm", norm, 8, 0)};
    test_gguf_write(test_path("s"), shape, 2);
    expect(test_path("c"), test_path("s"), ENTRO_ERR_MISMATCH, "has shape 64 x 32");

    en_tensor name[] = {test_floats("v", w, 64, 32), test_floats("norm", norm, 8, 0)};
    test_gguf_write(test_path("s"), name, 2);
    expect(test_path("c"), test_path("s"), ENTRO_ERR_MISMATCH, "no tensor of this name");

    en_tensor more[] = {test_floats("w", w, 64, 32), test_floats("norm", norm, 8, 0),
                        test_floats("extra", norm, 8, 0)};
    test_gguf_write(test_path("s"), more, 3);
    expect(test_path("c"), test_path("s"), ENTRO_ERR_MISMATCH, "has no tensor 'extra'");
    unlink(test_path("s"));
    unlink(test_path("c"));
}

/* A bit of a number and one of a token: metadata has no checksum, but a source has it, too. */
static void changed_metadata_are_found(void **state)
{
    (void)state;
    static const char *const keys[] = {"llama.attention.layer_norm_rms_epsilon",
                                       "tokenizer.ggml.tokens"};
    make(test_path("c"), "u8", "tensor");
    size_t n;
    uint8_t *bytes = test_file_read(test_path("c"), &n);
    for (int i = 0; i < 2; i++) {
        uint8_t *key = memmem(bytes, n, keys[i], strlen(keys[i]));
        assert_non_null(key);
        /* behind the type (4 bytes); an array's has its elements' type, their number and a length before them */
        uint8_t *at = key + strlen(keys[i]) + (i == 0 ? 4 + 2 : 4 + 4 + 8 + 8 + 1);
        *at ^= 1;
        test_file_write(test_path("d"), bytes, n);
        *at ^= 1;
        assert_int_equal(en_verify(test_path("d"), NULL, NULL, NULL, NULL), ENTRO_OK);
        expect(test_path("d"), stories, ENTRO_ERR_MISMATCH, keys[i]);
    }
    free(bytes);
    unlink(test_path("c"));
    unlink(test_path("d"));
}

static bool cancel(void *user, const entro_progress *p)
{
    (void)user;
    assert_string_equal(p->stage, "verify");
    return false;
}

static void callback_cancels(void **state)
{
    (void)state;
    make(test_path("c"), "u8", "tensor");
    entro_job_options job = {.progress = cancel};
    assert_int_equal(en_verify(test_path("c"), NULL, &job, NULL, NULL), ENTRO_ERR_CANCELLED);
    unlink(test_path("c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_what_was_checked),  cmocka_unit_test(finds_flipped_bytes),
        cmocka_unit_test(truncated_file_is_refused), cmocka_unit_test(wrong_files_are_named),
        cmocka_unit_test(wrong_sources_are_found),   cmocka_unit_test(changed_metadata_are_found),
        cmocka_unit_test(callback_cancels),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
