/* rans_decode.c - see rans.h. */
#include <string.h>

#include "base/bytes.h"
#include "entropy/rans.h"

enum { SLOT_MASK = EN_RANS_SCALE - 1 };

void en_rans_table_fill(en_rans_table *table, const en_rans_code *code)
{
    uint32_t slot = 0;
    for (uint32_t s = 0; s < code->n; s++)
        for (uint32_t i = 0; i < code->freq[s]; i++)
            table->slots[slot++] =
                s | (code->freq[s] - 1u) << EN_RANS_FREQ_AT | i << EN_RANS_OFFSET_AT;
}

void en_rans_start(en_rans_lanes *lanes, const uint8_t *bytes, const uint8_t *end)
{
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        lanes->states[i] = en_load32(bytes + 4 * i);
    lanes->next = bytes + EN_RANS_START_BYTES;
    lanes->end = end;
}

void en_rans_decode(en_rans_lanes *lanes, const en_rans_table *table, size_t n_units,
                    uint8_t *units)
{
    enum { GROUP_COLS = 4 };
    uint32_t states[EN_RANS_STATES];
    const uint8_t *next = lanes->next;
    memcpy(states, lanes->states, sizeof states);
    for (size_t g = 0; g < n_units * (EN_UNIT_COLS / GROUP_COLS); g++, units += EN_STRIP_LANES)
        for (size_t c = 0; c < GROUP_COLS; c++) {
            /* A column takes 32 bytes at most, and so many may be read behind the end. */
            next = next < lanes->end ? next : lanes->end;
            for (size_t r = 0; r < EN_STRIP_ROWS; r++) {
                uint32_t *state = &states[c % 2 * EN_STRIP_ROWS + r];
                uint32_t x = *state, e = table->slots[x & SLOT_MASK];
                units[GROUP_COLS * r + c] = (uint8_t)e;
                x = ((e >> EN_RANS_FREQ_AT & EN_RANS_FIELD) + 1) * (x >> EN_RANS_SCALE_BITS) +
                    (e >> EN_RANS_OFFSET_AT);
                uint32_t more = x << 16 | en_load16(next);
                bool low = x < EN_RANS_LOWEST;
                *state = low ? more : x;
                next += low ? 2 : 0;
            }
        }
    memcpy(lanes->states, states, sizeof states);
    lanes->next = next;
}

bool en_rans_ended(const en_rans_lanes *lanes)
{
    uint32_t different = 0;
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        different |= lanes->states[i] ^ EN_RANS_LOWEST;
    return different == 0 && lanes->next == lanes->end;
}
