/*
 * weights.h - a tensor of any file as f32 numbers, block of rows by block.
 *
 * Plain tensors come from the source, coded ones through the container's decoder.  A block is a
 * segment of a coded tensor, and about as many rows of a plain one.
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

static inline uint64_t en_weights_block_row(const en_weights *w, uint32_t block)
{
    return (uint64_t)block * w->rows_per_block;
}

static inline uint64_t en_weights_block_rows(const en_weights *w, uint32_t block)
{
    uint64_t left = w->n_rows - en_weights_block_row(w, block);
    return left < w->rows_per_block ? left : w->rows_per_block;
}

/* 'rows': room for a block; 'codes': room for a block's codes and EN_CODE_OUT_SLACK, used for a
 * coded tensor only.  ENTRO_ERR_CHECKSUM when a segment is damaged. */
entro_status en_weights_read(const en_weights *w, uint32_t block, float *rows, uint8_t *codes,
                             entro_error *err);

/* Each thread's room for a block. */
typedef struct en_weights_scratch {
    uint32_t n_threads;
    size_t n_block_elems;
    float *rows, *others; /* two blocks of each thread */
    uint8_t *codes;
} en_weights_scratch;

/* Grows 'scratch' (zeroed at first) for the tensor. */
entro_status en_weights_scratch_fit(en_weights_scratch *scratch, const en_weights *w,
                                    uint32_t n_threads, entro_error *err);
void en_weights_scratch_free(en_weights_scratch *scratch);
float *en_weights_scratch_rows(const en_weights_scratch *scratch, uint32_t thread);
float *en_weights_scratch_others(const en_weights_scratch *scratch, uint32_t thread);
uint8_t *en_weights_scratch_codes(const en_weights_scratch *scratch, uint32_t thread);

/*
 * Blocks first .. first + n_blocks - 1 as F32, F16 or BF16 in 'out', by all threads.  Numbers beyond
 * the range of f16 become its largest and are counted in *n_clipped.
 */
entro_status en_weights_convert(const en_weights *w, en_job *job, en_weights_scratch *scratch,
                                uint32_t first, uint32_t n_blocks, uint32_t dtype, uint8_t *out,
                                uint64_t *n_clipped, entro_error *err);

#endif
