/*
 * model_vectors.h - the vectors of a layer: gains of its norms and biases, by the names of their tensors.
 *
 *   "blk.3.attn_k.bias"  --en_weights_vector-->  layers[3].qkv_bias + (rows of q)
 *
 * Biases of matrices whose results lie side by side are one vector in memory and several tensors in the file, so
 * that a place says which part of what it is.  Factors of rope are constants and not among them.
 */
#ifndef EN_MODEL_MODEL_VECTORS_H
#define EN_MODEL_MODEL_VECTORS_H

#include "model/model_weights.h"

typedef struct en_vector_place {
    const char *name;    /* "attn_k.bias": what follows "blk.3." */
    size_t field;        /* offset of the float * in en_layer */
    uint64_t n;          /* floats of the tensor */
    uint64_t first, all; /* where they begin in the field, and how many that has */
    bool is_required;
} en_vector_place;

/* Writes those that the architecture has a place for, and returns how many. */
enum { EN_LAYER_VECTORS = 9 };
uint32_t en_layer_vectors(const en_hparams *hp, en_vector_place places[EN_LAYER_VECTORS]);

static inline float **en_vector_field(en_layer *layer, const en_vector_place *place)
{
    return (float **)(void *)((char *)layer + place->field);
}

/* The floats of a tensor that is a gain or a bias, *n of them, which belong to 'w'; NULL for any other. */
float *en_weights_vector(const en_weights *w, const en_hparams *hp, const char *name, uint64_t *n);

#endif
