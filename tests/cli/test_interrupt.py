#!/usr/bin/env python3
"""Ctrl-C: jobs stop soon, nothing half-written stays, the shell sees the signal."""
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time

from cli_support import PROGRAM, SKIP, STORIES, Folder, main, need

need(STORIES)


def write_big_gguf(path, n_rows):
    """Tensors enough to keep 'compress' busy: a llama file with large f32 matrices of noise."""
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    def key(name, kind, value):
        form = {4: "<I", 6: "<f"}
        return text(name) + struct.pack("<I", kind) + (text(value) if kind == 8 else
                                                       struct.pack(form[kind], value))
    width, n_layers = 1024, 24
    keys = [key("general.architecture", 8, "llama"), key("llama.block_count", 4, n_layers),
            key("llama.embedding_length", 4, width), key("llama.context_length", 4, 128),
            key("llama.feed_forward_length", 4, n_rows), key("llama.attention.head_count", 4, 8),
            key("llama.attention.layer_norm_rms_epsilon", 6, 1e-5)]
    tensors, offset = [], 0
    for layer in range(n_layers):
        name = f"blk.{layer}.ffn_up.weight"
        tensors.append(text(name) + struct.pack("<IQQIQ", 2, width, n_rows, 0, offset))
        offset += 4 * width * n_rows
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + tensors)
    noise = random.Random(1)
    block = struct.pack("<65536f", *(noise.gauss(0, 1) for _ in range(65536)))
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for _ in range(offset // len(block)):
            f.write(block)


def interrupt(args, after, number=signal.SIGINT):
    process = subprocess.Popen([PROGRAM, *map(str, args)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(after)
    process.send_signal(number)
    start = time.time()
    out, err = process.communicate(timeout=60)
    return process.returncode, time.time() - start, out, err


def check_compress_leaves_nothing():
    with Folder() as folder:
        source = folder / "big.gguf"
        write_big_gguf(source, 4096)
        seen = 0
        for after in (0.2, 0.6, 1.2):
            for number in (signal.SIGINT, signal.SIGTERM):
                out = folder / "out.gguf"
                code, seconds, _, err = interrupt(["compress", "--method", "u8", source, out], after, number)
                if code == 0:  # done before the signal came
                    out.unlink()
                    continue
                seen += 1
                assert code == -number, (code, err)
                assert "interrupted" in err and seconds < 10, (seconds, err)
                assert sorted(p.name for p in folder.iterdir()) == ["big.gguf"], \
                    [p.name for p in folder.iterdir()]
        assert seen, "no run was long enough to interrupt"


def check_old_file_stays():
    with Folder() as folder:
        source, out = folder / "big.gguf", folder / "out.gguf"
        write_big_gguf(source, 4096)
        out.write_text("the old one")
        code, _, _, err = interrupt(["compress", "--method", "u8", "--force", source, out], 0.3)
        if code != 0:
            assert out.read_text() == "the old one", err
            assert len(list(folder.iterdir())) == 2


def check_generation_stops():
    code, seconds, out, err = interrupt(["run", STORIES, "-p", "Once", "--ignore-eos", "-c", "200000",
                                         "-n", "190000"], 1.0)
    assert code == -signal.SIGINT and seconds < 5, (code, seconds, err)
    assert len(out) > 0, err


def check_bench_stops():
    code, seconds, out, err = interrupt(["bench", STORIES, "-n", "100000", "-p", "0", "-d", "0"], 0.7)
    assert code == -signal.SIGINT and seconds < 5, (code, seconds, err)


if not hasattr(os, "fork") or not pathlib.Path("/proc").exists():
    sys.exit(SKIP)
main(globals())
