/*
 * hf_config.h - config.json of a Hugging Face folder, in GGUF's terms.
 *
 * transformers 4 writes rope_theta and rope_scaling, transformers 5 rope_parameters; both are
 * understood.  What would silently change the numbers (another activation, another kind of rope
 * scaling, quantized weights) is refused.
 */
#ifndef EN_FORMATS_HF_CONFIG_H
#define EN_FORMATS_HF_CONFIG_H

#include "arch/arch.h"
#include "formats/json_parse.h"
#include "formats/metadata.h"

/* A tensor that GGUF stores and Hugging Face computes. */
typedef struct en_hf_computed {
    const char *name; /* "rope_freqs.weight" */
    float *values;    /* owned */
    uint32_t n;
} en_hf_computed;

enum { EN_HF_MAX_COMPUTED = 2 };

typedef struct en_hf_config {
    const en_arch *arch;
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, n_head_dim, n_vocab;
    bool tied;        /* the output matrix is the embedding */
    bool may_be_tied; /* config.json does not say */
    en_hf_computed computed[EN_HF_MAX_COMPUTED];
    uint32_t n_computed;
} en_hf_config;

/* Reads the root of config.json and sets general.architecture and the keys of the architecture. */
entro_status en_hf_config_read(en_hf_config *config, const en_json_node *root, en_meta *meta,
                               entro_error *err);
void en_hf_config_close(en_hf_config *config); /* a zeroed one is fine */

#endif
