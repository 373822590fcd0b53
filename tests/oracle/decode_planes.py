"""Coding 3 and originals, written from docs/format.md and docs/coding.md alone."""
import struct

import numpy as np

import decode_container as container
from decode_container import need

N_PLANES = {0: 4, 1: 2, 30: 2, 24: 1}  # by GGUF's number of the type: F32, F16, BF16, bytes


class PlanesPayload:
    bits = None  # has no codes of coding 1
    coding = 3
    half_grids = short = False

    def __init__(self, data):
        data = np.ascontiguousarray(data).view(np.uint8)
        need(len(data) >= 256 and data[:8].tobytes() == container.MAGIC, "not a coded tensor")
        fields = struct.unpack("<6I 4Q 2I Q 2d 16s 14Q", data[8:224].tobytes())
        version, n_header, coding, flags, self.type, n_dims = fields[:6]
        need((version, n_header, coding, flags, n_dims) == (1, 256, 3, 0, 2), "unknown layout")
        need(self.type in N_PLANES, "a type that planes cannot hold")
        self.n_planes = N_PLANES[self.type]
        self.n_cols, self.n_rows = fields[6:8]
        need(fields[8:10] == (1, 1) and fields[12] == 0, "dimensions, or grids")
        self.rows_per_segment, self.n_segments = fields[10:12]
        self.entropy, self.huffman_bits = fields[13:15]
        self.method = fields[15].rstrip(b"\0").decode()
        need(self.method == "lossless", "another method")
        need(not data[224:256].any(), "bytes behind the header's fields")
        need(1 <= self.rows_per_segment <= self.n_rows and
             self.n_segments == -(-self.n_rows // self.rows_per_segment), "number of segments")
        self.data = data
        self._read_parts([(fields[16 + 2 * i], fields[17 + 2 * i]) for i in range(7)])

    def _read_parts(self, parts):
        data, end = self.data, 256
        for offset, n in parts:
            need(offset % 8 == 0 and end <= offset and not data[end:offset].any(), "parts")
            end = offset + n
        need(end + 64 <= len(data) and len(data) % 64 == 0 and not data[end:].any(), "padding")
        self.tables = {p: container.Table(data[o:o + n].tolist(), 256) for p, (o, n) in enumerate(parts[:4]) if n}
        need(all(p < self.n_planes for p in self.tables), "a table too many")
        coded = len(self.tables)
        index = data[parts[4][0]:parts[4][0] + parts[4][1]].view("<u8").astype(np.int64)
        need(len(index) == self.n_segments * coded + 1 and index[0] == 0 and index[-1] == parts[6][1] and
             np.all(np.diff(index) >= 0), "index")
        self.index = index + parts[6][0]
        n = self.n_rows * self.n_cols
        need(parts[5][1] == n * (self.n_planes - coded), "raw planes")
        raw = data[parts[5][0]:parts[5][0] + parts[5][1]].reshape(-1, n)
        missing = [p for p in range(self.n_planes) if p not in self.tables]
        self.raw = dict(zip(missing, raw))

    def _coded_plane(self, k, table):
        """The k-th of the coded ones."""
        n_all, rows = self.n_rows * self.n_cols, []
        for i in range(self.n_segments):
            first = i * self.rows_per_segment * self.n_cols
            at = i * len(self.tables) + k
            n = min(n_all - first, self.rows_per_segment * self.n_cols)
            for start, end, place, count in container.split_segment(self.data, int(self.index[at]),
                                                                    int(self.index[at + 1]), n):
                rows.append((start, end, first + place, count, 0))
        out = np.zeros(n_all, np.uint8)
        container.decode_streams(self.data, np.array(rows, np.int64), [table], out)
        return out

    def numbers(self):
        """Unsigned integers with the bits of the numbers, rows x columns."""
        planes = dict(self.raw)
        for k, p in enumerate(sorted(self.tables)):
            planes[p] = self._coded_plane(k, self.tables[p])
        wide = [planes[p].astype(np.uint32) for p in range(self.n_planes)]
        if self.n_planes == 1:
            return planes[0].reshape(self.n_rows, self.n_cols)
        v = (wide[1] >> 7) << 15 | wide[0] << 7 | (wide[1] & 127)
        v = v << 16 | wide[2] << 8 | wide[3] if self.n_planes == 4 else v.astype(np.uint16)
        return v.reshape(self.n_rows, self.n_cols)

    def weights(self):
        v = self.numbers()
        if self.type == 30:
            v = v.astype(np.uint32) << 16
        return v.view(np.float16).astype(np.float32) if self.type == 1 else v.view(np.float32)


# ---- originals -----------------------------------------------------------------------------------


def in_file_order(numbers, n_head_rows):
    if not n_head_rows:
        return numbers
    need(n_head_rows % 2 == 0 and len(numbers) % n_head_rows == 0, "heads")
    heads = numbers.reshape(-1, n_head_rows // 2, 2, *numbers.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2))


def tensor_bytes(tensor, n_head_rows):
    if tensor.tensor_type.name == "I8":
        need(not tensor.name.startswith("entrollm."), "a part of the original itself")
        rows = PlanesPayload(tensor.data).numbers()
    elif n_head_rows and len(tensor.shape) == 1:
        raw = np.ascontiguousarray(tensor.data).view(np.uint8)
        rows = raw.reshape(int(tensor.shape[0]), -1)
    else:
        rows = np.ascontiguousarray(tensor.data).view(np.uint8)
        rows = rows.reshape(int(tensor.shape[1]) if len(tensor.shape) > 1 else 1, -1)
    return in_file_order(rows, n_head_rows).tobytes()


def original_files(reader, hash64):
    """(is a folder, {name: bytes}) of the files that the container was made from."""
    named = {t.name: t for t in reader.tensors}
    data = np.ascontiguousarray(named["entrollm.files"].data).tobytes()
    literals = b""
    if "entrollm.literals" in named:
        payload = PlanesPayload(named["entrollm.literals"].data)
        need(payload.type == 24 and payload.n_cols == 1, "literals are bytes")
        literals = payload.numbers().tobytes()
    magic, version, kind, n_files, zero, n_pieces = struct.unpack("<8s4IQ", data[:32])
    need(magic == b"EntroOrg" and version == 1 and kind < 2 and zero == 0, "unknown list of files")
    need(1 <= n_files <= (8192 if kind else 1), "number of files")
    at, heads, files, used = 32, [], {}, 0
    for _ in range(n_files):
        n_bytes, checksum, count, n_name = struct.unpack("<2Q2I", data[at:at + 24])
        name = data[at + 24:at + 24 + n_name]
        at += 24 + (n_name + 7) // 8 * 8
        need(name and not set(name) & {*range(32), 127, *b"/\\"} and not name.startswith(b"."), "a name")
        heads.append((name.decode(), n_bytes, checksum, count))
    for name, n_bytes, checksum, count in heads:
        blob = b""
        for _ in range(count):
            piece, n_head_rows, value = struct.unpack("<2IQ", data[at:at + 16])
            at += 16
            if piece == 0:
                need(n_head_rows == 0, "a literal in heads")
                blob += literals[used:used + value]
                used += value
            else:
                need(piece == 1, "kind of a piece")
                blob += tensor_bytes(reader.tensors[value], n_head_rows)
        need(len(blob) == n_bytes and name not in files, "a file's length, or its name")
        need(hash64 is None or hash64(np.frombuffer(blob, np.uint8)) == checksum, "a file's checksum")
        files[name] = blob
    need(at == len(data) and used == len(literals), "bytes left over")
    return kind == 1, files
