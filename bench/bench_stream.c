/*
 * bench_stream.c - reads memory from end to end over and over: what a machine's memory gives, and a way to
 * make it scarce for a program beside it.
 *
 *   bench_stream THREADS            until it is ended; says nothing
 *   bench_stream THREADS SECONDS    then GB/s, of one thread up to THREADS
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/memory.h"

enum { THREAD_BYTES = 256 << 20, MAX_THREADS = 64, BLOCK = 4096, AHEAD = 4096, LINE = 64 };

static atomic_bool stop;

typedef struct reader {
    pthread_t thread;
    uint64_t *data;
    uint64_t n_bytes, sum;
} reader;

static uint64_t read_block(const uint64_t *p)
{
    uint64_t sums[8] = {0};
    for (int i = 0; i < BLOCK; i += LINE)
        __builtin_prefetch((const void *)((uintptr_t)p + AHEAD + (uintptr_t)i));
    for (int i = 0; i < BLOCK / 8; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] ^= p[i + k];
    return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}

static void *read_on(void *context)
{
    reader *r = context;
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        for (uint64_t at = 0;
             at < THREAD_BYTES && !atomic_load_explicit(&stop, memory_order_relaxed);
             at += BLOCK, r->n_bytes += BLOCK)
            r->sum ^= read_block(r->data + at / 8);
    return NULL;
}

static void sleep_until(double end)
{
    struct timespec moment = {0, 10000000};
    while (end == 0 || en_clock_seconds() < end)
        nanosleep(&moment, NULL);
}

static void run(int n_threads, double seconds)
{
    static reader readers[MAX_THREADS];
    uint64_t n_bytes = 0;
    atomic_store(&stop, false);
    for (int i = 0; i < n_threads; i++) {
        reader *r = &readers[i];
        r->n_bytes = 0;
        if (r->data == NULL) {
            r->data = en_alloc_huge(THREAD_BYTES, 1);
            if (r->data == NULL)
                exit(1);
            memset(r->data, 1, THREAD_BYTES);
        }
        if (pthread_create(&r->thread, NULL, read_on, r) != 0)
            exit(1);
    }
    double start = en_clock_seconds();
    sleep_until(seconds > 0 ? start + seconds : 0);
    double taken = en_clock_seconds() - start;
    atomic_store(&stop, true);
    for (int i = 0; i < n_threads; i++) {
        pthread_join(readers[i].thread, NULL);
        n_bytes += readers[i].n_bytes;
    }
    printf("%d threads read %.1f GB/s\n", n_threads, (double)n_bytes / taken * 1e-9);
}

int main(int argc, char **argv)
{
    int n_threads = argc > 1 ? atoi(argv[1]) : 1;
    double seconds = argc > 2 ? atof(argv[2]) : 0;
    if (n_threads < 1 || n_threads > MAX_THREADS) {
        fprintf(stderr, "usage: bench_stream THREADS [SECONDS]      1 to %d threads\n",
                MAX_THREADS);
        return 2;
    }
    for (int i = seconds > 0 ? 1 : n_threads; i <= n_threads; i++)
        run(i, seconds);
    return 0;
}
