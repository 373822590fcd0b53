/*
 * test_strips.c - coding 2: every variant this machine supports against the reference, and the
 * reference against the integers that were encoded.
 *
 * Words and raw bits end EN_STRIP_IN_PAD bytes, all else 0 bytes, before a page that must not be
 * touched; outputs have canary bytes before them.
 */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_support.h"
#include "kernels/kernels.h"

enum {
    MAX_UNITS = 40,
    MAX_COLS = MAX_UNITS * EN_UNIT_COLS,
    MANY_VECTORS = 70,
    REGION = 1 << 18,
    WORDS = 0, /* regions: of each chunk */
    RAW = WORDS + EN_STRIP_MAX_CHUNKS,
    UNITS = RAW + EN_STRIP_MAX_CHUNKS,
    SUMS,
    X,
    N_REGIONS = X + MANY_VECTORS
};

static uint32_t draw(void)
{
    static uint64_t state = 77;
    return (uint32_t)(test_random(&state) >> 32);
}

static uint8_t *place_random(int region, size_t n_bytes)
{
    uint8_t *p = place(region, n_bytes);
    for (size_t i = 0; i < n_bytes; i++)
        p[i] = (uint8_t)draw();
    return p;
}

/* ---- streams ----------------------------------------------------------------------------------- */

/* Chunks with one strip each and one code for all. */
typedef struct example {
    en_strip_layout layout;
    en_pair_table table;
    size_t n_chunks, n_units;
    en_strip_lanes start[EN_STRIP_MAX_CHUNKS];
    int32_t z[EN_STRIP_MAX_CHUNKS][EN_STRIP_ROWS * MAX_COLS]; /* less exceptions */
} example;

static example g_example;

static int32_t gaussian(double sigma)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)draw() * 0x1p-32;
    return (int32_t)(sum * sigma + 1000.5) - 1000;
}

static void draw_integers(int32_t *z, size_t n, double sigma)
{
    for (size_t i = 0; i < n; i++) {
        z[i] = gaussian(sigma);
        if (sigma > 0 && draw() % 200 == 0)
            z[i] += (int32_t)(draw() % 2000) - 1000;
    }
}

static void build_code(const example *e, en_pair_code *code)
{
    uint64_t counts[256] = {0}, n_outside = 0;
    entro_error err;
    size_t n_cols = e->n_units * EN_UNIT_COLS;
    for (size_t c = 0; c < e->n_chunks; c++)
        en_strip_count_ref(e->z[c], n_cols, n_cols, e->layout, counts, &n_outside);
    assert_int_equal(en_pair_code_build(code, counts, EN_STRIP_EXCEPTION_BITS, &err), ENTRO_OK);
}

static void start_chunk(example *e, size_t c, const uint8_t *words, size_t n_words,
                        const uint8_t *raw, size_t n_raw)
{
    uint8_t *w = place(WORDS + (int)c, n_words + EN_STRIP_IN_PAD);
    uint8_t *r = place(RAW + (int)c, n_raw + EN_STRIP_IN_PAD);
    memcpy(w, words, n_words);
    if (n_raw > 0)
        memcpy(r, raw, n_raw);
    en_strip_lanes *l = &e->start[c];
    memset(l, 0, sizeof *l);
    memcpy(l->low, w, sizeof l->low);
    memcpy(l->high, w + sizeof l->low, sizeof l->high);
    l->next = w + sizeof l->low + sizeof l->high;
    l->end = w + n_words;
    l->raw = r;
}

static void encode_chunk(example *e, size_t c, const en_pair_code *code, en_strip_encoder *encoder)
{
    entro_error err;
    const uint8_t *words, *raw;
    en_strip_exception *list;
    size_t n_words, n_raw, n_list, n_cols = e->n_units * EN_UNIT_COLS;
    en_strip_encoder_start(encoder);
    assert_int_equal(
        en_strip_encoder_add(encoder, e->z[c], n_cols, n_cols, e->layout, code, 0, 0, &err),
        ENTRO_OK);
    assert_int_equal(
        en_strip_encoder_finish(encoder, &words, &n_words, &raw, &n_raw, &list, &n_list, &err),
        ENTRO_OK);
    assert_int_equal(n_raw, e->n_units * en_strip_raw_unit_bytes(e->layout.mode));
    start_chunk(e, c, words, n_words, raw, n_raw);
    for (size_t i = 0; i < n_list; i++)
        e->z[c][list[i].row * n_cols + list[i].col] -= list[i].delta;
}

static void encoded_example(en_strip_mode mode, size_t n_chunks, size_t n_units, double sigma)
{
    example *e = &g_example;
    entro_error err;
    en_pair_code code;
    en_strip_encoder *encoder;
    e->layout = (en_strip_layout){mode, -(1 << (en_strip_value_bits(mode) - 1))};
    e->n_chunks = n_chunks;
    e->n_units = n_units;
    for (size_t c = 0; c < n_chunks; c++)
        draw_integers(e->z[c], EN_STRIP_ROWS * n_units * EN_UNIT_COLS, sigma);
    build_code(e, &code);
    e->table = code.table;
    assert_int_equal(en_strip_encoder_new(&encoder, en_strip_encode_ref, &err), ENTRO_OK);
    for (size_t c = 0; c < n_chunks; c++)
        encode_chunk(e, c, &code, encoder);
    en_strip_encoder_free(encoder);
}

/* Any complete code: a tree grown by splitting leaves. */
static void random_table(en_pair_table *table)
{
    uint8_t stored[EN_PAIR_STORED_BYTES] = {1}, symbols[256];
    for (unsigned splits = draw() % 128; splits > 0; splits--) {
        unsigned length = draw() % EN_PAIR_MAX_BITS;
        if (stored[length] == 0)
            continue;
        stored[length]--;
        stored[length + 1] = (uint8_t)(stored[length + 1] + 2);
    }
    for (unsigned i = 0; i < 256; i++)
        symbols[i] = (uint8_t)i;
    for (unsigned i = 0; i < EN_PAIR_ENTRIES; i++) {
        unsigned j = i + draw() % (256 - i);
        stored[8 + i] = symbols[j];
        symbols[j] = symbols[i];
    }
    entro_error err;
    assert_int_equal(en_pair_table_load(table, stored, &err), ENTRO_OK);
}

/* Random bits, too few of them. */
static void hostile_example(en_strip_mode mode, size_t n_chunks, size_t n_units)
{
    example *e = &g_example;
    e->layout = (en_strip_layout){mode, 0};
    e->n_chunks = n_chunks;
    e->n_units = n_units;
    random_table(&e->table);
    for (size_t c = 0; c < n_chunks; c++) {
        en_strip_lanes *l = &e->start[c];
        size_t n_words = draw() % 3 == 0 ? 0 : draw() % 400;
        l->next = place_random(WORDS + (int)c, n_words + EN_STRIP_IN_PAD);
        l->end = l->next + n_words;
        l->raw =
            place_random(RAW + (int)c, n_units * en_strip_raw_unit_bytes(mode) + EN_STRIP_IN_PAD);
        for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++) {
            l->low[lane % 2][lane / 2] = (uint16_t)draw();
            l->high[lane % 2][lane / 2] = (uint16_t)draw();
            l->position[lane] = (uint8_t)(draw() % 30); /* 15 + two codes */
        }
    }
}

/* ---- comparing ---------------------------------------------------------------------------------- */

static void check_states(const en_strip_lanes *found, const en_strip_lanes *expected, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        const en_strip_lanes *f = &found[c], *e = &expected[c];
        assert_memory_equal(f->low, e->low, sizeof f->low);
        assert_memory_equal(f->high, e->high, sizeof f->high);
        assert_memory_equal(f->position, e->position, sizeof f->position);
        assert_true(f->next == e->next && f->next <= f->end);
        assert_true(f->end == e->end && f->raw == e->raw);
    }
}

static void draw_vectors(size_t n_vectors, size_t n, const int8_t **x)
{
    for (size_t v = 0; v < n_vectors; v++) {
        int8_t *at = (int8_t *)place_random(X + (int)v, n);
        unsigned kind = draw() % 4;
        for (size_t i = 0; kind == 0 && i < n; i++)
            at[i] = -128;
        for (size_t i = 0; kind == 1 && i < n; i++)
            at[i] = 127;
        x[v] = at;
    }
}

/* Planes of tokens lie one behind the other: kernels may count on it or not. */
static void draw_neighbours(size_t n_vectors, size_t n, const int8_t **x)
{
    const int8_t *all = (const int8_t *)place_random(X, n_vectors * n);
    for (size_t v = 0; v < n_vectors; v++)
        x[v] = all + v * n;
}

/* All chunks, in two calls of the kernel; sums and states after them. */
static void dot(const en_kernels *k, size_t n_vectors, const int8_t *const *x,
                en_strip_lanes *states, int32_t *sums)
{
    const example *e = &g_example;
    size_t first = e->n_units / 3;
    en_strip_lanes *at[EN_STRIP_MAX_CHUNKS];
    const int8_t *later[EN_STRIP_MAX_VECTORS];
    for (size_t c = 0; c < e->n_chunks; c++) {
        states[c] = e->start[c];
        at[c] = &states[c];
    }
    for (size_t v = 0; v < n_vectors; v++)
        later[v] = x[v] + first * EN_UNIT_COLS;
    k->strip_dot(at, e->n_chunks, &e->table, e->layout.mode, first, x, n_vectors, sums);
    k->strip_dot(at, e->n_chunks, &e->table, e->layout.mode, e->n_units - first, later, n_vectors,
                 sums);
}

static void check_dot(size_t n_vectors)
{
    static en_strip_lanes expected_states[EN_STRIP_MAX_CHUNKS], states[EN_STRIP_MAX_CHUNKS];
    int32_t expected[EN_STRIP_MAX_CHUNKS * EN_STRIP_MAX_VECTORS * EN_STRIP_ROWS], before[1024];
    const int8_t *x[EN_STRIP_MAX_VECTORS];
    const example *e = &g_example;
    size_t n_bytes = e->n_chunks * n_vectors * EN_STRIP_ROWS * sizeof *expected;
    draw_vectors(n_vectors, e->n_units * EN_UNIT_COLS, x);
    for (size_t i = 0; i < n_bytes / sizeof *expected; i++)
        before[i] = (int32_t)(draw() % 200000) - 100000;
    memcpy(expected, before, n_bytes);
    dot(ref, n_vectors, x, expected_states, expected);
    for (int i = 0; i < n_variants; i++) {
        int32_t *sums = place(SUMS, n_bytes);
        memcpy(sums, before, n_bytes);
        dot(&variants[i], n_vectors, x, states, sums);
        if (memcmp(sums, expected, n_bytes) != 0)
            fail_msg("%s: mode %d, %zu chunks, %zu units, %zu vectors: not the reference's sums",
                     variant_names[i], e->layout.mode, e->n_chunks, e->n_units, n_vectors);
        check_canary(sums);
        check_states(states, expected_states, e->n_chunks);
    }
}

enum { MAX_DECODED = MAX_UNITS * 2 * EN_UNIT_STEPS * EN_STRIP_LANES }; /* bytes of a chunk */

/* All chunks, in two calls of the kernel, to out + chunk * stride. */
static void decode(const en_kernels *k, uint8_t *out, size_t stride, en_strip_lanes *states)
{
    const example *e = &g_example;
    en_strip_mode mode = e->layout.mode;
    size_t first = e->n_units / 2;
    en_strip_lanes *at[EN_STRIP_MAX_CHUNKS];
    for (size_t c = 0; c < e->n_chunks; c++) {
        states[c] = e->start[c];
        at[c] = &states[c];
    }
    k->strip_decode(at, e->n_chunks, &e->table, mode, first, out, stride);
    k->strip_decode(at, e->n_chunks, &e->table, mode, e->n_units - first,
                    out + first * en_strip_unit_bytes(mode), stride);
}

/* Chunks lie a stride apart; what is between them must stay as it was. */
static void check_decode(void)
{
    static en_strip_lanes expected_states[EN_STRIP_MAX_CHUNKS], states[EN_STRIP_MAX_CHUNKS];
    static uint8_t expected[EN_STRIP_MAX_CHUNKS * (MAX_DECODED + TEST_CANARY)];
    const example *e = &g_example;
    size_t n_decoded = e->n_units * en_strip_unit_bytes(e->layout.mode);
    size_t stride = n_decoded + draw() % 2 * TEST_CANARY;
    size_t n_bytes = (e->n_chunks - 1) * stride + n_decoded;
    memset(expected, 0xA5, n_bytes); /* as place() fills */
    decode(ref, expected, stride, expected_states);
    for (int i = 0; i < n_variants; i++) {
        uint8_t *out = place(UNITS, n_bytes);
        decode(&variants[i], out, stride, states);
        if (memcmp(out, expected, n_bytes) != 0)
            fail_msg("%s: mode %d, %zu chunks, %zu units: not the reference's values",
                     variant_names[i], e->layout.mode, e->n_chunks, e->n_units);
        check_canary(out);
        check_states(states, expected_states, e->n_chunks);
    }
}

/* ---- tests --------------------------------------------------------------------------------------- */

static size_t draw_units(void)
{
    static const size_t some[] = {1, 2, 3, 7, 8, 9, 16, 17, 33, MAX_UNITS};
    return some[draw() % (sizeof some / sizeof *some)];
}

static void encoded_streams_equal_reference(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 0.4, 1, 2.5, 6, 15, 60};
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++)
        for (size_t n_chunks = 1; n_chunks <= EN_STRIP_MAX_CHUNKS; n_chunks++)
            for (size_t n_vectors = 1; n_vectors <= EN_STRIP_MAX_VECTORS; n_vectors++) {
                encoded_example(mode, n_chunks, draw_units(), sigmas[draw() % 7]);
                check_dot(n_vectors);
                check_decode();
            }
}

static void hostile_streams_equal_reference(void **state)
{
    (void)state;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++)
        for (size_t n_chunks = 1; n_chunks <= EN_STRIP_MAX_CHUNKS; n_chunks++)
            for (size_t n_vectors = 1; n_vectors <= EN_STRIP_MAX_VECTORS; n_vectors++) {
                hostile_example(mode, n_chunks, draw_units());
                check_dot(n_vectors);
                check_decode();
            }
}

static unsigned value_at(const uint8_t *units, bool wide, size_t row, size_t col)
{
    size_t lane = row * 4 + col % 4, second = col / 4 % 2;
    const uint8_t *step = units + col / EN_STEP_COLS * EN_STRIP_LANES * (wide ? 2 : 1);
    return wide ? step[second * EN_STRIP_LANES + lane] : step[lane] >> 4 * second & 15;
}

static void integers_come_back(void **state)
{
    (void)state;
    static const double sigmas[] = {0, 0.7, 2, 9, 40};
    static uint8_t units[MAX_DECODED];
    example *e = &g_example;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++)
        for (int s = 0; s < 5; s++) {
            encoded_example(mode, 2, 20, sigmas[s]);
            size_t n_cols = e->n_units * EN_UNIT_COLS;
            for (size_t c = 0; c < 2; c++) {
                en_strip_lanes lanes = e->start[c], *at = &lanes;
                ref->strip_decode(&at, 1, &e->table, mode, e->n_units, units, 0);
                assert_true(lanes.next == lanes.end);
                for (size_t i = 0; i < EN_STRIP_ROWS * n_cols; i++) {
                    unsigned v = value_at(units, en_strip_is_wide(mode), i / n_cols, i % n_cols);
                    assert_int_equal((int32_t)v + e->layout.base, e->z[c][i]);
                }
            }
        }
}

static void equal_integers_take_no_words(void **state)
{
    (void)state;
    for (en_strip_mode mode = 0; mode < EN_STRIP_MODE_COUNT; mode++) {
        encoded_example(mode, 1, 9, 0);
        assert_int_equal(g_example.table.length[0], 0);
        assert_true(g_example.start[0].next == g_example.start[0].end);
        check_dot(1);
        check_decode();
    }
}

static void check_units(unsigned bits, size_t n_units, size_t n_vectors)
{
    int32_t expected[MANY_VECTORS * EN_STRIP_ROWS], before[MANY_VECTORS * EN_STRIP_ROWS];
    const int8_t *x[MANY_VECTORS];
    size_t unit_bytes = en_unit_bytes(bits), n_bytes = n_vectors * EN_STRIP_ROWS * sizeof *expected;
    uint8_t *units = place_random(UNITS, n_units * unit_bytes);
    uint8_t most =
        (uint8_t)(255 >> (bits == 8 ? draw() % 8 : 0)); /* bytes that no value takes whole */
    for (size_t i = 0; i < n_units * unit_bytes; i++)
        units[i] &= most;
    if (draw() % 4 == 0)
        memset(units, most, n_units * unit_bytes); /* the largest sums */
    if (draw() % 2 == 0)
        draw_vectors(n_vectors, n_units * EN_UNIT_COLS, x);
    else
        draw_neighbours(n_vectors, n_units * EN_UNIT_COLS, x);
    for (size_t i = 0; i < n_vectors * EN_STRIP_ROWS; i++)
        before[i] = (int32_t)(draw() % 200000) - 100000;
    memcpy(expected, before, n_bytes);
    ref->unit_dot(units, bits, n_units, x, n_vectors, expected);
    for (int i = 0; i < n_variants; i++) {
        int32_t *sums = place(SUMS, n_bytes);
        memcpy(sums, before, n_bytes);
        variants[i].unit_dot(units, bits, n_units, x, n_vectors, sums);
        if (memcmp(sums, expected, n_bytes) != 0)
            fail_msg("%s: %u bits, %zu units, %zu vectors: not the reference's sums",
                     variant_names[i], bits, n_units, n_vectors);
        check_canary(sums);
    }
}

static void units_of_all_bits_equal_reference(void **state)
{
    (void)state;
    for (unsigned bits = 1; bits <= 8; bits++)
        for (size_t n_vectors = 1; n_vectors <= MANY_VECTORS; n_vectors++) {
            check_units(bits, 1, n_vectors);
            check_units(bits, draw_units(), n_vectors);
        }
}

/* The value of a lane in group j of a unit, from the drawing in entropy/strips.h. */
static unsigned drawn_value(const uint8_t *unit, unsigned bits, size_t j, size_t lane)
{
    unsigned value = 0, n_known = 0;
    for (size_t vector = 0, i = 0; i < 4; i++) {
        unsigned piece = 8u >> i;
        if ((bits & piece) == 0)
            continue;
        size_t at = piece == 8 ? j : piece == 4 ? j / 2 : piece == 2 ? j / 4 : 0;
        unsigned bit = (unsigned)(piece == 8   ? 0
                                  : piece == 4 ? j % 2 * 4
                                  : piece == 2 ? j % 4 * 2
                                               : j);
        value |= (unit[(vector + at) * EN_STRIP_LANES + lane] >> bit & ((1u << piece) - 1))
                 << n_known;
        vector += piece;
        n_known += piece;
    }
    return value;
}

static void units_become_bytes(void **state)
{
    (void)state;
    enum { GROUPS = EN_UNIT_COLS / 4 };
    for (unsigned bits = 1; bits <= 8; bits++)
        for (unsigned lift = 0; lift <= 256 - (1u << bits); lift += lift / 2 + 1) {
            size_t n_units = draw_units(), n_bytes = n_units * en_unit_bytes(8);
            const uint8_t *units = place_random(UNITS, n_units * en_unit_bytes(bits));
            for (int i = -1; i < n_variants; i++) {
                uint8_t *out = place(X, n_bytes);
                (i < 0 ? ref : &variants[i])->unit_expand(units, bits, n_units, lift, out);
                for (size_t k = 0; k < n_bytes; k++) {
                    size_t lane = k % EN_STRIP_LANES, group = k / EN_STRIP_LANES;
                    const uint8_t *unit = units + group / GROUPS * en_unit_bytes(bits);
                    assert_int_equal(out[k], lift + drawn_value(unit, bits, group % GROUPS, lane));
                }
                check_canary(out);
            }
        }
}

static void check_sums(int64_t base)
{
    int32_t *dots = (int32_t *)(void *)place_random(SUMS, 2 * EN_STRIP_ROWS * sizeof *dots);
    int64_t expected[EN_STRIP_ROWS];
    ref->strip_sums(dots, base, expected);
    assert_true(expected[3] == (int64_t)dots[3] * 128 + dots[EN_STRIP_ROWS + 3] + base);
    for (int i = 0; i < n_variants; i++) {
        int64_t *sums = (int64_t *)(void *)place(X, sizeof expected);
        variants[i].strip_sums(dots, base, sums);
        assert_memory_equal(sums, expected, sizeof expected);
        check_canary(sums);
    }
}

/* Sums of all sizes, also such as a double does not hold. */
static void check_outputs(double scale, double all)
{
    int64_t *sums = (int64_t *)(void *)place(SUMS, EN_STRIP_ROWS * sizeof *sums);
    float *steps = (float *)(void *)place(UNITS, EN_STRIP_ROWS * sizeof *steps);
    float *offsets = (float *)(void *)place(X, EN_STRIP_ROWS * sizeof *offsets);
    float expected[EN_STRIP_ROWS];
    for (size_t r = 0; r < EN_STRIP_ROWS; r++) {
        uint64_t bits = (uint64_t)draw() << 32 | draw();
        sums[r] = (int64_t)bits >> draw() % 63;
        steps[r] = (float)(draw() % 100000) * 0x1p-23f;
        offsets[r] = (float)((int32_t)draw() >> draw() % 31) * 0x1p-20f;
    }
    ref->strip_outputs(sums, steps, offsets, scale, all, expected);
    for (int i = 0; i < n_variants; i++) {
        float *out = (float *)(void *)place(X + 1, sizeof expected);
        variants[i].strip_outputs(sums, steps, offsets, scale, all, out);
        for (size_t r = 0; r < EN_STRIP_ROWS; r++) /* a NaN need not be the same NaN */
            assert_true(out[r] == expected[r] || (out[r] != out[r] && expected[r] != expected[r]));
        check_canary(out);
    }
}

static void sums_and_outputs_equal_reference(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        check_sums((int64_t)((uint64_t)draw() << 30) - ((int64_t)draw() << 29));
        check_outputs((double)draw() * 0x1p-40, (double)((int32_t)draw() >> draw() % 31));
    }
    check_outputs(0.0, 0.0);
    check_outputs((double)NAN, 1.0);
}

/* ---- set-up --------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    return test_kernels_open(N_REGIONS, REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_come_back),
        cmocka_unit_test(equal_integers_take_no_words),
        cmocka_unit_test(encoded_streams_equal_reference),
        cmocka_unit_test(hostile_streams_equal_reference),
        cmocka_unit_test(units_of_all_bits_equal_reference),
        cmocka_unit_test(units_become_bytes),
        cmocka_unit_test(sums_and_outputs_equal_reference),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
