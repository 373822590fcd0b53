/* integer_histogram.c - see integer_histogram.h. */
#include "entropy/integer_histogram.h"

#include <string.h>

void en_integer_histogram_take(entro_histogram *h, const uint64_t *counts, size_t n, int32_t first,
                               uint64_t n_outside)
{
    size_t begin = 0, n_values = 1;
    uint64_t left = n_outside;
    for (size_t i = 0; i < n; i++) {
        left += counts[i];
        if (counts[i] > counts[begin])
            begin = i;
    }
    const uint64_t allowed = left / EN_HISTOGRAM_LEFT_OUT;
    left -= counts[begin];
    while (left > allowed && n_values < ENTRO_HISTOGRAM_VALUES && n_values < n) {
        size_t end = begin + n_values;
        bool down = end == n || (begin > 0 && counts[begin - 1] > counts[end]);
        begin -= down;
        left -= counts[down ? begin : end];
        n_values++;
    }
    *h = (entro_histogram){
        .first = first + (int32_t)begin, .n_values = (uint32_t)n_values, .n_others = left};
    memcpy(h->counts, counts + begin, n_values * sizeof *counts);
}
