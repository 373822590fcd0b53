/*
 * hf_rules.h - an architecture as Hugging Face has it: its class, the names of its tensors, and how
 * config.json says "sliding window".
 */
#ifndef EN_ARCH_HF_RULES_H
#define EN_ARCH_HF_RULES_H

#include <stdbool.h>

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
    EN_HF_WINDOW_IF_SET,  /* sliding_window, null for none */
    EN_HF_WINDOW_IF_USED, /* only with use_sliding_window */
    EN_HF_WINDOW_OR_ZERO  /* GGUF wants the key always, 0 for none */
} en_hf_window;

typedef struct en_hf_form {
    const char *class_name; /* in "architectures" */
    const char *model_type; /* the same in short, where there is no "architectures" */
    en_hf_window window;
    const en_hf_rule *rules; /* of one layer, ends with a NULL name */
} en_hf_form;

/* Rules that several architectures share. */

/* q, k, v, gate and up apart, q and k in the order of EN_ROPE_ADJACENT; biases where there are some
 * (config.json: attention_bias, mlp_bias). */
extern const en_hf_rule en_hf_rules_llama[];

#endif
