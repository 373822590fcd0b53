#!/usr/bin/env python3
"""Where the bytes beyond the entropy go, in files of coding 1 (docs/format.md, docs/coding.md): a table.

    build/venv/bin/python bench/words_excess.py FILE.gguf ...             (Python with numpy and gguf: ./check makes it)

Everything in percent of the entropy of the file's integers, tensor by tensor.  'codes' is what the words' codes take
beyond it, half a byte less an eighth counted for the end of each stream; 'Huffman' is what a code with a word for
each integer and without limit of length would take beyond it: for 256 symbols no code of coding 1 can take less, with 16
symbols words can.  '14 symbols' is the part of 'codes' that no words avoid, because a word has at least one bit and at
most 14 integers.
"""
import pathlib
import struct
import sys

import gguf
import numpy as np

HEADER, COLUMNS = 192, ["codes", "Huffman", "14 symbols", "streams", "index", "tables", "grids", "headers, padding"]


def stream_bytes(payload, segments, index, rows, cols, rows_per_segment):
    """Bytes of segments that are not codes: lengths of streams, and half of their last bytes."""
    n_bytes = 0
    for i in range(len(index) - 1):
        n = min(rows_per_segment, rows - i * rows_per_segment) * cols
        if n < 1024:
            n_bytes += 3.5 / 8
        else:
            n_bytes += 1 + (3 * int(payload[segments + int(index[i])]) + 7) // 8 + 4 * 3.5 / 8
    return n_bytes


def add_tensor(sums, payload):
    cols, rows = struct.unpack_from("<QQ", payload, 32)
    rows_per_segment, n_segments = struct.unpack_from("<II", payload, 64)
    entropy, huffman = struct.unpack_from("<dd", payload, 80)
    parts = [struct.unpack_from("<QQ", payload, 112 + 16 * i) for i in range(5)]
    index = np.frombuffer(payload, "<u8", n_segments + 1, parts[3][0])
    n, streams = rows * cols, stream_bytes(payload, parts[4][0], index, rows, cols, rows_per_segment)
    ideal = n * entropy / 8
    found = {"codes": parts[4][1] - streams - ideal, "Huffman": n * huffman / 8 - ideal,
             "14 symbols": max(n / 14 / 8 - ideal, 0) if entropy > 0 and payload[24] == 4 else 0,
             "streams": streams, "index": parts[3][1], "tables": parts[2][1], "grids": parts[0][1] + parts[1][1],
             "headers, padding": len(payload) - sum(part[1] for part in parts)}
    for name, n_bytes in found.items():
        sums[name] = sums.get(name, 0) + n_bytes
    for name, more in {"weights": n, "ideal": ideal, "all": len(payload)}.items():
        sums[name] = sums.get(name, 0) + more


def row_of(path):
    sums = {}
    for tensor in gguf.GGUFReader(path).tensors:
        payload = np.asarray(tensor.data).view(np.uint8).ravel()
        if payload[:8].tobytes() == b"EntroTns" and payload[16] == 1:
            add_tensor(sums, payload)
    if not sums:
        sys.exit(f"{path}: no tensor in coding 1")
    ideal = sums["ideal"]
    cells = [f"{8 * ideal / sums['weights']:.3f}", f"{100 * (sums['all'] / ideal - 1):.2f}"]
    return cells + [f"{100 * sums[name] / ideal:.3f}" for name in COLUMNS]


print("| file | entropy | all | " + " | ".join(COLUMNS) + " |")
print("| --- |" + " ---: |" * (2 + len(COLUMNS)))
for name in sys.argv[1:]:
    print(f"| {pathlib.Path(name).stem} | " + " | ".join(row_of(name)) + " |", flush=True)
