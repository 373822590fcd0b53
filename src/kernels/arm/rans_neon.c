/*
 * rans_neon.c - decoding of entropy/rans.h, eight rows in a pair of registers.
 *
 *   low:  | x0 | x1 | ... | x7 |    lower halves of the states, 16 bits each
 *   high: | x0 | x1 | ... | x7 |    upper halves; 0: the row takes a word
 *
 * Halves apart save most of the shuffling: a slot is 12 bits of 'low', so two moves bring eight of them to
 * general registers, and a row that takes a word gets (word, low) for (low, high).  They are zipped for the
 * product only, and unzipped after it.
 *
 * NEON has no gather: entries are loaded one by one and joined in general registers, which takes the vector
 * units one move for four rows; from vector registers it would be three, and by llvm-mca 9 % slower on Neoverse
 * N1, 2 to 4 % faster on V1 and Cortex-A57 (docs/performance.md).  One sum of weighted bits tells who takes a word
 * and how many do; a table puts words to their rows.
 *
 * Even and odd columns have states of their own and take turns, so that one's look-ups hide the other's refill;
 * both in step would wait for the same things at the same time.
 */
#include "kernels/arm/strips_neon.h"

enum { GROUP_COLS = 4, SLOT_MASK = EN_RANS_SCALE - 1 };

typedef struct eight_rows {
    uint16x8_t low, high;
} eight_rows;

/* Rows of a column, eight at a time. */
enum { HALVES = 2 };

INLINED eight_rows take_apart(uint32x4_t a, uint32x4_t b)
{
    uint16x8_t a16 = vreinterpretq_u16_u32(a), b16 = vreinterpretq_u16_u32(b);
    return (eight_rows){vuzp1q_u16(a16, b16), vuzp2q_u16(a16, b16)};
}

INLINED uint32x4_t first_four(eight_rows x)
{
    return vreinterpretq_u32_u16(vzip1q_u16(x.low, x.high));
}

INLINED uint32x4_t last_four(eight_rows x)
{
    return vreinterpretq_u32_u16(vzip2q_u16(x.low, x.high));
}

/* Entries of the slots in four times 16 bits. */
INLINED uint32x4_t four_entries(const en_rans_table *table, uint64_t low)
{
    const uint32_t *slots = table->slots;
    uint64_t a = slots[low & SLOT_MASK] | (uint64_t)slots[low >> 16 & SLOT_MASK] << 32;
    uint64_t b = slots[low >> 32 & SLOT_MASK] | (uint64_t)slots[low >> 48 & SLOT_MASK] << 32;
    return vcombine_u32(vcreate_u32(a), vcreate_u32(b));
}

INLINED uint32x4_t next_states(uint32x4_t x, uint32x4_t e)
{
    uint32x4_t whole = vshrq_n_u32(x, EN_RANS_SCALE_BITS);
    uint32x4_t freq_less_1 = vandq_u32(vshrq_n_u32(e, EN_RANS_FREQ_AT), vdupq_n_u32(SLOT_MASK));
    uint32x4_t rest = vaddq_u32(whole, vshrq_n_u32(e, EN_RANS_OFFSET_AT));
    return vmlaq_u32(rest, freq_less_1, whole);
}

/* One column of eight rows but for the words; the symbols are the low bytes of e. */
INLINED void step(eight_rows *x, const en_rans_table *table, uint32x4_t e[2])
{
    uint64x2_t low = vreinterpretq_u64_u16(x->low);
    e[0] = four_entries(table, vgetq_lane_u64(low, 0));
    e[1] = four_entries(table, vgetq_lane_u64(low, 1));
    *x = take_apart(next_states(first_four(*x), e[0]), next_states(last_four(*x), e[1]));
}

/*
 * Rows in 'takes' (all bits or none) take words in their order; 'mask' has a bit for each.  16 bytes can be
 * read: of all but the words that are taken, nothing is used.
 */
INLINED void refill(eight_rows *x, uint16x8_t takes, uint32_t mask, const uint8_t *next)
{
    uint8x16_t order = vld1q_u8(en_neon_word_bytes[mask & 255]);
    uint16x8_t words = vreinterpretq_u16_u8(vqtbl1q_u8(vld1q_u8(next), order));
    x->high = vbslq_u16(takes, x->low, x->high);
    x->low = vbslq_u16(takes, words, x->low);
}

/* Words for a column; returns what is next.  32 bytes can be read. */
INLINED const uint8_t *refill_column(eight_rows x[HALVES], const uint8_t *next)
{
    /* Who takes words in the lower byte, how many bytes in the upper one. */
    static const uint16_t weights[8] = {0x201, 0x202, 0x204, 0x208, 0x210, 0x220, 0x240, 0x280};
    const uint16x8_t weight = vld1q_u16(weights);
    uint16x8_t a = vceqzq_u16(x[0].high), b = vceqzq_u16(x[1].high);
    uint16x8_t sums = vpaddq_u16(vandq_u16(a, weight), vandq_u16(b, weight));
    sums = vpaddq_u16(sums, sums);
    sums = vpaddq_u16(sums, sums);
    uint32_t both = vgetq_lane_u32(vreinterpretq_u32_u16(sums), 0);
    refill(&x[0], a, both, next);
    next += both >> 8 & 255;
    refill(&x[1], b, both >> 16, next);
    return next + (both >> 24);
}

/* Symbols of column c of a group into its bytes. */
INLINED void insert(uint32x4_t values[2 * HALVES], const uint32x4_t e[2 * HALVES], int c)
{
#pragma GCC unroll 4
    for (int i = 0; i < 2 * HALVES; i++)
        switch (c) {
        case 0: values[i] = e[i]; break; /* what is above the symbol will be covered */
        case 1: values[i] = vsliq_n_u32(values[i], e[i], 8); break;
        case 2: values[i] = vsliq_n_u32(values[i], e[i], 16); break;
        default: values[i] = vsliq_n_u32(values[i], e[i], 24); break;
        }
}

static void rans_decode(en_rans_lanes *lanes, const en_rans_table *table, size_t n_units,
                        uint8_t *units)
{
    eight_rows states[2][HALVES]; /* of even columns, of odd ones */
    for (int i = 0; i < 2 * HALVES; i++)
        states[i / HALVES][i % HALVES] =
            take_apart(vld1q_u32(lanes->states + 8 * i), vld1q_u32(lanes->states + 8 * i + 4));
    const uint8_t *next = lanes->next, *end = lanes->end;
    for (size_t g = 0; g < n_units * (EN_UNIT_COLS / GROUP_COLS); g++, units += EN_STRIP_LANES) {
        uint32x4_t values[2 * HALVES], e[2 * HALVES];
#pragma GCC unroll 4
        for (int c = 0; c < GROUP_COLS; c++) {
            eight_rows *x = states[c % 2];
            step(&x[0], table, e);
            step(&x[1], table, e + 2);
            insert(values, e, c);
            next = refill_column(x, next < end ? next : end);
        }
        for (int i = 0; i < 2 * HALVES; i++)
            vst1q_u8(units + GROUP * i, vreinterpretq_u8_u32(values[i]));
    }
    for (int i = 0; i < 2 * HALVES; i++) {
        vst1q_u32(lanes->states + 8 * i, first_four(states[i / HALVES][i % HALVES]));
        vst1q_u32(lanes->states + 8 * i + 4, last_four(states[i / HALVES][i % HALVES]));
    }
    lanes->next = next;
}

void en_kernels_init_rans_neon(en_kernels *table)
{
    table->rans_decode = rans_decode;
}
