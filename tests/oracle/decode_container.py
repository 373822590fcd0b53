"""A second decoder of containers, written from docs/format.md, docs/coding.md and docs/strips.md alone.

This file has coding 1; decode_strips.py, decode_planes.py and decode_rans.py have the others, decode_metadata.py what
is packed of the head.

Slow and simple where it can be; but streams are decoded in lockstep with NumPy, one lane a stream, so that real
models take seconds.  Raises Damaged when the bytes are not what the pages say.
"""
import struct

import numpy as np

from damaged import need
from decode_rans import RansPayload, decode_together
from decode_strips import StripPayload

MAGIC = b"EntroTns"
LONGEST_WORD = 14


# ---- code tables (coding.md) ---------------------------------------------------------------------


class Bits:
    """Most significant bit first."""

    def __init__(self, data):
        self.text = "".join(f"{b:08b}" for b in data)
        self.pos = 0

    def field(self, n):
        need(self.pos + n <= len(self.text), "bits are missing")
        value = int(self.text[self.pos:self.pos + n] or "0", 2)
        self.pos += n
        return value

    def zeros(self, most):
        n = 0
        while self.field(1) == 0:
            n += 1
            need(n <= most, "too many zero bits")
        return n


def read_classes(bits, alphabet):
    classes = []
    while len(classes) < alphabet:
        kind = bits.field(2)
        need(kind != 3, "class 3")
        z = bits.zeros(8)
        classes += [kind] * ((1 << z) + bits.field(z))
    need(len(classes) == alphabet, "runs overshoot")
    return classes


def read_tree(bits, common, has_escape, is_tree):
    """The words, depth first: lists of symbols, with -1 for the escape."""
    words = []

    def node(prefix, depth):
        for letter in common:
            if is_tree and bits.field(1):
                node(prefix + [letter], depth + 1)
            else:
                words.append(prefix + [letter])
        if has_escape:
            words.append(prefix + [-1])
        need(depth < LONGEST_WORD, "a word is too long")

    node([], 0)
    need(all(len(w) <= LONGEST_WORD for w in words), "a word is too long")
    return words


def read_lengths(bits, n, longest):
    if n < 2:
        return [0] * n
    lengths, last = [], 6
    differences = bits.field(1)
    for _ in range(n):
        if differences:
            v = bits.zeros(24)
            last += (v + 1) // 2 if v % 2 else -(v // 2)
        else:
            last = bits.field(4)
        need(1 <= last <= longest, "a length is out of range")
        lengths.append(last)
    need(sum(2.0**-n for n in lengths) == 1, "an incomplete code")
    return lengths


def canonical(lengths, longest):
    """For each window of 'longest' bits the item whose code it starts with, and that code's length."""
    item = np.zeros(1 << longest, np.int64)
    size = np.zeros(1 << longest, np.int64)
    at = 0  # codes in order fill the windows from 0 on
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        n = 1 << (longest - lengths[i])
        item[at:at + n], size[at:at + n] = i, lengths[i]
        at += n
    return item, size


class Table:
    def __init__(self, data, alphabet):
        bits = Bits(data)
        self.longest = 11 if alphabet == 16 else 12
        classes = read_classes(bits, alphabet)
        common = [s for s in range(alphabet) if classes[s] == 1]
        rare = [s for s in range(alphabet) if classes[s] == 2]
        need(common, "no common symbol")
        is_tree = bits.field(1)
        need(not is_tree or (alphabet == 16 and len(common) + bool(rare) >= 2), "a tree that may not be")
        words = read_tree(bits, common, bool(rare), is_tree)
        need(len(words) <= 1 << self.longest, "too many words")
        lengths = read_lengths(bits, len(words), self.longest)
        rare_lengths = read_lengths(bits, len(rare), self.longest)
        rest = bits.text[bits.pos:]
        need(len(rest) < 8 and "1" not in rest, "bytes left over, or padding that is not zero")

        word, size = canonical(lengths, self.longest)
        longest_word = max(len(w) for w in words)
        symbols = np.zeros((len(words), longest_word), np.uint8)
        for i, w in enumerate(words):
            symbols[i, :len(w)] = [max(s, 0) for s in w]
        self.size, self.symbols = size, symbols[word]
        self.n_symbols = np.array([len(w) for w in words])[word]
        self.escape = np.array([w[-1] < 0 for w in words])[word]
        self.rare = self.rare_size = np.zeros(1 << self.longest, np.int64)
        if rare:
            index, self.rare_size = canonical(rare_lengths, self.longest)
            self.rare = np.array(rare)[index]


# ---- segments ------------------------------------------------------------------------------------


def split_segment(data, start, end, n):
    """(start, end, first symbol, symbols) of each stream."""
    if n == 0:
        need(start == end, "bytes in an empty segment")
        return []
    if n < 1024:
        return [(start, end, 0, n)]
    need(end > start, "a segment without its head")
    w = int(data[start])
    n_head = 1 + (3 * w + 7) // 8
    need(w <= 32 and start + n_head <= end, "a segment's head is damaged")
    head = Bits(data[start + 1:start + n_head])
    total, at, streams = end - start - n_head, start + n_head, []
    lengths = []
    for _ in range(3):
        value = head.field(w)
        lengths.append(total // 4 + value - (1 << w if w and value >> (w - 1) else 0))
    need("1" not in head.text[head.pos:], "padding that is not zero")
    lengths.append(total - sum(lengths))
    first = [n // 4 * s + n % 4 * s // 4 for s in range(5)]
    for s in range(4):
        need(lengths[s] >= 0 and at + lengths[s] <= end, "a stream's length is out of range")
        streams.append((at, at + lengths[s], first[s], first[s + 1] - first[s]))
        at += lengths[s]
    return streams


def window(padded, pos, longest):
    byte = pos >> 3
    word = (padded[byte].astype(np.int64) << 16 | padded[byte + 1].astype(np.int64) << 8 |
            padded[byte + 2])
    return word >> (24 - longest - (pos & 7)) & ((1 << longest) - 1)


def decode_streams(data, streams, tables, out):
    """All streams in lockstep.  streams: rows of (start, end, place in out, symbols, number of table)."""
    padded = np.concatenate([data, np.zeros(64, np.uint8)])
    longest = tables[0].longest
    width = max(t.symbols.shape[1] for t in tables)
    pad = [np.pad(t.symbols, ((0, 0), (0, width - t.symbols.shape[1]))) for t in tables]
    symbols = np.concatenate(pad)
    size, count, escape, rare, rare_size = (
        np.concatenate([getattr(t, name) for t in tables])
        for name in ("size", "n_symbols", "escape", "rare", "rare_size"))
    start, end, place, left, table = (streams[:, i].copy() for i in range(5))
    pos, base, lane = start * 8, table << longest, np.arange(len(streams))
    final = np.zeros(len(streams), np.int64)
    columns = np.arange(width)
    while len(lane):
        index = base + window(padded, pos, longest)
        n = np.minimum(count[index], left)
        # A whole word is written; what is too much is overwritten by the next, or lies behind the symbols of this
        # stream, where the mask keeps it out.
        cells = place[:, None] + columns
        keep = columns < n[:, None]
        out[cells[keep]] = symbols[index][keep]
        pos = pos + size[index]
        rows = np.nonzero(escape[index] & (n == count[index]))[0]
        if len(rows):
            at = base[rows] + window(padded, pos[rows], longest)
            out[place[rows] + n[rows] - 1] = rare[at]
            pos[rows] += rare_size[at]
        need(np.all(pos <= end * 8), "a stream has too few bytes")
        place, left = place + n, left - n
        done = left == 0
        if done.any():
            final[lane[done]] = pos[done]
            go = ~done
            pos, base, place, left, lane, end = (a[go] for a in (pos, base, place, left, lane, end))
    need(np.all((final + 7) // 8 == streams[:, 1]), "a stream has too many bytes")
    tail = final[final % 8 != 0]
    need(not np.any(padded[tail >> 3] << (tail & 7) & 255), "padding that is not zero")


# ---- payloads (format.md) ------------------------------------------------------------------------


class Payload:
    coding = 1
    short = False

    def __init__(self, data, shared):
        """shared: {bits: Table} of the file."""
        data = np.ascontiguousarray(data).view(np.uint8)
        need(len(data) >= 192 and data[:8].tobytes() == MAGIC, "not a coded tensor")
        fields = struct.unpack("<6I 4Q 2I Q 2d 16s 10Q", data[8:192].tobytes())
        version, n_header, coding, flags, bits, n_dims = fields[:6]
        need((version, n_header, coding, n_dims) == (1, 192, 1, 2) and flags & ~3 == 0, "unknown layout")
        self.n_cols, self.n_rows = fields[6:8]
        need(fields[8:10] == (1, 1), "more than two dimensions")
        self.rows_per_segment, self.n_segments, n_grids, self.entropy, self.huffman_bits = fields[10:15]
        self.method = fields[15].rstrip(b"\0").decode()
        parts = [(fields[16 + 2 * i], fields[17 + 2 * i]) for i in range(5)]
        need({"u8": (8, 1), "u4": (4, 1), "u8-row": (8, self.n_rows), "u4-row": (4, self.n_rows)}
             [self.method] == (bits, n_grids), "method, bits and grids disagree")
        need(self.n_segments == -(-self.n_rows // self.rows_per_segment), "number of segments")
        end = 192
        for offset, n in parts:
            need(offset % 8 == 0 and end <= offset and not data[end:offset].any(), "parts")
            end = offset + n
        need(end + 64 <= len(data) and len(data) % 64 == 0 and not data[end:].any(), "padding")

        def part(i, dtype):
            return data[parts[i][0]:parts[i][0] + parts[i][1]].view(dtype)

        self.bits, self.data = bits, data
        self.half_grids = bool(flags & 2)
        dtype = "<f2" if self.half_grids else "<f4"
        self.steps, self.offsets = (part(i, dtype).astype(np.float32) for i in (0, 1))
        need(len(self.steps) == len(self.offsets) == n_grids, "number of grids")
        need(np.isfinite(self.steps).all() and np.isfinite(self.offsets).all(), "a grid is not finite")
        need((parts[2][1] == 0) == bool(flags & 1), "shared table and own table")
        self.shared = bool(flags & 1)
        self.table = shared[bits] if self.shared else Table(part(2, np.uint8).tolist(), 1 << bits)
        index = part(3, "<u8").astype(np.int64)
        need(len(index) == self.n_segments + 1 and index[0] == 0 and index[-1] == parts[4][1] and
             np.all(np.diff(index) >= 0), "segment index")
        self.segments = index + parts[4][0]

    def streams(self):
        rows = []
        for i in range(self.n_segments):
            first = i * self.rows_per_segment * self.n_cols
            n = min(self.n_rows * self.n_cols - first, self.rows_per_segment * self.n_cols)
            for start, end, at, count in split_segment(self.data, int(self.segments[i]),
                                                       int(self.segments[i + 1]), n):
                rows.append((start, end, first + at, count))
        return np.array(rows, np.int64)

    def weights(self, codes):
        steps, offsets = (a.reshape(-1, 1) for a in (self.steps, self.offsets))
        return codes.reshape(self.n_rows, self.n_cols).astype(np.float32) * steps + offsets


def decode_payloads(payloads):
    """Codes (rows x columns) of each payload.  All streams of one alphabet, or of coding 4, run in lockstep."""
    decode_together([p for p in payloads if isinstance(p, RansPayload)])
    codes = [p.integers() if isinstance(p, StripPayload) else None for p in payloads]
    for bits in (4, 8):
        chosen = [i for i, p in enumerate(payloads) if p.bits == bits and codes[i] is None]
        if not chosen:
            continue
        streams, n_bytes, n_symbols = [], 0, 0
        for number, i in enumerate(chosen):
            s = payloads[i].streams()
            streams.append(np.column_stack([s[:, :2] + n_bytes, s[:, 2] + n_symbols, s[:, 3],
                                            np.full(len(s), number)]))
            n_bytes += len(payloads[i].data)
            n_symbols += payloads[i].n_rows * payloads[i].n_cols
        out = np.zeros(n_symbols, np.uint8)
        decode_streams(np.concatenate([payloads[i].data for i in chosen]), np.concatenate(streams),
                       [payloads[i].table for i in chosen], out)
        at = 0
        for i in chosen:
            p = payloads[i]
            codes[i] = out[at:at + p.n_rows * p.n_cols].reshape(p.n_rows, p.n_cols)
            at += p.n_rows * p.n_cols
    return codes


def open_container(reader):
    """From a gguf.GGUFReader: {name: Payload} of the coded tensors, and the plain tensors."""
    from decode_planes import PlanesPayload  # which uses the code tables of this file

    def number(key):
        return int(reader.fields[key].parts[-1][0])

    need(number("entrollm.version") == 1 and number("entrollm.features") & ~255 == 0, "a newer file")
    shared, plain = {}, {}
    for t in reader.tensors:
        if t.name in ("entrollm.table.4", "entrollm.table.8"):
            bits = int(t.name[-1])
            shared[bits] = Table(t.data.view(np.uint8).tolist(), 1 << bits)
    payloads = {}
    for t in reader.tensors:
        if t.name.startswith("entrollm."):  # tables, parts of an original, packed metadata
            continue
        if t.tensor_type.name == "I8":
            need(t.data_offset % 64 == 0, "alignment")
            data = np.ascontiguousarray(t.data).view(np.uint8)
            coding = int(data[16:20].view("<u4")[0]) if len(data) >= 192 else 1
            kind = {2: StripPayload, 3: PlanesPayload, 4: RansPayload}.get(coding)
            payloads[t.name] = kind(data) if kind else Payload(data, shared)
        else:
            plain[t.name] = t
    return payloads, plain
