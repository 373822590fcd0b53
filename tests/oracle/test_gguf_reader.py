#!/usr/bin/env python3
"""The GGUF reader and its dequantizers against the PyPI package gguf, bit for bit.

Writes files with gguf.GGUFWriter: every key type, every tensor type that is readable, with random
blocks (all bytes random, f16 scales kept finite).  Then, where the models are at hand, some tensors
of a real file.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import gguf
    import numpy as np
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
    from gguf.quants import dequantize
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(77)

TOOL = pathlib.Path(os.environ.get("ENTRO_BUILD", "build/release")) / "tests" / "dump_rows"
# Type -> byte offsets of the f16 numbers in a block.
TYPES = {T.F32: (), T.F16: (0,), T.BF16: (), T.Q4_0: (0,), T.Q4_1: (0, 2), T.Q5_0: (0,),
         T.Q5_1: (0, 2), T.Q8_0: (0,), T.Q2_K: (80, 82), T.Q3_K: (108,), T.Q4_K: (0, 2),
         T.Q5_K: (0, 2), T.Q6_K: (208,), T.IQ4_NL: (0,), T.IQ4_XS: (0,)}
failures = []


def expect(condition, what):
    if not condition:
        failures.append(what)
        print("FAIL:", what)


def run(*arguments):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, check=False)


def same_bits(ours, theirs):
    """NaNs may differ in their payload: numpy's conversion keeps signalling ones."""
    ours, theirs = ours.view(np.uint32), theirs.view(np.uint32)
    nan = lambda x: (x & 0x7fffffff) > 0x7f800000
    return ours.size == theirs.size and np.all((ours == theirs) | (nan(ours) & nan(theirs)))


def random_blocks(rng, dtype, n_rows, n_blocks):
    _, n_bytes = GGML_QUANT_SIZES[dtype]
    data = rng.integers(0, 256, (n_rows, n_blocks, n_bytes), dtype=np.uint8)
    for at in TYPES[dtype]:  # exponent 31 would be an infinity or NaN; subnormal scales stay in
        high = data[:, :, at + 1]
        high[(high & 0x7c) == 0x7c] &= 0x83
    return data.reshape(n_rows, n_blocks * n_bytes)


def as_f32(data, dtype):
    if dtype == T.F32:
        return data.view(np.float32)
    if dtype == T.F16:
        return data.view(np.float16).astype(np.float32)
    return dequantize(data, dtype)


def test_types(folder):
    rng = np.random.default_rng(20250101)
    path = folder / "types.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    data = {}
    for dtype in TYPES:
        per_block = GGML_QUANT_SIZES[dtype][0]
        data[dtype] = random_blocks(rng, dtype, 37, 8 if per_block > 1 else 333)
        writer.add_tensor(dtype.name + ".weight", data[dtype].copy(), raw_dtype=dtype)
    # Every f16 and bf16 there is, infinities and NaNs too.
    every = np.arange(65536, dtype=np.uint16)
    writer.add_tensor("every_f16", every.view(np.float16))
    writer.add_tensor("every_bf16", every.view(np.uint8), raw_dtype=T.BF16)
    close(writer)
    for dtype in TYPES:
        result = run(path, dtype.name + ".weight")
        expect(result.returncode == 0, f"{dtype.name}: {result.stderr.decode()}")
        with np.errstate(all="ignore"):
            theirs = as_f32(data[dtype], dtype).reshape(-1)
        expect(same_bits(np.frombuffer(result.stdout, np.float32), theirs), f"{dtype.name} differs")
    ours = np.frombuffer(run(path, "every_f16").stdout, np.float32)
    expect(same_bits(ours, every.view(np.float16).astype(np.float32)), "every_f16 differs")
    ours = np.frombuffer(run(path, "every_bf16").stdout, np.float32)
    expect(same_bits(ours, (every.astype(np.uint32) << 16).view(np.float32)), "every_bf16 differs")


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_listing(folder):
    path = folder / "keys.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_uint8("k.u8", 255)
    writer.add_int8("k.i8", -128)
    writer.add_uint16("k.u16", 65535)
    writer.add_int16("k.i16", -32768)
    writer.add_uint32("k.u32", 4294967295)
    writer.add_int32("k.i32", -2147483648)
    writer.add_uint64("k.u64", 2**64 - 1)
    writer.add_int64("k.i64", -2**63)
    writer.add_float32("k.f32", 0.15625)
    writer.add_float64("k.f64", -1e300)
    writer.add_bool("k.bool", True)
    writer.add_string("k.string", "Gr\u00fc\u00dfe\n")
    writer.add_array("k.strings", ["a", "", "\u00e9" * 40] + ["x"] * 7)
    writer.add_array("k.ints", [1, -2, 3])
    writer.add_tensor("a", np.zeros((2, 3, 4, 5), np.float32))
    writer.add_tensor("b", np.zeros(9, np.int8))
    close(writer)
    result = run(path)
    expect(result.returncode == 0, result.stderr.decode())
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
    keys = {line[1]: line[2:] for line in lines if line[0] == "key"}
    wanted = {"general.architecture": ["8", "0", "1", "llama"], "k.u8": ["0", "0", "1", "255"],
              "k.i8": ["1", "0", "1", "-128"], "k.u16": ["2", "0", "1", "65535"],
              "k.i16": ["3", "0", "1", "-32768"], "k.u32": ["4", "0", "1", "4294967295"],
              "k.i32": ["5", "0", "1", "-2147483648"],
              "k.u64": ["10", "0", "1", "18446744073709551615"],
              "k.i64": ["11", "0", "1", "-9223372036854775808"],
              "k.f32": ["6", "0", "1", "0.15625"], "k.f64": ["12", "0", "1", "-1e+300"],
              "k.bool": ["7", "0", "1", "true"],
              "k.string": ["8", "0", "1", "Gr\u00fc\u00dfe\\n"],
              "k.strings": ["8", "1", "10", '["a", "", "' + "\u00e9" * 16
                            + '...", "x", "x", "x", ... 10 in all]'],
              "k.ints": ["5", "1", "3", "[1, -2, 3]"],
              "general.alignment": ["4", "0", "1", "64"]}
    for key, value in wanted.items():
        expect(keys.get(key) == value, f"key {key}: {keys.get(key)}, expected {value}")
    compare_tensors(path, lines)


def compare_tensors(path, lines):
    """Names, types, shapes and places, as gguf.GGUFReader sees them."""
    ours = {line[1]: line[2:] for line in lines if line[0] == "tensor"}
    reader = gguf.GGUFReader(path)
    expect(len(ours) == len(reader.tensors), f"{path.name}: number of tensors")
    for tensor in reader.tensors:
        dims = [int(d) for d in tensor.shape] + [1] * (4 - len(tensor.shape))
        theirs = [tensor.tensor_type.name, ",".join(map(str, dims)), str(tensor.data_offset),
                  str(tensor.n_bytes)]
        expect(ours.get(tensor.name) == theirs, f"tensor {tensor.name}: {ours.get(tensor.name)}")
    return reader


def test_truncated(folder):
    whole = (folder / "keys.gguf").read_bytes()
    needed = len(whole.rstrip(b"\0"))
    path = folder / "cut.gguf"
    for n in (0, 3, 20, 100, needed // 2, len(whole) - 200):
        path.write_bytes(whole[:n])
        result = run(path)
        message = result.stderr.decode()
        expect(result.returncode == 1 and ("download" in message or "this is" in message),
               f"cut to {n} bytes: {message}")


def test_real_model(path):
    lines = [line.split("\t") for line in run(path).stdout.decode().splitlines()]
    reader = compare_tensors(path, lines)
    seen = set()
    for tensor in reader.tensors:
        if tensor.tensor_type in seen or tensor.n_elements > 40_000_000:
            continue
        seen.add(tensor.tensor_type)
        result = run(path, tensor.name)
        theirs = as_f32(tensor.data, tensor.tensor_type).reshape(-1)
        expect(same_bits(np.frombuffer(result.stdout, np.float32), theirs),
               f"{path.name}: {tensor.name} ({tensor.tensor_type.name}) differs")
    print(f"{path.name}: {len(reader.tensors)} tensors, types {sorted(t.name for t in seen)}")


def main():
    if not TOOL.exists():
        print(f"skipped: {TOOL} is not built")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        test_types(folder)
        test_listing(folder)
        test_truncated(folder)
    model = os.environ.get("ENTRO_MODEL")
    if model and pathlib.Path(model).exists():
        test_real_model(pathlib.Path(model))
    print(f"{len(TYPES)} types compared, {len(failures)} failures")
    return 1 if failures else 0


sys.exit(main())
