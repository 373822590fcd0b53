/*
 * model_weights.h - the tensors of a model, found by name and checked against its numbers.
 *
 * Matrices stay where they lie in the file; vectors (norms, biases, rope factors) are small and
 * kept as f32.
 */
#ifndef EN_MODEL_MODEL_WEIGHTS_H
#define EN_MODEL_MODEL_WEIGHTS_H

#include "linear/linear.h"
#include "model/hparams.h"

typedef struct en_layer {
    float *attn_norm, *ffn_norm;
    /* Rows of q, then k, then v: one matrix when fused, else three.  Likewise gate, up. */
    en_linear qkv[3];
    en_linear gate_up[2];
    en_linear attn_output, ffn_down;
    float *qkv_bias;         /* as the rows; NULL: none */
    float *attn_output_bias; /* NULL: none */
    float *gate_up_bias;     /* as the rows; NULL: none */
    float *ffn_down_bias;    /* NULL: none */
} en_layer;

typedef struct en_weights {
    en_layer *layers;
    en_linear token_embd, output; /* output is token_embd when tied */
    float *output_norm;
    float *rope_freqs;             /* n_rot / 2 divisors (Llama 3); NULL: none */
    float *rope_long, *rope_short; /* likewise for long-rope */
    uint32_t n_layers;
} en_weights;

/* 'container' is NULL for a source run directly.  Both must outlive the weights.  Sets
 * hp->n_vocab. */
entro_status en_weights_load(en_weights *w, en_hparams *hp, const en_source *source,
                             const en_container *container, entro_error *err);
void en_weights_free(en_weights *w); /* a zeroed one is fine */

#endif
