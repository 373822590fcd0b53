/*
 * unicode_class.c - look-up in the table of ranges.
 *
 * The basic plane is spread into a flat table on first use (64 KiB, a few microseconds), the rare
 * rest is found by bisection.
 */
#include "text/unicode_class.h"

#include <pthread.h>

#include "text/unicode_ranges.h"

enum { N_RANGES = sizeof unicode_ranges / sizeof unicode_ranges[0], N_FLAT = 0x10000 };

uint8_t en_unicode_flat[0x10000];
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

static void fill_flat(void)
{
    for (size_t i = 0; i < N_RANGES; i++) {
        uint32_t first = unicode_ranges[i] >> 8;
        uint32_t end = i + 1 < N_RANGES ? unicode_ranges[i + 1] >> 8 : N_FLAT;
        for (uint32_t c = first; c < end && c < N_FLAT; c++)
            en_unicode_flat[c] = (uint8_t)unicode_ranges[i];
    }
}

uint8_t en_unicode_bisect(uint32_t code)
{
    size_t low = 0, high = N_RANGES;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (unicode_ranges[middle] >> 8 <= code)
            low = middle;
        else
            high = middle;
    }
    return (uint8_t)unicode_ranges[low];
}

void en_unicode_init(void)
{
    pthread_once(&g_once, fill_flat);
}
