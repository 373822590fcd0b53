/*
 * arch_phi3.c - Phi-3 and Phi-3.5 mini, Phi-4: fused projections, long-rope factors for contexts
 * beyond the original one.
 *
 * A sliding window is honoured, as Hugging Face transformers does (llama.cpp ignores it).
 */
#include "arch/arch.h"

static const en_hf_rule rules[] = {
    {"input_layernorm.weight", "attn_norm.weight", EN_HF_ROWS_PLAIN, false},
    {"self_attn.qkv_proj.weight", "attn_qkv.weight", EN_HF_ROWS_PLAIN, false},
    {"self_attn.o_proj.weight", "attn_output.weight", EN_HF_ROWS_PLAIN, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", EN_HF_ROWS_PLAIN, false},
    {"mlp.gate_up_proj.weight", "ffn_up.weight", EN_HF_ROWS_PLAIN, false},
    {"mlp.down_proj.weight", "ffn_down.weight", EN_HF_ROWS_PLAIN, false},
    {0},
};

static const char *const keep_space[] = {"<unk>", "<s>", "<|endoftext|>", NULL};

const en_arch en_arch_phi3 = {
    .name = "phi3",
    .rope = EN_ROPE_HALF_SPLIT,
    .fused_qkv = true,
    .fused_gate_up = true,
    .keep_space = keep_space,
    .hf =
        {
            .class_name = "Phi3ForCausalLM",
            .model_type = "phi3",
            .window = EN_HF_WINDOW_OR_ZERO,
            .rules = rules,
        },
};
