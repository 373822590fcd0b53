/* integer_counts.c - see integer_counts.h. */
#include "entropy/integer_counts.h"

#include <math.h>
#include <string.h>

void en_integer_counts_clear(en_integer_counts *counts)
{
    memset(counts, 0, sizeof *counts);
}

void en_integer_counts_add(en_integer_counts *counts, const int32_t *z, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)z[i] + EN_INTEGER_WINDOW;
        if (at < 2 * EN_INTEGER_WINDOW)
            counts->inside[at]++;
        else
            counts->n_outside++;
    }
}

void en_integer_counts_merge(en_integer_counts *counts, const en_integer_counts *other)
{
    for (size_t i = 0; i < 2 * EN_INTEGER_WINDOW; i++)
        counts->inside[i] += other->inside[i];
    counts->n_outside += other->n_outside;
}

double en_integer_counts_entropy(const en_integer_counts *counts)
{
    double n = (double)counts->n_outside, sum = 0;
    for (size_t i = 0; i < 2 * EN_INTEGER_WINDOW; i++) {
        if (counts->inside[i] == 0)
            continue;
        double count = (double)counts->inside[i];
        n += count;
        sum += count * log2(count);
    }
    /* Counts of one each have a logarithm of 0.  Rounding may leave a trace below 0. */
    return n > 0 ? fmax(log2(n) - sum / n, 0) : 0;
}
