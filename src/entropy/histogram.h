/*
 * histogram.h - what the builder of words wants to know of a histogram beyond code.h.
 *
 * A histogram belongs to one thread: asking for its counts brings them up to date.
 */
#ifndef EN_ENTROPY_HISTOGRAM_H
#define EN_ENTROPY_HISTOGRAM_H

#include "entropy/code.h"

unsigned en_histogram_alphabet(const en_histogram *h);

/* How often runs begin with each one to four symbols (16-symbol alphabets; index: the symbols, four
 * bits each, the first one highest). */
typedef struct en_run_model {
    uint64_t total;
    uint64_t counts[EN_CODE_MAX_SYMBOLS];
    double single[EN_CODE_MAX_SYMBOLS]; /* probabilities */
    double one[16], two[256], three[4096], four[65536];
} en_run_model;

entro_status en_run_model_new(en_run_model **out, const en_histogram *h, entro_error *err);
/* Free with en_free().  Estimated probabilities of what follows a run of n_run symbols, of which
 * at most the last three count ('run' holds them, the last one lowest). */
void en_run_model_next(const en_run_model *m, unsigned run, unsigned n_run, double next[16]);

#endif
