/*
 * strip_choose.c - the layout in which integers take the fewest bits.
 *
 * Modes are tried from the narrowest that can hold most values; each with its values' range centred
 * on the integers' middle, and shifted by half a bucket of raw bits (a bucket around zero is
 * sometimes better than a border there).
 */
#include <float.h>

#include "container/strip_write.h"

typedef struct sample {
    const int32_t *z;
    size_t stride, n_cols;
    uint32_t n_strips;
} sample;

/* The mean, rounded: where the middle of the values had better be. */
static int32_t middle_of(const sample *s)
{
    double sum = 0;
    size_t n_rows = (size_t)s->n_strips * EN_STRIP_ROWS;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < s->n_cols; k++) {
            int32_t z = s->z[r * s->stride + k];
            sum += z > 4096 ? 4096 : z < -4096 ? -4096 : z; /* a few huge ones must not move it */
        }
    double mean = sum / ((double)n_rows * (double)s->n_cols);
    return (int32_t)(mean < 0 ? mean - 0.5 : mean + 0.5);
}

static entro_status try_layout(const sample *s, en_strip_layout layout, en_pair_code *code,
                               double *bits, entro_error *err)
{
    uint64_t counts[256] = {0}, n_outside = 0;
    for (uint32_t i = 0; i < s->n_strips; i++)
        en_strip_count(s->z + (size_t)i * EN_STRIP_ROWS * s->stride, s->stride, s->n_cols, layout,
                       counts, &n_outside);
    EN_TRY(en_pair_code_build(code, counts, EN_STRIP_EXCEPTION_PRICE, err));
    double n = (double)s->n_strips * EN_STRIP_ROWS * (double)s->n_cols;
    *bits = en_strip_raw_bits(layout.mode) +
            (code->bits + EN_STRIP_EXCEPTION_PRICE * (double)n_outside) / n;
    return ENTRO_OK;
}

entro_status en_strip_choose(en_strip_layout *layout, en_pair_code *code, const int32_t *z,
                             size_t stride, uint32_t n_strips, size_t n_cols, double *bits,
                             entro_error *err)
{
    sample s = {z, stride, n_cols, n_strips};
    int32_t middle = middle_of(&s);
    en_pair_code candidate;
    *bits = DBL_MAX;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++)
        for (int shifted = 0; shifted < (en_strip_raw_bits(mode) > 0 ? 2 : 1); shifted++) {
            int32_t half_bucket = (1 << en_strip_raw_bits(mode)) / 2;
            en_strip_layout l = {mode, middle - (1 << (en_strip_value_bits(mode) - 1)) +
                                           (shifted ? half_bucket : 0)};
            double b;
            EN_TRY(try_layout(&s, l, &candidate, &b, err));
            if (b < *bits) {
                *bits = b;
                *layout = l;
                *code = candidate;
            }
        }
    return ENTRO_OK;
}
