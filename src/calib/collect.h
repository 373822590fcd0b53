/*
 * collect.h - runs text through a model, layer by layer, and leaves statistics.h's folder behind.
 *
 *   fisher:  forward through all layers keeping each layer's input, then backward with labels sampled
 *            from the model's own softmax
 *   inputs:  forward layer by layer for all tokens; of each layer the covariances of its four inputs
 *
 * Memory: the residual stream of all tokens, one layer's weights in f32, one layer's covariances.  A
 * layer whose file is there already is not collected again, so a killed run goes on where it stopped.
 */
#ifndef EN_CALIB_COLLECT_H
#define EN_CALIB_COLLECT_H

#include "base/job.h"
#include "calib/statistics.h"

typedef struct en_collect_options {
    uint32_t n_positions;     /* tokens a sequence; 0: 512 */
    uint64_t n_tokens;        /* for covariances; 0: EN_COLLECT_TOKENS, or as many as there are */
    uint64_t n_fisher_tokens; /* 0: EN_COLLECT_FISHER_TOKENS */
    uint64_t seed;
} en_collect_options;

enum { EN_COLLECT_TOKENS = 40960, EN_COLLECT_FISHER_TOKENS = 8192 };

/*
 * 'tokens': the text as ids of the model, cut into sequences of n_positions (each begins with BOS where
 * the model wants one).  The first n_tokens of it serve covariances, the rest (or, when there is too
 * little, the same again) importances.  'text' names it for the record.  ENTRO_ERR_ARGUMENT when
 * there is less than one sequence.
 */
entro_status en_statistics_collect(const char *folder, const en_source *source,
                                   const en_decoder *decoder, const int32_t *tokens,
                                   uint64_t n_tokens, const char *text, bool add_bos, int32_t bos,
                                   const en_collect_options *opt, en_job *job, entro_error *err);

#endif
