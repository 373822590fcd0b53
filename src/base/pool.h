/*
 * pool.h - a fixed set of threads that share out the items of a job.
 *
 * One job at a time: en_pool_run() returns when all items are done.  Each thread is dealt as many items, one
 * behind the other, and runs them in order, so that what a product fetches ahead of itself is the same
 * thread's; who has done his takes over half of what another has not begun.  No locks: an item costs one
 * atomic operation on a word that hardly ever another thread wants.  Threads that find no item spin briefly,
 * then sleep.  The calling thread works too, as thread 0.
 */
#ifndef EN_BASE_POOL_H
#define EN_BASE_POOL_H

#include "base/status.h"

typedef struct en_pool en_pool;

/* 'thread' < en_pool_n_threads(), to pick scratch memory. */
typedef void (*en_pool_fn)(void *context, uint32_t item, uint32_t thread);

entro_status en_pool_new(en_pool **out, uint32_t n_threads, entro_error *err); /* 0: all */
void en_pool_free(en_pool *pool);
uint32_t en_pool_n_threads(const en_pool *pool);
void en_pool_run(en_pool *pool, en_pool_fn fn, void *context, uint32_t n_items);

#endif
