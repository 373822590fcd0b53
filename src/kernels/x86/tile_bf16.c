/*
 * tile_bf16.c - bf16_tile.h with AVX-512's products of bf16: an instruction is 32 multiplications where one on
 * f32 is 16.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

enum { LANES = 16, REGISTERS = EN_BF16_COLS / LANES };

static __m512bh pairs(__m512i words)
{
    return (__m512bh)words;
}

static void tile(const uint32_t *a, const uint32_t *b, size_t n_pairs, bool add, float *c,
                 size_t stride)
{
    __m512 sums[EN_BF16_ROWS][REGISTERS];
#pragma GCC unroll 12
    for (int i = 0; i < EN_BF16_ROWS; i++) {
        sums[i][0] = _mm512_setzero_ps();
        sums[i][1] = _mm512_setzero_ps();
    }
    for (size_t p = 0; p < n_pairs; p++, a += EN_BF16_ROWS, b += EN_BF16_COLS) {
        __m512bh left = pairs(_mm512_loadu_si512(b));
        __m512bh right = pairs(_mm512_loadu_si512(b + LANES));
#pragma GCC unroll 12
        for (int i = 0; i < EN_BF16_ROWS; i++) {
            __m512bh x = pairs(_mm512_set1_epi32((int)a[i]));
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], x, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], x, right);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < EN_BF16_ROWS; i++, c += stride) {
        if (add) {
            sums[i][0] = _mm512_add_ps(sums[i][0], _mm512_loadu_ps(c));
            sums[i][1] = _mm512_add_ps(sums[i][1], _mm512_loadu_ps(c + LANES));
        }
        _mm512_storeu_ps(c, sums[i][0]);
        _mm512_storeu_ps(c + LANES, sums[i][1]);
    }
}

/* So many of 16, the first ones. */
static __mmask16 first(size_t n)
{
    return n >= LANES ? 0xffff : (__mmask16)((1u << n) - 1);
}

static size_t beyond(size_t n, size_t limit)
{
    return n > limit ? n - limit : 0;
}

static void pack_along(const float *x, size_t stride, size_t n_lines, size_t n, size_t width,
                       uint32_t *panels, size_t panel_words)
{
    const __m512i places =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                           _mm512_set1_epi32((int)width));
    size_t n_whole = (n_lines + width - 1) / width * width;
    for (size_t i = 0; i < n_whole; i++)
        for (size_t k = 0; k < n; k += EN_BF16_COLS) {
            const float *from = x + i * stride + k;
            size_t left = i < n_lines ? n - k : 0; /* none of a line that is not there */
            __m512 one = _mm512_maskz_loadu_ps(first(left), from);
            __m512 two = _mm512_maskz_loadu_ps(first(beyond(left, LANES)), from + LANES);
            _mm512_mask_i32scatter_epi32(
                panels + i / width * panel_words + k / 2 * width + i % width,
                first((n - k + 1) / 2), places, (__m512i)_mm512_cvtne2ps_pbh(two, one), 4);
        }
}

static __m512i rounded(const float *x, __mmask16 mask)
{
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x)));
}

/* All lines of a pair before the next: they lie side by side, pairs pages apart. */
static void pack_across(const float *x, size_t stride, size_t n_lines, size_t n, size_t width,
                        uint32_t *panels, size_t panel_words)
{
    for (size_t k = 0; k < n; k += 2, panels += width) {
        uint32_t *panel = panels;
        for (size_t i = 0; i < n_lines; i += width, panel += panel_words)
            for (size_t j = 0; j < width; j += LANES) {
                __mmask16 mask = first(beyond(n_lines, i + j));
                const float *from = x + k * stride + i + j;
                __m512i one = rounded(from, mask), two = _mm512_setzero_si512();
                if (k + 1 < n)
                    two = rounded(from + stride, mask);
                _mm512_mask_storeu_epi32(panel + j, first(width - j),
                                         _mm512_or_si512(one, _mm512_slli_epi32(two, 16)));
            }
    }
}

void en_kernels_init_tile_bf16(en_kernels *table)
{
    table->bf16_tile = tile;
    table->bf16_pack_along = pack_along;
    table->bf16_pack_across = pack_across;
}
