/*
 * linear_inputs.h - the inputs of a job's products as integers, once for each order that they are wanted in.
 *
 * Many tokens become integers once for all threads, which share them out.  Of few every thread makes a copy of its
 * own when it begins: that takes no longer than waiting for one thread to do it, and no core has to take back lines
 * that another has read.  (1.5 B, packed, two threads: one of them waited for 14 % of the time, now for 5 %.)
 */
#ifndef EN_LINEAR_LINEAR_INPUTS_H
#define EN_LINEAR_LINEAR_INPUTS_H

#include "base/pool.h"
#include "linear/linear_plain.h"
#include "linear/linear_scratch.h"

enum { EN_LINEAR_MAX_PRODUCTS = 8 }; /* of a job */

/* One copy. */
typedef struct en_linear_copy {
    en_activations orders[EN_LINEAR_MAX_PRODUCTS];
    en_plain_inputs integers; /* of GGUF's blocks */
} en_linear_copy;

typedef struct en_linear_inputs {
    const float *x; /* x[t * x_stride + k] */
    size_t x_stride, n_tokens;
    uint64_t n_cols;

    const en_strip_matrix *orders[EN_LINEAR_MAX_PRODUCTS]; /* different ones */
    size_t starts[EN_LINEAR_MAX_PRODUCTS];                 /* in a copy */
    size_t n_orders;
    uint32_t order_of[EN_LINEAR_MAX_PRODUCTS]; /* of each product in strips */
    bool has_integers;
    size_t integers_start, copy_bytes;
    bool is_own; /* a copy for each thread */
    uint64_t job;
    en_linear_scratch *scratch;
} en_linear_inputs;

/* x, x_stride and n_tokens are set.  All matrices have as many columns. */
entro_status en_linear_inputs_plan(en_linear_inputs *in, const en_linear_product *products,
                                   size_t n_products, en_linear_scratch *scratch, entro_error *err);
/* Before the items run. */
void en_linear_inputs_share(en_linear_inputs *in, en_pool *pool);
/* For an item that 'thread' runs. */
const en_linear_copy *en_linear_inputs_of(const en_linear_inputs *in, uint32_t thread);

#endif
