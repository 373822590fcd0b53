/*
 * error_sums.h - how far quantized weights lie from their source, summed piece by piece.
 */
#ifndef EN_PIPELINE_ERROR_SUMS_H
#define EN_PIPELINE_ERROR_SUMS_H

#include <stddef.h>

enum { EN_ERROR_PIECE = 1024 };

typedef struct en_error_sums {
    double error, weight; /* squares of w - w', and of w */
    double max_error;
} en_error_sums;

/* Adds at most EN_ERROR_PIECE weights w that come back as 'back'. */
void en_error_sums_add(en_error_sums *sums, const float *w, const float *back, size_t n);
void en_error_sums_merge(en_error_sums *sums, const en_error_sums *other);

#endif
