/*
 * arch.h - what tells one architecture from another, as data.
 *
 * All of them are the same pre-norm decoder: RMS norm, grouped-query attention with rotary
 * positions, gated SiLU feed-forward.  Adding one is a file arch_NAME.c with one struct and a line
 * in arch.c.
 *
 * Names and conventions are GGUF's (see formats/source.h).
 */
#ifndef EN_MODEL_ARCH_H
#define EN_MODEL_ARCH_H

#include "base/bytes.h"

typedef enum en_rope_style {
    EN_ROPE_ADJACENT,  /* rotates pairs (0,1), (2,3) ...: ggml's "norm" */
    EN_ROPE_HALF_SPLIT /* rotates pairs (i, i + n/2): ggml's "neox" */
} en_rope_style;

typedef struct en_arch {
    const char *name; /* general.architecture and the prefix of its keys */
    en_rope_style rope;
    bool needs_qkv_bias; /* attn_{q,k,v}.bias must exist; elsewhere they are optional */
    bool fused_qkv;      /* attn_qkv.weight: rows of q, then k, then v */
    bool fused_gate_up;  /* ffn_up.weight: rows of gate, then up */
} en_arch;

/* NULL when there is none of that name. */
const en_arch *en_arch_find(en_span name);
/* "llama, mistral, ..." for messages; shortened to n_out bytes, terminated. */
void en_arch_list(char *out, size_t n_out);

extern const en_arch en_arch_llama;
extern const en_arch en_arch_mistral;
extern const en_arch en_arch_phi3;
extern const en_arch en_arch_qwen2;

#endif
