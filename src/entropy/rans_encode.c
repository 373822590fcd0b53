/*
 * rans_encode.c - see rans.h.
 *
 * Decoding runs forwards, so encoding runs backwards: runs are noted until the chunk is complete, then words are
 * written from the end of a buffer towards its start.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/exception_list.h"
#include "entropy/rans.h"

/* A run of columns under one code. */
typedef struct run {
    const int32_t *z;
    size_t stride, n_cols;
    const en_rans_code *code;
    uint32_t row, col;
} run;

struct en_rans_encoder {
    en_rans_encode_fn encode;
    en_rans_symbols symbols; /* of the run that is encoded */
    run *runs;
    size_t n_runs, cap_runs;
    uint8_t *bytes; /* the last n_bytes of cap_bytes are the chunk */
    size_t n_bytes, cap_bytes;
    en_exception_list list;
    bool finished;
};

entro_status en_rans_encoder_new(en_rans_encoder **out, en_rans_encode_fn encode, entro_error *err)
{
    *out = en_alloc_zero(1, sizeof **out);
    if (*out == NULL)
        return en_fail_memory(err);
    (*out)->encode = encode;
    return ENTRO_OK;
}

void en_rans_encoder_free(en_rans_encoder *e)
{
    if (e == NULL)
        return;
    en_free(e->runs);
    en_free(e->bytes);
    en_free(e->list.items);
    en_free(e);
}

void en_rans_encoder_start(en_rans_encoder *e)
{
    e->n_runs = e->n_bytes = e->list.n = 0;
    e->finished = false;
}

entro_status en_rans_encoder_add(en_rans_encoder *e, const int32_t *z, size_t stride, size_t n_cols,
                                 const en_rans_code *code, uint32_t row, uint32_t col,
                                 entro_error *err)
{
    if (e->n_runs == e->cap_runs &&
        !en_grow((void **)&e->runs, &e->cap_runs, e->n_runs + 1, SIZE_MAX, sizeof *e->runs))
        return en_fail_memory(err);
    e->runs[e->n_runs++] = (run){z, stride, n_cols, code, row, col};
    return ENTRO_OK;
}

/* ---- a unit ------------------------------------------------------------------------------ */

void en_rans_symbols_fill(en_rans_symbols *symbols, const en_rans_code *code)
{
    *symbols = (en_rans_symbols){.base = code->base, .n = code->n};
    for (uint32_t i = 0, start = 0; i < code->n; start += code->freq[i++])
        if (code->freq[i] > 0)
            symbols->entries[i] =
                i | (code->freq[i] - 1u) << EN_RANS_FREQ_AT | start << EN_RANS_OFFSET_AT;
    for (uint32_t i = 0, before = 0; i < code->n; i++) {
        uint32_t after = i; /* the outer ones have a frequency */
        while (code->freq[after] == 0)
            after++;
        before = after == i ? i : before;
        symbols->entries[i] = symbols->entries[after - i < i - before ? after : before];
    }
}

void en_rans_encode_ref(en_rans_writing *w, const en_rans_symbols *symbols, const int32_t *z,
                        size_t stride, uint32_t row, uint32_t col)
{
    int64_t lo = symbols->base, hi = lo + symbols->n - 1;
    uint8_t *at = w->at;
    for (uint32_t k = EN_UNIT_COLS; k-- > 0;)
        for (uint32_t r = EN_STRIP_ROWS; r-- > 0;) {
            int64_t wanted = z[r * stride + k];
            int64_t near = wanted < lo ? lo : wanted > hi ? hi : wanted;
            uint32_t e = symbols->entries[near - lo];
            int64_t delta = wanted - lo - (uint8_t)e;
            w->list[w->n_list] = (en_strip_exception){row + r, col + k, (int32_t)delta};
            w->n_list += delta != 0;

            uint32_t freq = (e >> EN_RANS_FREQ_AT & EN_RANS_FIELD) + 1;
            uint32_t *state = &w->states[k % 2 * EN_STRIP_ROWS + r], x = *state;
            /* Where the decoder, behind this symbol, is below 2^16.  A word is stored in any case, for whether it
             * is wanted cannot be foreseen. */
            bool is_full = x >> (32 - EN_RANS_SCALE_BITS) >= freq;
            en_store16(at - 2, (uint16_t)x);
            at -= 2 * is_full;
            x >>= 16 * is_full;
            *state = (x / freq << EN_RANS_SCALE_BITS) + x % freq + (e >> EN_RANS_OFFSET_AT);
        }
    w->at = at;
}

/* ---- a chunk ----------------------------------------------------------------------------- */

/* From a run's last unit to its first. */
static entro_status encode_run(en_rans_encoder *e, en_rans_writing *w, const run *r,
                               entro_error *err)
{
    for (size_t col = r->n_cols; col > 0;) {
        col -= EN_UNIT_COLS;
        /* One more than the unit's: the plain encoder writes before it knows. */
        if (!en_exception_list_reserve(&e->list, EN_UNIT_COLS * EN_STRIP_ROWS + 1))
            return en_fail_memory(err);
        w->list = e->list.items;
        w->n_list = e->list.n;
        e->encode(w, &e->symbols, r->z + col, r->stride, r->row, r->col + (uint32_t)col);
        e->list.n = w->n_list;
    }
    return ENTRO_OK;
}

static entro_status finish(en_rans_encoder *e, entro_error *err)
{
    size_t n_symbols = 0;
    for (size_t i = 0; i < e->n_runs; i++)
        n_symbols += e->runs[i].n_cols * EN_STRIP_ROWS;
    /* A symbol takes at most 12 bits, a state a word more than its own. */
    size_t most = n_symbols / 4 * 6 + 2 * EN_RANS_START_BYTES + EN_RANS_SLACK;
    if (most > e->cap_bytes && !en_grow((void **)&e->bytes, &e->cap_bytes, most, SIZE_MAX, 1))
        return en_fail_memory(err);
    uint8_t *end = e->bytes + e->cap_bytes;
    en_rans_writing w = {.at = end};
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        w.states[i] = EN_RANS_LOWEST;
    const en_rans_code *code = NULL;
    for (size_t i = e->n_runs; i-- > 0;) {
        if (e->runs[i].code != code)
            en_rans_symbols_fill(&e->symbols, e->runs[i].code);
        code = e->runs[i].code;
        EN_TRY(encode_run(e, &w, &e->runs[i], err));
    }
    w.at -= EN_RANS_START_BYTES;
    for (unsigned i = 0; i < EN_RANS_STATES; i++)
        en_store32(w.at + 4 * i, w.states[i]);
    e->n_bytes = (size_t)(end - w.at);
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
