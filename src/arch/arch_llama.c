/*
 * arch_llama.c - Llama 1 to 3, TinyLlama, SmolLM, SmolLM2; also Mistral as GGUF files call it.
 *
 * Llama 3's rope scaling arrives as the tensor rope_freqs.weight.
 */
#include "arch/arch.h"

const en_arch en_arch_llama = {
    .name = "llama",
    .rope = EN_ROPE_ADJACENT,
    .hf =
        {
            .class_name = "LlamaForCausalLM",
            .model_type = "llama",
            .window = EN_HF_WINDOW_NEVER,
            .rules = en_hf_rules_llama,
        },
};
