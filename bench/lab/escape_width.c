/*
 * escape_width.c - lab: a fixed width of 2, 3 or 4 bits, and a list of what does not fit.
 *
 * The layout between coded and packed: nothing is decoded, fields are cut out by shifts that are
 * constants.  Values outside of the width are clamped, and the list has the rest: for each row, column
 * and difference, 24 bits an entry.  Product and list included.
 *
 *   block: 8 vectors of columns of one row in 'width' vectors of bits
 *   width 2:  field f of a byte of vector f / 4 is bits 2 (f % 4) and the next one
 *   width 3:  the same, and bit f of a third vector is the upper bit
 *   width 4:  field f is the low or high nibble of vector f / 2
 *
 * Built twice: for AVX-512 and, as escape_width_avx2, for AVX2.
 */
#include <immintrin.h>

#include "lab.h"

#ifdef __AVX512VNNI__
typedef __m512i vec;
#define NAME            "AVX-512"
#define NEEDED          EN_CPU_AVX512
#define vec_load(p)     _mm512_loadu_si512(p)
#define vec_set(b)      _mm512_set1_epi8((char)(b))
#define vec_and(a, b)   _mm512_and_si512(a, b)
#define vec_or(a, b)    _mm512_or_si512(a, b)
#define vec_left(a, n)  _mm512_slli_epi16(a, n)
#define vec_right(a, n) _mm512_srli_epi16(a, n)
#define vec_zero()      _mm512_setzero_si512()
#else
typedef __m256i vec;
#define NAME            "AVX2"
#define NEEDED          EN_CPU_AVX2
#define vec_load(p)     _mm256_loadu_si256((const __m256i *)(p))
#define vec_set(b)      _mm256_set1_epi8((char)(b))
#define vec_and(a, b)   _mm256_and_si256(a, b)
#define vec_or(a, b)    _mm256_or_si256(a, b)
#define vec_left(a, n)  _mm256_slli_epi16(a, n)
#define vec_right(a, n) _mm256_srli_epi16(a, n)
#define vec_zero()      _mm256_setzero_si256()
#endif

enum {
    FIELDS = 8,
    VECTOR = sizeof(vec),
    BLOCK_COLS = FIELDS * VECTOR,
    ROWS_TOGETHER = 2, /* so that activations are loaded for two rows */
};

typedef struct escape {
    uint16_t col;
    int8_t delta;
} escape;

typedef struct packed {
    const lab_matrix *matrix;
    int width, base; /* value = field + base */
    uint8_t *bits;
    escape *list;
    uint32_t *row_end; /* of each row in the list */
    size_t n_escapes;
    int64_t sum_x;
    int32_t sums[LAB_ROWS];
} packed;

static void put_field(uint8_t *block, int width, size_t f, size_t lane, unsigned field)
{
    if (width == 4) {
        block[f / 2 * VECTOR + lane] |= (uint8_t)(field << 4 * (f % 2));
        return;
    }
    block[f / 4 * VECTOR + lane] |= (uint8_t)((field & 3) << 2 * (f % 4));
    if (width == 3)
        block[2 * VECTOR + lane] |= (uint8_t)(field >> 2 << f);
}

INLINED vec get_field(const vec *v, int width, int f)
{
    if (width == 4)
        return vec_and(vec_right(v[f / 2], 4 * (f % 2)), vec_set(15));
    vec low = vec_and(vec_right(v[f / 4], 2 * (f % 4)), vec_set(3));
    if (width == 2)
        return low;
    vec high = f < 2 ? vec_left(v[2], 2 - f) : vec_right(v[2], f - 2);
    return vec_or(low, vec_and(high, vec_set(4)));
}

static void pack(packed *p)
{
    size_t n_block = (size_t)p->width * VECTOR;
    p->bits = lab_alloc((size_t)LAB_WEIGHTS / 8 * (size_t)p->width);
    p->list = lab_alloc((size_t)LAB_WEIGHTS * sizeof *p->list);
    p->row_end = lab_alloc(LAB_ROWS * sizeof *p->row_end);
    for (size_t r = 0; r < LAB_ROWS; r++) {
        for (size_t c = 0; c < LAB_COLS; c++) {
            int exact = p->matrix->values[r * LAB_COLS + c] - p->base, top = (1 << p->width) - 1;
            int field = exact < 0 ? 0 : exact > top ? top : exact;
            uint8_t *block = p->bits + (r * LAB_COLS + c) / BLOCK_COLS * n_block;
            put_field(block, p->width, c % BLOCK_COLS / VECTOR, c % VECTOR, (unsigned)field);
            if (field != exact)
                p->list[p->n_escapes++] = (escape){(uint16_t)c, (int8_t)(exact - field)};
        }
        p->row_end[r] = (uint32_t)p->n_escapes;
    }
    for (size_t c = 0; c < LAB_COLS; c++)
        p->sum_x += p->matrix->x[c];
}

/* Adds the products of a block.  AVX2 sums 8 products of two fields in 16 bits: 8 * 2 * 15 * 128. */
INLINED vec block_dot(vec sum, const vec *fields, const int8_t *x)
{
#ifdef __AVX512VNNI__
    for (int f = 0; f < FIELDS; f++)
        sum = _mm512_dpbusd_epi32(sum, fields[f], vec_load(x + f * VECTOR));
    return sum;
#else
    vec part = vec_zero();
    for (int f = 0; f < FIELDS; f++)
        part = _mm256_add_epi16(part, _mm256_maddubs_epi16(fields[f], vec_load(x + f * VECTOR)));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
#endif
}

static int32_t total(vec sum)
{
    int32_t parts[VECTOR / 4], all = 0;
    memcpy(parts, &sum, sizeof sum);
    for (size_t i = 0; i < VECTOR / 4; i++)
        all += parts[i];
    return all;
}

INLINED void rows_dot(packed *p, size_t row, int width)
{
    size_t n_block = (size_t)width * VECTOR, n_row = LAB_COLS / BLOCK_COLS * n_block;
    vec sum[ROWS_TOGETHER];
    for (int r = 0; r < ROWS_TOGETHER; r++)
        sum[r] = vec_zero();
    for (size_t block = 0; block < LAB_COLS / BLOCK_COLS; block++) {
#pragma GCC unroll 2
        for (size_t r = 0; r < ROWS_TOGETHER; r++) {
            const uint8_t *bits = p->bits + (row + r) * n_row + block * n_block;
            vec v[4], fields[FIELDS];
            for (int i = 0; i < width; i++)
                v[i] = vec_load(bits + i * VECTOR);
#pragma GCC unroll 8
            for (int f = 0; f < FIELDS; f++)
                fields[f] = get_field(v, width, f);
            sum[r] = block_dot(sum[r], fields, p->matrix->x + block * BLOCK_COLS);
        }
    }
    for (int r = 0; r < ROWS_TOGETHER; r++)
        p->sums[row + (size_t)r] = total(sum[r]) + (int32_t)(p->base * p->sum_x);
}

static void product(void *arg)
{
    packed *p = arg;
    const escape *next = p->list;
    for (size_t row = 0; row < LAB_ROWS; row += ROWS_TOGETHER) {
        if (p->width == 2)
            rows_dot(p, row, 2);
        else if (p->width == 3)
            rows_dot(p, row, 3);
        else
            rows_dot(p, row, 4);
        for (size_t r = row; r < row + ROWS_TOGETHER; r++)
            for (; next < p->list + p->row_end[r]; next++)
                p->sums[r] += next->delta * p->matrix->x[next->col];
    }
}

static void try_sigma(double sigma)
{
    lab_matrix *m = lab_matrix_new(sigma);
    printf("| %.2f | %.3f |", sigma, m->entropy);
    for (int width = 2; width <= 4; width++) {
        packed *p = lab_alloc(sizeof *p);
        *p = (packed){.matrix = m, .width = width, .base = LAB_ZERO - (1 << (width - 1))};
        pack(p);
        double rate = lab_rate(product, p);
        lab_check_sums(m, p->sums);
        double stored = width + (double)LAB_LIST_BITS * (double)p->n_escapes / LAB_WEIGHTS;
        printf(" %.3f (+%.3f) | %.1f |", stored, stored - m->entropy, rate);
        en_free(p->bits);
        en_free(p->list);
        en_free(p->row_end);
        en_free(p);
    }
    printf("\n");
    lab_matrix_free(m);
}

int main(void)
{
    lab_need(NEEDED, NAME);
    printf("fixed width and escapes, product, one core, " NAME "\n\n"
           "| sigma | entropy | 2 bits: stored | G weights/s | 3 bits: stored | G weights/s "
           "| 4 bits: stored | G weights/s |\n");
    for (size_t i = 0; i < LAB_SIGMAS && lab_sigmas[i] < 3; i++)
        try_sigma(lab_sigmas[i]);
    return 0;
}
