/*
 * arch_phi3.c - Phi-3 and Phi-3.5 mini, Phi-4: fused projections, long-rope factors for contexts
 * beyond the original one.
 *
 * A sliding window is honoured, as Hugging Face transformers does (llama.cpp ignores it).
 */
#include "model/arch.h"

const en_arch en_arch_phi3 = {
    .name = "phi3",
    .rope = EN_ROPE_HALF_SPLIT,
    .fused_qkv = true,
    .fused_gate_up = true,
};
