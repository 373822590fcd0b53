"""The keys of a container, packed ones included, read from docs/format.md alone."""
import pathlib
import struct
import tempfile

import gguf
import numpy as np
import zstandard

from damaged import need


def unpack(data):
    """The bytes of the GGUF file in the tensor entrollm.metadata."""
    need(len(data) >= 24, "packed metadata without its head")
    magic, version, zero, n = struct.unpack("<8s2IQ", data[:24])
    need(magic == b"EntroMet" and version == 1 and zero == 0 and n <= 1 << 28, "unknown packed metadata")
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        raw = frame.decompress(data[24:])
    except zstandard.ZstdError as error:
        need(False, f"packed metadata: {error}")
    need(frame.eof and not frame.unused_data and len(raw) == n, "packed metadata of another length")
    return raw


def fields_of_bytes(raw):
    need(raw[:8] == b"GGUF\3\0\0\0", "packed metadata are no GGUF v3 file")
    with tempfile.TemporaryDirectory() as folder:  # the gguf package reads from files only
        path = pathlib.Path(folder) / "packed.gguf"
        path.write_bytes(raw)
        try:
            reader = gguf.GGUFReader(path)
        except (ValueError, IndexError) as error:
            need(False, f"packed metadata: {error}")
    need(not reader.tensors, "packed metadata with tensors")
    return keys(reader)


def keys(reader):
    """Without what the package makes of the file's first bytes."""
    return {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def packed_fields(reader):
    """{key: field} of what is packed; empty when nothing is."""
    tensors = [t for t in reader.tensors if t.name == "entrollm.metadata"]
    if not tensors:
        return {}
    need(tensors[0].tensor_type.name == "I8" and len(tensors[0].shape) == 1, "packed metadata of another type")
    packed = fields_of_bytes(unpack(np.ascontiguousarray(tensors[0].data).tobytes()))
    need(all(name.startswith("tokenizer.") for name in packed), "packed keys that are no tokenizer's")
    need(not set(packed) & set(reader.fields), "a key is there twice")
    return packed


def all_fields(reader):
    return keys(reader) | packed_fields(reader)
