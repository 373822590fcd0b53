/*
 * segment_decode.c - table decoder, several streams a thread.
 *
 *   streams: | 0 | 1 | ... | 7 |   each its own run of symbols, decoded in turn
 *   look-up: index = the next max_bits bits -> all whole words in them: symbols, count, bits
 *
 * A stream's state is (bits, in, out).  'bits' holds what comes next at its top and, below the
 * last bit loaded, a one: shifting out used bits moves this mark up, so its place tells how many
 * bits were used, and no counter is kept.  A refill loads the 8 bytes at in + used / 8 and drops
 * used % 8 bits: at least 56 are then valid, enough for 5 look-ups of 11 bits or 4 of 12.
 *
 * Within one turn of one stream every step waits for the one before; the turns of different
 * streams overlap in the processor, which is why there are several.
 *
 * Every look-up stores a whole entry and moves on by its count.  To stay inside a stream's own
 * symbols and bytes whatever the bits are, the loop runs as many turns as fit even if every one
 * used and wrote the most it can, then asks again; what is left is decoded step by step.
 *
 * An escape (a rare symbol, about one in 200) leaves the straight path.  Its entry moves nothing, so
 * the look-ups after it in the same turn idle, and only the last one is asked whether it moved.
 */
#include "base/bytes.h"
#include "entropy/code_words.h"

/* The shape of the entries is a constant after inlining. */
#define INLINED static inline __attribute__((always_inline))

_Static_assert(EN_STREAMS == 4, "decode() goes on with 4, 3, 2 or 1 streams");

typedef struct reader {
    uint64_t bits;
    const uint8_t *in; /* where 'bits' was loaded */
    uint8_t *out;
} reader;

typedef struct entry_shape {
    unsigned lookup_bits, bytes, max_symbols, per_refill;
} entry_shape;

static inline void load(reader *r, unsigned drop)
{
    r->bits = (__builtin_bswap64(en_load64(r->in)) | 1) << drop;
}

static inline unsigned used_bits(const reader *r)
{
    return (unsigned)__builtin_ctzll(r->bits);
}

static inline void refill(reader *r)
{
    unsigned used = used_bits(r);
    r->in += used >> 3;
    load(r, used & 7);
}

INLINED bool look_up(const void *entries, reader *r, entry_shape shape)
{
    size_t index = r->bits >> (64 - shape.lookup_bits);
    const uint8_t *e = (const uint8_t *)entries + index * shape.bytes;
    memcpy(r->out, e, shape.bytes);
    unsigned used = shape.bytes == 8 ? e[7] & 15 : e[shape.bytes - 2];
    unsigned count = shape.bytes == 8 ? e[7] >> 4 : e[shape.bytes - 1];
    r->bits <<= used & 63;
    r->out += count;
    return count > 0;
}

/* After a refill, at an escape's entry: its word's symbols and the rare one. */
static __attribute__((noinline)) reader read_escape(const en_code *code, reader r0,
                                                    entry_shape shape)
{
    reader *r = &r0;
    size_t index = r->bits >> (64 - shape.lookup_bits);
    const uint8_t *entry = (const uint8_t *)code->entries + index * shape.bytes;
    const en_word *w = &code->words[en_load16(entry)];
    r->bits <<= w->bits;
    memcpy(r->out, w->symbols, shape.max_symbols);
    r->out += w->n_symbols;
    unsigned e = code->rare_lookup[r->bits >> 1 >> (63 - code->rare_lookup_bits)];
    r->bits <<= e >> 8;
    *r->out++ = (uint8_t)e;
    refill(r);
    return r0;
}

/* Turns that surely fit: bytes read past the stream's end, and symbols stored past its last one,
 * are not the concern of the caller's neighbours then. */
static inline size_t safe_turns(const reader *r, const en_stream *stream, entry_shape shape)
{
    /* an escape takes the place of at least one look-up and uses at most twice its bits */
    const size_t most_in = ((shape.per_refill + 1) * shape.lookup_bits + 7) / 8;
    const size_t most_out = (size_t)shape.per_refill * shape.max_symbols;
    size_t in_left = (size_t)(stream->in + stream->n_bytes - r->in);
    size_t out_left = (size_t)(stream->out + stream->n_symbols - r->out);
    size_t in_turns = in_left < 16 ? 0 : (in_left - 16) / most_in;
    size_t out_turns = out_left < 16 ? 0 : (out_left - 16) / most_out;
    return in_turns < out_turns ? in_turns : out_turns;
}

/* One turn of n_streams streams, whose states stay in registers from turn to turn. */
INLINED void turns(const en_code *code, reader *state, unsigned n_streams, size_t n,
                   entry_shape shape)
{
    const void *entries = code->entries;
    reader r[EN_STREAMS];
    bool moved[EN_STREAMS];
#pragma GCC unroll 8
    for (unsigned s = 0; s < n_streams; s++)
        r[s] = state[s];
    while (n-- > 0) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < shape.per_refill; i++)
#pragma GCC unroll 8
            for (unsigned s = 0; s < n_streams; s++)
                moved[s] = look_up(entries, &r[s], shape);
#pragma GCC unroll 8
        for (unsigned s = 0; s < n_streams; s++) {
            refill(&r[s]);
            if (__builtin_expect(!moved[s], 0))
                r[s] = read_escape(code, r[s], shape);
        }
    }
#pragma GCC unroll 8
    for (unsigned s = 0; s < n_streams; s++)
        state[s] = r[s];
}

/* A look-up where nothing may be written or used too much: false, and nothing done, when the entry
 * is an escape or holds more than the stream. */
INLINED bool look_up_exact(const en_code *code, const en_stream *stream, size_t *bit_pos,
                           size_t *n_done, entry_shape shape)
{
    uint64_t bits = __builtin_bswap64(en_load64(stream->in + (*bit_pos >> 3))) << (*bit_pos & 7);
    const uint8_t *e =
        (const uint8_t *)code->entries + (bits >> (64 - shape.lookup_bits)) * shape.bytes;
    unsigned used = shape.bytes == 8 ? e[7] & 15 : e[shape.bytes - 2];
    unsigned count = shape.bytes == 8 ? e[7] >> 4 : e[shape.bytes - 1]; /* escape: 0 */
    size_t n_left = stream->n_symbols - *n_done;
    if (count == 0 || count > n_left || used > stream->n_bytes * 8 - *bit_pos)
        return false;
    uint8_t *out = stream->out + *n_done;
    if (n_left >= shape.bytes)
        memcpy(out, e, shape.bytes);
    else
        for (unsigned i = 0; i < count; i++)
            out[i] = e[i];
    *bit_pos += used;
    *n_done += count;
    return true;
}

/* The last symbols of a stream. */
INLINED bool finish(const en_code *code, const reader *r, const en_stream *stream,
                    entry_shape shape)
{
    size_t bit_pos = (size_t)(r->in - stream->in) * 8 + used_bits(r);
    size_t n_done = (size_t)(r->out - stream->out);
    while (n_done < stream->n_symbols)
        if (!look_up_exact(code, stream, &bit_pos, &n_done, shape) &&
            !en_stream_step(code, stream, &bit_pos, &n_done))
            return false;
    return en_stream_ends(stream, bit_pos);
}

/* Streams differ, rows of a matrix do: when one ends, the others go on together. */
INLINED bool decode(const en_code *code, en_stream *streams, unsigned n_streams, entry_shape shape)
{
    reader readers[EN_STREAMS];
    for (unsigned s = 0; s < n_streams; s++) {
        readers[s] = (reader){.in = streams[s].in, .out = streams[s].out};
        load(&readers[s], 0);
    }
    while (n_streams > 0) {
        size_t n = SIZE_MAX;
        unsigned least = 0;
        for (unsigned s = 0; s < n_streams; s++) {
            size_t safe = safe_turns(&readers[s], &streams[s], shape);
            least = safe < n ? s : least;
            n = safe < n ? safe : n;
        }
        if (n == 0) {
            if (!finish(code, &readers[least], &streams[least], shape))
                return false;
            n_streams--;
            readers[least] = readers[n_streams];
            streams[least] = streams[n_streams];
            continue;
        }
        switch (n_streams) {
        case 4: turns(code, readers, 4, n, shape); break;
        case 3: turns(code, readers, 3, n, shape); break;
        case 2: turns(code, readers, 2, n, shape); break;
        default: turns(code, readers, 1, n, shape); break;
        }
    }
    return true;
}

static bool decode_2(const en_code *code, en_stream *streams, unsigned n_streams)
{
    return decode(code, streams, n_streams, (entry_shape){EN_LOOKUP_BITS_256, 4, 2, 4});
}

static bool decode_7(const en_code *code, en_stream *streams, unsigned n_streams)
{
    return decode(code, streams, n_streams, (entry_shape){EN_LOOKUP_BITS_16, 8, 7, 5});
}

static bool decode_14(const en_code *code, en_stream *streams, unsigned n_streams)
{
    return decode(code, streams, n_streams, (entry_shape){EN_LOOKUP_BITS_16, 16, 14, 5});
}

/* One word without bits: the symbols are all the same, the streams empty. */
static bool decode_fill(const en_code *code, en_stream *streams, unsigned n_streams)
{
    for (unsigned s = 0; s < n_streams; s++) {
        if (streams[s].n_bytes > 0)
            return false;
        memset(streams[s].out, code->common[0], streams[s].n_symbols);
    }
    return true;
}

static bool decode_segment(const en_code *code, en_stream *streams, unsigned n_streams)
{
    switch (code->layout) {
    case EN_ENTRY_FILL: return decode_fill(code, streams, n_streams);
    case EN_ENTRY_2: return decode_2(code, streams, n_streams);
    case EN_ENTRY_7: return decode_7(code, streams, n_streams);
    case EN_ENTRY_14: return decode_14(code, streams, n_streams);
    }
    return false;
}

bool en_code_decode(const en_code *code, const uint8_t *in, size_t n_bytes, uint8_t *out,
                    size_t n_symbols)
{
    if (n_symbols == 0)
        return n_bytes == 0;
    en_stream streams[EN_STREAMS];
    bool ok = en_segment_split(in, n_bytes, out, n_symbols, streams) &&
              decode_segment(code, streams, en_segment_streams(n_symbols));
    if (!ok)
        memset(out, 0, n_symbols);
    return ok;
}
