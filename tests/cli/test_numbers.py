#!/usr/bin/env python3
"""Numbers of a source: those that are not finite are named, and what cannot be calibrated on is."""
import json
import shutil
import struct

from cli_support import TINY, Folder, expect, main, need, run

need(TINY)
NAN, INF = 0x7FC0, 0x7F80  # bf16
METHODS = ("rtn", "u8", "u8-row", "u4-row", "u4-row-sparse", "watersic")


def copy_of_tiny(folder, change):
    """The model with change(header, bytes) made to its tensors."""
    model = folder / "model"
    shutil.copytree(TINY, model)
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    n_header = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:n_header])
    header = change(header, memoryview(data)[n_header:]) or header
    text = json.dumps(header).encode()
    weights.unlink()  # it may be read-only
    weights.write_bytes(struct.pack("<Q", len(text)) + text + data[n_header:])
    return model


def with_number(folder, tensor, row, col, value):
    def change(header, data):
        about = header[tensor]
        assert about["dtype"] == "BF16", about
        n_cols = about["shape"][-1]
        struct.pack_into("<H", data, about["data_offsets"][0] + 2 * (row * n_cols + col), value)
    return copy_of_tiny(folder, change)


def check_vectors_must_be_finite_whatever_the_method():
    for value, name in ((NAN, "nan"), (INF, "inf")):
        with Folder() as folder:
            model, out = with_number(folder, "model.norm.weight", 0, 17, value), folder / "out.gguf"
            for method in METHODS:
                expect(run("compress", model, out, "--method", method), 1,
                       f"output_norm.weight: the number in column 17 is {name}, expected finite numbers")
            assert list(folder.iterdir()) == [model], "something was left behind"


def check_matrices_must_be_finite_whatever_the_method():
    with Folder() as folder:
        model = with_number(folder, "model.layers.1.mlp.up_proj.weight", 5, 7, NAN)
        out = folder / "out.gguf"
        for method in METHODS:
            expect(run("compress", model, out, "--method", method), 1, "blk.1.ffn_up.weight",
                   "the number in row 5, column 7 is nan")
        expect(run("compress", model, out, "--method", "u8", "--keep", "blk.1.*"), 1,
               "blk.1.ffn_up.weight", "row 5, column 7 is nan")
        expect(run("compress", model, out, "--method", "rtn", "--set", "blk.1.*=lossless"), 1,
               "blk.1.ffn_up.weight", "row 5, column 7 is nan")
        assert list(folder.iterdir()) == [model], "something was left behind"


def check_models_that_predict_nan_are_not_scored():
    with Folder() as folder:
        model = with_number(folder, "model.norm.weight", 0, 17, NAN)
        lossless = folder / "lossless.gguf"
        expect(run("compress", model, lossless, "--method", "lossless"), 0)
        text, task = folder / "text.txt", folder / "task.jsonl"
        text.write_text("Once upon a time there was a little dog. " * 60)
        task.write_text(json.dumps({"query": "Once upon a", "choices": ["time", "mouse"], "gold": 0}) + "\n")
        commands = (["run", lossless, "-p", "Once upon a time", "-n", "4"],
                    ["run", model, "-p", "Once upon a time", "-n", "4", "--temp", "0"],
                    ["perplexity", lossless, text, "-c", "64"],
                    ["compare", TINY, lossless, "-f", text, "-c", "64"],
                    ["compare", lossless, TINY, "-f", text, "-c", "64", "--cache", folder / "cache"],
                    ["eval", lossless, "-f", task])
        for command in commands:
            name = lossless if lossless in command else model
            done = expect(run(*command), 1, f"{name}: the model's prediction is no number", "is nan")
            assert "nan" not in done.out, done
        assert not (folder / "cache").exists()


def check_text_that_is_too_short_is_named():
    with Folder() as folder:
        text, other = folder / "short.txt", folder / "short-too.txt"
        text.write_text("Once upon a time.")
        other.write_text("There was a dog.")
        out = folder / "out.gguf"
        expect(run("compress", TINY, out, "--calib", text), 1, f"{text}: the calibration text is",
               "one sequence needs")
        expect(run("compress", TINY, out, "--calib", text, "--calib", other), 1,
               "short.txt + short-too.txt: the calibration texts together are")


main(globals())
