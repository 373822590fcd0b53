/*
 * Tensors of a model: shapes against the metadata, what may be missing, what must not be there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "model/decoder.h"

enum { EMBD = 8, HEADS = 2, KV_HEADS = 1, HEAD_DIM = 4, FF = 12, VOCAB = 20, LAYERS = 2 };

/* A source in memory; every weight is its index in the tensor. */
typedef struct fake {
    en_source source;
    en_tensor tensors[64];
} fake;

static entro_status read_rows(const en_source *source, const en_tensor *t, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err)
{
    (void)source;
    (void)err;
    for (uint64_t i = 0; i < n_rows * t->dims[0]; i++)
        out[i] = (float)(row * t->dims[0] + i + 1);
    return ENTRO_OK;
}

static const en_source_ops ops = {.read_rows = read_rows};

static en_tensor *add(fake *f, const char *name, uint64_t cols, uint64_t rows)
{
    en_tensor *t = &f->tensors[f->source.n_tensors++];
    *t = (en_tensor){.dtype = EN_DTYPE_F32, .n_dims = rows > 1 ? 2 : 1, .dims = {cols, rows, 1, 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static void add_layer(fake *f, int layer, bool bias)
{
    static const struct {
        const char *name;
        uint64_t cols, rows;
        bool is_bias;
    } all[] = {{"attn_norm.weight", EMBD, 1, false},
               {"attn_q.weight", EMBD, HEADS * HEAD_DIM, false},
               {"attn_k.weight", EMBD, KV_HEADS * HEAD_DIM, false},
               {"attn_v.weight", EMBD, KV_HEADS * HEAD_DIM, false},
               {"attn_q.bias", HEADS * HEAD_DIM, 1, true},
               {"attn_k.bias", KV_HEADS * HEAD_DIM, 1, true},
               {"attn_v.bias", KV_HEADS * HEAD_DIM, 1, true},
               {"attn_output.weight", HEADS * HEAD_DIM, EMBD, false},
               {"ffn_norm.weight", EMBD, 1, false},
               {"ffn_gate.weight", EMBD, FF, false},
               {"ffn_up.weight", EMBD, FF, false},
               {"ffn_down.weight", FF, EMBD, false}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s", layer, all[i].name);
        if (!all[i].is_bias || bias)
            add(f, name, all[i].cols, all[i].rows);
    }
}

static void make(fake *f, const char *arch)
{
    *f = (fake){.source = {.ops = &ops, .kind = EN_SOURCE_GGUF}};
    f->source.tensors = f->tensors;
    assert_int_equal(en_meta_new(&f->source.meta, NULL), ENTRO_OK);
    en_meta_set_string(f->source.meta, "general.architecture", arch, NULL);
    static const struct {
        const char *name;
        uint32_t value;
    } keys[] = {{"block_count", LAYERS},
                {"embedding_length", EMBD},
                {"feed_forward_length", FF},
                {"attention.head_count", HEADS},
                {"attention.head_count_kv", KV_HEADS}};
    for (int i = 0; i < 5; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s.%s", arch, keys[i].name);
        en_meta_set_u32(f->source.meta, key, keys[i].value, NULL);
    }
    add(f, "token_embd.weight", EMBD, VOCAB);
    add(f, "output_norm.weight", EMBD, 1);
    for (int i = 0; i < LAYERS; i++)
        add_layer(f, i, strcmp(arch, "qwen2") == 0);
}

static en_tensor *find(fake *f, const char *name)
{
    for (uint32_t i = 0; i < f->source.n_tensors; i++) {
        if (strcmp(f->tensors[i].name, name) == 0)
            return &f->tensors[i];
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static void loads_and_ties_the_output(void **state)
{
    (void)state;
    fake f;
    make(&f, "llama");
    en_decoder *d = NULL;
    assert_int_equal(en_decoder_new(&d, &f.source, NULL, NULL), ENTRO_OK);
    assert_int_equal(d->hp.n_vocab, VOCAB);
    assert_ptr_equal(d->weights.output.plain, d->weights.token_embd.plain);
    assert_null(d->weights.layers[0].qkv_bias);
    assert_true(d->weights.output_norm[EMBD - 1] == EMBD);
    en_decoder_free(d);
    add(&f, "output.weight", EMBD, VOCAB);
    assert_int_equal(en_decoder_new(&d, &f.source, NULL, NULL), ENTRO_OK);
    assert_string_equal(d->weights.output.name, "output.weight");
    en_decoder_free(d);
    en_meta_free(f.source.meta);
}

static void biases_of_q_k_v_become_one_vector(void **state)
{
    (void)state;
    fake f;
    make(&f, "qwen2");
    en_decoder *d = NULL;
    assert_int_equal(en_decoder_new(&d, &f.source, NULL, NULL), ENTRO_OK);
    const float *bias = d->weights.layers[1].qkv_bias;
    static const float want[16] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 1, 2, 3, 4};
    assert_memory_equal(bias, want, sizeof want);
    en_decoder_free(d);
    en_meta_free(f.source.meta);
}

/* Frees f. */
static void refuse(fake *f, entro_status status, const char *where, const char *message)
{
    en_decoder *d = NULL;
    entro_error err = {0};
    size_t before = en_memory_in_use();
    assert_int_equal(en_decoder_new(&d, &f->source, NULL, &err), status);
    if (strstr(err.where, where) == NULL || strstr(err.message, message) == NULL)
        fail_msg("expected '%s', '%s'; got '%s', '%s'", where, message, err.where, err.message);
    assert_int_equal(en_memory_in_use(), before);
    en_meta_free(f->source.meta);
}

static void refuses_every_missing_tensor(void **state)
{
    (void)state;
    fake f;
    make(&f, "qwen2");
    uint32_t n = f.source.n_tensors;
    en_meta_free(f.source.meta);
    for (uint32_t i = 0; i < n; i++) {
        make(&f, "qwen2");
        char name[EN_MAX_TENSOR_NAME];
        memcpy(name, f.tensors[i].name, sizeof name);
        f.tensors[i] = f.tensors[--f.source.n_tensors];
        refuse(&f, ENTRO_ERR_NOT_FOUND, name, "no such tensor");
    }
}

static void refuses_every_wrong_shape(void **state)
{
    (void)state;
    fake f;
    make(&f, "qwen2");
    uint32_t n = f.source.n_tensors;
    en_meta_free(f.source.meta);
    for (uint32_t i = 0; i < n; i++) {
        make(&f, "qwen2");
        f.tensors[i].dims[0]++;
        refuse(&f, ENTRO_ERR_FORMAT, f.tensors[i].name, "columns");
        if (i == 0)
            continue; /* the embedding's rows are the vocabulary */
        make(&f, "qwen2");
        f.tensors[i].dims[1]++;
        refuse(&f, ENTRO_ERR_FORMAT, f.tensors[i].name, "rows");
    }
    make(&f, "llama");
    add(&f, "output.weight", EMBD, VOCAB + 1);
    refuse(&f, ENTRO_ERR_FORMAT, "output.weight", "20 rows");
    make(&f, "llama");
    find(&f, "token_embd.weight")->dims[1] = 1u << 25;
    refuse(&f, ENTRO_ERR_FORMAT, "token_embd.weight", "vocabulary");
}

static void refuses_integers_as_weights(void **state)
{
    (void)state;
    fake f;
    make(&f, "llama");
    find(&f, "blk.1.ffn_up.weight")->dtype = EN_DTYPE_I8;
    refuse(&f, ENTRO_ERR_FORMAT, "blk.1.ffn_up.weight", "I8");
    make(&f, "llama");
    find(&f, "blk.0.ffn_norm.weight")->dtype = EN_DTYPE_I32;
    refuse(&f, ENTRO_ERR_FORMAT, "blk.0.ffn_norm.weight", "I32");
}

static void refuses_tensors_it_would_have_to_ignore(void **state)
{
    (void)state;
    static const char *const extra[] = {"blk.0.attn_q_norm.weight", "blk.1.ffn_gate_inp.weight",
                                        "blk.2.attn_q.weight", "blk.0.attn_qkv.weight"};
    for (int i = 0; i < 4; i++) {
        fake f;
        make(&f, "llama");
        add(&f, extra[i], EMBD, 1);
        refuse(&f, ENTRO_ERR_UNSUPPORTED, extra[i], "no place");
    }
    fake f;
    make(&f, "llama"); /* harmless ones */
    add(&f, "blk.0.attn_rot_embd", EMBD, 1);
    add(&f, "rope_freqs.weight", HEAD_DIM / 2, 1);
    en_decoder *d = NULL;
    assert_int_equal(en_decoder_new(&d, &f.source, NULL, NULL), ENTRO_OK);
    assert_non_null(d->weights.rope_freqs);
    en_decoder_free(d);
    en_meta_free(f.source.meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_and_ties_the_output),
        cmocka_unit_test(biases_of_q_k_v_become_one_vector),
        cmocka_unit_test(refuses_every_missing_tensor),
        cmocka_unit_test(refuses_every_wrong_shape),
        cmocka_unit_test(refuses_integers_as_weights),
        cmocka_unit_test(refuses_tensors_it_would_have_to_ignore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
