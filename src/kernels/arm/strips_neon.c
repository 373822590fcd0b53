/*
 * strips_neon.c - coding 2 (entropy/strips.h) on vectors of 16 bytes: the decoder.
 *
 *   group: 16 lanes, 4 rows; one vector of positions, windows or symbols, and one of eight words for
 *   its even lanes, one for its odd ones
 *
 * Per two steps of a chunk (256 weights): one bit a lane says who takes a word; counts of these bits
 * give the place of each group's words, and eight of them an index vector that puts words to their
 * lanes.  Then each group is on its own: a funnel shift gives every lane 16 valid bits, three look-ups
 * of 64 entries turn 7 of them into a symbol and its length, and the same again.
 *
 * A table of 64 entries is enough for lengths: in a complete prefix code two windows that differ in
 * their seventh bit alone have codes of the same length.
 *
 * Tables stay in 12 registers; lanes live in memory, so any number of chunks can take turns: the
 * scalar work of one's refill hides behind the vectors of another.
 */
#include "kernels/arm/strips_neon.h"

enum { HALF_GROUP = GROUP / 2 };

/* ---- words ------------------------------------------------------------------------------- */

#define RANK(M, I)  (2 * __builtin_popcount((M) & ((1u << (I)) - 1)))
#define BYTES(M, I) (M) >> (I)&1 ? RANK(M, I) : 255, (M) >> (I)&1 ? RANK(M, I) + 1 : 255
#define ENTRY(M)                                                                                   \
    {                                                                                              \
        BYTES(M, 0), BYTES(M, 1), BYTES(M, 2), BYTES(M, 3), BYTES(M, 4), BYTES(M, 5), BYTES(M, 6), \
            BYTES(M, 7)                                                                            \
    }
#define ENTRIES_4(M)  ENTRY(M), ENTRY((M) + 1), ENTRY((M) + 2), ENTRY((M) + 3)
#define ENTRIES_16(M) ENTRIES_4(M), ENTRIES_4((M) + 4), ENTRIES_4((M) + 8), ENTRIES_4((M) + 12)
#define ENTRIES_64(M)                                                                              \
    ENTRIES_16(M), ENTRIES_16((M) + 16), ENTRIES_16((M) + 32), ENTRIES_16((M) + 48)

const _Alignas(64) uint8_t en_neon_word_bytes[256][16] = {ENTRIES_64(0u), ENTRIES_64(64u),
                                                          ENTRIES_64(128u), ENTRIES_64(192u)};

/*
 * Who takes a word: byte 2 g of 'wants' has a bit for each even lane of group g, byte 2 g + 1 for each
 * odd one.  The same bytes of 'before': bytes of words that groups before this one take.
 */
typedef struct demand {
    uint64_t wants, before;
    size_t even, odd; /* bytes that all take */
} demand;

INLINED demand demand_of(const uint8_t position[EN_STRIP_LANES])
{
    static const uint8_t bits[GROUP] = {1,    1,    2,    2,    4,    4,    8,    8,
                                        0x10, 0x10, 0x20, 0x20, 0x40, 0x40, 0x80, 0x80};
    const uint8x16_t bit = vld1q_u8(bits), sixteen = vdupq_n_u8(16);
    uint16x8_t wants[N_GROUPS];
#pragma GCC unroll 4
    for (int g = 0; g < N_GROUPS; g++) {
        uint8x16_t is_due = vtstq_u8(vld1q_u8(position + GROUP * g), sixteen);
        wants[g] = vreinterpretq_u16_u8(vandq_u8(is_due, bit));
    }
    uint16x8_t all = vpaddq_u16(vpaddq_u16(wants[0], wants[1]), vpaddq_u16(wants[2], wants[3]));
    uint8x8_t bytes = vreinterpret_u8_u16(vget_low_u16(vpaddq_u16(all, all)));
    /* Twice the running sums; no byte grows above 64. */
    uint64_t up_to =
        vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(bytes)), 0) * UINT64_C(0x0002000200020002);
    return (demand){vget_lane_u64(vreinterpret_u64_u8(bytes), 0), up_to << 16, up_to >> 48 & 0xff,
                    up_to >> 56};
}

INLINED unsigned byte_of(uint64_t v, int i)
{
    return v >> 8 * i & 0xff;
}

/* Refills eight lanes; returns 16 valid bits of each.  Shifts by the low byte of a count. */
INLINED uint16x8_t refill(uint16_t *low_at, uint16_t *high_at, const uint8_t *next, unsigned wants,
                          uint8x16_t right, uint8x16_t left)
{
    uint8x16_t from = vld1q_u8(en_neon_word_bytes[wants]);
    uint16x8_t taken = vreinterpretq_u16_u8(vcgezq_s8(vreinterpretq_s8_u8(from)));
    uint16x8_t high = vld1q_u16(high_at);
    uint16x8_t low = vbslq_u16(taken, high, vld1q_u16(low_at));
    high = vreinterpretq_u16_u8(vqtbx1q_u8(vreinterpretq_u8_u16(high), vld1q_u8(next), from));
    vst1q_u16(low_at, low);
    vst1q_u16(high_at, high);
    return vorrq_u16(vshlq_u16(low, vreinterpretq_s16_u8(right)),
                     vshlq_u16(high, vreinterpretq_s16_u8(left)));
}

/* The odd lanes' bytes, where those of even lanes were. */
INLINED uint8x16_t odd_lanes(uint8x16_t v)
{
    return vreinterpretq_u8_u16(vshrq_n_u16(vreinterpretq_u16_u8(v), 8));
}

/* ---- symbols ----------------------------------------------------------------------------- */

typedef struct tables {
    uint8x16x4_t symbol[2], minus_length;
} tables;

INLINED tables load_tables(const en_pair_table *t)
{
    tables r;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r.symbol[0].val[i] = vld1q_u8(t->symbol + 16 * i);
        r.symbol[1].val[i] = vld1q_u8(t->symbol + 64 + 16 * i);
        r.minus_length.val[i] = vsubq_u8(vdupq_n_u8(0), vld1q_u8(t->length + 16 * i));
    }
    return r;
}

/* The symbols of 16 lanes by the low 7 bits of each word. */
INLINED uint8x16_t look_up(const tables *t, const uint16x8_t words[2], uint8x16_t *minus_length)
{
    uint8x16_t window = vtrn1q_u8(vreinterpretq_u8_u16(words[0]), vreinterpretq_u8_u16(words[1]));
    uint8x16_t index = vandq_u8(window, vdupq_n_u8(63));
    *minus_length = vqtbl4q_u8(t->minus_length, index);
    return vbslq_u8(vtstq_u8(window, vdupq_n_u8(64)), vqtbl4q_u8(t->symbol[1], index),
                    vqtbl4q_u8(t->symbol[0], index));
}

/* The symbols of two steps of group g. */
INLINED void next_symbols(en_strip_lanes *l, const tables *t, int g, const demand *d,
                          const uint8_t *const next[2], uint8x16_t symbols[2])
{
    uint8x16_t position = vandq_u8(vld1q_u8(l->position + GROUP * g), vdupq_n_u8(15));
    uint8x16_t right = vsubq_u8(vdupq_n_u8(0), position);
    uint8x16_t left = vaddq_u8(right, vdupq_n_u8(16));
    uint8x16_t length;
    uint16x8_t words[2];
    words[0] = refill(l->low[0] + HALF_GROUP * g, l->high[0] + HALF_GROUP * g,
                      next[0] + byte_of(d->before, 2 * g), byte_of(d->wants, 2 * g), right, left);
    words[1] = refill(l->low[1] + HALF_GROUP * g, l->high[1] + HALF_GROUP * g,
                      next[1] + byte_of(d->before, 2 * g + 1), byte_of(d->wants, 2 * g + 1),
                      odd_lanes(right), odd_lanes(left));
    symbols[0] = look_up(t, words, &length);
    position = vsubq_u8(position, length);
    words[0] = vshlq_u16(words[0], vreinterpretq_s16_u8(length));
    words[1] = vshlq_u16(words[1], vreinterpretq_s16_u8(odd_lanes(length)));
    symbols[1] = look_up(t, words, &length);
    vst1q_u8(l->position + GROUP * g, vsubq_u8(position, length));
}

/* ---- raw bits ---------------------------------------------------------------------------- */

/* Shifts each byte to the left by n, or to the right by -n. */
INLINED uint8x16_t shift(uint8x16_t v, int n)
{
    return n > 0 ? v << n : n < 0 ? v >> -n : v;
}

INLINED uint8x16_t select_bits(uint8_t mask, uint8x16_t a, uint8x16_t b)
{
    return vbslq_u8(vdupq_n_u8(mask), a, b);
}

/* N modes: the decoded byte, both values of it. */
INLINED uint8x16_t narrow_values(uint8x16_t symbols, const uint8_t *raw, en_strip_mode mode,
                                 int step)
{
    if (mode == EN_STRIP_N1)
        return select_bits(0x11, shift(vld1q_u8(raw), -step), symbols);
    if (mode == EN_STRIP_N2)
        return select_bits(0x33, shift(vld1q_u8(raw + step / 2 * EN_STRIP_LANES), step % 2 * -2),
                           symbols);
    return symbols;
}

/* W modes: both nibbles' raw bits at their top; what lies below is shifted out later. */
INLINED uint8x16_t wide_raw(const uint8_t *raw, en_strip_mode mode, int step)
{
    if (mode == EN_STRIP_W1)
        return shift(vld1q_u8(raw), 3 - step);
    if (mode == EN_STRIP_W4)
        return vld1q_u8(raw + step * EN_STRIP_LANES);
    uint8x16_t upper = shift(vld1q_u8(raw + step / 2 * EN_STRIP_LANES), 2 - step % 2 * 2);
    if (mode == EN_STRIP_W2)
        return upper;
    return select_bits(0xCC, upper, shift(vld1q_u8(raw + 2 * EN_STRIP_LANES), 1 - step));
}

INLINED void store_values(uint8x16_t symbols, const uint8_t *raw, en_strip_mode mode, int step,
                          uint8_t *out)
{
    if (!en_strip_is_wide(mode)) {
        vst1q_u8(out, narrow_values(symbols, raw, mode, step));
        return;
    }
    int below = (int)en_strip_raw_bits(mode) - 4;
    uint8x16_t bits = wide_raw(raw, mode, step);
    vst1q_u8(out, shift(vsliq_n_u8(bits, symbols, 4), below));
    vst1q_u8(out + EN_STRIP_LANES, shift(vsriq_n_u8(symbols, bits, 4), below));
}

/* ---- decoding ---------------------------------------------------------------------------- */

/* Decodes two steps of a unit, 'step' and the next. */
INLINED void decode_two(en_strip_lanes *l, const tables *t, en_strip_mode mode, int step,
                        uint8_t *out)
{
    size_t step_bytes = en_strip_unit_bytes(mode) / EN_UNIT_STEPS;
    demand d = demand_of(l->position);
    const uint8_t *next[2] = {l->next}, *raw = l->raw;
    next[1] = next[0] + d.even < l->end ? next[0] + d.even : l->end;
    l->next = next[1] + d.odd < l->end ? next[1] + d.odd : l->end;
#pragma GCC unroll 4
    for (int g = 0; g < N_GROUPS; g++) {
        uint8x16_t symbols[2];
        next_symbols(l, t, g, &d, next, symbols);
        store_values(symbols[0], raw + GROUP * g, mode, step, out + GROUP * g);
        store_values(symbols[1], raw + GROUP * g, mode, step + 1, out + step_bytes + GROUP * g);
    }
}

/* n_units of each chunk to out + chunk * stride. */
INLINED void decode(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                    en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride)
{
    tables t = load_tables(table);
    size_t half_unit = en_strip_unit_bytes(mode) / 2;
    for (size_t unit = 0; unit < n_units; unit++, out += 2 * half_unit) {
        for (size_t i = 0; i < n_chunks; i++)
            decode_two(lanes[i], &t, mode, 0, out + i * stride);
        for (size_t i = 0; i < n_chunks; i++) {
            decode_two(lanes[i], &t, mode, 2, out + i * stride + half_unit);
            lanes[i]->raw += en_strip_raw_unit_bytes(mode);
        }
    }
}

typedef void decode_fn(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                       size_t n_units, uint8_t *out, size_t stride);

/* One function for each mode, so that the compiler sees a constant. */
#define FOR_MODES(DO) DO(N0) DO(N1) DO(N2) DO(W1) DO(W2) DO(W3) DO(W4)
#define DEFINE_DECODE(MODE)                                                                        \
    static void decode_##MODE(en_strip_lanes *const *lanes, size_t n_chunks,                       \
                              const en_pair_table *table, size_t n_units, uint8_t *out,            \
                              size_t stride)                                                       \
    {                                                                                              \
        decode(lanes, n_chunks, table, EN_STRIP_##MODE, n_units, out, stride);                     \
    }
FOR_MODES(DEFINE_DECODE)

#define MODE_ENTRY(MODE) [EN_STRIP_##MODE] = decode_##MODE,
static decode_fn *const decode_by_mode[EN_STRIP_MODE_COUNT] = {FOR_MODES(MODE_ENTRY)};

void en_strips_neon_decode(en_strip_lanes *const *lanes, size_t n_chunks,
                           const en_pair_table *table, en_strip_mode mode, size_t n_units,
                           uint8_t *out, size_t stride)
{
    decode_by_mode[mode](lanes, n_chunks, table, n_units, out, stride);
}

/* ---- products, block by block ------------------------------------------------------------ */

/* Blocks of four chunks take 16 KiB: with the table of words, less than any first cache. */
enum { BLOCK_UNITS = 8, BLOCK_BYTES = BLOCK_UNITS * 2 * EN_STRIP_LANES * EN_UNIT_STEPS };

void en_strips_neon_dot(en_strips_units_dot *dot, en_strip_lanes *const *lanes, size_t n_chunks,
                        const en_pair_table *table, en_strip_mode mode, size_t n_units,
                        const int8_t *const *x, size_t n_vectors, int32_t *sums)
{
    _Alignas(64) uint8_t units[EN_STRIP_MAX_CHUNKS][BLOCK_BYTES];
    bool wide = en_strip_is_wide(mode);
    for (size_t done = 0; done < n_units; done += BLOCK_UNITS) {
        size_t n = n_units - done < BLOCK_UNITS ? n_units - done : BLOCK_UNITS;
        en_strips_neon_decode(lanes, n_chunks, table, mode, n, units[0], BLOCK_BYTES);
        for (size_t i = 0; i < n_chunks; i++)
            dot(units[i], wide, en_strip_value_bits(mode), n, x, done * EN_UNIT_COLS, n_vectors,
                sums + i * n_vectors * EN_STRIP_ROWS);
    }
}

static unsigned bits_of_largest(const uint8_t *units, size_t n_bytes)
{
    uint8x16_t most = vdupq_n_u8(0);
    for (size_t i = 0; i < n_bytes; i += 16)
        most = vmaxq_u8(most, vld1q_u8(units + i));
    unsigned largest = vmaxvq_u8(most), bits = 0;
    while (largest >> bits > 0)
        bits++;
    return bits;
}

/* Group j of a unit, of one group of lanes. */
INLINED uint8x16_t unit_value(const uint8_t *unit, unsigned bits, int j)
{
    uint8x16_t v = vdupq_n_u8(0);
    int at = 0, n_known = 0;
    if (bits == 8)
        return vld1q_u8(unit + j * EN_STRIP_LANES);
#pragma GCC unroll 3
    for (int piece = 4; piece > 0; piece /= 2) {
        if ((bits & (unsigned)piece) == 0)
            continue;
        int per_byte = 8 / piece, mask = ((1 << piece) - 1) << n_known;
        uint8x16_t here = vld1q_u8(unit + (at + j / per_byte) * EN_STRIP_LANES);
        v = select_bits((uint8_t)mask, shift(here, n_known - j % per_byte * piece), v);
        at += piece;
        n_known += piece;
    }
    return v;
}

INLINED void expand(const uint8_t *units, unsigned bits, size_t n_units, uint8x16_t lift,
                    uint8_t *out)
{
    for (size_t unit = 0; unit < n_units; unit++, units += en_unit_bytes(bits))
#pragma GCC unroll 8
        for (int j = 0; j < 2 * EN_UNIT_STEPS; j++, out += EN_STRIP_LANES)
#pragma GCC unroll 4
            for (int g = 0; g < N_GROUPS; g++)
                vst1q_u8(out + GROUP * g, vaddq_u8(unit_value(units + GROUP * g, bits, j), lift));
}

void en_strips_neon_unit_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                                uint8_t *out)
{
    uint8x16_t all = vdupq_n_u8((uint8_t)lift);
    switch (bits) {
    case 1: expand(units, 1, n_units, all, out); break;
    case 2: expand(units, 2, n_units, all, out); break;
    case 3: expand(units, 3, n_units, all, out); break;
    case 4: expand(units, 4, n_units, all, out); break;
    case 5: expand(units, 5, n_units, all, out); break;
    case 6: expand(units, 6, n_units, all, out); break;
    case 7: expand(units, 7, n_units, all, out); break;
    default: expand(units, 8, n_units, all, out); break;
    }
}

void en_strips_neon_unit_dot(en_strips_units_dot *dot, const uint8_t *units, unsigned bits,
                             size_t n_units, const int8_t *const *x, size_t n_vectors,
                             int32_t *sums)
{
    _Alignas(64) uint8_t bytes[BLOCK_BYTES];
    bool as_they_are = bits == 4 || bits == 8;
    for (size_t done = 0; done < n_units;
         done += BLOCK_UNITS, units += BLOCK_UNITS * en_unit_bytes(bits)) {
        size_t n = n_units - done < BLOCK_UNITS ? n_units - done : BLOCK_UNITS;
        unsigned value_bits = bits == 8 ? bits_of_largest(units, n * en_unit_bytes(bits)) : bits;
        if (!as_they_are)
            en_strips_neon_unit_expand(units, bits, n, 0, bytes);
        dot(as_they_are ? units : bytes, bits != 4, value_bits, n, x, done * EN_UNIT_COLS,
            n_vectors, sums);
    }
}
