"""Payloads of coding 4, decoded from docs/format.md alone: 16 rows of all chunks of all matrices in lockstep."""
import struct

import numpy as np

from damaged import need
from decode_strips import StripPayload

ONE = 65536  # the state in which the encoder began


def read_frequencies(data, at):
    """A class's base and frequencies, and where they end."""
    need(at + 5 <= len(data), "classes end too early")
    base, last = struct.unpack("<iB", data[at:at + 5].tobytes())
    at += 5
    freq = []
    while len(freq) <= last:
        n = 2 if at < len(data) and data[at] >= 128 else 1
        need(at + n <= len(data), "classes end too early")
        freq.append(int(data[at]) if n == 1 else int(data[at]) - 128 << 8 | int(data[at + 1]))
        at += n
    need(abs(base) <= 1 << 30, "a base is out of range")
    need(sum(freq) == 4096 and freq[0] and freq[-1], "frequencies")
    return base, np.array(freq), at


class RansPayload(StripPayload):
    coding = 4
    head_of_words = 128
    symbols = None  # of each chunk, columns of strips x 16 rows, from decode_together

    def read_classes(self, data, n):
        need(self.parts[7][1] == 0, "raw bits")
        classes, at = [], 0
        for _ in range(n):
            base, freq, at = read_frequencies(data, at)
            classes.append((base, freq))
        need(at == len(data), "bytes behind the classes")
        return classes

    def class_of_columns(self):
        """The column class of each stored column, padding included."""
        return np.repeat(np.arange(len(self.col_ends)), 32 * np.diff(self.col_ends, prepend=0))

    def decode_lanes(self, number_of_chunk, row_class, n_strips):
        if self.symbols is None:
            decode_together([self])
        bases = np.array([base for base, _ in self.classes], np.int32).reshape(-1, len(self.col_ends))[row_class]
        v = self.symbols[number_of_chunk].reshape(n_strips, -1, 16).astype(np.int32)
        z = v + bases[self.class_of_columns()][:, None]
        return z.transpose(0, 2, 1).reshape(16 * n_strips, -1)


# ---- all chunks at once --------------------------------------------------------------------------


class Chunks:
    """Arrays with an entry for each chunk of all matrices, the longest first."""

    def __init__(self, payloads):
        n_words = n_scheduled = 0
        rows, self.words, self.schedule, self.classes = [], [], [], []
        for p in payloads:
            padded = 32 * p.n_units
            for i, (row_class, _, n_strips) in enumerate(p.chunks()):
                start, end = p.index[i][0] // 2 + n_words, p.index[i + 1][0] // 2 + n_words
                rows.append((n_strips * padded, start, end, n_scheduled + row_class * padded, padded))
            n_row_classes = len(p.row_ends)
            n_words += p.parts[8][1] // 2
            n_scheduled += n_row_classes * padded
            self.words.append(p.part(8).view("<u2"))
            self.schedule += [len(self.classes) + len(p.col_ends) * r + p.class_of_columns()
                              for r in range(n_row_classes)]
            self.classes += [freq for _, freq in p.classes]
        self.words = np.concatenate(self.words).astype(np.uint32)
        self.schedule = np.concatenate(self.schedule)  # for each row class its stored columns' classes
        rows = np.array(rows, np.int64)
        self.order = np.argsort(-rows[:, 0], kind="stable")
        self.n_columns, self.taken, self.end, self.first, self.padded = rows[self.order].T.copy()
        starts = np.cumsum(rows[:, 0]) - rows[:, 0]  # in the output, where chunks lie as they come
        self.place = starts[self.order]


def tables(classes):
    """symbol of 4096 slots of each class; freq and start of 256 symbols of each."""
    symbol = np.concatenate([np.repeat(np.arange(len(f), dtype=np.uint8), f) for f in classes])
    freq = np.array([np.pad(f, (0, 256 - len(f))) for f in classes])
    start = np.cumsum(freq, axis=1) - freq
    return symbol, freq.astype(np.uint32).ravel(), start.astype(np.uint32).ravel()


def decode_together(payloads):
    """Sets the symbols of all these payloads."""
    if not payloads:
        return
    c = Chunks(payloads)
    symbol, freq, start = tables(c.classes)
    out = np.zeros((c.n_columns.sum(), 16), np.uint8)
    words_of_states = c.words[c.taken[:, None] + np.arange(64)]
    states = words_of_states[:, 0::2] | words_of_states[:, 1::2] << 16
    taken = c.taken + 64
    going = len(states)
    for t in range(c.n_columns[0]):
        while c.n_columns[going - 1] <= t:
            going -= 1
        turn = slice(t % 2 * 16, t % 2 * 16 + 16)  # even columns have states of their own
        x, at = states[:going, turn], taken[:going]
        table = c.schedule[c.first[:going] + t % c.padded[:going]][:, None]
        slot = x & 4095
        v = symbol[table << 12 | slot]
        out[c.place[:going] + t] = v
        v = table << 8 | v
        x = freq[v] * (x >> 12) + slot - start[v]
        asks = x < ONE
        n_asked = np.cumsum(asks, axis=1)  # at a row that asks: how many did down to it
        need(np.all(at + n_asked[:, -1] <= c.end[:going]), "words are missing")
        states[:going, turn] = np.where(asks, x << 16 | c.words[at[:, None] + n_asked - 1], x)
        taken[:going] = at + n_asked[:, -1]
    need(np.all(states == ONE), "a state is not what the encoder began with")
    need(np.all(taken == c.end), "words are left over")
    hand_out(payloads, out)


def hand_out(payloads, out):
    at = 0
    for p in payloads:
        p.symbols = []
        for _, _, n_strips in p.chunks():
            n = n_strips * 32 * p.n_units
            p.symbols.append(out[at:at + n])
            at += n
