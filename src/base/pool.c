/*
 * pool.c - see pool.h.
 *
 *   caller:  deal the items, generation++, wake sleepers -> work -> wait until all workers are done
 *   worker:  wait for a new generation (spin, then sleep) -> work -> busy--
 *
 * A worker that wakes late still counts as busy, so the caller cannot return, and the job's
 * memory cannot go, before every worker has found that nothing is left.
 */
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/cpu.h"
#include "base/memory.h"

enum { SPINS = 4000, MAX_THREADS = 1024 };

struct en_pool {
    uint32_t n_threads; /* the caller included */
    uint32_t n_started; /* workers running */

    en_pool_fn fn; /* the job: written before 'generation' is raised */
    void *context;
    struct share {
        _Alignas(64) _Atomic uint64_t items; /* see make_share() */
    } * shares;                              /* a thread's each */

    _Alignas(64) _Atomic uint32_t generation;
    _Alignas(64) _Atomic uint32_t n_busy;
    _Atomic bool stop;

    pthread_mutex_t mutex; /* guards sleeping only */
    pthread_cond_t wake, done;
    struct worker {
        struct en_pool *pool;
        uint32_t index;
        pthread_t thread;
    } * workers;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- shares ------------------------------------------------------------------------------ */

/* Items 'first' to 'end' - 1, which nobody has begun, in one word.  Within a job a share that has changed never
 * comes back, for it would have to hold items that were taken: comparing the word is enough. */
static inline uint64_t make_share(uint32_t first, uint32_t end)
{
    return (uint64_t)end << 32 | first;
}

static inline uint32_t share_first(uint64_t share)
{
    return (uint32_t)share;
}

static inline uint32_t share_end(uint64_t share)
{
    return (uint32_t)(share >> 32);
}

static void deal_items(en_pool *pool, uint32_t n_items)
{
    uint64_t n = n_items;
    for (uint32_t i = 0; i < pool->n_threads; i++) {
        uint64_t share = make_share((uint32_t)(n * i / pool->n_threads),
                                    (uint32_t)(n * (i + 1) / pool->n_threads));
        atomic_store_explicit(&pool->shares[i].items, share, memory_order_relaxed);
    }
}

/* The first item of the share. */
static bool take_item(struct share *share, uint32_t *item)
{
    uint64_t now = atomic_load_explicit(&share->items, memory_order_relaxed);
    do {
        *item = share_first(now);
        if (*item >= share_end(now))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&share->items, &now,
                                                    make_share(*item + 1, share_end(now)),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* The upper half of what another thread has not begun, all of it if that is one item. */
static bool take_half(struct share *from, struct share *to)
{
    uint64_t now = atomic_load_explicit(&from->items, memory_order_relaxed);
    uint32_t first, middle, end;
    do {
        first = share_first(now), end = share_end(now);
        if (first >= end)
            return false;
        middle = first + (end - first) / 2;
    } while (!atomic_compare_exchange_weak_explicit(&from->items, &now, make_share(first, middle),
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_store_explicit(&to->items, make_share(middle, end), memory_order_relaxed);
    return true;
}

static void work(en_pool *pool, uint32_t thread)
{
    struct share *own = &pool->shares[thread];
    for (;;) {
        uint32_t item, next = thread;
        while (take_item(own, &item))
            pool->fn(pool->context, item, thread);
        do { /* what is on its way from one thread to another is seen by neither: its taker runs it */
            next = (next + 1) % pool->n_threads;
        } while (next != thread && !take_half(&pool->shares[next], own));
        if (next == thread)
            return;
    }
}

/* ---- threads ----------------------------------------------------------------------------- */

/* Returns the new generation. */
static uint32_t wait_for_job(en_pool *pool, uint32_t seen)
{
    uint32_t now;
    for (int i = 0; i < SPINS; i++) {
        now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen)
            return now;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->mutex);
    while ((now = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    return now;
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    en_pool *pool = self->pool;
    uint32_t seen = 0;
    for (;;) {
        seen = wait_for_job(pool, seen);
        if (atomic_load_explicit(&pool->stop, memory_order_relaxed))
            return NULL;
        work(pool, self->index);
        if (atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static void raise_generation(en_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

entro_status en_pool_new(en_pool **out, uint32_t n_threads, entro_error *err)
{
    if (n_threads == 0)
        n_threads = en_cpu_count();
    if (n_threads > MAX_THREADS)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "%u threads asked for, at most %u are possible",
                       n_threads, (unsigned)MAX_THREADS);
    en_pool *pool = en_alloc_zero(1, sizeof *pool);
    if (pool == NULL)
        return en_fail_memory(err);
    pool->n_threads = n_threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = en_alloc_zero(n_threads, sizeof *pool->workers);
    pool->shares = en_alloc_zero(n_threads, sizeof *pool->shares);
    if (pool->workers == NULL || pool->shares == NULL) {
        en_pool_free(pool);
        return en_fail_memory(err);
    }
    for (uint32_t i = 1; i < n_threads; i++) {
        struct worker *w = &pool->workers[i];
        w->pool = pool;
        w->index = i;
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0) {
            en_pool_free(pool);
            return en_fail_errno(err, rc, "cannot start thread %u of %u", i, n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return ENTRO_OK;
}

void en_pool_free(en_pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->n_started > 0) {
        atomic_store(&pool->stop, true);
        raise_generation(pool);
        for (uint32_t i = 1; i <= pool->n_started; i++)
            pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    en_free(pool->shares);
    en_free(pool->workers);
    en_free(pool);
}

uint32_t en_pool_n_threads(const en_pool *pool)
{
    return pool->n_threads;
}

static void wait_for_workers(en_pool *pool)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->n_busy, memory_order_acquire) == 0)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&pool->n_busy, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

void en_pool_run(en_pool *pool, en_pool_fn fn, void *context, uint32_t n_items)
{
    pool->fn = fn;
    pool->context = context;
    deal_items(pool, n_items);
    bool shared = pool->n_started > 0 && n_items > 1;
    if (shared) {
        atomic_store_explicit(&pool->n_busy, pool->n_started, memory_order_relaxed);
        raise_generation(pool);
    }
    work(pool, 0);
    if (shared)
        wait_for_workers(pool);
}
