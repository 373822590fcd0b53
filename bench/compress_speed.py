#!/usr/bin/env python3
"""How fast 'entrollm compress' is, and how much memory it takes: a table of methods and codings.

    bench/compress_speed.py MODEL [--threads N] [--rounds N] [--folder FOLDER] [--methods LIST]
                            [--codings LIST] [PROGRAM ...]

GB/s are those of the source for each second of processor time, all threads together, writing included: on a machine
that others use too, time by the clock says little.  Best of some rounds; with several programs, in alternation, and
then it says whether their files are the same.  FOLDER should be in memory (/dev/shm): a disk's speed is not ours.
"""
import argparse
import hashlib
import itertools
import os
import pathlib
import subprocess

parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("programs", nargs="*", default=["build/release/entrollm"])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/dev/shm"))
parser.add_argument("--methods", default="u4,u4-row,u8,u8-row")
parser.add_argument("--codings", default="strips,words")
args = parser.parse_args()
output = args.folder / f"compress-speed-{os.getpid()}.gguf"


def compress(program, method, coding):
    """Seconds of processor time, and peak memory in bytes."""
    process = subprocess.Popen(
        [program, "compress", "--method", method, "--coding", coding, "--threads", str(args.threads), "--force",
         str(args.model), str(output)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{program} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def digest():
    sha256 = hashlib.sha256()
    with output.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()


print("| method | coding | " + " | ".join(f"{p}, GB/s | peak, MB" for p in args.programs) + " | file |")
print("| --- | --- | " + "---: | " * (2 * len(args.programs)) + "--- |")
try:
    for coding, method in itertools.product(args.codings.split(","), args.methods.split(",")):
        best, digests = {}, set()
        for turn, program in itertools.product(range(args.rounds), args.programs):
            seconds, peak = compress(program, method, coding)
            best[program] = min(best.get(program, (seconds, peak)), (seconds, peak))
            if turn == 0:
                digests.add(digest())
        cells = [f"{args.model.stat().st_size / 1e9 / best[p][0]:.2f} | {best[p][1] / 1e6:.0f}" for p in args.programs]
        same = min(digests)[:12] if len(digests) == 1 else "they differ"
        print(f"| {method} | {coding} | " + " | ".join(cells) + f" | {same} |", flush=True)
finally:
    output.unlink(missing_ok=True)
