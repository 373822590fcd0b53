/*
 * test_source.c - opening models by path: what a path is, and what people are told when it is
 * something else.
 */
#include "formats/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "formats/gguf.h"
#include "test_support.h"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const void *bytes, size_t n)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    return path;
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_source.XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static void refused(const char *path, entro_status expected, const char *words)
{
    en_source *source = NULL;
    entro_error err = {0};
    entro_status status = en_source_open(&source, path, &err);
    if (status != expected || strstr(err.message, words) == NULL)
        fail_msg("%s: status %d, message '%s', expected %d, '%s'", path, status, err.message,
                 expected, words);
    assert_true(strstr(err.where, path) != NULL);
    assert_null(source);
}

/* ---- a model ---------------------------------------------------------------------------- */

enum { COLUMNS = 2048, ROWS = 5 };

/* A GGUF file with the matrix "m" (row r, column c: r + c / 4096), codes "codes" and, when
 * n_parts is not 0, the keys of a split model. */
static const char *write_model(const char *name, uint32_t n_parts)
{
    static float m[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++)
            m[r][c] = (float)r + (float)c / 4096;
    en_meta *meta;
    en_meta_new(&meta, NULL);
    en_meta_set_string(meta, "general.architecture", "llama", NULL);
    if (n_parts > 0) {
        en_meta_set_u32(meta, "split.count", n_parts, NULL);
        en_meta_set_u32(meta, "split.no", 0, NULL);
    }
    en_tensor tensors[2] = {{.name = "m", .n_dims = 2, .dims = {COLUMNS, ROWS, 1, 1}},
                            {.name = "codes",
                             .dtype = EN_DTYPE_I8,
                             .n_dims = 1,
                             .dims = {7, 1, 1, 1},
                             .offset = sizeof m}};
    size_t n;
    en_gguf_head_bytes(meta, tensors, 2, 32, &n, NULL);
    uint8_t *bytes = calloc(n + sizeof m + 7, 1);
    en_gguf_head_write(meta, tensors, 2, 32, bytes, n, NULL);
    memcpy(bytes + n, m, sizeof m);
    const char *path = write_file(name, bytes, n + sizeof m + 7);
    free(bytes);
    en_meta_free(meta);
    return path;
}

static void a_gguf_file_is_read(void **state)
{
    (void)state;
    const char *path = write_model("model.gguf", 0);
    en_source *s;
    assert_int_equal(en_source_open(&s, path, NULL), ENTRO_OK);
    assert_int_equal(en_source_get_kind(s), EN_SOURCE_GGUF);
    assert_string_equal(en_source_path(s), path);
    assert_int_equal(en_source_n_tensors(s), 2);
    assert_true(en_span_is(en_meta_string(en_source_meta(s), "general.architecture"), "llama"));
    const en_tensor *m = en_source_find(s, "m");
    assert_ptr_equal(m, en_source_tensor(s, 0));
    assert_null(en_source_find(s, "absent"));
    assert_int_equal(en_source_file_bytes(s), m->offset + m->n_bytes + 7);

    static float rows[2 * COLUMNS];
    for (int again = 0; again < 2; again++) {
        assert_int_equal(en_source_read_rows(s, m, 3, 2, rows, NULL), ENTRO_OK);
        assert_true(rows[0] == 3.0f && rows[1] == 3.0f + 1.0f / 4096 && rows[COLUMNS] == 4.0f);
        en_source_forget(s, m); /* pages come back when they are read again */
    }
    en_source_close(s);
}

static void reading_outside_is_refused(void **state)
{
    (void)state;
    en_source *s;
    assert_int_equal(en_source_open(&s, write_model("model.gguf", 0), NULL), ENTRO_OK);
    const en_tensor *m = en_source_find(s, "m");
    float row[COLUMNS];
    entro_error err;
    assert_int_equal(en_source_read_rows(s, m, ROWS, 1, row, &err), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_source_read_rows(s, m, 1, UINT64_MAX, row, &err), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_source_read_rows(s, m, ROWS, 0, row, &err), ENTRO_OK);
    const en_tensor *codes = en_source_find(s, "codes");
    assert_int_equal(en_source_read_rows(s, codes, 0, 1, row, &err), ENTRO_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.where, "tensor 'codes'"));
    en_source_forget(s, codes); /* less than a page */
    en_source_close(s);
    en_source_close(NULL);
}

static void a_split_model_is_refused(void **state)
{
    (void)state;
    refused(write_model("part1.gguf", 3), ENTRO_ERR_UNSUPPORTED,
            "part 1 of 3 of a split GGUF file");
    en_source *s;
    assert_int_equal(en_source_open(&s, write_model("whole.gguf", 1), NULL), ENTRO_OK);
    en_source_close(s);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const char *path = write_model("model.gguf", 0);
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        en_source *s = NULL;
        en_memory_fail_at(i);
        status = en_source_open(&s, path, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        en_source_close(s);
        assert_int_equal(en_memory_in_use(), before);
        assert_true(i < 100);
    }
}

/* ---- everything else --------------------------------------------------------------------- */

static void other_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        entro_status status;
        const char *words;
    } cases[] = {
        {"", 0, ENTRO_ERR_FORMAT, "empty"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0", 54, ENTRO_ERR_FORMAT,
         "git lfs pull"},
        {"PK\3\4\0\0\0\0\0\0", 10, ENTRO_ERR_UNSUPPORTED, "PyTorch"},
        {"\x80\2}q\1.", 6, ENTRO_ERR_UNSUPPORTED, "pickle"},
        {"tjgg\3\0\0\0", 8, ENTRO_ERR_UNSUPPORTED, "ggjt"},
        {"lmgg\3\0\0\0", 8, ENTRO_ERR_UNSUPPORTED, "GGML"},
        {"\x1f\x8b\x08\0", 4, ENTRO_ERR_FORMAT, "gzip"},
        {"\x28\xb5\x2f\xfd\0", 5, ENTRO_ERR_FORMAT, "zstd"},
        {"<!DOCTYPE html><html>", 21, ENTRO_ERR_FORMAT, "web page"},
        {" {\"a\": 1}", 9, ENTRO_ERR_FORMAT, "JSON"},
        {"\x08\0\0\0\0\0\0\0{\"a\":{}}", 16, ENTRO_ERR_FORMAT, "without its config.json"},
        {"once upon a time", 16, ENTRO_ERR_FORMAT, "text file"},
        {"\0\0\0\0\0\0\0\0\0\0", 10, ENTRO_ERR_FORMAT, "zeros"},
        {"\1\2\3", 3, ENTRO_ERR_FORMAT, "neither a GGUF file nor"},
        {"GGUF\3\0\0\0", 8, ENTRO_ERR_FORMAT, "truncated download"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(write_file("other", cases[i].bytes, cases[i].n), cases[i].status, cases[i].words);
}

static void paths_that_are_no_files(void **state)
{
    (void)state;
    refused(path_of("missing.gguf"), ENTRO_ERR_NOT_FOUND, "No such file");
    refused("/dev/null", ENTRO_ERR_FORMAT, "no regular file");
    char inner[128];
    snprintf(inner, sizeof inner, "%s", path_of("folder"));
    assert_int_equal(mkdir(inner, 0755), 0);
    refused(inner, ENTRO_ERR_NOT_FOUND, "no config.json");
    write_file("folder/tiny.gguf", "x", 1);
    refused(inner, ENTRO_ERR_NOT_FOUND, "name the file itself (tiny.gguf)");
}

static void files_of_a_folder_lead_to_the_folder(void **state)
{
    (void)state;
    char inner[128];
    snprintf(inner, sizeof inner, "%s", path_of("model"));
    assert_int_equal(mkdir(inner, 0755), 0);
    write_file("model/config.json", "{}", 2);
    write_file("model/model.safetensors", "\x08\0\0\0\0\0\0\0{\"a\":{}}", 16);
    static const char *const names[] = {"model", "model/config.json", "model/model.safetensors"};
    for (size_t i = 0; i < 3; i++) { /* the folder reader complains, not the guess at the file */
        en_source *source = NULL;
        entro_error err = {0};
        assert_int_not_equal(en_source_open(&source, path_of(names[i]), &err), ENTRO_OK);
        assert_null(strstr(err.message, "without its config.json"));
        assert_null(strstr(err.message, "this is a JSON file"));
        assert_non_null(strstr(err.where, inner));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gguf_file_is_read),
        cmocka_unit_test(reading_outside_is_refused),
        cmocka_unit_test(a_split_model_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(paths_that_are_no_files),
        cmocka_unit_test(files_of_a_folder_lead_to_the_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
