/*
 * arch.h - what tells one architecture from another, as data.
 *
 * All of them are the same pre-norm decoder: RMS norm, grouped-query attention with rotary
 * positions, gated SiLU feed-forward.
 *
 *   arch_NAME.c   all that is particular to one: a struct en_arch_NAME
 *   arch.c        looks them up
 *   arch_list.h   their names, which CMake reads off the files arch_*.c and writes to the build
 *                 folder: #define EN_ARCH_LIST(X) X(llama) X(mistral) ...
 *
 * So adding one is adding its file.  NAME is GGUF's name, with '_' for '-' and '.'.
 *
 * Names and conventions of tensors are GGUF's (see formats/source.h); 'hf' says how a Hugging Face
 * folder is brought to them.
 */
#ifndef EN_ARCH_ARCH_H
#define EN_ARCH_ARCH_H

#include "arch/arch_list.h"
#include "arch/hf_rules.h"
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
    /* Special tokens of a SentencePiece vocabulary swallow white space after them, all but these
     * (GGUF has no key for it); ends with NULL.  NULL: none does. */
    const char *const *keep_space;
    en_hf_form hf;
} en_arch;

/* NULL when there is none of that name. */
const en_arch *en_arch_find(en_span name);
/* By Hugging Face's class, else by model_type; either may be NULL.  NULL when unknown. */
const en_arch *en_arch_find_hf(const char *class_name, const char *model_type);

/* For messages, shortened to n_out bytes, terminated. */
void en_arch_list(char *out, size_t n_out);    /* "llama, mistral, ..." */
void en_arch_list_hf(char *out, size_t n_out); /* "LlamaForCausalLM, MistralForCausalLM, ..." */

/* How many matrices a layer's q, k, v (gate, up) are. */
static inline uint32_t en_arch_n_qkv(const en_arch *arch)
{
    return arch->fused_qkv ? 1 : 3;
}

static inline uint32_t en_arch_n_gate_up(const en_arch *arch)
{
    return arch->fused_gate_up ? 1 : 2;
}

#define EN_ARCH_DECLARE(name) extern const en_arch en_arch_##name;
EN_ARCH_LIST(EN_ARCH_DECLARE)
#undef EN_ARCH_DECLARE

#endif
