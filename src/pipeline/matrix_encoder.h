/*
 * matrix_encoder.h - turns the integers of a matrix into its payload in coding 2 (strips) or 4 (rans).
 *
 *   choose: a sample of rows, spread over each pair of classes, gives its layout and code, and, where
 *           that is left to the rate, which of the two codings it is
 *   run:    chunks are coded in batches by all threads, each by an encoder of its own, then added
 *           to the payload in order
 *
 * Integers are asked for row by row, one chunk a thread at a time: they are never all in memory.
 */
#ifndef EN_PIPELINE_MATRIX_ENCODER_H
#define EN_PIPELINE_MATRIX_ENCODER_H

#include "base/job.h"
#include "container/strip_write.h"
#include "formats/source.h"
#include "pipeline/class_choice.h"
#include "pipeline/matrix_coding.h"

/* Where integers come from.  Rows and columns are stored ones, in the order of 'classes'. */
typedef struct en_integer_rows {
    /* Rows of n_cols integers, 'stride' apart; called by any thread, and for every row exactly once
     * with is_final. */
    entro_status (*read)(void *context, uint64_t row, uint64_t n_rows, int32_t *z, size_t stride,
                         bool is_final, uint32_t thread, entro_error *err);
    void *context;
    const en_source *source; /* what is read, or NULL: its pages are let go now and then */
    const en_tensor *tensor;
    const en_strip_classes *classes; /* NULL: one of all */
} en_integer_rows;

typedef struct en_matrix_encoder {
    en_job *job;
    en_matrix_coding asked; /* of the next matrix */
    en_strip_plan plan;     /* of the last matrix */
    en_pair_code *codes;    /* of its pairs of classes */
    size_t codes_cap;
    en_rans_code *rans; /* likewise, in coding 4 */
    size_t rans_cap;
    en_strip_writer writer;     /* front, n_front: the payload after en_matrix_encoder_run() */
    en_chunk_encoder *encoders; /* one a chunk of a batch */
    uint32_t n_encoders;
    int32_t **chunks; /* one a thread */
    size_t chunk_cap;
    const en_integer_rows *rows;
    double sample_bits[EN_STRIP_MAX_ROW_CLASSES * EN_STRIP_MAX_COL_CLASSES]; /* a weight */
    uint32_t first; /* chunk of the batch */
} en_matrix_encoder;

entro_status en_matrix_encoder_open(en_matrix_encoder *e, en_job *job, entro_error *err);
void en_matrix_encoder_close(en_matrix_encoder *e); /* a zeroed one is fine */

/* Sets e->plan but for grids, scales and entropy, which are the caller's to set. */
entro_status en_matrix_encoder_choose(en_matrix_encoder *e, const en_quant_method *method,
                                      const en_integer_rows *rows, entro_error *err);
/* What the last matrix is in: EN_MATRIX_STRIPS or EN_MATRIX_RANS. */
static inline en_matrix_coding en_matrix_encoder_chosen(const en_matrix_encoder *e)
{
    return e->plan.rans != NULL ? EN_MATRIX_RANS : EN_MATRIX_STRIPS;
}
/* Codes all chunks; grids and scales are set.  Moves the job's progress from 'done' by n_bytes. */
entro_status en_matrix_encoder_run(en_matrix_encoder *e, uint64_t done, uint64_t n_bytes,
                                   entro_error *err);
/* The payload, once the plan's entropy is known. */
entro_status en_matrix_encoder_finish(en_matrix_encoder *e, entro_error *err);

#endif
