/*
 * rate_search.h - the one number that decides how large a model becomes.
 *
 * For passes with a slope it is x = log2 of the slope c: one step c for all matrices, so that a bit more buys
 * the same error everywhere.  For "rtn" it is x = -bits.  Either way a step of 1 in x is about one bit
 * a weight.
 *
 *   predict   bytes of all searched matrices at x, from their columns' spreads
 *   start     x whose prediction meets the target
 *   correct   after a pass: prediction + (what it was wrong by) meets the target
 */
#ifndef EN_PIPELINE_RATE_SEARCH_H
#define EN_PIPELINE_RATE_SEARCH_H

#include "base/status.h"

typedef struct en_rate_matrix {
    uint64_t n_rows, n_cols;
    float *spreads; /* owned; NULL: rate -x */
} en_rate_matrix;

typedef struct en_rate_search {
    en_rate_matrix *matrices;
    size_t n, cap;
    uint64_t target;    /* bytes of the file; 0: none, x is given, or target_loss is */
    double target_loss; /* estimated loss of the file, nats a token; 0: none */
    double other_bytes; /* of everything else, a guess at first */
    double x;           /* of the next pass */
    double correction;  /* bytes that the last pass took more than predicted */
    unsigned n_passes;  /* done */
    double best_x;      /* of the largest file so far that fits; NAN: none */
    uint64_t best_bytes;
} en_rate_search;

/* Ends of x and passes at most. */
#define EN_RATE_LEAST_BITS 0.5
#define EN_RATE_MOST_BITS  9.0
enum { EN_RATE_MAX_PASSES = 3 };
#define EN_RATE_TOLERANCE 0.005 /* a file of at least this much less than the target is good */

void en_rate_search_init(en_rate_search *s, uint64_t target);
void en_rate_search_free(en_rate_search *s); /* a zeroed one is fine */

/* 'spreads' (n_cols) is taken over in any case. */
entro_status en_rate_search_add(en_rate_search *s, uint64_t n_rows, uint64_t n_cols, float *spreads,
                                entro_error *err);

/* Bits a weight that are expected at x, of all matrices. */
double en_rate_search_bits(const en_rate_search *s, double x);

/* Sets x for the first pass.  ENTRO_ERR_ARGUMENT when no x can meet the target: says what can be met. */
entro_status en_rate_search_start(en_rate_search *s, entro_error *err);

/*
 * The same for a target_loss, after a pass whose file has this loss: met from below, within
 * EN_RATE_LOSS_TOLERANCE.  A quarter of the error for every bit; two passes more than for a size, at most,
 * as nothing tells beforehand what a step costs in loss.
 */
#define EN_RATE_LOSS_TOLERANCE 0.04
entro_status en_rate_search_next_loss(en_rate_search *s, double loss, bool *again,
                                      entro_error *err);

/*
 * A pass at s->x gave a file of n_bytes.  *again: another one is needed, at the new s->x; else this file is the
 * one.  ENTRO_ERR_ARGUMENT as above.
 */
entro_status en_rate_search_next(en_rate_search *s, uint64_t n_bytes, bool *again,
                                 entro_error *err);

/* The file of the last pass is no candidate: what follows is made in another way, and is about as large. */
void en_rate_search_forget(en_rate_search *s);

#endif
