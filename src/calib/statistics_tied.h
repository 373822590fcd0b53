/*
 * statistics_tied.h - one covariance and importances by row for a matrix with two uses: tied embeddings.
 *
 * As output matrix, an error e of row v costs  1/2 Fo_v e Ho e^T  (Ho: covariance of its inputs, Fo:
 * squared gradients at the logits); as embedding,  1/2 Fi_v e Hi e^T  (Hi: covariance of gradients, Fi:
 * share of the token).  Quantization with feedback wants one matrix for all rows:
 *
 *   Fo_v Ho + Fi_v Hi  ~  F_v H            H = a Ho + b Hi
 *
 * The error it leaves in row v is white after a factor of H, E[e^T e] ~ H^-1 / F_v.  So row v costs what
 * is said when  F_v = (Fo_v tr(Ho H^-1) + Fi_v tr(Hi H^-1)) / n,  and the bits are fewest for an H that
 * is the mean over rows of (Fo_v Ho + Fi_v Hi) / F_v: every row is brought to the same error, so every
 * row has the same say.  The two conditions are met in turn, a few times (docs/statistics.md).
 */
#ifndef EN_CALIB_STATISTICS_TIED_H
#define EN_CALIB_STATISTICS_TIED_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct en_tied_use {
    const float *covariance; /* n x n, symmetric */
    const float *importance; /* n_rows */
    uint64_t n_tokens;       /* behind the covariance */
} en_tied_use;

typedef struct en_tied_weights {
    double covariance[2]; /* a and b */
    double importance[2]; /* F_v = importance[0] Fo_v + importance[1] Fi_v */
    uint64_t n_tokens;    /* behind H */
} en_tied_weights;

/* 'work': n x n floats, destroyed. */
entro_status en_tied_weigh(en_tied_weights *w, const en_tied_use uses[2], size_t n, size_t n_rows,
                           float *work, entro_error *err);
/* h may be one of the uses' covariances, likewise f. */
void en_tied_covariance(const en_tied_weights *w, const en_tied_use uses[2], size_t n, float *h);
void en_tied_importance(const en_tied_weights *w, const en_tied_use uses[2], size_t n_rows,
                        float *f);

#endif
