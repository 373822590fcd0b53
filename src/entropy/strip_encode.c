/*
 * strip_encode.c - integers to the streams of a chunk; see strips.h.
 *
 * The work is done by a kernel (strip_encode_template.h), some units at a time.  It names the lanes in
 * which a decoder may get other integers; here these are looked at again, and listed, in the order of the
 * file: by column, then by row.
 */
#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/exception_list.h"

enum { COLS_APART = EN_STEP_COLS / 2, UNITS_A_PIECE = 16 };

struct en_strip_encoder {
    en_strip_encode_fn encode;
    en_strip_strings strings;
    size_t cap_words;
    bool finished;

    uint8_t *raw;
    size_t n_raw, cap_raw;
    en_exception_list list;
};

entro_status en_strip_encoder_new(en_strip_encoder **out, en_strip_encode_fn encode,
                                  entro_error *err)
{
    *out = en_alloc_zero(1, sizeof **out);
    if (*out == NULL)
        return en_fail_memory(err);
    (*out)->encode = encode;
    return ENTRO_OK;
}

void en_strip_encoder_free(en_strip_encoder *e)
{
    if (e == NULL)
        return;
    en_free(e->strings.words);
    en_free(e->raw);
    en_free(e->list.items);
    en_free(e);
}

void en_strip_encoder_start(en_strip_encoder *e)
{
    en_strip_strings *s = &e->strings;
    e->n_raw = e->list.n = 0;
    e->finished = false;
    for (uint32_t i = 0; i < EN_STRIP_LANES; i++) {
        s->bits[i / 32][i % 32] = s->n_bits[i / 32][i % 32] = 0;
        s->place[i / 32][i % 32] = i;
        s->next_place[i / 32][i % 32] = EN_STRIP_LANES + i;
    }
    s->n_words = 2 * EN_STRIP_LANES;
}

/* ---- exceptions -------------------------------------------------------------------------- */

/* What a decoder makes of an integer: its raw bits are right, the rest is what was coded. */
static int64_t decoded(int32_t z, unsigned coded, en_strip_layout layout)
{
    unsigned raw = en_strip_raw_bits(layout.mode);
    unsigned low = ((uint32_t)z - (uint32_t)layout.base) & ((1u << raw) - 1);
    return (int64_t)((en_strip_is_wide(layout.mode) ? coded << raw : coded) | low) + layout.base;
}

/* The high part of an integer, held in range. */
static unsigned high_part(int32_t z, en_strip_layout layout)
{
    unsigned raw = en_strip_raw_bits(layout.mode);
    int64_t v = (int64_t)z - layout.base, most = (1 << en_strip_value_bits(layout.mode)) - 1;
    unsigned held = (unsigned)(v < 0 ? 0 : v > most ? most : v);
    return en_strip_is_wide(layout.mode) ? held >> raw : held >> raw << raw;
}

/* The suspects of a step, in its first four columns or in their partners; (row, col): the step's place in
 * the chunk, z its first integer. */
static bool list_columns(en_strip_encoder *e, const en_strip_run *r, uint64_t suspects,
                         bool partners, const int32_t *z, uint32_t row, size_t col)
{
    const uint64_t first_lanes = UINT64_C(0x1111111111111111);
    for (unsigned c = 0; c < COLS_APART; c++)
        for (uint64_t left = suspects >> c & first_lanes; left != 0; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctzll(left) / COLS_APART;
            const int32_t *pair = z + i * r->stride + c;
            unsigned kept = r->code->kept[high_part(pair[0], r->layout) |
                                          high_part(pair[COLS_APART], r->layout) << 4];
            int32_t found = pair[partners ? COLS_APART : 0];
            int64_t got = decoded(found, partners ? kept >> 4 : kept & 15, r->layout);
            if (!en_exception_list_add(&e->list, row + i, col + c + (partners ? COLS_APART : 0),
                                       found - got))
                return false;
        }
    return true;
}

static bool list_exceptions(en_strip_encoder *e, const en_strip_run *r, const uint64_t *suspects,
                            size_t n_units, uint32_t row, size_t col)
{
    const int32_t *z = r->z;
    for (size_t j = 0; j < n_units * EN_UNIT_STEPS; j++, z += EN_STEP_COLS, col += EN_STEP_COLS)
        if (suspects[j] != 0 && (!list_columns(e, r, suspects[j], false, z, row, col) ||
                                 !list_columns(e, r, suspects[j], true, z, row, col)))
            return false;
    return true;
}

/* ---- runs and chunks --------------------------------------------------------------------- */

static bool reserve(en_strip_encoder *e, size_t n_steps, size_t n_raw)
{
    /* No lane takes more than its bits, and one word more when they do not end with one. */
    size_t n =
        2 * ((size_t)e->strings.n_words + EN_STRIP_LANES * (n_steps * EN_PAIR_MAX_BITS / 16 + 2));
    return (n <= e->cap_words ||
            en_grow((void **)&e->strings.words, &e->cap_words, n, SIZE_MAX, 1)) &&
           (e->n_raw + n_raw <= e->cap_raw ||
            en_grow((void **)&e->raw, &e->cap_raw, e->n_raw + n_raw, SIZE_MAX, 1));
}

entro_status en_strip_encoder_add(en_strip_encoder *e, const int32_t *z, size_t stride,
                                  size_t n_cols, en_strip_layout layout, const en_pair_code *code,
                                  uint32_t row, uint32_t col, entro_error *err)
{
    size_t unit_bytes = en_strip_raw_unit_bytes(layout.mode), n_units = n_cols / EN_UNIT_COLS;
    if (!reserve(e, n_cols / EN_STEP_COLS, n_units * unit_bytes))
        return en_fail_memory(err);
    for (size_t i = 0; i < n_units; i += UNITS_A_PIECE) {
        uint64_t suspects[UNITS_A_PIECE * EN_UNIT_STEPS];
        size_t n = n_units - i < UNITS_A_PIECE ? n_units - i : UNITS_A_PIECE;
        const en_strip_run r = {z + i * EN_UNIT_COLS, stride, layout, code};
        e->encode(&e->strings, &r, n, e->raw + e->n_raw, suspects);
        e->n_raw += n * unit_bytes;
        if (!list_exceptions(e, &r, suspects, n, row, col + i * EN_UNIT_COLS))
            return en_fail_memory(err);
    }
    return ENTRO_OK;
}

/* The last bits of every lane: less than two words. */
static entro_status finish(en_strip_encoder *e, entro_error *err)
{
    if (!reserve(e, 0, 0)) /* nothing was added, perhaps */
        return en_fail_memory(err);
    const en_strip_strings *s = &e->strings;
    for (unsigned i = 0; i < EN_STRIP_LANES; i++) {
        uint32_t bits = s->bits[i / 32][i % 32];
        en_store16(s->words + 2 * (size_t)s->place[i / 32][i % 32], (uint16_t)bits);
        en_store16(s->words + 2 * (size_t)s->next_place[i / 32][i % 32], (uint16_t)(bits >> 16));
    }
    e->finished = true;
    return ENTRO_OK;
}

entro_status en_strip_encoder_finish(en_strip_encoder *e, const uint8_t **words, size_t *n_words,
                                     const uint8_t **raw, size_t *n_raw, en_strip_exception **list,
                                     size_t *n_list, entro_error *err)
{
    if (!e->finished)
        EN_TRY(finish(e, err));
    *words = e->strings.words;
    *n_words = 2 * (size_t)e->strings.n_words;
    *raw = e->raw;
    *n_raw = e->n_raw;
    *list = e->list.items;
    *n_list = e->list.n;
    return ENTRO_OK;
}
