/*
 * cholesky.h - the triangular factor of a covariance matrix, in single precision (LAPACK).
 */
#ifndef EN_QUANT_CHOLESKY_H
#define EN_QUANT_CHOLESKY_H

#include "base/status.h"

#include <stddef.h>

/*
 * What is added to a covariance of few tokens before it is factored:
 *   H <- (1 - shrink) H + shrink diag(H) + ridge * mean(diag H) * I
 * An input that never moved (a diagonal below 1e-8 of the mean) counts as one of that size; when none
 * did, H is the identity (so that the weights are coded by their own size).
 */
typedef struct en_covariance_ridge {
    double shrink; /* 0 .. 1 */
    double ridge;  /* 1e-4 */
} en_covariance_ridge;

/* The shrinkage that suits n_tokens samples of n inputs. */
en_covariance_ridge en_covariance_ridge_for(size_t n, uint64_t n_tokens);

/*
 * In place: h (n x n, row-major, symmetric; the lower triangle is read) becomes L with H = L L^T,
 * lower triangular, zeros above.  When H is not positive definite even so, the ridge is raised
 * tenfold and tried again, up to 1; the ridge in use is returned in *used (may be NULL).
 * ENTRO_ERR_FORMAT when h holds NaN, infinity or a negative variance, or when nothing helps.  Uses BLAS
 * threads; beside h it needs n floats.
 */
entro_status en_cholesky(float *h, size_t n, const en_covariance_ridge *ridge, double *used,
                         entro_error *err);

#endif
