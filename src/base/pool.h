/*
 * pool.h - a fixed set of threads that take items from a counter.
 *
 * One job at a time: en_pool_run() returns when all items are done.  Items are handed out in
 * order, one atomic add each and no locks; threads that find no item spin briefly, then sleep.
 * The calling thread works too, as thread 0.
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
