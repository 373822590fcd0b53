/*
 * rate_matrix.h - how many bits a matrix will take, before anything of it is rounded.
 *
 * Integer (i, j) has the spread  rows_i cols_j / c,  c the step.  Spreads of rows differ most in the embedding,
 * whose tokens are not equally frequent: with one spread for all rows it was expected 0.8 bit too large, a
 * tenth of the file of a small model.  All pairs of rows and columns would be too many; of both, sorted, bins
 * of equal numbers stand for all, and what is kept is how many weights have a spread of so many sixteenths of an
 * octave:
 *
 *   bits = mean over weights of the entropy of a rounded normal distribution
 */
#ifndef EN_PIPELINE_RATE_MATRIX_H
#define EN_PIPELINE_RATE_MATRIX_H

#include <stdbool.h>

#include "base/status.h"

enum {
    EN_RATE_OCTAVES = 24,
    EN_RATE_AN_OCTAVE = 16,
    EN_RATE_SPREADS = EN_RATE_OCTAVES * EN_RATE_AN_OCTAVE
};

typedef struct en_rate_matrix {
    uint64_t n_rows, n_cols;
    bool has_spreads; /* else the rate is chosen as such */
    double largest;   /* log2 of a spread */
    /* Of the weights, with a spread of 2^(largest - i / 16); smaller ones take nothing. */
    float share[EN_RATE_SPREADS];
} en_rate_matrix;

/* row_spreads (n_rows, over their root mean square), col_spreads (n_cols): finite, from 0 on; or both NULL. */
entro_status en_rate_matrix_set(en_rate_matrix *m, uint64_t n_rows, uint64_t n_cols,
                                const float *row_spreads, const float *col_spreads,
                                entro_error *err);

/* Bits a weight at step c; of a matrix with spreads. */
double en_rate_matrix_bits(const en_rate_matrix *m, double c);

#endif
