/*
 * quantizer.h - turns one tensor at a time into codes, grids and a histogram.
 *
 * The source is read in blocks of rows, one block a segment, by all threads; only the codes, one
 * byte a weight, are kept.  A grid for the whole tensor needs two passes over the rows, grids for
 * rows one.  Grids for rows are values of f16; when one row's does not fit, the pass is repeated with
 * grids of f32 for all rows.
 */
#ifndef EN_PIPELINE_QUANTIZER_H
#define EN_PIPELINE_QUANTIZER_H

#include <stdatomic.h>

#include "container/payload.h"
#include "pipeline/error_sums.h"
#include "base/job.h"

/* What one thread has seen of the tensor. */
typedef struct en_quantizer_thread {
    float *rows; /* one block of the source */
    float lo, hi;
    en_error_sums errors;
    en_histogram *histograms[2]; /* by en_model_codes_slot(); NULL when not needed */
} en_quantizer_thread;

typedef struct en_quantizer {
    const en_source *source;
    en_job *job;
    en_quantizer_thread *threads;
    size_t n_codes_max, n_grids_max;
    const en_tensor *tensor;

    /* The tensor of the last en_quantizer_run(): */
    en_payload plan;
    uint8_t *codes;          /* row after row */
    float *steps, *offsets;  /* values of f16 when plan.half_grids */
    en_histogram *histogram; /* borrowed */
    en_error_sums errors;
    en_histogram *histograms[2];

    atomic_bool needs_f32_grids; /* a row of the pass under way does not fit f16 */
} en_quantizer;

/* Room for a tensor that will be quantized with this method. */
typedef struct en_quantizer_need {
    size_t n_block_elems, n_codes, n_grids;
    bool alphabets[2];
} en_quantizer_need;
void en_quantizer_need_add(en_quantizer_need *need, const en_tensor *tensor,
                           const en_quant_method *method);

entro_status en_quantizer_open(en_quantizer *q, const en_source *source, en_job *job,
                               const en_quantizer_need *need, entro_error *err);
void en_quantizer_close(en_quantizer *q); /* a zeroed one is fine */

/* Quantizes; moves the job's progress from 'done' by n_bytes.  ENTRO_ERR_FORMAT when the
 * tensor holds a NaN or an infinity. */
entro_status en_quantizer_run(en_quantizer *q, const en_tensor *tensor,
                              const en_quant_method *method, uint64_t done, uint64_t n_bytes,
                              entro_error *err);

/* Segments taken in one parallel run: enough that threads seldom wait for each other, few enough
 * that progress moves and little of the source is resident. */
uint32_t en_quantizer_chunk(const en_payload *plan);

#endif
