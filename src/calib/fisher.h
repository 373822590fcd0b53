/*
 * fisher.h - what the pass for importances (collect_fisher.c) adds up, and the files it leaves
 * (fisher_files.c).
 */
#ifndef EN_CALIB_FISHER_H
#define EN_CALIB_FISHER_H

#include "calib/collect_run.h"
#include "calib/gradients.h"
#include "calib/unfinished_fisher.h"

typedef struct en_fisher {
    en_collect_run *run;
    en_fisher_shape shape;
    en_fisher_sums sums;
    float *kept;        /* n_layers times a group's residuals */
    float *blocks;      /* of the layer at hand: sums of g g^T at its outputs (gradients.h) */
    float *out_matrix;  /* n_vocab x n_embd, while the head is at work */
    float *written;     /* sums as f32 */
    double flops_saved; /* of the run, when the sums were saved last */
} en_fisher;

/* What an earlier run has left; all zero: nothing. */
typedef struct en_fisher_start {
    en_statistics_file file;
    en_fisher_place place;
} en_fisher_start;

/* 'has_gradients': of each layer, whether its file is there.  Closed by en_fisher_collect() or with the file. */
entro_status en_fisher_find(en_fisher_start *start, const en_collect_run *r,
                            const bool *has_gradients, entro_error *err);
/* The importances of all layers and of the vocabulary, to fisher.gguf. */
entro_status en_fisher_collect(en_collect_run *r, en_fisher_start *start, uint64_t seed,
                               entro_error *err);
/* What that takes from there on. */
double en_fisher_flops(const en_collect_run *r, const en_fisher_place *from);

/* gradients-LLL.gguf, of f->blocks. */
entro_status en_fisher_write_gradients(en_fisher *f, uint32_t layer, uint64_t n_tokens,
                                       entro_error *err);
/* fisher.gguf, of the sums of all sequences. */
entro_status en_fisher_write(en_fisher *f, entro_error *err);

#endif
