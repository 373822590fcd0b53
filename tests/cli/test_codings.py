#!/usr/bin/env python3
"""--coding auto: matrices of nearly uniform integers are in rans, others in strips; such files do what others do."""
import json

from cli_support import SHARED, TINY, Folder, compress, expect, main, need, run

TEXT = SHARED / "data/eval/wikitext-2/wiki.test.raw"
need(TINY, TEXT)
# The first layer and the embedding at 3.5 bits, the second layer at nearly 8.
HOW = ["--method", "rtn", "--bits", "3.5", "--set", "blk.1.*=u8-row"]


def parsed(*args):
    return json.loads(expect(run(*args, "--json"), 0).out)


def is_dear(name):
    return name.startswith("blk.1.")


def check_the_rate_chooses():
    with Folder() as folder:
        mixed = compress(TINY, folder / "mixed.gguf", *HOW)
        coded = [t for t in parsed("inspect", mixed)["tensors"] if t["method"]]
        assert any(map(is_dear, (t["name"] for t in coded))) and len(coded) == 15
        for t in coded:
            assert t["type"] == ("rans" if is_dear(t["name"]) else "strips"), t
        for method, coding in (("u8-row", "rans"), ("u8", "strips"), ("u4-row", "strips"), ("lossless", "auto")):
            report = parsed("compress", TINY, folder / "all.gguf", "--force", "--method", method)
            assert report["coding"] == coding, report
        for coding in ("strips", "rans"):
            report = parsed("compress", TINY, folder / f"{coding}.gguf", *HOW, "--coding", coding)
            assert report["coding"] == coding and report["n_rans_tensors"] == (15 if coding == "rans" else 0)
        report = parsed("compress", TINY, mixed, "--force", *HOW)
        assert report["coding"] == "mixed" and report["n_rans_tensors"] == 7 and report["n_strip_tensors"] == 15
        assert report["n_file_bytes"] < (folder / "strips.gguf").stat().st_size
        expect(run("compress", TINY, mixed, "--force", *HOW), 0, "strips for 8 and rans for 7 of 15 tensors",
               stream="out")


def check_inspect_shows_both():
    with Folder() as folder:
        mixed = compress(TINY, folder / "mixed.gguf", *HOW)
        shown = expect(run("inspect", mixed), 0, "rtn, strips", "u8-row, rans", "coding=auto", stream="out").out
        assert sum(" rans bytes " in line for line in shown.splitlines()) == 7, shown
        report = parsed("inspect", mixed)
        totals = {t["method"]: t for t in report["totals"]}
        for label, dear in (("rtn, strips", False), ("u8-row, rans", True)):
            of = [t for t in report["tensors"] if t["method"] and is_dear(t["name"]) == dear]
            assert totals[label]["n_tensors"] == len(of), totals
            for what in ("n_params", "n_bytes"):
                assert totals[label][what] == sum(t[what] for t in of), totals


def check_a_mixed_file_does_what_others_do():
    with Folder() as folder:
        mixed = compress(TINY, folder / "mixed.gguf", *HOW)
        strips = compress(TINY, folder / "strips.gguf", *HOW, "--coding", "strips")
        expect(run("verify", mixed), 0)
        expect(run("verify", mixed, "--source", TINY), 0)
        for name in ("mixed", "strips"):
            expect(run("restore", folder / f"{name}.gguf", folder / f"{name}.f32.gguf", "--type", "f32"), 0)
        assert (folder / "mixed.f32.gguf").read_bytes() == (folder / "strips.f32.gguf").read_bytes()
        once = ["-p", "Once upon a time", "--raw", "-n", "40", "--temp", "0"]
        story = expect(run("run", strips, *once, "--ram", "min"), 0).out
        size = str(mixed.stat().st_size)
        for ram in ("min", "max", "auto", size, "1"):
            for threads in ("1", "2"):
                report = parsed("run", mixed, *once, "--ram", ram, "-t", threads)
                assert report["text"].strip() == story.strip(), (ram, report["text"], story)
                least, most = {"min": (7, 7), "max": (15, 15), "auto": (7, 15), size: (7, 15), "1": (0, 7)}[ram]
                assert least <= report["n_packed_matrices"] <= most, (ram, report)
        expect(run("run", mixed, *once, "--ram", "min"), 0, "packed all the same")
        same = parsed("compare", strips, mixed, TEXT, "--windows", "1", "-c", "64")
        assert same["models"][0]["kld_max"] == 0, same


if __name__ == "__main__":
    main(globals())
