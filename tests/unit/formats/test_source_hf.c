/*
 * test_source_hf.c - Hugging Face folders as a whole: names, order of rows, shards, and the
 * mistakes people make with them.
 */
#include "formats/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "test_support.h"

enum { N_EMBD = 8, N_HEADS = 2, N_KV_HEADS = 1, N_HEAD_DIM = 4, N_FF = 6, N_VOCAB = 5 };

#define CONFIG(more)                                                                               \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":1,\"hidden_size\":8,"         \
    "\"intermediate_size\":6,\"num_attention_heads\":2,\"num_key_value_heads\":1,"                 \
    "\"vocab_size\":5,\"rms_norm_eps\":1e-5" more "}"

/* All tensors of the folder; tensor i holds 100 i, 100 i + 1, ... */
static const struct {
    const char *name;
    uint32_t rows, cols; /* 0 columns: one dimension */
} all[] = {
    {"model.embed_tokens.weight", N_VOCAB, N_EMBD},
    {"model.layers.0.input_layernorm.weight", N_EMBD, 0},
    {"model.layers.0.self_attn.q_proj.weight", N_HEADS *N_HEAD_DIM, N_EMBD},
    {"model.layers.0.self_attn.q_proj.bias", N_HEADS *N_HEAD_DIM, 0},
    {"model.layers.0.self_attn.k_proj.weight", N_KV_HEADS *N_HEAD_DIM, N_EMBD},
    {"model.layers.0.self_attn.v_proj.weight", N_KV_HEADS *N_HEAD_DIM, N_EMBD},
    {"model.layers.0.self_attn.o_proj.weight", N_EMBD, N_HEADS *N_HEAD_DIM},
    {"model.layers.0.self_attn.rotary_emb.inv_freq", 2, 0},
    {"model.layers.0.post_attention_layernorm.weight", N_EMBD, 0},
    {"model.layers.0.mlp.gate_proj.weight", N_FF, N_EMBD},
    {"model.layers.0.mlp.up_proj.weight", N_FF, N_EMBD},
    {"model.layers.0.mlp.down_proj.weight", N_EMBD, N_FF},
    {"model.norm.weight", N_EMBD, 0},
    {"lm_head.weight", N_VOCAB, N_EMBD},
};
enum { N_ALL = sizeof all / sizeof *all };

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* Tensors first .. end - 1, without 'left_out' (NULL: none). */
static void write_weights(const char *name, int first, int end, const char *left_out)
{
    static uint8_t bytes[16384];
    char header[4096];
    size_t n = 0, n_data = 0;
    n += (size_t)snprintf(header + n, sizeof header - n, "{");
    for (int i = first; i < end; i++) {
        char shape[32];
        uint32_t rows = all[i].rows, cols = all[i].cols;
        uint32_t n_bytes = 4 * rows * (cols > 0 ? cols : 1);
        if (left_out != NULL && strcmp(all[i].name, left_out) == 0)
            continue;
        snprintf(shape, sizeof shape, cols > 0 ? "%u,%u" : "%u", rows, cols);
        n += (size_t)snprintf(
            header + n, sizeof header - n,
            "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
            n > 1 ? "," : "", all[i].name, shape, n_data, n_data + n_bytes);
        for (uint32_t k = 0; k < n_bytes / 4; k++)
            en_store_f32(bytes + 8 + 3000 + n_data + 4 * k, (float)(100 * i) + (float)k);
        n_data += n_bytes;
    }
    n += (size_t)snprintf(header + n, sizeof header - n, "}");
    assert_true(n <= 3000);
    memset(header + n, ' ', 3000 - n);
    en_store64(bytes, 3000);
    memcpy(bytes + 8, header, 3000);
    assert_true(8 + 3000 + n_data <= sizeof bytes);
    write_file(name, bytes, 8 + 3000 + n_data);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_source_hf.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    write_text("config.json", CONFIG());
    write_weights("model.safetensors", 0, N_ALL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    int result = system(command);
    return en_memory_in_use() == 0 ? result : 1;
}

static en_source *opened(void)
{
    en_source *source;
    entro_error err = {0};
    if (en_source_open(&source, folder, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return source;
}

static void refused(entro_status expected, const char *words)
{
    en_source *source;
    entro_error err = {0};
    entro_status status = en_source_open(&source, folder, &err);
    if (status != expected || strstr(err.message, words) == NULL)
        fail_msg("status %d, '%s', expected %d, '%s'", status, err.message, expected, words);
    assert_non_null(strstr(err.where, folder));
}

/* ---- what is read ---------------------------------------------------------------------------------- */

static void gives_tensors_gguf_names_in_layer_order(void **state)
{
    (void)state;
    static const char *const names[] = {"token_embd.weight",
                                        "blk.0.attn_norm.weight",
                                        "blk.0.attn_q.weight",
                                        "blk.0.attn_q.bias",
                                        "blk.0.attn_k.weight",
                                        "blk.0.attn_v.weight",
                                        "blk.0.attn_output.weight",
                                        "blk.0.ffn_norm.weight",
                                        "blk.0.ffn_gate.weight",
                                        "blk.0.ffn_up.weight",
                                        "blk.0.ffn_down.weight",
                                        "output_norm.weight",
                                        "output.weight"};
    en_source *s = opened();
    assert_int_equal(en_source_get_kind(s), EN_SOURCE_HF);
    assert_int_equal(en_source_n_tensors(s), sizeof names / sizeof *names);
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(en_source_tensor(s, i)->name, names[i]);
    const en_tensor *down = en_source_find(s, "blk.0.ffn_down.weight");
    assert_true(down->n_dims == 2 && down->dims[0] == N_FF && down->dims[1] == N_EMBD);
    assert_true(
        en_span_is(en_meta_string(en_source_meta(s), "general.name"), strrchr(folder, '/') + 1));
    assert_null(en_meta_get(en_source_meta(s), "tokenizer.ggml.model"));
    assert_true(en_source_file_bytes(s) > 3008);
    en_source_close(s);
}

static void check_rows(const en_source *s, const char *name, int i, const int *order,
                       uint32_t n_rows)
{
    const en_tensor *t = en_source_find(s, name);
    uint32_t n_cols = all[i].cols > 0 ? all[i].cols : 1;
    float out[64];
    assert_non_null(t);
    assert_null(t->data);
    assert_int_equal(en_source_read_rows(s, t, 0, en_tensor_n_rows(t), out, NULL), ENTRO_OK);
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t c = 0; c < n_cols; c++)
            assert_true(out[r * n_cols + c] ==
                        (float)(100 * i) + (float)((uint32_t)order[r] * n_cols + c));
}

static void interleaves_rows_of_q_and_k(void **state)
{
    (void)state;
    static const int order[] = {0, 2, 1, 3, 4, 6, 5, 7};
    en_source *s = opened();
    check_rows(s, "blk.0.attn_q.weight", 2, order, 8);
    check_rows(s, "blk.0.attn_q.bias", 3, order, 8);
    check_rows(s, "blk.0.attn_k.weight", 4, order, 4);
    float row[N_EMBD];
    const en_tensor *q = en_source_find(s, "blk.0.attn_q.weight");
    assert_int_equal(en_source_read_rows(s, q, 5, 1, row, NULL), ENTRO_OK);
    assert_true(row[0] == 200 + 6 * N_EMBD);
    const en_tensor *v = en_source_find(s, "blk.0.attn_v.weight");
    assert_int_equal(en_source_read_rows(s, v, 1, 1, row, NULL), ENTRO_OK);
    assert_true(row[0] == 500 + N_EMBD && v->data != NULL);
    en_source_forget(s, q);
    en_source_forget(s, v);
    assert_int_equal(en_source_read_rows(s, v, 1, 1, row, NULL), ENTRO_OK);
    assert_true(row[0] == 500 + N_EMBD);
    assert_int_equal(en_source_read_rows(s, q, 8, 1, row, NULL), ENTRO_ERR_ARGUMENT);
    en_tensor copy = *q;
    assert_int_equal(en_source_read_rows(s, &copy, 0, 1, row, NULL), ENTRO_ERR_ARGUMENT);
    en_source_close(s);
}

/* Bytes are those of the rows; where they lie in the file, and in what order, is told. */
static void gives_bytes_and_their_places(void **state)
{
    (void)state;
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_q.bias",
                                        "blk.0.attn_v.weight"};
    en_source *s = opened();
    assert_int_equal(en_source_n_files(s), 1);
    en_source_file file = en_source_file_at(s, 0);
    assert_string_equal(file.name, "model.safetensors");
    for (int i = 0; i < 3; i++) {
        const en_tensor *t = en_source_find(s, names[i]);
        float rows[64], bytes[64];
        en_source_place place;
        uint64_t n_rows = en_tensor_n_rows(t);
        assert_int_equal(en_source_row_bytes(t) * n_rows, t->n_bytes);
        assert_int_equal(en_source_read_rows(s, t, 0, n_rows, rows, NULL), ENTRO_OK);
        assert_int_equal(en_source_read_bytes(s, t, 0, n_rows, (uint8_t *)bytes, NULL), ENTRO_OK);
        assert_memory_equal(bytes, rows, t->n_bytes);
        assert_true(en_source_find_place(s, (uint32_t)(t - en_source_tensor(s, 0)), &place));
        assert_int_equal(place.file, 0);
        assert_int_equal(place.n_head_rows, i < 2 ? N_HEAD_DIM : 0);
        /* File row s n / 2 + j of a head is row 2 j + s. */
        uint64_t n = t->n_dims == 1 ? t->dims[0] : n_rows, n_cols = t->n_bytes / 4 / n;
        for (uint64_t r = 0; r < n; r++) {
            uint64_t h = place.n_head_rows > 0 ? place.n_head_rows : 2 * n;
            uint64_t at = h > n ? r : r / h * h + r % 2 * (h / 2) + r % h / 2;
            assert_memory_equal(file.data + place.offset + 4 * n_cols * at, bytes + n_cols * r,
                                4 * n_cols);
        }
        assert_int_equal(en_source_read_bytes(s, t, n_rows, 1, (uint8_t *)bytes, NULL),
                         ENTRO_ERR_ARGUMENT);
    }
    en_source_close(s);
}

static void drops_a_tied_output(void **state)
{
    (void)state;
    write_text("config.json", CONFIG(",\"tie_word_embeddings\":true"));
    en_source *s = opened();
    assert_null(en_source_find(s, "output.weight"));
    en_source_close(s);
    write_text("config.json", CONFIG());
    write_weights("model.safetensors", 0, N_ALL, "lm_head.weight");
    s = opened(); /* does not say, and there is none: tied */
    assert_null(en_source_find(s, "output.weight"));
    en_source_close(s);
    write_text("config.json", CONFIG(",\"tie_word_embeddings\":false"));
    refused(ENTRO_ERR_NOT_FOUND, "'lm_head.weight' is missing");
}

static void computes_rope_tensors(void **state)
{
    (void)state;
    write_text("config.json", CONFIG(",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}"));
    en_source *s = opened();
    const en_tensor *t = en_source_find(s, "rope_freqs.weight");
    float out[N_HEAD_DIM / 2];
    assert_non_null(t);
    assert_true(t->n_dims == 1 && t->dims[0] == N_HEAD_DIM / 2 && t->dtype == EN_DTYPE_F32);
    assert_int_equal(en_source_read_rows(s, t, 0, 1, out, NULL), ENTRO_OK);
    assert_true(out[0] == 1.0f && t->data != NULL);
    en_source_forget(s, t);
    en_source_close(s);
}

#define INDEX "model.safetensors.index.json"

static void reads_shards(void **state)
{
    (void)state;
    remove(path_of("model.safetensors"));
    write_weights("model-00001-of-00002.safetensors", 0, 6, NULL);
    write_weights("model-00002-of-00002.safetensors", 6, N_ALL, NULL);
    write_text(INDEX, "{\"metadata\":{\"total_size\":1},\"weight_map\":{"
                      "\"model.embed_tokens.weight\":\"model-00001-of-00002.safetensors\","
                      "\"model.norm.weight\":\"model-00002-of-00002.safetensors\","
                      "\"lm_head.weight\":\"model-00002-of-00002.safetensors\"}}");
    en_source *s = opened();
    assert_int_equal(en_source_n_tensors(s), 13);
    float out[N_EMBD];
    assert_int_equal(
        en_source_read_rows(s, en_source_find(s, "output_norm.weight"), 0, 1, out, NULL), ENTRO_OK);
    assert_true(out[1] == 1201);
    en_source_close(s);
    remove(path_of("model-00002-of-00002.safetensors"));
    refused(ENTRO_ERR_NOT_FOUND, "shard 'model-00002-of-00002.safetensors' is missing");
}

/* ---- mistakes -------------------------------------------------------------------------------------- */

static void names_what_is_missing(void **state)
{
    (void)state;
    write_weights("model.safetensors", 0, N_ALL, "model.layers.0.mlp.up_proj.weight");
    refused(ENTRO_ERR_NOT_FOUND, "'model.layers.0.mlp.up_proj.weight' is missing");
    remove(path_of("model.safetensors"));
    refused(ENTRO_ERR_NOT_FOUND, "neither model.safetensors nor model.safetensors.index.json");
}

static void says_where_a_download_was_cut(void **state)
{
    (void)state;
    write_weights("model.safetensors", 0, N_ALL, NULL);
    assert_int_equal(truncate(path_of("model.safetensors"), 4000), 0);
    refused(ENTRO_ERR_FORMAT, "(truncated download?)");
    write_text("config.json", "{\"architectures\":");
    refused(ENTRO_ERR_FORMAT, "truncated download?");
}

static void refuses_what_config_and_weights_disagree_on(void **state)
{
    (void)state;
    write_text("config.json", CONFIG(",\"vocab_size\":6"));
    refused(ENTRO_ERR_FORMAT, "no matrix with the 6 rows");
    write_text("config.json", CONFIG(",\"num_hidden_layers\":1000"));
    refused(ENTRO_ERR_FORMAT, "1000 layers");
    write_text("config.json", CONFIG(",\"num_hidden_layers\":2"));
    refused(ENTRO_ERR_NOT_FOUND, "'model.layers.1.input_layernorm.weight' is missing");
    write_text("config.json", CONFIG(",\"num_key_value_heads\":2"));
    refused(ENTRO_ERR_FORMAT, "has 4 rows, config.json says 2 heads of 4");
}

static void refuses_bad_indexes(void **state)
{
    (void)state;
    remove(path_of("model.safetensors"));
    write_text(INDEX, "{}");
    refused(ENTRO_ERR_FORMAT, "no 'weight_map'");
    write_text(INDEX, "{\"weight_map\":{\"a\":\"../x.safetensors\"}}");
    refused(ENTRO_ERR_FORMAT, "not in a file of the folder");
    write_text(INDEX, "{\"weight_map\":{\"a\":\"x/y.safetensors\"}}");
    refused(ENTRO_ERR_FORMAT, "not in a file of the folder");
    write_text(INDEX, "{\"weight_map\":{\"a\":3}}");
    refused(ENTRO_ERR_FORMAT, "not in a file of the folder");
}

static void names_a_damaged_tokenizer(void **state)
{
    (void)state;
    write_text("tokenizer.model", "nonsense");
    refused(ENTRO_ERR_FORMAT, "no SentencePiece model");
    remove(path_of("tokenizer.model"));
    write_text("tokenizer.json", "{\"model\":");
    refused(ENTRO_ERR_FORMAT, "truncated download?");
}

/* ---- on real files ----------------------------------------------------------------------------------- */

static void reads_a_published_folder(void **state)
{
    (void)state;
    const char *path = TEST_SHARED "/data/models/tinystories-656k";
    en_source *s;
    if (!en_path_exists(path))
        skip();
    assert_int_equal(en_source_open(&s, path, NULL), ENTRO_OK);
    const en_meta *meta = en_source_meta(s);
    assert_int_equal(en_source_n_tensors(s), 20);
    assert_int_equal(en_meta_u32(meta, "llama.block_count", 0), 2);
    assert_int_equal(en_meta_get(meta, "tokenizer.ggml.tokens")->n, 2048);
    assert_int_equal(en_meta_get(meta, "tokenizer.ggml.merges")->n, 1967);
    assert_int_equal(en_source_find(s, "token_embd.weight")->dtype, EN_DTYPE_BF16);
    en_source_close(s);
}

/* Allocation n fails, for each n in steps of 'step'. */
static void survives_failing_allocations(const char *path, uint64_t step)
{
    entro_status status = ENTRO_ERR_NOMEM;
    uint64_t n = 0;
    for (; status != ENTRO_OK; n += step) {
        en_source *s = NULL;
        en_memory_fail_at(n);
        status = en_source_open(&s, path, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        if (status == ENTRO_OK)
            en_source_close(s);
        assert_int_equal(en_memory_in_use(), 0);
    }
    assert_true(n > 20);
}

static void survives_every_failing_allocation(void **state)
{
    (void)state;
    survives_failing_allocations(folder, 1);
    write_text("tokenizer.json", "{\"model\":{\"byte_fallback\":true,\"vocab\":{\"a\":0,\"b\":1,"
                                 "\"ab\":2},\"merges\":[\"a b\"]},\"added_tokens\":[{\"id\":3,"
                                 "\"content\":\"x▁y\",\"rstrip\":true}]}");
    survives_failing_allocations(folder, 1);
    const char *published = TEST_SHARED "/data/models/tinystories-656k";
    if (en_path_exists(published)) /* 11,000 allocations, nearly all of them jansson's */
        survives_failing_allocations(published, 61);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_tensors_gguf_names_in_layer_order),
        TEST(interleaves_rows_of_q_and_k),
        TEST(gives_bytes_and_their_places),
        TEST(drops_a_tied_output),
        TEST(computes_rope_tensors),
        TEST(reads_shards),
        TEST(names_what_is_missing),
        TEST(says_where_a_download_was_cut),
        TEST(refuses_what_config_and_weights_disagree_on),
        TEST(refuses_bad_indexes),
        TEST(names_a_damaged_tokenizer),
        TEST(reads_a_published_folder),
        TEST(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
