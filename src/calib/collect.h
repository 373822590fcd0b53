/*
 * collect.h - runs text through a model, layer by layer, and leaves statistics.h's folder behind.
 *
 *   fisher:  forward through all layers keeping each layer's input, then backward with labels sampled
 *            from the model's own softmax
 *   inputs:  forward layer by layer for all tokens; of each layer the covariances of its four inputs
 *
 * Memory: the residual stream of all tokens, one layer's weights in f32, one layer's covariances; while
 * importances are made, up to EN_COLLECT_KEPT_BYTES of layers' inputs and the output matrix in f32.
 *
 * A file that is there already, of the same model, text and settings, is not made again, so a killed
 * run goes on with what is missing: importances where their sums were saved last (unfinished_fisher.h), covariances
 * at the layer where it stopped (layers before are run again, forward only).  Files of another text are
 * overwritten, those of another model are refused.
 */
#ifndef EN_CALIB_COLLECT_H
#define EN_CALIB_COLLECT_H

#include "base/job.h"
#include "calib/calib_text.h"
#include "calib/products.h"
#include "model/decoder.h"

typedef struct en_collect_options {
    uint64_t n_tokens;        /* for covariances; 0: EN_COLLECT_TOKENS, or as many as there are */
    uint64_t n_fisher_tokens; /* 0: EN_COLLECT_FISHER_TOKENS */
    uint64_t seed;            /* of the labels */
    en_precision precision;   /* of products */
    size_t kept_bytes;        /* 0: EN_COLLECT_KEPT_BYTES */
} en_collect_options;

/* Text of the model's own takes a while to write: a fifth less costs 2 % of the KLD (docs/quality.md). */
enum {
    EN_COLLECT_TOKENS = 40960,
    EN_COLLECT_OWN_TOKENS = 32768,
    EN_COLLECT_FISHER_TOKENS = 8192,
};
#define EN_COLLECT_KEPT_BYTES ((size_t)3 << 29)

/*
 * The first n_tokens of the text, in whole sequences, serve covariances, those behind them (or, when
 * there is too little, the last ones of the same) importances.  'opt' may be NULL.  The folder is made when it
 * is not there.  The decoder's weights must not be coded.  BLAS computes on
 * the job's threads meanwhile (products.h).
 *
 * ENTRO_ERR_ARGUMENT for less than one sequence, for a folder of another model; ENTRO_ERR_FORMAT
 * for NaN or infinity in weights (named) or activations; ENTRO_ERR_CANCELLED between batches: what is
 * finished stays.
 */
entro_status en_statistics_collect(const char *folder, const en_decoder *decoder,
                                   const en_calib_text *text, const en_collect_options *opt,
                                   en_job *job, entro_error *err);

#endif
