/*
 * segment_encode.c - symbols to streams by walking the tree of words, two symbols a step.
 *
 *   256 symbols: steps[symbol]           = code << 16 | bits          (of one symbol)
 *    16 symbols: steps[node][two symbols] = code << 16 | node << 6 | bits
 *
 * Inside a word a step gives no bits, at its end all of them (with the rare symbol's code behind an
 * escape), so the walk has no branch on what it meets.  The four streams are walked in turn: a step
 * waits for the one before it, steps of different streams do not.
 */
#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/bit_io.h"
#include "entropy/code_words.h"

enum {
    STEP_BITS = 2 * EN_HUFFMAN_MAX_BITS, /* of one symbol at most */
    STREAM_SLACK = 16,                   /* a flush stores 8 bytes */
    HEADER_BYTES = 1 + 4 * (EN_STREAMS - 1),
    CODE_SHIFT = 16,
    NODE_SHIFT = 6,
    BITS_MASK = (1 << NODE_SHIFT) - 1, /* lowest, where a shift wants them */
    NODE_MASK = (1 << (CODE_SHIFT - NODE_SHIFT)) - 1,
    ACC_ROOM = 63 - 7, /* bits that may come to those of a byte begun before they are written */
};

#define INLINED static inline __attribute__((always_inline))

static uint64_t step_of(unsigned node, unsigned bits, uint64_t code)
{
    return code << CODE_SHIFT | (uint64_t)node << NODE_SHIFT | bits;
}

static unsigned step_bits(uint64_t step)
{
    return step & BITS_MASK;
}

static unsigned step_node(uint64_t step)
{
    return step >> NODE_SHIFT & NODE_MASK;
}

/* Steps of single symbols, from which pairs are put together: singles[node * alphabet + symbol]. */
static void set_leaf(const en_code *code, uint64_t *singles, unsigned letter, const en_word *w)
{
    if (!w->escape) {
        singles[code->common[letter]] = step_of(0, w->bits, w->code);
        return;
    }
    for (unsigned i = 0; i < code->n_rare; i++)
        singles[code->rare[i]] =
            step_of(0, (unsigned)w->bits + code->rare_bits[i],
                    (uint32_t)w->code << code->rare_bits[i] | code->rare_code[i]);
}

/* Visits words in depth-first order; returns the number of the first word after this subtree. */
static unsigned set_singles(en_code *code, uint64_t *singles, unsigned node, unsigned word)
{
    uint64_t *here = singles + (size_t)node * code->alphabet;
    unsigned best = UINT32_MAX;
    for (unsigned letter = 0; letter < code->n_letters; letter++) {
        unsigned child = code->child[node * code->n_letters + letter], ending;
        if (child) {
            here[code->common[letter]] = step_of(child, 0, 0);
            word = set_singles(code, singles, child, word);
            ending = code->endings[child];
        } else {
            const en_word *w = &code->words[word++];
            set_leaf(code, here, letter, w);
            ending = (unsigned)w->bits << 16 | w->code;
        }
        best = ending < best ? ending : best;
    }
    code->endings[node] = best;
    return word;
}

/* The first of two symbols is the lower half of the index, as it lies in memory. */
static void set_pairs(const en_code *code)
{
    for (unsigned node = 0; node < code->n_inner; node++)
        for (unsigned pair = 0; pair < 256; pair++) {
            uint64_t a = code->singles[node * 16 + (pair & 15)];
            uint64_t b = code->singles[step_node(a) * 16 + (pair >> 4)];
            code->pairs[node * 256 + pair] =
                step_of(step_node(b), step_bits(a) + step_bits(b),
                        a >> CODE_SHIFT << step_bits(b) | b >> CODE_SHIFT);
        }
}

entro_status en_code_make_encoder(en_code *code, entro_error *err)
{
    code->singles = en_alloc_zero((size_t)code->n_inner * code->alphabet, sizeof *code->singles);
    code->endings = en_alloc_zero(code->n_inner, sizeof *code->endings);
    if (code->alphabet == 16)
        code->pairs = en_alloc_zero((size_t)code->n_inner * 256, sizeof *code->pairs);
    if (!code->singles || !code->endings || (code->alphabet == 16 && !code->pairs))
        return en_fail_memory(err);
    set_singles(code, code->singles, 0, 0);
    if (code->alphabet == 16)
        set_pairs(code);
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

/* ---- streams ----------------------------------------------------------------------------- */

typedef struct walk {
    uint64_t acc; /* the last n_bits of it are not written yet */
    unsigned n_bits, node;
    uint8_t *out;
    const uint8_t *in;
} walk;

INLINED void take(walk *k, uint64_t step)
{
    unsigned bits = step_bits(step);
    k->acc = k->acc << bits | step >> CODE_SHIFT;
    k->n_bits += bits;
    k->node = step_node(step);
}

/* Writes the whole bytes; at most 7 bits stay. */
INLINED void flush(walk *k)
{
    en_store64(k->out, __builtin_bswap64(k->acc << (63 - k->n_bits) << 1));
    k->out += k->n_bits >> 3;
    k->n_bits &= 7;
}

/* Two symbols are at most 48 bits, with 7 left over from before; four nearly always fit as well, and
 * then they are written together. */
INLINED void take_four(walk *k, const uint64_t *singles, const uint64_t *pairs)
{
    uint32_t four = en_load32(k->in);
    k->in += 4;
    if (pairs != NULL) {
        four |= four >> 4;
        uint64_t a = pairs[k->node * 256 + (four & 255)];
        uint64_t b = pairs[step_node(a) * 256 + (four >> 16 & 255)];
        take(k, a);
        if (__builtin_expect(step_bits(a) + step_bits(b) > ACC_ROOM, 0))
            flush(k);
        take(k, b);
    } else {
        uint64_t a = singles[four & 255], b = singles[four >> 8 & 255];
        uint64_t c = singles[four >> 16 & 255], d = singles[four >> 24];
        take(k, a);
        take(k, b);
        if (__builtin_expect(step_bits(a) + step_bits(b) + step_bits(c) + step_bits(d) > ACC_ROOM,
                             0))
            flush(k);
        take(k, c);
        take(k, d);
    }
    flush(k);
}

INLINED void walk_together(const en_code *code, walk streams[EN_STREAMS], size_t n_fours,
                           const uint64_t *pairs)
{
    const uint64_t *singles = code->singles;
    walk k[EN_STREAMS];
#pragma GCC unroll 8
    for (unsigned s = 0; s < EN_STREAMS; s++)
        k[s] = streams[s];
    for (size_t i = 0; i < n_fours; i++)
#pragma GCC unroll 8
        for (unsigned s = 0; s < EN_STREAMS; s++)
            take_four(&k[s], singles, pairs);
#pragma GCC unroll 8
    for (unsigned s = 0; s < EN_STREAMS; s++)
        streams[s] = k[s];
}

/* Walks the streams together for as long as all of them last; returns how many symbols of each. */
static size_t walk_all(const en_code *code, walk streams[EN_STREAMS], size_t n_shortest)
{
    if (code->pairs != NULL)
        walk_together(code, streams, n_shortest / 4, code->pairs);
    else
        walk_together(code, streams, n_shortest / 4, NULL);
    return n_shortest / 4 * 4;
}

static size_t finish(const en_code *code, walk *k, size_t n_left, uint8_t *start)
{
    for (; n_left > 0; n_left--) {
        take(k, code->singles[k->node * code->alphabet + *k->in++]);
        flush(k);
    }
    if (k->node) {
        uint32_t ending = code->endings[k->node];
        take(k, step_of(0, ending >> 16, ending & 0xffff));
        flush(k);
    }
    if (k->n_bits)
        *k->out++ = (uint8_t)(k->acc << (8 - k->n_bits));
    return (size_t)(k->out - start);
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
    if (n_symbols == 0)
        return 0;
    walk k[EN_STREAMS] = {{.out = out, .in = symbols}};
    if (en_segment_streams(n_symbols) == 1)
        return finish(code, &k[0], n_symbols, out);
    /* Every stream first has room for its worst case, then they move together. */
    uint8_t *start[EN_STREAMS], *room = out + HEADER_BYTES;
    size_t lengths[EN_STREAMS];
    for (unsigned s = 0; s < EN_STREAMS; s++) {
        size_t first = en_stream_start(n_symbols, EN_STREAMS, s);
        lengths[s] = en_stream_start(n_symbols, EN_STREAMS, s + 1) - first;
        start[s] = room;
        k[s] = (walk){.out = room, .in = symbols + first};
        room += stream_bound(lengths[s]);
    }
    size_t n_done = walk_all(code, k, n_symbols / EN_STREAMS);
    for (unsigned s = 0; s < EN_STREAMS; s++)
        lengths[s] = finish(code, &k[s], lengths[s] - n_done, start[s]);
    uint8_t *end = out + put_header(out, lengths);
    for (unsigned s = 0; s < EN_STREAMS; s++) {
        memmove(end, start[s], lengths[s]);
        end += lengths[s];
    }
    return (size_t)(end - out);
}
