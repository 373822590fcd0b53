/*
 * compress_strips.h - one tensor of a compression in coding 2 or 4: from its codes, by method rtn, or by a
 * pass.
 */
#ifndef EN_PIPELINE_COMPRESS_STRIPS_H
#define EN_PIPELINE_COMPRESS_STRIPS_H

#include "pipeline/matrix_encoder.h"
#include "pipeline/matrix_pass.h"
#include "pipeline/quantizer.h"
#include "pipeline/rtn_quantizer.h"

typedef struct en_compress_strips {
    /* encoder.asked: to be set before each tensor; plan and writer: of the last one */
    en_matrix_encoder encoder;
    en_rtn_quantizer rtn;
    en_matrix_pass pass;
} en_compress_strips;

/* 'statistics': NULL, or what passes ask. */
entro_status en_compress_strips_open(en_compress_strips *s, const en_source *source,
                                     en_statistics *statistics, en_job *job, entro_error *err);
void en_compress_strips_close(en_compress_strips *s); /* a zeroed one is fine */

/* The tensor that 'q' holds.  Moves the job's progress from 'done' by n_bytes. */
entro_status en_compress_strips_codes(en_compress_strips *s, en_quantizer *q, uint64_t done,
                                      uint64_t n_bytes, entro_error *err);
/* Integers of any size, for an entropy of 'bits'; errors are in s->rtn. */
entro_status en_compress_strips_rtn(en_compress_strips *s, const en_tensor *tensor,
                                    const en_quant_method *method, double bits, uint64_t done,
                                    uint64_t n_bytes, entro_error *err);
/* By the method's pass; errors and loss are in s->pass. */
entro_status en_compress_strips_pass(en_compress_strips *s, const en_tensor *tensor,
                                     const en_quant_method *method, double slope, uint64_t done,
                                     uint64_t n_bytes, entro_error *err);

#endif
