/*
 * sampler.h - logits to a token: repeat penalty, temperature, top-k, top-p, min-p, then a draw.
 *
 * The same seed, history and logits give the same token on every machine: the random numbers are
 * our own (PCG32), ties are broken by the smaller id.
 */
#ifndef EN_SAMPLING_SAMPLER_H
#define EN_SAMPLING_SAMPLER_H

#include "base/status.h"

/* The public handle is this one. */
entro_status en_sampler_new(entro_sampler **out, uint32_t n_vocab, const entro_sampler_options *opt,
                            entro_error *err);
void en_sampler_free(entro_sampler *s);
void en_sampler_accept(entro_sampler *s, int32_t token);
int32_t en_sampler_sample(entro_sampler *s, const float *logits);

#endif
