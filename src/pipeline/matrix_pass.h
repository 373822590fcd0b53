/*
 * matrix_pass.h - one matrix of a model through a pass (quant/pass.h) and into strips.
 *
 *   load      weights as f32, by all threads; NaN and infinity are refused
 *   know      covariance -> factor, importance: from the statistics, where the pass needs them
 *   correct   for what quantization has done to its inputs, where that is followed (calib/drift.h)
 *   run       integers, steps, scales
 *   classes   rows and columns of like spread share a table
 *   encode    the payload (matrix_encoder.h)
 *
 * Memory: weights, integers and what the pass takes, about 12 bytes a weight of the largest matrix, and
 * the covariance.
 */
#ifndef EN_PIPELINE_MATRIX_PASS_H
#define EN_PIPELINE_MATRIX_PASS_H

#include "calib/drift.h"
#include "calib/statistics.h"
#include "pipeline/class_counts.h"
#include "pipeline/error_sums.h"
#include "pipeline/matrix_encoder.h"
#include "pipeline/rounding_loss.h"
#include "quant/pass.h"

typedef struct en_matrix_pass_thread {
    en_error_sums errors;
    double loss_alone;
    en_class_counts counts;
    float *row; /* a row as it comes back */
    size_t row_cap;
} en_matrix_pass_thread;

typedef struct en_matrix_pass {
    const en_source *source;
    en_statistics *statistics; /* NULL: there are none */
    en_drift *drift;           /* borrowed; NULL: weights are not corrected */
    int blas_threads;          /* as they were before; 0: BLAS is not used */
    en_job *job;
    en_matrix_pass_thread *threads;

    /* The matrix at hand; arrays grow as they must. */
    const en_tensor *tensor;
    size_t n_rows, n_cols;
    float *weights, *factor, *importance;
    size_t weights_cap, factor_cap, importance_cap;
    float *row_factor; /* of its gradients, where has_row_factor */
    size_t row_factor_cap;
    bool has_row_factor;
    size_t factor_site; /* whose covariance 'factor' is of; SIZE_MAX: none */
    int32_t *z;
    size_t z_cap;
    float *steps, *offsets, *scales; /* in the model's order ... */
    size_t rows_cap, cols_cap;
    float *stored_steps, *stored_offsets, *stored_scales; /* ... and in stored order */
    en_pass_result result;
    en_strip_classes classes;
    en_rounding_loss rounding;
    bool knows_rounding;

    /* After en_matrix_pass_run(): */
    double entropy;           /* bits an integer, under tables of classes ... */
    double entropy_one_table; /* ... and without them */
    double loss_alone;        /* rounding_loss.h; NAN when not known */
    entro_histogram histogram;
    en_error_sums errors;
} en_matrix_pass;

entro_status en_matrix_pass_open(en_matrix_pass *p, const en_source *source,
                                 en_statistics *statistics, en_job *job, entro_error *err);
void en_matrix_pass_close(en_matrix_pass *p); /* a zeroed one is fine */

/* The spreads of a pass with a slope (quant/pass.h). */
entro_status en_matrix_pass_spreads(en_matrix_pass *p, const en_tensor *tensor,
                                    const en_quant_method *method, float *row_spread,
                                    float *col_spread, entro_error *err);

/* All of it: the encoder's plan and writer hold the payload.  Moves the job's progress from 'done' by
 * n_bytes. */
entro_status en_matrix_pass_run(en_matrix_pass *p, const en_tensor *tensor,
                                const en_quant_method *method, double slope,
                                en_matrix_encoder *encoder, uint64_t done, uint64_t n_bytes,
                                entro_error *err);

#endif
