/*
 * weights.h - a tensor of any file as f32 numbers, block of rows by block.
 *
 * Plain tensors come from the source, coded ones through the container's decoder.  A block is a
 * segment or chunk of a coded tensor, and about as many rows of a plain one.  Matrices in strips
 * may store their rows in another order than the model's: a block is rows that are stored together.
 */
#ifndef EN_PIPELINE_WEIGHTS_H
#define EN_PIPELINE_WEIGHTS_H

#include "container/container.h"
#include "pipeline/job.h"

typedef struct en_weights {
    const en_source *source;
    const en_tensor *tensor;
    const en_coded *coded; /* NULL for a plain one */
    uint64_t n_rows, n_cols, rows_per_block;
    uint32_t n_blocks;
} en_weights;

en_weights en_weights_of(const en_source *source, const en_tensor *tensor, const en_coded *coded);

/* First (stored) row of a block, and how many it has. */
uint64_t en_weights_block_row(const en_weights *w, uint32_t block);
uint64_t en_weights_block_rows(const en_weights *w, uint32_t block);

static inline bool en_weights_reorders(const en_weights *w)
{
    return w->coded != NULL && w->coded->strips != NULL && w->coded->strips->row_order != NULL;
}

/* The model's row that is stored as this one. */
static inline uint64_t en_weights_row(const en_weights *w, uint64_t stored)
{
    return en_weights_reorders(w) ? en_strip_row(w->coded->strips, stored) : stored;
}

/* Each thread's room for a block. */
typedef struct en_weights_scratch {
    uint32_t n_threads;
    size_t n_block_elems, n_code_bytes;
    float *rows, *others; /* two blocks of each thread */
    uint8_t *codes;       /* what is decoded, before it becomes weights */
    float *col_scales;    /* of the tensor's columns, in the model's order */
    size_t n_col_scales;  /* 0: all 1 */
    size_t col_scales_cap;
} en_weights_scratch;

/* Grows 'scratch' (zeroed at first) for the tensor. */
entro_status en_weights_scratch_fit(en_weights_scratch *scratch, const en_weights *w,
                                    uint32_t n_threads, entro_error *err);
void en_weights_scratch_free(en_weights_scratch *scratch);

/* A block's stored rows to 'rows' (room for a block), with the scratch of this thread, fitted to
 * the tensor.  ENTRO_ERR_CHECKSUM when a segment or chunk is damaged. */
entro_status en_weights_read(const en_weights *w, uint32_t block, float *rows,
                             const en_weights_scratch *scratch, uint32_t thread, entro_error *err);
float *en_weights_scratch_rows(const en_weights_scratch *scratch, uint32_t thread);
float *en_weights_scratch_others(const en_weights_scratch *scratch, uint32_t thread);

/*
 * Blocks first .. first + n_blocks - 1 as F32, F16 or BF16 in 'out', by all threads.  Of a tensor that
 * en_weights_reorders() these must be all blocks, for then 'out' gets the model's order.  Numbers
 * beyond the range of f16 become its largest and are counted in *n_clipped.
 */
entro_status en_weights_convert(const en_weights *w, en_job *job, en_weights_scratch *scratch,
                                uint32_t first, uint32_t n_blocks, uint32_t dtype, uint8_t *out,
                                uint64_t *n_clipped, entro_error *err);

#endif
