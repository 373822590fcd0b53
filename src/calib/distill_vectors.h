/*
 * distill_vectors.h - the vectors of a model that distilling moves, and Adam, which moves them.
 *
 *   gain = before (1 + t)      bias = before + size t      t from 0, a number for each; size: rms of the bias
 *
 * so that steps are relative whatever a vector's size.  Adam: Kingma and Ba, 2015.
 */
#ifndef EN_CALIB_DISTILL_VECTORS_H
#define EN_CALIB_DISTILL_VECTORS_H

#include "calib/block.h"
#include "model/decoder.h"

typedef struct en_distill_vectors {
    size_t n;       /* numbers of all vectors, which lie one behind the other in the arrays */
    float **values; /* of each number, where the model has it */
    float *before;  /* as it was */
    float *sizes;   /* how far t = 1 moves it */
    float *t;
    double *gradients;       /* sums of a step, of the loss by the number itself */
    double *means, *squares; /* Adam's */
    uint64_t n_steps;
    en_block_vectors *layers; /* where the gradients of each layer go */
    double *output_norm;      /* and of the last norm */
} en_distill_vectors;

entro_status en_distill_vectors_open(en_distill_vectors *v, en_decoder *decoder, entro_error *err);
void en_distill_vectors_close(en_distill_vectors *v); /* a zeroed one is fine */

/* A step against the gradients (sums of n_tokens), which become 0. */
void en_distill_vectors_step(en_distill_vectors *v, double rate, uint64_t n_tokens);
/* The model's vectors become what they were before. */
void en_distill_vectors_restore(en_distill_vectors *v);

#endif
