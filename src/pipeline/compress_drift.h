/*
 * compress_drift.h - following quantized layers in a compression, where that was asked for.
 *
 *   check:  is there a matrix that could be corrected?  (calibration takes long)
 *   open:   the text
 *   begin:  a pass in which matrices are corrected; before the first tensor
 *   end:    of the pass; nothing when it was none
 *
 * It takes as long as calibration does, so that the first pass of a search for a size does without: it only finds
 * out what the slope costs.
 */
#ifndef EN_PIPELINE_COMPRESS_DRIFT_H
#define EN_PIPELINE_COMPRESS_DRIFT_H

#include "pipeline/calibration.h"
#include "pipeline/compress_plan.h"
#include "pipeline/matrix_pass.h"

typedef struct en_compress_drift {
    uint64_t n_tokens; /* asked for; 0: all of this does nothing */
    en_calib_text text;
    const en_decoder *decoder;
    en_job *job;
    uint64_t n_used; /* tokens of the last pass; 0: it corrected nothing */
} en_compress_drift;

entro_status en_compress_drift_check(const en_compress_plan *plan,
                                     const entro_compress_options *opt, entro_error *err);
/* 'calibration' and 'job' must outlive it. */
entro_status en_compress_drift_open(en_compress_drift *d, const en_calibration *calibration,
                                    const char *path, const entro_compress_options *opt,
                                    en_job *job, entro_error *err);
void en_compress_drift_close(en_compress_drift *d); /* a zeroed one is fine */

entro_status en_compress_drift_begin(en_compress_drift *d, en_matrix_pass *pass, entro_error *err);
void en_compress_drift_end(en_matrix_pass *pass);

#endif
