/*
 * statistics.h - what is known about the inputs and outputs of a model's matrices, kept in a folder.
 *
 * Two things about each matrix y = W x:
 *   covariance   H = mean over tokens of x x^T            of the inputs ("site"), n_cols x n_cols
 *   importance   F_i = mean over tokens of (dloss/dy_i)^2  of each output, labels sampled from the model
 * so that 1/2 sum_i F_i dw_i H dw_i^T estimates what an error dW adds to the loss of a token (KLD).
 *
 * The embedding is read by row: its H is the mean of g g^T over tokens, g the gradient at the
 * embedding's output, and F_i the share of token i (more where its gradients are larger).
 * Tied with the output matrix, both uses are added up: one H for both and importances by row, see
 * statistics_tied.h.
 *
 * A folder, as collecting takes minutes and must survive a kill: two GGUF files a layer and two for
 * the rest (statistics_file.h, docs/statistics.md), each written under a temporary name.  A file knows the
 * model and the text it was made from.
 */
#ifndef EN_CALIB_STATISTICS_H
#define EN_CALIB_STATISTICS_H

#include "base/pool.h"
#include "model/decoder.h"

typedef struct en_statistics en_statistics;

/* ENTRO_ERR_NOT_FOUND when the folder holds none or not all, ENTRO_ERR_ARGUMENT when they are of
 * another model than the decoder's (says which), or its weights are coded.  'pool' reads covariances
 * (NULL: the calling thread alone).  Both must outlive it. */
entro_status en_statistics_open(en_statistics **out, const char *folder, const en_decoder *decoder,
                                en_pool *pool, entro_error *err);
void en_statistics_close(en_statistics *s); /* NULL is fine */

typedef struct en_statistics_info {
    uint64_t n_tokens;        /* behind each covariance */
    uint64_t n_fisher_tokens; /* behind the importances */
    uint32_t n_positions;     /* tokens a sequence */
    char text[160];           /* "wiki.train.txt + c4.jsonl", or "written by the model" */
} en_statistics_info;
void en_statistics_get_info(const en_statistics *s, en_statistics_info *info);

/* Whether there is something about the tensor of this name (e.g. "blk.3.attn_q.weight"). */
bool en_statistics_has(const en_statistics *s, const char *tensor);

/*
 * covariance: n_cols x n_cols floats, filled symmetrically; importance: n_rows floats.  *n_tokens: behind
 * the covariance.  Each call reads the covariance from its file; callers that go through matrices of
 * one site (en_statistics_site()) read it once, with covariance NULL for the others: then only the importance is
 * filled in.
 */
entro_status en_statistics_of(en_statistics *s, const char *tensor, float *covariance,
                              float *importance, uint64_t *n_tokens, entro_error *err);
/* Matrices over the same input have the same number; SIZE_MAX: unknown tensor. */
size_t en_statistics_site(const en_statistics *s, const char *tensor);

/* Whether the matrix is (also) read by row: the embedding. */
bool en_statistics_is_embedding(const en_statistics *s, const char *tensor);

/* Whether the covariance of gradients at the matrix's outputs is known: of all in layers. */
bool en_statistics_has_gradients(const en_statistics *s, const char *tensor);
/* It, in blocks of rows (quant/row_blocks.h), one behind the other, each filled symmetrically; *n_tokens:
 * behind it. */
entro_status en_statistics_gradients(const en_statistics *s, const char *tensor, float *blocks,
                                     uint64_t *n_tokens, entro_error *err);

#endif
