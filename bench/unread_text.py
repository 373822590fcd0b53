#!/usr/bin/env python3
"""What of a text a calibration has not read, for measuring on the same kind of text.

    bench/unread_text.py MODEL TEXT --read 48 --pieces 10 > unread.txt

Calibration takes sequences of 512 tokens, spread evenly over each file (src/calib/calib_text.c): --read of them from
TEXT.  This prints pieces of as many tokens, each from the middle between two of them.
"""
import argparse
import codecs
import pathlib
import subprocess
import sys

POSITIONS = 512
ROOT = pathlib.Path(__file__).resolve().parent.parent


def piece(line):
    """The bytes of a token, of a line "   963  'text'" with the usual escapes."""
    return codecs.escape_decode(line.lstrip().split(b"  ", 1)[1][1:-1])[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--read", type=int, required=True, help="sequences that calibration takes of TEXT")
    parser.add_argument("--pieces", type=int, default=10)
    args = parser.parse_args()
    done = subprocess.run([str(ROOT / "build/release/entrollm"), "tokenize", args.model, "-f", args.text, "--no-bos"],
                          check=True, stdout=subprocess.PIPE)
    tokens = [piece(line) for line in done.stdout.splitlines()]
    n_there = len(tokens) // POSITIONS
    read = [i * n_there // args.read for i in range(args.read)]
    gaps = [(a, b) for a, b in zip(read, read[1:] + [n_there]) if b - a >= 2]
    if len(gaps) < args.pieces:
        sys.exit(f"unread_text: only {len(gaps)} gaps between what is read")
    for i in range(args.pieces):
        a, b = gaps[i * len(gaps) // args.pieces]
        first = (a + b) // 2 * POSITIONS
        text = b"".join(tokens[first:first + POSITIONS])
        sys.stdout.write(text.decode("utf-8", "ignore") + "\n")


if __name__ == "__main__":
    main()
