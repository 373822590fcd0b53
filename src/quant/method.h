/*
 * method.h - the quantization methods, by name.
 *
 * The EntroLLM scheme (arXiv 2505.02380; see docs/methods.md): a uniform grid of 2^bits levels from
 * the smallest to the largest weight, for a whole tensor ("u8", "u4": the paper's) or for every
 * row ("u8-row", "u4-row": ours).
 *
 *   unsigned    (no change of sign):  q = rint(w s)        s = (2^b - 1) / max|w|
 *   asymmetric  (otherwise):          q = rint((w - z) s)  s = (2^b - 1) / (hi - lo), z = lo
 *
 * "rtn" (ours) has no grid of so many levels: w = step q with one step a row and integers q of any
 * size and sign; how fine the steps are is asked for in bits of entropy.
 *
 * "watersic" and "u4-row-sparse" are passes over whole matrices: see pass.h.
 * "lossless" quantizes nothing: every bit of the source's numbers is kept.
 *
 * Weights come back as q * step + offset with step = 1/s (negative for an all-negative tensor under
 * the unsigned rule).  Grids of rows are rounded outwards to f16 first, where that costs next to nothing.
 */
#ifndef EN_QUANT_METHOD_H
#define EN_QUANT_METHOD_H

#include "base/status.h"

typedef struct en_quant_method {
    const char *name;    /* "u8-row" */
    const char *summary; /* one line for --help */
    unsigned bits;       /* 8 or 4: codes are below 1 << bits; 0: integers of any size, which only
                            coding 2 (entropy/strips.h) can hold, or none */
    bool per_row;        /* a grid for each row instead of one for the tensor */
    bool exact;          /* no integers: the source's own bits, in coding 3 */
    const struct en_pass
        *pass; /* it sees whole matrices (pass.h); NULL: rows, one after the other */
} en_quant_method;

#define EN_LOSSLESS "lossless" /* the name of the exact one */

/* Bits of entropy that can be asked of a method with integers of any size, and their bound. */
#define EN_QUANT_DEFAULT_ENTROPY 4.0
#define EN_QUANT_MIN_ENTROPY     1.0
#define EN_QUANT_MAX_ENTROPY     9.0
enum { EN_QUANT_MAX_INTEGER = 1 << 30 };

/* Integers of any size, for an entropy that is asked for. */
static inline bool en_quant_is_unlimited(const en_quant_method *method)
{
    return method->bits == 0 && !method->exact;
}

uint32_t en_quant_n_methods(void);
const en_quant_method *en_quant_method_at(uint32_t i);
/* NULL when there is none of that name. */
const en_quant_method *en_quant_method_find(const char *name);

typedef struct en_grid {
    float step, offset; /* w' = q * step + offset */
    float inverse_step; /* what the weights are multiplied by */
    unsigned max_code;
    bool is_constant; /* code 0 everywhere, the offset is the weight */
} en_grid;

/*
 * The grid for weights from lo to hi (finite, lo <= hi).  A constant tensor gets step 1, offset lo and
 * code 0.  When hi - lo overflows f32 the step is infinite and the grid is of no use.
 */
en_grid en_quant_grid(float lo, float hi, unsigned bits);

/*
 * The same, but step and offset are values of f16: the offset is rounded down and the step away from
 * zero, so that the grid still reaches both ends.  False when the step would be infinite or more than
 * EN_HALF_GRID_COST times that of en_quant_grid() (f16 ends at 65504 and is coarse below 2^-14), or
 * when a constant is no value of f16.
 */
#define EN_HALF_GRID_COST 1.002f /* two roundings by at most 2^-10 each always stay below */
bool en_quant_grid_half(float lo, float hi, unsigned bits, en_grid *grid);

#endif
