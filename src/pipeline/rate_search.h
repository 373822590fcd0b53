/*
 * rate_search.h - the one number that decides how large a model becomes.
 *
 * For passes with a slope it is x = log2 of the slope c: one step c for all matrices, so that a bit more buys
 * the same error everywhere.  For "rtn" it is x = -bits.  Either way a step of 1 in x is about one bit
 * a weight.
 *
 *   predict      bytes of all searched matrices at x, from the spreads of their rows and columns
 *   start        x whose prediction meets the target
 *   one side     all passes too large, or all too small: prediction + (what it was wrong by), a step of at
 *                most EN_RATE_MAX_STEP
 *   both sides   what it was wrong by is interpolated between the passes on either side of the target: the
 *                next x lies between theirs
 *
 * One or two passes are usual, at most three between 2 and 6 bits.  More, up to EN_RATE_MAX_PASSES, are taken only
 * where the coder is far from its prediction: where integers are beyond what a coding's tables hold, and with
 * less than a million weights, whose sizes go in steps.
 */
#ifndef EN_PIPELINE_RATE_SEARCH_H
#define EN_PIPELINE_RATE_SEARCH_H

#include "pipeline/rate_matrix.h"

enum { EN_RATE_MAX_PASSES = 6 };

typedef struct en_rate_pass {
    double x;
    double value; /* bytes of the file, or log2 of its KLD */
} en_rate_pass;

typedef struct en_rate_search {
    en_rate_matrix *matrices;
    size_t n, cap;
    uint64_t target;    /* bytes of the file; 0: none, x is given, or target_kld is */
    uint64_t n_params;  /* of the model, for messages in bits a parameter */
    double target_kld;  /* expected of the file, nats a token; 0: none */
    double other_bytes; /* of everything else, a guess at first */
    double overhead;    /* bits that a weight takes beyond its prediction, until a pass has told */
    double x;           /* of the next pass, then of the file */
    unsigned n_passes;  /* done */
    en_rate_pass passes[EN_RATE_MAX_PASSES]; /* those that count, in order */
    unsigned n_counted;
    double finest, coarsest; /* ends of x */
    double last;             /* value of the last pass */
    bool repeats;            /* the next pass makes the best file again */
} en_rate_search;

/* Mean bits a weight that are searched.  Above, integers are too many for what tables of strips and rans hold,
 * and stand on a list at 24 bits and more each (docs/methods.md). */
#define EN_RATE_LEAST_BITS 0.5
#define EN_RATE_MOST_BITS  7.3

#define EN_RATE_TOLERANCE     0.005 /* a file of at least this much less than the target is good */
#define EN_RATE_KLD_TOLERANCE 0.04  /* likewise a KLD; nothing tells beforehand what a step costs */
/* A file smaller by more than this is not what was asked for: 0.08 of 4 bits, a tenth more error.  Less is what
 * the steps of a tiny model may leave, whose integers change many at once. */
#define EN_RATE_NEAR          0.02
#define EN_RATE_MAX_STEP      1.5
/* Where passes on both sides are this near each other in x, sizes between theirs do not exist. */
#define EN_RATE_NARROW        0.001

void en_rate_search_init(en_rate_search *s, uint64_t target);
void en_rate_search_free(en_rate_search *s); /* a zeroed one is fine */

/* Spreads as en_rate_matrix_set() wants them; NULL: of the rate -x. */
entro_status en_rate_search_add(en_rate_search *s, uint64_t n_rows, uint64_t n_cols,
                                const float *row_spreads, const float *col_spreads,
                                entro_error *err);

/* Bits a weight that are expected at x, of all matrices. */
double en_rate_search_bits(const en_rate_search *s, double x);

/* Sets x for the first pass: an end, where no x is expected to meet the target. */
entro_status en_rate_search_start(en_rate_search *s, entro_error *err);

/*
 * A pass at s->x gave a file of n_bytes.  *again: another one is needed, at the new s->x; else this file is the
 * one, at most EN_RATE_NEAR below the target.  ENTRO_ERR_ARGUMENT when there is none: says the smallest or
 * largest file, which was made, or those made next to the target.
 */
entro_status en_rate_search_next(en_rate_search *s, uint64_t n_bytes, bool *again,
                                 entro_error *err);
/* The same for a KLD, expected of the file just made: the coarsest file within target_kld. */
entro_status en_rate_search_next_kld(en_rate_search *s, double kld, bool *again, entro_error *err);

/* The file of the last pass does not count: what follows is made in another way, and is about as large. */
void en_rate_search_forget(en_rate_search *s);

/* Share by which the last pass's file is below the target; NAN where there is none. */
double en_rate_search_below(const en_rate_search *s);
bool en_rate_search_is_met(
    const en_rate_search *s); /* that is within the tolerance, or no target */

#endif
