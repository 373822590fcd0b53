/* test_rans.c - frequencies and streams of rans.h: what is coded comes back, in as many bits as its entropy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test_support.h"

#include "base/memory.h"
#include "entropy/rans.h"

enum { COLS = 40 * EN_UNIT_COLS, N = COLS * EN_STRIP_ROWS };

static uint64_t state = 11;

static double uniform(void)
{
    return (double)(test_random(&state) >> 11) * 0x1p-53;
}

static int32_t normal(double sigma)
{
    return (int32_t)lrint(sigma * sqrt(-2 * log(uniform() + 1e-300)) *
                          cos(6.283185307179586 * uniform()));
}

static double entropy_of(const uint64_t *counts, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (counts[i] > 0)
            sum -= (double)counts[i] * log2((double)counts[i] / N);
    return sum / N;
}

static void code_of(en_rans_code *code, const int32_t *z, int32_t base, double *entropy)
{
    uint64_t counts[EN_RANS_SYMBOLS] = {0}, n_outside = 0;
    for (size_t i = 0; i < N; i++) {
        int64_t v = (int64_t)z[i] - base;
        if (v >= 0 && v < EN_RANS_SYMBOLS)
            counts[v]++;
        else
            n_outside++;
    }
    double bits;
    en_rans_code_build(code, base, counts, n_outside, EN_STRIP_EXCEPTION_PRICE, &bits);
    *entropy = entropy_of(counts, EN_RANS_SYMBOLS);
    assert_true(bits / N > *entropy - 0.01);
}

static void check_code(const en_rans_code *code)
{
    uint8_t stored[EN_RANS_MAX_STORED];
    size_t n = en_rans_code_store(code, stored), n_used;
    en_rans_code again;
    assert_in_range(n, 6, EN_RANS_MAX_STORED);
    assert_int_equal(en_rans_code_load(&again, stored, n, &n_used, NULL), ENTRO_OK);
    assert_int_equal(n_used, n);
    assert_true(again.base == code->base && again.n == code->n);
    assert_memory_equal(again.freq, code->freq, code->n * sizeof *code->freq);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(en_rans_code_load(&again, stored, cut, &n_used, NULL), ENTRO_ERR_FORMAT);
}

/* Decodes two runs, puts exceptions right, and compares; returns the bits a weight. */
static double round_trip(const int32_t *z, const en_rans_code *code)
{
    en_rans_encoder *e;
    const uint8_t *bytes;
    size_t n_bytes, n_list, half = COLS / 2;
    en_strip_exception *list;
    assert_int_equal(en_rans_encoder_new(&e, en_rans_encode_ref, NULL), ENTRO_OK);
    en_rans_encoder_start(e);
    assert_int_equal(en_rans_encoder_add(e, z, COLS, half, code, 0, 0, NULL), ENTRO_OK);
    assert_int_equal(en_rans_encoder_add(e, z + half, COLS, half, code, 0, (uint32_t)half, NULL),
                     ENTRO_OK);
    assert_int_equal(en_rans_encoder_finish(e, &bytes, &n_bytes, &list, &n_list, NULL), ENTRO_OK);

    uint8_t *copy = en_alloc_zero(n_bytes + EN_STRIP_IN_PAD, 1), *units = en_alloc(N, 1);
    memcpy(copy, bytes, n_bytes);
    en_rans_table *table = en_alloc(1, sizeof *table);
    en_rans_lanes lanes;
    en_rans_table_fill(table, code);
    en_rans_start(&lanes, copy, copy + n_bytes);
    en_rans_decode(&lanes, table, half / EN_UNIT_COLS, units);
    en_rans_decode(&lanes, table, half / EN_UNIT_COLS, units + half * EN_STRIP_ROWS);
    assert_true(en_rans_ended(&lanes));

    int32_t *got = en_alloc(N, sizeof *got);
    for (size_t r = 0; r < EN_STRIP_ROWS; r++)
        for (size_t k = 0; k < COLS; k++)
            got[r * COLS + k] = units[k / 4 * EN_STRIP_LANES + 4 * r + k % 4] + code->base;
    for (size_t i = 0; i < n_list; i++)
        got[list[i].row * COLS + list[i].col] += list[i].delta;
    assert_memory_equal(got, z, N * sizeof *z);
    double bits = 8.0 * (double)n_bytes / N + 24.0 * (double)n_list / N;
    void *all[] = {copy, units, table, got};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        en_free(all[i]);
    en_rans_encoder_free(e);
    return bits;
}

static void normals_take_their_entropy(void **context)
{
    (void)context;
    static const double sigmas[] = {0.05, 0.4, 1, 3, 10, 25};
    int32_t *z = en_alloc(N, sizeof *z);
    for (size_t s = 0; s < sizeof sigmas / sizeof *sigmas; s++) {
        en_rans_code code;
        double entropy;
        for (size_t i = 0; i < N; i++)
            z[i] = 1000 + normal(sigmas[s]);
        code_of(&code, z, 1000 - 128, &entropy);
        check_code(&code);
        /* 32 states of 4 bytes are 0.05 bit a weight here. */
        assert_true(round_trip(z, &code) < entropy + 0.06);
    }
    en_free(z);
}

static void extremes_come_back(void **context)
{
    (void)context;
    int32_t *z = en_alloc(N, sizeof *z);
    en_rans_code code;
    double entropy;
    for (size_t i = 0; i < N; i++) /* one symbol */
        z[i] = -7;
    code_of(&code, z, -100, &entropy);
    check_code(&code);
    assert_int_equal(code.n, 1);
    assert_true(round_trip(z, &code) < 0.051);

    for (size_t i = 0; i < N; i += 100) /* far beyond the range */
        z[i] = (i / 100) % 2 ? 1 << 30 : -(1 << 30);
    code_of(&code, z, -100, &entropy);
    round_trip(z, &code);

    for (size_t i = 0; i < N; i++) /* all symbols alike */
        z[i] = (int32_t)(test_random(&state) >> 56);
    code_of(&code, z, 0, &entropy);
    check_code(&code);
    assert_true(round_trip(z, &code) < 8.06);

    uint64_t none[EN_RANS_SYMBOLS] = {0};
    double bits;
    en_rans_code_build(&code, 5, none, 0, EN_STRIP_EXCEPTION_PRICE, &bits);
    check_code(&code);
    assert_true(bits == 0);
    en_free(z);
}

/* The encoder divides by frequencies, and does so by multiplying. */
static void every_frequency_comes_back(void **context)
{
    (void)context;
    int32_t *z = en_alloc(N, sizeof *z);
    for (uint16_t freq = 1; freq < EN_RANS_SCALE; freq = (uint16_t)(freq + 13)) {
        const en_rans_code code = {
            .base = 0, .n = 2, .freq = {freq, (uint16_t)(EN_RANS_SCALE - freq)}};
        for (size_t i = 0; i < N; i++)
            z[i] = test_random(&state) >> (64 - EN_RANS_SCALE_BITS) >= freq;
        round_trip(z, &code);
    }
    en_free(z);
}

/* A value of its own for every few is cheaper on the list than in the table. */
static void rare_values_are_listed(void **context)
{
    (void)context;
    uint64_t counts[EN_RANS_SYMBOLS] = {[10] = 1000000, [11] = 900000, [12] = 100, [40] = 3};
    en_rans_code code;
    double bits;
    en_rans_code_build(&code, 0, counts, 0, EN_STRIP_EXCEPTION_PRICE, &bits);
    assert_int_equal(code.base, 10);
    assert_int_equal(code.n, 3);
    assert_int_equal(code.freq[2], 1);
}

static void bad_tables_are_refused(void **context)
{
    (void)context;
    const en_rans_code code = {.base = 3, .n = 3, .freq = {1000, 96, 3000}};
    uint8_t stored[EN_RANS_MAX_STORED];
    size_t n = en_rans_code_store(&code, stored), n_used;
    en_rans_code again;
    entro_error err;
    stored[n - 1]++; /* the sum */
    assert_int_equal(en_rans_code_load(&again, stored, n, &n_used, &err), ENTRO_ERR_FORMAT);
    const en_rans_code empty = {.base = 3, .n = 3, .freq = {0, 96, 4000}};
    n = en_rans_code_store(&empty, stored);
    assert_int_equal(en_rans_code_load(&again, stored, n, &n_used, &err), ENTRO_ERR_FORMAT);
}

/* Noise gives noise: never a read beyond what may be read, nor a chunk that seems sound. */
static void noise_is_noticed(void **context)
{
    (void)context;
    enum { BYTES = 2000 };
    en_rans_code code = {.base = 0, .n = 2, .freq = {1, 4095}};
    en_rans_table *table = en_alloc(1, sizeof *table);
    uint8_t *units = en_alloc(N, 1);
    en_rans_table_fill(table, &code);
    for (int round = 0; round < 50; round++) {
        size_t n = EN_RANS_START_BYTES + (test_random(&state) >> 32) % BYTES / 2 * 2;
        uint8_t *bytes = en_alloc(n + EN_STRIP_IN_PAD, 1);
        for (size_t i = 0; i < n + EN_STRIP_IN_PAD; i++)
            bytes[i] = (uint8_t)(test_random(&state) >> 40);
        en_rans_lanes lanes;
        en_rans_start(&lanes, bytes, bytes + n);
        en_rans_decode(&lanes, table, COLS / EN_UNIT_COLS, units);
        assert_false(en_rans_ended(&lanes));
        en_free(bytes);
    }
    en_free(table);
    en_free(units);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normals_take_their_entropy), cmocka_unit_test(extremes_come_back),
        cmocka_unit_test(rare_values_are_listed),     cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(every_frequency_comes_back), cmocka_unit_test(noise_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
