#!/usr/bin/env python3
"""The tables of docs/results.md: one model, its source and every literal method, side by side.

    python3 bench/results.py SOURCE.gguf TEXT [--windows N] [--threads N] [--out FOLDER]
                             [--methods u8,u4,u8-row,u4-row] [--program build/release/entrollm]

Compresses SOURCE with each method and both kinds of table, measures perplexity (context 512, first
N windows), generation and prompt speed and memory, and prints Markdown.  Coded files are kept in
FOLDER (default models/results) and made again only when they are missing.
"""
import argparse
import json
import pathlib
import subprocess
import sys

parser = argparse.ArgumentParser(description="One model, all literal methods, as a table.")
parser.add_argument("source", type=pathlib.Path)
parser.add_argument("text", type=pathlib.Path)
parser.add_argument("--windows", type=int, default=60)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--repetitions", type=int, default=3)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models/results"))
parser.add_argument("--methods", default="u8,u4,u8-row,u4-row")
parser.add_argument("--program", default="build/release/entrollm")
args = parser.parse_args()


def entrollm(*words):
    command = [args.program, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}")
    return json.loads(done.stdout)


def threads():
    return ["--threads", args.threads] if args.threads else []


def compress(method, table):
    path = args.out / f"{args.source.stem}.{method}.{table}.gguf"
    note = path.with_suffix(".json")
    if not path.is_file() or not note.is_file():
        report = entrollm("compress", args.source, path, "--method", method, "--table", table,
                          "--force", "--json", *threads())
        note.write_text(json.dumps(report))
    return path, json.loads(note.read_text())


def measure(path):
    quality = entrollm("perplexity", path, args.text, "--windows", args.windows, "--json",
                       *threads())
    speed = entrollm("bench", path, "-p", 128, "-n", 32, "-d", 0, "-r", args.repetitions, "--json",
                     *threads())
    return quality, speed


def rate(speed, kind):
    for r in speed["results"]:
        if kind in r:
            return f"{r['tokens_per_second']:.2f} ± {r['deviation']:.2f}"
    return ""


def row(name, table, path, report):
    quality, speed = measure(path)
    n_bytes = path.stat().st_size
    cells = [name, table, f"{n_bytes:,}", f"{8 * n_bytes / speed['n_params']:.3f}"]
    if report:
        loss = 100 * (report["bits_per_coded_param"] / report["entropy"] - 1)
        cells += [f"{report['entropy']:.3f}", f"{report['bits_per_coded_param']:.3f} (+{loss:.2f} %)",
                  f"{report['huffman_bits']:.3f}"]
    else:
        cells += ["", "", ""]
    ppl = quality["perplexity"]
    cells += [f"{ppl:.4f}" if ppl < 1e4 else f"{ppl:.3g}", f"{quality['nll']:.4f}",
              rate(speed, "n_prompt"), rate(speed, "n_gen"), f"{speed['peak_resident'] / 2**20:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


args.out.mkdir(parents=True, exist_ok=True)
print(f"{args.source.name}, first {args.windows} windows of {args.text.name}\n")
print("| method | table | file, bytes | bits/param | entropy | stored bits/coded weight | "
      "one-symbol Huffman | perplexity | nll | pp128 tok/s | tg32 tok/s | peak MiB |")
print("|" + " --- |" * 12)
row("source", "", args.source, None)
for m in args.methods.split(","):
    for t in ("tensor", "model"):
        coded, made = compress(m, t)
        if t == "tensor":
            row(m, t, coded, made)
        else:
            print(f"| {m} | {t} | {coded.stat().st_size:,} | "
                  f"{8 * coded.stat().st_size / made['n_params']:.3f} | {made['entropy']:.3f} | "
                  f"{made['bits_per_coded_param']:.3f} | {made['huffman_bits']:.3f} | "
                  "same integers, same text | | | | |", flush=True)
