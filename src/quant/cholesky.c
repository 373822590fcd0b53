/*
 * cholesky.c - see cholesky.h.
 *
 * LAPACK counts by columns: its upper triangle is the lower one of our rows, and it leaves the other
 * triangle alone.  So the matrix to factor lies below, and its mirror image above keeps it for another
 * try with more ridge; only the diagonal needs room of its own.
 */
#include "quant/cholesky.h"

#include <limits.h>
#include <math.h>

#include "base/memory.h"
#include "quant/blas.h"
#include "quant/finite.h"

#define NEVER_MOVED 1e-8 /* of the mean */
#define FIRST_RIDGE 1e-6 /* where none was asked for, but is needed */

enum { TILE = 32 }; /* of a mirrored triangle: both sides of it lie in the first cache */

en_covariance_ridge en_covariance_ridge_for(size_t n, uint64_t n_tokens)
{
    double shrink = n_tokens > 0 ? 0.9 * (double)n / (double)n_tokens : 1.0;
    return (en_covariance_ridge){.shrink = fmin(fmax(shrink, 0.05), 0.4), .ridge = 1e-4};
}

static entro_status check_finite(const float *h, size_t n, entro_error *err)
{
    for (size_t row = 0; row < n; row++) {
        const float *values = h + row * n;
        size_t col = en_finite_count(values, row + 1);
        if (col <= row)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "the covariance is %g in row %zu, column %zu, expected a finite number; "
                           "collect the statistics again",
                           (double)values[col], row, col);
        if (values[row] < 0)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "input %zu has a variance of %g, expected 0 or more; collect the "
                           "statistics again",
                           row, (double)values[row]);
    }
    return ENTRO_OK;
}

/* Of the diagonal; inputs without any movement at all count as independent ones of variance 1, so
 * that their weights are still coded by their own size. */
static double take_diagonal(const float *h, size_t n, float *diagonal)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)h[i * n + i];
    double mean = sum > 0 ? sum / (double)n : 1.0, least = sum > 0 ? NEVER_MOVED * mean : 1.0;
    for (size_t i = 0; i < n; i++)
        diagonal[i] = (float)fmax((double)h[i * n + i], least);
    return mean;
}

typedef enum mirror_kind { SCALE_AND_KEEP, BRING_BACK, CLEAR } mirror_kind;

/* Walks over the tiles of the strict lower triangle together with their mirror images. */
static void mirror(float *h, size_t n, mirror_kind kind, float scale)
{
    for (size_t row0 = 0; row0 < n; row0 += TILE) {
        size_t row_end = n - row0 < TILE ? n : row0 + TILE;
        for (size_t col0 = 0; col0 <= row0; col0 += TILE) {
            for (size_t row = row0; row < row_end; row++) {
                size_t col_end = row < col0 + TILE ? row : col0 + TILE;
                for (size_t col = col0; col < col_end; col++) {
                    float *low = &h[row * n + col], *high = &h[col * n + row];
                    if (kind == SCALE_AND_KEEP)
                        *high = *low *= scale;
                    else if (kind == BRING_BACK)
                        *low = *high;
                    else
                        *high = 0;
                }
            }
        }
    }
}

/* Whether 'h', its diagonal raised by 'extra', is positive definite; then it is its factor. */
static bool factor(float *h, size_t n, const float *diagonal, double extra)
{
    for (size_t i = 0; i < n; i++)
        h[i * n + i] = (float)((double)diagonal[i] + extra);
    int size = (int)n, info = 0;
    en_blas_get()->spotrf("U", &size, h, &size, &info);
    if (info != 0)
        return false;
    for (size_t i = 0; i < n; i++) /* numbers near the end of f32 overflow without a word */
        if (!(h[i * n + i] > 0 && isfinite(h[i * n + i])))
            return false;
    return true;
}

entro_status en_cholesky(float *h, size_t n, const en_covariance_ridge *ridge, double *used,
                         entro_error *err)
{
    if (n == 0 || n > INT_MAX)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "a covariance of %zu inputs cannot be factored", n);
    if (!(ridge->shrink >= 0 && ridge->shrink <= 1 && ridge->ridge >= 0 && ridge->ridge <= 1))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "shrinkage %g and ridge %g: both must be from 0 to 1", ridge->shrink,
                       ridge->ridge);
    EN_TRY(en_blas_open(err));
    EN_TRY(check_finite(h, n, err));
    float *diagonal = en_alloc(n, sizeof *diagonal);
    if (diagonal == NULL)
        return en_fail_memory(err);
    double mean = take_diagonal(h, n, diagonal), now = ridge->ridge;
    mirror(h, n, SCALE_AND_KEEP, (float)(1.0 - ridge->shrink));
    bool done = factor(h, n, diagonal, now * mean);
    while (!done && now < 1.0) {
        now = now > 0 ? fmin(now * 10, 1.0) : FIRST_RIDGE;
        mirror(h, n, BRING_BACK, 0);
        done = factor(h, n, diagonal, now * mean);
    }
    en_free(diagonal);
    if (!done)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "the covariance of %zu inputs is not positive definite, not even with its "
                       "mean added to the diagonal; collect the statistics again",
                       n);
    mirror(h, n, CLEAR, 0);
    if (used != NULL)
        *used = now;
    return ENTRO_OK;
}
