/*
 * test_gguf.c - GGUF files: what is read, what is refused with which words, what is written.
 */
#include "formats/gguf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "test_support.h"

/* ---- building files by hand ------------------------------------------------------------ */

struct file {
    uint8_t bytes[4096];
    size_t n;
};

static void put(struct file *f, const void *p, size_t n)
{
    assert_true(f->n + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, p, n);
    f->n += n;
}

static void put_u32(struct file *f, uint32_t v)
{
    put(f, &v, 4);
}

static void put_u64(struct file *f, uint64_t v)
{
    put(f, &v, 8);
}

static void put_string(struct file *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}

static void put_head(struct file *f, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    f->n = 0;
    put(f, "GGUF", 4);
    put_u32(f, version);
    put_u64(f, n_tensors);
    put_u64(f, n_keys);
}

static void put_u32_key(struct file *f, const char *key, uint32_t value)
{
    put_string(f, key);
    put_u32(f, EN_META_U32);
    put_u32(f, value);
}

static void put_tensor(struct file *f, const char *name, uint32_t dtype, uint64_t columns,
                       uint64_t rows, uint64_t offset)
{
    put_string(f, name);
    put_u32(f, 2);
    put_u64(f, columns);
    put_u64(f, rows);
    put_u32(f, dtype);
    put_u64(f, offset);
}

static void pad(struct file *f, size_t alignment)
{
    while (f->n % alignment != 0)
        put(f, "", 1);
}

static void put_zeros(struct file *f, size_t n)
{
    static const uint8_t zeros[1024];
    put(f, zeros, n);
}

/* A copy of exactly n bytes, so that a sanitizer sees a read past the end. */
static entro_status parse_copy(const uint8_t *data, size_t n, entro_error *err)
{
    uint8_t *copy = malloc(n + 1);
    memcpy(copy + 1, data, n); /* unaligned, too */
    en_gguf gguf;
    size_t before = en_memory_in_use();
    entro_status status = en_gguf_parse(&gguf, copy + 1, n, err);
    if (status == ENTRO_OK)
        en_gguf_close(&gguf);
    assert_int_equal(en_memory_in_use(), before);
    assert_null(gguf.tensors);
    free(copy);
    return status;
}

static void refused(const struct file *f, entro_status expected, const char *words)
{
    entro_error err = {0};
    entro_status status = parse_copy(f->bytes, f->n, &err);
    if (status != expected || strstr(err.message, words) == NULL)
        fail_msg("status %d, message '%s', expected %d, '%s'", status, err.message, expected,
                 words);
    assert_int_equal(err.status, expected);
}

/* ---- reading --------------------------------------------------------------------------- */

static void put_small_file(struct file *f, uint32_t version)
{
    put_head(f, version, 2, 3);
    put_string(f, "general.architecture");
    put_u32(f, EN_META_STRING);
    put_string(f, "llama");
    put_u32_key(f, "general.alignment", 64);
    put_string(f, "tokens");
    put_u32(f, EN_META_ARRAY);
    put_u32(f, EN_META_STRING);
    put_u64(f, 2);
    put_string(f, "a");
    put_string(f, "bc");
    put_tensor(f, "second", EN_DTYPE_Q8_0, 32, 2, 64); /* not in file order */
    put_tensor(f, "first", EN_DTYPE_F32, 3, 2, 0);
    pad(f, 64);
    put_zeros(f, 64 + 68);
}

static void a_small_file_is_read(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct file f;
        put_small_file(&f, version);
        en_gguf gguf;
        assert_int_equal(en_gguf_parse(&gguf, f.bytes, f.n, NULL), ENTRO_OK);
        assert_int_equal(gguf.version, version);
        assert_int_equal(gguf.alignment, 64);
        assert_int_equal(gguf.n_tensors, 2);
        assert_true(en_span_is(en_meta_string(gguf.meta, "general.architecture"), "llama"));
        const en_meta_value *tokens = en_meta_get(gguf.meta, "tokens");
        assert_true(tokens->is_array && tokens->n == 2 && en_span_is(tokens->strings[1], "bc"));
        const en_tensor *t = &gguf.tensors[0];
        assert_string_equal(t->name, "second");
        assert_int_equal(t->n_bytes, 68);
        assert_int_equal(t->offset, gguf.data_offset + 64);
        assert_ptr_equal(t->data, f.bytes + t->offset);
        assert_true(t->n_dims == 2 && t->dims[0] == 32 && t->dims[1] == 2 && t->dims[2] == 1);
        en_gguf_close(&gguf);
        en_gguf_close(&gguf); /* a zeroed one is fine */
    }
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct file f;
    put_small_file(&f, 3);
    for (size_t n = 0; n < f.n; n++) {
        entro_error err = {0};
        entro_status status = parse_copy(f.bytes, n, &err);
        assert_int_equal(status, ENTRO_ERR_FORMAT);
        assert_true(strstr(err.message, n < 4 ? "no GGUF file" : "truncated download") != NULL);
    }
    f.n -= 10;
    char words[80];
    snprintf(words, sizeof words, "at least %zu bytes and has %zu", f.n + 10, f.n);
    refused(&f, ENTRO_ERR_FORMAT, words);
}

static void versions_and_kinds_are_told_apart(void **state)
{
    (void)state;
    struct file f;
    put_head(&f, 1, 0, 0);
    refused(&f, ENTRO_ERR_UNSUPPORTED, "version 1");
    put_head(&f, 4, 0, 0);
    refused(&f, ENTRO_ERR_VERSION, "version 4");
    put_head(&f, 0x03000000, 0, 0);
    refused(&f, ENTRO_ERR_UNSUPPORTED, "big-endian");
    put_head(&f, 3, 0, 0);
    f.bytes[0] = 'g';
    refused(&f, ENTRO_ERR_FORMAT, "no GGUF file");
    put_head(&f, 3, 0, 0);
    assert_int_equal(parse_copy(f.bytes, f.n, NULL), ENTRO_OK);
}

static void hostile_counts_allocate_nothing(void **state)
{
    (void)state;
    struct file f;
    put_head(&f, 3, UINT64_MAX, 0);
    refused(&f, ENTRO_ERR_FORMAT, "tensors, expected at most");
    put_head(&f, 3, 0, UINT64_MAX);
    refused(&f, ENTRO_ERR_FORMAT, "keys, expected at most");
    put_head(&f, 3, EN_GGUF_MAX_TENSORS, 0);
    refused(&f, ENTRO_ERR_FORMAT, "too many for a file of 24 bytes");
    put_head(&f, 3, 0, 1);
    put_string(&f, "k");
    put_u32(&f, EN_META_ARRAY);
    put_u32(&f, EN_META_STRING);
    put_u64(&f, UINT64_MAX / 8);
    refused(&f, ENTRO_ERR_FORMAT, "strings does not fit");
    put_head(&f, 3, 0, 1);
    put_string(&f, "k");
    put_u32(&f, EN_META_ARRAY);
    put_u32(&f, EN_META_F64);
    put_u64(&f, UINT64_MAX / 4);
    refused(&f, ENTRO_ERR_FORMAT, "elements of 8 bytes does not fit");
    put_head(&f, 3, 0, 1);
    put_u64(&f, UINT64_MAX);
    put_zeros(&f, 32);
    refused(&f, ENTRO_ERR_FORMAT, "a key needs 18446744073709551615 bytes");
}

static void bad_keys_are_refused(void **state)
{
    (void)state;
    struct file f;
    put_head(&f, 3, 0, 2);
    put_u32_key(&f, "twice", 1);
    put_u32_key(&f, "twice", 2);
    refused(&f, ENTRO_ERR_FORMAT, "appears twice");
    put_head(&f, 3, 0, 1);
    put_u32_key(&f, "", 1);
    refused(&f, ENTRO_ERR_FORMAT, "the name of a key has 0 bytes");
    put_head(&f, 3, 0, 1);
    put_u32_key(&f, "esc\x1b", 1);
    refused(&f, ENTRO_ERR_FORMAT, "control character");
    put_head(&f, 3, 0, 1);
    put_string(&f, "k");
    put_u32(&f, 13);
    put_zeros(&f, 16);
    refused(&f, ENTRO_ERR_FORMAT, "a value of type 13");
    put_head(&f, 3, 0, 1);
    put_string(&f, "k");
    put_u32(&f, EN_META_ARRAY);
    put_u32(&f, EN_META_ARRAY);
    put_zeros(&f, 16);
    refused(&f, ENTRO_ERR_UNSUPPORTED, "arrays of arrays");
    put_head(&f, 3, 0, 1);
    put_string(&f, "k");
    put_u32(&f, EN_META_ARRAY);
    put_u32(&f, 77);
    put_zeros(&f, 16);
    refused(&f, ENTRO_ERR_FORMAT, "array elements of type 77");
}

static void bad_alignment_is_refused(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 3, 48, 1u << 20, UINT32_MAX};
    struct file f;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_head(&f, 3, 0, 1);
        put_u32_key(&f, "general.alignment", bad[i]);
        refused(&f, ENTRO_ERR_FORMAT, "general.alignment");
    }
}

/* One tensor, with room for its data. */
static void put_one(struct file *f, uint32_t dtype, uint64_t columns, uint64_t rows,
                    uint64_t offset)
{
    put_head(f, 3, 1, 0);
    put_tensor(f, "w", dtype, columns, rows, offset);
    pad(f, 32);
    put_zeros(f, 512);
}

static void bad_tensors_are_refused(void **state)
{
    (void)state;
    struct file f;
    put_one(&f, EN_DTYPE_F32, 4, 4, 0);
    assert_int_equal(parse_copy(f.bytes, f.n, NULL), ENTRO_OK);
    put_one(&f, EN_DTYPE_F32, 4, 0, 0);
    refused(&f, ENTRO_ERR_FORMAT, "dimension 1 is zero");
    put_one(&f, EN_DTYPE_F32, 1ull << 33, 1ull << 33, 0);
    refused(&f, ENTRO_ERR_FORMAT, "overflows");
    put_one(&f, EN_DTYPE_F32, 1ull << 31, 1ull << 31, 0);
    refused(&f, ENTRO_ERR_FORMAT, "overflows");
    put_one(&f, EN_DTYPE_Q4_0, 33, 1, 0);
    refused(&f, ENTRO_ERR_FORMAT, "no whole number of blocks of 32");
    put_one(&f, EN_DTYPE_F32, 4, 4, 16);
    refused(&f, ENTRO_ERR_FORMAT, "no multiple of the alignment");
    put_one(&f, EN_DTYPE_F32, 4, 4, UINT64_MAX - 31);
    refused(&f, ENTRO_ERR_FORMAT, "offset overflows");
    put_one(&f, EN_DTYPE_F32, 4, 4, 1024);
    refused(&f, ENTRO_ERR_FORMAT, "truncated download");
    put_one(&f, 16, 256, 1, 0);
    refused(&f, ENTRO_ERR_UNSUPPORTED, "type IQ2_XXS is not supported; convert from");
    put_one(&f, 39, 256, 1, 0);
    refused(&f, ENTRO_ERR_UNSUPPORTED, "type MXFP4 is not supported; convert from");
    put_one(&f, 4711, 256, 1, 0);
    refused(&f, ENTRO_ERR_UNSUPPORTED, "type 4711 (unknown)");

    entro_error err;
    put_one(&f, 16, 256, 1, 0);
    parse_copy(f.bytes, f.n, &err);
    assert_string_equal(err.where, "tensor 'w'");
}

static void bad_dimensions_and_names_are_refused(void **state)
{
    (void)state;
    struct file f;
    static const uint32_t bad[] = {0, 5, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_head(&f, 3, 1, 0);
        put_string(&f, "w");
        put_u32(&f, bad[i]);
        put_zeros(&f, 64);
        refused(&f, ENTRO_ERR_FORMAT, "dimensions, expected 1 to 4");
    }
    char name[EN_MAX_TENSOR_NAME + 1];
    memset(name, 'n', sizeof name);
    name[EN_MAX_TENSOR_NAME - 1] = '\0';
    put_head(&f, 3, 1, 0);
    put_tensor(&f, name, EN_DTYPE_F32, 1, 1, 0);
    pad(&f, 32);
    put_zeros(&f, 4);
    assert_int_equal(parse_copy(f.bytes, f.n, NULL), ENTRO_OK);
    name[EN_MAX_TENSOR_NAME - 1] = 'n';
    name[EN_MAX_TENSOR_NAME] = '\0';
    put_head(&f, 3, 1, 0);
    put_tensor(&f, name, EN_DTYPE_F32, 1, 1, 0);
    refused(&f, ENTRO_ERR_FORMAT, "the name of a tensor has 128 bytes");
}

static void put_two(struct file *f, const char *name, uint64_t offset_a, uint64_t offset_b)
{
    put_head(f, 3, 2, 0);
    put_tensor(f, "a", EN_DTYPE_F32, 16, 1, offset_a);
    put_tensor(f, name, EN_DTYPE_F32, 8, 1, offset_b);
    pad(f, 32);
    put_zeros(f, 128);
}

static void tensors_may_not_share(void **state)
{
    (void)state;
    struct file f;
    put_two(&f, "b", 0, 64);
    assert_int_equal(parse_copy(f.bytes, f.n, NULL), ENTRO_OK);
    put_two(&f, "b", 32, 0);
    assert_int_equal(parse_copy(f.bytes, f.n, NULL), ENTRO_OK);
    put_two(&f, "b", 0, 32);
    refused(&f, ENTRO_ERR_FORMAT, "overlaps the data of 'a'");
    put_two(&f, "b", 32, 32);
    refused(&f, ENTRO_ERR_FORMAT, "overlaps");
    put_two(&f, "b", 32, 64);
    refused(&f, ENTRO_ERR_FORMAT, "overlaps");
    put_two(&f, "a", 0, 64);
    refused(&f, ENTRO_ERR_FORMAT, "two tensors of this name");
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct file f;
    put_small_file(&f, 3);
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        en_memory_fail_at(i);
        status = parse_copy(f.bytes, f.n, NULL); /* checks for leaks */
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        assert_true(i > 0 || status == ENTRO_ERR_NOMEM);
        assert_true(i < 100);
    }
}

/* ---- writing --------------------------------------------------------------------------- */

static en_meta *meta_of_every_kind(void)
{
    en_meta *meta;
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    en_meta_set_string(meta, "general.architecture", "llama", NULL);
    en_meta_set_u32(meta, "general.alignment", 64, NULL);
    static const int64_t values[] = {-1, -128, 127, 0};
    for (en_meta_type type = EN_META_U8; type <= EN_META_F64; type++) {
        char key[16];
        if (type == EN_META_STRING || type == EN_META_ARRAY)
            continue;
        en_meta_value v = {.type = type, .n = 1, .u = 1};
        if (type == EN_META_F32 || type == EN_META_F64)
            v.f = -0.75;
        snprintf(key, sizeof key, "scalar.%d", (int)type);
        en_meta_set(meta, key, &v, NULL);
        snprintf(key, sizeof key, "array.%d", (int)type);
        v = (en_meta_value){
            .type = type, .is_array = true, .n = 3, .data = (const uint8_t *)values};
        en_meta_set(meta, key, &v, NULL);
    }
    en_span strings[] = {{"x", 1}, {"", 0}, {"yz", 2}};
    en_meta_value v = {.type = EN_META_STRING, .is_array = true, .n = 3, .strings = strings};
    en_meta_set(meta, "strings", &v, NULL);
    en_meta_set(meta, "negative", &(en_meta_value){.type = EN_META_I16, .n = 1, .i = -300}, NULL);
    return meta;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    en_meta *meta = meta_of_every_kind();
    en_tensor tensors[2] = {
        {.name = "a", .dtype = EN_DTYPE_F16, .n_dims = 2, .dims = {3, 5, 1, 1}, .offset = 0},
        {.name = "b", .dtype = EN_DTYPE_I8, .n_dims = 1, .dims = {77, 1, 1, 1}, .offset = 64}};
    size_t n;
    assert_int_equal(en_gguf_head_bytes(meta, tensors, 2, 64, &n, NULL), ENTRO_OK);
    assert_int_equal(n % 64, 0);
    uint8_t *file = calloc(n + 64 + 77, 1);
    assert_int_equal(en_gguf_head_write(meta, tensors, 2, 64, file, n, NULL), ENTRO_OK);
    en_gguf gguf;
    assert_int_equal(en_gguf_parse(&gguf, file, n + 64 + 77, NULL), ENTRO_OK);
    assert_int_equal(gguf.version, 3);
    assert_int_equal(gguf.data_offset, n);
    assert_int_equal(en_meta_count(gguf.meta), en_meta_count(meta));
    for (size_t i = 0; i < en_meta_count(meta); i++) {
        char ours[100], theirs[100];
        en_meta_format(en_meta_at(meta, i), ours, sizeof ours);
        en_meta_format(en_meta_at(gguf.meta, i), theirs, sizeof theirs);
        assert_string_equal(ours, theirs);
        assert_int_equal(en_meta_at(meta, i)->type, en_meta_at(gguf.meta, i)->type);
        assert_string_equal(en_meta_key(meta, i), en_meta_key(gguf.meta, i));
    }
    assert_true(gguf.tensors[1].dtype == EN_DTYPE_I8 && gguf.tensors[1].dims[0] == 77);
    assert_int_equal(gguf.tensors[1].offset, n + 64);
    en_gguf_close(&gguf);
    free(file);
    en_meta_free(meta);
}

static void a_head_of_another_length_is_refused(void **state)
{
    (void)state;
    en_meta *meta;
    en_meta_new(&meta, NULL);
    size_t n;
    uint8_t out[256];
    assert_int_equal(en_gguf_head_bytes(meta, NULL, 0, 64, &n, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_gguf_head_bytes(meta, NULL, 0, 0, &n, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_gguf_head_bytes(meta, NULL, 0, 32, &n, NULL), ENTRO_OK);
    assert_int_equal(n, 32);
    en_meta_set_u32(meta, "a.key.of.some.length", 1, NULL);
    memset(out, 0xAA, sizeof out);
    assert_int_equal(en_gguf_head_write(meta, NULL, 0, 32, out, n, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_gguf_head_write(meta, NULL, 0, 32, out, 200, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(out[200], 0xAA);
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_is_read),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(versions_and_kinds_are_told_apart),
        cmocka_unit_test(hostile_counts_allocate_nothing),
        cmocka_unit_test(bad_keys_are_refused),
        cmocka_unit_test(bad_alignment_is_refused),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(bad_dimensions_and_names_are_refused),
        cmocka_unit_test(tensors_may_not_share),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_head_of_another_length_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
