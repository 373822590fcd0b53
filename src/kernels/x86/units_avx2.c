/*
 * units_avx2.c - units of 1 to 8 bits a value (entropy/strips.h), which lie in memory as they are: products,
 * and turned into bytes.
 *
 * A group of four columns is two registers of 8 rows.  Products of two columns are added in 16 bits as long as
 * they fit, so fewer bits are faster; 8 bits are multiplied as two nibbles, unless no value takes them all.
 */
#include "kernels/x86/units_avx2.h"

#include "base/memory.h"

enum {
    UNIT_GROUPS = 2 * EN_UNIT_STEPS,
    HALVES = 2,       /* of the rows */
    MAX_TOGETHER = 4, /* vectors */
    AHEAD = 8192,     /* bytes fetched before they are needed */
    DOT_UNITS = 32,   /* of a block, which stay in the first-level cache for all vectors */
};

/* ---- values ------------------------------------------------------------------------------ */

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
        here = _mm256_and_si256(here, _mm256_set1_epi8((char)mask));
        v = n_known == 0 ? here : _mm256_or_si256(v, here);
        at += piece;
        n_known += piece;
    }
    return v;
}

/* ---- products ---------------------------------------------------------------------------- */

/* Groups whose products of 'bits' and of 8 bits, two by two, fit 16 bits together. */
INLINED int groups_together(unsigned bits)
{
    return bits <= 4 ? UNIT_GROUPS : bits == 5 ? 4 : bits == 6 ? 2 : 1;
}

INLINED void add_scaled(__m256i *sum, __m256i products, short scale)
{
    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, _mm256_set1_epi16(scale)));
}

/* Products of one group of values below 1 << bits, added to those of the groups before; to 'sum' when they are
 * together. */
INLINED void add_group(__m256i *sum, __m256i parts[2], __m256i value, unsigned bits, int group,
                       __m256i columns)
{
    bool is_byte = bits == 8;
    int together = groups_together(is_byte ? 4 : bits), at = group % together;
    __m256i products = _mm256_maddubs_epi16(is_byte ? low_nibbles(value) : value, columns);
    parts[0] = at == 0 ? products : _mm256_add_epi16(parts[0], products);
    if (is_byte) {
        products = _mm256_maddubs_epi16(high_nibbles(value), columns);
        parts[1] = at == 0 ? products : _mm256_add_epi16(parts[1], products);
    }
    if (at != together - 1)
        return;
    add_scaled(sum, parts[0], 1);
    if (is_byte)
        add_scaled(sum, parts[1], 16);
}

/* Rows of n_halves halves from 'half' on.  Values are below 1 << value_bits. */
INLINED void dot_vectors(const uint8_t *units, unsigned bits, unsigned value_bits, size_t n_units,
                         const int8_t *const *x, size_t col, int n_vectors, int half, int n_halves,
                         int32_t *sums)
{
    __m256i all[MAX_TOGETHER][HALVES], parts[MAX_TOGETHER][HALVES][2];
    for (int v = 0; v < n_vectors; v++)
        for (int k = 0; k < n_halves; k++)
            all[v][k] = _mm256_setzero_si256();
    for (size_t unit = 0; unit < n_units;
         unit++, col += EN_UNIT_COLS, units += en_unit_bytes(bits)) {
#pragma GCC unroll 8
        for (int j = 0; j < UNIT_GROUPS; j++)
#pragma GCC unroll 2
            for (int k = 0; k < n_halves; k++) {
                __m256i value = unit_value(units + (half + k) * REGISTER_BYTES, bits, j);
#pragma GCC unroll 4
                for (int v = 0; v < n_vectors; v++)
                    add_group(&all[v][k], parts[v][k], value, value_bits, j,
                              four(x[v] + col + 4 * j));
            }
        if (n_vectors <= 2) /* else they are in a cache */
            en_fetch(units, AHEAD, en_unit_bytes(bits));
    }
    for (int v = 0; v < n_vectors; v++)
        for (int k = 0; k < n_halves; k++) {
            __m256i *to = (__m256i *)(void *)(sums + v * EN_STRIP_ROWS + (half + k) * 8);
            _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), all[v][k]));
        }
}

/* With four vectors there are registers for half of the rows. */
INLINED void dot_block(const uint8_t *units, unsigned bits, unsigned value_bits, size_t n_units,
                       const int8_t *const *x, size_t col, size_t n_vectors, int32_t *sums)
{
    for (; n_vectors >= 4; n_vectors -= 4, x += 4, sums += 4 * EN_STRIP_ROWS)
        for (int half = 0; half < HALVES; half++)
            dot_vectors(units, bits, value_bits, n_units, x, col, 4, half, 1, sums);
    if (n_vectors & 2) {
        dot_vectors(units, bits, value_bits, n_units, x, col, 2, 0, HALVES, sums);
        x += 2;
        sums += 2 * EN_STRIP_ROWS;
    }
    if (n_vectors & 1)
        dot_vectors(units, bits, value_bits, n_units, x, col, 1, 0, HALVES, sums);
}

/* One function for each number of bits, so that the compiler sees a constant. */
#define FOR_BITS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)
#define DEFINE_BITS(BITS)                                                                          \
    static void dot_##BITS(const uint8_t *units, size_t n_units, const int8_t *const *x,           \
                           size_t col, size_t n_vectors, int32_t *sums)                            \
    {                                                                                              \
        dot_block(units, BITS, BITS, n_units, x, col, n_vectors, sums);                            \
    }                                                                                              \
    static void expand_##BITS(const uint8_t *units, size_t n_units, __m256i lift, uint8_t *out)    \
    {                                                                                              \
        expand(units, BITS, n_units, lift, out);                                                   \
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

FOR_BITS(DEFINE_BITS)

/* Bytes with values of so many bits. */
#define DEFINE_BYTES(BITS)                                                                         \
    static void dot_bytes_##BITS(const uint8_t *units, size_t n_units, const int8_t *const *x,     \
                                 size_t col, size_t n_vectors, int32_t *sums)                      \
    {                                                                                              \
        dot_block(units, 8, BITS, n_units, x, col, n_vectors, sums);                               \
    }
DEFINE_BYTES(4)
DEFINE_BYTES(5)
DEFINE_BYTES(6)
DEFINE_BYTES(7)

/* The bits of the largest of n_units units of bytes. */
static unsigned bits_of_largest(const uint8_t *units, size_t n_units)
{
    uint8_t lanes[REGISTER_BYTES];
    unsigned all = 0, bits = 0;
    __m256i some = _mm256_setzero_si256();
    for (size_t i = 0; i < n_units * en_unit_bytes(8); i += REGISTER_BYTES)
        some = _mm256_or_si256(some, load(units + i));
    store(lanes, some);
    for (size_t i = 0; i < REGISTER_BYTES; i++)
        all |= lanes[i];
    while (all >> bits > 0)
        bits++;
    return bits;
}

static void unit_dot(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *sums)
{
    enum { MANY_VECTORS = 8 }; /* are worth a look at bytes for what they hold */
    static void (*const dots[])(const uint8_t *, size_t, const int8_t *const *, size_t, size_t,
                                int32_t *) = {NULL,  dot_1, dot_2, dot_3, dot_4,
                                              dot_5, dot_6, dot_7, dot_8};
    static void (*const byte_dots[])(const uint8_t *, size_t, const int8_t *const *, size_t, size_t,
                                     int32_t *) = {dot_bytes_4, dot_bytes_4, dot_bytes_4,
                                                   dot_bytes_4, dot_bytes_4, dot_bytes_5,
                                                   dot_bytes_6, dot_bytes_7, dot_8};
    for (size_t done = 0, n; done < n_units; done += n, units += n * en_unit_bytes(bits)) {
        n = smaller(n_units - done, DOT_UNITS);
        if (bits == 8 && n_vectors >= MANY_VECTORS)
            byte_dots[bits_of_largest(units, n)](units, n, x, done * EN_UNIT_COLS, n_vectors, sums);
        else
            dots[bits](units, n, x, done * EN_UNIT_COLS, n_vectors, sums);
    }
}

static void unit_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                        uint8_t *out)
{
    static void (*const expands[])(const uint8_t *, size_t, __m256i, uint8_t *) = {
        NULL, expand_1, expand_2, expand_3, expand_4, expand_5, expand_6, expand_7, expand_8};
    expands[bits](units, n_units, _mm256_set1_epi8((char)lift), out);
}

void en_kernels_init_units_avx2(en_kernels *table)
{
    table->unit_dot = unit_dot;
    table->unit_expand = unit_expand;
}
