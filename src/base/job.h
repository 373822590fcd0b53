/*
 * job.h - what the long jobs share: threads whose failures are collected, progress, cancelling.
 */
#ifndef EN_BASE_JOB_H
#define EN_BASE_JOB_H

#include <stdatomic.h>

#include "base/pool.h"

typedef struct en_job_result {
    entro_status status;
    entro_error error;
} en_job_result;

typedef struct en_job {
    en_pool *pool;
    uint32_t n_threads;
    entro_progress_fn progress; /* may be NULL */
    void *user;
    entro_progress state;
    double last_call;       /* when 'progress' was called */
    en_job_result *results; /* one a thread */
    _Atomic bool failed;    /* the remaining items of a run are skipped */
} en_job;

entro_status en_job_open(en_job *job, uint32_t n_threads, entro_progress_fn progress, void *user,
                         entro_error *err);
void en_job_close(en_job *job); /* a zeroed one is fine */

/* Starts a stage of 'total' bytes. */
void en_job_stage(en_job *job, const char *stage, uint64_t total);
/* 'done' bytes of the stage are done; calls back when a tenth of a second has passed or the stage
 * is complete.  ENTRO_ERR_CANCELLED when the callback says so. */
entro_status en_job_reach(en_job *job, const char *item, uint64_t done, entro_error *err);

/* Runs items first .. first + n_items - 1 on all threads; the first failure wins. */
typedef entro_status (*en_job_fn)(void *context, uint32_t item, uint32_t thread, entro_error *err);
entro_status en_job_run(en_job *job, en_job_fn fn, void *context, uint32_t first, uint32_t n_items,
                        entro_error *err);

#endif
