/* rans_code.c - frequencies for rans.h: from counts, and to and from bytes. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "entropy/rans.h"

enum { TWO_BYTES = 128, LOW_BITS = 8 };

/* ---- from counts ------------------------------------------------------------------------- */

/* Bits that one step of the frequency changes the symbols' total by. */
static double change(double count, unsigned freq, int by)
{
    return count * log2((double)freq / ((double)freq + by));
}

/* Moves frequencies by one, where that costs least, until their sum is right. */
static void fit_sum(en_rans_code *code, const double *counts)
{
    int left = EN_RANS_SCALE;
    for (uint32_t i = 0; i < code->n; i++)
        left -= code->freq[i];
    for (int by = left < 0 ? -1 : 1; left != 0; left -= by) {
        double least = DBL_MAX;
        uint32_t best = 0;
        for (uint32_t i = 0; i < code->n; i++) {
            if (code->freq[i] == 0 || (by < 0 && code->freq[i] == 1))
                continue;
            double bits = change(counts[i], code->freq[i], by);
            if (bits < least) {
                least = bits;
                best = i;
            }
        }
        code->freq[best] = (uint16_t)(code->freq[best] + by);
    }
}

/* A value that would get a whole 4096th for next to nothing is cheaper on the list. */
static bool is_worth_a_slot(double count, double n, double exception_bits)
{
    double slot = n * -log2(1 - 1.0 / EN_RANS_SCALE);
    return count * exception_bits > count * EN_RANS_SCALE_BITS + slot;
}

static uint32_t most_frequent(const uint64_t *counts)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < EN_RANS_SYMBOLS; i++)
        best = counts[i] > counts[best] ? i : best;
    return best;
}

void en_rans_code_build(en_rans_code *code, int32_t base, const uint64_t counts[EN_RANS_SYMBOLS],
                        uint64_t n_outside, double exception_bits, double *bits)
{
    double n = 0, kept[EN_RANS_SYMBOLS] = {0}, n_kept = 0, n_listed = (double)n_outside;
    uint32_t first = EN_RANS_SYMBOLS, last = 0, middle = most_frequent(counts);
    for (uint32_t i = 0; i < EN_RANS_SYMBOLS; i++)
        n += (double)counts[i];
    for (uint32_t i = 0; i < EN_RANS_SYMBOLS; i++) {
        if (i != middle && !is_worth_a_slot((double)counts[i], n, exception_bits)) {
            n_listed += (double)counts[i];
            continue;
        }
        kept[i] = (double)counts[i];
        n_kept += kept[i];
        first = i < first ? i : first;
        last = i;
    }
    *code = (en_rans_code){.base = base + (int32_t)first, .n = last - first + 1};
    for (uint32_t i = first; i <= last; i++) {
        double share = n_kept > 0 ? kept[i] / n_kept * EN_RANS_SCALE : 0;
        bool coded = kept[i] > 0 || i == middle;
        code->freq[i - first] = (uint16_t)(!coded ? 0 : share < 1 ? 1 : lrint(share));
    }
    fit_sum(code, kept + first);
    *bits = n_listed * exception_bits;
    for (uint32_t i = 0; i < code->n; i++)
        if (code->freq[i] > 0)
            *bits += kept[first + i] * (EN_RANS_SCALE_BITS - log2((double)code->freq[i]));
}

/* ---- stored ------------------------------------------------------------------------------ */

size_t en_rans_code_store(const en_rans_code *code, uint8_t *out)
{
    uint8_t *at = out;
    en_store32(at, (uint32_t)code->base);
    at[4] = (uint8_t)(code->n - 1);
    at += 5;
    for (uint32_t i = 0; i < code->n; i++) {
        unsigned freq = code->freq[i];
        if (freq >= TWO_BYTES)
            *at++ = (uint8_t)(TWO_BYTES | freq >> LOW_BITS);
        *at++ = (uint8_t)freq;
    }
    return (size_t)(at - out);
}

entro_status en_rans_code_load(en_rans_code *code, const uint8_t *bytes, size_t n_bytes,
                               size_t *n_used, entro_error *err)
{
    if (n_bytes < 5)
        return en_fail(err, ENTRO_ERR_FORMAT, "a table of frequencies has only %zu bytes", n_bytes);
    *code = (en_rans_code){.base = (int32_t)en_load32(bytes), .n = bytes[4] + 1u};
    size_t at = 5;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < code->n; i++) {
        bool two = at < n_bytes && bytes[at] >= TWO_BYTES;
        if (n_bytes - at < (two ? 2 : 1))
            return en_fail(err, ENTRO_ERR_FORMAT, "a table of frequencies ends after %u of %u", i,
                           code->n);
        unsigned freq =
            two ? (bytes[at] & (TWO_BYTES - 1u)) << LOW_BITS | bytes[at + 1] : bytes[at];
        at += two ? 2 : 1;
        sum += freq;
        code->freq[i] = (uint16_t)freq;
    }
    if (sum != EN_RANS_SCALE || code->freq[0] == 0 || code->freq[code->n - 1] == 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "frequencies of %u symbols add up to %u, expected %d, none of the outer 0",
                       code->n, sum, EN_RANS_SCALE);
    *n_used = at;
    return ENTRO_OK;
}
