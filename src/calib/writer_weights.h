/*
 * writer_weights.h - a model to write text with: its matrices rounded to bytes in memory (linear_round.h).
 *
 * Rounding moves what the model writes by about 0.001 nats a token, far less than what models that
 * wrote it by chance would differ in; it halves the time.  The embedding and matrices that are coded stay as they are.
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
