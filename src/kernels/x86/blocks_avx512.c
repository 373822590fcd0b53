/*
 * blocks_avx512.c - products of GGUF's blocks with integers, 64 weights a step.
 *
 *   w: 64 bytes without a sign     lane k of 16 holds the weights 4 k to 4 k + 3 of the step
 *   S = (w . high) 128 + w . low   two instructions that sum four products of bytes, and a shift
 *   sum += scale (S - centre four) (+ min four)    in f32; the bracket is a whole number below 2^24
 *
 * Where weights have a centre, 'fours' (sums of four q) take it off, exactly.  Operations on full
 * vectors for 64 weights and one vector: Q4_0 11, Q8_0 8, Q4_K 9, Q6_K 11, so from 20 G weights/s
 * at two a cycle: faster than memory.  Loads are masked where a row could end within them.
 */
#include <immintrin.h>

#include "base/memory.h"
#include "kernels/block_scales.h"
#include "kernels/kernels.h"

#define INLINED static inline __attribute__((always_inline))

enum {
    TILE = 4,     /* vectors at a time, with weights unpacked once */
    AHEAD = 4096, /* bytes, to the second-level cache */
    NEAR = 2048,  /* to the first */
    LARGE_BLOCK = 32,
};

typedef __m512i bytes;

/*
 * Rows lie one after the other, so what is some bytes AHEAD is needed some steps later.  Whole models from memory, two
 * threads of Zen 4: Q4_K is 7 % faster when the second-level cache is filled from afar, Q8_0, which needs twice the
 * bytes in the same time, 25 % slower.
 */
INLINED void fetch_near(const uint8_t *p)
{
    _mm_prefetch((const void *)((uintptr_t)p + NEAR), _MM_HINT_T0);
}

INLINED bytes products(bytes w, bytes high, bytes low)
{
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, high);
    return _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 7), w, low);
}

/* Two of 32, one in each half. */
INLINED bytes two_halves(__m256i low, __m256i high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* In the lower half of each half 'a', in the upper one 'b': shifts of the 32-bit lanes. */
INLINED __m512i halves_epi32(int a, int b)
{
    return two_halves(_mm256_set1_epi32(a), _mm256_set1_epi32(b));
}

/* ---- blocks of 32, two a step ----------------------------------------------------------------- */

typedef struct step {
    bytes w;
    __m512 scale, min; /* eight lanes a block; 0 for a block that is not there */
} step;

/* f16 at two places of the first 32 bytes, each for eight lanes. */
INLINED __m512 halves_at(__m256i raw, int first, int second)
{
    __m256i at = _mm256_inserti128_si256(_mm256_set1_epi16((short)(first | (first + 1) << 8)),
                                         _mm_set1_epi16((short)(second | (second + 1) << 8)), 1);
    return _mm512_cvtph_ps(_mm256_permutexvar_epi8(at, raw));
}

/* Bytes from 'first' on and from 'second' on, 16 each and each twice: the low nibbles of a block,
 * then its high ones. */
INLINED bytes nibbles_at(__m512i raw, int first, int second)
{
    const __m128i count = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m256i a = _mm256_broadcastsi128_si256(_mm_add_epi8(count, _mm_set1_epi8((char)first)));
    __m256i b = _mm256_broadcastsi128_si256(_mm_add_epi8(count, _mm_set1_epi8((char)second)));
    const __m256i shifts = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
    __m512i w = _mm512_permutexvar_epi8(two_halves(a, b), raw);
    return _mm512_and_si512(_mm512_srlv_epi32(w, two_halves(shifts, shifts)), _mm512_set1_epi8(15));
}

INLINED __m512i load_blocks(const uint8_t *p, int block_bytes, bool both)
{
    return _mm512_maskz_loadu_epi8((UINT64_C(1) << (both ? 2 * block_bytes : block_bytes)) - 1, p);
}

INLINED bytes add_fifth_bits(bytes w, const uint8_t *first, const uint8_t *second, bool both)
{
    uint64_t bits = en_load32(first) | (both ? (uint64_t)en_load32(second) << 32 : 0);
    return _mm512_mask_add_epi8(w, bits, w, _mm512_set1_epi8(16));
}

INLINED step step_q4_0(const uint8_t *p, bool both)
{
    __m512i raw = load_blocks(p, 18, both);
    return (step){.w = nibbles_at(raw, 2, 20),
                  .scale = halves_at(_mm512_castsi512_si256(raw), 0, 18)};
}

INLINED step step_q4_1(const uint8_t *p, bool both)
{
    __m512i raw = load_blocks(p, 20, both);
    __m256i heads = _mm512_castsi512_si256(raw);
    return (step){.w = nibbles_at(raw, 4, 24),
                  .scale = halves_at(heads, 0, 20),
                  .min = halves_at(heads, 2, 22)};
}

INLINED step step_q5_0(const uint8_t *p, bool both)
{
    __m512i raw = load_blocks(p, 22, both);
    return (step){.w = add_fifth_bits(nibbles_at(raw, 6, 28), p + 2, p + 24, both),
                  .scale = halves_at(_mm512_castsi512_si256(raw), 0, 22)};
}

INLINED step step_q5_1(const uint8_t *p, bool both)
{
    __m512i raw = load_blocks(p, 24, both);
    __m256i heads = _mm512_castsi512_si256(raw);
    return (step){.w = add_fifth_bits(nibbles_at(raw, 8, 32), p + 4, p + 28, both),
                  .scale = halves_at(heads, 0, 24),
                  .min = halves_at(heads, 2, 26)};
}

/* Weights become w + 128. */
INLINED step step_q8_0(const uint8_t *p, bool both)
{
    __m256i w0 = _mm256_loadu_si256((const void *)(p + 2)), w1 = _mm256_setzero_si256();
    __m128i d0 = _mm_set1_epi16((short)en_load16(p)), d1 = _mm_setzero_si128();
    if (both) {
        w1 = _mm256_loadu_si256((const void *)(p + 36));
        d1 = _mm_set1_epi16((short)en_load16(p + 34));
    }
    return (step){.w = _mm512_xor_si512(two_halves(w0, w1), _mm512_set1_epi8(-128)),
                  .scale =
                      _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(d0), d1, 1))};
}

/* One step of all vectors.  'centre' is 0 where blocks have a min. */
INLINED void add_step(step s, bool both, float centre, const en_block_vector *x, size_t col,
                      int n_vectors, __m512 *sums, __m512 *min_sums)
{
    __mmask64 there = both ? ~UINT64_C(0) : UINT32_MAX;
    __mmask16 there_fours = both ? 0xffff : 0xff;
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++) {
        bytes high = _mm512_maskz_loadu_epi8(there, x[v].high + col);
        bytes low = _mm512_maskz_loadu_epi8(there, x[v].low + col);
        __m512 fours = _mm512_maskz_loadu_ps(there_fours, x[v].fours + col / 4);
        __m512 sum = _mm512_cvtepi32_ps(products(s.w, high, low));
        if (centre != 0.0f)
            sum = _mm512_fnmadd_ps(_mm512_set1_ps(centre), fours, sum);
        else
            min_sums[v] = _mm512_fmadd_ps(s.min, fours, min_sums[v]);
        sums[v] = _mm512_fmadd_ps(s.scale, sum, sums[v]);
    }
}

INLINED void dot_pairs(step (*load)(const uint8_t *, bool), size_t block_bytes, float centre,
                       const uint8_t *row, size_t n_cols, const en_block_vector *x, int n_vectors,
                       float *out)
{
    __m512 sums[TILE], min_sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = min_sums[v] = _mm512_setzero_ps();
    size_t col = 0;
    for (; col + 64 <= n_cols; col += 64, row += 2 * block_bytes) {
        if (block_bytes > LARGE_BLOCK)
            fetch_near(row);
        else
            en_fetch(row, AHEAD, 64);
        add_step(load(row, true), true, centre, x, col, n_vectors, sums, min_sums);
    }
    if (col < n_cols)
        add_step(load(row, false), false, centre, x, col, n_vectors, sums, min_sums);
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = _mm512_reduce_add_ps(_mm512_add_ps(sums[v], min_sums[v]));
}

/* ---- blocks of 256, four steps ---------------------------------------------------------------- */

INLINED bytes load_columns(const int8_t *plane)
{
    return _mm512_loadu_si512(plane);
}

/* Element first of 'scales' in n lanes, the next in n more ... */
INLINED __m512 spread(__m512 scales, int first, bool eight_lanes)
{
    const __m512i by_4 = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m512i at = eight_lanes ? halves_epi32(0, 1) : by_4;
    return _mm512_permutexvar_ps(_mm512_add_epi32(at, _mm512_set1_epi32(first)), scales);
}

INLINED __m256 scaled_bytes(const uint8_t *d, uint64_t factors)
{
    __m256 scale = _mm256_cvtph_ps(_mm_set1_epi16((short)en_load16(d)));
    __m256i integers = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)factors));
    return _mm256_mul_ps(scale, _mm256_cvtepi32_ps(integers));
}

/* Q4_K, and Q5_K with its fifth bits: bit g of byte i is for weight i of group g. */
INLINED void dot_q45_k(bool five_bits, const uint8_t *row, size_t n_cols, const en_block_vector *x,
                       int n_vectors, float *out)
{
    const __m512i shifts = halves_epi32(0, 4);
    __m512 sums[TILE];
    __m256 min_sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++) {
        sums[v] = _mm512_setzero_ps();
        min_sums[v] = _mm256_setzero_ps();
    }
    for (size_t col = 0; col < n_cols; col += 256, row += five_bits ? 176 : 144) {
        uint64_t scales, mins;
        en_fetch(row, AHEAD, 192);
        en_block_scales(row + 4, &scales, &mins);
        __m512 scale = _mm512_castps256_ps512(scaled_bytes(row, scales));
        __m256 min = scaled_bytes(row + 2, mins);
        const uint8_t *nibbles = row + (five_bits ? 48 : 16);
        __m512i fifths = _mm512_setzero_si512();
        if (five_bits)
            fifths = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(row + 16)));
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            min_sums[v] = _mm256_fnmadd_ps(min, _mm256_loadu_ps(x[v].sums + col / 32), min_sums[v]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m256i packed = _mm256_loadu_si256((const void *)(nibbles + 32 * i));
            bytes w = _mm512_srlv_epi32(_mm512_broadcast_i64x4(packed), shifts);
            w = _mm512_and_si512(w, _mm512_set1_epi8(15));
            if (five_bits) {
                bytes bit = two_halves(_mm256_set1_epi8((char)(1 << 2 * i)),
                                       _mm256_set1_epi8((char)(2 << 2 * i)));
                w = _mm512_mask_add_epi8(w, _mm512_test_epi8_mask(fifths, bit), w,
                                         _mm512_set1_epi8(16));
            }
            __m512 here = spread(scale, 2 * i, true);
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++) {
                size_t at = col + 64 * (size_t)i;
                __m512i sum =
                    products(w, load_columns(x[v].high + at), load_columns(x[v].low + at));
                sums[v] = _mm512_fmadd_ps(here, _mm512_cvtepi32_ps(sum), sums[v]);
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = _mm512_reduce_add_ps(_mm512_add_ps(sums[v], _mm512_zextps256_ps512(min_sums[v])));
}

/* low | (pairs & 0x30) */
INLINED bytes join_q6(bytes low, bytes pairs)
{
    return _mm512_ternarylogic_epi32(low, pairs, _mm512_set1_epi8(0x30), 0xf8);
}

INLINED void add_q6(bytes w, __m512 scale, const en_block_vector *x, size_t col, int n_vectors,
                    __m512 *sums)
{
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++) {
        __m512i sum = products(w, load_columns(x[v].high + col), load_columns(x[v].low + col));
        __m512 less = _mm512_fnmadd_ps(_mm512_set1_ps(32.0f), _mm512_loadu_ps(x[v].fours + col / 4),
                                       _mm512_cvtepi32_ps(sum));
        sums[v] = _mm512_fmadd_ps(scale, less, sums[v]);
    }
}

INLINED void dot_q6(const uint8_t *row, size_t n_cols, const en_block_vector *x, int n_vectors,
                    float *out)
{
    const bytes fifteen = _mm512_set1_epi8(15);
    __m512 sums[TILE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        sums[v] = _mm512_setzero_ps();
    for (size_t col = 0; col < n_cols; col += 256, row += 210) {
        en_fetch(row, AHEAD, 256);
        __m512i integers = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(row + 192)));
        __m512 d = _mm512_cvtph_ps(_mm256_set1_epi16((short)en_load16(row + 208)));
        __m512 scales = _mm512_mul_ps(d, _mm512_cvtepi32_ps(integers));
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            bytes low = _mm512_loadu_si512(row + 64 * i);
            bytes high =
                _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(row + 128 + 32 * i)));
            bytes w = join_q6(_mm512_and_si512(low, fifteen),
                              _mm512_sllv_epi32(high, halves_epi32(4, 2)));
            size_t at = col + 128 * (size_t)i;
            add_q6(w, spread(scales, 8 * i, false), x, at, n_vectors, sums);
            w = join_q6(_mm512_and_si512(_mm512_srli_epi32(low, 4), fifteen),
                        _mm512_srlv_epi32(high, halves_epi32(0, 2)));
            add_q6(w, spread(scales, 8 * i + 4, false), x, at + 64, n_vectors, sums);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        out[v] = _mm512_reduce_add_ps(sums[v]);
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
        if (v + 2 <= n_vectors) {                                                                  \
            CALL(row, n_cols, x + v, 2, out + v);                                                  \
            v += 2;                                                                                \
        }                                                                                          \
        if (v < n_vectors)                                                                         \
            CALL(row, n_cols, x + v, 1, out + v);                                                  \
    }
#define CALL_Q4_0(...) dot_pairs(step_q4_0, 18, 8.0f, __VA_ARGS__)
#define CALL_Q4_1(...) dot_pairs(step_q4_1, 20, 0.0f, __VA_ARGS__)
#define CALL_Q5_0(...) dot_pairs(step_q5_0, 22, 16.0f, __VA_ARGS__)
#define CALL_Q5_1(...) dot_pairs(step_q5_1, 24, 0.0f, __VA_ARGS__)
#define CALL_Q8_0(...) dot_pairs(step_q8_0, 34, 128.0f, __VA_ARGS__)
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

void en_kernels_init_blocks_avx512(en_kernels *table)
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
