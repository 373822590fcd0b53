/*
 * rans_choose.c - the frequencies of a pair of classes, for coding 4.
 *
 * The range of 256 values lies around the middle of the integers; what is beyond goes to the list.
 */
#include <math.h>

#include "container/strip_write.h"

enum {
    MIDDLE_RANGE = 4096, /* integers beyond do not move the middle further */
    NEAR = 7,            /* differences that an exception's three bytes can have */
    FAR_PRICE = 32       /* bits that the others take more */
};

static int32_t middle_of(const int32_t *z, size_t stride, size_t n_rows, size_t n_cols)
{
    int64_t sum = 0;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_cols; k++) {
            int32_t held = z[r * stride + k];
            held = held > MIDDLE_RANGE ? MIDDLE_RANGE : held < -MIDDLE_RANGE ? -MIDDLE_RANGE : held;
            sum += held;
        }
    return (int32_t)lrint((double)sum / ((double)n_rows * (double)n_cols));
}

void en_strip_choose_rans(en_strip_layout *layout, en_rans_code *code, const int32_t *z,
                          size_t stride, uint32_t n_strips, size_t n_cols, double *bits)
{
    size_t n_rows = (size_t)n_strips * EN_STRIP_ROWS;
    int32_t base = middle_of(z, stride, n_rows, n_cols) - EN_RANS_SYMBOLS / 2;
    uint64_t counts[EN_RANS_SYMBOLS] = {0}, n_outside = 0, n_far = 0;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_cols; k++) {
            int64_t v = (int64_t)z[r * stride + k] - base;
            bool inside = v >= 0 && v < EN_RANS_SYMBOLS;
            counts[inside ? v : 0] += inside;
            n_outside += !inside;
            n_far += v < -NEAR || v > EN_RANS_SYMBOLS - 1 + NEAR;
        }
    en_rans_code_build(code, base, counts, n_outside, EN_STRIP_EXCEPTION_PRICE, bits);
    *bits = (*bits + FAR_PRICE * (double)n_far) / ((double)n_rows * (double)n_cols);
    *layout = (en_strip_layout){EN_STRIP_BYTES, code->base};
}
