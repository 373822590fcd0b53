/*
 * unfinished_fisher.h - sums of the pass for importances (collect_fisher.c), saved in the course of it.
 *
 *   groups of sequences before 'n_done':  in the sums, of all layers
 *   the group at 'n_done':                n_left > 0: its gradient has come down to the output of layer n_left - 1, and
 *                                         is kept ('dx'); layers from n_left up are in the sums, theirs of the
 *                                         first group also in gradients-LLL.gguf
 *                                         n_left = 0: has not begun
 */
#ifndef EN_CALIB_UNFINISHED_FISHER_H
#define EN_CALIB_UNFINISHED_FISHER_H

#include "calib/unfinished.h"

typedef struct en_fisher_place {
    uint64_t n_done; /* sequences */
    uint32_t n_left; /* layers */
} en_fisher_place;

typedef struct en_fisher_shape {
    uint64_t n_sequences, n_group; /* in all; of a group, but the last one may be smaller */
    uint64_t n_batch;              /* sequences at once: sums depend on it */
    uint32_t n_layers;
    size_t n_sequence_floats; /* of a sequence's residual stream */
    size_t n_rows, n_vocab, n_embd;
} en_fisher_shape;

typedef struct en_fisher_sums {
    double *rows;     /* of all layers' outputs, one behind the other */
    double *output;   /* n_vocab */
    double *energy;   /* n_vocab: sums of |g|^2 at the embedding of each token */
    uint64_t *counts; /* n_vocab: tokens behind that */
    float *gradients; /* n_embd x n_embd: sums of g g^T at the embedding */
    float *dx;        /* a group's residuals */
} en_fisher_sums;

/* ENTRO_ERR_FORMAT or _CHECKSUM unless all is there, in this shape; says where it goes on. */
entro_status en_unfinished_fisher_check(const en_statistics_file *f, const en_fisher_shape *shape,
                                        en_fisher_place *place, entro_error *err);
/* After a check. */
entro_status en_unfinished_fisher_read(const en_statistics_file *f, const en_fisher_shape *shape,
                                       en_fisher_sums *sums, entro_error *err);
entro_status en_unfinished_fisher_write(const char *folder, const en_statistics_identity *id,
                                        const en_fisher_shape *shape, const en_fisher_place *place,
                                        const en_fisher_sums *sums, entro_error *err);

#endif
