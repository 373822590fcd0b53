/*
 * strips_ref.c - coding 2 (entropy/strips.h) in plain C: the truth for the other variants.
 */
#include "base/bytes.h"
#include "kernels/kernels.h"

enum { HALF = EN_STRIP_LANES / 2 };

static void refill(en_strip_lanes *l)
{
    for (unsigned half = 0; half < 2; half++) {
        const uint8_t *next = l->next;
        for (unsigned i = 0; i < HALF; i++) {
            unsigned lane = 2 * i + half;
            if (l->position[lane] < 16)
                continue;
            l->position[lane] -= 16;
            l->low[half][i] = l->high[half][i];
            l->high[half][i] = en_load16(next);
            next += 2;
        }
        l->next = next < l->end ? next : l->end;
    }
}

static uint8_t next_symbol(en_strip_lanes *l, unsigned lane, const en_pair_table *table)
{
    unsigned half = lane % 2, i = lane / 2;
    uint32_t bits = l->low[half][i] | (uint32_t)l->high[half][i] << 16;
    unsigned window = bits >> l->position[lane] & (EN_PAIR_ENTRIES - 1);
    l->position[lane] = (uint8_t)(l->position[lane] + table->length[window]);
    return table->symbol[window];
}

/* The raw bits of both values, where they lie in the two nibbles of a decoded byte: those of N modes
 * at the bottom, those of W modes at the top. */
static unsigned raw_of(const uint8_t *unit, en_strip_mode mode, unsigned step, unsigned lane)
{
    const uint8_t *at = unit + lane;
    unsigned pair = at[step / 2 * EN_STRIP_LANES * (en_strip_raw_bits(mode) > 1)] >> step % 2 * 2;
    switch (mode) {
    case EN_STRIP_N1: return at[0] >> step & 0x11;
    case EN_STRIP_N2: return pair & 0x33;
    case EN_STRIP_W1: return (at[0] >> step & 0x11) << 3;
    case EN_STRIP_W2: return (pair & 0x33) << 2;
    case EN_STRIP_W3: return (pair & 0x33) << 2 | (at[2 * EN_STRIP_LANES] >> step & 0x11) << 1;
    case EN_STRIP_W4: return at[step * EN_STRIP_LANES];
    case EN_STRIP_N0:
    case EN_STRIP_MODE_COUNT: break;
    }
    return 0;
}

static void decode_step(en_strip_lanes *l, const en_pair_table *table, en_strip_mode mode,
                        unsigned step, uint8_t first[EN_STRIP_LANES],
                        uint8_t second[EN_STRIP_LANES])
{
    if (step % 2 == 0)
        refill(l);
    for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++) {
        unsigned symbol = next_symbol(l, lane, table), low = symbol & 15, high = symbol >> 4;
        unsigned raw = mode == EN_STRIP_N0 ? 0 : raw_of(l->raw, mode, step, lane);
        if (en_strip_is_wide(mode)) {
            unsigned shift = 4 - en_strip_raw_bits(mode);
            first[lane] = (uint8_t)((low << 4 | (raw & 15)) >> shift);
            second[lane] = (uint8_t)((high << 4 | raw >> 4) >> shift);
        } else {
            unsigned mask = (1u << en_strip_raw_bits(mode)) - 1;
            first[lane] = (uint8_t)((low & ~mask) | (raw & mask));
            second[lane] = (uint8_t)((high & ~mask) | (raw >> 4 & mask));
        }
    }
}

/* sums[row] += what four neighbouring columns give. */
static void multiply(const uint8_t values[EN_STRIP_LANES], const int8_t *x, int32_t *sums)
{
    for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++)
        sums[lane / 4] += values[lane] * x[lane % 4];
}

static void dot_chunk(en_strip_lanes *l, const en_pair_table *table, en_strip_mode mode,
                      size_t n_units, const int8_t *const *x, size_t n_vectors, int32_t *sums)
{
    uint8_t first[EN_STRIP_LANES], second[EN_STRIP_LANES];
    for (size_t unit = 0; unit < n_units; unit++) {
        for (unsigned step = 0; step < EN_UNIT_STEPS; step++) {
            decode_step(l, table, mode, step, first, second);
            for (size_t v = 0; v < n_vectors; v++) {
                const int8_t *at = x[v] + unit * EN_UNIT_COLS + step * EN_STEP_COLS;
                multiply(first, at, sums + v * EN_STRIP_ROWS);
                multiply(second, at + 4, sums + v * EN_STRIP_ROWS);
            }
        }
        l->raw += en_strip_raw_unit_bytes(mode);
    }
}

static void strip_dot(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                      en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                      int32_t *sums)
{
    for (size_t i = 0; i < n_chunks; i++)
        dot_chunk(lanes[i], table, mode, n_units, x, n_vectors,
                  sums + i * n_vectors * EN_STRIP_ROWS);
}

static void decode_chunk(en_strip_lanes *l, const en_pair_table *table, en_strip_mode mode,
                         size_t n_units, uint8_t *out)
{
    uint8_t first[EN_STRIP_LANES], second[EN_STRIP_LANES];
    for (size_t unit = 0; unit < n_units; unit++) {
        for (unsigned step = 0; step < EN_UNIT_STEPS; step++) {
            decode_step(l, table, mode, step, first, second);
            for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++) {
                bool wide = en_strip_is_wide(mode);
                out[lane] = wide ? first[lane] : (uint8_t)(first[lane] | second[lane] << 4);
                if (wide)
                    out[EN_STRIP_LANES + lane] = second[lane];
            }
            out += en_strip_unit_bytes(mode) / EN_UNIT_STEPS;
        }
        l->raw += en_strip_raw_unit_bytes(mode);
    }
}

static void strip_decode(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                         en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride)
{
    for (size_t i = 0; i < n_chunks; i++)
        decode_chunk(lanes[i], table, mode, n_units, out + i * stride);
}

enum { UNIT_GROUPS = EN_UNIT_COLS / 4 };

static unsigned unit_value(const uint8_t *unit, unsigned bits, unsigned group, unsigned lane)
{
    unsigned value = 0, n_known = 0;
    for (unsigned piece = 8; piece > 0; piece /= 2) {
        if ((bits & piece) == 0)
            continue;
        unsigned per_byte = 8 / piece;
        unsigned byte = unit[group / per_byte * EN_STRIP_LANES + lane];
        unsigned part = byte >> group % per_byte * piece & ((1u << piece) - 1);
        value |= part << n_known;
        n_known += piece;
        unit += en_unit_bytes(piece);
    }
    return value;
}

static void unit_dot(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *sums)
{
    uint8_t values[EN_STRIP_LANES];
    for (size_t unit = 0; unit < n_units; unit++, units += en_unit_bytes(bits))
        for (unsigned group = 0; group < UNIT_GROUPS; group++) {
            for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++)
                values[lane] = (uint8_t)unit_value(units, bits, group, lane);
            for (size_t v = 0; v < n_vectors; v++)
                multiply(values, x[v] + unit * EN_UNIT_COLS + 4 * group, sums + v * EN_STRIP_ROWS);
        }
}

static void unit_expand(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                        uint8_t *out)
{
    for (size_t unit = 0; unit < n_units; unit++, units += en_unit_bytes(bits))
        for (unsigned group = 0; group < UNIT_GROUPS; group++)
            for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++)
                *out++ = (uint8_t)(unit_value(units, bits, group, lane) + lift);
}

/* Four sums a row: entries of one row in a row would wait for each other. */
static void add_small(const en_strip_list *list, const int16_t *q, int64_t *sums)
{
    enum { WAYS = 4, N_DELTAS = 16 };
    int32_t deltas[N_DELTAS] = {0};
    int64_t parts[WAYS][EN_STRIP_ROWS] = {0};
    for (int i = 1; i < N_DELTAS; i++)
        deltas[i] = (i - 8) * (1 << list->shift);
    for (uint32_t i = 0; i < list->n; i++) {
        uint32_t tag = list->tags[i], col = en_load16(list->cols + 2 * (size_t)i);
        parts[i % WAYS][tag & 15] += (int64_t)deltas[tag >> 4] * q[col];
    }
    for (unsigned r = 0; r < EN_STRIP_ROWS; r++)
        sums[r] += parts[0][r] + parts[1][r] + parts[2][r] + parts[3][r];
}

/* Entries from 'at' on, eight at most, whose tags have no difference: the top bit of each one's byte. */
static uint64_t find_large(const en_strip_list *list, uint32_t at)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7F;
    uint64_t tags = 0;
    uint32_t left = list->n - at;
    if (left >= 8)
        tags = en_load64(list->tags + at);
    else
        memcpy(&tags, list->tags + at, left);
    uint64_t upper = tags & 0xF0F0F0F0F0F0F0F0;
    uint64_t large = ~(((upper & low) + low) | upper | low);
    return left >= 8 ? large : large & ((1ull << 8 * left) - 1);
}

static void list_add(const en_strip_list *list, const int16_t *q, int64_t *sums)
{
    add_small(list, q, sums);
    for (uint32_t at = 0, k = 0; k < list->n_large && at < list->n; at += 8)
        for (uint64_t large = find_large(list, at); large != 0 && k < list->n_large;
             large &= large - 1)
            en_strip_list_add_large(list, at + (uint32_t)__builtin_ctzll(large) / 8, k++, q, sums);
}

static uint32_t list_scan(const en_strip_list *list, uint32_t *n_large)
{
    uint32_t last = 0, n = 0;
    for (uint32_t i = 0; i < list->n; i++)
        n += list->tags[i] < 16;
    for (uint32_t i = 0; i < list->n; i++) {
        uint32_t col = en_load16(list->cols + 2 * (size_t)i);
        last = col > last ? col : last;
    }
    *n_large = n;
    return last;
}

static void strip_sums(const int32_t *dots, int64_t base, int64_t *sums)
{
    for (unsigned r = 0; r < EN_STRIP_ROWS; r++)
        sums[r] = (int64_t)dots[r] * 128 + dots[EN_STRIP_ROWS + r] + base;
}

static void strip_outputs(const int64_t *sums, const float *steps, const float *offsets,
                          double scale, double all, float *out)
{
    for (unsigned r = 0; r < EN_STRIP_ROWS; r++)
        out[r] = (float)(scale * ((double)steps[r] * (double)sums[r] + (double)offsets[r] * all));
}

void en_kernels_init_strips_ref(en_kernels *table)
{
    table->strip_dot = strip_dot;
    table->strip_decode = strip_decode;
    table->unit_dot = unit_dot;
    table->unit_expand = unit_expand;
    table->list_add = list_add;
    table->list_scan = list_scan;
    table->strip_sums = strip_sums;
    table->strip_outputs = strip_outputs;
}
