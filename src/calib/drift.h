/*
 * drift.h - targets for a layer's matrices that know what quantization has done to the layers before.
 *
 * A matrix W of a quantized model meets inputs x' where the source's meet x, and adds to a residual stream that is
 * off by r - r'.  Before W is quantized it becomes
 *
 *   W + blend (E[(W (x - x') + r - r') x'^T]) (E[x' x'^T] + ridge mean(diag) I)^-1
 *
 * the part of what is missing that its inputs can tell; r - r' for attn_output and ffn_down only, which write to the
 * stream (activation drift and residual compensation of WaterSIC, arXiv 2603.04956; GPTAQ, arXiv 2504.02692).  A blend
 * below 1, because every layer corrects what is left by those before it.
 *
 * Both models run through the text side by side, layer by layer, a group of matrices after the other:
 *
 *   correct q, k, v | take them | correct attn_output | take it | correct gate, up | take | correct ffn_down | take
 *
 * Memory: three times the residual stream of all tokens, two layers' weights in f32, a batch of sequences, and a
 * covariance of the widest input.
 */
#ifndef EN_CALIB_DRIFT_H
#define EN_CALIB_DRIFT_H

#include "base/job.h"
#include "calib/calib_text.h"
#include "model/decoder.h"

/* Chosen on the last fifth of the shared C4 text (docs/quality.md), with 20,480 tokens. */
#define EN_DRIFT_BLEND 0.3f
#define EN_DRIFT_RIDGE 1.0

typedef struct en_drift en_drift;

/*
 * 'decoder' is the source, its weights not coded; the first n_tokens of the text are used, in whole sequences, or as
 * many as there are.  All must outlive it.  BLAS must be there (quant/blas.h); it computes on the job's threads
 * during calls.
 */
entro_status en_drift_open(en_drift **out, const en_decoder *decoder, const en_calib_text *text,
                           uint64_t n_tokens, en_job *job, entro_error *err);
void en_drift_close(en_drift *d); /* NULL is fine */

/* Tokens in use. */
uint64_t en_drift_tokens(const en_drift *d);

/*
 * Corrects a matrix of the source, n_rows x n_cols as in its file; one that is in no layer stays as it is.  Matrices
 * must come in the order of above (those of a group in any), and none twice.  One that was left out is followed as the
 * source has it.  ENTRO_ERR_CANCELLED between batches; ENTRO_ERR_FORMAT for numbers that are not finite.
 */
entro_status en_drift_correct(en_drift *d, const char *tensor, float *weights, entro_error *err);

/* What has become of the matrix: its rows, which 'read' gives on any thread.  The embedding is to come first. */
typedef void (*en_drift_read_fn)(void *context, uint64_t row, float *out);
void en_drift_take(en_drift *d, const char *tensor, en_drift_read_fn read, void *context);

#endif
