/*
 * encoder.h - turns a quantized tensor into its payload bytes.
 *
 * Segments are coded in batches by all threads, each into its own slot, then moved together.  The
 * payload is built whole in memory (less than a byte a weight), because its checksum covers the
 * index, which is known last and stands first.
 */
#ifndef EN_PIPELINE_ENCODER_H
#define EN_PIPELINE_ENCODER_H

#include "pipeline/quantizer.h"

typedef struct en_encoder {
    en_job *job;
    uint8_t *payload; /* of the last en_encoder_run() */
    size_t n_bytes;
    size_t cap;
    uint8_t *slots; /* of one batch */
    size_t slots_cap;
    /* at hand: */
    const en_quantizer *q;
    const en_code *code;
    size_t slot_bytes;
    uint32_t first; /* segment of the batch */
    size_t *slot_used;
} en_encoder;

entro_status en_encoder_open(en_encoder *e, en_job *job, entro_error *err);
void en_encoder_close(en_encoder *e); /* a zeroed one is fine */

/* Codes what 'q' holds.  The table is stored unless it is the model's.  Moves the job's progress
 * from 'done' by n_bytes. */
entro_status en_encoder_run(en_encoder *e, en_quantizer *q, const en_code *code, bool model_table,
                            uint64_t done, uint64_t n_bytes, entro_error *err);

#endif
