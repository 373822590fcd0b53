/*
 * phase_lanes.c - lab: 16 rows x 4 neighbouring columns are 64 lanes, windows cut by multishift.
 *
 *   lane (r, c), r < 16, c < 4: row r, columns 4 s + c of every step s
 *   one look-up of at most 6 bits gives one weight of 4 bits
 *
 * What the library's strips are, but with a code for each single weight and nothing raw: a table of
 * one register, half the weights a look-up.  The refill and the windows are those of strips, so the
 * difference of the two is that of pairs and singles.  Product included.
 */
#include <immintrin.h>

#include "lab.h"

enum {
    ROWS = 16,
    PHASES = 4,
    LANES = ROWS * PHASES,
    CHUNK_ROWS = 64, /* four strips one after the other by the same lanes */
    CHUNKS = LAB_ROWS / CHUNK_ROWS,
    TOGETHER = 6, /* chunks in turn, so that their latencies overlap; 3: a sixth less */
    MAX_BITS = 6,
};

typedef struct stream {
    const lab_matrix *matrix;
    uint8_t table[64];
    uint16_t *words[CHUNKS];
    size_t n_words;
    int32_t sums[LAB_ROWS];
} stream;

/* Half 0 has the lanes of even c, half 1 those of odd c. */
typedef struct lanes {
    __m512i low[2], high[2], position, sum;
    const uint16_t *next;
} lanes;

/* Lanes of even numbers have their turn before those of odd ones. */
static size_t turn(size_t lane)
{
    return lane / 2 + lane % 2 * (LANES / 2);
}

static void encode(stream *s, const lab_code *code)
{
    uint8_t *symbols = lab_alloc(CHUNK_ROWS * LAB_COLS);
    const size_t strip_steps = LAB_COLS / PHASES;
    for (size_t c = 0; c < CHUNKS; c++) {
        const uint8_t *values = s->matrix->values + c * CHUNK_ROWS * LAB_COLS;
        for (size_t row = 0; row < CHUNK_ROWS; row++)
            for (size_t col = 0; col < LAB_COLS; col++) {
                size_t step = row / ROWS * strip_steps + col / PHASES;
                size_t lane = row % ROWS * PHASES + col % PHASES;
                symbols[step * LANES + turn(lane)] = values[row * LAB_COLS + col];
            }
        lab_lanes l = {symbols, LANES, CHUNK_ROWS / ROWS * strip_steps, code};
        size_t n_words;
        s->words[c] = lab_lanes_encode(&l, &n_words);
        s->n_words += n_words;
    }
    en_free(symbols);
}

INLINED void refill_half(lanes *l, int half, __mmask32 wants)
{
    __m512i words = _mm512_loadu_si512(l->next);
    __asm__("" : "+v"(words)); /* expanding from memory is slow on Zen 4 */
    l->low[half] = _mm512_mask_mov_epi16(l->low[half], wants, l->high[half]);
    l->high[half] = _mm512_mask_expand_epi16(l->high[half], wants, words);
    l->next += _mm_popcnt_u32(wants);
}

/* Looks up a weight of every lane; returns its length, and adds its product. */
INLINED __m512i take_step(lanes *l, __m512i window, __m512i table, const int8_t *x)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m512i entry = _mm512_permutexvar_epi8(window, table);
    __m512i length = _mm512_and_si512(_mm512_srli_epi16(entry, 4), nibble);
    l->position = _mm512_add_epi8(l->position, length);
    l->sum = _mm512_dpbusd_epi32(l->sum, _mm512_and_si512(entry, nibble), _mm512_set1_epi32(four));
    return length;
}

INLINED void take_two_steps(lanes *l, __m512i table, const int8_t *x)
{
    const __mmask64 odd = 0xAAAAAAAAAAAAAAAA;
    __mmask32 wants_even = _mm512_test_epi16_mask(l->position, _mm512_set1_epi16(0x0010));
    __mmask32 wants_odd = _mm512_test_epi16_mask(l->position, _mm512_set1_epi16(0x1000));
    refill_half(l, 0, wants_even);
    refill_half(l, 1, wants_odd);
    l->position = _mm512_and_si512(l->position, _mm512_set1_epi8(15));
    __m512i even_bits = _mm512_shrdv_epi16(l->low[0], l->high[0], l->position);
    __m512i odd_bits = _mm512_shrdv_epi16(l->low[1], l->high[1], _mm512_srli_epi16(l->position, 8));
    __m512i window = _mm512_mask_blend_epi8(odd, even_bits, _mm512_slli_epi16(odd_bits, 8));
    __m512i length = take_step(l, window, table, x);
    __m512i at = _mm512_add_epi8(_mm512_set1_epi64(0x3030202010100000), length);
    window = _mm512_multishift_epi64_epi8(at, even_bits);
    window = _mm512_mask_multishift_epi64_epi8(window, odd, at, odd_bits);
    take_step(l, window, table, x + PHASES);
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
            for (size_t half = 0; half < 2; half++) {
                l[i].low[half] = _mm512_loadu_si512(words + half * LANES / 2);
                l[i].high[half] = _mm512_loadu_si512(words + LANES + half * LANES / 2);
            }
            l[i].position = zero;
            l[i].next = words + 2 * LANES;
        }
        for (size_t strip = 0; strip < CHUNK_ROWS / ROWS; strip++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < TOGETHER; i++)
                l[i].sum = zero;
            for (size_t col = 0; col < LAB_COLS; col += 2 * PHASES)
#pragma GCC unroll 6
                for (size_t i = 0; i < TOGETHER; i++)
                    take_two_steps(&l[i], table, s->matrix->x + col);
#pragma GCC unroll 6
            for (size_t i = 0; i < TOGETHER; i++)
                _mm512_storeu_si512(s->sums + (c + i) * CHUNK_ROWS + strip * ROWS, l[i].sum);
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
    printf("phase lanes, product, one core\n\n| sigma | entropy | stored | G weights/s |\n");
    for (size_t i = 0; i < LAB_SIGMAS && lab_sigmas[i] < 3; i++)
        try_sigma(lab_sigmas[i]);
    return 0;
}
