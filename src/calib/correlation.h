/*
 * correlation.h - a covariance as it is stored: correlations in f16, diagonal in f32.
 *
 *   packed:   | r00 | r10 r11 | r20 r21 r22 | ...      row i starts at i (i + 1) / 2
 *   diagonal: | h00 | h11 | h22 | ...                  H[i][j] = r[i][j] sqrt(h[i][i] h[j][j])
 *
 * f16 has no range for covariances (inputs differ by factors of a million), but is fine enough for
 * numbers in -1 .. 1: off by 2^-12 of a correlation, where few tokens make it uncertain by ten times that.
 * An input that never moved has h = 0 and correlations of 0, the one with itself too.
 */
#ifndef EN_CALIB_CORRELATION_H
#define EN_CALIB_CORRELATION_H

#include "base/pool.h"

/* Numbers in a packed triangle; n is at most EN_CORRELATION_MAX. */
enum { EN_CORRELATION_MAX = 1 << 20 };
static inline size_t en_correlation_count(size_t n)
{
    return n * (n + 1) / 2;
}

/*
 * From sums of x x^T over tokens (n x n, row-major, the lower triangle is read) times 'scale' > 0.
 * 'pool' may be NULL.  Returns n, or the number of a row that is not finite or has a negative diagonal;
 * then the output is unspecified.
 */
size_t en_correlation_pack(const float *sums, size_t n, double scale, uint16_t *packed,
                           float *diagonal, en_pool *pool);

/*
 * Back to h (n x n, row-major, both triangles).  'packed' needs no alignment.  Returns n, or a row with a
 * number that cannot be: a correlation beyond -1 .. 1, a diagonal that is negative or not finite.
 */
size_t en_correlation_unpack(const uint8_t *packed, const float *diagonal, size_t n, float *h,
                             en_pool *pool);

#endif
