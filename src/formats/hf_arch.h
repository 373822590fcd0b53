/*
 * hf_arch.h - what differs between architectures in a Hugging Face folder.
 *
 * One entry of the table in hf_arch.c is one architecture: its class name, GGUF's name for it, the
 * names of its tensors, and how config.json says "sliding window".  Adding one is adding an entry.
 */
#ifndef EN_FORMATS_HF_ARCH_H
#define EN_FORMATS_HF_ARCH_H

#include <stdbool.h>
#include <stddef.h>

/* Rows of q and k: Hugging Face keeps the two halves of a rotated pair half a head apart, GGUF's
 * llama keeps them side by side. */
typedef enum en_hf_rows {
    EN_HF_ROWS_PLAIN,
    EN_HF_ROWS_OF_HEADS,
    EN_HF_ROWS_OF_KV_HEADS
} en_hf_rows;

typedef struct en_hf_rule {
    const char *hf;   /* "self_attn.q_proj.weight", after "model.layers.N." */
    const char *gguf; /* "attn_q.weight", after "blk.N." */
    en_hf_rows rows;
    bool optional;
} en_hf_rule;

typedef enum en_hf_window {
    EN_HF_WINDOW_NEVER,
    EN_HF_WINDOW_IF_SET,  /* mistral: sliding_window, null for none */
    EN_HF_WINDOW_IF_USED, /* qwen2: only with use_sliding_window */
    EN_HF_WINDOW_OR_ZERO  /* phi3: GGUF wants the key always, 0 for none */
} en_hf_window;

typedef struct en_hf_arch {
    const char *hf_class;   /* in "architectures" */
    const char *model_type; /* the same in short, where there is no "architectures" */
    const char *gguf;       /* general.architecture and prefix of the keys */
    en_hf_window window;
    const en_hf_rule *rules; /* of one layer, ends with a NULL name */
} en_hf_arch;

/* By class or by model_type, either may be NULL; NULL when unknown. */
const en_hf_arch *en_hf_arch_find(const char *hf_class, const char *model_type);
/* "LlamaForCausalLM, MistralForCausalLM, ..." */
void en_hf_arch_list(char *out, size_t n_out);

#endif
