/*
 * scaled_units_avx512.c - blocks taken apart times many vectors.
 *
 * For 16 rows, 32 columns and one vector: 16 products of bytes (two planes of 8 groups), a shift, an
 * addition, a conversion and two multiplications by scale and offset; for scales of 16 columns four
 * more.  Weights of a unit stay in registers for a few vectors.
 */
#include "kernels/scaled_units.h"
#include "kernels/x86/units_avx512.h"

enum {
    GROUPS = EN_UNIT_COLS / 4,
    UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS,
    TILE = 4, /* vectors at a time */
};

/* Groups first to first + n - 1 of a unit whose columns begin at 'col'. */
INLINED __m512i products(const __m512i *values, const en_block_vector *x, size_t col, int first,
                         int n)
{
    __m512i high = _mm512_setzero_si512(), low = high;
#pragma GCC unroll 8
    for (int j = first; j < first + n; j++) {
        high = _mm512_dpbusd_epi32(high, values[j], four(x->high + col + 4 * j));
        low = _mm512_dpbusd_epi32(low, values[j], four(x->low + col + 4 * j));
    }
    return _mm512_add_epi32(_mm512_slli_epi32(high, 7), low);
}

/* Sum of q of a unit's part. */
INLINED float sum_of_part(const en_block_vector *x, size_t unit, int part, int n_parts)
{
    if (n_parts == 1)
        return x->sums[unit];
    const float *fours = x->fours + unit * GROUPS + part * (GROUPS / 2);
    return (fours[0] + fours[1]) + (fours[2] + fours[3]);
}

INLINED void dot_vectors(const en_scaled_units *units, size_t first, size_t n_units, int n_parts,
                         const en_block_vector *x, int n_vectors, float *out)
{
    __m512 sums[4];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = _mm512_loadu_ps(out + v * EN_STRIP_ROWS);
    for (size_t u = first; u < first + n_units; u++) {
        __m512i values[GROUPS];
#pragma GCC unroll 8
        for (int j = 0; j < GROUPS; j++)
            values[j] = raw_vector(units->bytes + u * UNIT_BYTES, j);
#pragma GCC unroll 2
        for (int part = 0; part < n_parts; part++) {
            size_t at = (u * (size_t)n_parts + (size_t)part) * EN_STRIP_ROWS;
            __m512 scale = _mm512_loadu_ps(units->scales + at);
            __m512 offset = _mm512_loadu_ps(units->offsets + at);
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++) {
                __m512i q = products(values, &x[v], u * EN_UNIT_COLS, part * GROUPS / n_parts,
                                     GROUPS / n_parts);
                __m512 sum = _mm512_set1_ps(sum_of_part(&x[v], u, part, n_parts));
                sums[v] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(q), sums[v]);
                sums[v] = _mm512_fmadd_ps(offset, sum, sums[v]);
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        _mm512_storeu_ps(out + v * EN_STRIP_ROWS, sums[v]);
}

#include "kernels/scaled_units_template.h"

void en_kernels_init_scaled_units_avx512(en_kernels *table)
{
    table->dot_scaled = dot_scaled;
}
