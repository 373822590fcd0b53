#!/usr/bin/env python3
"""compress --drift: a nearer file of the same size, what is said, what is refused."""
import json

from cli_support import SHARED, STORIES, Folder, expect, main, need, run

CALIB = SHARED / "data/eval/calibration/tinystories_1000.json"
need(STORIES, CALIB)


def split_text(folder):
    """Stories to calibrate on, and others to judge by."""
    stories = [s if isinstance(s, str) else s["text"] for s in json.loads(CALIB.read_text())]
    calib, held = folder / "calib.json", folder / "held.txt"
    calib.write_text(json.dumps(stories[:700]))
    held.write_text("\n".join(stories[700:]))
    return calib, held


def kld(model, text):
    done = expect(run("compare", STORIES, model, "-f", text, "--windows", 40, "--json"), 0)
    return json.loads(done.out)["models"][0]["kld"]


def check_file_is_nearer_at_its_size():
    with Folder() as folder:
        calib, held = split_text(folder)
        args = ("--bpw", "3.8", "--calib", calib, "--json")
        plain, drift = folder / "plain.gguf", folder / "drift.gguf"
        expect(run("compress", STORIES, plain, *args), 0)
        done = expect(run("compress", STORIES, drift, *args, "--drift"), 0)
        report = json.loads(done.out)
        assert report["n_drift_tokens"] == 20480 and report["n_passes"] >= 2, report
        assert drift.stat().st_size <= 3.8 / 8 * report["n_params"], report
        before, after = kld(plain, held), kld(drift, held)
        print(before, after)
        assert after < before, (before, after)
        expect(run("verify", drift, "--source", STORIES), 0)
        expect(run("inspect", drift), 0, "drift=20480", stream="out")


def check_what_is_said_and_refused():
    with Folder() as folder:
        calib, _ = split_text(folder)
        args = ("--bpw", "5", "--calib", calib, "--calib-tokens", "2048")
        out = folder / "out.gguf"
        expect(run("compress", STORIES, out, *args, "--drift", "1024"), 0, "drift", "1024 tokens",
               stream="out")
        expect(run("compress", STORIES, folder / "try", "--try", "5,6", *args[2:], "--drift",
                   "1024"), 0)
        expect(run("compress", STORIES, out, "--method", "u8", "--drift"), 2, "watersic")
        expect(run("compress", STORIES, out, "--drift", "5"), 2, "wants a number from 512")


if __name__ == "__main__":
    main(globals())
