/*
 * reference_run.h - runs a reference model over a text and keeps its predictions in a file.
 */
#ifndef EN_EVAL_REFERENCE_RUN_H
#define EN_EVAL_REFERENCE_RUN_H

#include "eval/eval_progress.h"
#include "eval/model_identity.h"
#include "eval/reference_cache.h"

/* 'session' is of the model and has room for a window.  The progress's figure is the perplexity. */
entro_status en_reference_run(en_windows *windows, const entro_model *model, entro_session *session,
                              uint64_t identity, const char *path, bool overwrite,
                              en_eval_progress *progress, entro_error *err);

#endif
