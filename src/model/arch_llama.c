/*
 * arch_llama.c - Llama 1 to 3, TinyLlama, SmolLM, SmolLM2; also Mistral as GGUF files call it.
 *
 * Llama 3's rope scaling arrives as the tensor rope_freqs.weight.
 */
#include "model/arch.h"

const en_arch en_arch_llama = {
    .name = "llama",
    .rope = EN_ROPE_ADJACENT,
};
