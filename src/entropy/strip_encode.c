/*
 * strip_encode.c - integers to the streams of a chunk; see strips.h.
 *
 * A unit (16 rows, 4 steps) at a time:
 *
 *   clamp    integers to values: for every step 64 bytes 'a' and, four columns further on, 64 'b'
 *   raw      their low bits to the unit's vectors
 *   look up  the pairs of their high parts: code, length, and whether the pair had to be replaced
 *   append   each lane's bits to the words the decoder will ask for
 *   list     what the decoder will get wrong
 *
 * When a decoder asks for a lane's next word is known as soon as the lane's bits are: it holds the
 * word at hand and the next one, and asks for another when the one at hand is used up.  So each lane
 * has a place in the stream for either; when its bits fill the first, it goes on in the second, and
 * the next free place is the one the decoder asks for at this very moment.
 */

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/exception_list.h"

enum {
    COLS_APART = EN_STEP_COLS / 2,
    HALF = EN_STRIP_LANES / 2,
    /* What is looked up by a pair: */
    LENGTH_SHIFT = 8,
    CODE_MASK = 127,
    LENGTH_MASK = 7,
    REPLACED = 1 << 15,
};

struct en_strip_encoder {
    uint8_t *words;
    size_t cap_words;
    uint32_t n_words; /* places taken, also those without their bits yet */
    bool finished;
    /* Of each lane, in the order in which the decoder looks at them: */
    uint32_t bits[EN_STRIP_LANES], n_bits[EN_STRIP_LANES]; /* not yet in a word */
    uint32_t place[EN_STRIP_LANES], next_place[EN_STRIP_LANES];

    uint8_t *raw;
    size_t n_raw, cap_raw;
    en_exception_list list;
};

entro_status en_strip_encoder_new(en_strip_encoder **out, entro_error *err)
{
    *out = en_alloc_zero(1, sizeof **out);
    return *out ? ENTRO_OK : en_fail_memory(err);
}

void en_strip_encoder_free(en_strip_encoder *e)
{
    if (e == NULL)
        return;
    en_free(e->words);
    en_free(e->raw);
    en_free(e->list.items);
    en_free(e);
}

void en_strip_encoder_start(en_strip_encoder *e)
{
    e->n_raw = e->list.n = 0;
    e->finished = false;
    for (uint32_t i = 0; i < EN_STRIP_LANES; i++) {
        e->bits[i] = e->n_bits[i] = 0;
        e->place[i] = i;
        e->next_place[i] = EN_STRIP_LANES + i;
    }
    e->n_words = 2 * EN_STRIP_LANES;
}

/* ---- values ------------------------------------------------------------------------------ */

/* Values of some columns of a row, and whether all are in range.  One that is not keeps its raw bits, so
 * that what is missing is a multiple of 2^raw_bits. */
static inline bool clamp(const int32_t *z, size_t n, en_strip_layout layout, uint8_t *v,
                         uint32_t *n_outside)
{
    int32_t lo = layout.base, hi = lo + (1 << en_strip_value_bits(layout.mode)) - 1;
    uint32_t outside = 0, raw = (1u << en_strip_raw_bits(layout.mode)) - 1;
    for (size_t i = 0; i < n; i++) {
        int32_t held = z[i] < lo ? lo : z[i];
        held = held > hi ? hi : held;
        outside += held != z[i];
        v[i] = (uint8_t)(((uint32_t)(held - lo) & ~raw) | (((uint32_t)z[i] - (uint32_t)lo) & raw));
    }
    *n_outside += outside;
    return outside == 0;
}

/* What is coded of a value, as a nibble. */
static inline unsigned high_part(unsigned v, en_strip_mode mode)
{
    unsigned raw = en_strip_raw_bits(mode);
    return en_strip_is_wide(mode) ? v >> raw : v >> raw << raw;
}

static unsigned value_of_high(unsigned high, unsigned raw_value, en_strip_mode mode)
{
    return (en_strip_is_wide(mode) ? high << en_strip_raw_bits(mode) : high) | raw_value;
}

void en_strip_count(const int32_t *z, size_t stride, size_t n_cols, en_strip_layout layout,
                    uint64_t counts[256], uint64_t *n_outside)
{
    uint32_t tables[COLS_APART][256] = {{0}}; /* several, so that equal neighbours do not wait */
    uint32_t outside = 0;
    for (size_t r = 0; r < EN_STRIP_ROWS; r++)
        for (size_t k = 0; k < n_cols; k += EN_UNIT_COLS) {
            uint8_t v[EN_UNIT_COLS];
            clamp(z + r * stride + k, EN_UNIT_COLS, layout, v, &outside);
            for (size_t i = 0; i < EN_UNIT_COLS; i++)
                v[i] = (uint8_t)high_part(v[i], layout.mode);
            for (size_t s = 0; s < EN_UNIT_COLS; s += EN_STEP_COLS)
                for (size_t c = 0; c < COLS_APART; c++)
                    tables[c][v[s + c] | v[s + c + COLS_APART] << 4]++;
        }
    for (size_t c = 0; c < COLS_APART; c++)
        for (size_t s = 0; s < 256; s++)
            counts[s] += tables[c][s];
    *n_outside += outside;
}

/* ---- one unit ---------------------------------------------------------------------------- */

/* A run that is being coded. */
typedef struct run {
    const int32_t *z;
    size_t stride;
    en_strip_layout layout;
    const en_pair_code *code;
    uint16_t entries[256]; /* by pair */
    uint32_t row, col;     /* of its first weight in the chunk */
} run;

typedef struct unit {
    size_t col;                               /* in the run */
    uint8_t a[EN_UNIT_STEPS][EN_STRIP_LANES]; /* values, by step and lane */
    uint8_t b[EN_UNIT_STEPS][EN_STRIP_LANES]; /* their partners */
    uint16_t entries[EN_UNIT_STEPS][EN_STRIP_LANES];
    uint32_t rows_outside;   /* bit r: row r has a value out of range */
    uint32_t steps_replaced; /* bit j: step j has a pair without a code */
} unit;

static void set_entries(run *r)
{
    for (unsigned s = 0; s < 256; s++) {
        unsigned kept = r->code->kept[s];
        r->entries[s] = (uint16_t)(r->code->code[kept] | r->code->length[kept] << LENGTH_SHIFT |
                                   (kept != s ? REPLACED : 0));
    }
}

static void take_values(const run *r, unit *u)
{
    u->rows_outside = 0;
    for (unsigned row = 0; row < EN_STRIP_ROWS; row++) {
        uint8_t v[EN_UNIT_COLS];
        uint32_t n_outside = 0;
        bool inside =
            clamp(r->z + row * r->stride + u->col, EN_UNIT_COLS, r->layout, v, &n_outside);
        u->rows_outside |= (uint32_t)!inside << row;
        for (unsigned j = 0; j < EN_UNIT_STEPS; j++) {
            memcpy(&u->a[j][4 * row], v + EN_STEP_COLS * j, COLS_APART);
            memcpy(&u->b[j][4 * row], v + EN_STEP_COLS * j + COLS_APART, COLS_APART);
        }
    }
}

static void look_up(const run *r, unit *u)
{
    u->steps_replaced = 0;
    for (unsigned j = 0; j < EN_UNIT_STEPS; j++) {
        uint8_t pairs[EN_STRIP_LANES];
        uint16_t all = 0;
        for (unsigned l = 0; l < EN_STRIP_LANES; l++)
            pairs[l] = (uint8_t)(high_part(u->a[j][l], r->layout.mode) |
                                 high_part(u->b[j][l], r->layout.mode) << 4);
        for (unsigned l = 0; l < EN_STRIP_LANES; l++) {
            u->entries[j][l] = r->entries[pairs[l]];
            all |= u->entries[j][l];
        }
        u->steps_replaced |= (uint32_t)((all & REPLACED) != 0) << j;
    }
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

/* The bits of two steps.  A word is stored whether it is full or not: the next store to its place
 * has more of it. */
static void append(en_strip_encoder *e, const uint16_t *first, const uint16_t *second)
{
    uint8_t *words = e->words;
    uint32_t n_words = e->n_words;
    for (unsigned i = 0; i < EN_STRIP_LANES; i++) {
        unsigned lane = 2 * (i % HALF) + i / HALF;
        uint32_t bits = e->bits[i], n = e->n_bits[i], full = n >> 4;            /* 0 or 1 */
        uint32_t place = e->place[i], next = e->next_place[i], mask = 0 - full; /* no branch */
        en_store16(words + 2 * (size_t)place, (uint16_t)bits);
        e->place[i] = place ^ ((place ^ next) & mask);
        e->next_place[i] = next ^ ((next ^ n_words) & mask);
        n_words += full;
        bits >>= 16 * full;
        n -= 16 * full;
        bits |= (uint32_t)(first[lane] & CODE_MASK) << n;
        n += first[lane] >> LENGTH_SHIFT & LENGTH_MASK;
        bits |= (uint32_t)(second[lane] & CODE_MASK) << n;
        n += second[lane] >> LENGTH_SHIFT & LENGTH_MASK;
        e->bits[i] = bits;
        e->n_bits[i] = n; /* below 16 + 2 * 7 */
    }
    e->n_words = n_words;
}

/* ---- exceptions -------------------------------------------------------------------------- */

static bool check_pair(en_strip_encoder *e, const run *r, const unit *u, unsigned step,
                       unsigned lane)
{
    en_strip_mode mode = r->layout.mode;
    unsigned mask = (1u << en_strip_raw_bits(mode)) - 1, row = lane / COLS_APART;
    unsigned a = u->a[step][lane], b = u->b[step][lane];
    unsigned kept = r->code->kept[high_part(a, mode) | high_part(b, mode) << 4];
    int64_t got_a = (int64_t)value_of_high(kept & 15, a & mask, mode) + r->layout.base;
    int64_t got_b = (int64_t)value_of_high(kept >> 4, b & mask, mode) + r->layout.base;
    size_t col = u->col + step * EN_STEP_COLS + lane % COLS_APART;
    const int32_t *z = r->z + row * r->stride + col;
    return en_exception_list_add(&e->list, r->row + row, r->col + col, z[0] - got_a) &&
           en_exception_list_add(&e->list, r->row + row, r->col + col + COLS_APART,
                                 z[COLS_APART] - got_b);
}

/* Only where there may be one. */
static bool list_exceptions(en_strip_encoder *e, const run *r, const unit *u)
{
    for (unsigned j = 0; j < EN_UNIT_STEPS; j++) {
        if (u->rows_outside == 0 && (u->steps_replaced >> j & 1) == 0)
            continue;
        for (unsigned l = 0; l < EN_STRIP_LANES; l++) {
            bool suspect =
                (u->rows_outside >> l / COLS_APART & 1) != 0 || (u->entries[j][l] & REPLACED) != 0;
            if (suspect && !check_pair(e, r, u, j, l))
                return false;
        }
    }
    return true;
}

/* ---- runs and chunks --------------------------------------------------------------------- */

static bool reserve(en_strip_encoder *e, size_t n_steps, size_t n_raw)
{
    /* No lane takes more than its bits, and one word more when they do not end with one. */
    size_t n = 2 * ((size_t)e->n_words + EN_STRIP_LANES * (n_steps * EN_PAIR_MAX_BITS / 16 + 2));
    return (n <= e->cap_words || en_grow((void **)&e->words, &e->cap_words, n, SIZE_MAX, 1)) &&
           (e->n_raw + n_raw <= e->cap_raw ||
            en_grow((void **)&e->raw, &e->cap_raw, e->n_raw + n_raw, SIZE_MAX, 1));
}

entro_status en_strip_encoder_add(en_strip_encoder *e, const int32_t *z, size_t stride,
                                  size_t n_cols, en_strip_layout layout, const en_pair_code *code,
                                  uint32_t row, uint32_t col, entro_error *err)
{
    size_t unit_bytes = en_strip_raw_unit_bytes(layout.mode);
    run r = {.z = z, .stride = stride, .layout = layout, .code = code, .row = row, .col = col};
    unit u;
    if (!reserve(e, n_cols / EN_STEP_COLS, n_cols / EN_UNIT_COLS * unit_bytes))
        return en_fail_memory(err);
    set_entries(&r);
    for (u.col = 0; u.col < n_cols; u.col += EN_UNIT_COLS) {
        take_values(&r, &u);
        look_up(&r, &u);
        put_raw(&u, layout.mode, e->raw + e->n_raw);
        e->n_raw += unit_bytes;
        for (unsigned j = 0; j < EN_UNIT_STEPS; j += 2)
            append(e, u.entries[j], u.entries[j + 1]);
        if ((u.rows_outside | u.steps_replaced) != 0 && !list_exceptions(e, &r, &u))
            return en_fail_memory(err);
    }
    return ENTRO_OK;
}

/* The last bits of every lane: less than two words. */
static entro_status finish(en_strip_encoder *e, entro_error *err)
{
    if (!reserve(e, 0, 0)) /* nothing was added, perhaps */
        return en_fail_memory(err);
    for (unsigned i = 0; i < EN_STRIP_LANES; i++) {
        en_store16(e->words + 2 * (size_t)e->place[i], (uint16_t)e->bits[i]);
        en_store16(e->words + 2 * (size_t)e->next_place[i], (uint16_t)(e->bits[i] >> 16));
    }
    en_exception_list_sort(&e->list);
    e->finished = true;
    return ENTRO_OK;
}

entro_status en_strip_encoder_finish(en_strip_encoder *e, const uint8_t **words, size_t *n_words,
                                     const uint8_t **raw, size_t *n_raw, en_strip_exception **list,
                                     size_t *n_list, entro_error *err)
{
    if (!e->finished)
        EN_TRY(finish(e, err));
    *words = e->words;
    *n_words = 2 * (size_t)e->n_words;
    *raw = e->raw;
    *n_raw = e->n_raw;
    *list = e->list.items;
    *n_list = e->list.n;
    return ENTRO_OK;
}
