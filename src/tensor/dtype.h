/*
 * dtype.h - element types of stored tensors: plain numbers and ggml's blocks.
 *
 * The numbers are ggml's, as they stand in GGUF files.
 */
#ifndef EN_TENSOR_DTYPE_H
#define EN_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum en_dtype {
    EN_DTYPE_F32 = 0,
    EN_DTYPE_F16 = 1,
    EN_DTYPE_Q4_0 = 2,
    EN_DTYPE_Q4_1 = 3,
    EN_DTYPE_Q5_0 = 6,
    EN_DTYPE_Q5_1 = 7,
    EN_DTYPE_Q8_0 = 8,
    EN_DTYPE_Q2_K = 10,
    EN_DTYPE_Q3_K = 11,
    EN_DTYPE_Q4_K = 12,
    EN_DTYPE_Q5_K = 13,
    EN_DTYPE_Q6_K = 14,
    EN_DTYPE_IQ4_NL = 20,
    EN_DTYPE_IQ4_XS = 23,
    EN_DTYPE_I8 = 24,
    EN_DTYPE_I16 = 25,
    EN_DTYPE_I32 = 26,
    EN_DTYPE_I64 = 27,
    EN_DTYPE_F64 = 28,
    EN_DTYPE_BF16 = 30,
    EN_DTYPE_COUNT = 64 /* above every number in use; table sizes */
} en_dtype;

/* What a block holds: 'block_elems' weights in 'block_bytes' bytes.  Rows are whole blocks. */
typedef struct en_dtype_info {
    const char *name;     /* "Q4_K"; NULL when ggml never used the number */
    uint32_t block_elems; /* 1 for plain numbers; 0: known by name only, not readable here */
    uint32_t block_bytes;
    bool is_float; /* can be turned into f32 by en_kernels.dequantize */
} en_dtype_info;

/* Never NULL; numbers out of range give an entry without a name. */
const en_dtype_info *en_dtype_get(uint32_t dtype);

/* Bytes of n_elems elements; false when n_elems is no whole number of blocks, the type is not
 * readable, or the size overflows. */
bool en_dtype_bytes(uint32_t dtype, uint64_t n_elems, uint64_t *n_bytes);

#endif
