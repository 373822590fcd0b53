/*
 * strips_avx2.c - coding 2 (entropy/strips.h) with a strip's 64 lanes in two registers.
 *
 * Two passes over blocks that stay in the first-level cache, so that neither runs out of registers:
 *   1. lanes -> symbols, 64 bytes a step; the same for all modes
 *   2. symbols and raw bits -> values, or -> products
 *
 * AVX2 looks up 16 entries at once, and shifts no words by a number of each word's own:
 *   symbol   eight look-ups.  Row i of the table is kept as row i ^ row i - 1 and looked up at
 *            window - 16 i, which gives 0 where that is negative; the rest cancels to the row wanted.
 *   length   the first four bits of a code say it but for 0, 1 or 2 bits; how many is a matter of
 *            two thresholds of the last three bits, first bit highest (codes are canonical).
 *   shift    a multiplication by a power of two.
 */
#include "kernels/x86/units_avx2.h"

enum {
    BLOCK_UNITS = 8,
    BLOCK_BYTES = BLOCK_UNITS * EN_UNIT_STEPS * EN_STRIP_LANES,
    N_ROWS = EN_PAIR_ENTRIES / 16
};

/* ---- tables ------------------------------------------------------------------------------ */

typedef struct tables {
    __m256i symbol[N_ROWS];
    __m256i least, one_more, two_more; /* by the window's low nibble */
} tables;

INLINED __m128i row_of(const uint8_t *table, unsigned row)
{
    return _mm_load_si128((const __m128i *)(table + 16 * row));
}

static void load_tables(tables *t, const en_pair_table *from)
{
    static const unsigned reversed[N_ROWS] = {0, 4, 2, 6, 1, 5, 3, 7};
    __m128i before = _mm_setzero_si128(), least = row_of(from->length, 0);
    __m128i one = _mm_set1_epi8(-1), two = _mm_set1_epi8(-1);
    for (unsigned i = 0; i < N_ROWS; i++) {
        __m128i row = row_of(from->symbol, i), length = row_of(from->length, reversed[i]);
        t->symbol[i] = _mm256_broadcastsi128_si256(_mm_xor_si128(row, before));
        before = row;
        __m128i more = _mm_sub_epi8(length, least);
        one = _mm_sub_epi8(one, _mm_cmpgt_epi8(_mm_set1_epi8(1), more));
        two = _mm_sub_epi8(two, _mm_cmpgt_epi8(_mm_set1_epi8(2), more));
    }
    t->least = _mm256_broadcastsi128_si256(least);
    t->one_more = _mm256_broadcastsi128_si256(one);
    t->two_more = _mm256_broadcastsi128_si256(two);
}

INLINED __m256i set_rows(__m128i row)
{
    return _mm256_broadcastsi128_si256(row);
}

/* Keeps the order of a chain: reassociated, it would need more registers than there are. */
INLINED void in_order(__m256i *v)
{
    __asm__("" : "+x"(*v));
}

/* Replaces the windows, 7 bits in each byte, of two steps by their symbols. */
INLINED void look_up(const tables *t, uint8_t *steps)
{
    __m256i at[4], symbols[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        at[j] = load(steps + j * REGISTER_BYTES);
        symbols[j] = _mm256_shuffle_epi8(t->symbol[0], at[j]);
    }
#pragma GCC unroll 8
    for (int i = 1; i < N_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            at[j] = _mm256_sub_epi8(at[j], _mm256_set1_epi8(16));
            in_order(&at[j]);
            symbols[j] = _mm256_xor_si256(symbols[j], _mm256_shuffle_epi8(t->symbol[i], at[j]));
            in_order(&symbols[j]);
        }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        store(steps + j * REGISTER_BYTES, symbols[j]);
}

INLINED __m256i lengths_of(const tables *t, __m256i window)
{
    const __m256i reverse = set_rows(_mm_setr_epi8(0, 4, 2, 6, 1, 5, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0));
    __m256i last = _mm256_and_si256(_mm256_srli_epi16(window, 4), _mm256_set1_epi8(7));
    last = _mm256_shuffle_epi8(reverse, last);
    __m256i one = _mm256_cmpgt_epi8(last, _mm256_shuffle_epi8(t->one_more, window));
    __m256i two = _mm256_cmpgt_epi8(last, _mm256_shuffle_epi8(t->two_more, window));
    __m256i length = _mm256_shuffle_epi8(t->least, window);
    return _mm256_sub_epi8(_mm256_sub_epi8(length, one), two);
}

/* ---- expanding --------------------------------------------------------------------------- */

/* Row m: bytes that put the first words of a vector where m has ones, and zeros elsewhere. */
#define BYTE(m, i, b)                                                                              \
    ((m) >> (i)&1 ? 2 * __builtin_popcount((unsigned)(m) & ((1u << (i)) - 1)) + (b) : 0x80)
#define WORD(m, i) BYTE(m, i, 0), BYTE(m, i, 1)
#define ROW(m)                                                                                     \
    {                                                                                              \
        WORD(m, 0), WORD(m, 1), WORD(m, 2), WORD(m, 3), WORD(m, 4), WORD(m, 5), WORD(m, 6),        \
            WORD(m, 7)                                                                             \
    }
#define ROWS_4(m)  ROW(m), ROW((m) + 1), ROW((m) + 2), ROW((m) + 3)
#define ROWS_16(m) ROWS_4(m), ROWS_4((m) + 4), ROWS_4((m) + 8), ROWS_4((m) + 12)
#define ROWS_64(m) ROWS_16(m), ROWS_16((m) + 16), ROWS_16((m) + 32), ROWS_16((m) + 48)

static const _Alignas(64) uint8_t spread[256][16] = {ROWS_64(0), ROWS_64(64), ROWS_64(128),
                                                     ROWS_64(192)};

INLINED __m256i join(const void *low, const void *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                   _mm_loadu_si128(high), 1);
}

/* m << 4 or so: the mask of eight lanes in bits 4 to 11. */
INLINED const void *spread_row(unsigned m)
{
    return (const uint8_t *)spread + (m & 0xff0);
}

INLINED size_t count_ones(unsigned m)
{
    return (size_t)_mm_popcnt_u64(m);
}

/* ---- lanes ------------------------------------------------------------------------------- */

/* Register k has words 16 k to 16 k + 15 of a half, and positions of lanes 32 k to 32 k + 31. */
typedef struct lanes {
    __m256i low[2][2], high[2][2], position[2]; /* [half][k], [k] */
    const uint8_t *next, *end;
} lanes;

INLINED void load_lanes(lanes *r, const en_strip_lanes *l)
{
    memcpy(r->low, l->low, sizeof r->low);
    memcpy(r->high, l->high, sizeof r->high);
    memcpy(r->position, l->position, sizeof r->position);
    r->next = l->next;
    r->end = l->end;
}

INLINED void store_lanes(en_strip_lanes *l, const lanes *r)
{
    memcpy(l->low, r->low, sizeof l->low);
    memcpy(l->high, r->high, sizeof l->high);
    memcpy(l->position, r->position, sizeof l->position);
    l->next = r->next;
}

/* The position of each lane of a half in both bytes of its word. */
INLINED __m256i twice(__m256i bytes, int half)
{
    const __m128i even = _mm_setr_epi8(0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14);
    __m128i which = half == 0 ? even : _mm_or_si128(even, _mm_set1_epi8(1));
    return _mm256_shuffle_epi8(bytes, set_rows(which));
}

/* 2^(16 - position), of 16 lanes of a half; 0 for position 0. */
INLINED __m256i factors(__m256i position, int half)
{
    const __m256i power =
        set_rows(_mm_setr_epi8(0, -128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0));
    /* the low byte is looked up at position - 8, the high byte at position */
    return _mm256_shuffle_epi8(power,
                               _mm256_add_epi8(twice(position, half), _mm256_set1_epi16(0x00F8)));
}

/* Gives 'more' to the lanes that want it; returns the next 16 bits of all: the middle ones of 32, low
 * and high, times the factor. */
INLINED __m256i take(lanes *l, int half, int k, __m256i wants, __m256i more, __m256i factor)
{
    __m256i low = _mm256_blendv_epi8(l->low[half][k], l->high[half][k], wants);
    __m256i high = _mm256_blendv_epi8(l->high[half][k], more, wants);
    l->low[half][k] = low;
    l->high[half][k] = high;
    __m256i at_start = _mm256_cmpeq_epi16(factor, _mm256_setzero_si256());
    low = _mm256_blendv_epi8(_mm256_mulhi_epu16(low, factor), low, at_start);
    return _mm256_or_si256(low, _mm256_mullo_epi16(high, factor));
}

/* m: bytes for k = 0 low, k = 1 low, k = 0 high, k = 1 high */
INLINED const uint8_t *refill_half(lanes *l, int half, const uint8_t *next, unsigned m,
                                   const __m256i wants[2], const __m256i position[2],
                                   __m256i words[2])
{
    __m256i first = join(next, next + 2 * count_ones(m & 0xff));
    __m256i second = join(next + 2 * count_ones(m & 0xff00ff), next + 2 * count_ones(m & 0xffffff));
    first = _mm256_shuffle_epi8(first, join(spread_row(m << 4), spread_row(m >> 12)));
    second = _mm256_shuffle_epi8(second, join(spread_row(m >> 4), spread_row(m >> 20)));
    words[0] = take(l, half, 0, wants[0], first, factors(position[0], half));
    words[1] = take(l, half, 1, wants[1], second, factors(position[1], half));
    next += 2 * count_ones(m);
    return next < l->end ? next : l->end;
}

/* words[half][k]: the next 16 bits of every lane. */
INLINED const uint8_t *refill(lanes *l, const uint8_t *next, __m256i position[2],
                              __m256i words[2][2])
{
    __m256i over[2], wants[2][2];
    unsigned m[2];
    for (int k = 0; k < 2; k++) {
        over[k] = _mm256_cmpgt_epi8(position[k], _mm256_set1_epi8(15));
        position[k] = _mm256_and_si256(position[k], _mm256_set1_epi8(15));
    }
    for (int half = 0; half < 2; half++) {
        for (int k = 0; k < 2; k++) {
            wants[half][k] = twice(over[k], half);
            in_order(&wants[half][k]);
        }
        m[half] =
            (unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(wants[half][0], wants[half][1]));
    }
    next = refill_half(l, 0, next, m[0], wants[0], position, words[0]);
    return refill_half(l, 1, next, m[1], wants[1], position, words[1]);
}

/* Even bytes of a, odd bytes of b, 7 bits of each. */
INLINED __m256i windows(__m256i a, __m256i b)
{
    return _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi16(0x007F)),
                           _mm256_and_si256(b, _mm256_set1_epi16(0x7F00)));
}

/* The windows of two steps of 32 lanes; returns the bits they take. */
INLINED __m256i next_windows(const tables *t, __m256i even, __m256i odd, uint8_t *out)
{
    /* a code of no bits is the only one: whatever its second window, the symbol is the same */
    const __m256i power =
        set_rows(_mm_setr_epi8(0, -128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0));
    __m256i window = windows(even, _mm256_slli_epi16(odd, 8));
    store(out, window);
    __m256i length = lengths_of(t, window);
    __m256i factor = _mm256_shuffle_epi8(power, length); /* 2^(8 - length) */
    window = windows(_mm256_mulhi_epu16(even, _mm256_slli_epi16(factor, 8)),
                     _mm256_mullo_epi16(odd, _mm256_srli_epi16(factor, 8)));
    store(out + EN_STRIP_LANES, window);
    return _mm256_add_epi8(length, lengths_of(t, window));
}

/* Symbols are looked up two steps late: that fills the time in which lanes wait for their words. */
INLINED void decode_chunks(lanes *l, int n_chunks, const tables *t, size_t n_units, uint8_t *out,
                           size_t stride)
{
    enum { TWO_STEPS = 2 * EN_STRIP_LANES };
    __m256i position[2][2], words[2][2];
    const uint8_t *next[2];
#pragma GCC unroll 2
    for (int c = 0; c < n_chunks; c++) {
        position[c][0] = l[c].position[0];
        position[c][1] = l[c].position[1];
        next[c] = l[c].next;
    }
    for (size_t i = 0; i < 2 * n_units; i++, out += TWO_STEPS)
#pragma GCC unroll 2
        for (int c = 0; c < n_chunks; c++) {
            uint8_t *to = out + (size_t)c * stride;
            next[c] = refill(&l[c], next[c], position[c], words);
            if (i > 0)
                look_up(t, to - TWO_STEPS);
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++)
                position[c][k] =
                    _mm256_add_epi8(position[c][k], next_windows(t, words[0][k], words[1][k],
                                                                 to + k * REGISTER_BYTES));
        }
#pragma GCC unroll 2
    for (int c = 0; c < n_chunks; c++) {
        if (n_units > 0)
            look_up(t, out + (size_t)c * stride - TWO_STEPS);
        l[c].position[0] = position[c][0];
        l[c].position[1] = position[c][1];
        l[c].next = next[c];
    }
}

static void decode_symbols(lanes *state, const tables *t, size_t n_units, uint8_t *out)
{
    decode_chunks(state, 1, t, n_units, out, 0);
}

static void decode_symbols_2(lanes *state, const tables *t, size_t n_units, uint8_t *out,
                             size_t stride)
{
    decode_chunks(state, 2, t, n_units, out, stride);
}

/* ---- raw bits ---------------------------------------------------------------------------- */

/* Shifted to the right by n, or to the left by -n, less what the mask lacks. */
INLINED __m256i bits_at(const uint8_t *p, int n, int mask)
{
    __m256i v = n > 0 ? _mm256_srli_epi16(load(p), n) : _mm256_slli_epi16(load(p), -n);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* The raw bits of a step, at the bottom of both nibbles.  raw: the unit's, of the register's lanes. */
INLINED __m256i raw_of(const uint8_t *raw, en_strip_mode mode, int step)
{
    unsigned n = en_strip_raw_bits(mode);
    if (n == 1)
        return bits_at(raw, step, 0x11);
    if (n == 4)
        return load(raw + step * EN_STRIP_LANES);
    __m256i upper =
        bits_at(raw + step / 2 * EN_STRIP_LANES, step % 2 * 2 - (n == 3), n == 3 ? 0x66 : 0x33);
    return n == 2 ? upper : _mm256_or_si256(upper, bits_at(raw + 2 * EN_STRIP_LANES, step, 0x11));
}

/* N modes: the decoded byte, both values of it. */
INLINED __m256i narrow_values(const uint8_t *symbols, const uint8_t *raw, en_strip_mode mode,
                              int step)
{
    __m256i v = load(symbols + step * EN_STRIP_LANES);
    if (mode == EN_STRIP_N0)
        return v;
    int mask = mode == EN_STRIP_N1 ? 0xEE : 0xCC;
    return _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi8((char)mask)),
                           raw_of(raw, mode, step));
}

/* ---- products ---------------------------------------------------------------------------- */

/* Two steps' factors, of both registers: 4 columns of 8 rows each. */
typedef struct two_steps {
    __m256i of[2][4]; /* [k] */
} two_steps;

/*
 * sums[2 vector + k] += scale * factors . x.  Two products of factors of 7 bits fit 16 bits, four of 6,
 * eight of 5.
 */
INLINED void add_products(const two_steps *f, unsigned bits, int scale, const int8_t *const *x,
                          size_t col, size_t n_vectors, __m256i *sums)
{
    const __m256i times = _mm256_set1_epi16((short)scale);
    for (size_t v = 0; v < n_vectors; v++) {
        const int8_t *at = x[v] + col;
        __m256i columns[4] = {four(at), four(at + 4), four(at + 8), four(at + 12)};
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            __m256i products[4], all;
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                products[i] = _mm256_maddubs_epi16(f->of[k][i], columns[i]);
            if (bits < 7) {
                products[0] = _mm256_add_epi16(products[0], products[2]);
                products[1] = _mm256_add_epi16(products[1], products[3]);
            }
            if (bits < 6) {
                all = _mm256_madd_epi16(_mm256_add_epi16(products[0], products[1]), times);
            } else {
                all = _mm256_add_epi32(_mm256_madd_epi16(products[0], times),
                                       _mm256_madd_epi16(products[1], times));
                if (bits == 7)
                    all = _mm256_add_epi32(all,
                                           _mm256_add_epi32(_mm256_madd_epi16(products[2], times),
                                                            _mm256_madd_epi16(products[3], times)));
            }
            sums[2 * v + (size_t)k] = _mm256_add_epi32(sums[2 * v + (size_t)k], all);
        }
    }
}

INLINED void set_nibbles(two_steps *n, int k, int step, __m256i packed)
{
    n->of[k][2 * step] = low_nibbles(packed);
    n->of[k][2 * step + 1] = high_nibbles(packed);
}

static void add_to(int32_t *sums, const __m256i *more, size_t n_vectors)
{
    for (size_t i = 0; i < 2 * n_vectors; i++, sums += 8) {
        __m256i before = _mm256_loadu_si256((const __m256i *)sums);
        _mm256_storeu_si256((__m256i *)sums, _mm256_add_epi32(before, more[i]));
    }
}

/* High parts and raw bits of a step, put together as bytes: modes of at most 7 bits. */
INLINED void set_wide(two_steps *f, int k, int step, __m256i high, __m256i raw, unsigned n_raw)
{
    __m256i mask = _mm256_set1_epi8((char)(15 << n_raw)),
            upper = _mm256_slli_epi16(high, (int)n_raw);
    f->of[k][2 * step] = _mm256_or_si256(_mm256_and_si256(upper, mask), low_nibbles(raw));
    upper = _mm256_srli_epi16(high, (int)(4 - n_raw));
    f->of[k][2 * step + 1] = _mm256_or_si256(_mm256_and_si256(upper, mask), high_nibbles(raw));
}

/* Two steps of symbols and raw bits. */
INLINED void dot_symbols(const uint8_t *symbols, const uint8_t *raw, en_strip_mode mode, int step,
                         const int8_t *const *x, size_t col, size_t n_vectors, __m256i *sums)
{
    unsigned n_raw = en_strip_raw_bits(mode);
    two_steps f;
    col += (size_t)step * EN_STEP_COLS;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        int k = i / 2, at = k * REGISTER_BYTES, s = step + i % 2;
        const uint8_t *symbol = symbols + at + s * EN_STRIP_LANES;
        if (!en_strip_is_wide(mode))
            set_nibbles(&f, k, i % 2, narrow_values(symbols + at, raw + at, mode, s));
        else if (mode == EN_STRIP_W4)
            set_nibbles(&f, k, i % 2, load(symbol));
        else
            set_wide(&f, k, i % 2, load(symbol), raw_of(raw + at, mode, s), n_raw);
    }
    if (mode != EN_STRIP_W4) {
        add_products(&f, en_strip_value_bits(mode), 1, x, col, n_vectors, sums);
        return;
    }
    add_products(&f, 4, 16, x, col, n_vectors, sums); /* products of 8 bits would not fit 16 */
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        set_nibbles(&f, i / 2, i % 2, raw_of(raw + i / 2 * REGISTER_BYTES, mode, step + i % 2));
    add_products(&f, 4, 1, x, col, n_vectors, sums);
}

INLINED void dot_block(const uint8_t *symbols, const uint8_t *raw, en_strip_mode mode,
                       size_t n_units, const int8_t *const *x, size_t col, size_t n_vectors,
                       __m256i *sums)
{
    for (size_t unit = 0; unit < n_units; unit++, col += EN_UNIT_COLS) {
        dot_symbols(symbols, raw, mode, 0, x, col, n_vectors, sums);
        dot_symbols(symbols, raw, mode, 2, x, col, n_vectors, sums);
        symbols += EN_STRIP_LANES * EN_UNIT_STEPS;
        raw += en_strip_raw_unit_bytes(mode);
    }
}

/* One function for each mode, so that the compiler sees a constant; one vector and two, a token's, apart. */
#define FOR_MODES(DO) DO(N0) DO(N1) DO(N2) DO(W1) DO(W2) DO(W3) DO(W4)

#define DEFINE_DOT(MODE)                                                                           \
    static void dot_##MODE(const uint8_t *symbols, const uint8_t *raw, size_t n_units,             \
                           const int8_t *const *x, size_t col, size_t n_vectors, __m256i *sums)    \
    {                                                                                              \
        if (n_vectors == 1)                                                                        \
            dot_block(symbols, raw, EN_STRIP_##MODE, n_units, x, col, 1, sums);                    \
        else if (n_vectors == 2)                                                                   \
            dot_block(symbols, raw, EN_STRIP_##MODE, n_units, x, col, 2, sums);                    \
        else                                                                                       \
            dot_block(symbols, raw, EN_STRIP_##MODE, n_units, x, col, n_vectors, sums);            \
    }
FOR_MODES(DEFINE_DOT)

typedef void dot_fn(const uint8_t *symbols, const uint8_t *raw, size_t n_units,
                    const int8_t *const *x, size_t col, size_t n_vectors, __m256i *sums);
static dot_fn *const dots[EN_STRIP_MODE_COUNT] = {dot_N0, dot_N1, dot_N2, dot_W1,
                                                  dot_W2, dot_W3, dot_W4};

/* One or two chunks: two hide each other's latencies. */
static void dot_chunks(en_strip_lanes *const *states, size_t n_chunks, const tables *t,
                       en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                       int32_t *sums)
{
    _Alignas(64) uint8_t symbols[2 * BLOCK_BYTES];
    __m256i more[2][2 * EN_STRIP_MAX_VECTORS];
    lanes l[2];
    for (size_t c = 0; c < n_chunks; c++) {
        load_lanes(&l[c], states[c]);
        memset(more[c], 0, 2 * n_vectors * sizeof more[c][0]);
    }
    for (size_t done = 0, n; done < n_units; done += n) {
        n = smaller(n_units - done, BLOCK_UNITS);
        if (n_chunks == 2)
            decode_symbols_2(l, t, n, symbols, BLOCK_BYTES);
        else
            decode_symbols(l, t, n, symbols);
        for (size_t c = 0; c < n_chunks; c++) {
            dots[mode](symbols + c * BLOCK_BYTES, states[c]->raw, n, x, done * EN_UNIT_COLS,
                       n_vectors, more[c]);
            states[c]->raw += n * en_strip_raw_unit_bytes(mode);
        }
    }
    for (size_t c = 0; c < n_chunks; c++) {
        store_lanes(states[c], &l[c]);
        add_to(sums + c * n_vectors * EN_STRIP_ROWS, more[c], n_vectors);
    }
}

static void strip_dot(en_strip_lanes *const *states, size_t n_chunks, const en_pair_table *table,
                      en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                      int32_t *sums)
{
    tables t;
    load_tables(&t, table);
    for (size_t c = 0, n; c < n_chunks; c += n) {
        n = smaller(n_chunks - c, 2);
        dot_chunks(states + c, n, &t, mode, n_units, x, n_vectors,
                   sums + c * n_vectors * EN_STRIP_ROWS);
    }
}

/* ---- decoding ---------------------------------------------------------------------------- */

/* One step of 32 lanes. */
INLINED void store_values(const uint8_t *symbols, const uint8_t *raw, en_strip_mode mode, int step,
                          uint8_t *out)
{
    if (!en_strip_is_wide(mode)) {
        store(out + step * EN_STRIP_LANES, narrow_values(symbols, raw, mode, step));
        return;
    }
    int n = (int)en_strip_raw_bits(mode);
    __m256i high = load(symbols + step * EN_STRIP_LANES), low = raw_of(raw, mode, step);
    out += step * 2 * EN_STRIP_LANES;
    store(out, _mm256_or_si256(_mm256_slli_epi16(low_nibbles(high), n), low_nibbles(low)));
    store(out + EN_STRIP_LANES,
          _mm256_or_si256(_mm256_slli_epi16(high_nibbles(high), n), high_nibbles(low)));
}

INLINED void decode_block(const uint8_t *symbols, const uint8_t *raw, en_strip_mode mode,
                          size_t n_units, uint8_t *out)
{
    for (size_t unit = 0; unit < n_units; unit++) {
        for (int k = 0; k < EN_STRIP_LANES; k += REGISTER_BYTES)
#pragma GCC unroll 4
            for (int step = 0; step < EN_UNIT_STEPS; step++)
                store_values(symbols + k, raw + k, mode, step, out + k);
        symbols += EN_STRIP_LANES * EN_UNIT_STEPS;
        raw += en_strip_raw_unit_bytes(mode);
        out += en_strip_unit_bytes(mode);
    }
}

#define DECODE_CASE(MODE)                                                                          \
    case EN_STRIP_##MODE: decode_block(symbols, raw, EN_STRIP_##MODE, n_units, out); break;

static void values_of(const uint8_t *symbols, const uint8_t *raw, en_strip_mode mode,
                      size_t n_units, uint8_t *out)
{
    switch (mode) {
        FOR_MODES(DECODE_CASE)
    case EN_STRIP_MODE_COUNT: break;
    }
}

/* One or two chunks, as in products. */
static void decode_units(en_strip_lanes *const *states, size_t n_chunks, const tables *t,
                         en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride)
{
    _Alignas(64) uint8_t symbols[2 * BLOCK_BYTES];
    lanes l[2];
    bool in_place = mode == EN_STRIP_N0;
    for (size_t c = 0; c < n_chunks; c++)
        load_lanes(&l[c], states[c]);
    for (size_t done = 0, n; done < n_units; done += n) {
        n = smaller(n_units - done, BLOCK_UNITS);
        uint8_t *to = in_place ? out : symbols;
        if (n_chunks == 2)
            decode_symbols_2(l, t, n, to, in_place ? stride : BLOCK_BYTES);
        else
            decode_symbols(l, t, n, to);
        for (size_t c = 0; c < n_chunks; c++) {
            if (!in_place)
                values_of(symbols + c * BLOCK_BYTES, states[c]->raw, mode, n, out + c * stride);
            states[c]->raw += n * en_strip_raw_unit_bytes(mode);
        }
        out += n * en_strip_unit_bytes(mode);
    }
    for (size_t c = 0; c < n_chunks; c++)
        store_lanes(states[c], &l[c]);
}

static void strip_decode(en_strip_lanes *const *states, size_t n_chunks, const en_pair_table *table,
                         en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride)
{
    tables t;
    load_tables(&t, table);
    for (size_t c = 0, n; c < n_chunks; c += n) {
        n = smaller(n_chunks - c, 2);
        decode_units(states + c, n, &t, mode, n_units, out + c * stride, stride);
    }
}

void en_kernels_init_strips_avx2(en_kernels *table)
{
    table->strip_dot = strip_dot;
    table->strip_decode = strip_decode;
}
