/*
 * arch_white_whale.c - an architecture that the library does not have; see test_arch_added.c.
 */
#include "arch/arch.h"

const en_arch en_arch_white_whale = {
    .name = "white-whale",
    .rope = EN_ROPE_ADJACENT,
    .hf =
        {
            .class_name = "WhiteWhaleForCausalLM",
            .model_type = "white_whale",
            .window = EN_HF_WINDOW_NEVER,
            .rules = en_hf_rules_llama,
        },
};
