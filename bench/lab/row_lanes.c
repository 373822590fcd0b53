/*
 * row_lanes.c - lab: 32 rows are the 32 lanes of 16 bits of one AVX-512 register.
 *
 *   lane r of a strip: row r, one weight a step; codes of at most 6 bits, single weights of 4 bits
 *
 * A look-up is a permutation of bytes of which only every second is used: that is what this layout
 * pays.  Two weights of a row are multiplied at once, in the two bytes of the lane.  Product included.
 */
#include <immintrin.h>

#include "lab.h"

enum {
    LANES = 32,
    CHUNK_ROWS = 64, /* two strips one after the other by the same lanes */
    CHUNKS = LAB_ROWS / CHUNK_ROWS,
    TOGETHER = 6,    /* chunks in turn, so that their latencies overlap; 3: a quarter less */
    FLUSH_COLS = 16, /* 8 pairs of 15 * 128 fit into 16 bits */
    MAX_BITS = 6,
};

typedef struct stream {
    const lab_matrix *matrix;
    uint8_t table[64];
    uint16_t *words[CHUNKS];
    size_t n_words;
    int32_t sums[LAB_ROWS];
} stream;

typedef struct lanes {
    __m512i low, high, position, sum, even, odd;
    const uint16_t *next;
} lanes;

static void encode(stream *s, const lab_code *code)
{
    uint8_t *symbols = lab_alloc(CHUNK_ROWS * LAB_COLS);
    for (size_t c = 0; c < CHUNKS; c++) {
        const uint8_t *values = s->matrix->values + c * CHUNK_ROWS * LAB_COLS;
        for (size_t row = 0; row < CHUNK_ROWS; row++)
            for (size_t col = 0; col < LAB_COLS; col++)
                symbols[(row / LANES * LAB_COLS + col) * LANES + row % LANES] =
                    values[row * LAB_COLS + col];
        lab_lanes l = {symbols, LANES, CHUNK_ROWS / LANES * LAB_COLS, code};
        size_t n_words;
        s->words[c] = lab_lanes_encode(&l, &n_words);
        s->n_words += n_words;
    }
    en_free(symbols);
}

/* The next two weights of every lane, in its two bytes. */
INLINED __m512i next_pair(lanes *l, __m512i table)
{
    const __mmask64 low_bytes = 0x5555555555555555;
    __mmask32 wants = _mm512_test_epi16_mask(l->position, _mm512_set1_epi16(16));
    __m512i words = _mm512_loadu_si512(l->next);
    __asm__("" : "+v"(words)); /* expanding from memory is slow on Zen 4 */
    l->low = _mm512_mask_mov_epi16(l->low, wants, l->high);
    l->high = _mm512_mask_expand_epi16(l->high, wants, words);
    l->next += _mm_popcnt_u32(wants);
    l->position = _mm512_and_si512(l->position, _mm512_set1_epi16(15));
    __m512i window = _mm512_shrdv_epi16(l->low, l->high, l->position);
    __m512i first = _mm512_maskz_permutexvar_epi8(low_bytes, window, table);
    __m512i length = _mm512_srli_epi16(first, 4);
    window = _mm512_srlv_epi16(window, length);
    __m512i second = _mm512_maskz_permutexvar_epi8(low_bytes, window, table);
    length = _mm512_add_epi16(length, _mm512_srli_epi16(second, 4));
    l->position = _mm512_add_epi16(l->position, length);
    __m512i both = _mm512_or_si512(first, _mm512_slli_epi16(second, 8));
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
}

/* One strip of each of TOGETHER chunks. */
INLINED void strip_dot(lanes *l, __m512i table, const int8_t *x)
{
    for (size_t flush = 0; flush < LAB_COLS; flush += FLUSH_COLS) {
        for (size_t col = flush; col < flush + FLUSH_COLS; col += 2) {
            int16_t two;
            memcpy(&two, x + col, sizeof two);
            __m512i factors = _mm512_set1_epi16(two);
#pragma GCC unroll 6
            for (int i = 0; i < TOGETHER; i++)
                l[i].sum = _mm512_add_epi16(l[i].sum,
                                            _mm512_maddubs_epi16(next_pair(&l[i], table), factors));
        }
#pragma GCC unroll 6
        for (int i = 0; i < TOGETHER; i++) {
            l[i].even = _mm512_dpwssd_epi32(l[i].even, l[i].sum, _mm512_set1_epi32(1));
            l[i].odd = _mm512_dpwssd_epi32(l[i].odd, l[i].sum, _mm512_set1_epi32(1 << 16));
            l[i].sum = _mm512_setzero_si512();
        }
    }
}

static void store_sums(const lanes *l, int32_t *sums)
{
    int32_t even[LANES / 2], odd[LANES / 2];
    _mm512_storeu_si512(even, l->even);
    _mm512_storeu_si512(odd, l->odd);
    for (size_t i = 0; i < LANES / 2; i++) {
        sums[2 * i] = even[i];
        sums[2 * i + 1] = odd[i];
    }
}

static void product(void *arg)
{
    stream *s = arg;
    const __m512i table = _mm512_loadu_si512(s->table), zero = _mm512_setzero_si512();
    for (size_t c = 0; c < CHUNKS; c += TOGETHER) {
        lanes l[TOGETHER];
#pragma GCC unroll 6
        for (size_t i = 0; i < TOGETHER; i++) {
            const uint16_t *words = s->words[c + i];
            l[i] = (lanes){.low = _mm512_loadu_si512(words),
                           .high = _mm512_loadu_si512(words + LANES),
                           .position = zero,
                           .next = words + 2 * LANES};
        }
        for (size_t strip = 0; strip < CHUNK_ROWS / LANES; strip++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < TOGETHER; i++)
                l[i].sum = l[i].even = l[i].odd = zero;
            strip_dot(l, table, s->matrix->x);
#pragma GCC unroll 6
            for (size_t i = 0; i < TOGETHER; i++)
                store_sums(&l[i], s->sums + (c + i) * CHUNK_ROWS + strip * LANES);
        }
    }
}

static void try_sigma(double sigma)
{
    lab_matrix *m = lab_matrix_new(sigma);
    lab_code code;
    lab_code_choose(&code, m, MAX_BITS);
    stream *s = lab_alloc(sizeof *s);
    s->matrix = m;
    lab_code_table(&code, s->table);
    encode(s, &code);
    double rate = lab_rate(product, s);
    lab_check_sums(m, s->sums);
    double stored = 16.0 * (double)s->n_words / LAB_WEIGHTS + lab_list_bits(m);
    printf("| %.2f | %.3f | %.3f (+%.3f) | %.1f |\n", sigma, m->entropy, stored,
           stored - m->entropy, rate);
    for (size_t c = 0; c < CHUNKS; c++)
        en_free(s->words[c]);
    en_free(s);
    lab_matrix_free(m);
}

int main(void)
{
    lab_need(EN_CPU_AVX512, "AVX-512");
    printf("row lanes, product, one core\n\n| sigma | entropy | stored | G weights/s |\n");
    for (size_t i = 0; i < LAB_SIGMAS && lab_sigmas[i] < 3; i++)
        try_sigma(lab_sigmas[i]);
    return 0;
}
