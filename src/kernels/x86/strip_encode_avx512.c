/*
 * strip_encode_avx512.c - encoding in strips, all 64 lanes of a step in one register.
 *
 *   values   16 rows x 32 columns of i32 -> 8 vectors of 64 bytes, by packing and two transpositions
 *   codes    two tables of 256 bytes in 8 registers: 4 look-ups a step
 *   append   strings as words of 16 bits, even lanes in one register, odd ones in the other, as the
 *            tables' bytes lie; a string has the word it fills and the one behind
 *   store    full words and their places are gathered, and stored one by one some units later: stores
 *            of 16 bits to 64 places are all that is left of the plain loop
 */
#include <immintrin.h>

#include "base/bytes.h"
#include "kernels/kernels.h"

#define INLINED static inline __attribute__((always_inline))

enum {
    GROUPS =
        EN_UNIT_COLS / 4, /* of columns: step j's values are group 2 j, their partners 2 j + 1 */
    STORED_UNITS = 8,
    MOST_STORED = (STORED_UNITS * EN_UNIT_STEPS / 2 + 1) * EN_STRIP_LANES,
};

/* ---- values ------------------------------------------------------------------------------ */

typedef struct bounds {
    __m512i lo, hi, raw;
} bounds;

static bounds bounds_of(en_strip_layout layout)
{
    int32_t range = 1 << en_strip_value_bits(layout.mode);
    return (bounds){_mm512_set1_epi32(layout.base), _mm512_set1_epi32(layout.base + range - 1),
                    _mm512_set1_epi32((1 << en_strip_raw_bits(layout.mode)) - 1)};
}

/* Values of 16 columns.  Bits that differ between what is held and the integer are added to *outside. */
INLINED __m512i clamp(const int32_t *from, const bounds *b, __m512i *outside)
{
    __m512i z = _mm512_loadu_si512(from);
    __m512i held = _mm512_min_epi32(_mm512_max_epi32(z, b->lo), b->hi);
    *outside = _mm512_ternarylogic_epi32(*outside, held, z, 0xf6);       /* o | h ^ z */
    return _mm512_ternarylogic_epi32(b->raw, _mm512_sub_epi32(z, b->lo), /* raw ? z : h */
                                     _mm512_sub_epi32(held, b->lo), 0xca);
}

/* groups[g]: columns 4 g to 4 g + 3 of all rows, a byte each; returns what clamp() adds to 'outside'. */
INLINED __m512i take_values(const int32_t *z, size_t stride, const bounds *b,
                            __m512i groups[GROUPS])
{
    __m512i outside = _mm512_setzero_si512(), low[4], high[4];
#pragma GCC unroll 4
    for (size_t q = 0; q < 4; q++) {
        __m512i two[2]; /* two rows each: lane k has groups k, 4 + k of one, then of the other */
#pragma GCC unroll 2
        for (size_t p = 0; p < 2; p++) {
            const int32_t *row = z + (4 * q + 2 * p) * stride;
            __m512i a = _mm512_packs_epi32(clamp(row, b, &outside), clamp(row + 16, b, &outside));
            __m512i c = _mm512_packs_epi32(clamp(row + stride, b, &outside),
                                           clamp(row + stride + 16, b, &outside));
            two[p] = _mm512_packus_epi16(a, c);
        }
        __m512 f = _mm512_castsi512_ps(two[0]), s = _mm512_castsi512_ps(two[1]);
        low[q] = _mm512_castps_si512(_mm512_shuffle_ps(f, s, 0x88));  /* groups 0 to 3 of 4 rows */
        high[q] = _mm512_castps_si512(_mm512_shuffle_ps(f, s, 0xdd)); /* groups 4 to 7 */
    }
#pragma GCC unroll 2
    for (size_t h = 0; h < 2; h++) {
        const __m512i *r = h == 0 ? low : high;
        __m512i a = _mm512_shuffle_i32x4(r[0], r[1], 0x44),
                c = _mm512_shuffle_i32x4(r[2], r[3], 0x44);
        __m512i d = _mm512_shuffle_i32x4(r[0], r[1], 0xee),
                e = _mm512_shuffle_i32x4(r[2], r[3], 0xee);
        groups[4 * h] = _mm512_shuffle_i32x4(a, c, 0x88);
        groups[4 * h + 1] = _mm512_shuffle_i32x4(a, c, 0xdd);
        groups[4 * h + 2] = _mm512_shuffle_i32x4(d, e, 0x88);
        groups[4 * h + 3] = _mm512_shuffle_i32x4(d, e, 0xdd);
    }
    return outside;
}

/* How many values of a unit's row are out of range. */
static unsigned count_outside(const int32_t *row, const bounds *b)
{
    unsigned n = 0;
    for (size_t k = 0; k < EN_UNIT_COLS; k += 16) {
        __m512i z = _mm512_loadu_si512(row + k);
        __mmask16 inside = _mm512_cmpge_epi32_mask(z, b->lo);
        inside = _mm512_mask_cmple_epi32_mask(inside, z, b->hi);
        n += 16 - (unsigned)__builtin_popcount(inside);
    }
    return n;
}

INLINED __m512i bytes(int x)
{
    return _mm512_set1_epi8((char)x);
}

/* Steps' pairs of high parts. */
INLINED __m512i pairs_of(__m512i a, __m512i b, en_strip_mode mode)
{
    unsigned raw = en_strip_raw_bits(mode);
    const __m512i high = bytes(0xf0);
    __m512i kept = bytes(15 >> raw << raw); /* narrow modes: bits that are coded */
    if (!en_strip_is_wide(mode))
        return _mm512_or_si512(_mm512_and_si512(a, kept),
                               _mm512_slli_epi16(_mm512_and_si512(b, kept), 4));
    a = _mm512_srli_epi16(a, raw);
    b = _mm512_slli_epi16(b, 4 - raw);
    return _mm512_ternarylogic_epi32(high, b, a, 0xca); /* high ? b : a */
}

/* ---- raw bits ---------------------------------------------------------------------------- */

/* Bit 'from' of every byte moved to bit 'to', with whatever is beside it. */
INLINED __m512i moved(__m512i x, unsigned from, unsigned to)
{
    return from > to ? _mm512_srli_epi16(x, from - to) : _mm512_slli_epi16(x, to - from);
}

/* out | x & mask */
INLINED __m512i with(__m512i out, __m512i x, int mask)
{
    return _mm512_ternarylogic_epi32(out, x, bytes(mask), 0xf8);
}

INLINED void put_single_bits(const __m512i *groups, unsigned bit, uint8_t *out)
{
    __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (unsigned j = 0; j < EN_UNIT_STEPS; j++) {
        sum = with(sum, moved(groups[2 * j], bit, j), 1 << j);
        sum = with(sum, moved(groups[2 * j + 1], bit, 4 + j), 16 << j);
    }
    _mm512_storeu_si512(out, sum);
}

INLINED void put_double_bits(const __m512i *groups, unsigned bit, uint8_t *out)
{
#pragma GCC unroll 2
    for (unsigned j = 0; j < EN_UNIT_STEPS; j += 2, out += EN_STRIP_LANES) {
        const __m512i *g = groups + 2 * j;
        __m512i sum = _mm512_and_si512(moved(g[0], bit, 0), bytes(3));
        sum = with(sum, moved(g[2], bit, 2), 3 << 2);
        sum = with(sum, moved(g[1], bit, 4), 3 << 4);
        sum = with(sum, moved(g[3], bit, 6), 3 << 6);
        _mm512_storeu_si512(out, sum);
    }
}

INLINED void put_raw(const __m512i *groups, en_strip_mode mode, uint8_t *out)
{
    switch (mode) {
    case EN_STRIP_N0:
    case EN_STRIP_MODE_COUNT: break;
    case EN_STRIP_N1:
    case EN_STRIP_W1: put_single_bits(groups, 0, out); break;
    case EN_STRIP_N2:
    case EN_STRIP_W2: put_double_bits(groups, 0, out); break;
    case EN_STRIP_W3:
        put_double_bits(groups, 1, out);
        put_single_bits(groups, 0, out + 2 * EN_STRIP_LANES);
        break;
    case EN_STRIP_W4:
#pragma GCC unroll 4
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++)
            _mm512_storeu_si512(out + j * EN_STRIP_LANES,
                                _mm512_ternarylogic_epi32(bytes(15), groups[2 * j],
                                                          _mm512_slli_epi16(groups[2 * j + 1], 4),
                                                          0xca));
        break;
    }
}

/* ---- words ------------------------------------------------------------------------------- */

typedef struct byte_table {
    __m512i part[4];
} byte_table;

INLINED byte_table table_of(const uint8_t bytes[256])
{
    byte_table t;
    for (size_t i = 0; i < 4; i++)
        t.part[i] = _mm512_loadu_si512(bytes + 64 * i);
    return t;
}

INLINED __m512i look_up(const byte_table *t, __m512i index)
{
    __m512i low = _mm512_permutex2var_epi8(t->part[0], index, t->part[1]);
    __m512i high = _mm512_permutex2var_epi8(t->part[2], index, t->part[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index), high);
}

/* Half of the lanes' strings. */
typedef struct strings {
    __m512i now, next; /* 16 bits each: the word at hand, and the one behind */
    __m512i n_bits;    /* of both: below 32 */
    __m512i place[2], next_place[2];
} strings;

/* Full words, to be stored at their places. */
typedef struct full_words {
    uint32_t places[MOST_STORED];
    uint16_t words[MOST_STORED];
    size_t n;
} full_words;

static void store_words(full_words *f, uint8_t *words)
{
    for (size_t i = 0; i < f->n; i++)
        en_store16(words + 2 * (size_t)f->places[i], f->words[i]);
    f->n = 0;
}

/* Lanes whose word is full go on in the next. */
INLINED void take_places(strings *s, __mmask32 full, full_words *f, uint32_t *n_words)
{
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(f->words + f->n, _mm512_maskz_compress_epi16(full, s->now));
#pragma GCC unroll 2
    for (unsigned i = 0; i < 2; i++) {
        __mmask16 here = (__mmask16)(full >> 16 * i);
        unsigned n = (unsigned)__builtin_popcount(here);
        _mm512_storeu_si512(f->places + f->n, _mm512_maskz_compress_epi32(here, s->place[i]));
        s->place[i] = _mm512_mask_mov_epi32(s->place[i], here, s->next_place[i]);
        s->next_place[i] = _mm512_mask_expand_epi32(
            s->next_place[i], here, _mm512_add_epi32(numbers, _mm512_set1_epi32((int)*n_words)));
        *n_words += n;
        f->n += n;
    }
    s->now = _mm512_mask_mov_epi16(s->now, full, s->next);
}

/* Codes of two steps, together at most 14 bits. */
INLINED void append(strings *s, __m512i code, __m512i length, full_words *f, uint32_t *n_words)
{
    const __m512i zero = _mm512_setzero_si512();
    take_places(s, _mm512_test_epi16_mask(s->n_bits, _mm512_set1_epi16(16)), f, n_words);
    __m512i n = _mm512_and_si512(s->n_bits, _mm512_set1_epi16(15));
    s->now = _mm512_or_si512(s->now, _mm512_sllv_epi16(code, n));
    s->next = _mm512_shldv_epi16(zero, code, n);
    s->n_bits = _mm512_add_epi16(n, length);
}

/* Which byte of every word is the half's. */
INLINED __m512i half_of(__m512i x, unsigned half)
{
    return half == 0 ? _mm512_and_si512(x, _mm512_set1_epi16(255)) : _mm512_srli_epi16(x, 8);
}

INLINED void append_steps(strings s[2], const __m512i code[2], const __m512i length[2],
                          full_words *f, uint32_t *n_words)
{
    __m512i both = _mm512_add_epi8(length[0], length[1]);
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; h++) {
        __m512i second = _mm512_sllv_epi16(half_of(code[1], h), half_of(length[0], h));
        append(&s[h], _mm512_or_si512(half_of(code[0], h), second), half_of(both, h), f, n_words);
    }
}

static void load_strings(strings s[2], const en_strip_strings *from)
{
    for (unsigned h = 0; h < 2; h++) {
        uint16_t now[32], next[32], n_bits[32];
        for (unsigned i = 0; i < 32; i++) {
            now[i] = (uint16_t)from->bits[h][i];
            next[i] = (uint16_t)(from->bits[h][i] >> 16);
            n_bits[i] = (uint16_t)from->n_bits[h][i];
        }
        s[h].now = _mm512_loadu_si512(now);
        s[h].next = _mm512_loadu_si512(next);
        s[h].n_bits = _mm512_loadu_si512(n_bits);
        for (unsigned i = 0; i < 2; i++) {
            s[h].place[i] = _mm512_loadu_si512(from->place[h] + 16 * i);
            s[h].next_place[i] = _mm512_loadu_si512(from->next_place[h] + 16 * i);
        }
    }
}

static void save_strings(en_strip_strings *to, const strings s[2])
{
    for (unsigned h = 0; h < 2; h++) {
        uint16_t now[32], next[32], n_bits[32];
        _mm512_storeu_si512(now, s[h].now);
        _mm512_storeu_si512(next, s[h].next);
        _mm512_storeu_si512(n_bits, s[h].n_bits);
        for (unsigned i = 0; i < 32; i++) {
            to->bits[h][i] = now[i] | (uint32_t)next[i] << 16;
            to->n_bits[h][i] = n_bits[i];
        }
        for (unsigned i = 0; i < 2; i++) {
            _mm512_storeu_si512(to->place[h] + 16 * i, s[h].place[i]);
            _mm512_storeu_si512(to->next_place[h] + 16 * i, s[h].next_place[i]);
        }
    }
}

/* ---- runs -------------------------------------------------------------------------------- */

static uint64_t lanes_outside(const int32_t *z, size_t stride, const bounds *b)
{
    uint64_t lanes = 0;
    for (unsigned row = 0; row < EN_STRIP_ROWS; row++)
        lanes |= (uint64_t)(count_outside(z + row * stride, b) > 0 ? 15 : 0) << 4 * row;
    return lanes;
}

/* The mode is a constant where this is called. */
INLINED void encode_in_mode(en_strip_strings *to, const en_strip_run *r, en_strip_mode mode,
                            size_t n_units, uint8_t *raw, uint64_t *suspects)
{
    const bounds b = bounds_of(r->layout);
    const byte_table codes = table_of(r->code->code), lengths = table_of(r->code->length);
    full_words full;
    full.n = 0;
    strings s[2];
    load_strings(s, to);
    for (size_t k = 0; k < n_units; k++, raw += en_strip_raw_unit_bytes(mode)) {
        const int32_t *z = r->z + k * EN_UNIT_COLS;
        __m512i groups[GROUPS], outside = take_values(z, r->stride, &b, groups);
        uint64_t lanes = 0;
        if (__builtin_expect(_mm512_test_epi32_mask(outside, outside) != 0, 0))
            lanes = lanes_outside(z, r->stride, &b);
        put_raw(groups, mode, raw);
#pragma GCC unroll 2
        for (unsigned j = 0; j < EN_UNIT_STEPS; j += 2) {
            __m512i code[2], length[2];
#pragma GCC unroll 2
            for (unsigned i = 0; i < 2; i++, suspects++) {
                const __m512i *g = groups + 2 * (j + i);
                __m512i pairs = pairs_of(g[0], g[1], mode);
                code[i] = look_up(&codes, pairs);
                length[i] = look_up(&lengths, pairs);
                *suspects = lanes | _mm512_movepi8_mask(length[i]); /* EN_PAIR_REPLACED */
                length[i] = _mm512_and_si512(length[i], bytes(EN_PAIR_REPLACED - 1));
            }
            append_steps(s, code, length, &full, &to->n_words);
        }
        if (k % STORED_UNITS == STORED_UNITS - 1)
            store_words(&full, to->words);
    }
    store_words(&full, to->words);
    save_strings(to, s);
}

INLINED void count_in_mode(const int32_t *z, size_t stride, en_strip_layout layout,
                           en_strip_mode mode, size_t n_cols, uint64_t counts[256],
                           uint64_t *n_outside)
{
    enum { TABLES = 4 };
    uint32_t tables[TABLES][256] = {{0}}; /* several, so that equal neighbours do not wait */
    const bounds b = bounds_of(layout);
    for (size_t k = 0; k < n_cols; k += EN_UNIT_COLS) {
        __m512i groups[GROUPS], outside = take_values(z + k, stride, &b, groups);
        uint8_t pairs[EN_UNIT_STEPS * EN_STRIP_LANES];
        for (unsigned row = 0; row < EN_STRIP_ROWS && _mm512_test_epi32_mask(outside, outside) != 0;
             row++)
            *n_outside += count_outside(z + row * stride + k, &b);
#pragma GCC unroll 4
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++)
            _mm512_storeu_si512(pairs + j * EN_STRIP_LANES,
                                pairs_of(groups[2 * j], groups[2 * j + 1], mode));
        for (size_t i = 0; i < sizeof pairs; i += 8) {
            uint64_t eight = en_load64(pairs + i);
#pragma GCC unroll 8
            for (unsigned p = 0; p < 8; p++)
                tables[p % TABLES][eight >> 8 * p & 255]++;
        }
    }
    for (unsigned t = 0; t < TABLES; t++)
        for (unsigned p = 0; p < 256; p++)
            counts[p] += tables[t][p];
}

/* Calls with each mode as a constant. */
#define IN_EACH_MODE(mode, call)                                                                   \
    switch (mode) {                                                                                \
    case EN_STRIP_N0: call(EN_STRIP_N0); break;                                                    \
    case EN_STRIP_N1: call(EN_STRIP_N1); break;                                                    \
    case EN_STRIP_N2: call(EN_STRIP_N2); break;                                                    \
    case EN_STRIP_W1: call(EN_STRIP_W1); break;                                                    \
    case EN_STRIP_W2: call(EN_STRIP_W2); break;                                                    \
    case EN_STRIP_W3: call(EN_STRIP_W3); break;                                                    \
    case EN_STRIP_W4: call(EN_STRIP_W4); break;                                                    \
    case EN_STRIP_MODE_COUNT: break;                                                               \
    }

static void strip_encode(en_strip_strings *s, const en_strip_run *run, size_t n_units, uint8_t *raw,
                         uint64_t *suspects)
{
#define ENCODE(mode) encode_in_mode(s, run, mode, n_units, raw, suspects)
    IN_EACH_MODE(run->layout.mode, ENCODE)
}

static void strip_count(const int32_t *z, size_t stride, size_t n_cols, en_strip_layout layout,
                        uint64_t counts[256], uint64_t *n_outside)
{
#define COUNT(mode) count_in_mode(z, stride, layout, mode, n_cols, counts, n_outside)
    IN_EACH_MODE(layout.mode, COUNT)
}

void en_kernels_init_strip_encode_avx512(en_kernels *table)
{
    table->strip_encode = strip_encode;
    table->strip_count = strip_count;
}
