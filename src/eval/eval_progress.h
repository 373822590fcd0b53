/*
 * eval_progress.h - telling how far a measurement is, and hearing that it shall stop.
 */
#ifndef EN_EVAL_EVAL_PROGRESS_H
#define EN_EVAL_EVAL_PROGRESS_H

#include "base/status.h"

typedef struct en_eval_progress {
    entro_progress_fn fn; /* may be NULL */
    void *user;
    const char *stage, *unit;
    double last; /* when it was called */
} en_eval_progress;

/* 'done' of 'total' are done and the figure is 'value' so far (NAN: none); calls back when a tenth of
 * a second has passed or all is done.  ENTRO_ERR_CANCELLED when the callback says so. */
entro_status en_eval_progress_reach(en_eval_progress *p, uint64_t done, uint64_t total,
                                    double value, entro_error *err);

#endif
