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

/* How high parts are taken out of integers, and integers put together again. */
typedef struct rule {
    int64_t base, most;
    unsigned raw, shift; /* bits that lie plainly; bits below what is coded */
} rule;

static rule rule_of(en_strip_layout layout)
{
    unsigned raw = en_strip_raw_bits(layout.mode);
    return (rule){layout.base, (1 << en_strip_value_bits(layout.mode)) - 1, raw,
                  en_strip_is_wide(layout.mode) ? raw : 0};
}

/* Of an integer held in range. */
static unsigned high_part(int32_t z, const rule *r)
{
    int64_t v = z - r->base;
    v = v < 0 ? 0 : v > r->most ? r->most : v;
    return (unsigned)v >> r->raw << (r->raw - r->shift);
}

/* What a decoder misses of an integer: its raw bits are right, the rest is what was coded. */
static int64_t missing(int32_t z, unsigned coded, const rule *r)
{
    unsigned low = (unsigned)(z - r->base) & ((1u << r->raw) - 1);
    return z - r->base - (int64_t)(coded << r->shift | low);
}

/* Lanes by column, in a column by row: bit 4 r + c becomes bit 16 c + r. */
static uint64_t lanes_by_column(uint64_t lanes)
{
    uint64_t by_column = 0;
    for (unsigned c = 0; c < COLS_APART; c++) {
        uint64_t x = lanes >> c & UINT64_C(0x1111111111111111);
        x = (x | x >> 3) & UINT64_C(0x0303030303030303);
        x = (x | x >> 6) & UINT64_C(0x000f000f000f000f);
        x = (x | x >> 12) & UINT64_C(0x000000ff000000ff);
        by_column |= ((x | x >> 24) & 0xffff) << EN_STRIP_ROWS * c;
    }
    return by_column;
}

/* The suspects of a step, first those of its first four columns, then their partners.  (row, col) is the
 * step's place in the chunk, z its first integer.  No branch: many suspects are exceptions in one of two
 * places. */
static bool list_step(en_exception_list *list, const en_strip_run *run, const rule *r,
                      uint64_t suspects, const int32_t *z, uint32_t row, uint32_t col)
{
    en_strip_exception partners[EN_STRIP_LANES], *out;
    size_t n = 0, n_partners = 0;
    if (!en_exception_list_reserve(list, 2 * EN_STRIP_LANES))
        return false;
    out = list->items + list->n;
    for (uint64_t left = lanes_by_column(suspects); left != 0; left &= left - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(left);
        uint32_t i = bit % EN_STRIP_ROWS, c = bit / EN_STRIP_ROWS;
        int32_t a = z[i * run->stride + c], b = z[i * run->stride + c + COLS_APART];
        unsigned kept = run->code->kept[high_part(a, r) | high_part(b, r) << 4];
        int64_t of_a = missing(a, kept & 15, r), of_b = missing(b, kept >> 4, r);
        out[n] = (en_strip_exception){row + i, col + c, (int32_t)of_a};
        n += of_a != 0;
        partners[n_partners] = (en_strip_exception){row + i, col + c + COLS_APART, (int32_t)of_b};
        n_partners += of_b != 0;
    }
    memcpy(out + n, partners, n_partners * sizeof *out);
    list->n += n + n_partners;
    return true;
}

static bool list_exceptions(en_exception_list *list, const en_strip_run *run,
                            const uint64_t *suspects, size_t n_units, uint32_t row, uint32_t col)
{
    const rule r = rule_of(run->layout);
    const int32_t *z = run->z;
    for (size_t j = 0; j < n_units * EN_UNIT_STEPS; j++, z += EN_STEP_COLS, col += EN_STEP_COLS)
        if (suspects[j] != 0 && !list_step(list, run, &r, suspects[j], z, row, col))
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
        if (!list_exceptions(&e->list, &r, suspects, n, row, col + (uint32_t)i * EN_UNIT_COLS))
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
