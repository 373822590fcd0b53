/* job.c - see job.h. */
#include "base/job.h"

#include <math.h>

#include "base/cpu.h"
#include "base/memory.h"

static const double seconds_between_calls = 0.1;

entro_status en_job_open(en_job *job, uint32_t n_threads, entro_progress_fn progress, void *user,
                         entro_error *err)
{
    *job = (en_job){.progress = progress, .user = user};
    job->state = (entro_progress){.unit = "B", .value = NAN};
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
    job->last_call = -1;
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
    if (!job->progress(job->user, &job->state))
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
