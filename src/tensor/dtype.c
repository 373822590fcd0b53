/* dtype.c - see dtype.h. */
#include "tensor/dtype.h"

static const en_dtype_info infos[EN_DTYPE_COUNT] = {
    [EN_DTYPE_F32] = {"F32", 1, 4, true},
    [EN_DTYPE_F16] = {"F16", 1, 2, true},
    [EN_DTYPE_Q4_0] = {"Q4_0", 32, 18, true},
    [EN_DTYPE_Q4_1] = {"Q4_1", 32, 20, true},
    [EN_DTYPE_Q5_0] = {"Q5_0", 32, 22, true},
    [EN_DTYPE_Q5_1] = {"Q5_1", 32, 24, true},
    [EN_DTYPE_Q8_0] = {"Q8_0", 32, 34, true},
    [9] = {"Q8_1", 0, 0, false},
    [EN_DTYPE_Q2_K] = {"Q2_K", 256, 84, true},
    [EN_DTYPE_Q3_K] = {"Q3_K", 256, 110, true},
    [EN_DTYPE_Q4_K] = {"Q4_K", 256, 144, true},
    [EN_DTYPE_Q5_K] = {"Q5_K", 256, 176, true},
    [EN_DTYPE_Q6_K] = {"Q6_K", 256, 210, true},
    [15] = {"Q8_K", 0, 0, false},
    [16] = {"IQ2_XXS", 0, 0, false},
    [17] = {"IQ2_XS", 0, 0, false},
    [18] = {"IQ3_XXS", 0, 0, false},
    [19] = {"IQ1_S", 0, 0, false},
    [EN_DTYPE_IQ4_NL] = {"IQ4_NL", 32, 18, true},
    [21] = {"IQ3_S", 0, 0, false},
    [22] = {"IQ2_S", 0, 0, false},
    [EN_DTYPE_IQ4_XS] = {"IQ4_XS", 256, 136, true},
    [EN_DTYPE_I8] = {"I8", 1, 1, false},
    [EN_DTYPE_I16] = {"I16", 1, 2, false},
    [EN_DTYPE_I32] = {"I32", 1, 4, false},
    [EN_DTYPE_I64] = {"I64", 1, 8, false},
    [EN_DTYPE_F64] = {"F64", 1, 8, false},
    [29] = {"IQ1_M", 0, 0, false},
    [EN_DTYPE_BF16] = {"BF16", 1, 2, true},
    [34] = {"TQ1_0", 0, 0, false},
    [35] = {"TQ2_0", 0, 0, false},
    [39] = {"MXFP4", 0, 0, false},
};

const en_dtype_info *en_dtype_get(uint32_t dtype)
{
    static const en_dtype_info none;
    return dtype < EN_DTYPE_COUNT ? &infos[dtype] : &none;
}

bool en_dtype_bytes(uint32_t dtype, uint64_t n_elems, uint64_t *n_bytes)
{
    const en_dtype_info *info = en_dtype_get(dtype);
    if (info->block_elems == 0 || n_elems % info->block_elems != 0)
        return false;
    return !__builtin_mul_overflow(n_elems / info->block_elems, (uint64_t)info->block_bytes,
                                   n_bytes);
}
