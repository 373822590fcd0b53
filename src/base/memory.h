/*
 * memory.h - the one place where memory is allocated.
 *
 * Everything the library allocates, libraries it calls included where they let us, goes through
 * here, so that tests can make every single allocation fail and the program can say what it holds.
 * Memory is 64-byte aligned (one vector, one cache line).  Thread safe.
 */
#ifndef EN_BASE_MEMORY_H
#define EN_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All return NULL when out of memory or when n_items * item_bytes overflows; 0 bytes give a
 * valid pointer.  en_realloc keeps the old block on failure. */
void *en_alloc(size_t n_items, size_t item_bytes);
/* The same, on huge pages where the system has them: for what is read from end to end again and
 * again. */
void *en_alloc_huge(size_t n_items, size_t item_bytes);
#define EN_HUGE_PAGE ((size_t)2 << 20) /* bytes */
void *en_alloc_zero(size_t n_items, size_t item_bytes);
void *en_realloc(void *p, size_t n_items, size_t item_bytes);
char *en_strndup(const char *text, size_t n_bytes); /* adds the terminating zero */
void en_free(void *p);                              /* NULL is fine */

/* For libraries with a malloc-like hook, which ask for many small blocks: 16-byte aligned, counted
 * and failing like the rest; freed with en_small_free only. */
void *en_small_alloc(size_t n_bytes);
void en_small_free(void *p);

/* Bytes allocated now, all threads. */
size_t en_memory_in_use(void);

/* Peak resident set of the process in bytes (VmHWM), 0 where the system does not tell. */
uint64_t en_memory_peak_resident(void);

/* Bytes that the system could still give without swapping; 0 where it does not tell. */
uint64_t en_memory_available(void);

/* Allocation number 'countdown' from now (0 = the next) fails once; UINT64_MAX: none. */
void en_memory_fail_at(uint64_t countdown);

/*
 * Asks for n_bytes from 'ahead' bytes behind p on, which will be read soon, to come to the second-level cache
 * meanwhile: the processor's own prefetching stops at the end of a page.  The first-level cache has few requests under
 * way at a time (Zen 4, packed units from memory: 21 instead of 16 tokens/s of a 1.5 B model with one thread, 31
 * instead of 27 with two).  They may lie beyond the allocation: nothing is read.
 */
static inline __attribute__((always_inline)) void en_fetch(const void *p, size_t ahead,
                                                           size_t n_bytes)
{
    enum { LINE = 64, SECOND_LEVEL = 2 };
#pragma GCC unroll 8
    for (size_t i = 0; i < n_bytes; i += LINE)
        __builtin_prefetch((const void *)((uintptr_t)p + ahead + i), 0, SECOND_LEVEL);
}

/*
 * The same for lines that will be written, which no other core may have then.  What was written a layer ago has
 * left the caches since, and stores wait in their order: quantizing activations took four times as long without
 * (Zen 4, two threads).  In assembly, for compilers take it for a fetch to read unless they are told of a processor
 * that has more; every one with AVX2 knows it.
 */
static inline void en_fetch_to_write(const void *p, size_t n_bytes)
{
    enum { LINE = 64 };
    for (size_t i = 0; i < n_bytes; i += LINE) {
        const char *at = (const char *)p + i;
#if defined(__x86_64__)
        __asm__ volatile("prefetchw %0" ::"m"(*at));
#else
        __builtin_prefetch(at, 1);
#endif
    }
}

/* a * b and a + b; false when they overflow (then *out is untouched). */
static inline bool en_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool en_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/* Grows 'items' (capacity *cap, items of item_bytes) to hold n_needed; false when out of memory
 * or above n_max. */
bool en_grow(void **items, size_t *cap, size_t n_needed, size_t n_max, size_t item_bytes);

#endif
