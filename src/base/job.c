/* job.c - see job.h. */
#include "base/job.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"

static const double seconds_between_calls = 0.1;

static double save_seconds(void)
{
    const char *text = getenv("ENTRO_SAVE_SECONDS");
    char *end;
    if (text == NULL)
        return EN_JOB_SAVE_SECONDS;
    double seconds = strtod(text, &end);
    return end != text && *end == '\0' && seconds >= 0 ? seconds : EN_JOB_SAVE_SECONDS;
}

entro_status en_job_open(en_job *job, uint32_t n_threads, entro_progress_fn progress, void *user,
                         entro_error *err)
{
    *job = (en_job){.progress = progress, .user = user};
    job->state = (entro_progress){.unit = "B", .value = NAN};
    job->save_seconds = save_seconds();
    EN_TRY(en_pool_new(&job->pool, n_threads, err));
    job->n_threads = en_pool_n_threads(job->pool);
    job->results = en_alloc_zero(job->n_threads, sizeof *job->results);
    if (job->results == NULL) {
        en_job_close(job);
        return en_fail_memory(err);
    }
    return ENTRO_OK;
}

void en_job_close(en_job *job)
{
    en_pool_free(job->pool);
    en_free(job->results);
    job->pool = NULL;
    job->results = NULL;
}

void en_job_stage(en_job *job, const char *stage, uint64_t total)
{
    job->state.stage = stage;
    job->state.total = total;
    job->state.done = 0;
    job->state.resumed = 0;
    job->last_call = -1;
    en_job_saved(job);
}

void en_job_resume(en_job *job, uint64_t done)
{
    job->state.done = done;
    job->state.resumed = done;
}

void en_job_note(en_job *job, const char *format, ...)
{
    size_t n = strlen(job->note);
    va_list args;
    va_start(args, format);
    if (n > 0 && n + 2 < sizeof job->note) {
        memcpy(job->note + n, "; ", sizeof "; ");
        n += 2;
    }
    vsnprintf(job->note + n, sizeof job->note - n, format, args);
    va_end(args);
}

bool en_job_save_is_due(const en_job *job)
{
    return en_clock_seconds() - job->last_save >= job->save_seconds;
}

void en_job_saved(en_job *job)
{
    job->last_save = en_clock_seconds();
}

entro_status en_job_reach(en_job *job, const char *item, uint64_t done, entro_error *err)
{
    job->state.item = item;
    job->state.done = done;
    if (job->progress == NULL)
        return ENTRO_OK;
    double now = en_clock_seconds();
    bool due = job->last_call < 0 || now - job->last_call >= seconds_between_calls;
    if (!due && done < job->state.total)
        return ENTRO_OK;
    job->last_call = now;
    job->state.note = job->note[0] != '\0' ? job->note : NULL;
    bool goes_on = job->progress(job->user, &job->state);
    job->state.note = NULL;
    job->note[0] = '\0';
    if (!goes_on)
        return en_fail(err, ENTRO_ERR_CANCELLED, "cancelled; nothing was written");
    return ENTRO_OK;
}

typedef struct run {
    en_job *job;
    en_job_fn fn;
    void *context;
    uint32_t first;
} run;

static void run_item(void *context, uint32_t item, uint32_t thread)
{
    run *r = context;
    en_job_result *result = &r->job->results[thread];
    if (atomic_load_explicit(&r->job->failed, memory_order_relaxed))
        return;
    result->status = r->fn(r->context, r->first + item, thread, &result->error);
    if (result->status != ENTRO_OK)
        atomic_store_explicit(&r->job->failed, true, memory_order_relaxed);
}

entro_status en_job_run(en_job *job, en_job_fn fn, void *context, uint32_t first, uint32_t n_items,
                        entro_error *err)
{
    run r = {.job = job, .fn = fn, .context = context, .first = first};
    atomic_store_explicit(&job->failed, false, memory_order_relaxed);
    for (uint32_t i = 0; i < job->n_threads; i++)
        job->results[i].status = ENTRO_OK;
    en_pool_run(job->pool, run_item, &r, n_items);
    for (uint32_t i = 0; i < job->n_threads; i++) {
        if (job->results[i].status == ENTRO_OK)
            continue;
        if (err != NULL)
            *err = job->results[i].error;
        return job->results[i].status;
    }
    return ENTRO_OK;
}
