#!/usr/bin/env python3
"""Numbers of a source: those that are not finite are named; huge ones do not make a file another's."""
import json
import shutil
import struct

from cli_support import SHARED, TINY, Folder, expect, main, need, run

STORIES_TEXT = SHARED / "data/eval/calibration/tinystories_1000.json"
need(TINY, STORIES_TEXT)
NAN, INF, HUGE = 0x7FC0, 0x7F80, 0x4780  # bf16; the last one is 65536
METHODS = ("rtn", "u8", "u8-row", "u4-row", "u4-row-sparse", "watersic")
CALIBRATION = ("--calib", STORIES_TEXT, "--calib-tokens", 4096)


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


def check_one_huge_weight_does_not_decide_whose_a_file_is():
    with Folder() as folder:
        model, coded = with_number(folder, "model.layers.0.mlp.down_proj.weight", 5, 7, HUGE), folder / "coded.gguf"
        for rate in (2, 4):
            expect(run("compress", model, coded, "--bpw", rate, "--force", *CALIBRATION), 0)
            expect(run("verify", coded, "--source", model), 0)


def swap_layers(header, _):
    """Matrices of the two layers change places: as another model's would, they have the shapes of these."""
    def swapped(name):
        if "norm" in name:
            return name
        return name.replace(".0.", ".x.").replace(".1.", ".0.").replace(".x.", ".1.")
    return {swapped(name): about for name, about in header.items()}


def check_another_source_is_found_out_at_every_rate():
    with Folder() as folder:
        other, coded = copy_of_tiny(folder, swap_layers), folder / "coded.gguf"
        for rate in (1.5, 2, 4):
            expect(run("compress", TINY, coded, "--bpw", rate, "--force", *CALIBRATION), 0)
            expect(run("verify", coded, "--source", TINY), 0)
            expect(run("verify", coded, "--source", other), 1, "have the sign of the source's",
                   "it was not made from this source")


def check_sparse_matrices_are_judged_together():
    """Too few weights that are not 0 to judge the matrix by itself, but enough for the file."""
    name = "model.layers.1.mlp.down_proj.weight"

    def change(turn):
        def change_data(header, data):
            first, end = header[name]["data_offsets"]
            n_rows, n_cols = header[name]["shape"]
            kept = first + n_rows // 9 * n_cols * 2
            data[kept:end] = bytes(end - kept)
            data[first + 1:kept:2] = bytes(b ^ turn for b in data[first + 1:kept:2])
        return change_data

    with Folder() as folder:
        (folder / "other").mkdir()
        model, other = copy_of_tiny(folder, change(0)), copy_of_tiny(folder / "other", change(0x80))
        coded = folder / "coded.gguf"
        expect(run("compress", model, coded, "--bpw", 15.18, "--set", "blk.1.ffn_down*=watersic", "--set", "*=keep",
                   *CALIBRATION), 0)
        expect(run("verify", coded, "--source", model), 0)
        expect(run("verify", coded, "--source", other), 1, f"error: {coded}: ", "expected at least 55.0 %")


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
