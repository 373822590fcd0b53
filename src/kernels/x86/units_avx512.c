/*
 * units_avx512.c - units of 1 to 8 bits a value (entropy/strips.h), which lie in memory as they are:
 * products, turned into bytes; and sums of products scaled.
 *
 * A group of four columns is one register, so a product is one instruction for 64 values; what is
 * there to do besides is to put a value's pieces together: up to two shifts and two selections.
 */
#include "kernels/x86/units_avx512.h"

enum {
    UNIT_GROUPS = 2 * EN_UNIT_STEPS, /* registers of values */
    AHEAD = 8192,                    /* bytes fetched before they are needed */
    DOT_UNITS = 32, /* of a block, which stay in the first-level cache for all vectors */
};

/* Group j of a unit: 4 columns of 16 rows each. */
INLINED __m512i value(const uint8_t *unit, unsigned bits, int j)
{
    __m512i v = _mm512_setzero_si512();
    int at = 0, n_known = 0;
    if (bits == 8)
        return raw_vector(unit, j);
#pragma GCC unroll 3
    for (int piece = 4; piece > 0; piece /= 2) {
        if ((bits & (unsigned)piece) == 0)
            continue;
        int per_byte = 8 / piece;
        __m512i here = shift(raw_vector(unit, at + j / per_byte), n_known - j % per_byte * piece);
        v = n_known == 0 ? here : select_bits((1 << n_known) - 1, v, here);
        at += piece;
        n_known += piece;
    }
    return _mm512_and_si512(v, _mm512_set1_epi8((char)((1 << n_known) - 1)));
}

/* Eight registers of sums, shared by up to eight vectors, hide the latency of products; sixteen vectors
 * at once were slower. */
INLINED void dot_vectors(const uint8_t *units, unsigned bits, size_t n_units,
                         const int8_t *const *x, size_t col, int n_vectors, int32_t *sums)
{
    int n_sums = UNIT_GROUPS / n_vectors;
    __m512i all[UNIT_GROUPS], values[UNIT_GROUPS];
#pragma GCC unroll 8
    for (int i = 0; i < n_vectors * n_sums; i++)
        all[i] = _mm512_setzero_si512();
    for (size_t unit = 0; unit < n_units;
         unit++, col += EN_UNIT_COLS, units += en_unit_bytes(bits)) {
#pragma GCC unroll 8
        for (int j = 0; j < UNIT_GROUPS; j++)
            values[j] = value(units, bits, j);
        if (n_vectors <= 2) /* else they are in a cache */
            en_fetch(units, AHEAD, en_unit_bytes(bits));
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++) {
            const int8_t *at = x[v] + col;
#pragma GCC unroll 8
            for (int j = 0; j < UNIT_GROUPS; j++) {
                __m512i *to = &all[v * n_sums + j % n_sums];
                *to = _mm512_dpbusd_epi32(*to, values[j], four(at + 4 * j));
            }
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < n_vectors; v++, sums += EN_STRIP_ROWS) {
        __m512i sum = _mm512_loadu_si512(sums);
#pragma GCC unroll 8
        for (int i = 0; i < n_sums; i++)
            sum = _mm512_add_epi32(sum, all[v * n_sums + i]);
        _mm512_storeu_si512(sums, sum);
    }
}

INLINED void dot_block(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                       size_t col, size_t n_vectors, int32_t *sums)
{
    for (; n_vectors >= 8; n_vectors -= 8, x += 8, sums += 8 * EN_STRIP_ROWS)
        dot_vectors(units, bits, n_units, x, col, 8, sums);
#define DOT_REST(N)                                                                                \
    if (n_vectors & (N)) {                                                                         \
        dot_vectors(units, bits, n_units, x, col, N, sums);                                        \
        x += N;                                                                                    \
        sums += (N)*EN_STRIP_ROWS;                                                                 \
    }
    DOT_REST(4)
    DOT_REST(2)
    DOT_REST(1)
#undef DOT_REST
}

/* One function for each number of bits, so that the compiler sees a constant. */
#define FOR_BITS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)
#define DEFINE_BITS(BITS)                                                                          \
    static void dot_##BITS(const uint8_t *units, size_t n_units, const int8_t *const *x,           \
                           size_t col, size_t n_vectors, int32_t *sums)                            \
    {                                                                                              \
        dot_block(units, BITS, n_units, x, col, n_vectors, sums);                                  \
    }                                                                                              \
    static void expand_##BITS(const uint8_t *units, size_t n_units, __m512i lift, uint8_t *out)    \
    {                                                                                              \
        expand(units, BITS, n_units, lift, out);                                                   \
    }

INLINED void expand(const uint8_t *units, unsigned bits, size_t n_units, __m512i lift, uint8_t *out)
{
    for (size_t unit = 0; unit < n_units; unit++, units += en_unit_bytes(bits)) {
        en_fetch(units, AHEAD, en_unit_bytes(bits));
#pragma GCC unroll 8
        for (int j = 0; j < UNIT_GROUPS; j++, out += EN_STRIP_LANES)
            _mm512_storeu_si512(out, _mm512_add_epi8(value(units, bits, j), lift));
    }
}

FOR_BITS(DEFINE_BITS)

void en_units_avx512_dot(const uint8_t *units, unsigned bits, size_t n_units,
                         const int8_t *const *x, size_t n_vectors, int32_t *sums)
{
    static void (*const dots[])(const uint8_t *, size_t, const int8_t *const *, size_t, size_t,
                                int32_t *) = {NULL,  dot_1, dot_2, dot_3, dot_4,
                                              dot_5, dot_6, dot_7, dot_8};
    for (size_t done = 0; done < n_units; done += DOT_UNITS) {
        size_t n = n_units - done < DOT_UNITS ? n_units - done : DOT_UNITS;
        dots[bits](units + done * en_unit_bytes(bits), n, x, done * EN_UNIT_COLS, n_vectors, sums);
    }
}

void en_units_avx512_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                            uint8_t *out)
{
    static void (*const expands[])(const uint8_t *, size_t, __m512i, uint8_t *) = {
        NULL, expand_1, expand_2, expand_3, expand_4, expand_5, expand_6, expand_7, expand_8};
    expands[bits](units, n_units, _mm512_set1_epi8((char)lift), out);
}

enum { HALF = EN_STRIP_ROWS / 2 };

static void strip_sums(const int32_t *dots, int64_t base, int64_t *sums)
{
    for (int half = 0; half < EN_STRIP_ROWS; half += HALF) {
        __m256i high = _mm256_loadu_si256((const __m256i_u *)(dots + half));
        __m256i low = _mm256_loadu_si256((const __m256i_u *)(dots + EN_STRIP_ROWS + half));
        __m512i sum = _mm512_slli_epi64(_mm512_cvtepi32_epi64(high), 7);
        sum = _mm512_add_epi64(sum, _mm512_cvtepi32_epi64(low));
        _mm512_storeu_si512(sums + half, _mm512_add_epi64(sum, _mm512_set1_epi64(base)));
    }
}

/* No fused multiply-add: every variant rounds alike. */
static void strip_outputs(const int64_t *sums, const float *steps, const float *offsets,
                          double scale, double all, float *out)
{
    for (int half = 0; half < EN_STRIP_ROWS; half += HALF) {
        __m512d sum = _mm512_cvtepi64_pd(_mm512_loadu_si512(sums + half));
        __m512d step = _mm512_cvtps_pd(_mm256_loadu_ps(steps + half));
        __m512d offset = _mm512_cvtps_pd(_mm256_loadu_ps(offsets + half));
        __m512d y = _mm512_mul_pd(step, sum);
        y = _mm512_add_pd(y, _mm512_mul_pd(offset, _mm512_set1_pd(all)));
        y = _mm512_mul_pd(_mm512_set1_pd(scale), y);
        _mm256_storeu_ps(out + half, _mm512_cvtpd_ps(y));
    }
}

void en_kernels_init_units_avx512(en_kernels *table)
{
    table->unit_dot = en_units_avx512_dot;
    table->unit_expand = en_units_avx512_expand;
    table->strip_sums = strip_sums;
    table->strip_outputs = strip_outputs;
}
