/*
 * tune.h - the parts of tuning that compress calls as well, see tune.c.
 */
#ifndef EN_PIPELINE_TUNE_H
#define EN_PIPELINE_TUNE_H

#include "base/status.h"

/* Is there a text for it?  What takes hours asks before it begins: ENTRO_ERR_NOT_FOUND for a model without
 * tokenizer, ENTRO_ERR_ARGUMENT for files that are too short. */
entro_status en_tune_check(const char *source, const entro_tune_options *opt, entro_error *err);

/* As en_tune(), of a file that was just made from the source: they are not compared. */
entro_status en_tune_made(const char *source, const char *model, const char *path,
                          const entro_tune_options *opt, entro_tune_report *report,
                          entro_error *err);

#endif
