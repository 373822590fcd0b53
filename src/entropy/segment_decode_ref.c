/*
 * segment_decode_ref.c - the decoder as docs/coding.md defines it, bit by bit: the truth that the
 * fast decoder is compared with, and its help where a look-up holds more than a stream lacks.
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

/* Reads one canonical code, whose place in the order of all codes it returns. */
static unsigned read_code(const en_huffman_ranges *ranges, en_bit_reader *r)
{
    unsigned value = 0, bits = 0;
    while (value - ranges->first[bits] >= ranges->count[bits] && !r->failed) {
        value = value << 1 | en_bits_get1(r);
        bits++;
    }
    return ranges->place[bits] + value - ranges->first[bits];
}

bool en_stream_step(const en_code *code, const en_stream *stream, size_t *bit_pos, size_t *n_done)
{
    en_bit_reader r = {.p = stream->in, .n_bytes = stream->n_bytes, .pos = *bit_pos};
    unsigned place = read_code(&code->word_ranges, &r);
    if (r.failed)
        return false;
    const en_word *w = &code->words[code->by_code[place]];
    for (unsigned i = 0; i < w->n_symbols && *n_done < stream->n_symbols; i++)
        stream->out[(*n_done)++] = w->symbols[i];
    if (w->escape && *n_done < stream->n_symbols) {
        place = read_code(&code->rare_ranges, &r);
        if (r.failed)
            return false;
        stream->out[(*n_done)++] = code->rare[code->rare_by_code[place]];
    }
    *bit_pos = r.pos;
    return true;
}

bool en_stream_ends(const en_stream *stream, size_t bit_pos)
{
    en_bit_reader r = {.p = stream->in, .n_bytes = stream->n_bytes, .pos = bit_pos};
    return en_bits_done(&r);
}

static bool decode_stream(const en_code *code, const en_stream *stream)
{
    size_t bit_pos = 0, n_done = 0;
    while (n_done < stream->n_symbols)
        if (!en_stream_step(code, stream, &bit_pos, &n_done))
            return false;
    return en_stream_ends(stream, bit_pos);
}

bool en_code_decode_ref(const en_code *code, const uint8_t *in, size_t n_bytes, uint8_t *out,
                        size_t n_symbols)
{
    if (n_symbols == 0)
        return n_bytes == 0;
    en_stream streams[EN_STREAMS];
    bool ok = en_segment_split(in, n_bytes, out, n_symbols, streams);
    for (unsigned s = 0; ok && s < en_segment_streams(n_symbols); s++)
        ok = decode_stream(code, &streams[s]);
    if (!ok)
        memset(out, 0, n_symbols);
    return ok;
}
