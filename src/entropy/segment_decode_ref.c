/*
 * segment_decode_ref.c - the decoder as docs/coding.md defines it, bit by bit: the truth that the
 * fast decoder is compared with, and its help where a stream ends.
 */
#include "base/bytes.h"
#include "entropy/bit_io.h"
#include "entropy/code_words.h"

/* Sign-extends a field of n <= 32 bits. */
static int64_t signed_field(uint32_t v, unsigned n)
{
    return n > 0 && (v >> (n - 1) & 1) ? (int64_t)v - ((int64_t)1 << n) : (int64_t)v;
}

bool en_segment_split(const uint8_t *in, size_t n_bytes, uint8_t *out, size_t n_symbols,
                      en_stream streams[EN_STREAMS])
{
    unsigned n_streams = en_segment_streams(n_symbols);
    for (unsigned s = 0; s < n_streams; s++) {
        size_t first = en_stream_start(n_symbols, n_streams, s);
        streams[s].out = out + first;
        streams[s].n_symbols = en_stream_start(n_symbols, n_streams, s + 1) - first;
    }
    size_t header = 0;
    en_bit_reader fields = {.p = NULL};
    unsigned width = 0;
    if (n_streams > 1) {
        if (n_bytes < 1 || (width = in[0]) > 32)
            return false;
        header = 1 + ((size_t)width * (n_streams - 1) + 7) / 8;
        if (header > n_bytes)
            return false;
        fields = (en_bit_reader){.p = in + 1, .n_bytes = header - 1};
    }
    size_t left = n_bytes - header, share = left / n_streams;
    in += header;
    for (unsigned s = 0; s < n_streams; s++) {
        size_t length = left;
        if (s + 1 < n_streams) {
            int64_t d = signed_field(en_bits_get(&fields, width), width);
            length = share + (size_t)d;
            if ((d < 0 && (size_t)-d > share) || (d > 0 && (size_t)d > left) || length > left)
                return false;
        }
        streams[s].in = in;
        streams[s].n_bytes = length;
        in += length;
        left -= length;
    }
    return n_streams == 1 || en_bits_done(&fields);
}

static const en_word *read_word(const en_code *code, en_bit_reader *r)
{
    /* Canonical codes of one length follow each other, so comparing with the words in the order
     * of their codes until one matches needs no table of its own. */
    unsigned value = 0, bits = 0;
    for (unsigned i = 0; i < code->n_words && !r->failed; i++) {
        const en_word *w = &code->words[code->by_code[i]];
        for (; bits < w->bits; bits++)
            value = value << 1 | en_bits_get1(r);
        if (value == w->code)
            return w;
    }
    return NULL;
}

static int read_rare(const en_code *code, en_bit_reader *r)
{
    unsigned value = 0, bits = 0;
    for (unsigned i = 0; i < code->n_rare && !r->failed; i++) {
        unsigned rare = code->rare_by_code[i];
        for (; bits < code->rare_bits[rare]; bits++)
            value = value << 1 | en_bits_get1(r);
        if (value == code->rare_code[rare])
            return code->rare[rare];
    }
    return -1;
}

bool en_stream_decode_ref(const en_code *code, const en_stream *stream, size_t pos, size_t n_done)
{
    en_bit_reader r = {.p = stream->in, .n_bytes = stream->n_bytes, .pos = pos};
    uint8_t *out = stream->out;
    size_t n = stream->n_symbols;
    while (n_done < n) {
        const en_word *w = read_word(code, &r);
        if (!w || r.failed)
            return false;
        for (unsigned i = 0; i < w->n_symbols && n_done < n; i++)
            out[n_done++] = w->symbols[i];
        if (w->escape && n_done < n) {
            int symbol = read_rare(code, &r);
            if (symbol < 0 || r.failed)
                return false;
            out[n_done++] = (uint8_t)symbol;
        }
    }
    return en_bits_done(&r);
}

bool en_code_decode_ref(const en_code *code, const uint8_t *in, size_t n_bytes, uint8_t *out,
                        size_t n_symbols)
{
    if (n_symbols == 0)
        return n_bytes == 0;
    en_stream streams[EN_STREAMS];
    bool ok = en_segment_split(in, n_bytes, out, n_symbols, streams);
    for (unsigned s = 0; ok && s < en_segment_streams(n_symbols); s++)
        ok = en_stream_decode_ref(code, &streams[s], 0, 0);
    if (!ok)
        memset(out, 0, n_symbols);
    return ok;
}
