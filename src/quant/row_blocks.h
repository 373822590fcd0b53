/*
 * row_blocks.h - the rows of a matrix in blocks of about equal size, at most EN_ROW_BLOCK each.
 *
 * Inside a block, what the model's loss says about one row's error depends on the others' (the
 * gradients' covariance is kept); between blocks it is taken not to.  Blocks are also what threads
 * share out, and they do not depend on the number of threads.
 */
#ifndef EN_QUANT_ROW_BLOCKS_H
#define EN_QUANT_ROW_BLOCKS_H

#include <stddef.h>

enum { EN_ROW_BLOCK = 1024 };

static inline size_t en_row_blocks(size_t n_rows)
{
    return (n_rows + EN_ROW_BLOCK - 1) / EN_ROW_BLOCK;
}

/* First row of block b; with b = en_row_blocks(n_rows) the end of all. */
static inline size_t en_row_block_first(size_t n_rows, size_t b)
{
    size_t n = en_row_blocks(n_rows), rows = n_rows / n, more = n_rows % n;
    return b * rows + (b < more ? b : more);
}

/* Floats of all blocks' square matrices, one behind the other. */
static inline size_t en_row_blocks_floats(size_t n_rows)
{
    size_t sum = 0;
    for (size_t b = 0; b < en_row_blocks(n_rows); b++) {
        size_t n = en_row_block_first(n_rows, b + 1) - en_row_block_first(n_rows, b);
        sum += n * n;
    }
    return sum;
}

#endif
