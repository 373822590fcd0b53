/*
 * test_bf16_tile.c - packing and tiles of bf16: plain C against rounding and sums in double, every variant this
 * machine supports against plain C.
 */
#include "test_support.h"

#include <math.h>

#include "kernel_support.h"
#include "kernels/bf16_tile.h"
#include "tensor/half.h"

enum { MOST = 70, MAX_PAIRS = (MOST + 1) / 2 };
enum { IN, OUT, N_REGIONS, REGION = 1 << 15 };

static float x[MOST * (MOST + 3)];

static void draw(uint64_t seed)
{
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(int32_t)(test_random(&seed) >> 32) * 0x1p-31f;
}

/* Of so many lines, in panels that are a word more than full apart. */
static void check_panels(size_t n_lines, size_t n, size_t width, bool along)
{
    size_t n_panels = (n_lines + width - 1) / width, words = (n + 1) / 2 * width + 1;
    size_t n_words = n_panels * words - 1, stride = MOST + 3;
    for (int v = -1; v < n_variants; v++) {
        const en_kernels *kernels = v < 0 ? ref : &variants[v];
        uint32_t *panels = place(OUT, n_words * sizeof *panels);
        (along ? kernels->bf16_pack_along : kernels->bf16_pack_across)(x, stride, n_lines, n, width,
                                                                       panels, words);
        check_canary(panels);
        for (size_t w = 0; w < n_words; w++)
            for (size_t half = 0; half < 2; half++) {
                size_t at = w % words, line = w / words * width + at % width;
                size_t k = at / width * 2 + half;
                uint16_t is = (uint16_t)(panels[w] >> 16 * half), should = 0;
                if (at == words - 1)
                    should = 0xa5a5; /* between panels nothing is written */
                else if (line < n_lines && k < n)
                    ref->f32_to_bf16(x + (along ? line * stride + k : k * stride + line), &should,
                                     1);
                assert_int_equal(is, should);
            }
    }
}

static void panels_hold_rounded_numbers(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 3, 31, 32, 33, 64, 69};
    draw(1);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t n_lines = 1; n_lines < MOST; n_lines++)
            for (int along = 0; along < 2; along++) {
                check_panels(n_lines, lengths[i], EN_BF16_COLS, along);
                check_panels(n_lines, lengths[i], EN_BF16_ROWS, along);
            }
}

/* Numbers from the end of a page behind which nothing may be read. */
static void nothing_is_read_behind_a_factor(void **state)
{
    (void)state;
    enum { LINES = 17, N = 37, WORDS = (N + 1) / 2 * EN_BF16_ROWS };
    for (int v = 0; v < n_variants; v++) {
        uint32_t panels[2 * WORDS];
        float *in = place(IN, sizeof *in * LINES * N);
        for (size_t i = 0; i < LINES * N; i++)
            in[i] = (float)i;
        variants[v].bf16_pack_along(in, N, LINES, N, EN_BF16_ROWS, panels, WORDS);
        variants[v].bf16_pack_across(in, LINES, LINES, N, EN_BF16_ROWS, panels, WORDS);
    }
}

static double number_at(const uint32_t *panel, size_t width, size_t line, size_t k)
{
    return (double)en_bf16_to_f32((uint16_t)(panel[k / 2 * width + line] >> 16 * (k % 2)));
}

static void check_tile(const en_kernels *kernels, size_t n_pairs, bool add)
{
    enum { STRIDE = EN_BF16_COLS + 5, N_OUT = (EN_BF16_ROWS - 1) * STRIDE + EN_BF16_COLS };
    static uint32_t a[MAX_PAIRS * EN_BF16_ROWS], b[MAX_PAIRS * EN_BF16_COLS];
    ref->bf16_pack_along(x, MOST, EN_BF16_ROWS, 2 * n_pairs, EN_BF16_ROWS, a, 0);
    ref->bf16_pack_across(x + 7, MOST, EN_BF16_COLS, 2 * n_pairs, EN_BF16_COLS, b, 0);
    float *c = place(OUT, N_OUT * sizeof *c);
    for (size_t i = 0; i < N_OUT; i++)
        c[i] = (float)(i % 7);
    kernels->bf16_tile(a, b, n_pairs, add, c, STRIDE);
    check_canary(c);
    for (size_t i = 0; i < N_OUT; i++) {
        size_t row = i / STRIDE, col = i % STRIDE;
        double sum = add ? (double)(i % 7) : 0, magnitude = sum;
        for (size_t k = 0; k < 2 * n_pairs && col < EN_BF16_COLS; k++) {
            double term = number_at(a, EN_BF16_ROWS, row, k) * number_at(b, EN_BF16_COLS, col, k);
            sum += term;
            magnitude += fabs(term);
        }
        double want = col < EN_BF16_COLS ? sum : (double)(i % 7); /* between rows nothing changes */
        assert_true(fabs((double)c[i] - want) <= 1e-5 * magnitude);
    }
}

static void tiles_are_sums_of_products(void **state)
{
    (void)state;
    draw(2);
    for (size_t n_pairs = 0; n_pairs <= MOST / 2; n_pairs++)
        for (int add = 0; add < 2; add++) {
            check_tile(ref, n_pairs, add);
            for (int v = 0; v < n_variants; v++)
                check_tile(&variants[v], n_pairs, add);
        }
}

static int set_up(void **state)
{
    (void)state;
    return test_kernels_open(N_REGIONS, REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panels_hold_rounded_numbers),
        cmocka_unit_test(nothing_is_read_behind_a_factor),
        cmocka_unit_test(tiles_are_sums_of_products),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
