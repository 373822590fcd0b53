/* thread_clock.h - the processor time of this thread: on a busy machine it says more than the clock. */
#ifndef EN_BENCH_THREAD_CLOCK_H
#define EN_BENCH_THREAD_CLOCK_H

#include <time.h>

static inline double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
