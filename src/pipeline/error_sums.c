/* error_sums.c - see error_sums.h. */
#include "pipeline/error_sums.h"

#include <math.h>

/* Sixteen partial sums let the compiler use vectors; within a piece f32 is exact enough. */
void en_error_sums_add(en_error_sums *sums, const float *w, const float *back, size_t n)
{
    enum { LANES = 16 };
    float error[LANES] = {0}, weight[LANES] = {0}, largest[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float d = w[i + j] - back[i + j], a = fabsf(d);
            error[j] += d * d;
            weight[j] += w[i + j] * w[i + j];
            largest[j] = a > largest[j] ? a : largest[j];
        }
    for (size_t j = 0; i < n; i++, j++) {
        float d = w[i] - back[i], a = fabsf(d);
        error[j] += d * d;
        weight[j] += w[i] * w[i];
        largest[j] = a > largest[j] ? a : largest[j];
    }
    for (size_t j = 0; j < LANES; j++) {
        sums->error += error[j];
        sums->weight += weight[j];
        sums->max_error = largest[j] > sums->max_error ? largest[j] : sums->max_error;
    }
}

void en_error_sums_merge(en_error_sums *sums, const en_error_sums *other)
{
    sums->error += other->error;
    sums->weight += other->weight;
    sums->max_error = other->max_error > sums->max_error ? other->max_error : sums->max_error;
}
