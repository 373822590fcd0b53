/* pack_strip.c - see pack_strip.h. */
#include "linear/pack_strip.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum { MAX_BITS = 8, UNIT_VALUES = EN_UNIT_COLS * EN_STRIP_ROWS, UNIT_GROUPS = EN_UNIT_COLS / 4 };

/* ---- units ------------------------------------------------------------------------------- */

/* Splits bytes below 1 << bits into pieces, see entropy/strips.h. */
static void put_pieces(const uint8_t *bytes, unsigned bits, uint8_t *out)
{
    memset(out, 0, en_unit_bytes(bits));
    for (unsigned piece = MAX_BITS, n_done = 0; piece > 0; piece /= 2) {
        if ((bits & piece) == 0)
            continue;
        for (unsigned j = 0; j < UNIT_GROUPS; j++) {
            unsigned up = j * piece % 8, mask = (1u << piece) - 1;
            uint8_t *to = out + j * piece / 8 * EN_STRIP_LANES;
            const uint8_t *from = bytes + j * EN_STRIP_LANES;
            for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++)
                to[lane] = (uint8_t)(to[lane] | (from[lane] >> n_done & mask) << up);
        }
        n_done += piece;
        out += en_unit_bytes(piece);
    }
}

/* Bytes less 'lift' as far as so many bits hold them. */
static void cut(const uint8_t *bytes, unsigned bits, unsigned lift, uint8_t *held)
{
    uint8_t least = (uint8_t)lift, most = (uint8_t)((1u << bits) - 1);
    for (unsigned i = 0; i < UNIT_VALUES; i++) {
        uint8_t v = bytes[i] > least ? (uint8_t)(bytes[i] - least) : 0;
        held[i] = v < most ? v : most;
    }
}

/* Lists what was cut off.  False when there is no room. */
static bool list_cut(en_pack_cut_off *off, const uint8_t *bytes, const uint8_t *held, unsigned lift,
                     uint32_t unit)
{
    for (unsigned i = 0; i < UNIT_VALUES; i++) {
        if (i % 8 == 0 &&
            en_load64(held + i) + lift * UINT64_C(0x0101010101010101) == en_load64(bytes + i)) {
            i += 7; /* all eight are whole */
            continue;
        }
        int32_t left = (int32_t)bytes[i] - (int32_t)lift - held[i];
        if (left == 0)
            continue;
        if (off->n == off->max)
            return false;
        uint32_t lane = i % EN_STRIP_LANES, group = i / EN_STRIP_LANES;
        off->entries[off->n++] =
            (en_strip_exception){lane / 4, unit * EN_UNIT_COLS + group * 4 + lane % 4, left};
    }
    return true;
}

/* Units of one class.  False when there are too many values that do not fit. */
static bool pack_units(en_pack_cut_off *off, const uint8_t *from, unsigned decoded_bits,
                       en_pack_layout layout, uint32_t first_unit, uint32_t n_units, uint8_t *out)
{
    uint8_t bytes[UNIT_VALUES], held[UNIT_VALUES];
    if (layout.bits == decoded_bits) {
        memcpy(out, from, n_units * en_unit_bytes(decoded_bits));
        return true;
    }
    for (uint32_t i = 0; i < n_units; i++) {
        en_kernels_get()->unit_expand(from, decoded_bits, 1, 0, bytes);
        cut(bytes, layout.bits, layout.lift, held);
        put_pieces(held, layout.bits, out);
        if (!list_cut(off, bytes, held, layout.lift, first_unit + i))
            return false;
        from += en_unit_bytes(decoded_bits);
        out += en_unit_bytes(layout.bits);
    }
    return true;
}

bool en_pack_cut_strip(const en_strip_matrix *m, const en_pack_layout *layouts, uint32_t row_class,
                       const uint8_t *units, uint8_t *out, en_pack_cut_off *off)
{
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        uint32_t both = row_class * m->n_col_classes + i, n = m->col_class_end[i] - first;
        unsigned bits = en_strip_decoded_bits(m->layouts[both].mode);
        if (!pack_units(off, units, bits, layouts[both], first, n, out))
            return false;
        units += n * en_unit_bytes(bits);
        out += n * en_unit_bytes(layouts[both].bits);
    }
    return true;
}
