/*
 * arch_qwen2.c - Qwen2 and Qwen2.5: biases on q, k and v.
 */
#include "model/arch.h"

const en_arch en_arch_qwen2 = {
    .name = "qwen2",
    .rope = EN_ROPE_HALF_SPLIT,
    .needs_qkv_bias = true,
};
