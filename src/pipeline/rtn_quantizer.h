/*
 * rtn_quantizer.h - method "rtn": rounding with one step a row, to integers of any size.
 *
 *   w = step[row] z        step[row] = factor * rms of the row        z = rint(w / step[row])
 *
 * The factor, one for the tensor, is the one with which the integers' entropy is what was asked
 * for; it is found on a sample of rows.  Two passes: the first takes every row's rms, the second
 * gives the integers to who codes them, which are never in memory all together.
 */
#ifndef EN_PIPELINE_RTN_QUANTIZER_H
#define EN_PIPELINE_RTN_QUANTIZER_H

#include "formats/source.h"
#include "pipeline/error_sums.h"
#include "entropy/integer_counts.h"
#include "base/job.h"

typedef struct en_rtn_thread {
    float *row;
    size_t cap;
    en_error_sums errors;
    en_integer_counts counts;
} en_rtn_thread;

typedef struct en_rtn_quantizer {
    const en_source *source;
    en_job *job;
    en_rtn_thread *threads;
    size_t steps_cap;

    /* The tensor at hand: */
    const en_tensor *tensor;
    uint64_t n_rows, n_cols;
    float *steps;    /* of each row */
    bool half_steps; /* they are values of f16 */

    /* After en_rtn_gather(): */
    double entropy;
    entro_histogram histogram;
    en_error_sums errors;
} en_rtn_quantizer;

entro_status en_rtn_open(en_rtn_quantizer *q, const en_source *source, en_job *job,
                         entro_error *err);
void en_rtn_close(en_rtn_quantizer *q); /* a zeroed one is fine */

/*
 * The first pass: sets the steps for an entropy of 'bits' a weight.  When no factor reaches that (a
 * matrix of few different values), it is the one that would for normally distributed weights and at
 * least 4 bits.
 * Moves the job's progress from 'done' by n_bytes.
 */
entro_status en_rtn_measure(en_rtn_quantizer *q, const en_tensor *tensor, double bits,
                            uint64_t done, uint64_t n_bytes, entro_error *err);

/* Integers of rows, 'stride' apart; any thread.  'is_final': count them and their errors. */
entro_status en_rtn_read(en_rtn_quantizer *q, uint64_t row, uint64_t n_rows, int32_t *z,
                         size_t stride, bool is_final, uint32_t thread, entro_error *err);
void en_rtn_gather(en_rtn_quantizer *q);

#endif
