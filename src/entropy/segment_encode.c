/*
 * segment_encode.c - symbols to streams by walking the tree of words.
 *
 *   step[node][symbol] = next node | bits << 16 | code << 32
 *
 * Inside a word the step gives no bits, at its end all of them (with the rare symbol's code behind
 * an escape), so the walk has no branch on what it meets.  Four streams are walked in turn: a step
 * waits for the one before, steps of different streams do not.
 */
#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/bit_io.h"
#include "entropy/code_words.h"

enum {
    STEP_BITS = 2 * EN_HUFFMAN_MAX_BITS, /* of one symbol at most */
    STREAM_SLACK = 16,                   /* a flush stores 8 bytes */
    HEADER_BYTES = 1 + 4 * (EN_STREAMS - 1),
    TOGETHER = 4
};
_Static_assert(EN_STREAMS % TOGETHER == 0, "streams are walked in groups");

static uint64_t step_of(unsigned node, unsigned bits, uint32_t code)
{
    return node | bits << 16 | (uint64_t)code << 32;
}

static void set_leaf(en_code *code, unsigned node, unsigned letter, const en_word *w)
{
    uint64_t *steps = code->steps + (size_t)node * code->alphabet;
    if (!w->escape) {
        steps[code->common[letter]] = step_of(0, w->bits, w->code);
        return;
    }
    for (unsigned i = 0; i < code->n_rare; i++)
        steps[code->rare[i]] =
            step_of(0, w->bits + code->rare_bits[i],
                    (uint32_t)w->code << code->rare_bits[i] | code->rare_code[i]);
}

/* Visits words in depth-first order; returns the index of the first word after this subtree. */
static unsigned set_steps(en_code *code, unsigned node, unsigned word)
{
    unsigned best = UINT32_MAX;
    for (unsigned letter = 0; letter < code->n_letters; letter++) {
        unsigned child = code->child[node * code->n_letters + letter];
        unsigned ending;
        if (child) {
            code->steps[(size_t)node * code->alphabet + code->common[letter]] =
                step_of(child, 0, 0);
            word = set_steps(code, child, word);
            ending = code->endings[child];
        } else {
            const en_word *w = &code->words[word++];
            set_leaf(code, node, letter, w);
            ending = (unsigned)w->bits << 16 | w->code;
        }
        best = ending < best ? ending : best;
    }
    code->endings[node] = best;
    return word;
}

entro_status en_code_make_encoder(en_code *code, entro_error *err)
{
    code->steps = en_alloc_zero((size_t)code->n_inner * code->alphabet, sizeof *code->steps);
    code->endings = en_alloc_zero(code->n_inner, sizeof *code->endings);
    if (!code->steps || !code->endings)
        return en_fail_memory(err);
    set_steps(code, 0, 0);
    return ENTRO_OK;
}

static size_t stream_bound(size_t n_symbols)
{
    return n_symbols * (STEP_BITS / 8) + STREAM_SLACK;
}

size_t en_code_encode_bound(const en_code *code, size_t n_symbols)
{
    (void)code;
    return HEADER_BYTES + n_symbols * (STEP_BITS / 8) + (size_t)EN_STREAMS * (STREAM_SLACK + 3);
}

/* ---- one stream -------------------------------------------------------------------------- */

typedef struct walk {
    uint64_t acc; /* the last n_bits of it are not written yet */
    unsigned n_bits, node;
    uint8_t *out;
    const uint8_t *in;
} walk;

static inline void take(walk *k, const uint64_t *steps, unsigned shift, uint8_t symbol)
{
    uint64_t step = steps[((size_t)k->node << shift) + symbol];
    unsigned bits = step >> 16 & 0xff;
    k->acc = k->acc << bits | step >> 32;
    k->n_bits += bits;
    k->node = step & 0xffff;
}

/* Writes the whole bytes; at most 7 bits stay. */
static inline void flush(walk *k)
{
    en_store64(k->out, __builtin_bswap64(k->acc << (63 - k->n_bits) << 1));
    k->out += k->n_bits >> 3;
    k->n_bits &= 7;
}

static size_t finish(const en_code *code, walk *k, unsigned shift, size_t n_left, uint8_t *start)
{
    for (; n_left > 0; n_left--) {
        take(k, code->steps, shift, *k->in++);
        flush(k);
    }
    if (k->node) {
        uint32_t ending = code->endings[k->node];
        k->acc = k->acc << (ending >> 16) | (ending & 0xffff);
        k->n_bits += ending >> 16;
        flush(k);
    }
    if (k->n_bits)
        *k->out++ = (uint8_t)(k->acc << (8 - k->n_bits));
    return (size_t)(k->out - start);
}

/* Two symbols are at most 48 bits, with 7 left over from before. */
static void walk_group(const en_code *code, walk k[TOGETHER], size_t n_pairs, unsigned shift)
{
    const uint64_t *steps = code->steps;
    for (size_t i = 0; i < n_pairs; i++) {
        for (unsigned s = 0; s < TOGETHER; s++) {
            take(&k[s], steps, shift, k[s].in[0]);
            take(&k[s], steps, shift, k[s].in[1]);
            flush(&k[s]);
            k[s].in += 2;
        }
    }
}

/* ---- segments ---------------------------------------------------------------------------- */

static unsigned field_width(const size_t *lengths, size_t share)
{
    unsigned width = 0;
    for (unsigned s = 0; s + 1 < EN_STREAMS; s++) {
        int64_t d = (int64_t)lengths[s] - (int64_t)share;
        while (width < 32 &&
               (width == 0 ? d != 0
                           : d < -((int64_t)1 << (width - 1)) || d >= (int64_t)1 << (width - 1)))
            width++;
    }
    return width;
}

static size_t put_header(uint8_t *out, const size_t *lengths)
{
    size_t total = 0;
    for (unsigned s = 0; s < EN_STREAMS; s++)
        total += lengths[s];
    size_t share = total / EN_STREAMS;
    unsigned width = field_width(lengths, share);
    memset(out, 0, HEADER_BYTES);
    out[0] = (uint8_t)width;
    en_bit_writer w = {.p = out + 1};
    for (unsigned s = 0; s + 1 < EN_STREAMS; s++)
        en_bits_put(&w, (uint32_t)(lengths[s] - share), width);
    return 1 + (w.n_bits + 7) / 8;
}

size_t en_code_encode(const en_code *code, const uint8_t *symbols, size_t n_symbols, uint8_t *out)
{
    unsigned shift = code->alphabet == 16 ? 4 : 8;
    if (n_symbols == 0)
        return 0;
    if (en_segment_streams(n_symbols) == 1) {
        walk k = {.out = out, .in = symbols};
        return finish(code, &k, shift, n_symbols, out);
    }
    /* Every stream first has room for its worst case, then they move together. */
    uint8_t *start[EN_STREAMS], *room = out + HEADER_BYTES;
    size_t lengths[EN_STREAMS];
    for (unsigned g = 0; g < EN_STREAMS; g += TOGETHER) {
        walk k[TOGETHER];
        size_t n[TOGETHER], n_pairs = SIZE_MAX;
        for (unsigned s = 0; s < TOGETHER; s++) {
            size_t first = en_stream_start(n_symbols, EN_STREAMS, g + s);
            n[s] = en_stream_start(n_symbols, EN_STREAMS, g + s + 1) - first;
            n_pairs = n[s] / 2 < n_pairs ? n[s] / 2 : n_pairs;
            start[g + s] = room;
            k[s] = (walk){.out = room, .in = symbols + first};
            room += stream_bound(n[s]);
        }
        walk_group(code, k, n_pairs, shift);
        for (unsigned s = 0; s < TOGETHER; s++)
            lengths[g + s] = finish(code, &k[s], shift, n[s] - 2 * n_pairs, start[g + s]);
    }
    uint8_t *end = out + put_header(out, lengths);
    for (unsigned s = 0; s < EN_STREAMS; s++) {
        memmove(end, start[s], lengths[s]);
        end += lengths[s];
    }
    return (size_t)(end - out);
}
