/*
 * kernels_avx512.c - the kernels on vectors of 16 floats; masks make the parts.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

typedef __m512 vec;
#define LANES         16
#define MATMUL_TOKENS 6 /* 24 sums, 4 rows, 1 token: 29 of 32 registers */

static inline __mmask16 first(size_t m)
{
    return (__mmask16)((1u << m) - 1);
}

static inline vec v_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec v_load_part(const float *p, size_t m)
{
    return _mm512_maskz_loadu_ps(first(m), p);
}

static inline void v_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

static inline void v_store_part(float *p, vec v, size_t m)
{
    _mm512_mask_storeu_ps(p, first(m), v);
}

static inline vec floats_of_codes(__m128i codes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
}

static inline vec v_load_codes(const uint8_t *p)
{
    return floats_of_codes(_mm_loadu_si128((const __m128i *)p));
}

static inline vec v_load_codes_part(const uint8_t *p, size_t m)
{
    return floats_of_codes(_mm_maskz_loadu_epi8(first(m), p));
}

static inline __m128i codes_of_floats(vec v)
{
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
}

static inline void v_store_codes(uint8_t *p, vec v)
{
    _mm_storeu_si128((__m128i *)p, codes_of_floats(v));
}

static inline void v_store_codes_part(uint8_t *p, vec v, size_t m)
{
    _mm_mask_storeu_epi8(p, first(m), codes_of_floats(v));
}

static inline void v_store_int8(int8_t *p, vec v)
{
    _mm_storeu_si128((__m128i *)p, codes_of_floats(v));
}

static inline vec floats_of_int8(__m128i numbers)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(numbers));
}

static inline vec v_load_int8(const int8_t *p)
{
    return floats_of_int8(_mm_loadu_si128((const __m128i *)p));
}

static inline vec v_load_int8_part(const int8_t *p, size_t m)
{
    return floats_of_int8(_mm_maskz_loadu_epi8(first(m), p));
}

static inline vec v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec v_load_f16_part(const uint16_t *p, size_t m)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(m), p));
}

#define TO_F16(v) _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

static inline void v_store_f16(uint16_t *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, TO_F16(v));
}

static inline void v_store_f16_part(uint16_t *p, vec v, size_t m)
{
    _mm256_mask_storeu_epi16(p, first(m), TO_F16(v));
}

static inline vec floats_of_bf16(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline vec v_load_bf16(const uint16_t *p)
{
    return floats_of_bf16(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec v_load_bf16_part(const uint16_t *p, size_t m)
{
    return floats_of_bf16(_mm256_maskz_loadu_epi16(first(m), p));
}

static inline __m256i bf16_of_floats(vec v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    rounded = _mm512_mask_mov_epi32(rounded, is_nan, quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

static inline void v_store_bf16(uint16_t *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, bf16_of_floats(v));
}

static inline void v_store_bf16_part(uint16_t *p, vec v, size_t m)
{
    _mm256_mask_storeu_epi16(p, first(m), bf16_of_floats(v));
}

static inline vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline vec v_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

static inline vec v_round(vec v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vec v_scale(vec v, vec n)
{
    return _mm512_scalef_ps(v, n);
}

static inline vec v_zero_below(vec v, vec x, vec limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
}

static inline float v_highest(vec v)
{
    return _mm512_reduce_max_ps(v);
}

static inline float v_lowest(vec v)
{
    return _mm512_reduce_min_ps(v);
}

static inline __m128 quarter_sums(vec v)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

static inline void v_sum4(float *out, vec a, vec b, vec c, vec d)
{
    __m128 ab = _mm_hadd_ps(quarter_sums(a), quarter_sums(b));
    __m128 cd = _mm_hadd_ps(quarter_sums(c), quarter_sums(d));
    _mm_storeu_ps(out, _mm_hadd_ps(ab, cd));
}

static inline float v_sum(vec v)
{
    __m128 q = quarter_sums(v);
    q = _mm_hadd_ps(q, q);
    return _mm_cvtss_f32(_mm_hadd_ps(q, q));
}

#include "kernels/vector_template.h"
#include "kernels/matmul_template.h"
#include "kernels/planes_template.h"
#include "kernels/rows_template.h"

void en_kernels_init_avx512(en_kernels *table)
{
    init_vector_kernels(table);
    init_planes_kernels(table);
    init_rows_kernels(table);
    table->matmul_f32 = matmul_f32;
}
