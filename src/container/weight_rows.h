/*
 * weight_rows.h - a tensor of any file as f32 numbers, block of rows by block.
 *
 * Plain tensors come from the source, coded ones through the container's decoder.  A block is a
 * segment or chunk of a coded tensor, and about as many rows of a plain one.  Matrices in strips
 * may store their rows in another order than the model's: a block is rows that are stored together.
 */
#ifndef EN_CONTAINER_WEIGHT_ROWS_H
#define EN_CONTAINER_WEIGHT_ROWS_H

#include "container/container.h"
#include "base/job.h"

typedef struct en_weight_rows {
    const en_source *source;
    const en_tensor *tensor;
    const en_coded *coded; /* NULL for a plain one */
    uint64_t n_rows, n_cols, rows_per_block;
    uint32_t n_blocks;
} en_weight_rows;

en_weight_rows en_weight_rows_of(const en_source *source, const en_tensor *tensor,
                                 const en_coded *coded);

/* First (stored) row of a block, and how many it has. */
uint64_t en_weight_rows_block_row(const en_weight_rows *w, uint32_t block);
uint64_t en_weight_rows_block_rows(const en_weight_rows *w, uint32_t block);

static inline bool en_weight_rows_reorders(const en_weight_rows *w)
{
    return w->coded != NULL && w->coded->strips != NULL && w->coded->strips->row_order != NULL;
}

/* The model's row that is stored as this one. */
static inline uint64_t en_weight_rows_row(const en_weight_rows *w, uint64_t stored)
{
    return en_weight_rows_reorders(w) ? en_strip_row(w->coded->strips, stored) : stored;
}

/* Each thread's room for a block. */
typedef struct en_weight_rows_scratch {
    uint32_t n_threads;
    size_t n_block_elems, n_code_bytes;
    float *rows, *others; /* two blocks of each thread */
    uint8_t *codes;       /* what is decoded, before it becomes weights */
    float *col_scales;    /* of the tensor's columns, in the model's order */
    size_t n_col_scales;  /* 0: all 1 */
    size_t col_scales_cap;
} en_weight_rows_scratch;

/* Grows 'scratch' (zeroed at first) for the tensor. */
entro_status en_weight_rows_scratch_fit(en_weight_rows_scratch *scratch, const en_weight_rows *w,
                                        uint32_t n_threads, entro_error *err);
void en_weight_rows_scratch_free(en_weight_rows_scratch *scratch);

/* A block's stored rows to 'rows' (room for a block), with the scratch of this thread, fitted to
 * the tensor.  ENTRO_ERR_CHECKSUM when a segment or chunk is damaged. */
entro_status en_weight_rows_read(const en_weight_rows *w, uint32_t block, float *rows,
                                 const en_weight_rows_scratch *scratch, uint32_t thread,
                                 entro_error *err);
/* The same as the source has them: so many bytes, every bit kept.  Of plain tensors and those in
 * coding 3. */
size_t en_weight_rows_block_bytes(const en_weight_rows *w, uint32_t block);
entro_status en_weight_rows_read_bytes(const en_weight_rows *w, uint32_t block, uint8_t *out,
                                       const en_weight_rows_scratch *scratch, uint32_t thread,
                                       entro_error *err);
float *en_weight_rows_scratch_rows(const en_weight_rows_scratch *scratch, uint32_t thread);
float *en_weight_rows_scratch_others(const en_weight_rows_scratch *scratch, uint32_t thread);

/*
 * Blocks first .. first + n_blocks - 1 as F32, F16 or BF16 in 'out', by all threads.  Of a tensor that
 * en_weight_rows_reorders() these must be all blocks, for then 'out' gets the model's order.  Numbers
 * beyond the range of f16 become its largest and are counted in *n_clipped.
 */
entro_status en_weight_rows_convert(const en_weight_rows *w, en_job *job,
                                    en_weight_rows_scratch *scratch, uint32_t first,
                                    uint32_t n_blocks, uint32_t dtype, uint8_t *out,
                                    uint64_t *n_clipped, entro_error *err);

#endif
