"""Payloads of coding 2, decoded from docs/format.md and docs/strips.md alone: lane by lane, all chunks in lockstep."""
import struct

import numpy as np

from damaged import need

RAW_BITS = [0, 1, 2, 1, 2, 3, 4]
BITS_OF_METHODS = {b"u8": 8, b"u4": 4, b"u8-row": 8, b"u4-row": 4, b"u4-row-sparse": 4, b"rtn": 0, b"watersic": 0}
EVEN, ODD = np.arange(0, 64, 2), np.arange(1, 64, 2)


def read_code(data):
    """Symbol and length by the next 7 bits, first bit lowest."""
    counts, symbols = data[:8], data[8:]
    need(sum(n * 2.0**-i for i, n in enumerate(counts.tolist())) == 1 and counts.sum() <= 128, "an incomplete code")
    symbol, length = np.zeros(128, np.uint8), np.zeros(128, np.int64)
    code = at = 0
    for n_bits in range(8):
        for _ in range(counts[n_bits]):
            start = int(f"{code:0{n_bits}b}"[::-1], 2) if n_bits else 0
            symbol[start::1 << n_bits], length[start::1 << n_bits] = symbols[at], n_bits
            code, at = code + 1, at + 1
        code <<= 1
    return symbol, length


def ends(data, n, last):
    values = data[:4 * n].view("<u4").astype(np.int64)
    need(values[-1] == last and np.all(np.diff(values, prepend=0) > 0), "ends of classes")
    return values


def permutation(data, n, ends, unit):
    if not len(data):
        return np.arange(n)
    need(len(data) == (n + 1) // 2, "order")
    classes = np.stack([data & 15, data >> 4], axis=1).reshape(-1)
    need(not classes[n:].any(), "order")
    need(np.array_equal(np.bincount(classes[:n], minlength=len(ends)),
                        np.diff([0, *(unit * end for end in ends[:-1]), n])), "sizes of classes")
    return np.argsort(classes[:n], kind="stable")


def raw_bits(vectors, mode, step):
    """vectors: raw x 64 bytes of a unit; the raw values of first and second, in 64 lanes."""
    raw = RAW_BITS[mode]
    if raw == 0:
        return np.zeros((2, 64), np.int64)
    one = lambda v: np.array([v >> step & 1, v >> (4 + step) & 1])
    two = lambda v: np.array([v >> (step % 2 * 2) & 3, v >> (4 + step % 2 * 2) & 3])
    v = vectors.astype(np.int64)
    if raw == 1:
        return one(v[0])
    if raw == 2:
        return two(v[step // 2])
    if raw == 3:
        return two(v[step // 2]) << 1 | one(v[2])
    return np.array([v[step] & 15, v[step] >> 4])


def short_numbers(data):
    """f32 of numbers of a byte each, with a common exponent before them; an empty part stays empty."""
    if not len(data):
        return np.zeros(0, np.float32)
    need(len(data) >= 4, "a part of short numbers")
    exponent = int(data[:4].view("<i4")[0])
    need(-18 <= exponent <= -4, "exponent of short numbers")
    b = data[4:].astype(np.int64)
    return np.ldexp((16 + (b & 15)).astype(np.float32), exponent + (b >> 4))


class StripPayload:
    coding = 2
    largest_shift = 4  # of a list of exceptions
    head_of_words = 256  # bytes with which a chunk begins

    def __init__(self, data):
        need(len(data) >= 320 and data[:8].tobytes() == b"EntroTns", "not a coded tensor")
        self.data = data
        fields = struct.unpack("<8s 6I 4Q 2I Q 2d 16s 2I Q 20Q", data[:288].tobytes())
        version, n_header, coding, flags, self.bits, n_dims = fields[1:7]
        need((version, n_header, coding, n_dims) == (1, 320, self.coding, 2) and flags in (0, 2, 4), "unknown layout")
        need(fields[9:11] == (1, 1) and not data[288:320].any(), "header")
        self.n_cols, self.n_rows = fields[7:9]
        self.strips_per_chunk, self.n_chunks, self.n_grids, self.entropy, self.huffman_bits = fields[11:16]
        need(BITS_OF_METHODS.get(fields[16].rstrip(b"\0")) == self.bits, "method, or its bits")
        self.method = fields[16].rstrip(b"\0").decode()
        n_row_classes, n_col_classes, self.n_exceptions = fields[17:20]
        need(1 <= n_row_classes <= 8 and 1 <= n_col_classes <= 16, "number of classes")
        need(1 <= self.n_cols <= 1 << 16 and 1 <= self.n_rows < (1 << 32) - 1, "dimensions")
        self.n_strips, self.n_units = -(-self.n_rows // 16), -(-self.n_cols // 32)
        need(self.strips_per_chunk == 1 or 1 <= self.strips_per_chunk <= (1 << 22) // (16 * 32 * self.n_units),
             "strips of a chunk")
        self.parts = [(fields[20 + 2 * i], fields[21 + 2 * i]) for i in range(10)]
        end = 320
        for i, (offset, n) in enumerate(self.parts):
            need(offset % (64 if i == 7 else 8) == 0 and end <= offset and not data[end:offset].any(), "parts")
            end = offset + n
        need(end + 64 <= len(data) and len(data) % 64 == 0 and not data[end:].any(), "padding")

        self.half_grids, self.short = bool(flags & 2), bool(flags & 4)
        self.read_grids()
        classes = self.part(5)
        self.row_ends = ends(classes, n_row_classes, self.n_strips)
        self.col_ends = ends(classes[4 * n_row_classes:], n_col_classes, self.n_units)
        self.col_order = permutation(self.part(3), self.n_cols, self.col_ends, 32)
        self.row_order = permutation(self.part(4), self.n_rows, self.row_ends, 16)
        self.classes = self.read_classes(classes[4 * (n_row_classes + n_col_classes):], n_row_classes * n_col_classes)
        self.read_index()
        self.shared = False

    def read_grids(self):
        dtype = "<f2" if self.half_grids else "<f4"
        self.steps = short_numbers(self.part(0)) if self.short else self.part(0).view(dtype).astype(np.float32)
        self.offsets = self.part(1).view(dtype).astype(np.float32)
        need(not (self.short and len(self.offsets)), "short steps have no offsets")
        if not len(self.offsets):
            self.offsets = np.zeros_like(self.steps)
        need(len(self.steps) == len(self.offsets) == self.n_grids in (1, self.n_rows), "number of grids")
        scales = short_numbers(self.part(2)) if self.short else self.part(2).view("<f2").astype(np.float32)
        self.scales = scales if len(scales) else np.ones(self.n_cols, np.float32)
        need(len(self.scales) == self.n_cols, "number of column scales")
        need(all(np.isfinite(a).all() for a in (self.steps, self.offsets, self.scales)), "a number is not finite")

    def read_classes(self, data, n):
        need(len(data) == 144 * n, "classes")
        classes = []
        for i in range(n):
            entry = data[144 * i:144 * (i + 1)]
            mode, base = struct.unpack("<Ii", entry[:8].tobytes())
            need(mode < 7 and abs(base) <= 1 << 30, "mode or base of a class")
            classes.append((mode, base, *read_code(entry[8:])))
        return classes

    def read_index(self):
        need(self.n_chunks == len(list(self.chunks())), "number of chunks")
        need(self.parts[6][1] == 24 * (self.n_chunks + 1), "index")
        self.index = self.part(6).view("<u8").astype(np.int64).reshape(-1, 3)
        need(not self.index[0].any() and np.all(np.diff(self.index, axis=0) >= 0) and
             self.index[-1].tolist() == [self.parts[i][1] for i in (8, 7, 9)], "index")
        need(not np.any(self.index % (2, 64, 1)) and np.all(np.diff(self.index[:, 0]) >= self.head_of_words), "index")

    def part(self, i):
        offset, n = self.parts[i]
        return self.data[offset:offset + n]

    def chunks(self):
        """(row class, first strip, strips) of each."""
        first = 0
        for row_class, end in enumerate(self.row_ends.tolist()):
            while first < end:
                n = min(self.strips_per_chunk, end - first)
                yield row_class, first, n
                first += n

    def decode_lanes(self, number_of_chunk, row_class, n_strips):
        """Integers of a chunk without its exceptions: rows x padded columns."""
        start, end = self.index[number_of_chunk], self.index[number_of_chunk + 1]
        words = self.part(8)[start[0]:end[0]].view("<u2").astype(np.int64)
        raw = self.part(7)[start[1]:end[1]].reshape(-1, 64)
        low, high, position = np.zeros(64, np.int64), np.zeros(64, np.int64), np.zeros(64, np.int64)
        low[EVEN], low[ODD], high[EVEN], high[ODD] = words[:128].reshape(4, 32)
        taken = 128
        out = np.zeros((n_strips, self.n_units * 4, 2, 64), np.int64)
        raw_at = 0
        for strip in range(n_strips):
            unit = 0
            for col_class, last in enumerate(self.col_ends.tolist()):
                mode, base, symbol, length = self.classes[row_class * len(self.col_ends) + col_class]
                n_raw, wide = RAW_BITS[mode], mode >= 3
                for unit in range(unit, last):
                    vectors = raw[raw_at:raw_at + n_raw]
                    raw_at += n_raw
                    need(raw_at <= len(raw), "raw bits are missing")
                    for step in range(4):
                        for lanes in (EVEN, ODD) if step % 2 == 0 else ():
                            asking = lanes[position[lanes] >= 16]
                            need(taken + len(asking) <= len(words), "words are missing")
                            low[asking] = high[asking]
                            high[asking] = words[taken:taken + len(asking)]
                            taken += len(asking)
                            position[asking] -= 16
                        window = (low | high << 16) >> position & 127
                        position += length[window]
                        s = symbol[window].astype(np.int64)
                        nibbles = np.array([s & 15, s >> 4])
                        bits = raw_bits(vectors, mode, step)
                        out[strip, 4 * unit + step] = (nibbles << n_raw if wide else nibbles) + bits + base
                unit = last
        need(taken == len(words) and raw_at == len(raw), "streams do not end where they should")
        # lane = 4 row + c; columns 8 step + 4 second + c
        out = out.reshape(n_strips, self.n_units * 4, 2, 16, 4).transpose(0, 3, 1, 2, 4)
        return out.reshape(n_strips * 16, self.n_units * 32)

    def integers(self):
        """Rows x columns in the matrix's own order."""
        padded = self.n_units * 32
        stored = np.zeros((self.n_strips * 16, padded), np.int32)
        lists, n_listed = self.part(9), 0
        for i, (row_class, first, n) in enumerate(self.chunks()):
            z = self.decode_lanes(i, row_class, n).astype(np.int32)
            at, end = int(self.index[i][2]), int(self.index[i + 1][2])
            for strip in range(n):
                need(at + 4 <= end, "exceptions")
                head = int(lists[at:at + 4].copy().view("<u4")[0])
                count, shift = head & 0xFFFFFFF, head >> 28
                need(at + 4 + 3 * count <= end and shift <= self.largest_shift, "exceptions")
                cols = lists[at + 4:at + 4 + 2 * count].copy().view("<u2").astype(np.int64)
                tags = lists[at + 4 + 2 * count:at + 4 + 3 * count].astype(np.int64)
                large = tags >> 4 == 0
                at += 4 + 3 * count
                need(at + 4 * large.sum() <= end and np.all(cols < padded), "exceptions")
                delta = (tags >> 4) - 8 << shift
                delta[large] = lists[at:at + 4 * large.sum()].copy().view("<i4")
                at += 4 * int(large.sum())
                np.add.at(z, (16 * strip + (tags & 15), cols), delta.astype(np.int32))  # modulo 2^32
                n_listed += count
            need(at == end, "exceptions")
            stored[16 * first:16 * (first + n)] = z
        need(n_listed == self.n_exceptions, "number of exceptions")
        out = np.zeros((self.n_rows, self.n_cols), np.int32)
        out[np.ix_(self.row_order, self.col_order)] = stored[:self.n_rows, :self.n_cols]
        return out

    def in_rows(self, values):
        """Of stored rows, by row; one value for all stays one."""
        out = values.copy()
        if len(values) == self.n_rows:
            out[self.row_order] = values
        return out.reshape(-1, 1)

    def weights(self, integers):
        scales = np.ones(self.n_cols, np.float32)
        scales[self.col_order] = self.scales
        w = integers.astype(np.float32) * self.in_rows(self.steps) + self.in_rows(self.offsets)
        return w * scales
