/*
 * calibration.h - the statistics that a compression wants: opened where they are, else collected; and the text
 * that calibration and tuning take.
 *
 * Text is that of files (calib/calib_text.h) or what the model itself writes.  The model is opened once
 * more for it, uncompressed, with its tokenizer; it is closed again before quantization begins, all but
 * what the statistics borrow.
 */
#ifndef EN_PIPELINE_CALIBRATION_H
#define EN_PIPELINE_CALIBRATION_H

#include "base/job.h"
#include "calib/calib_text.h"
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

/* The folder of what calibration finds about a model: 'given', or (NULL) 'path' with ".calib" behind it.
 * Owned; NULL when out of memory. */
char *en_calibration_folder(const char *given, const char *path);

typedef struct en_text_wanted {
    const char *const *files; /* none: what the model writes, kept in the folder */
    size_t n_files;
    uint64_t n_tokens, seed;
} en_text_wanted;

entro_status en_calibration_text(en_calib_text *text, const entro_model *model, const char *folder,
                                 const en_text_wanted *wanted, en_job *job, entro_error *err);
/* The same, and of a text that the model has written for something else, as much as is wanted does well. */
entro_status en_calibration_any_text(en_calib_text *text, const entro_model *model,
                                     const char *folder, const en_text_wanted *wanted, en_job *job,
                                     entro_error *err);

#endif
