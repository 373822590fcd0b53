/*
 * pipeline.h - the jobs that turn one file into another: compress, tune, restore, verify.
 *
 * All but tuning stream tensor by tensor; see the public header for the contracts.
 */
#ifndef EN_PIPELINE_PIPELINE_H
#define EN_PIPELINE_PIPELINE_H

#include "base/status.h"

entro_status en_compress(const char *source, const char *path, const entro_compress_options *opt,
                         entro_compress_report *report, entro_error *err);
entro_status en_tune(const char *source, const char *model, const char *path,
                     const entro_tune_options *opt, entro_tune_report *report, entro_error *err);
entro_status en_restore(const char *model, const char *path, const char *type,
                        const entro_job_options *opt, entro_restore_report *report,
                        entro_error *err);
entro_status en_verify(const char *path, const char *source, const entro_job_options *opt,
                       entro_verify_report *report, entro_error *err);

#endif
