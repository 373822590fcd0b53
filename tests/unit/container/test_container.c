/* test_container.c - opening a container file: what it lists, and what it refuses. */
#include "container/container.h"

#include <unistd.h>

#include "test_support.h"
#include "payload_support.h"

static char g_path[] = "/tmp/entrollm-container-XXXXXX";

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(g_path);
    return fd < 0 || close(fd) != 0;
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(g_path);
}

static void write_file(const uint8_t *bytes, size_t n_bytes)
{
    FILE *f = fopen(g_path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n_bytes, f), n_bytes);
    assert_int_equal(fclose(f), 0);
}

typedef struct opened {
    en_source *source;
    en_container *container;
    entro_status status;
    entro_error err;
} opened;

static opened open_file(void)
{
    opened o = {0};
    assert_int_equal(en_source_open(&o.source, g_path, &o.err), ENTRO_OK);
    o.status = en_container_open(&o.container, o.source, &o.err);
    return o;
}

static void close_file(opened *o)
{
    en_container_close(o->container);
    en_source_close(o->source);
}

static const float g_norm[3] = {1.0f, 2.0f, 3.0f};

/* A norm and a coded matrix; 'meta' is freed. */
static void write_container(en_meta *meta, const test_payload *t)
{
    en_tensor tensors[] = {
        test_tensor("output_norm.weight", EN_DTYPE_F32, g_norm, 3, sizeof g_norm),
        test_tensor("output.weight", EN_DTYPE_I8, t->bytes, t->n_bytes, t->n_bytes)};
    size_t n_bytes;
    uint8_t *bytes = test_container_bytes(meta, tensors, 2, &n_bytes);
    write_file(bytes, n_bytes);
    en_free(bytes);
    en_meta_free(meta);
}

static void lists_plain_and_coded_tensors(void **state)
{
    (void)state;
    test_payload t = test_payload_make("u4-row", 20, 48, 7, NULL, 1);
    write_container(test_container_meta(1, EN_FEATURE_HUFFMAN), &t);
    opened o = open_file();
    assert_int_equal(o.status, ENTRO_OK);
    assert_true(en_container_is(o.source));
    assert_int_equal(en_container_n_tensors(o.container), 2);
    assert_null(en_container_tensor_at(o.container, 0)->coded);
    const en_container_tensor *m = en_container_find(o.container, "output.weight");
    assert_ptr_equal(m, en_container_tensor_at(o.container, 1));
    assert_int_equal(m->tensor.n_dims, 2);
    assert_int_equal(m->tensor.dims[0], 48);
    assert_int_equal(m->tensor.dims[1], 20);
    assert_int_equal(m->coded->n_segments, 3);
    assert_null(en_container_find(o.container, "nothing"));
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(en_container_check_hash(o.container, i, &o.err), ENTRO_OK);
    close_file(&o);
    test_payload_free(&t);
}

static void hides_shared_tables_and_checks_them(void **state)
{
    (void)state;
    uint8_t codes[1000];
    uint64_t seed = 8;
    test_codes(codes, sizeof codes, 16, &seed);
    en_code *code = test_code(16, codes, sizeof codes);
    uint8_t table[4096];
    size_t n_table = en_code_stored_bytes(code);
    assert_true(n_table <= sizeof table);
    en_code_store(code, table);
    test_payload t = test_payload_make("u4", 4, 32, 2, code, 2);
    for (int damaged = 0; damaged < 2; damaged++) {
        en_meta *meta = test_container_meta(1, EN_FEATURES_KNOWN);
        /* The table may stand behind its users. */
        en_tensor tensors[] = {
            test_tensor("a", EN_DTYPE_I8, t.bytes, t.n_bytes, t.n_bytes),
            test_tensor("entrollm.table.4", EN_DTYPE_I8, table, n_table, n_table)};
        size_t n_bytes;
        uint8_t *bytes = test_container_bytes(meta, tensors, 2, &n_bytes);
        if (damaged)
            bytes[n_bytes - (n_table + 63) / 64 * 64] ^= 1;
        write_file(bytes, n_bytes);
        opened o = open_file();
        assert_int_equal(o.status, damaged ? ENTRO_ERR_CHECKSUM : ENTRO_OK);
        if (damaged)
            assert_non_null(strstr(o.err.where, "entrollm.table.4"));
        else
            assert_int_equal(en_container_n_tensors(o.container), 1);
        close_file(&o);
        en_free(bytes);
        en_meta_free(meta);
    }
    test_payload_free(&t);
    en_code_free(code);
}

static void assert_refused(en_meta *meta, entro_status status, const char *message)
{
    test_payload t = test_payload_make("u8", 2, 8, 1, NULL, 1);
    write_container(meta, &t);
    opened o = open_file();
    assert_int_equal(o.status, status);
    assert_non_null(strstr(o.err.message, message));
    assert_non_null(strstr(o.err.where, g_path));
    close_file(&o);
    test_payload_free(&t);
}

static void refuses_what_newer_tools_made(void **state)
{
    (void)state;
    assert_refused(test_container_meta(2, 1), ENTRO_ERR_VERSION, "newer");
    assert_refused(test_container_meta(1, UINT64_C(1) << 63), ENTRO_ERR_VERSION,
                   "8000000000000000");
}

static void refuses_bad_keys(void **state)
{
    (void)state;
    assert_refused(test_container_meta(0, 1), ENTRO_ERR_FORMAT, EN_KEY_VERSION);
    en_meta *meta = test_container_meta(1, 1);
    en_meta_remove(meta, EN_KEY_FEATURES);
    assert_refused(meta, ENTRO_ERR_FORMAT, EN_KEY_FEATURES);
    meta = test_container_meta(1, 1);
    en_meta_remove(meta, EN_KEY_VERSION);
    assert_refused(meta, ENTRO_ERR_FORMAT, "is not an EntroLLM container");
    uint64_t hash = 0;
    en_meta_value v = {.type = EN_META_U64, .is_array = true, .n = 1};
    v.data = (const uint8_t *)&hash;
    meta = test_container_meta(1, 1);
    assert_int_equal(en_meta_set(meta, EN_KEY_HASHES, &v, NULL), ENTRO_OK);
    assert_refused(meta, ENTRO_ERR_FORMAT, "1 checksums for 2 tensors");
    meta = test_container_meta(1, 1);
    assert_int_equal(en_meta_set_u32(meta, EN_KEY_HASHES, 1, NULL), ENTRO_OK);
    assert_refused(meta, ENTRO_ERR_FORMAT, EN_KEY_HASHES);
}

static void names_a_damaged_tensor(void **state)
{
    (void)state;
    test_payload t = test_payload_make("u8", 2, 8, 1, NULL, 1);
    write_container(test_container_meta(1, 1), &t);
    FILE *f = fopen(g_path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0); /* in the padding: only the checksum sees it */
    assert_int_equal(fputc(1, f), 1);
    assert_int_equal(fclose(f), 0);
    opened o = open_file();
    assert_int_equal(o.status, ENTRO_OK);
    assert_int_equal(en_container_check_hash(o.container, 0, &o.err), ENTRO_OK);
    assert_int_equal(en_container_check_hash(o.container, 1, &o.err), ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(o.err.where, "output.weight"));
    close_file(&o);

    t.bytes[0] = 'X'; /* a right checksum, but no payload */
    write_container(test_container_meta(1, 1), &t);
    o = open_file();
    assert_int_equal(o.status, ENTRO_ERR_FORMAT);
    assert_non_null(strstr(o.err.where, "output.weight"));
    close_file(&o);
    test_payload_free(&t);
}

static void is_not_one_without_our_keys(void **state)
{
    (void)state;
    en_source *source;
    assert_int_equal(
        en_source_open(&source, TEST_SHARED "/data/models/stories260k/stories260K.gguf", NULL),
        ENTRO_OK);
    assert_false(en_container_is(source));
    en_source_close(source);
    en_container_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_plain_and_coded_tensors),
        cmocka_unit_test(hides_shared_tables_and_checks_them),
        cmocka_unit_test(refuses_what_newer_tools_made),
        cmocka_unit_test(refuses_bad_keys),
        cmocka_unit_test(names_a_damaged_tensor),
        cmocka_unit_test(is_not_one_without_our_keys),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
