/*
 * strip_encode_template.h - the hot loops of encoding in strips, in plain C: included by files that are
 * compiled for different processors, which then find their own vector instructions in it.
 *
 * A unit (16 rows, 4 steps) at a time:
 *
 *   clamp    integers to values: for every step 64 bytes 'a' and, four columns further on, 64 'b'
 *   raw      their low bits to the unit's vectors
 *   look up  the pairs of their high parts: code, length, and whether the pair had to be replaced
 *   append   each lane's bits to the words the decoder will ask for
 *
 * When a decoder asks for a lane's next word is known as soon as the lane's bits are: it holds the
 * word at hand and the next one, and asks for another when the one at hand is used up.  So each lane
 * has a place in the stream for either; when its bits fill the first, it goes on in the second, and
 * the next free place is the one the decoder asks for at this very moment.
 */
#ifndef EN_ENTROPY_STRIP_ENCODE_TEMPLATE_H
#define EN_ENTROPY_STRIP_ENCODE_TEMPLATE_H

#include "base/bytes.h"
#include "entropy/strips.h"

enum {
    COLS_APART = EN_STEP_COLS / 2,
    HALF = EN_STRIP_LANES / 2,
    LENGTH_SHIFT = 8, /* in an entry: code, then length as in en_pair_code */
    CODE_MASK = (1 << LENGTH_SHIFT) - 1,
    LENGTH_MASK = EN_PAIR_REPLACED - 1,
    REPLACED = EN_PAIR_REPLACED << LENGTH_SHIFT,
};

/* ---- values ------------------------------------------------------------------------------ */

/* Values of a unit's columns of a row, and how many are out of range.  One that is keeps its raw bits,
 * so that what is missing is a multiple of 2^raw_bits. */
static inline uint32_t clamp(const int32_t *z, en_strip_layout layout, uint8_t *v)
{
    int32_t lo = layout.base, hi = lo + (1 << en_strip_value_bits(layout.mode)) - 1;
    uint32_t n_outside = 0, raw = (1u << en_strip_raw_bits(layout.mode)) - 1;
    for (size_t i = 0; i < EN_UNIT_COLS; i++) {
        int32_t held = z[i] < lo ? lo : z[i];
        held = held > hi ? hi : held;
        n_outside += held != z[i];
        v[i] = (uint8_t)(((uint32_t)(held - lo) & ~raw) | (((uint32_t)z[i] - (uint32_t)lo) & raw));
    }
    return n_outside;
}

/* What is coded of a value, as a nibble. */
static inline unsigned high_part(unsigned v, en_strip_mode mode)
{
    unsigned raw = en_strip_raw_bits(mode);
    return en_strip_is_wide(mode) ? v >> raw : v >> raw << raw;
}

/* The same of four values at a time. */
static inline uint32_t high_parts(uint32_t v, en_strip_mode mode)
{
    const uint32_t each = 0x01010101;
    unsigned raw = en_strip_raw_bits(mode);
    return en_strip_is_wide(mode) ? v >> raw & 15 * each : v & (15u >> raw << raw) * each;
}

static void count_pairs(const int32_t *z, size_t stride, size_t n_cols, en_strip_layout layout,
                        uint64_t counts[256], uint64_t *n_outside)
{
    uint32_t tables[COLS_APART][256] = {{0}}; /* several, so that equal neighbours do not wait */
    uint32_t outside = 0;
    for (size_t r = 0; r < EN_STRIP_ROWS; r++)
        for (size_t k = 0; k < n_cols; k += EN_UNIT_COLS) {
            uint8_t v[EN_UNIT_COLS];
            outside += clamp(z + r * stride + k, layout, v);
            for (size_t s = 0; s < EN_UNIT_COLS; s += EN_STEP_COLS) {
                uint32_t pairs = high_parts(en_load32(v + s), layout.mode) |
                                 high_parts(en_load32(v + s + COLS_APART), layout.mode) << 4;
                for (size_t c = 0; c < COLS_APART; c++)
                    tables[c][pairs >> 8 * c & 255]++;
            }
        }
    for (size_t c = 0; c < COLS_APART; c++)
        for (size_t s = 0; s < 256; s++)
            counts[s] += tables[c][s];
    *n_outside += outside;
}

/* ---- one unit ---------------------------------------------------------------------------- */

typedef struct unit {
    uint8_t a[EN_UNIT_STEPS][EN_STRIP_LANES]; /* values, by step and lane */
    uint8_t b[EN_UNIT_STEPS][EN_STRIP_LANES]; /* their partners */
    uint16_t entries[EN_UNIT_STEPS][EN_STRIP_LANES];
} unit;

/* Returns the lanes with a value out of range in their row. */
static uint64_t take_values(const en_strip_run *r, size_t col, unit *u)
{
    uint64_t outside = 0;
    for (unsigned row = 0; row < EN_STRIP_ROWS; row++) {
        uint8_t v[EN_UNIT_COLS];
        if (clamp(r->z + row * r->stride + col, r->layout, v) > 0)
            outside |= (uint64_t)15 << COLS_APART * row;
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++) {
            memcpy(&u->a[j][4 * row], v + EN_STEP_COLS * j, COLS_APART);
            memcpy(&u->b[j][4 * row], v + EN_STEP_COLS * j + COLS_APART, COLS_APART);
        }
    }
    return outside;
}

/* Eight flags at a time: the product moves each of them to its bit of the highest byte. */
static uint64_t find_replaced(const uint16_t entries[EN_STRIP_LANES])
{
    const uint64_t gather = UINT64_C(0x0102040810204080);
    uint8_t flags[EN_STRIP_LANES];
    uint64_t lanes = 0;
    for (unsigned l = 0; l < EN_STRIP_LANES; l++)
        flags[l] = (entries[l] & REPLACED) != 0;
    for (unsigned l = 0; l < EN_STRIP_LANES; l += 8)
        lanes |= en_load64(flags + l) * gather >> 56 << l;
    return lanes;
}

/* Returns the lanes whose pair is coded as another. */
static uint64_t look_up(const uint16_t entries[256], en_strip_mode mode, const uint8_t *a,
                        const uint8_t *b, uint16_t *out)
{
    uint8_t pairs[EN_STRIP_LANES];
    uint16_t all = 0;
    for (unsigned l = 0; l < EN_STRIP_LANES; l++)
        pairs[l] = (uint8_t)(high_part(a[l], mode) | high_part(b[l], mode) << 4);
    for (unsigned l = 0; l < EN_STRIP_LANES; l++) {
        out[l] = entries[pairs[l]];
        all |= out[l];
    }
    return (all & REPLACED) != 0 ? find_replaced(out) : 0;
}

/* ---- raw bits ---------------------------------------------------------------------------- */

/* Bit 'bit' of each value: in the low nibble step j's first value is bit j, in the high its second. */
static void put_single_bits(const unit *u, unsigned bit, uint8_t *out)
{
    for (unsigned l = 0; l < EN_STRIP_LANES; l++) {
        unsigned byte = 0;
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++)
            byte |= (u->a[j][l] >> bit & 1u) << j | (u->b[j][l] >> bit & 1u) << (4 + j);
        out[l] = (uint8_t)byte;
    }
}

/* Bits 'bit' and above, two of each value: vectors of steps 0, 1 and of 2, 3; step j has bits
 * 2 (j mod 2) of each nibble. */
static void put_double_bits(const unit *u, unsigned bit, uint8_t *out)
{
    for (unsigned j = 0; j < EN_UNIT_STEPS; j += 2, out += EN_STRIP_LANES)
        for (unsigned l = 0; l < EN_STRIP_LANES; l++) {
            unsigned a = (u->a[j][l] >> bit & 3u) | (u->a[j + 1][l] >> bit & 3u) << 2;
            unsigned b = (u->b[j][l] >> bit & 3u) | (u->b[j + 1][l] >> bit & 3u) << 2;
            out[l] = (uint8_t)(a | b << 4);
        }
}

/*
 *   N1, W1: single bits             N2, W2: double bits
 *   W3: the upper two raw bits as double bits, then the lowest as single bits
 *   W4: one vector a step: the nibbles are the raw bits
 */
static void put_raw(const unit *u, en_strip_mode mode, uint8_t *out)
{
    switch (mode) {
    case EN_STRIP_N0:
    case EN_STRIP_MODE_COUNT: break;
    case EN_STRIP_N1:
    case EN_STRIP_W1: put_single_bits(u, 0, out); break;
    case EN_STRIP_N2:
    case EN_STRIP_W2: put_double_bits(u, 0, out); break;
    case EN_STRIP_W3:
        put_double_bits(u, 1, out);
        put_single_bits(u, 0, out + 2 * EN_STRIP_LANES);
        break;
    case EN_STRIP_W4:
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++, out += EN_STRIP_LANES)
            for (unsigned l = 0; l < EN_STRIP_LANES; l++)
                out[l] = (uint8_t)((u->a[j][l] & 15) | (u->b[j][l] & 15) << 4);
        break;
    }
}

/* ---- words ------------------------------------------------------------------------------- */

/* Lanes whose word is full go on in the next.  A word is stored whether it is full or not: the next
 * store to its place has more of it. */
static uint32_t store_words(en_strip_strings *s, unsigned half, uint32_t n_words)
{
    uint8_t *words = s->words;
    for (unsigned i = 0; i < HALF; i++) {
        uint32_t place = s->place[half][i], next = s->next_place[half][i];
        uint32_t full = s->n_bits[half][i] >> 4, mask = 0 - full; /* no branch */
        en_store16(words + 2 * (size_t)place, (uint16_t)s->bits[half][i]);
        s->place[half][i] = place ^ ((place ^ next) & mask);
        s->next_place[half][i] = next ^ ((next ^ n_words) & mask);
        n_words += full;
    }
    return n_words;
}

/* The bits of two steps. */
static void append(en_strip_strings *s, const uint16_t *first, const uint16_t *second)
{
    for (unsigned half = 0; half < 2; half++) {
        s->n_words = store_words(s, half, s->n_words);
        for (unsigned i = 0; i < HALF; i++) {
            uint32_t a = first[2 * i + half], b = second[2 * i + half];
            uint32_t n = s->n_bits[half][i], bits = s->bits[half][i] >> (n & 16);
            n &= 15;
            bits |= (a & CODE_MASK) << n;
            n += a >> LENGTH_SHIFT & LENGTH_MASK;
            s->bits[half][i] = bits | (b & CODE_MASK) << n;
            s->n_bits[half][i] = n + (b >> LENGTH_SHIFT & LENGTH_MASK); /* below 16 + 2 * 7 */
        }
    }
}

static void encode_units(en_strip_strings *s, const en_strip_run *r, size_t n_units, uint8_t *raw,
                         uint64_t *suspects)
{
    uint16_t entries[256];
    for (unsigned p = 0; p < 256; p++)
        entries[p] = (uint16_t)(r->code->code[p] | r->code->length[p] << LENGTH_SHIFT);
    for (size_t k = 0; k < n_units; k++, suspects += EN_UNIT_STEPS) {
        unit u;
        uint64_t outside = take_values(r, k * EN_UNIT_COLS, &u);
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++)
            suspects[j] = outside | look_up(entries, r->layout.mode, u.a[j], u.b[j], u.entries[j]);
        put_raw(&u, r->layout.mode, raw);
        raw += en_strip_raw_unit_bytes(r->layout.mode);
        for (unsigned j = 0; j < EN_UNIT_STEPS; j += 2)
            append(s, u.entries[j], u.entries[j + 1]);
    }
}

#endif
