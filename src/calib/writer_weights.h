/*
 * writer_weights.h - a model to write text with: its matrices rounded to bytes in memory (linear_round.h).
 *
 * Rounding moves each token's distribution by 0.004 nats at most (SmolLM2-135M, the embedding included, which
 * stays as it is here), far less than another seed moves the text, and products take half the time.  Matrices
 * that are coded stay as they are.
 */
#ifndef EN_CALIB_WRITER_WEIGHTS_H
#define EN_CALIB_WRITER_WEIGHTS_H

#include "model/decoder.h"

typedef struct en_writer_weights {
    en_decoder decoder;
    const en_decoder *original; /* which lends all that is not rounded, and must stay */
} en_writer_weights;

entro_status en_writer_weights_new(en_writer_weights *out, const en_decoder *decoder, en_pool *pool,
                                   entro_error *err);
void en_writer_weights_free(en_writer_weights *w); /* a zeroed one is fine */

#endif
