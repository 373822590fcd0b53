/*
 * tensor.h - a named tensor somewhere in a file.
 *
 * Shapes are ggml's: dims[0] is the contiguous one.  A weight matrix of a linear layer has
 * dims[0] = columns = inputs, dims[1] = rows = outputs.
 */
#ifndef EN_TENSOR_TENSOR_H
#define EN_TENSOR_TENSOR_H

#include "tensor/dtype.h"

enum { EN_MAX_DIMS = 4, EN_MAX_TENSOR_NAME = 128 };

typedef struct en_tensor {
    char name[EN_MAX_TENSOR_NAME]; /* terminated */
    uint32_t dtype;                /* en_dtype */
    uint32_t n_dims;               /* 1 .. EN_MAX_DIMS */
    uint64_t dims[EN_MAX_DIMS];    /* 1 beyond n_dims */
    const uint8_t *data;           /* borrowed, in the mapped file; NULL when computed */
    uint64_t n_bytes;
    uint64_t offset; /* of data in its file, for messages */
} en_tensor;

static inline uint64_t en_tensor_n_elems(const en_tensor *t)
{
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]; /* checked when it was read */
}

static inline uint64_t en_tensor_n_rows(const en_tensor *t)
{
    return t->dims[1] * t->dims[2] * t->dims[3];
}

#endif
