/* pair_code.c - see pair_code.h. */
#include "entropy/pair_code.h"

#include <float.h>
#include <string.h>

#include "base/memory.h"
#include "entropy/huffman_lengths.h"

enum { N_SYMBOLS = 256, NONE = 256 };

typedef struct builder {
    const uint64_t *counts;
    double exception_bits;
    uint8_t order[N_SYMBOLS]; /* symbols by count, most frequent first */
    unsigned n_seen;
    uint64_t weights[EN_PAIR_ENTRIES];
    uint8_t bits[EN_PAIR_ENTRIES];
    uint8_t kept[N_SYMBOLS];
    unsigned by_low[16], by_high[16], shortest; /* of kept symbols: places in 'order' */
    en_huffman_work work;
} builder;

static void sort_symbols(builder *b)
{
    for (unsigned s = 0; s < N_SYMBOLS; s++) {
        if (b->counts[s] == 0)
            continue;
        unsigned i = b->n_seen++;
        for (; i > 0 && b->counts[b->order[i - 1]] < b->counts[s]; i--)
            b->order[i] = b->order[i - 1];
        b->order[i] = (uint8_t)s;
    }
    if (b->n_seen == 0) /* nothing to code: any code will do */
        b->n_seen = 1;
}

/* Of two kept symbols (places in 'order', or NONE) the one with the shorter code, else the first. */
static unsigned shorter(const builder *b, unsigned i, unsigned j)
{
    if (i == NONE || j == NONE)
        return i == NONE ? j : i;
    if (b->bits[i] != b->bits[j])
        return b->bits[i] < b->bits[j] ? i : j;
    return i < j ? i : j;
}

/* Finds the shortest codes of the first n symbols: with each low nibble, with each high one, of all. */
static void find_shortest(builder *b, unsigned n)
{
    for (unsigned k = 0; k < 16; k++)
        b->by_low[k] = b->by_high[k] = NONE;
    b->shortest = 0;
    for (unsigned i = 0; i < n; i++) {
        uint8_t s = b->order[i];
        b->by_low[s & 15] = shorter(b, b->by_low[s & 15], i);
        b->by_high[s >> 4] = shorter(b, b->by_high[s >> 4], i);
        b->shortest = shorter(b, b->shortest, i);
    }
}

/* The cheapest of the kept symbols to stand for s; sets *bits to what that takes.  One that shares a
 * nibble needs one exception, any other two. */
static uint8_t substitute(const builder *b, uint8_t s, double *bits)
{
    unsigned best = b->shortest, one = shorter(b, b->by_low[s & 15], b->by_high[s >> 4]);
    *bits = b->bits[best] + 2 * b->exception_bits;
    if (one != NONE) {
        double price = b->bits[one] + b->exception_bits;
        if (price < *bits || (price == *bits && one < best)) {
            *bits = price;
            best = one;
        }
    }
    return b->order[best];
}

/* Bits of everything when the n most frequent symbols are kept. */
static double price(builder *b, unsigned n)
{
    double total = 0;
    for (unsigned i = 0; i < n; i++)
        b->weights[i] = b->counts[b->order[i]] + 1;
    en_huffman_lengths(&b->work, b->weights, n, EN_PAIR_MAX_BITS, b->bits);
    find_shortest(b, n);
    for (unsigned i = 0; i < n; i++) {
        total += (double)b->counts[b->order[i]] * b->bits[i];
        b->kept[b->order[i]] = b->order[i];
    }
    for (unsigned i = n; i < b->n_seen; i++) {
        double bits;
        b->kept[b->order[i]] = substitute(b, b->order[i], &bits);
        total += (double)b->counts[b->order[i]] * bits;
    }
    return total;
}

/* How many symbols to keep: the price falls, then rises, with ripples. */
static unsigned choose(builder *b)
{
    unsigned most = b->n_seen < EN_PAIR_ENTRIES ? b->n_seen : EN_PAIR_ENTRIES, best = 1;
    double least = DBL_MAX;
    for (unsigned n = 1; n <= most; n += n < 4 ? 1 : n < 16 ? 4 : n < 64 ? 8 : 16) {
        double bits = price(b, n);
        if (bits < least) {
            least = bits;
            best = n;
        }
    }
    return best;
}

/* Stored: how many codes of each length 0 to 7 there are, then the symbols in the order of codes. */
static void store(en_pair_code *code, const builder *b, unsigned n)
{
    uint8_t length[N_SYMBOLS];
    memset(length, UINT8_MAX, sizeof length);
    memset(code->stored, 0, sizeof code->stored);
    for (unsigned i = 0; i < n; i++) {
        length[b->order[i]] = b->bits[i];
        code->stored[b->bits[i]]++;
    }
    unsigned place = 8;
    for (unsigned l = 0; l <= EN_PAIR_MAX_BITS; l++)
        for (unsigned s = 0; s < N_SYMBOLS; s++)
            if (length[s] == l)
                code->stored[place++] = (uint8_t)s;
}

static void set_codes(en_pair_code *code)
{
    for (unsigned w = EN_PAIR_ENTRIES; w-- > 0;) { /* the lowest is the code by itself */
        uint8_t s = code->table.symbol[w];
        code->length[s] = code->table.length[w];
        code->code[s] = (uint8_t)w;
    }
    for (unsigned s = 0; s < N_SYMBOLS; s++) {
        unsigned kept = code->kept[s];
        if (kept == s)
            continue;
        code->length[s] = code->length[kept] | EN_PAIR_REPLACED;
        code->code[s] = code->code[kept];
    }
}

entro_status en_pair_code_build(en_pair_code *code, const uint64_t counts[256],
                                double exception_bits, entro_error *err)
{
    builder *b = en_alloc_zero(1, sizeof *b);
    if (b == NULL)
        return en_fail_memory(err);
    *code = (en_pair_code){0};
    b->counts = counts;
    b->exception_bits = exception_bits;
    sort_symbols(b);
    unsigned n = choose(b);
    code->bits = price(b, n);
    store(code, b, n);
    /* Symbols never counted may occur where the counts are a sample. */
    for (unsigned s = 0; s < N_SYMBOLS; s++) {
        double bits;
        code->kept[s] = counts[s] > 0 ? b->kept[s] : substitute(b, (uint8_t)s, &bits);
    }
    en_free(b);
    entro_status status = en_pair_table_load(&code->table, code->stored, err);
    set_codes(code);
    return status;
}

static unsigned reversed(unsigned code, unsigned length)
{
    unsigned r = 0;
    for (unsigned i = 0; i < length; i++)
        r |= (code >> i & 1) << (length - 1 - i);
    return r;
}

entro_status en_pair_table_load(en_pair_table *table, const uint8_t stored[EN_PAIR_STORED_BYTES],
                                entro_error *err)
{
    unsigned n = 0, filled = 0;
    for (unsigned length = 0; length <= EN_PAIR_MAX_BITS; length++) {
        n += stored[length];
        filled += stored[length] * (EN_PAIR_ENTRIES >> length);
    }
    if (n > EN_PAIR_ENTRIES || filled != EN_PAIR_ENTRIES)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "code of pairs has %u symbols that fill %u of %d entries", n, filled,
                       EN_PAIR_ENTRIES);
    unsigned code = 0, place = 8;
    for (unsigned length = 0; length <= EN_PAIR_MAX_BITS; length++, code <<= 1)
        for (unsigned i = 0; i < stored[length]; i++, code++, place++)
            for (unsigned w = reversed(code, length); w < EN_PAIR_ENTRIES; w += 1u << length) {
                table->symbol[w] = stored[place];
                table->length[w] = (uint8_t)length;
            }
    return ENTRO_OK;
}
