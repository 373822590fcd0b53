/*
 * memory.c - see memory.h.
 *
 *   block:  | header: size, padding (64 bytes) | user bytes ... |
 *
 * The header costs a cache line per block; blocks are few and large (strings of a vocabulary live
 * in arenas), and it makes accounting and alignment trivial.
 */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <string.h>

#include <entrollm/entrollm.h>

enum { HEADER_BYTES = 64, SMALL_HEADER_BYTES = 16 };

static _Atomic size_t g_in_use;
static _Atomic uint64_t g_fail_countdown = UINT64_MAX;

void en_memory_fail_at(uint64_t countdown)
{
    atomic_store(&g_fail_countdown, countdown);
}

void entro_debug_fail_allocation(uint64_t countdown)
{
    en_memory_fail_at(countdown);
}

/* Counts down without a lock: exactly one caller sees 0 and fails. */
static bool must_fail(void)
{
    uint64_t left = atomic_load_explicit(&g_fail_countdown, memory_order_relaxed);
    if (left == UINT64_MAX)
        return false;
    while (left != UINT64_MAX) {
        uint64_t next = left == 0 ? UINT64_MAX : left - 1;
        if (atomic_compare_exchange_weak(&g_fail_countdown, &left, next))
            return left == 0;
    }
    return false;
}

/* 'align' is a multiple of HEADER_BYTES. */
static void *allocate_aligned(size_t n_items, size_t item_bytes, size_t align)
{
    size_t n_bytes, n_total;
    if (!en_mul(n_items, item_bytes, &n_bytes) || !en_add(n_bytes, 2 * HEADER_BYTES, &n_total) ||
        must_fail())
        return NULL;
    if (!en_add(n_total, align - HEADER_BYTES, &n_total))
        return NULL;
    n_total &= ~(align - 1);
    uint8_t *block = aligned_alloc(align, n_total);
    if (block == NULL)
        return NULL;
    if (align > HEADER_BYTES)
        madvise(block, n_total, MADV_HUGEPAGE); /* a wish: small pages do as well */
    memcpy(block, &n_bytes, sizeof n_bytes);
    atomic_fetch_add_explicit(&g_in_use, n_bytes, memory_order_relaxed);
    return block + HEADER_BYTES;
}

static void *allocate(size_t n_items, size_t item_bytes)
{
    return allocate_aligned(n_items, item_bytes, HEADER_BYTES);
}

static size_t size_of(const void *p)
{
    size_t n_bytes;
    memcpy(&n_bytes, (const uint8_t *)p - HEADER_BYTES, sizeof n_bytes);
    return n_bytes;
}

void *en_alloc(size_t n_items, size_t item_bytes)
{
    return allocate(n_items, item_bytes);
}

void *en_alloc_huge(size_t n_items, size_t item_bytes)
{
    size_t n_bytes;
    bool large = en_mul(n_items, item_bytes, &n_bytes) && n_bytes >= EN_HUGE_PAGE;
    return allocate_aligned(n_items, item_bytes, large ? EN_HUGE_PAGE : HEADER_BYTES);
}

void *en_alloc_zero(size_t n_items, size_t item_bytes)
{
    void *p = allocate(n_items, item_bytes);
    if (p != NULL)
        memset(p, 0, n_items * item_bytes);
    return p;
}

void *en_realloc(void *p, size_t n_items, size_t item_bytes)
{
    void *grown = allocate(n_items, item_bytes);
    if (grown == NULL || p == NULL)
        return grown;
    size_t n_old = size_of(p), n_new = n_items * item_bytes;
    memcpy(grown, p, n_old < n_new ? n_old : n_new);
    en_free(p);
    return grown;
}

char *en_strndup(const char *text, size_t n_bytes)
{
    size_t n_total;
    if (!en_add(n_bytes, 1, &n_total))
        return NULL;
    char *copy = en_alloc(n_total, 1);
    if (copy == NULL)
        return NULL;
    if (n_bytes > 0)
        memcpy(copy, text, n_bytes);
    copy[n_bytes] = '\0';
    return copy;
}

void en_free(void *p)
{
    if (p == NULL)
        return;
    atomic_fetch_sub_explicit(&g_in_use, size_of(p), memory_order_relaxed);
    free((uint8_t *)p - HEADER_BYTES);
}

void entro_free(void *p)
{
    en_free(p);
}

/* ---- small blocks: malloc with a header of 16 bytes ---------------------------------------- */

void *en_small_alloc(size_t n_bytes)
{
    size_t n_total;
    if (!en_add(n_bytes, SMALL_HEADER_BYTES, &n_total) || must_fail())
        return NULL;
    uint8_t *block = malloc(n_total);
    if (block == NULL)
        return NULL;
    memcpy(block, &n_bytes, sizeof n_bytes);
    atomic_fetch_add_explicit(&g_in_use, n_bytes, memory_order_relaxed);
    return block + SMALL_HEADER_BYTES;
}

void en_small_free(void *p)
{
    if (p == NULL)
        return;
    uint8_t *block = (uint8_t *)p - SMALL_HEADER_BYTES;
    size_t n_bytes;
    memcpy(&n_bytes, block, sizeof n_bytes);
    atomic_fetch_sub_explicit(&g_in_use, n_bytes, memory_order_relaxed);
    free(block);
}

/* ---- accounting ---------------------------------------------------------------------------- */

size_t en_memory_in_use(void)
{
    return atomic_load_explicit(&g_in_use, memory_order_relaxed);
}

/* A line of a file under /proc that gives KiB, as bytes; 0 when it is not there. */
static uint64_t read_kib(const char *path, const char *format)
{
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    char line[256];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, format, &kib) == 1)
            break;
    fclose(f);
    return (uint64_t)kib * 1024;
}

uint64_t en_memory_peak_resident(void)
{
    return read_kib("/proc/self/status", "VmHWM: %llu kB");
}

uint64_t en_memory_available(void)
{
    return read_kib("/proc/meminfo", "MemAvailable: %llu kB");
}

bool en_grow(void **items, size_t *cap, size_t n_needed, size_t n_max, size_t item_bytes)
{
    if (n_needed <= *cap)
        return true;
    if (n_needed > n_max)
        return false;
    size_t n = *cap < 16 ? 16 : *cap;
    while (n < n_needed)
        n = n > n_max / 2 ? n_max : 2 * n;
    void *grown = en_realloc(*items, n, item_bytes);
    if (grown == NULL)
        return false;
    *items = grown;
    *cap = n;
    return true;
}
