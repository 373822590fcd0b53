/*
 * linear.h - y = W x for a matrix in any encoding.
 *
 * The matrix stays as it lies in the mapped file.  Threads take tiles (runs of rows), turn each
 * into cache-sized numbers - decode codes, dequantize blocks - and multiply at once.  The result
 * does not depend on the number of threads: every output is summed by one thread, in one order.
 *
 * A matrix in coding 3 holds the source's own numbers and gives the results that these give.
 *
 * A matrix in coding 2 or 4 is multiplied in integers (activations.h), so that its results depend on
 * nothing else either: neither the processor, nor how many tokens are done at once, nor whether it
 * is decoded again each time or kept packed.
 */
#ifndef EN_LINEAR_LINEAR_H
#define EN_LINEAR_LINEAR_H

#include "base/pool.h"
#include "container/container.h"

typedef struct en_linear_packed en_linear_packed;

typedef struct en_linear {
    uint64_t n_rows, n_cols; /* outputs, inputs */
    const char *name;        /* borrowed, for messages */
    /* exactly one of the two: */
    const en_coded *coded;
    const en_tensor *plain; /* any float dtype, read through 'source' */
    const en_source *source;
    en_linear_packed
        *packed; /* of a matrix in coding 2 or 4, owned; NULL: decoded when it is needed */
} en_linear;

/* Scratch memory of all threads of a pool. */
typedef struct en_linear_scratch en_linear_scratch;
/* Large enough for every matrix in the list. */
entro_status en_linear_scratch_new(en_linear_scratch **out, const en_linear *const *matrices,
                                   size_t n_matrices, uint32_t n_threads, entro_error *err);
void en_linear_scratch_free(en_linear_scratch *scratch);
size_t en_linear_scratch_bytes(const en_linear_scratch *scratch);

/* One product of a job. */
typedef struct en_linear_product {
    const en_linear *matrix;
    float *y; /* y[t * y_stride + r] */
    size_t y_stride;
} en_linear_product;

/*
 * Several matrices times the same n_tokens inputs (x[t * x_stride + k]) in one parallel job: fused
 * q/k/v, gate/up.  All have the same n_cols.  ENTRO_ERR_CHECKSUM when a coded stream is damaged (y is
 * then unspecified).
 */
entro_status en_linear_apply(const en_linear_product *products, size_t n_products, const float *x,
                             size_t x_stride, size_t n_tokens, en_pool *pool,
                             en_linear_scratch *scratch, entro_error *err);

/* One row as f32 (embedding look-up); uses the scratch of thread 0. */
entro_status en_linear_read_row(const en_linear *matrix, uint64_t row, float *out,
                                en_linear_scratch *scratch, entro_error *err);

/*
 * A matrix in coding 2 or 4 may be kept in memory decoded: in 1 to 8 bits a weight and a list of those that
 * need more, of which a product for one token is as fast as memory.  Results stay the same, bit for
 * bit.
 */
bool en_linear_can_pack(const en_linear *matrix);
/* What it takes; before it is packed an estimate from a sample.  0 for any other matrix. */
uint64_t en_linear_pack_bytes(const en_linear *matrix);
/* ENTRO_ERR_CHECKSUM when the coded matrix is damaged, ENTRO_ERR_ARGUMENT when it is none in coding
 * 2 or 4.  A second call does nothing.  'stored', if not NULL, is the matrix in 'source', which is told to
 * forget its pages as they are read. */
entro_status en_linear_pack(en_linear *matrix, const en_source *source, const en_tensor *stored,
                            en_pool *pool, entro_error *err);
void en_linear_unpack(en_linear *matrix); /* of one that is not packed: nothing */

#endif
