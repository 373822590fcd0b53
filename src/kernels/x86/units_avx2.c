/*
 * units_avx2.c - units of 1 to 8 bits a value (entropy/strips.h), which lie in memory as they are: products,
 * and turned into bytes.
 *
 * Products are those of nibbles, so that four of them fit 16 bits.  Units of 4 and 8 bits are multiplied as
 * they lie; others become bytes first, some at a time.
 */
#include "kernels/x86/units_avx2.h"

enum { BLOCK_UNITS = 8, BLOCK_VECTORS = 16 };

/* ---- products ---------------------------------------------------------------------------- */

/* Two steps of wide units: high nibbles, then low ones. */
INLINED void dot_wide(const uint8_t *units, const int8_t *const *x, size_t col, size_t n_vectors,
                      __m256i *sums)
{
    two_steps n;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        n.of[i / 4][i % 4] =
            high_nibbles(load(units + i / 4 * REGISTER_BYTES + i % 4 * EN_STRIP_LANES));
    add_products(&n, 4, 16, x, col, n_vectors, sums);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        n.of[i / 4][i % 4] =
            low_nibbles(load(units + i / 4 * REGISTER_BYTES + i % 4 * EN_STRIP_LANES));
    add_products(&n, 4, 1, x, col, n_vectors, sums);
}

/* Two steps of units of 4 bits. */
INLINED void dot_narrow(const uint8_t *units, const int8_t *const *x, size_t col, size_t n_vectors,
                        __m256i *sums)
{
    two_steps n;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        set_nibbles(&n, i / 2, i % 2,
                    load(units + i / 2 * REGISTER_BYTES + i % 2 * EN_STRIP_LANES));
    add_products(&n, 4, 1, x, col, n_vectors, sums);
}

/* sums of up to BLOCK_VECTORS vectors. */
INLINED void dot_units(const uint8_t *units, bool wide, size_t n_units, const int8_t *const *x,
                       size_t col, size_t n_vectors, int32_t *sums)
{
    __m256i more[2 * BLOCK_VECTORS] = {0};
    for (size_t i = 0; i < 2 * n_units; i++, col += 2 * EN_STEP_COLS) { /* two steps */
        const uint8_t *at = units + i * (wide ? 4 : 2) * EN_STRIP_LANES;
        if (wide)
            dot_wide(at, x, col, n_vectors, more);
        else
            dot_narrow(at, x, col, n_vectors, more);
    }
    add_to(sums, more, n_vectors);
}

/* Units of 4 or 8 bits. */
static void dot_decoded(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                        size_t col, size_t n_vectors, int32_t *sums)
{
    for (size_t done = 0, n; done < n_vectors; done += n) {
        n = smaller(n_vectors - done, BLOCK_VECTORS);
        int32_t *to = sums + done * EN_STRIP_ROWS;
        if (bits == 8)
            dot_units(units, true, n_units, x + done, col, n, to);
        else
            dot_units(units, false, n_units, x + done, col, n, to);
    }
}

/* ---- units of other numbers of bits -------------------------------------------------------- */

INLINED __m256i shift(__m256i v, int n)
{
    return n > 0 ? _mm256_slli_epi16(v, n) : n < 0 ? _mm256_srli_epi16(v, -n) : v;
}

/* Group j of a unit, of one register. */
INLINED __m256i unit_value(const uint8_t *unit, unsigned bits, int j)
{
    __m256i v = _mm256_setzero_si256();
    int at = 0, n_known = 0;
    if (bits == 8)
        return load(unit + j * EN_STRIP_LANES);
#pragma GCC unroll 3
    for (int piece = 4; piece > 0; piece /= 2) {
        if ((bits & (unsigned)piece) == 0)
            continue;
        int per_byte = 8 / piece, mask = ((1 << piece) - 1) << n_known;
        __m256i here = load(unit + (at + j / per_byte) * EN_STRIP_LANES);
        here = shift(here, n_known - j % per_byte * piece);
        v = _mm256_or_si256(v, _mm256_and_si256(here, _mm256_set1_epi8((char)mask)));
        at += piece;
        n_known += piece;
    }
    return v;
}

INLINED void expand(const uint8_t *units, unsigned bits, size_t n_units, __m256i lift, uint8_t *out)
{
    for (size_t unit = 0; unit < n_units; unit++, units += en_unit_bytes(bits))
#pragma GCC unroll 8
        for (int j = 0; j < 2 * EN_UNIT_STEPS; j++, out += EN_STRIP_LANES)
#pragma GCC unroll 2
            for (int k = 0; k < EN_STRIP_LANES; k += REGISTER_BYTES)
                store(out + k, _mm256_add_epi8(unit_value(units + k, bits, j), lift));
}

static void unit_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                        uint8_t *out)
{
    __m256i all = _mm256_set1_epi8((char)lift);
    switch (bits) {
    case 1: expand(units, 1, n_units, all, out); break;
    case 2: expand(units, 2, n_units, all, out); break;
    case 3: expand(units, 3, n_units, all, out); break;
    case 4: expand(units, 4, n_units, all, out); break;
    case 5: expand(units, 5, n_units, all, out); break;
    case 6: expand(units, 6, n_units, all, out); break;
    case 7: expand(units, 7, n_units, all, out); break;
    default: expand(units, 8, n_units, all, out); break;
    }
}

static void unit_dot(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *sums)
{
    _Alignas(64) uint8_t bytes[BLOCK_UNITS * 2 * EN_UNIT_STEPS * EN_STRIP_LANES];
    if (bits == 4 || bits == 8) {
        dot_decoded(units, bits, n_units, x, 0, n_vectors, sums);
        return;
    }
    for (size_t done = 0, n; done < n_units; done += n, units += n * en_unit_bytes(bits)) {
        n = smaller(n_units - done, BLOCK_UNITS);
        unit_expand(units, bits, n, 0, bytes);
        dot_decoded(bytes, 8, n, x, done * EN_UNIT_COLS, n_vectors, sums);
    }
}

void en_kernels_init_units_avx2(en_kernels *table)
{
    table->unit_dot = unit_dot;
    table->unit_expand = unit_expand;
}
