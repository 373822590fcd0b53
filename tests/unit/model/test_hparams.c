/*
 * A model's numbers from its metadata: defaults, every refusal.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "model/hparams.h"

static en_meta *good(void)
{
    en_meta *m = NULL;
    assert_int_equal(en_meta_new(&m, NULL), ENTRO_OK);
    en_meta_set_string(m, "general.architecture", "llama", NULL);
    en_meta_set_u32(m, "llama.block_count", 3, NULL);
    en_meta_set_u32(m, "llama.embedding_length", 48, NULL);
    en_meta_set_u32(m, "llama.feed_forward_length", 100, NULL);
    en_meta_set_u32(m, "llama.attention.head_count", 6, NULL);
    return m;
}

static void fills_in_defaults(void **state)
{
    (void)state;
    en_meta *m = good();
    en_hparams hp;
    assert_int_equal(en_hparams_read(&hp, m, NULL), ENTRO_OK);
    assert_ptr_equal(hp.arch, &en_arch_llama);
    assert_int_equal(hp.n_kv_heads, 6);
    assert_int_equal(hp.n_head_dim, 8);
    assert_int_equal(hp.n_rot, 8);
    assert_int_equal(hp.n_ctx_train, 0);
    assert_int_equal(hp.sliding_window, 0);
    assert_true(hp.rope.base == 10000.0f && hp.rope.linear_factor == 1.0f);
    en_meta_free(m);
}

static void reads_what_is_stored(void **state)
{
    (void)state;
    en_meta *m = good();
    en_meta_set_u32(m, "llama.attention.head_count_kv", 2, NULL);
    en_meta_set_u32(m, "llama.attention.key_length", 16, NULL);
    en_meta_set_u32(m, "llama.attention.value_length", 16, NULL);
    en_meta_set_u32(m, "llama.rope.dimension_count", 12, NULL);
    en_meta_set_u32(m, "llama.context_length", 8192, NULL);
    en_meta_set_u32(m, "llama.attention.sliding_window", 4096, NULL);
    en_meta_set_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-6f, NULL);
    en_meta_set_f32(m, "llama.rope.freq_base", 5e5f, NULL);
    en_meta_set_string(m, "llama.rope.scaling.type", "linear", NULL);
    en_meta_set_f32(m, "llama.rope.scaling.factor", 4.0f, NULL);
    en_hparams hp;
    assert_int_equal(en_hparams_read(&hp, m, NULL), ENTRO_OK);
    assert_int_equal(hp.n_kv_heads, 2);
    assert_int_equal(hp.n_head_dim, 16);
    assert_int_equal(hp.n_rot, 12);
    assert_int_equal(hp.n_ctx_train, 8192);
    assert_int_equal(hp.sliding_window, 4096);
    assert_true(hp.norm_epsilon == 1e-6f && hp.rope.base == 5e5f);
    assert_true(hp.rope.linear_factor == 4.0f);
    en_meta_free(m);
}

static void expect(en_meta *m, entro_status status, const char *text)
{
    en_hparams hp;
    entro_error err = {0};
    assert_int_equal(en_hparams_read(&hp, m, &err), status);
    if (strstr(err.message, text) == NULL && strstr(err.where, text) == NULL)
        fail_msg("'%s' is in neither '%s' nor '%s'", text, err.where, err.message);
    en_meta_free(m);
}

static void refuse_u32(const char *key, uint32_t value, entro_status status, const char *text)
{
    en_meta *m = good();
    en_meta_set_u32(m, key, value, NULL);
    expect(m, status, text);
}

static void refuses_unknown_architectures_and_names_known_ones(void **state)
{
    (void)state;
    en_meta *m = good();
    en_meta_set_string(m, "general.architecture", "mamba", NULL);
    expect(m, ENTRO_ERR_UNSUPPORTED, "llama, mistral, phi3, qwen2");
    m = good();
    en_meta_remove(m, "general.architecture");
    expect(m, ENTRO_ERR_FORMAT, "general.architecture");
}

static void refuses_missing_and_absurd_counts(void **state)
{
    (void)state;
    static const char *const required[] = {"llama.block_count", "llama.embedding_length",
                                           "llama.feed_forward_length",
                                           "llama.attention.head_count"};
    for (int i = 0; i < 4; i++) {
        en_meta *m = good();
        en_meta_remove(m, required[i]);
        expect(m, ENTRO_ERR_NOT_FOUND, required[i]);
        refuse_u32(required[i], 0, ENTRO_ERR_FORMAT, required[i]);
        refuse_u32(required[i], UINT32_MAX, ENTRO_ERR_FORMAT, required[i]);
        m = good();
        en_meta_set_string(m, required[i], "many", NULL);
        expect(m, ENTRO_ERR_FORMAT, required[i]);
    }
    refuse_u32("llama.attention.head_count_kv", 4, ENTRO_ERR_FORMAT, "divisor");
    refuse_u32("llama.attention.head_count_kv", 0, ENTRO_ERR_FORMAT, "head_count_kv");
    refuse_u32("llama.rope.dimension_count", 7, ENTRO_ERR_FORMAT, "even");
    refuse_u32("llama.rope.dimension_count", 10, ENTRO_ERR_FORMAT, "dimension_count");
    refuse_u32("llama.attention.value_length", 9, ENTRO_ERR_UNSUPPORTED, "values of 9");
    refuse_u32("llama.context_length", 0, ENTRO_ERR_FORMAT, "context_length");
    refuse_u32("llama.expert_count", 8, ENTRO_ERR_UNSUPPORTED, "8 experts");
}

static void refuses_floats_out_of_range(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        float value;
    } bad[] = {{"llama.attention.layer_norm_rms_epsilon", -1.0f},
               {"llama.attention.layer_norm_rms_epsilon", NAN},
               {"llama.rope.freq_base", 0.0f},
               {"llama.rope.freq_base", INFINITY},
               {"llama.rope.scaling.attn_factor", -2.0f}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        en_meta *m = good();
        en_meta_set_f32(m, bad[i].key, bad[i].value, NULL);
        expect(m, ENTRO_ERR_FORMAT, bad[i].key);
    }
}

static void refuses_yarn_and_per_layer_counts(void **state)
{
    (void)state;
    en_meta *m = good();
    en_meta_set_string(m, "llama.rope.scaling.type", "yarn", NULL);
    expect(m, ENTRO_ERR_UNSUPPORTED, "'yarn'");
    m = good();
    static const uint8_t counts[12] = {2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0};
    en_meta_value array = {.type = EN_META_U32, .is_array = true, .n = 3, .data = counts};
    en_meta_set(m, "llama.attention.head_count_kv", &array, NULL);
    expect(m, ENTRO_ERR_UNSUPPORTED, "layer to layer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(reads_what_is_stored),
        cmocka_unit_test(refuses_unknown_architectures_and_names_known_ones),
        cmocka_unit_test(refuses_missing_and_absurd_counts),
        cmocka_unit_test(refuses_floats_out_of_range),
        cmocka_unit_test(refuses_yarn_and_per_layer_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
