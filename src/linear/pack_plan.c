/* pack_plan.c - see pack_plan.h. */
#include "linear/pack_plan.h"

#include "kernels/kernels.h"

enum { MAX_BITS = 8, UNIT_VALUES = EN_UNIT_COLS * EN_STRIP_ROWS };

/* The bits that take least, and where they begin, for values counted below 1 << most. */
static en_pack_layout cheapest(const uint32_t *counts, unsigned most)
{
    uint64_t n_all = 0;
    for (unsigned v = 0; v < 1u << most; v++)
        n_all += counts[v];
    en_pack_layout best = {(uint8_t)most, 0};
    double least = most;
    for (unsigned bits = 1; bits < most; bits++) {
        unsigned width = 1u << bits;
        uint64_t inside = 0;
        for (unsigned v = 0; v < 1u << most; v++) {
            inside += counts[v] - (v >= width ? counts[v - width] : 0);
            double share = n_all > 0 ? (double)(n_all - inside) / (double)n_all : 1.0;
            double price = bits + EN_PACK_LISTED_BITS * share;
            if (v + 1 >= width && price < least) {
                least = price;
                best = (en_pack_layout){(uint8_t)bits, (uint8_t)(v + 1 - width)};
            }
        }
    }
    return best;
}

/* Counts the values of the first strip of a chunk, without its list, by column class. */
static void count_strip(const en_strip_matrix *m, uint32_t chunk,
                        uint32_t counts[EN_STRIP_MAX_COL_CLASSES][1 << MAX_BITS])
{
    enum { AT_ONCE = 8 };
    uint8_t units[AT_ONCE * EN_STRIP_LANES * MAX_BITS], bytes[AT_ONCE * UNIT_VALUES];
    en_strip_reader reader;
    en_strip_reader_start(&reader, m, chunk, NULL);
    for (uint32_t i = 0, done = 0; i < m->n_col_classes; i++) {
        uint32_t both = reader.place.row_class * m->n_col_classes + i, n;
        en_strip_mode mode = m->layouts[both].mode;
        for (; done < m->col_class_end[i]; done += n) {
            n = m->col_class_end[i] - done;
            n = n < AT_ONCE ? n : AT_ONCE;
            en_strip_reader_run(&reader, i, n, units);
            en_kernels_get()->unit_expand(units, en_strip_decoded_bits(mode), n, 0, bytes);
            for (uint32_t v = 0; v < n * UNIT_VALUES; v++)
                counts[i][bytes[v]]++;
        }
    }
}

/* Coding 4 says how often its values occur. */
static void plan_by_frequencies(const en_strip_matrix *m, en_pack_layout *layouts)
{
    for (uint32_t i = 0; i < m->n_row_classes * m->n_col_classes; i++) {
        uint32_t counts[1 << MAX_BITS] = {0};
        for (uint32_t v = 0; v < m->rans[i].n; v++)
            counts[v] = m->rans[i].freq[v];
        layouts[i] = cheapest(counts, MAX_BITS);
    }
}

void en_pack_plan(const en_strip_matrix *m, en_pack_layout *layouts)
{
    enum { N_SAMPLED = 6 };
    if (m->rans != NULL) {
        plan_by_frequencies(m, layouts);
        return;
    }
    for (uint32_t r = 0, first = 0, n; r < m->n_row_classes; r++, first += n) {
        uint32_t counts[EN_STRIP_MAX_COL_CLASSES][1 << MAX_BITS] = {0};
        uint32_t n_strips = m->row_class_end[r] - (r == 0 ? 0 : m->row_class_end[r - 1]);
        n = (n_strips + m->strips_per_chunk - 1) / m->strips_per_chunk;
        for (uint32_t i = 0; i < N_SAMPLED; i++)
            count_strip(m, first + (uint32_t)((2 * i + 1) * (uint64_t)n / (2 * N_SAMPLED)), counts);
        for (uint32_t i = 0; i < m->n_col_classes; i++) {
            uint32_t both = r * m->n_col_classes + i;
            layouts[both] = cheapest(counts[i], en_strip_decoded_bits(m->layouts[both].mode));
        }
    }
}

void en_pack_plan_as_decoded(const en_strip_matrix *m, en_pack_layout *layouts)
{
    for (uint32_t i = 0; i < m->n_row_classes * m->n_col_classes; i++)
        layouts[i] = (en_pack_layout){(uint8_t)en_strip_decoded_bits(m->layouts[i].mode), 0};
}

uint64_t en_pack_strip_bytes(const en_strip_matrix *m, const en_pack_layout *layouts,
                             uint32_t row_class)
{
    uint64_t n = 0;
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++])
        n += (m->col_class_end[i] - first) *
             en_unit_bytes(layouts[row_class * m->n_col_classes + i].bits);
    return n;
}

uint64_t en_pack_place_classes(const en_strip_matrix *m, const en_pack_layout *layouts,
                               uint64_t starts[EN_STRIP_MAX_ROW_CLASSES])
{
    uint64_t n_bytes = 0;
    for (uint32_t i = 0, first = 0; i < m->n_row_classes; first = m->row_class_end[i++]) {
        starts[i] = n_bytes;
        n_bytes += (m->row_class_end[i] - first) * en_pack_strip_bytes(m, layouts, i);
    }
    return n_bytes;
}
