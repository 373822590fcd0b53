/* strip_encode_ref.c - the hot loops of encoding for any processor: the truth that variants are compared
 * with. */
#include "entropy/strip_encode_template.h"

void en_strip_encode_ref(en_strip_strings *s, const en_strip_run *run, size_t n_units, uint8_t *raw,
                         uint64_t *suspects)
{
    encode_units(s, run, n_units, raw, suspects);
}

void en_strip_count_ref(const int32_t *z, size_t stride, size_t n_cols, en_strip_layout layout,
                        uint64_t counts[256], uint64_t *n_outside)
{
    count_pairs(z, stride, n_cols, layout, counts, n_outside);
}
