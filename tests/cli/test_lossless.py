#!/usr/bin/env python3
"""Lossless files: what restore gives back is what was there, byte for byte; the same predictions, bit for bit."""
import filecmp
import json
import os
import pathlib
import shutil
import struct

from cli_support import ROOT, STORIES, TINY, Folder, expect, main, need, run

need(STORIES, TINY)
FIXTURES = ROOT / "tests/fixtures/models"
MODEL = os.environ.get("ENTRO_MODEL", "")
TEXT = "Once upon a time, there was a little girl named Lily. She liked to play outside. " * 40


def parsed(*args, **kw):
    return json.loads(expect(run(*args, **kw), 0).out)


def same_folder(a, b, but=()):
    """Both hold the same files, but for those named, which only the first has."""
    names = sorted(p.name for p in pathlib.Path(a).iterdir() if p.name not in but)
    assert names == sorted(p.name for p in pathlib.Path(b).iterdir()), (names, list(pathlib.Path(b).iterdir()))
    for name in names:
        assert filecmp.cmp(a / name, b / name, shallow=False), f"{name} differs"


def there_and_back(source, folder, but=()):
    """Compresses, verifies, restores, compares; returns the account and the coded file."""
    coded, back = folder / "coded.gguf", folder / ("back" if source.is_dir() else "back.gguf")
    account = parsed("compress", source, coded, "--method", "lossless", "--json", "--force", timeout=600)
    expect(run("verify", coded, "--source", source, timeout=600), 0, "byte for byte", stream="out")
    expect(run("restore", coded, back, timeout=600), 0, "byte for byte", stream="out")
    if source.is_dir():
        same_folder(source, back, but)
        shutil.rmtree(back)
    else:
        assert filecmp.cmp(source, back, shallow=False), f"{source} differs"
        back.unlink()
    return account, coded


def check_gguf_files():
    with Folder() as folder:
        account, coded = there_and_back(STORIES, folder)  # F32
        assert account["n_exact_tensors"] == account["n_coded_tensors"] == 37
        assert account["max_error"] == 0 and account["n_original_files"] == 1
        assert account["entropy"] < account["bits_per_coded_param"] < 28
        for kind in ("f16", "bf16"):
            plain = folder / f"plain-{kind}.gguf"
            expect(run("restore", coded, plain, "--type", kind), 0)
            account, _ = there_and_back(plain, folder)
            assert account["bits_per_coded_param"] < (14.5 if kind == "f16" else 12)
            coded = folder / "coded.gguf"


def check_quantized_gguf_files():
    if not MODEL:
        print("      (no ENTRO_MODEL: only the small one)")
    with Folder() as folder:
        for model in [pathlib.Path(MODEL)] if MODEL else []:
            account, _ = there_and_back(model, folder)
            assert account["n_coded_tensors"] == 0
            assert account["n_file_bytes"] < 1.02 * account["n_source_bytes"]


def check_folders():
    with Folder() as folder:
        account, coded = there_and_back(TINY, folder)  # BF16, one file
        assert account["bits_per_coded_param"] <= 11.1 and account["n_original_files"] == 7
        for name in ("llama", "llama-bias", "phi3", "qwen2", "mistral-window"):  # llama-bias: three shards
            there_and_back(FIXTURES / name, folder)


def shard(source, target, n_shards):
    """The folder with its weights in several files, as Hugging Face's libraries do it."""
    shutil.copytree(source, target)
    raw = (target / "model.safetensors").read_bytes()
    (target / "model.safetensors").unlink()
    n_head = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8:8 + n_head]), raw[8 + n_head:]
    meta = head.pop("__metadata__", {})
    names, weight_map = list(head), {}
    for i in range(n_shards):
        name = f"model-{i + 1:05d}-of-{n_shards:05d}.safetensors"
        part, blob = {"__metadata__": meta}, b""
        for tensor in names[i::n_shards]:
            begin, end = head[tensor]["data_offsets"]
            part[tensor] = {**head[tensor], "data_offsets": [len(blob), len(blob) + end - begin]}
            blob += data[begin:end]
            weight_map[tensor] = name
        text = json.dumps(part).encode()
        text += b" " * (-len(text) % 8 + 8 * i)  # padding of the head, as some writers leave it
        (target / name).write_bytes(struct.pack("<Q", len(text)) + text + blob)
    (target / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": len(data)}, "weight_map": weight_map}, indent=2))


def check_sharded_folders():
    with Folder() as folder:
        shard(TINY, folder / "sharded", 3)
        account, coded = there_and_back(folder / "sharded", folder)
        assert account["n_original_files"] == 7 + 3
        shard(FIXTURES / "llama", folder / "heads", 2)
        there_and_back(folder / "heads", folder)


def add_tensors(path, extra):
    """Puts more tensors into a safetensors file: (name, dtype, shape, bytes)."""
    raw = path.read_bytes()
    n_head = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8:8 + n_head]), raw[8 + n_head:]
    for name, dtype, shape, blob in extra:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(blob)]}
        data += blob
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return head, data


def check_tensors_that_nobody_asks_for():
    with Folder() as folder:
        source = folder / "odd"
        shutil.copytree(FIXTURES / "llama", source)
        head, data = add_tensors(source / "model.safetensors", [])
        q = head["model.layers.0.self_attn.q_proj.weight"]
        twin = data[slice(*q["data_offsets"])]  # the same bytes under another name, rows in another order than ours
        head, _ = add_tensors(source / "model.safetensors", [
            ("a.copy", q["dtype"], q["shape"], twin),
            ("rotary_emb.inv_freq", "F32", [8], bytes(range(32))),
            ("empty", "F32", [0, 4], b""),
            ("scalar", "I64", [], b"12345678"),
            ("flags", "BOOL", [3], b"\1\0\1")])
        (source / "README.md").write_text("# A model\n")
        (source / "empty.txt").write_text("")
        (source / ".hidden").write_text("not carried")
        (source / "runs").mkdir()
        (source / "runs" / "log").write_text("not carried")
        (source / "other.gguf").write_bytes(b"GGUF")
        with open(source / "pytorch_model.bin", "wb") as f:
            f.truncate((64 << 20) + 1)
        but = (".hidden", "runs", "other.gguf", "pytorch_model.bin")
        before = parsed("compress", FIXTURES / "llama", folder / "plain.gguf", "--method", "lossless", "--json")
        account, coded = there_and_back(source, folder, but)
        assert account["n_left_out"] == 3, account
        assert account["n_original_bytes"] < before["n_original_bytes"] + len(twin), "the copy was stored again"
        info = parsed("inspect", coded, "--json")
        assert info["n_original_files"] == 5 and info["original_is_folder"] is True


def check_predictions_are_the_same():
    with Folder() as folder:
        text = folder / "text.txt"
        text.write_text(TEXT)
        for source in (STORIES, TINY):
            coded = folder / "coded.gguf"
            expect(run("compress", source, coded, "--method", "lossless", "--force"), 0)
            a = parsed("perplexity", source, text, "-c", "128", "--json")
            b = parsed("perplexity", coded, text, "-c", "128", "--json")
            assert a["nll"] == b["nll"] and a["perplexity"] == b["perplexity"], (a, b)
            for threads in ("1", "2"):
                args = ("-p", "Once upon a time", "-n", "40", "--temp", "0", "--raw", "-t", threads)
                assert run("run", source, *args).out == run("run", coded, *args).out


def check_inspect_and_names():
    with Folder() as folder:
        source = folder / "little"
        shutil.copytree(TINY, source)
        expect(run("compress", source, "--method", "lossless"), 0, "every bit", "byte for byte", stream="out")
        coded = folder / "little-lossless.gguf"
        report = parsed("inspect", coded, "--json")
        exact = [t for t in report["tensors"] if t["method"] == "lossless"]
        assert exact and all(t["type"] == "planes" and t["mode"] == "BF16" for t in exact), exact
        assert all(t["entropy"] < t["bits"] and t["step_min"] is None for t in exact)
        assert report["recipe"] == "lossless"
        text = expect(run("inspect", coded), 0, "planes BF16", "a folder of 7 files", stream="out").out
        assert "nan" not in text
        expect(run("restore", coded), 0)
        same_folder(source, folder / "little-lossless-original")
        expect(run("restore", coded), 1, "exists already")
        expect(run("restore", coded, folder / "x.gguf"), 2, "is a folder")
        expect(run("restore", coded, folder / "x.gguf", "--type", "f16"), 0)
        expect(run("compress", source, folder / "u8.gguf", "--method", "u8"), 0)
        expect(run("restore", folder / "u8.gguf", folder / "y", "--type", "original"), 1, "--method lossless")
        assert not list(folder.glob("*.tmp"))


main(globals())
