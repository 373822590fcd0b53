/*
 * blocks_avx2.c - products of GGUF's blocks with integers, 32 weights a step.
 *
 * The instruction that multiplies unsigned by signed bytes adds two products to 16 bits and
 * saturates there.  Weights of up to six bits cannot reach that (63 x 127 x 2 = 16002); those of Q8_0
 * are multiplied as |w| by q with w's sign, at most 128 x 127 x 2 = 32512.  The rest is as in
 * blocks_avx512.c.
 */
#include <immintrin.h>

#include "base/memory.h"
#include "kernels/block_scales.h"
#include "kernels/kernels.h"

#define INLINED static inline __attribute__((always_inline))

enum {
    TILE = 4,     /* vectors at a time, with weights unpacked once */
    AHEAD = 4096, /* bytes fetched before they are needed, of all but Q8_0 (see blocks_avx512.c) */
};

typedef __m256i bytes;

INLINED bytes load_32(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINED __m256 half_at(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)en_load16(p)));
}

INLINED bytes low_nibbles(bytes packed)
{
    return _mm256_and_si256(packed, _mm256_set1_epi8(15));
}

INLINED bytes high_nibbles(bytes packed)
{
    return low_nibbles(_mm256_srli_epi16(packed, 4));
}

/* Sums of four products w (128 high + low); w of 8 bits where 'is_signed', else of up to 6. */
INLINED __m256i products(bytes w, bool is_signed, bytes high, bytes low)
{
    if (is_signed) {
        high = _mm256_sign_epi8(high, w);
        low = _mm256_sign_epi8(low, w);
        w = _mm256_abs_epi8(w);
    }
    __m256i highs = _mm256_maddubs_epi16(w, high), lows = _mm256_maddubs_epi16(w, low);
    return _mm256_add_epi32(_mm256_madd_epi16(highs, _mm256_set1_epi16(128)),
                            _mm256_madd_epi16(lows, _mm256_set1_epi16(1)));
}

INLINED float add_up(__m256 v)
{
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* sums += scale (w - centre) . q of 32 weights and each vector; 'scale' may differ between lanes. */
INLINED void add_step(bytes w, bool is_signed, float centre, __m256 scale, const en_block_vector *x,
                      size_t col, int n_vectors, __m256 *sums)
{
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++) {
        __m256i whole = products(w, is_signed, load_32(x[v].high + col), load_32(x[v].low + col));
        __m256 sum = _mm256_cvtepi32_ps(whole);
        if (centre != 0.0f)
            sum = _mm256_fnmadd_ps(_mm256_set1_ps(centre), _mm256_loadu_ps(x[v].fours + col / 4),
                                   sum);
        sums[v] = _mm256_fmadd_ps(scale, sum, sums[v]);
    }
}

/* ---- blocks of 32 ----------------------------------------------------------------------------- */

/* Where the parts of a block lie; fifths 0 and min 0: there are none. */
typedef struct layout {
    size_t block_bytes;
    int min, fifths, weights;
    bool is_signed;
    float centre;
} layout;

/* 16 where the bit of a weight is set. */
INLINED bytes fifth_bits(const uint8_t *p)
{
    const bytes byte_of_weight = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2,
                                                  2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const bytes bit = _mm256_set1_epi64x((long long)UINT64_C(0x8040201008040201));
    bytes spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)en_load32(p)), byte_of_weight);
    bytes set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

INLINED bytes weights_of_block(layout l, const uint8_t *p)
{
    if (l.is_signed)
        return load_32(p + l.weights);
    __m128i packed = _mm_loadu_si128((const void *)(p + l.weights));
    bytes w = low_nibbles(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed));
    return l.fifths ? _mm256_or_si256(w, fifth_bits(p + l.fifths)) : w;
}

INLINED void add_min(__m256 min, const en_block_vector *x, size_t col, int n_vectors, __m256 *sums)
{
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = _mm256_fmadd_ps(min, _mm256_loadu_ps(x[v].fours + col / 4), sums[v]);
}

INLINED void dot_32(layout l, const uint8_t *row, size_t n_cols, const en_block_vector *x,
                    int n_vectors, float *out)
{
    __m256 sums[TILE], min_sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = min_sums[v] = _mm256_setzero_ps();
    for (size_t col = 0; col < n_cols; col += 32, row += l.block_bytes) {
        if (n_vectors == 1 && !l.is_signed)
            en_fetch(row, AHEAD, l.block_bytes);
        add_step(weights_of_block(l, row), l.is_signed, l.centre, half_at(row), x, col, n_vectors,
                 sums);
        if (l.min)
            add_min(half_at(row + l.min), x, col, n_vectors, min_sums);
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = add_up(_mm256_add_ps(sums[v], min_sums[v]));
}

/* ---- blocks of 256 ---------------------------------------------------------------------------- */

INLINED __m256 scaled_bytes(const uint8_t *d, uint64_t factors)
{
    __m256i integers = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)factors));
    return _mm256_mul_ps(half_at(d), _mm256_cvtepi32_ps(integers));
}

/* Q4_K, and Q5_K with its fifth bits: bit g of byte i is for weight i of group g. */
INLINED void dot_q45_k(bool five_bits, const uint8_t *row, size_t n_cols, const en_block_vector *x,
                       int n_vectors, float *out)
{
    const bytes sixteen = _mm256_set1_epi8(16);
    __m256 sums[TILE], min_sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = min_sums[v] = _mm256_setzero_ps();
    for (size_t col = 0; col < n_cols; col += 256, row += five_bits ? 176 : 144) {
        if (n_vectors == 1)
            en_fetch(row, AHEAD, five_bits ? 176 : 144);
        uint64_t scales, mins;
        en_block_scales(row + 4, &scales, &mins);
        __m256 scale = scaled_bytes(row, scales), min = scaled_bytes(row + 2, mins);
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            min_sums[v] = _mm256_fnmadd_ps(min, _mm256_loadu_ps(x[v].sums + col / 32), min_sums[v]);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            bytes packed = load_32(row + (five_bits ? 48 : 16) + 32 * (g / 2));
            bytes w = g % 2 ? high_nibbles(packed) : low_nibbles(packed);
            if (five_bits) {
                bytes bits = load_32(row + 16);
                bits = g < 4 ? _mm256_slli_epi16(bits, 4 - g) : _mm256_srli_epi16(bits, g - 4);
                w = _mm256_or_si256(w, _mm256_and_si256(bits, sixteen));
            }
            __m256 here = _mm256_permutevar8x32_ps(scale, _mm256_set1_epi32(g));
            add_step(w, false, 0.0f, here, x, col + 32 * (size_t)g, n_vectors, sums);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = add_up(_mm256_add_ps(sums[v], min_sums[v]));
}

INLINED void dot_q6(const uint8_t *row, size_t n_cols, const en_block_vector *x, int n_vectors,
                    float *out)
{
    __m256 sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = _mm256_setzero_ps();
    for (size_t col = 0; col < n_cols; col += 256, row += 210) {
        if (n_vectors == 1)
            en_fetch(row, AHEAD, 210);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) { /* 32 weights: two scales of 16 */
            bytes packed = load_32(row + 64 * (g / 4) + 32 * (g % 2));
            bytes pairs = load_32(row + 128 + 32 * (g / 4));
            bytes w = g % 4 < 2 ? low_nibbles(packed) : high_nibbles(packed);
            pairs = g % 4 < 2 ? _mm256_slli_epi16(pairs, 4 - 2 * (g % 4))
                              : _mm256_srli_epi16(pairs, 2 * (g % 4) - 4);
            w = _mm256_or_si256(w, _mm256_and_si256(pairs, _mm256_set1_epi8(0x30)));
            const int8_t *integers = (const int8_t *)row + 192 + 2 * g;
            __m256i both =
                _mm256_set_m128i(_mm_set1_epi32(integers[1]), _mm_set1_epi32(integers[0]));
            __m256 scale = _mm256_mul_ps(half_at(row + 208), _mm256_cvtepi32_ps(both));
            add_step(w, false, 32.0f, scale, x, col + 32 * (size_t)g, n_vectors, sums);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = add_up(sums[v]);
}

/* ---- table ------------------------------------------------------------------------------------ */

/* 'n' is a constant in each call, so that sums stay in registers. */
#define DEFINE_DOT(TYPE, CALL)                                                                     \
    static void dot_##TYPE(const uint8_t *row, size_t n_cols, const en_block_vector *x,            \
                           size_t n_vectors, float *out)                                           \
    {                                                                                              \
        size_t v = 0;                                                                              \
        for (; v + TILE <= n_vectors; v += TILE)                                                   \
            CALL(row, n_cols, x + v, TILE, out + v);                                               \
        for (; v < n_vectors; v++)                                                                 \
            CALL(row, n_cols, x + v, 1, out + v);                                                  \
    }
#define CALL_Q4_0(...) dot_32((layout){18, 0, 0, 2, false, 8.0f}, __VA_ARGS__)
#define CALL_Q4_1(...) dot_32((layout){20, 2, 0, 4, false, 0.0f}, __VA_ARGS__)
#define CALL_Q5_0(...) dot_32((layout){22, 0, 2, 6, false, 16.0f}, __VA_ARGS__)
#define CALL_Q5_1(...) dot_32((layout){24, 2, 4, 8, false, 0.0f}, __VA_ARGS__)
#define CALL_Q8_0(...) dot_32((layout){34, 0, 0, 2, true, 0.0f}, __VA_ARGS__)
#define CALL_Q4_K(...) dot_q45_k(false, __VA_ARGS__)
#define CALL_Q5_K(...) dot_q45_k(true, __VA_ARGS__)
DEFINE_DOT(q4_0, CALL_Q4_0)
DEFINE_DOT(q4_1, CALL_Q4_1)
DEFINE_DOT(q5_0, CALL_Q5_0)
DEFINE_DOT(q5_1, CALL_Q5_1)
DEFINE_DOT(q8_0, CALL_Q8_0)
DEFINE_DOT(q4_k, CALL_Q4_K)
DEFINE_DOT(q5_k, CALL_Q5_K)
DEFINE_DOT(q6_k, dot_q6)

void en_kernels_init_blocks_avx2(en_kernels *table)
{
    table->dot_blocks[EN_DTYPE_Q4_0] = dot_q4_0;
    table->dot_blocks[EN_DTYPE_Q4_1] = dot_q4_1;
    table->dot_blocks[EN_DTYPE_Q5_0] = dot_q5_0;
    table->dot_blocks[EN_DTYPE_Q5_1] = dot_q5_1;
    table->dot_blocks[EN_DTYPE_Q8_0] = dot_q8_0;
    table->dot_blocks[EN_DTYPE_Q4_K] = dot_q4_k;
    table->dot_blocks[EN_DTYPE_Q5_K] = dot_q5_k;
    table->dot_blocks[EN_DTYPE_Q6_K] = dot_q6_k;
}
