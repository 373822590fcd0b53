#!/usr/bin/env python3
"""Containers that the program writes, read by a second decoder and quantized a second time with NumPy.

For small models and every method and table, and for the model in ENTRO_MODEL with one method:
  - the gguf package lists every tensor; keys, checksums, alignment and padding are as docs/format.md says;
  - the codes that tests/oracle/decode_container.py reads are those that NumPy computes from the source, and so are steps
    and offsets, bit for bit, and whether these have 16 bits or 32;
  - "entrollm restore --type f32" gives the same weights, bit for bit.

Of rtn and watersic, in strips and in rans: the weights are those of "entrollm restore", bit for bit; rtn's integers are
the nearest with the file's steps; packed keys are those of a file without; and a byte changed in the words is noticed,
by us and by "entrollm verify".

Of method lossless the numbers are the source's, bit for bit, and so are its files, put together from the page alone.
ENTRO_EMULATED=1 leaves watersic out, whose calibration takes minutes in an emulator.
"""
import ctypes
import ctypes.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
try:
    import numpy as np
    import gguf
    import zstandard  # used by decode_metadata
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from damaged import Damaged
from decode_container import decode_payloads, open_container
from decode_metadata import all_fields, packed_fields
from decode_planes import original_files
from decode_rans import RansPayload

PROGRAM = os.environ.get("ENTROLLM", "")
SHARED = pathlib.Path(os.environ.get("ENTRO_SHARED", ""))
EMULATED = os.environ.get("ENTRO_EMULATED", "")
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "models"
METHODS = ["u8", "u4", "u8-row", "u4-row"]


# ---- sources as {name: f32 array} ----------------------------------------------------------------


def floats_of(t):
    """A tensor of a GGUFReader, rows x columns."""
    shape = [int(n) for n in reversed(t.shape)]
    return gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)


def gguf_source(path):
    return {t.name: floats_of(t) for t in gguf.GGUFReader(path).tensors}


def hf_source(folder):
    """A llama folder with bf16 weights, under GGUF's names and with its row order of q and k."""
    config = json.loads((folder / "config.json").read_text())
    data = (folder / "model.safetensors").read_bytes()
    n_head = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, info in json.loads(data[8:8 + n_head]).items():
        if name == "__metadata__":
            continue
        assert info["dtype"] == "BF16"
        a, b = (8 + n_head + x for x in info["data_offsets"])
        w = (np.frombuffer(data[a:b], "<u2").astype(np.uint32) << 16).view(np.float32)
        w = w.reshape(info["shape"])
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                w = w.reshape(config[heads], 2, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
        tensors[gguf_name(name)] = w
    return tensors


def gguf_name(name):
    for old, new in (("model.layers.", "blk."), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
                     ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
                     ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
                     ("post_attention_layernorm", "ffn_norm"), ("input_layernorm", "attn_norm"),
                     ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")):
        name = name.replace(old, new)
    return name


def write_odd_model(path):
    """Tensors of every sign, constant ones, wide and narrow ones."""
    random = np.random.default_rng(3)
    writer = gguf.GGUFWriter(path, "llama")

    def add(name, w):
        writer.add_tensor(name, np.ascontiguousarray(w, np.float32))

    bell = random.standard_normal((100, 64)).astype(np.float32)
    add("bell.weight", bell)
    add("positive.weight", abs(bell) + 0.25)
    add("negative.weight", -abs(bell))
    add("zero.weight", bell * 0)
    add("constant.weight", bell * 0 - 0.3)
    mixed = bell.copy()
    mixed[3], mixed[5], mixed[7], mixed[9] = abs(mixed[3]), -abs(mixed[5]), 0, 1.5
    mixed[11] *= 1e-20
    mixed[13] *= 1e-44
    mixed[15, 7] = 300
    add("mixed.weight", mixed)
    tame = bell.copy()  # whose grids fit 16 bits
    tame[3], tame[5], tame[7], tame[9] = abs(tame[3]), -abs(tame[5]), 0, 1.5
    tame[11, 7] = 300
    add("tame.weight", tame)
    lone = tame.copy()
    lone[99] = 0.3  # one constant row that is no f16
    add("lone.weight", lone)
    add("huge.weight", bell * 1e5)
    add("wide.weight", random.standard_normal((2, 70000)))
    add("narrow.weight", random.standard_normal((5001, 1)))
    add("odd.weight", random.laplace(size=(77, 333)))
    add("small.weight", random.standard_normal((3, 5)))
    add("norm.weight", random.standard_normal(64))
    add("cube.weight", random.standard_normal((3, 16, 32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- the methods, once more ----------------------------------------------------------------------


def to_f16(x, towards):
    """f32 values of f16, rounded towards an infinity."""
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
        beyond = np.nextafter(half, np.float16(towards))
    wrong = half > x if towards < 0 else half < x
    return np.where(wrong, beyond, half).astype(np.float32)


def half_grids(lo, hi, steps, constant, most):
    """Steps and offsets of f16 for rows whose grids of f32 have these steps; None when a row does not fit."""
    unsigned = (lo >= 0) | (hi <= 0)
    z = to_f16(np.where(unsigned & ~constant, np.float32(0), lo), -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        up, down = to_f16((hi - z) / most, np.inf), to_f16(lo / most, -np.inf)
        step = np.where(constant, np.float32(1), np.where(hi > 0, up, down))
        fits = np.where(constant, z == lo, np.isfinite(step) & (abs(step) <= abs(steps) * np.float32(1.002)))
    return (step, z) if fits.all() else None


def quantize(w, method):
    """Codes, steps, offsets and whether these are f16, by docs/methods.md, every operation in f32."""
    one = np.float32(1)
    bits = 8 if method.startswith("u8") else 4
    groups = w if method.endswith("-row") else w.reshape(1, -1)
    lo, hi = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    most = np.float32(2**bits - 1)
    positive, negative = lo >= 0, hi <= 0
    with np.errstate(divide="ignore", over="ignore"):
        s = most / np.where(positive, hi, np.where(negative, -lo, hi - lo))
    constant = (lo == hi) | np.isinf(s)
    s = np.where(constant, one, np.where(negative & ~positive, -s, s))
    z = np.where(constant, lo, np.where(positive | negative, np.float32(0), lo))
    step = one / s
    half = half_grids(lo, hi, step, constant, most) if method.endswith("-row") else None
    if half:
        step, z = half
        s = one / step
    assert s.dtype == z.dtype == step.dtype == np.float32
    q = np.clip(np.rint((groups - z) * s), 0, most).astype(np.uint8)
    return q.reshape(w.shape), step.ravel(), z.ravel(), half is not None


# ---- checks --------------------------------------------------------------------------------------


def load_hash():
    name = ctypes.util.find_library("xxhash")
    if name is None:
        print("note: no libxxhash, checksums are not compared")
        return None
    function = ctypes.CDLL(name).XXH3_64bits
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_size_t]
    return lambda a: function(np.ascontiguousarray(a).ctypes.data, a.nbytes)


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


def text(reader, key):
    return bytes(reader.fields[key].parts[-1]).decode()


def check_file(reader, path, source, recipe, hash64):
    tensors = [t for t in reader.tensors if not t.name.startswith("entrollm.")]
    assert sorted(t.name for t in tensors) == sorted(source), "the gguf package lists other tensors"
    assert text(reader, "entrollm.recipe") == recipe
    assert text(reader, "entrollm.tool").startswith("entrollm ")
    assert "/" not in text(reader, "entrollm.source")
    assert int(reader.fields["entrollm.n_params"].parts[-1][0]) == sum(w.size for w in source.values())
    assert int(reader.fields["general.alignment"].parts[-1][0]) == 64
    field = reader.fields["entrollm.hashes"]
    hashes = [int(field.parts[i][0]) for i in field.data]
    assert len(hashes) == len(reader.tensors)
    if hash64 is not None:
        assert hashes == [hash64(t.data) for t in reader.tensors], "checksums differ"
    end = max(int(t.data_offset) + int(t.n_bytes) for t in reader.tensors)
    assert path.stat().st_size == (end + 63) // 64 * 64


def is_coded(w):
    return w.ndim == 2 and w.size >= 1024


def entropy_of(integers):
    counts = np.unique(integers, return_counts=True)[1] / integers.size
    return -np.sum(counts * np.log2(counts))


def entropy_in_classes(p, integers):
    """Each pair of a row and a column class by itself, where a matrix has several."""
    stored, bits = integers[np.ix_(p.row_order, p.col_order)], 0
    for rows in np.split(stored, 16 * p.row_ends[:-1]):
        bits += sum(part.size * entropy_of(part) for part in np.split(rows, 32 * p.col_ends[:-1], axis=1))
    return bits / stored.size


def check_features(reader, payloads):
    names = {t.name for t in reader.tensors}
    codings = {p.coding for p in payloads.values()}
    occurs = [1 in codings, bool(names & {"entrollm.table.4", "entrollm.table.8"}),
              any(p.half_grids for p in payloads.values()), 2 in codings,
              3 in codings or bool(names & {"entrollm.literals", "entrollm.files"}), 4 in codings,
              any(p.short for p in payloads.values()), "entrollm.metadata" in names]
    features = int(reader.fields["entrollm.features"].parts[-1][0])
    assert features == sum(1 << i for i, bit in enumerate(occurs) if bit), (features, occurs)


def check_values(reader, restored, source, method):
    payloads, plain = open_container(reader)
    assert set(payloads) == {name for name, w in source.items() if is_coded(w)}
    names = list(payloads)
    decoded = dict(zip(names, decode_payloads([payloads[name] for name in names])))
    for name, w in source.items():
        if name in plain:
            ours = floats_of(plain[name])
            assert w.ndim > 1 or plain[name].tensor_type.name == "F32"
            assert np.array_equal(ours, w), f"{name} differs from the source's"
        else:
            p = payloads[name]
            q, steps, offsets, half = quantize(w, method)
            assert p.method == method and p.half_grids == half, f"{name}: method, or width of the grids"
            assert np.array_equal(decoded[name], q), f"codes of {name} differ"
            assert np.array_equal(p.steps, steps) and np.array_equal(p.offsets, offsets), f"grids of {name} differ"
            ours = p.weights(decoded[name])
            assert abs(p.entropy - entropy_of(q)) < 1e-6, f"entropy of {name}"
        assert np.array_equal(restored[name], ours), f"{name} is restored differently"
    check_features(reader, payloads)
    return sum(p.n_rows * p.n_cols for p in payloads.values())


def check(label, path, source, method, table, coding, folder, hash64):
    container, restored = folder / "coded.gguf", folder / "restored.gguf"
    run("compress", path, container, "--method", method, "--table", table, "--coding", coding, "--force")
    run("restore", container, restored, "--type", "f32", "--force")
    reader = gguf.GGUFReader(container)
    check_file(reader, container, source, f"{method} coding={coding} table={table}", hash64)
    n = check_values(reader, gguf_source(restored), source, method)
    print(f"ok: {label}, {method}, {coding}, table={table}: {n} coded weights agree")
    sys.stdout.flush()


def check_steps(label, path, source, recipe, options, folder, hash64):
    """rtn and watersic, whose steps the program chooses.  Returns the container."""
    container, restored = folder / "steps.gguf", folder / "restored.gguf"
    run("compress", path, container, *options, "--force")
    run("restore", container, restored, "--type", "f32", "--force")
    reader, theirs = gguf.GGUFReader(container), gguf_source(restored)
    check_file(reader, container, source, recipe, hash64)
    payloads, plain = open_container(reader)
    assert set(payloads) == {name for name, w in source.items() if is_coded(w) and w.shape[1] <= 1 << 16}
    for (name, p), z in zip(payloads.items(), decode_payloads(list(payloads.values()))):
        ours = p.weights(z).view(np.uint32)
        assert np.array_equal(ours, theirs[name].view(np.uint32)), f"{name} is restored differently"
        assert abs(p.entropy - entropy_in_classes(p, z)) < 1e-6, f"entropy of {name}"
        assert p.method == options[1]
        if p.method == "rtn":
            steps = p.in_rows(p.steps).astype(np.float64)  # exact ties may go either way
            assert np.all(abs(source[name] - z * steps) <= steps / 2), f"integers of {name} are not the nearest"
    assert all(np.array_equal(floats_of(t), source[name]) for name, t in plain.items())
    check_features(reader, payloads)
    short = sum(p.short for p in payloads.values())
    assert short or options[1] != "watersic", "steps of watersic are not short"
    n = sum(p.n_rows * p.n_cols for p in payloads.values())
    print(f"ok: {label}, {recipe}: {n} coded weights agree, {short} of {len(payloads)} grids are short")
    sys.stdout.flush()
    return container


def tokenizer(fields):
    """{key: types and bytes}"""
    return {key: (f.types, [f.parts[i].tobytes() for i in f.data]) for key, f in fields.items()
            if key.startswith("tokenizer.")}


def check_packed(label, path, container, folder):
    """That no key is lost or changed, and that restore puts them back into the head."""
    plain, restored = folder / "plain.gguf", folder / "restored.gguf"
    run("compress", path, plain, "--method", "u4", "--coding", "strips", "--force")
    run("restore", container, restored, "--type", "f32", "--force")
    packed, ours = packed_fields(gguf.GGUFReader(container)), all_fields(gguf.GGUFReader(container))
    assert "tokenizer.ggml.tokens" in packed and not packed_fields(gguf.GGUFReader(plain))
    assert tokenizer(ours) == tokenizer(gguf.GGUFReader(plain).fields), "keys differ"
    assert tokenizer(ours) == tokenizer(gguf.GGUFReader(restored).fields), "keys are restored differently"
    print(f"ok: {label}, {len(packed)} packed keys agree")


def notices(reader):
    try:
        payloads, _ = open_container(reader)
        decode_payloads(list(payloads.values()))
        return False
    except Damaged:
        return True


def check_damage(container, folder, hash64):
    """A byte changed in the words of a tensor: at the ends of its stream, at the ends of a chunk, and anywhere."""
    damaged = folder / "damaged.gguf"
    reader, bytes_ = gguf.GGUFReader(container), bytearray(container.read_bytes())
    random = np.random.default_rng(5)
    tensor = max((t for t in reader.tensors if t.tensor_type.name == "I8" and not t.name.startswith("entrollm.")),
                 key=lambda t: t.n_bytes)
    p = RansPayload(np.ascontiguousarray(tensor.data).view(np.uint8))
    start, n = int(tensor.data_offset) + p.parts[8][0], p.parts[8][1]
    second = int(p.index[1][0])
    for at in (0, 63, 64, second - 1, second, n - 1, *random.integers(0, n, 6).tolist()):
        changed = bytearray(bytes_)
        changed[start + at] ^= int(random.integers(1, 256))
        damaged.write_bytes(changed)
        reader = gguf.GGUFReader(damaged)
        assert notices(reader), f"byte {at} of the words is changed, and all seems well"
        again = next(t for t in reader.tensors if t.name == tensor.name)
        assert hash64 is None or hash64(again.data) != hash64(tensor.data)
    done = subprocess.run([PROGRAM, "verify", damaged], capture_output=True, text=True)
    assert done.returncode == 1 and tensor.name in done.stdout + done.stderr, done
    print("ok: a byte changed in the words of rans is noticed")


def check_lossless(label, path, folder, hash64, source=None):
    """source: its numbers as f32, where they are known."""
    container = folder / "lossless.gguf"
    run("compress", path, container, "--method", "lossless", "--force")
    reader = gguf.GGUFReader(container)
    payloads, plain = open_container(reader)
    n = 0
    for name, w in (source or {}).items():
        ours = payloads[name].weights() if name in payloads else floats_of(plain[name])
        assert np.array_equal(ours.view(np.uint32), w.view(np.uint32)), f"{name} differs from the source's"
        assert (name in payloads) == is_coded(w)
        n += w.size
    for p in payloads.values():
        check_entropy(p)
    check_features(reader, payloads)
    if source:
        check_file(reader, container, source, "lossless", hash64)
    is_folder, files = original_files(reader, hash64)
    path = pathlib.Path(path)
    assert is_folder == path.is_dir()
    expected = [f for f in path.iterdir() if f.is_file()] if is_folder else [path]
    assert sorted(files) == sorted(f.name for f in expected)
    assert all(files[f.name] == f.read_bytes() for f in expected), "an original file differs"
    print(f"ok: {label}, lossless: {n} numbers and {len(files)} files agree")
    sys.stdout.flush()


def check_entropy(p):
    """That of the planes, and which of them are coded."""
    n = p.numbers()
    top = (n >> 16 if p.n_planes == 4 else n).astype(np.uint32)
    planes = [top >> 7 & 255, top >> 8 & 128 | top & 127] + ([n >> 8 & 255, n & 255] if p.n_planes == 4 else [])
    bits = 0
    for i, plane in enumerate(planes):
        entropy = entropy_of(plane)
        bits += entropy if i in p.tables else 8
        assert (i in p.tables) or entropy > 7, "a plane worth coding lies raw"
    assert abs(p.entropy - bits) < 1e-6, (p.entropy, bits)


def main():
    models = SHARED / "data" / "models"
    if not PROGRAM or not models.is_dir():
        print("skipped: ENTROLLM or ENTRO_SHARED is not set")
        return 77
    hash64 = load_hash()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        odd = folder / "odd.gguf"
        write_odd_model(odd)
        stories = models / "stories260k" / "stories260K.gguf"
        tiny = models / "tinystories-656k"
        for label, path, source in (("odd shapes", odd, gguf_source(odd)), ("stories260k", stories, gguf_source(stories)),
                                    ("tinystories-656k", tiny, hf_source(tiny))):
            for method in METHODS:
                for table, coding in (("tensor", "words"), ("model", "words"), ("tensor", "strips"),
                                      ("tensor", "rans")):
                    check(label, path, source, method, table, coding, folder, hash64)
            container = check_steps(label, path, source, "rtn:3.5 coding=rans table=tensor",
                                    ["--method", "rtn", "--bits", "3.5", "--coding", "rans"], folder, hash64)
            if path != odd:  # which has no tokenizer
                check_packed(label, path, container, folder)
            check_lossless(label, path, folder, hash64, source)
        check_damage(container, folder, hash64)
        both = check_steps("stories260k", stories, gguf_source(stories), "rtn:7 coding=auto table=tensor",
                           ["--method", "rtn", "--bits", "7"], folder, hash64)
        assert {p.coding for p in open_container(gguf.GGUFReader(both))[0].values()} == {2, 4}, "one coding alone"
        for coding in ("strips", "rans") if not EMULATED else ():
            check_steps("stories260k", stories, gguf_source(stories), f"watersic bpw=5 coding={coding} table=tensor",
                        ["--method", "watersic", "--bpw", "5", "--calib-tokens", "1024", "--coding", coding,
                         "--statistics", folder / "s.calib"], folder, hash64)
        for fixture in ("llama", "llama-bias", "phi3-longrope"):
            check_lossless(fixture, FIXTURES / fixture, folder, hash64)
        model = os.environ.get("ENTRO_MODEL", "")
        if model:
            label, source = pathlib.Path(model).name, gguf_source(model)
            check(label, model, source, "u4", "tensor", "strips", folder, hash64)
            container = check_steps(label, model, source, "rtn:3.5 coding=rans table=tensor",
                                    ["--method", "rtn", "--bits", "3.5", "--coding", "rans"], folder, hash64)
            check_packed(label, model, container, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
