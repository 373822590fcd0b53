/*
 * test_safetensors.c - safetensors files: what is read, and every refusal.
 */
#include "formats/safetensors.h"

#include <stdio.h>

#include "base/memory.h"
#include "test_support.h"

static uint8_t file[4096];

/* Header and n_data bytes 0, 1, 2 ...; returns the file's length. */
static size_t make(const char *header, size_t n_data)
{
    size_t n = strlen(header);
    en_store64(file, n);
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        file[8 + n + i] = (uint8_t)i;
    return 8 + n + n_data;
}

static void refused_bytes(size_t n_bytes, const char *words)
{
    en_safetensors st;
    entro_error err = {0};
    size_t before = en_memory_in_use();
    assert_int_equal(en_safetensors_parse(&st, file, n_bytes, &err), ENTRO_ERR_FORMAT);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' lacks '%s'", err.message, words);
    assert_int_equal(en_memory_in_use(), before);
}

static void refused(const char *header, size_t n_data, const char *words)
{
    refused_bytes(make(header, n_data), words);
}

static void reads_tensors(void **state)
{
    (void)state;
    en_safetensors st;
    en_tensor t = {0};
    size_t n = make("{\"__metadata__\":{\"format\":\"pt\"},"
                    "\"w\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                    "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                    "\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[16,24]}}",
                    24);
    assert_int_equal(en_safetensors_parse(&st, file, n, NULL), ENTRO_OK);
    assert_int_equal(st.n_entries, 3);
    const en_safetensors_entry *w = en_safetensors_find(&st, "w");
    assert_int_equal(en_safetensors_tensor(w, &t, NULL), ENTRO_OK);
    assert_int_equal(t.dtype, EN_DTYPE_BF16);
    assert_int_equal(t.n_dims, 2);
    assert_true(t.dims[0] == 3 && t.dims[1] == 2 && t.dims[2] == 1 && t.dims[3] == 1);
    assert_int_equal(t.n_bytes, 12);
    assert_int_equal(t.data[0], 4);
    assert_ptr_equal(t.data, file + t.offset);
    assert_null(en_safetensors_find(&st, "x"));
    en_safetensors_close(&st);
}

static void refuses_unusable_types_only_when_used(void **state)
{
    (void)state;
    en_safetensors st;
    en_tensor t;
    entro_error err;
    size_t n = make("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]},"
                    "\"b\":{\"dtype\":\"F99\",\"shape\":[4],\"data_offsets\":[4,5]},"
                    "\"c\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[5,9]}}",
                    9);
    assert_int_equal(en_safetensors_parse(&st, file, n, NULL), ENTRO_OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(en_safetensors_tensor(&st.entries[i], &t, &err), ENTRO_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, i == 0 ? "F8_E4M3" : i == 1 ? "F99" : "dimensions"));
    }
    en_safetensors_close(&st);
}

static void refuses_truncated_files(void **state)
{
    (void)state;
    const char *header = "{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}";
    size_t n = make(header, 16);
    char words[128];
    snprintf(words, sizeof words, "tensor 'x' ends at byte %zu, file has %zu (truncated download?)",
             n, n - 1);
    refused_bytes(n - 1, words);
    snprintf(words, sizeof words, "header ends at byte %zu, file has 20", n - 16);
    refused_bytes(20, words);
    refused_bytes(7, "7 bytes");
    refused_bytes(0, "0 bytes");
}

static void refuses_other_files(void **state)
{
    (void)state;
    memcpy(file, "GGUF\3\0\0\0\0\0\0\0", 12);
    refused_bytes(100, "not a safetensors file");
    memcpy(file, "version https://git-lfs.github.com/spec/v1\n", 43);
    refused_bytes(43, "git lfs pull");
    refused("[]", 0, "no JSON object");
    refused("{\"a\":", 0, "JSON ends");
    en_store64(file, (uint64_t)EN_SAFETENSORS_MAX_HEADER + 1);
    refused_bytes(100, "expected 2 .. 104857600");
}

static void refuses_wrong_descriptions(void **state)
{
    (void)state;
    refused("{\"x\":1}", 0, "expected dtype, shape");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "rising");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "rising");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}}", 4, "no list");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
            "at most 8");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "dimension 0");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}",
            4, "dimension 1");
    refused("{\"x\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]}}", 4,
            "dimension 0");
    refused("{\"x\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[0,4]}}", 4,
            "3 elements of F16 do not take the 4 bytes");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9007199254740992]}}", 4,
            "truncated");
}

static void refuses_overlapping_and_repeated_tensors(void **state)
{
    (void)state;
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
            "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            8, "'x' and 'y' overlap");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            8, "names must be unique");
}

static void survives_every_failing_allocation(void **state)
{
    (void)state;
    size_t n = make("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    size_t before = en_memory_in_use();
    en_safetensors st;
    uint64_t fail_at = 0;
    for (entro_status status = ENTRO_ERR_NOMEM; status != ENTRO_OK; fail_at++) {
        en_memory_fail_at(fail_at);
        status = en_safetensors_parse(&st, file, n, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        en_safetensors_close(&st);
        assert_int_equal(en_memory_in_use(), before);
    }
    assert_true(fail_at > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors),
        cmocka_unit_test(refuses_unusable_types_only_when_used),
        cmocka_unit_test(refuses_truncated_files),
        cmocka_unit_test(refuses_other_files),
        cmocka_unit_test(refuses_wrong_descriptions),
        cmocka_unit_test(refuses_overlapping_and_repeated_tensors),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
