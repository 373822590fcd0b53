/*
 * collect_run.h - what the two passes of collect.c and distill.c share: the layer at hand, a batch of
 * sequences, and how far the work has come.
 */
#ifndef EN_CALIB_COLLECT_RUN_H
#define EN_CALIB_COLLECT_RUN_H

#include "base/job.h"
#include "calib/block.h"
#include "calib/calib_text.h"
#include "calib/statistics_file.h"

typedef struct en_collect_run {
    const en_decoder *decoder;
    const char *folder; /* NULL: nothing is kept when it is cancelled */
    const en_calib_text *text;
    en_job *job;
    en_statistics_identity id;
    en_precision precision; /* of products with matrices, and of covariances */
    /* Sequences of the text: [0, n_sequences) for covariances, and those for importances. */
    uint64_t n_sequences, first_fisher, n_fisher;
    size_t kept_bytes; /* of layers' inputs at most, while importances are made */
    en_block block;
    en_block_tape tape;
    en_rope rope;
    uint32_t n_batch;               /* sequences of the tape */
    double flops_done, flops_total; /* estimates, for the time left */
    char item[32];                  /* what is shown: "blk.3" */
} en_collect_run;

/* Tokens of a batch: enough for matrix products to run at full speed. */
enum { EN_COLLECT_BATCH_TOKENS = 2048 };

static inline size_t en_collect_sequence_floats(const en_collect_run *r)
{
    return (size_t)r->text->n_positions * r->decoder->hp.n_embd;
}

/* Block, tape of so many sequences and rope of r->decoder; en_collect_release() is right in every case. */
entro_status en_collect_prepare(en_collect_run *r, uint32_t n_batch, entro_error *err);
void en_collect_release(en_collect_run *r);

/* Operations of a token in a layer: forward, and for its covariances. */
double en_collect_forward_flops(const en_hparams *hp);
double en_collect_covariance_flops(const en_hparams *hp);
/* Of the work, as a share of the stage's total. */
uint64_t en_collect_done(const en_collect_run *r);
/* So much is done; calls back.  ENTRO_ERR_CANCELLED as en_job_reach(). */
entro_status en_collect_reach(en_collect_run *r, double flops, entro_error *err);

/* The embedding of sequences first .. first + n_sequences - 1. */
entro_status en_collect_embed(en_collect_run *r, uint64_t first, uint64_t n_sequences, float *x,
                              entro_error *err);
/* r->block becomes this layer, of numbers that are finite. */
entro_status en_collect_load(en_collect_run *r, uint32_t layer, entro_error *err);
/* A matrix in f32, of finite numbers; its pages are not kept. */
entro_status en_collect_read_matrix(en_collect_run *r, const en_linear *m, float *out,
                                    entro_error *err);
/* Through r->block: x, a batch of at most n_batch sequences, to out, which may be x. */
entro_status en_collect_forward(en_collect_run *r, const float *x, uint32_t n_sequences, float *out,
                                entro_error *err);

#endif
