/*
 * hparams.h - a model's numbers, read from its metadata and checked.
 *
 * Every count is limited, so that sizes computed from a few of them cannot overflow 64 bits; the
 * tensors' shapes are compared with them in model_weights.c.
 */
#ifndef EN_MODEL_HPARAMS_H
#define EN_MODEL_HPARAMS_H

#include "arch/arch.h"
#include "formats/metadata.h"

typedef struct en_rope_params {
    float base;            /* angle of pair i at position p: p * base^(-2i / n_rot) */
    float linear_factor;   /* positions are divided by this; 1: not scaled */
    float attn_factor;     /* long-rope multiplies sine and cosine by this; 0: not stored */
    uint32_t n_ctx_before; /* context before it was extended; 0: not stored */
} en_rope_params;

typedef struct en_hparams {
    const en_arch *arch;
    uint32_t n_layers;
    uint32_t n_embd;
    uint32_t n_heads, n_kv_heads; /* n_heads is a multiple of n_kv_heads */
    uint32_t n_head_dim;          /* floats of one head's q, k or v */
    uint32_t n_rot;               /* of these, the first n_rot (even) are rotated */
    uint32_t n_ff;
    uint32_t n_vocab;        /* rows of the embedding; set by model_weights.c */
    uint32_t n_ctx_train;    /* 0: not stored */
    uint32_t sliding_window; /* a token sees this many, itself included; 0: all before it */
    float norm_epsilon;
    en_rope_params rope;
} en_hparams;

/* ENTRO_ERR_UNSUPPORTED names the architectures that are known. */
entro_status en_hparams_read(en_hparams *hp, const en_meta *meta, entro_error *err);

#endif
