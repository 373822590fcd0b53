#!/usr/bin/env python3
"""The tables of docs/results.md: one model, its source and every method, side by side.

    python3 bench/results.py SOURCE.gguf TEXT [--windows N] [--threads N] [--out FOLDER]
                             [--methods u8,u4,u8-row,u4-row,rtn:3.5,rtn:4.5] [--repetitions N] [--program build/release/entrollm]

Compresses SOURCE with each method in both codings and, for its size, with one table a model (rtn in strips only); measures
perplexity (context 512, first N windows; of strips: words hold the same integers), generation and
prompt speed from the coded form and packed in memory, and peak memory of the coded form; prints
Markdown.  Coded files are kept in FOLDER (default models/results) and made again only when missing.
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
parser.add_argument("--methods", default="u8,u4,u8-row,u4-row,rtn:3.5,rtn:4.5")
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


def compress(method, coding, table):
    path = args.out / f"{args.source.stem}.{method.replace(':', '-')}.{coding}.{table}.gguf"
    note = path.with_suffix(".json")
    if not path.is_file() or not note.is_file():
        name, _, bits = method.partition(":")
        report = entrollm("compress", args.source, path, "--method", name, "--coding", coding, "--table", table,
                          "--force", "--json", *(["--bits", bits] if bits else []), *threads())
        note.write_text(json.dumps(report))
    return path, json.loads(note.read_text())


def quality(path):
    found = entrollm("perplexity", path, args.text, "--windows", args.windows, "--json", *threads())
    ppl = found["perplexity"]
    if ppl is None:
        return ["destroyed", "-"]
    return [f"{ppl:.4f}" if ppl < 1e4 else f"{ppl:.3g}", f"{found['nll']:.4f}"]


def speed(path, ram):
    return entrollm("bench", path, "-p", 128, "-n", 32, "-v", 0, "-d", 0, "-r", args.repetitions, "--ram", ram, "--json",
                    *threads())


def rate(found, kind):
    for r in found["results"]:
        if kind in r:
            return f"{r['tokens_per_second']:.1f} ± {r['deviation']:.1f}"
    return ""


def sizes(path, report):
    n_bytes = path.stat().st_size
    loss = 100 * (report["bits_per_coded_param"] / report["entropy"] - 1)
    return [f"{n_bytes:,}", f"{8 * n_bytes / report['n_params']:.3f}", f"{report['entropy']:.3f}",
            f"{report['bits_per_coded_param']:.3f} (+{loss:.2f} %)"]


def print_row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def source_row():
    found = speed(args.source, "min")
    n_bytes = args.source.stat().st_size
    print_row(["source", "", f"{n_bytes:,}", f"{8 * n_bytes / found['n_params']:.3f}", "", "",
               *quality(args.source), rate(found, "n_prompt"), rate(found, "n_gen"), "",
               f"{found['peak_resident'] / 2**20:.0f}"])


def method_rows(method):
    path, report = compress(method, "strips", "tensor")
    coded, packed = speed(path, "min"), speed(path, "max")
    print_row([method, "strips", *sizes(path, report), *quality(path), rate(coded, "n_prompt"), rate(coded, "n_gen"),
               rate(packed, "n_gen"), f"{coded['peak_resident'] / 2**20:.0f}"])
    if method.startswith("rtn"):
        return
    path, report = compress(method, "words", "tensor")
    coded = speed(path, "min")
    print_row([method, "words", *sizes(path, report), "the same integers", "", rate(coded, "n_prompt"),
               rate(coded, "n_gen"), "", f"{coded['peak_resident'] / 2**20:.0f}"])
    path, report = compress(method, "words", "model")
    print_row([method, "words, one table", *sizes(path, report), "the same integers", "", "", "", "", ""])


args.out.mkdir(parents=True, exist_ok=True)
print(f"{args.source.name}, first {args.windows} windows of {args.text.name}\n")
print("| method | coding | file, bytes | bits/param | entropy | stored bits/coded weight | perplexity | nll | "
      "pp128 tok/s | tg32 tok/s, coded | tg32 tok/s, packed | peak MiB, coded |")
print("|" + " --- |" * 12)
source_row()
for m in args.methods.split(","):
    method_rows(m)
