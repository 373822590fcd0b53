/*
 * arch_qwen2.c - Qwen2 and Qwen2.5: biases on q, k and v.
 */
#include "arch/arch.h"

static const en_hf_rule rules[] = {
    {"input_layernorm.weight", "attn_norm.weight", EN_HF_ROWS_PLAIN, false},
    {"self_attn.q_proj.weight", "attn_q.weight", EN_HF_ROWS_PLAIN, false},
    {"self_attn.q_proj.bias", "attn_q.bias", EN_HF_ROWS_PLAIN, false},
    {"self_attn.k_proj.weight", "attn_k.weight", EN_HF_ROWS_PLAIN, false},
    {"self_attn.k_proj.bias", "attn_k.bias", EN_HF_ROWS_PLAIN, false},
    {"self_attn.v_proj.weight", "attn_v.weight", EN_HF_ROWS_PLAIN, false},
    {"self_attn.v_proj.bias", "attn_v.bias", EN_HF_ROWS_PLAIN, false},
    {"self_attn.o_proj.weight", "attn_output.weight", EN_HF_ROWS_PLAIN, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", EN_HF_ROWS_PLAIN, false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", EN_HF_ROWS_PLAIN, false},
    {"mlp.up_proj.weight", "ffn_up.weight", EN_HF_ROWS_PLAIN, false},
    {"mlp.down_proj.weight", "ffn_down.weight", EN_HF_ROWS_PLAIN, false},
    {0},
};

const en_arch en_arch_qwen2 = {
    .name = "qwen2",
    .rope = EN_ROPE_HALF_SPLIT,
    .needs_qkv_bias = true,
    .hf =
        {
            .class_name = "Qwen2ForCausalLM",
            .model_type = "qwen2",
            .window = EN_HF_WINDOW_IF_USED,
            .rules = rules,
        },
};
