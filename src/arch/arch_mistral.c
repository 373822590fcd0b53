/*
 * arch_mistral.c - Mistral 7B and its kin: llama with a sliding window
 * (mistral.attention.sliding_window), which version 0.1 uses and later ones leave out.
 */
#include "arch/arch.h"

const en_arch en_arch_mistral = {
    .name = "mistral",
    .rope = EN_ROPE_ADJACENT,
    .hf =
        {
            .class_name = "MistralForCausalLM",
            .model_type = "mistral",
            .window = EN_HF_WINDOW_IF_SET,
            .rules = en_hf_rules_llama,
        },
};
