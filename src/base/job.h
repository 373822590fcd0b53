/*
 * job.h - what the long jobs share: threads whose failures are collected, progress, cancelling.
 */
#ifndef EN_BASE_JOB_H
#define EN_BASE_JOB_H

#include <stdatomic.h>

#include "base/pool.h"

/* Seconds between two savings of what a stage has done so far, unless the environment variable
 * ENTRO_SAVE_SECONDS has another number; 0: as often as there is something to save. */
#define EN_JOB_SAVE_SECONDS 20.0

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
    double last_call; /* when 'progress' was called */
    char note[320];   /* for its next call */
    double save_seconds, last_save;
    en_job_result *results; /* one a thread */
    _Atomic bool failed;    /* the remaining items of a run are skipped */
} en_job;

entro_status en_job_open(en_job *job, uint32_t n_threads, entro_progress_fn progress, void *user,
                         entro_error *err);
void en_job_close(en_job *job); /* a zeroed one is fine */

/* Starts a stage of 'total' bytes. */
void en_job_stage(en_job *job, const char *stage, uint64_t total);
/* So much of it an earlier run has done, which the stage goes on from. */
void en_job_resume(en_job *job, uint64_t done);
/* Told to people with the next report; several are joined. */
void en_job_note(en_job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 'done' bytes of the stage are done; calls back when a tenth of a second has passed or the stage
 * is complete.  ENTRO_ERR_CANCELLED when the callback says so. */
entro_status en_job_reach(en_job *job, const char *item, uint64_t done, entro_error *err);

/* Whether what the stage has done so far should be saved: save_seconds have gone by since it began, or
 * since en_job_saved(). */
bool en_job_save_is_due(const en_job *job);
void en_job_saved(en_job *job);

/* Runs items first .. first + n_items - 1 on all threads; the first failure wins. */
typedef entro_status (*en_job_fn)(void *context, uint32_t item, uint32_t thread, entro_error *err);
entro_status en_job_run(en_job *job, en_job_fn fn, void *context, uint32_t first, uint32_t n_items,
                        entro_error *err);

#endif
