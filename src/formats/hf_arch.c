/* hf_arch.c - see hf_arch.h. */
#include "formats/hf_arch.h"

#include <stdio.h>
#include <string.h>

#define PLAIN EN_HF_ROWS_PLAIN
#define Q     EN_HF_ROWS_OF_HEADS
#define K     EN_HF_ROWS_OF_KV_HEADS

/* llama and mistral; biases exist where config.json says attention_bias or mlp_bias. */
static const en_hf_rule llama_rules[] = {
    {"input_layernorm.weight", "attn_norm.weight", PLAIN, false},
    {"self_attn.q_proj.weight", "attn_q.weight", Q, false},
    {"self_attn.q_proj.bias", "attn_q.bias", Q, true},
    {"self_attn.k_proj.weight", "attn_k.weight", K, false},
    {"self_attn.k_proj.bias", "attn_k.bias", K, true},
    {"self_attn.v_proj.weight", "attn_v.weight", PLAIN, false},
    {"self_attn.v_proj.bias", "attn_v.bias", PLAIN, true},
    {"self_attn.o_proj.weight", "attn_output.weight", PLAIN, false},
    {"self_attn.o_proj.bias", "attn_output.bias", PLAIN, true},
    {"post_attention_layernorm.weight", "ffn_norm.weight", PLAIN, false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", PLAIN, false},
    {"mlp.gate_proj.bias", "ffn_gate.bias", PLAIN, true},
    {"mlp.up_proj.weight", "ffn_up.weight", PLAIN, false},
    {"mlp.up_proj.bias", "ffn_up.bias", PLAIN, true},
    {"mlp.down_proj.weight", "ffn_down.weight", PLAIN, false},
    {"mlp.down_proj.bias", "ffn_down.bias", PLAIN, true},
    {0},
};

static const en_hf_rule qwen2_rules[] = {
    {"input_layernorm.weight", "attn_norm.weight", PLAIN, false},
    {"self_attn.q_proj.weight", "attn_q.weight", PLAIN, false},
    {"self_attn.q_proj.bias", "attn_q.bias", PLAIN, false},
    {"self_attn.k_proj.weight", "attn_k.weight", PLAIN, false},
    {"self_attn.k_proj.bias", "attn_k.bias", PLAIN, false},
    {"self_attn.v_proj.weight", "attn_v.weight", PLAIN, false},
    {"self_attn.v_proj.bias", "attn_v.bias", PLAIN, false},
    {"self_attn.o_proj.weight", "attn_output.weight", PLAIN, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", PLAIN, false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", PLAIN, false},
    {"mlp.up_proj.weight", "ffn_up.weight", PLAIN, false},
    {"mlp.down_proj.weight", "ffn_down.weight", PLAIN, false},
    {0},
};

/* q, k, v in one matrix; gate (first half) and up (second half) in another. */
static const en_hf_rule phi3_rules[] = {
    {"input_layernorm.weight", "attn_norm.weight", PLAIN, false},
    {"self_attn.qkv_proj.weight", "attn_qkv.weight", PLAIN, false},
    {"self_attn.o_proj.weight", "attn_output.weight", PLAIN, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", PLAIN, false},
    {"mlp.gate_up_proj.weight", "ffn_up.weight", PLAIN, false},
    {"mlp.down_proj.weight", "ffn_down.weight", PLAIN, false},
    {0},
};

static const en_hf_arch archs[] = {
    {"LlamaForCausalLM", "llama", "llama", EN_HF_WINDOW_NEVER, llama_rules},
    {"MistralForCausalLM", "mistral", "mistral", EN_HF_WINDOW_IF_SET, llama_rules},
    {"Phi3ForCausalLM", "phi3", "phi3", EN_HF_WINDOW_OR_ZERO, phi3_rules},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", EN_HF_WINDOW_IF_USED, qwen2_rules},
};

const en_hf_arch *en_hf_arch_find(const char *hf_class, const char *model_type)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        if (hf_class != NULL && strcmp(archs[i].hf_class, hf_class) == 0)
            return &archs[i];
        if (hf_class == NULL && model_type != NULL && strcmp(archs[i].model_type, model_type) == 0)
            return &archs[i];
    }
    return NULL;
}

void en_hf_arch_list(char *out, size_t n_out)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof archs / sizeof *archs && n < n_out; i++)
        n += (size_t)snprintf(out + n, n_out - n, "%s%s", i > 0 ? ", " : "", archs[i].hf_class);
}
