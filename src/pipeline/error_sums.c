/* error_sums.c - see error_sums.h. */
#include "pipeline/error_sums.h"

#include "kernels/kernels.h"

/* Within a piece f32 is exact enough. */
void en_error_sums_add(en_error_sums *sums, const float *w, const float *back, size_t n)
{
    en_error_lanes lanes;
    en_kernels_get()->error_sums(w, back, n, &lanes);
    for (size_t j = 0; j < EN_ERROR_LANES; j++) {
        double largest = (double)lanes.largest[j];
        sums->error += (double)lanes.error[j];
        sums->weight += (double)lanes.weight[j];
        sums->max_error = largest > sums->max_error ? largest : sums->max_error;
    }
}

void en_error_sums_merge(en_error_sums *sums, const en_error_sums *other)
{
    sums->error += other->error;
    sums->weight += other->weight;
    sums->max_error = other->max_error > sums->max_error ? other->max_error : sums->max_error;
}
