/*
 * strips_avx512.c - coding 2 (entropy/strips.h) with a strip's 64 lanes in one register.
 *
 * Per two steps of one chunk (256 weights): refill (a masked move and an expand a half), one funnel
 * shift a half that gives every lane 16 valid bits, two look-ups of 7 bits in each.  The second
 * window is cut out of the 16 bits by a multishift at each lane's first length.
 *
 * Everything is inlined with constant mode, number of chunks and of vectors, so that lanes and sums
 * stay in registers.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/x86/units_avx512.h"

/* Bytes fetched ahead (measured on Zen 4, two threads from memory: 15 %; half of it with 1024). */
enum { AHEAD = 2048 };

enum { FUSED_VECTORS = 8 }; /* sums of more would not stay in registers */

typedef struct tables {
    __m512i symbol[2], length[2];
} tables;

INLINED tables load_tables(const en_pair_table *t)
{
    return (tables){{_mm512_load_si512(t->symbol), _mm512_load_si512(t->symbol + 64)},
                    {_mm512_load_si512(t->length), _mm512_load_si512(t->length + 64)}};
}

/* ---- lanes ------------------------------------------------------------------------------- */

typedef struct lanes {
    __m512i low[2], high[2], position;
    const uint8_t *next, *end, *raw;
} lanes;

INLINED lanes load_lanes(const en_strip_lanes *l)
{
    lanes r = {.next = l->next, .end = l->end, .raw = l->raw};
    for (int half = 0; half < 2; half++) {
        r.low[half] = _mm512_load_si512(l->low[half]);
        r.high[half] = _mm512_load_si512(l->high[half]);
    }
    r.position = _mm512_load_si512(l->position);
    return r;
}

INLINED void store_lanes(en_strip_lanes *l, const lanes *r)
{
    for (int half = 0; half < 2; half++) {
        _mm512_store_si512(l->low[half], r->low[half]);
        _mm512_store_si512(l->high[half], r->high[half]);
    }
    _mm512_store_si512(l->position, r->position);
    l->next = r->next;
    l->raw = r->raw;
}

INLINED void refill_half(lanes *l, int half, __mmask32 wants)
{
    __m512i words = _mm512_loadu_si512(l->next);
    __asm__("" : "+v"(words)); /* expanding from memory is slow on Zen 4 */
    l->low[half] = _mm512_mask_mov_epi16(l->low[half], wants, l->high[half]);
    l->high[half] = _mm512_mask_expand_epi16(l->high[half], wants, words);
    l->next += 2 * (size_t)_mm_popcnt_u32(wants);
    l->next = l->next < l->end ? l->next : l->end;
}

/* The next 16 bits of every lane; those of half 1 in words[1]. */
INLINED void refill(lanes *l, __m512i words[2])
{
    __mmask32 even = _mm512_test_epi16_mask(l->position, _mm512_set1_epi16(0x0010));
    __mmask32 odd = _mm512_test_epi16_mask(l->position, _mm512_set1_epi16(0x1000));
    refill_half(l, 0, even);
    refill_half(l, 1, odd);
    l->position = _mm512_and_si512(l->position, _mm512_set1_epi8(15));
    words[0] = _mm512_shrdv_epi16(l->low[0], l->high[0], l->position);
    words[1] = _mm512_shrdv_epi16(l->low[1], l->high[1], _mm512_srli_epi16(l->position, 8));
}

/* Looks up one symbol a lane; the table ignores the window's eighth bit. */
INLINED __m512i look_up(lanes *l, const tables *t, __m512i window, __m512i *length)
{
    *length = _mm512_permutex2var_epi8(t->length[0], window, t->length[1]);
    l->position = _mm512_add_epi8(l->position, *length);
    return _mm512_permutex2var_epi8(t->symbol[0], window, t->symbol[1]);
}

/* The symbols of two steps. */
INLINED void next_symbols(lanes *l, const tables *t, __m512i symbols[2])
{
    const __mmask64 odd = 0xAAAAAAAAAAAAAAAA;
    __m512i words[2], length, unused;
    refill(l, words);
    __m512i window = _mm512_mask_blend_epi8(odd, words[0], _mm512_slli_epi16(words[1], 8));
    symbols[0] = look_up(l, t, window, &length);
    __m512i at = _mm512_add_epi8(_mm512_set1_epi64(0x3030202010100000), length);
    window = _mm512_mask_blend_epi8(odd, _mm512_multishift_epi64_epi8(at, words[0]),
                                    _mm512_multishift_epi64_epi8(at, words[1]));
    symbols[1] = look_up(l, t, window, &unused);
}

INLINED void end_unit(lanes *l, en_strip_mode mode)
{
    l->raw += en_strip_raw_unit_bytes(mode);
    en_fetch(l->raw, AHEAD, en_strip_raw_unit_bytes(mode));
    en_fetch(l->next, AHEAD, 192); /* about what a unit takes */
}

/* ---- raw bits ---------------------------------------------------------------------------- */

/* N modes: the decoded byte, both values of it. */
INLINED __m512i narrow_values(__m512i symbols, const uint8_t *raw, en_strip_mode mode, int step)
{
    if (mode == EN_STRIP_N1)
        return select_bits(0x11, shift(raw_vector(raw, 0), -step), symbols);
    if (mode == EN_STRIP_N2)
        return select_bits(0x33, shift(raw_vector(raw, step / 2), -(step % 2) * 2), symbols);
    return symbols;
}

/* W modes: both nibbles' raw bits, below the high part. */
INLINED __m512i wide_raw(const uint8_t *raw, en_strip_mode mode, int step)
{
    if (mode == EN_STRIP_W1)
        return bits_at(raw_vector(raw, 0), 3 - step, 0x88);
    if (mode == EN_STRIP_W4)
        return raw_vector(raw, step);
    __m512i upper = bits_at(raw_vector(raw, step / 2), 2 - step % 2 * 2, 0xCC);
    if (mode == EN_STRIP_W2)
        return upper;
    return _mm512_or_si512(upper, bits_at(raw_vector(raw, 2), 1 - step, 0x22));
}

/*
 * The two factors of a step: v in a byte's upper bits, so that both can be added to the same sums,
 * which are shifted back at the end.  (Two sets of sums would not stay in registers beside three chunks.)
 */
INLINED void values_of(__m512i symbols, const uint8_t *raw, en_strip_mode mode, int step,
                       __m512i values[2])
{
    if (en_strip_is_wide(mode)) {
        __m512i bits = wide_raw(raw, mode, step);
        values[0] = select_bits(0xF0, _mm512_slli_epi16(symbols, 4), bits);
        values[1] = select_bits(0xF0, symbols, _mm512_srli_epi16(bits, 4));
    } else {
        __m512i both = narrow_values(symbols, raw, mode, step);
        values[0] = _mm512_and_si512(_mm512_slli_epi16(both, 4), _mm512_set1_epi8((char)0xF0));
        values[1] = _mm512_and_si512(both, _mm512_set1_epi8((char)0xF0));
    }
}

/* ---- products ---------------------------------------------------------------------------- */

INLINED void add_sums(int32_t *sums, __m512i shifted, en_strip_mode mode)
{
    __m512i all = _mm512_srai_epi32(shifted, 8 - en_strip_value_bits(mode));
    _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), all));
}

INLINED void dot(en_strip_lanes *const *states, int n_chunks, const en_pair_table *table,
                 en_strip_mode mode, size_t n_units, const int8_t *const *x, int n_vectors,
                 int32_t *sums)
{
    tables t = load_tables(table);
    lanes l[EN_STRIP_MAX_CHUNKS];
    __m512i shifted[EN_STRIP_MAX_CHUNKS][FUSED_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < n_chunks; i++) {
        l[i] = load_lanes(states[i]);
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++)
            shifted[i][v] = _mm512_setzero_si512();
    }
    for (size_t unit = 0; unit < n_units; unit++) {
        size_t col = unit * EN_UNIT_COLS;
#pragma GCC unroll 2
        for (int step = 0; step < EN_UNIT_STEPS; step += 2) {
#pragma GCC unroll 4
            for (int i = 0; i < n_chunks; i++) {
                __m512i symbols[2], values[2];
                next_symbols(&l[i], &t, symbols);
#pragma GCC unroll 2
                for (int u = 0; u < 2; u++) {
                    values_of(symbols[u], l[i].raw, mode, step + u, values);
#pragma GCC unroll 8
                    for (int v = 0; v < n_vectors; v++) {
                        const int8_t *at = x[v] + col + (size_t)(step + u) * EN_STEP_COLS;
                        shifted[i][v] = _mm512_dpbusd_epi32(shifted[i][v], values[0], four(at));
                        shifted[i][v] = _mm512_dpbusd_epi32(shifted[i][v], values[1], four(at + 4));
                    }
                }
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < n_chunks; i++)
            end_unit(&l[i], mode);
    }
#pragma GCC unroll 4
    for (int i = 0; i < n_chunks; i++) {
        store_lanes(states[i], &l[i]);
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++)
            add_sums(sums + (i * n_vectors + v) * EN_STRIP_ROWS, shifted[i][v], mode);
    }
}

/* One function for each mode, so that the compiler sees a constant. */
#define FOR_MODES(DO) DO(N0) DO(N1) DO(N2) DO(W1) DO(W2) DO(W3) DO(W4)

typedef void dot_fn(en_strip_lanes *const *states, const en_pair_table *table, size_t n_units,
                    const int8_t *const *x, int32_t *sums);

#define DEFINE_DOT(MODE, CHUNKS, VECTORS)                                                          \
    static void dot_##MODE##_##CHUNKS##_##VECTORS(en_strip_lanes *const *states,                   \
                                                  const en_pair_table *table, size_t n_units,      \
                                                  const int8_t *const *x, int32_t *sums)           \
    {                                                                                              \
        dot(states, CHUNKS, table, EN_STRIP_##MODE, n_units, x, VECTORS, sums);                    \
    }
#define DEFINE_DOTS(MODE)                                                                          \
    DEFINE_DOT(MODE, 1, 1)                                                                         \
    DEFINE_DOT(MODE, 2, 1)                                                                         \
    DEFINE_DOT(MODE, 3, 1)                                                                         \
    DEFINE_DOT(MODE, 4, 1)                                                                         \
    DEFINE_DOT(MODE, 1, 2)                                                                         \
    DEFINE_DOT(MODE, 2, 2)                                                                         \
    DEFINE_DOT(MODE, 3, 2)                                                                         \
    DEFINE_DOT(MODE, 1, 4)                                                                         \
    DEFINE_DOT(MODE, 2, 4)                                                                         \
    DEFINE_DOT(MODE, 1, 8)
FOR_MODES(DEFINE_DOTS)

#define DOT_ROW(CHUNKS, VECTORS)                                                                   \
    {                                                                                              \
        dot_N0_##CHUNKS##_##VECTORS, dot_N1_##CHUNKS##_##VECTORS, dot_N2_##CHUNKS##_##VECTORS,     \
            dot_W1_##CHUNKS##_##VECTORS, dot_W2_##CHUNKS##_##VECTORS, dot_W3_##CHUNKS##_##VECTORS, \
            dot_W4_##CHUNKS##_##VECTORS                                                            \
    }

typedef struct variant {
    size_t n_chunks, n_vectors;
    dot_fn *by_mode[EN_STRIP_MODE_COUNT];
} variant;

/* Largest first. */
static const variant variants[] = {
    {4, 1, DOT_ROW(4, 1)}, {3, 1, DOT_ROW(3, 1)}, {2, 1, DOT_ROW(2, 1)}, {1, 1, DOT_ROW(1, 1)},
    {3, 2, DOT_ROW(3, 2)}, {2, 2, DOT_ROW(2, 2)}, {1, 2, DOT_ROW(1, 2)}, {2, 4, DOT_ROW(2, 4)},
    {1, 4, DOT_ROW(1, 4)}, {1, 8, DOT_ROW(1, 8)},
};

/* The next size for which there is a variant. */
static size_t round_up(size_t n_vectors)
{
    return n_vectors <= 2 ? n_vectors : n_vectors <= 4 ? 4 : 8;
}

static const variant *find(size_t n_chunks, size_t n_vectors)
{
    const variant *v = variants;
    while (v->n_vectors != n_vectors || v->n_chunks > n_chunks)
        v++;
    return v;
}

static void dot_few(en_strip_lanes *const *states, size_t n_chunks, const en_pair_table *table,
                    en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                    int32_t *sums)
{
    size_t n = round_up(n_vectors);
    const int8_t *padded[FUSED_VECTORS];
    int32_t more[FUSED_VECTORS * EN_STRIP_ROWS];
    for (size_t v = 0; v < n; v++)
        padded[v] = x[v < n_vectors ? v : 0];
    for (size_t done = 0; done < n_chunks;) {
        const variant *best = find(n == n_vectors ? n_chunks - done : 1, n);
        int32_t *to = sums + done * n_vectors * EN_STRIP_ROWS;
        if (n == n_vectors) {
            best->by_mode[mode](states + done, table, n_units, padded, to);
        } else { /* one chunk at a time */
            memset(more, 0, sizeof more);
            memcpy(more, to, n_vectors * EN_STRIP_ROWS * sizeof *to);
            best->by_mode[mode](states + done, table, n_units, padded, more);
            memcpy(to, more, n_vectors * EN_STRIP_ROWS * sizeof *to);
        }
        done += best->n_chunks;
    }
}

/* ---- decoding ---------------------------------------------------------------------------- */

/* The values of a step; returns where those of the next one go. */
INLINED uint8_t *store_values(__m512i symbols, const uint8_t *raw, en_strip_mode mode, int step,
                              uint8_t *out)
{
    if (!en_strip_is_wide(mode)) {
        _mm512_storeu_si512(out, narrow_values(symbols, raw, mode, step));
        return out + EN_STRIP_LANES;
    }
    /* the other byte's bits that a shift of words brings in are masked away */
    int down = 8 - (int)en_strip_value_bits(mode), mask = 0xFF >> down;
    __m512i values[2];
    values_of(symbols, raw, mode, step, values);
    _mm512_storeu_si512(out, bits_at(values[0], -down, mask));
    _mm512_storeu_si512(out + EN_STRIP_LANES, bits_at(values[1], -down, mask));
    return out + 2 * EN_STRIP_LANES;
}

INLINED void decode(en_strip_lanes *const *states, int n_chunks, const en_pair_table *table,
                    en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride)
{
    tables t = load_tables(table);
    lanes l[EN_STRIP_MAX_CHUNKS];
#pragma GCC unroll 4
    for (int i = 0; i < n_chunks; i++)
        l[i] = load_lanes(states[i]);
    for (size_t unit = 0; unit < n_units; unit++, out += en_strip_unit_bytes(mode)) {
#pragma GCC unroll 2
        for (int step = 0; step < EN_UNIT_STEPS; step += 2) {
#pragma GCC unroll 4
            for (int i = 0; i < n_chunks; i++) {
                __m512i symbols[2];
                uint8_t *to = out + (size_t)i * stride;
                to += (size_t)step * (en_strip_unit_bytes(mode) / EN_UNIT_STEPS);
                next_symbols(&l[i], &t, symbols);
                to = store_values(symbols[0], l[i].raw, mode, step, to);
                store_values(symbols[1], l[i].raw, mode, step + 1, to);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < n_chunks; i++)
            end_unit(&l[i], mode);
    }
#pragma GCC unroll 4
    for (int i = 0; i < n_chunks; i++)
        store_lanes(states[i], &l[i]);
}

typedef void decode_fn(en_strip_lanes *const *states, const en_pair_table *table, size_t n_units,
                       uint8_t *out, size_t stride);

#define DEFINE_DECODE(MODE, CHUNKS)                                                                \
    static void decode_##MODE##_##CHUNKS(en_strip_lanes *const *states,                            \
                                         const en_pair_table *table, size_t n_units, uint8_t *out, \
                                         size_t stride)                                            \
    {                                                                                              \
        decode(states, CHUNKS, table, EN_STRIP_##MODE, n_units, out, stride);                      \
    }
#define DEFINE_DECODES(MODE)                                                                       \
    DEFINE_DECODE(MODE, 1)                                                                         \
    DEFINE_DECODE(MODE, 2)                                                                         \
    DEFINE_DECODE(MODE, 3)                                                                         \
    DEFINE_DECODE(MODE, 4)
FOR_MODES(DEFINE_DECODES)

#define DECODE_ROW(MODE)                                                                           \
    {decode_##MODE##_1, decode_##MODE##_2, decode_##MODE##_3, decode_##MODE##_4},
static decode_fn *const decodes[EN_STRIP_MODE_COUNT][EN_STRIP_MAX_CHUNKS] = {FOR_MODES(DECODE_ROW)};

static void strip_decode(en_strip_lanes *const *states, size_t n_chunks, const en_pair_table *table,
                         en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride)
{
    decodes[mode][n_chunks - 1](states, table, n_units, out, stride);
}

/* ---- all of it ---------------------------------------------------------------------------- */

/* Many vectors: decoded first, some units at a time. */
static void dot_many(en_strip_lanes *state, const en_pair_table *table, en_strip_mode mode,
                     size_t n_units, const int8_t *const *x, size_t n_vectors, int32_t *sums)
{
    enum { UNITS = 16 };
    _Alignas(64) uint8_t units[UNITS * EN_UNIT_STEPS * 2 * EN_STRIP_LANES];
    const int8_t *at[EN_STRIP_MAX_VECTORS];
    for (size_t done = 0; done < n_units; done += UNITS) {
        size_t n = n_units - done < UNITS ? n_units - done : UNITS;
        for (size_t v = 0; v < n_vectors; v++)
            at[v] = x[v] + done * EN_UNIT_COLS;
        strip_decode(&state, 1, table, mode, n, units, 0);
        en_units_avx512_dot(units, en_strip_decoded_bits(mode), n, at, n_vectors, sums);
    }
}

static void strip_dot(en_strip_lanes *const *states, size_t n_chunks, const en_pair_table *table,
                      en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                      int32_t *sums)
{
    if (n_vectors <= FUSED_VECTORS) {
        dot_few(states, n_chunks, table, mode, n_units, x, n_vectors, sums);
        return;
    }
    for (size_t c = 0; c < n_chunks; c++, sums += n_vectors * EN_STRIP_ROWS)
        dot_many(states[c], table, mode, n_units, x, n_vectors, sums);
}

void en_kernels_init_strips_avx512(en_kernels *table)
{
    table->strip_dot = strip_dot;
    table->strip_decode = strip_decode;
}
