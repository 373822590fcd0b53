/*
 * gguf_support.h - small GGUF files and scratch folders for tests of whole jobs.
 */
#ifndef EN_TESTS_GGUF_SUPPORT_H
#define EN_TESTS_GGUF_SUPPORT_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "formats/gguf.h"

static char g_folder[] = "/tmp/entrollm-test-XXXXXX";

static inline int test_folder_make(void **state)
{
    (void)state;
    return mkdtemp(g_folder) == NULL;
}

/* Files in the scratch folder, which jobs must not leave behind. */
static inline int test_folder_count(void)
{
    int n = 0;
    DIR *folder = opendir(g_folder);
    assert_non_null(folder);
    for (struct dirent *e; (e = readdir(folder)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(folder);
    return n;
}

static inline int test_folder_remove(void **state)
{
    (void)state;
    DIR *folder = opendir(g_folder);
    for (struct dirent *e; folder != NULL && (e = readdir(folder)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", g_folder, e->d_name);
        unlink(path);
    }
    closedir(folder);
    return rmdir(g_folder);
}

/* A path in the scratch folder; eight may be in use at a time. */
static inline const char *test_path(const char *name)
{
    static char paths[8][96];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", g_folder, name);
    return path;
}

static inline uint8_t *test_file_read(const char *path, size_t *n_bytes)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *n_bytes = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*n_bytes + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n_bytes, f), *n_bytes);
    fclose(f);
    return bytes;
}

static inline void test_file_write(const char *path, const uint8_t *bytes, size_t n_bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n_bytes, f), n_bytes);
    assert_int_equal(fclose(f), 0);
}

/* An f32 tensor; n_rows 0 for one of one dimension. */
static inline en_tensor test_floats(const char *name, const float *data, uint64_t n_cols,
                                    uint64_t n_rows)
{
    uint64_t rows = n_rows > 0 ? n_rows : 1;
    en_tensor t = {.dtype = EN_DTYPE_F32,
                   .n_dims = n_rows > 0 ? 2 : 1,
                   .dims = {n_cols, rows, 1, 1},
                   .data = (const uint8_t *)data,
                   .n_bytes = 4 * n_cols * rows};
    snprintf(t.name, sizeof t.name, "%s", name);
    return t;
}

static inline void test_gguf_write(const char *path, en_tensor *tensors, uint32_t n_tensors)
{
    en_meta *meta;
    size_t n_head, n_data = 0;
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_string(meta, "general.architecture", "llama", NULL), ENTRO_OK);
    assert_int_equal(en_meta_set_u32(meta, "general.file_type", 0, NULL), ENTRO_OK);
    for (uint32_t i = 0; i < n_tensors; i++) {
        tensors[i].offset = n_data;
        n_data += ((size_t)tensors[i].n_bytes + 31) / 32 * 32;
    }
    assert_int_equal(en_gguf_head_bytes(meta, tensors, n_tensors, 32, &n_head, NULL), ENTRO_OK);
    uint8_t *bytes = calloc(n_head + n_data, 1);
    assert_non_null(bytes);
    assert_int_equal(en_gguf_head_write(meta, tensors, n_tensors, 32, bytes, n_head, NULL),
                     ENTRO_OK);
    for (uint32_t i = 0; i < n_tensors; i++)
        memcpy(bytes + n_head + tensors[i].offset, tensors[i].data, (size_t)tensors[i].n_bytes);
    test_file_write(path, bytes, n_head + n_data);
    free(bytes);
    en_meta_free(meta);
}

/* Numbers like weights: bell-shaped around 0. */
static inline void test_weights(float *w, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (double)(test_random(&seed) >> 11) * 0x1p-53 - 0.5;
        w[i] = (float)(sum * 0.1);
    }
}

#endif
