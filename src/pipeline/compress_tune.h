/*
 * compress_tune.h - tuning as the last step of a compression.
 *
 *   check:  ahead of everything: can it be tuned?  (calibration and coding take long)
 *   bytes:  what it adds to the file is left free by the search for a size
 *   tune:   the finished file is read and replaced by the tuned one
 */
#ifndef EN_PIPELINE_COMPRESS_TUNE_H
#define EN_PIPELINE_COMPRESS_TUNE_H

#include "pipeline/compress_plan.h"

/* All of them do nothing where it is not asked for. */

entro_status en_compress_tune_check(const en_compress_plan *plan, const char *source,
                                    const entro_compress_options *opt, entro_error *err);
/* How much smaller than 'target' the file must be. */
uint64_t en_compress_tune_bytes(const entro_compress_options *opt, uint64_t target);
/*
 * The report's size, times and figures of tuning are brought up to date.  The finished file stays whatever comes
 * of it: it took long, and 'entrollm tune' can go on from there; the message of an error says so.
 */
entro_status en_compress_tune(const char *source, const char *path,
                              const entro_compress_options *opt, double start,
                              entro_compress_report *report, entro_error *err);

#endif
