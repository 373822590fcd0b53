/*
 * scaled_units_avx2.c - blocks taken apart times many vectors, 16 bits at a time.
 *
 * vpmaddubsw would take 32 bytes at once, but saturates where bytes reach 255 (Q8_0), and wants both planes
 * of a vector.  vpmaddwd takes the vector's 15 bits as they are and is exact: 16 products at a time.
 *
 *   16 bytes, 4 rows x 4 columns -> 16 words; times four columns, over and over: two sums a row, which are
 *   added when the part of a unit ends
 *
 * Adding neighbours leaves rows in the order 0 1 4 5 2 3 6 7; scales, offsets and results are put in
 * that order too, once for all vectors.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/scaled_units.h"

#define INLINED static inline __attribute__((always_inline))

enum {
    GROUPS = EN_UNIT_COLS / 4,
    UNIT_BYTES = EN_UNIT_COLS * EN_STRIP_ROWS,
    QUARTERS = 4, /* of a strip's rows */
    TILE = 2,     /* vectors at a time: more sums would not stay in registers */
};

/* A vector's integers in a block. */
typedef struct block_columns {
    _Alignas(32) int16_t q[EN_SCALED_DOT_UNITS * EN_UNIT_COLS];
} block_columns;

static void join_planes(const en_block_vector *x, size_t first_col, size_t n, int16_t *q)
{
    for (size_t i = 0; i < n; i += 16) {
        __m256i high =
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(x->high + first_col + i)));
        __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(x->low + first_col + i)));
        _mm256_store_si256((void *)(q + i), _mm256_add_epi16(_mm256_slli_epi16(high, 7), low));
    }
}

INLINED __m256i four(const int16_t *q)
{
    int64_t columns;
    memcpy(&columns, q, sizeof columns);
    return _mm256_set1_epi64x(columns);
}

/* Eight rows in the order of sums, and back. */
INLINED __m256 in_order_of_sums(__m256 rows)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(rows), 0xD8));
}

/* Sum of q of a unit's part. */
INLINED __m256 sum_of_part(const en_block_vector *x, size_t unit, int part, int n_parts)
{
    if (n_parts == 1)
        return _mm256_set1_ps(x->sums[unit]);
    const float *fours = x->fours + unit * GROUPS + part * (GROUPS / 2);
    return _mm256_set1_ps((fours[0] + fours[1]) + (fours[2] + fours[3]));
}

/* Keeps the order of a chain: without it the compiler runs out of registers (41 instead of 57 G
 * multiply-adds/s on Zen 4). */
INLINED void in_order(__m256i *v)
{
    __asm__("" : "+x"(*v));
}

/* sums[vector][quarter] of one part: 'bytes' and 'q' begin with it. */
INLINED void products(const uint8_t *bytes, const int16_t *const *q, int n_groups, int n_vectors,
                      __m256i sums[TILE][QUARTERS])
{
#pragma GCC unroll 2
    for (int v = 0; v < n_vectors; v++)
#pragma GCC unroll 4
        for (int i = 0; i < QUARTERS; i++)
            sums[v][i] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < n_groups; j++) {
        __m256i values[QUARTERS];
#pragma GCC unroll 4
        for (int i = 0; i < QUARTERS; i++)
            values[i] = _mm256_cvtepu8_epi16(
                _mm_loadu_si128((const void *)(bytes + j * EN_STRIP_LANES + i * 16)));
#pragma GCC unroll 2
        for (int v = 0; v < n_vectors; v++) {
            __m256i columns = four(q[v] + 4 * j);
#pragma GCC unroll 4
            for (int i = 0; i < QUARTERS; i++) {
                sums[v][i] = _mm256_add_epi32(sums[v][i], _mm256_madd_epi16(values[i], columns));
                in_order(&sums[v][i]);
            }
        }
    }
}

INLINED void dot_vectors(const en_scaled_units *units, size_t first, size_t n_units, int n_parts,
                         const en_block_vector *x, int n_vectors, float *out)
{
    block_columns joined[TILE];
    __m256 all[TILE][2];
#pragma GCC unroll 2
    for (int v = 0; v < n_vectors; v++) {
        join_planes(&x[v], first * EN_UNIT_COLS, n_units * EN_UNIT_COLS, joined[v].q);
        for (int half = 0; half < 2; half++)
            all[v][half] = in_order_of_sums(_mm256_loadu_ps(out + v * EN_STRIP_ROWS + 8 * half));
    }
    for (size_t u = 0; u < n_units; u++) {
#pragma GCC unroll 2
        for (int part = 0; part < n_parts; part++) {
            size_t unit = first + u, col = u * EN_UNIT_COLS;
            int n_groups = GROUPS / n_parts;
            size_t at = (unit * (size_t)n_parts + (size_t)part) * EN_STRIP_ROWS;
            const int16_t *q[TILE];
            __m256i sums[TILE][QUARTERS];
            for (int v = 0; v < n_vectors; v++)
                q[v] = joined[v].q + col + 4 * part * n_groups;
            products(units->bytes + unit * UNIT_BYTES + part * n_groups * EN_STRIP_LANES, q,
                     n_groups, n_vectors, sums);
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                __m256 scale = in_order_of_sums(_mm256_loadu_ps(units->scales + at + 8 * half));
                __m256 offset = in_order_of_sums(_mm256_loadu_ps(units->offsets + at + 8 * half));
#pragma GCC unroll 2
                for (int v = 0; v < n_vectors; v++) {
                    __m256i rows = _mm256_hadd_epi32(sums[v][2 * half], sums[v][2 * half + 1]);
                    all[v][half] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(rows), all[v][half]);
                    all[v][half] = _mm256_fmadd_ps(offset, sum_of_part(&x[v], unit, part, n_parts),
                                                   all[v][half]);
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < n_vectors; v++)
        for (int half = 0; half < 2; half++)
            _mm256_storeu_ps(out + v * EN_STRIP_ROWS + 8 * half, in_order_of_sums(all[v][half]));
}

#include "kernels/scaled_units_template.h"

void en_kernels_init_scaled_units_avx2(en_kernels *table)
{
    table->dot_scaled = dot_scaled;
}
