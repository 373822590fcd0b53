#!/usr/bin/env python3
"""Peak memory of a real model: while it is compressed, and while it generates in every form it can be kept in."""
import json
import os
import sys

from cli_support import SKIP, Folder, expect, main, run

MODEL = os.environ.get("ENTRO_MODEL", "")
if not MODEL:
    print("skipped: no model in ENTRO_MODEL")
    sys.exit(SKIP)
MIB = 1 << 20
LARGEST_TENSOR = 49152 * 576 * 4  # SmolLM2-135M's embedding in f32


def generate(model, *args):
    done = expect(run("run", model, "-p", "Once upon a time", "--raw", "-n", "24", "-c", "512",
                      "--json", *args), 0)
    return json.loads(done.out)


def forms_fit(model, *forms):
    for ram in forms:
        r = generate(model, "--ram", ram)
        all_packed = r["n_packed_matrices"] == r["n_strip_matrices"] > 0
        kept = r["n_packed_bytes"] + (0 if all_packed else model.stat().st_size)
        more = (r["peak_resident"] - kept - r["memory_kv_cache"]) / MIB
        print(f"      {model.stem} --ram {ram}: {more:.0f} MiB more than weights and cache")
        assert 0 < more <= 64, (ram, r)


def check_compressing_and_generating():
    with Folder() as folder:
        for name, how, forms in [
                ("strips", ["--method", "u8", "--coding", "strips"], ["min", "max"]),
                ("words", ["--method", "u4", "--coding", "words"], ["min"]),
                ("rans", ["--method", "rtn", "--bits", "4", "--coding", "rans"], ["max"])]:
            model = folder / f"{name}.gguf"
            done = expect(run("compress", MODEL, model, *how, "--json"), 0)
            assert json.loads(done.out)["peak_resident"] <= LARGEST_TENSOR + 256 * MIB
            forms_fit(model, *forms)


if __name__ == "__main__":
    main(globals())
