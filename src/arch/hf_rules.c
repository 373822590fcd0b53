/* hf_rules.c - see hf_rules.h. */
#include "arch/hf_rules.h"

#include <stddef.h>

#define PLAIN EN_HF_ROWS_PLAIN
#define Q     EN_HF_ROWS_OF_HEADS
#define K     EN_HF_ROWS_OF_KV_HEADS

const en_hf_rule en_hf_rules_llama[] = {
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
