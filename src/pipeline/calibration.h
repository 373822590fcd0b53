/*
 * calibration.h - the statistics that a compression wants: opened where they are, else collected.
 *
 * Text is that of files (calib/calib_text.h) or what the model itself writes.  The model is opened once
 * more for it, uncompressed, with its tokenizer; it is closed again before quantization begins, all but
 * what the statistics borrow.
 */
#ifndef EN_PIPELINE_CALIBRATION_H
#define EN_PIPELINE_CALIBRATION_H

#include "base/job.h"
#include "calib/statistics.h"
#include "engine/engine.h"

typedef struct en_calibration {
    entro_model *model;
    en_statistics *statistics;
} en_calibration;

/* 'path': of the file to be written, beside which the folder lies unless 'opt' names one. */
entro_status en_calibration_open(en_calibration *c, const char *source, const char *path,
                                 const entro_compress_options *opt, en_job *job, entro_error *err);
void en_calibration_close(en_calibration *c); /* a zeroed one is fine */

#endif
