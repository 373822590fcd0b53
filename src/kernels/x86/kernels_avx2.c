/*
 * kernels_avx2.c - the kernels on vectors of 8 floats, with FMA and F16C.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

typedef __m256 vec;
#define LANES         8
#define MATMUL_TOKENS 3 /* 12 sums, 3 tokens or rows, 1 operand from memory: 16 registers */

/* Eight lanes starting at [8 - m] have the first m set. */
static const int32_t mask_source[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

static inline __m256i first(size_t m)
{
    return _mm256_loadu_si256((const __m256i *)(mask_source + 8 - m));
}

static inline vec v_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vec v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline vec v_load_part(const float *p, size_t m)
{
    return _mm256_maskload_ps(p, first(m));
}

static inline void v_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}

static inline void v_store_part(float *p, vec v, size_t m)
{
    _mm256_maskstore_ps(p, first(m), v);
}

static inline vec v_load_codes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline vec v_load_codes_part(const uint8_t *p, size_t m)
{
    uint8_t codes[LANES] = {0};
    memcpy(codes, p, m);
    return v_load_codes(codes);
}

static inline void v_store_codes(uint8_t *p, vec v)
{
    __m256i words = _mm256_cvtps_epi32(v);
    __m128i shorts =
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(shorts, shorts));
}

static inline void v_store_codes_part(uint8_t *p, vec v, size_t m)
{
    uint8_t codes[LANES];
    v_store_codes(codes, v);
    memcpy(p, codes, m);
}

static inline void v_store_int8(int8_t *p, vec v)
{
    __m256i words = _mm256_cvtps_epi32(v);
    __m128i shorts =
        _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(shorts, shorts));
}

static inline vec v_load_int8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline vec v_load_int8_part(const int8_t *p, size_t m)
{
    int8_t numbers[LANES] = {0};
    memcpy(numbers, p, m);
    return v_load_int8(numbers);
}

static inline vec v_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline vec v_load_f16_part(const uint16_t *p, size_t m)
{
    uint16_t halves[LANES] = {0};
    memcpy(halves, p, m * sizeof *p);
    return v_load_f16(halves);
}

static inline void v_store_f16(uint16_t *p, vec v)
{
    __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128((__m128i *)p, halves);
}

static inline void v_store_f16_part(uint16_t *p, vec v, size_t m)
{
    uint16_t halves[LANES];
    v_store_f16(halves, v);
    memcpy(p, halves, m * sizeof *p);
}

static inline vec v_load_bf16(const uint16_t *p)
{
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

static inline vec v_load_bf16_part(const uint16_t *p, size_t m)
{
    uint16_t halves[LANES] = {0};
    memcpy(halves, p, m * sizeof *p);
    return v_load_bf16(halves);
}

static inline void v_store_bf16(uint16_t *p, vec v)
{
    __m256i bits = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(_mm256_castsi256_si128(rounded),
                                                    _mm256_extracti128_si256(rounded, 1)));
}

static inline void v_store_bf16_part(uint16_t *p, vec v, size_t m)
{
    uint16_t halves[LANES];
    v_store_bf16(halves, v);
    memcpy(p, halves, m * sizeof *p);
}

static inline vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec v_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static inline vec v_round(vec v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vec v_scale(vec v, vec n)
{
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

static inline vec v_zero_below(vec v, vec x, vec limit)
{
    return _mm256_and_ps(v, _mm256_cmp_ps(x, limit, _CMP_NLT_UQ));
}

static inline __m128 half_sums(vec v)
{
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

static inline void v_sum4(float *out, vec a, vec b, vec c, vec d)
{
    __m128 ab = _mm_hadd_ps(half_sums(a), half_sums(b));
    __m128 cd = _mm_hadd_ps(half_sums(c), half_sums(d));
    _mm_storeu_ps(out, _mm_hadd_ps(ab, cd));
}

static inline float v_sum(vec v)
{
    __m128 q = half_sums(v);
    q = _mm_hadd_ps(q, q);
    return _mm_cvtss_f32(_mm_hadd_ps(q, q));
}

static inline float v_highest(vec v)
{
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

static inline float v_lowest(vec v)
{
    __m128 q = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_min_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_min_ss(q, _mm_movehdup_ps(q)));
}

#include "kernels/vector_template.h"
#include "kernels/matmul_template.h"
#include "kernels/planes_template.h"
#include "kernels/rows_template.h"

void en_kernels_init_avx2(en_kernels *table)
{
    init_vector_kernels(table);
    init_planes_kernels(table);
    init_rows_kernels(table);
    table->matmul_f32 = matmul_f32;
}
