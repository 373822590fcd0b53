/*
 * test_hf_config.c - config.json to GGUF keys, in the spellings of transformers 4 and 5.
 */
#include "formats/hf_config.h"

#include <stdio.h>

#include <math.h>

#include "base/memory.h"
#include "test_support.h"

#define SIZES                                                                                      \
    "\"num_hidden_layers\":2,\"hidden_size\":64,\"intermediate_size\":96,"                         \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":100,"                      \
    "\"max_position_embeddings\":256,\"rms_norm_eps\":1e-5"
#define LLAMA "{\"architectures\":[\"LlamaForCausalLM\"]," SIZES

static en_hf_config config;
static en_meta *meta;

static entro_status read_text(const char *text, entro_error *err)
{
    en_json json;
    assert_int_equal(en_json_parse(&json, text, strlen(text), false, NULL), ENTRO_OK);
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    entro_status status = en_hf_config_read(&config, json.nodes, meta, err);
    en_json_close(&json);
    return status;
}

static void done(void)
{
    en_hf_config_close(&config);
    en_meta_free(meta);
    assert_int_equal(en_memory_in_use(), 0);
}

static void accepted(const char *text)
{
    entro_error err = {0};
    if (read_text(text, &err) != ENTRO_OK)
        fail_msg("%s: %s", text, err.message);
}

static void refused(const char *text, entro_status expected, const char *words)
{
    entro_error err = {0};
    assert_int_equal(read_text(text, &err), expected);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' lacks '%s'", err.message, words);
    done();
}

static bool string_is(const char *key, const char *text)
{
    return en_span_is(en_meta_string(meta, key), text);
}

static void reads_llama(void **state)
{
    (void)state;
    accepted(LLAMA ",\"rope_theta\":500000.0,\"tie_word_embeddings\":true}");
    assert_true(string_is("general.architecture", "llama"));
    assert_int_equal(en_meta_u32(meta, "llama.block_count", 0), 2);
    assert_int_equal(en_meta_u32(meta, "llama.context_length", 0), 256);
    assert_int_equal(en_meta_u32(meta, "llama.embedding_length", 0), 64);
    assert_int_equal(en_meta_u32(meta, "llama.feed_forward_length", 0), 96);
    assert_int_equal(en_meta_u32(meta, "llama.attention.head_count", 0), 4);
    assert_int_equal(en_meta_u32(meta, "llama.attention.head_count_kv", 0), 2);
    assert_int_equal(en_meta_u32(meta, "llama.vocab_size", 0), 100);
    assert_int_equal(en_meta_u32(meta, "llama.rope.dimension_count", 0), 16);
    assert_true(en_meta_f32(meta, "llama.rope.freq_base", 0) == 500000.0f);
    assert_true(en_meta_f32(meta, "llama.attention.layer_norm_rms_epsilon", 0) == 1e-5f);
    assert_null(en_meta_get(meta, "llama.attention.key_length"));
    assert_null(en_meta_get(meta, "llama.attention.sliding_window"));
    assert_true(config.tied && !config.may_be_tied && config.n_computed == 0);
    done();
}

static void fills_in_what_old_configs_leave_out(void **state)
{
    (void)state;
    accepted("{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":8,"
             "\"intermediate_size\":16,\"num_attention_heads\":2,\"vocab_size\":9,"
             "\"rms_norm_eps\":1e-6,\"num_key_value_heads\":null,\"rope_scaling\":null}");
    assert_int_equal(en_meta_u32(meta, "llama.attention.head_count_kv", 0), 2);
    assert_int_equal(en_meta_u32(meta, "llama.context_length", 0), 2048);
    assert_true(en_meta_f32(meta, "llama.rope.freq_base", 0) == 10000.0f);
    assert_true(config.may_be_tied && !config.tied);
    done();
}

static void keeps_an_explicit_head_dim(void **state)
{
    (void)state;
    accepted(LLAMA ",\"head_dim\":32}");
    assert_int_equal(en_meta_u32(meta, "llama.attention.key_length", 0), 32);
    assert_int_equal(en_meta_u32(meta, "llama.attention.value_length", 0), 32);
    assert_int_equal(en_meta_u32(meta, "llama.rope.dimension_count", 0), 32);
    done();
}

static void reads_linear_rope_in_both_spellings(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LLAMA ",\"rope_theta\":7000.0,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}", LLAMA
        ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.0,\"rope_theta\":7000.0}}"};
    for (int i = 0; i < 2; i++) {
        accepted(texts[i]);
        assert_true(string_is("llama.rope.scaling.type", "linear"));
        assert_true(en_meta_f32(meta, "llama.rope.scaling.factor", 0) == 2.0f);
        assert_true(en_meta_f32(meta, "llama.rope.freq_base", 0) == 7000.0f);
        done();
    }
}

/* Llama 3.2's parameters; the figures are transformers' plain frequencies over its scaled ones. */
static void computes_llama3_rope(void **state)
{
    (void)state;
    accepted(LLAMA ",\"head_dim\":64,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32.0,"
                   "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                   "\"original_max_position_embeddings\":8192},\"rope_theta\":500000.0}");
    assert_int_equal(config.n_computed, 1);
    const en_hf_computed *c = &config.computed[0];
    assert_string_equal(c->name, "rope_freqs.weight");
    assert_int_equal(c->n, 32);
    assert_true(c->values[0] == 1.0f && c->values[14] == 1.0f && c->values[31] == 32.0f);
    assert_true(fabsf(c->values[15] - 1.6513292f) < 1e-5f);
    assert_true(fabsf(c->values[17] - 9.6667299f) < 1e-4f && c->values[18] == 32.0f);
    for (uint32_t i = 1; i < c->n; i++)
        assert_true(c->values[i] >= c->values[i - 1]);
    done();
}

static void reads_phi3_longrope(void **state)
{
    (void)state;
    accepted("{\"architectures\":[\"Phi3ForCausalLM\"]," SIZES
             ",\"original_max_position_embeddings\":64,\"partial_rotary_factor\":0.5,"
             "\"rope_scaling\":{\"type\":\"su\",\"long_factor\":[1,2,3,4],"
             "\"short_factor\":[1.0,1.5,1,1]},\"sliding_window\":null}");
    assert_true(string_is("general.architecture", "phi3"));
    assert_true(string_is("phi3.rope.scaling.type", "longrope"));
    assert_int_equal(en_meta_u32(meta, "phi3.rope.dimension_count", 0), 8);
    assert_int_equal(en_meta_u32(meta, "phi3.rope.scaling.original_context_length", 0), 64);
    assert_int_equal(en_meta_u32(meta, "phi3.attention.sliding_window", 9), 0);
    assert_true(fabsf(en_meta_f32(meta, "phi3.rope.scaling.attn_factor", 0) - 1.1547005f) < 1e-6f);
    assert_int_equal(config.n_computed, 2);
    assert_string_equal(config.computed[0].name, "rope_factors_long.weight");
    assert_string_equal(config.computed[1].name, "rope_factors_short.weight");
    assert_true(config.computed[0].values[3] == 4.0f && config.computed[1].values[1] == 1.5f);
    done();
}

static void reads_sliding_windows(void **state)
{
    (void)state;
#define MISTRAL "{\"architectures\":[\"MistralForCausalLM\"]," SIZES
#define QWEN2   "{\"architectures\":[\"Qwen2ForCausalLM\"]," SIZES
    static const struct {
        const char *text, *key;
        uint32_t window;
    } cases[] = {
        {MISTRAL ",\"sliding_window\":32}", "mistral.attention.sliding_window", 32},
        {MISTRAL ",\"sliding_window\":null}", "mistral.attention.sliding_window", 0},
        {QWEN2 ",\"sliding_window\":32,\"use_sliding_window\":false}",
         "qwen2.attention.sliding_window", 0},
        {QWEN2 ",\"sliding_window\":32,\"use_sliding_window\":true,\"max_window_layers\":0}",
         "qwen2.attention.sliding_window", 32},
        {QWEN2 ",\"sliding_window\":32,\"use_sliding_window\":true,\"max_window_layers\":28}",
         "qwen2.attention.sliding_window", 0},
        {QWEN2 ",\"sliding_window\":32,\"use_sliding_window\":true,\"layer_types\":"
               "[\"full_attention\",\"full_attention\"]}",
         "qwen2.attention.sliding_window", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accepted(cases[i].text);
        assert_int_equal(en_meta_u32(meta, cases[i].key, 0), cases[i].window);
        done();
    }
    refused(QWEN2 ",\"sliding_window\":32,\"use_sliding_window\":true,\"max_window_layers\":1}",
            ENTRO_ERR_UNSUPPORTED, "1 of 2 layers");
}

static void names_the_known_architectures(void **state)
{
    (void)state;
    refused("{\"architectures\":[\"GemmaForCausalLM\"]}", ENTRO_ERR_UNSUPPORTED,
            "unknown architecture 'GemmaForCausalLM' (known: LlamaForCausalLM, MistralForCausalLM, "
            "Phi3ForCausalLM, Qwen2ForCausalLM)");
    refused("{\"model_type\":\"bert\"}", ENTRO_ERR_UNSUPPORTED, "'bert'");
    refused("{}", ENTRO_ERR_FORMAT, "neither 'architectures' nor 'model_type'");
    refused("[]", ENTRO_ERR_FORMAT, "no JSON object");
}

static void refuses_what_would_change_the_numbers(void **state)
{
    (void)state;
    refused(LLAMA ",\"hidden_act\":\"gelu\"}", ENTRO_ERR_UNSUPPORTED, "'gelu'");
    refused(LLAMA ",\"quantization_config\":{}}", ENTRO_ERR_UNSUPPORTED, "quantized already");
    refused(LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0}}", ENTRO_ERR_UNSUPPORTED,
            "rope scaling 'yarn'");
    refused(LLAMA ",\"rope_scaling\":{\"type\":7}}", ENTRO_ERR_UNSUPPORTED, "rope scaling");
}

static void refuses_wrong_values(void **state)
{
    (void)state;
#define START "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":"
    refused(START "0}", ENTRO_ERR_FORMAT, "'num_hidden_layers'");
    refused(START "1.5}", ENTRO_ERR_FORMAT, "'num_hidden_layers'");
    refused(START "4294967297}", ENTRO_ERR_FORMAT, "'num_hidden_layers'");
    refused(START "1}", ENTRO_ERR_FORMAT, "'hidden_size' is missing");
    refused(LLAMA ",\"rms_norm_eps\":-1}", ENTRO_ERR_FORMAT, "'rms_norm_eps' is no positive");
    refused(LLAMA ",\"rms_norm_eps\":-1e-5}", ENTRO_ERR_FORMAT, "'rms_norm_eps' is no positive");
    refused(LLAMA ",\"rms_norm_eps\":null}", ENTRO_ERR_FORMAT, "'rms_norm_eps' is missing");
    refused(LLAMA ",\"num_attention_heads\":3}", ENTRO_ERR_FORMAT, "no multiple");
    refused(LLAMA ",\"num_key_value_heads\":3}", ENTRO_ERR_FORMAT, "no multiple");
    refused(LLAMA ",\"head_dim\":15}", ENTRO_ERR_FORMAT, "even number");
    refused(LLAMA ",\"partial_rotary_factor\":2}", ENTRO_ERR_FORMAT, "even number");
    refused(LLAMA ",\"rope_theta\":\"x\"}", ENTRO_ERR_FORMAT, "'rope_theta'");
    refused(LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", ENTRO_ERR_FORMAT,
            "'factor' is missing");
    refused(LLAMA ",\"rope_scaling\":{\"type\":\"longrope\"}}", ENTRO_ERR_FORMAT,
            "'original_max_position_embeddings'");
    refused(LLAMA
            ",\"original_max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"longrope\","
            "\"long_factor\":[1,2]}}",
            ENTRO_ERR_FORMAT, "'long_factor' is no list of 8");
    refused(LLAMA
            ",\"original_max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"longrope\","
            "\"long_factor\":[1,2,3,4,5,6,7,0]}}",
            ENTRO_ERR_FORMAT, "positive numbers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_llama),
        cmocka_unit_test(fills_in_what_old_configs_leave_out),
        cmocka_unit_test(keeps_an_explicit_head_dim),
        cmocka_unit_test(reads_linear_rope_in_both_spellings),
        cmocka_unit_test(computes_llama3_rope),
        cmocka_unit_test(reads_phi3_longrope),
        cmocka_unit_test(reads_sliding_windows),
        cmocka_unit_test(names_the_known_architectures),
        cmocka_unit_test(refuses_what_would_change_the_numbers),
        cmocka_unit_test(refuses_wrong_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
