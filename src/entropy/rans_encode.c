/*
 * rans_encode.c - see rans.h.
 *
 * Decoding runs forwards, so encoding runs backwards: symbols are kept until the chunk is complete, then
 * words are written from the end of a buffer towards its start.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/exception_list.h"
#include "entropy/rans.h"

/* A run of columns under one code. */
typedef struct run {
    const en_rans_code *code;
    size_t n_symbols; /* an even number of columns */
} run;

struct en_rans_encoder {
    uint8_t *symbols; /* of all runs, in the order of decoding */
    size_t n_symbols, cap_symbols;
    run *runs;
    size_t n_runs, cap_runs;
    uint8_t *bytes; /* the last n_bytes of cap_bytes are the chunk */
    size_t n_bytes, cap_bytes;
    en_exception_list list;
    bool finished;
};

entro_status en_rans_encoder_new(en_rans_encoder **out, entro_error *err)
{
    *out = en_alloc_zero(1, sizeof **out);
    return *out ? ENTRO_OK : en_fail_memory(err);
}

void en_rans_encoder_free(en_rans_encoder *e)
{
    if (e == NULL)
        return;
    en_free(e->symbols);
    en_free(e->runs);
    en_free(e->bytes);
    en_free(e->list.items);
    en_free(e);
}

void en_rans_encoder_start(en_rans_encoder *e)
{
    e->n_symbols = e->n_runs = e->n_bytes = e->list.n = 0;
    e->finished = false;
}

/* ---- symbols ----------------------------------------------------------------------------- */

/* What each value of the code's range is coded as: itself, or the nearest with a frequency. */
static void set_kept(const en_rans_code *code, uint8_t kept[EN_RANS_SYMBOLS])
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < code->n; i++) {
        last = code->freq[i] > 0 ? i : last;
        kept[i] = (uint8_t)last;
    }
    for (uint32_t i = code->n - 1, next = i; i > 0; i--) {
        next = code->freq[i] > 0 ? i : next;
        if (next - i < i - kept[i])
            kept[i] = (uint8_t)next;
    }
}

static bool reserve(en_rans_encoder *e, size_t n)
{
    return (n <= e->cap_symbols ||
            en_grow((void **)&e->symbols, &e->cap_symbols, n, SIZE_MAX, 1)) &&
           (e->n_runs < e->cap_runs ||
            en_grow((void **)&e->runs, &e->cap_runs, e->n_runs + 1, SIZE_MAX, sizeof *e->runs));
}

entro_status en_rans_encoder_add(en_rans_encoder *e, const int32_t *z, size_t stride, size_t n_cols,
                                 const en_rans_code *code, uint32_t row, uint32_t col,
                                 entro_error *err)
{
    uint8_t kept[EN_RANS_SYMBOLS];
    size_t n = n_cols * EN_STRIP_ROWS;
    if (!reserve(e, e->n_symbols + n))
        return en_fail_memory(err);
    set_kept(code, kept);
    uint8_t *out = e->symbols + e->n_symbols;
    int64_t lo = code->base, hi = lo + code->n - 1;
    for (size_t k = 0; k < n_cols; k++)
        for (size_t r = 0; r < EN_STRIP_ROWS; r++) {
            int64_t wanted = z[r * stride + k];
            int64_t held = wanted < lo ? lo : wanted > hi ? hi : wanted;
            *out = kept[held - lo];
            held = lo + *out++;
            if (held != wanted && !en_exception_list_add(&e->list, row + r, col + k, wanted - held))
                return en_fail_memory(err);
        }
    e->runs[e->n_runs++] = (run){code, n};
    e->n_symbols += n;
    return ENTRO_OK;
}

/* ---- words ------------------------------------------------------------------------------- */

/*
 * What encoding a symbol takes.  x / freq is x * inverse >> SHIFT, exactly: inverse * freq is 2^SHIFT and less than
 * freq more, and x is below freq * 2^20, so that their product is below 2^SHIFT for all frequencies up to 2^12.
 * Nor does x * inverse reach 2^64.
 */
typedef struct symbol_code {
    uint64_t inverse;
    uint32_t freq, start;
} symbol_code;

enum { SHIFT = 44 };

static void set_symbols(const en_rans_code *code, symbol_code *symbols)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < code->n; i++) {
        uint32_t freq = code->freq[i];
        uint64_t inverse = freq > 0 ? ((UINT64_C(1) << SHIFT) + freq - 1) / freq : 0;
        symbols[i] = (symbol_code){inverse, freq, sum};
        sum += freq;
    }
}

/* From a run's last symbol to its first; returns where the words now begin.  A word is stored in any case, for
 * whether it is wanted cannot be foreseen. */
static uint8_t *encode_run(const run *r, const uint8_t *symbols, uint32_t *states, uint8_t *at)
{
    symbol_code codes[EN_RANS_SYMBOLS];
    set_symbols(r->code, codes);
    for (size_t i = r->n_symbols; i-- > 0;) {
        const symbol_code *c = &codes[symbols[i]];
        uint32_t x = states[i % EN_RANS_STATES];
        /* Where the decoder, behind this symbol, is below 2^16. */
        bool is_full = x >> (32 - EN_RANS_SCALE_BITS) >= c->freq;
        en_store16(at - 2, (uint16_t)x);
        at -= 2 * is_full;
        x >>= 16 * is_full;
        uint32_t quotient = (uint32_t)(x * c->inverse >> SHIFT);
        states[i % EN_RANS_STATES] =
            (quotient << EN_RANS_SCALE_BITS) + x - quotient * c->freq + c->start;
    }
    return at;
}

static entro_status finish(en_rans_encoder *e, entro_error *err)
{
    /* A symbol takes at most 12 bits, a state a word more than its own. */
    size_t most = e->n_symbols / 4 * 6 + 2 * EN_RANS_START_BYTES;
    if (most > e->cap_bytes && !en_grow((void **)&e->bytes, &e->cap_bytes, most, SIZE_MAX, 1))
        return en_fail_memory(err);
    uint32_t states[EN_RANS_STATES];
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        states[i] = EN_RANS_LOWEST;
    uint8_t *end = e->bytes + e->cap_bytes, *at = end;
    size_t left = e->n_symbols;
    for (size_t i = e->n_runs; i-- > 0;) {
        left -= e->runs[i].n_symbols;
        at = encode_run(&e->runs[i], e->symbols + left, states, at);
    }
    at -= EN_RANS_START_BYTES;
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        en_store32(at + 4 * i, states[i]);
    e->n_bytes = (size_t)(end - at);
    en_exception_list_sort(&e->list);
    e->finished = true;
    return ENTRO_OK;
}

entro_status en_rans_encoder_finish(en_rans_encoder *e, const uint8_t **bytes, size_t *n_bytes,
                                    en_strip_exception **list, size_t *n_list, entro_error *err)
{
    if (!e->finished)
        EN_TRY(finish(e, err));
    *bytes = e->bytes + e->cap_bytes - e->n_bytes;
    *n_bytes = e->n_bytes;
    *list = e->list.items;
    *n_list = e->list.n;
    return ENTRO_OK;
}
