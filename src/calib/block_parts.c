/* block_parts.c - see block_parts.h. */
#include "calib/block_parts.h"

#include <math.h>

#include "kernels/kernels.h"

en_norm_back en_norm_back_of(const float *x, const float *gain, float epsilon, const float *dy,
                             size_t n)
{
    enum { LANES = 8 };
    double squares[LANES] = {0}, products[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            double value = (double)x[i + lane];
            squares[lane] += value * value;
            products[lane] += value * (double)(gain[i + lane] * dy[i + lane]);
        }
    for (; i < n; i++) {
        squares[0] += (double)x[i] * (double)x[i];
        products[0] += (double)x[i] * (double)(gain[i] * dy[i]);
    }
    for (size_t lane = 1; lane < LANES; lane++) {
        squares[0] += squares[lane];
        products[0] += products[lane];
    }
    double r = 1.0 / sqrt(squares[0] / (double)n + (double)epsilon);
    return (en_norm_back){(float)r, (float)(r * r * r * products[0] / (double)n)};
}

void en_norm_back_in_place(float *restrict x, const float *restrict gain, float epsilon,
                           const float *restrict dy, size_t n)
{
    const en_norm_back back = en_norm_back_of(x, gain, epsilon, dy, n);
    for (size_t i = 0; i < n; i++)
        x[i] = back.scale * gain[i] * dy[i] - back.slope * x[i];
}

double en_head_soften(float *logits, size_t n)
{
    const en_kernels *kernels = en_kernels_get();
    float lo, hi, highest = 0;
    bool is_finite = kernels->min_max(logits, n, &lo, &hi);
    kernels->softmax(logits, n);
    if (!is_finite || !kernels->min_max(logits, n, &lo, &highest))
        return NAN;
    return (double)hi - log((double)highest); /* of the highest: 1 / sum of exp(logit - hi) */
}
