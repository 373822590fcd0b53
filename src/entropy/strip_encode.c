/*
 * strip_encode.c - integers to the streams of a chunk; see strips.h.
 *
 * Codes are kept step by step (64 of them), then the decoder's demand is played back: which lane
 * takes a word when depends on lengths only.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/strips.h"

enum { COLS_APART = EN_STEP_COLS / 2, HALF = EN_STRIP_LANES / 2 };

struct en_strip_encoder {
    uint8_t *codes, *lengths; /* EN_STRIP_LANES a step */
    size_t n_steps, cap_codes, cap_lengths;
    uint8_t *raw;
    size_t n_raw, cap_raw;
    en_strip_exception *list;
    size_t n_list, cap_list;
    uint8_t *words;
    size_t n_words_bytes, cap_words;
    bool finished;
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
    en_free(e->codes);
    en_free(e->lengths);
    en_free(e->raw);
    en_free(e->list);
    en_free(e->words);
    en_free(e);
}

void en_strip_encoder_start(en_strip_encoder *e)
{
    e->n_steps = e->n_raw = e->n_list = e->n_words_bytes = 0;
    e->finished = false;
}

/* ---- values ------------------------------------------------------------------------------ */

static unsigned value_of(int32_t z, en_strip_layout layout, int32_t *delta)
{
    int64_t v = (int64_t)z - layout.base, most = (1 << en_strip_value_bits(layout.mode)) - 1;
    int64_t held = v < 0 ? 0 : v > most ? most : v;
    *delta = (int32_t)(v - held);
    return (unsigned)held;
}

/* What is coded of a value, as a nibble. */
static unsigned high_part(unsigned v, en_strip_mode mode)
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
    for (size_t r = 0; r < EN_STRIP_ROWS; r++)
        for (size_t k = 0; k < n_cols; k += EN_STEP_COLS)
            for (size_t c = 0; c < COLS_APART; c++) {
                const int32_t *p = z + r * stride + k + c;
                int32_t d1, d2;
                unsigned a = value_of(p[0], layout, &d1), b = value_of(p[COLS_APART], layout, &d2);
                *n_outside += (d1 != 0) + (d2 != 0);
                counts[high_part(a, layout.mode) | high_part(b, layout.mode) << 4]++;
            }
}

/* ---- one run ----------------------------------------------------------------------------- */

static bool reserve(en_strip_encoder *e, size_t n_steps, size_t n_raw)
{
    size_t n = (e->n_steps + n_steps) * EN_STRIP_LANES;
    return (n <= e->cap_codes || en_grow((void **)&e->codes, &e->cap_codes, n, SIZE_MAX, 1)) &&
           (n <= e->cap_lengths ||
            en_grow((void **)&e->lengths, &e->cap_lengths, n, SIZE_MAX, 1)) &&
           (e->n_raw + n_raw <= e->cap_raw ||
            en_grow((void **)&e->raw, &e->cap_raw, e->n_raw + n_raw, SIZE_MAX, 1));
}

static bool add_exception(en_strip_encoder *e, size_t row, size_t col, int64_t delta)
{
    if (delta == 0)
        return true;
    if (e->n_list == e->cap_list &&
        !en_grow((void **)&e->list, &e->cap_list, e->n_list + 1, SIZE_MAX, sizeof *e->list))
        return false;
    e->list[e->n_list++] = (en_strip_exception){(uint32_t)row, (uint32_t)col, (int32_t)delta};
    return true;
}

/*
 * Puts the raw bits of the two values of a lane in their place.
 *   N1, W1: bit j of the low nibble is step j's first value, of the high nibble its second
 *   N2:     two vectors, of steps 0, 1 and of 2, 3; step j has bits 2 (j mod 2) of each nibble
 *   W2:     the same
 *   W3:     two vectors as in W2 with the upper two raw bits, then one as in W1 with the lowest
 *   W4:     one vector a step: the nibbles are the raw bits
 */
static void put_raw(uint8_t *unit, en_strip_mode mode, unsigned step, unsigned lane, unsigned a,
                    unsigned b)
{
    uint8_t *at = unit + lane;
    switch (mode) {
    case EN_STRIP_N0:
    case EN_STRIP_MODE_COUNT: break;
    case EN_STRIP_N1:
    case EN_STRIP_W1: *at |= (uint8_t)(a << step | b << (4 + step)); break;
    case EN_STRIP_N2:
    case EN_STRIP_W2:
        at[step / 2 * EN_STRIP_LANES] |= (uint8_t)((a | b << 4) << step % 2 * 2);
        break;
    case EN_STRIP_W3:
        at[step / 2 * EN_STRIP_LANES] |= (uint8_t)((a >> 1 | b >> 1 << 4) << step % 2 * 2);
        at[2 * EN_STRIP_LANES] |= (uint8_t)((a & 1) << step | (b & 1) << (4 + step));
        break;
    case EN_STRIP_W4: at[step * EN_STRIP_LANES] |= (uint8_t)(a | b << 4); break;
    }
}

typedef struct place {
    const int32_t *z; /* first of the pair */
    size_t row, col;  /* in the chunk */
    unsigned step, lane;
} place;

static bool add_pair(en_strip_encoder *e, const place *p, en_strip_layout layout,
                     const en_pair_code *code, uint8_t *raw_unit)
{
    en_strip_mode mode = layout.mode;
    unsigned mask = (1u << en_strip_raw_bits(mode)) - 1;
    int32_t outside;
    unsigned a = value_of(p->z[0], layout, &outside);
    unsigned b = value_of(p->z[COLS_APART], layout, &outside);
    unsigned kept = code->kept[high_part(a, mode) | high_part(b, mode) << 4];
    size_t at = e->n_steps * EN_STRIP_LANES + p->lane;
    e->codes[at] = code->code[kept];
    e->lengths[at] = code->length[kept];
    put_raw(raw_unit, mode, p->step, p->lane, a & mask, b & mask);
    int64_t got_a = (int64_t)value_of_high(kept & 15, a & mask, mode) + layout.base;
    int64_t got_b = (int64_t)value_of_high(kept >> 4, b & mask, mode) + layout.base;
    return add_exception(e, p->row, p->col, p->z[0] - got_a) &&
           add_exception(e, p->row, p->col + COLS_APART, p->z[COLS_APART] - got_b);
}

entro_status en_strip_encoder_add(en_strip_encoder *e, const int32_t *z, size_t stride,
                                  size_t n_cols, en_strip_layout layout, const en_pair_code *code,
                                  uint32_t row, uint32_t col, entro_error *err)
{
    size_t unit_bytes = en_strip_raw_unit_bytes(layout.mode);
    size_t n_raw = n_cols / EN_UNIT_COLS * unit_bytes;
    if (!reserve(e, n_cols / EN_STEP_COLS, n_raw))
        return en_fail_memory(err);
    if (n_raw > 0)
        memset(e->raw + e->n_raw, 0, n_raw);
    for (size_t k = 0; k < n_cols; k += EN_STEP_COLS, e->n_steps++) {
        uint8_t *raw_unit = e->raw + e->n_raw + k / EN_UNIT_COLS * unit_bytes;
        unsigned step = (unsigned)(k / EN_STEP_COLS % EN_UNIT_STEPS);
        for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++) {
            size_t r = lane / 4, c = k + lane % 4;
            place p = {z + r * stride + c, row + r, col + c, step, lane};
            if (!add_pair(e, &p, layout, code, raw_unit))
                return en_fail_memory(err);
        }
    }
    e->n_raw += n_raw;
    return ENTRO_OK;
}

/* ---- the words --------------------------------------------------------------------------- */

/* One lane's bits, read in the order of steps. */
typedef struct lane_bits {
    uint64_t acc;
    unsigned n;
    size_t step; /* the next code to take */
} lane_bits;

static uint16_t next_word(const en_strip_encoder *e, lane_bits *l, unsigned lane)
{
    for (; l->n < 16 && l->step < e->n_steps; l->step++) {
        size_t at = l->step * EN_STRIP_LANES + lane;
        l->acc |= (uint64_t)e->codes[at] << l->n;
        l->n += e->lengths[at];
    }
    uint16_t word = (uint16_t)l->acc;
    l->acc >>= 16;
    l->n = l->n < 16 ? 0 : l->n - 16;
    return word;
}

static void put_word(en_strip_encoder *e, lane_bits *l, unsigned lane)
{
    en_store16(e->words + e->n_words_bytes, next_word(e, &l[lane], lane));
    e->n_words_bytes += 2;
}

static void put_words(en_strip_encoder *e)
{
    lane_bits bits[EN_STRIP_LANES] = {{0}};
    unsigned position[EN_STRIP_LANES] = {0};
    for (unsigned half = 0; half < 2; half++)
        for (unsigned i = 0; i < HALF; i++)
            put_word(e, bits, 2 * i + half);
    for (unsigned half = 0; half < 2; half++)
        for (unsigned i = 0; i < HALF; i++)
            put_word(e, bits, 2 * i + half);
    for (size_t step = 0; step < e->n_steps; step++) {
        for (unsigned i = 0; step % 2 == 0 && i < EN_STRIP_LANES; i++) {
            unsigned lane = 2 * (i % HALF) + i / HALF;
            if (position[lane] >= 16) {
                put_word(e, bits, lane);
                position[lane] -= 16;
            }
        }
        for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++)
            position[lane] += e->lengths[step * EN_STRIP_LANES + lane];
    }
}

static int compare_places(const void *a, const void *b)
{
    const en_strip_exception *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->col < y->col ? -1 : x->col > y->col;
}

static entro_status finish(en_strip_encoder *e, entro_error *err)
{
    /* A code is at most 7 bits, and each lane looks two words ahead. */
    size_t most = 2 * EN_STRIP_LANES * (e->n_steps * EN_PAIR_MAX_BITS / 16 + 3);
    if (most > e->cap_words && !en_grow((void **)&e->words, &e->cap_words, most, SIZE_MAX, 1))
        return en_fail_memory(err);
    put_words(e);
    if (e->n_list > 0)
        qsort(e->list, e->n_list, sizeof *e->list, compare_places);
    e->finished = true;
    return ENTRO_OK;
}

entro_status en_strip_encoder_finish(en_strip_encoder *e, const uint8_t **words, size_t *n_words,
                                     const uint8_t **raw, size_t *n_raw,
                                     const en_strip_exception **list, size_t *n_list,
                                     entro_error *err)
{
    if (!e->finished)
        EN_TRY(finish(e, err));
    *words = e->words;
    *n_words = e->n_words_bytes;
    *raw = e->raw;
    *n_raw = e->n_raw;
    *list = e->list;
    *n_list = e->n_list;
    return ENTRO_OK;
}
