#!/usr/bin/env python3
"""The frontiers of docs/quality.md: files of several sizes of one model, and how far each predicts from the source.

    bench/quality.py MODEL TEXT --windows 8 --bpw 2.8 3.5 4.25 --folder models/quality
                     [--calib FILE ...] [--method watersic] [--coding rans] [--set PATTERN=METHOD ...] [--drift]
                     [--peers qwen-1.5b] [--svg docs/quality-1.5b.svg]

Files and results stay in the folder (NAME-watersic-3.5.gguf, .json, .compare.json; the names tell of --coding, --set
and --drift): what is there is not made again.  Prints a Markdown table; --svg draws it, with the peers' published points beside
it (docs/quality-135m.svg with --peers smollm2-135m, docs/quality-1.5b.svg with --peers qwen-1.5b).
"""
import argparse
import json
import math
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent

# llama.cpp 3f545be with importance matrix, whole file: bits a parameter, KLD (same references, text and windows).
PEERS = {
    "qwen-1.5b": [("Q8_0", 8.529, 0.00077), ("Q4_K_M", 5.030, 0.0243), ("Q3_K_M", 4.162, 0.0886)],
    "smollm2-135m": [("Q8_0", 8.61, 0.0053), ("Q6_K", 8.23, 0.0095), ("Q5_K_M", 6.67, 0.0244),
                     ("Q4_K_M", 6.27, 0.0526), ("Q4_K_S", 6.07, 0.0680), ("IQ4_NL", 5.46, 0.128),
                     ("IQ4_XS", 5.41, 0.131), ("Q4_0", 5.47, 0.233), ("IQ3_S", 5.25, 0.184),
                     ("IQ3_XXS", 5.17, 0.243), ("Q2_K", 5.25, 0.352)],
}


def entrollm(*args):
    done = subprocess.run([str(ROOT / "build/release/entrollm"), *map(str, args)], check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def kept(path, make):
    """The JSON that is there, else what 'make' gives."""
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def point(args, bpw):
    stem = "-".join([args.model.stem, args.method, *([args.coding] if args.coding else []),
                     *(["set"] if args.set else []), *(["drift"] if args.drift else []), f"{bpw:g}"])
    out = args.folder / f"{stem}.gguf"
    calib = [word for file in args.calib for word in ("--calib", file)]
    more = [word for rule in args.set for word in ("--set", rule)]
    more += ["--coding", args.coding] if args.coding else []
    more += ["--drift"] if args.drift else []
    made = kept(args.folder / f"{stem}.json", lambda: entrollm(
        "compress", args.model, out, "--method", args.method, "--bpw", bpw, "--force", "--json", *more,
        *(calib + ["--statistics", args.folder / f"{args.model.stem}.calib"]
          if args.method == "watersic" else [])))
    seen = kept(args.folder / f"{stem}.{args.windows}.compare.json", lambda: entrollm(
        "compare", args.model, out, "-f", args.text, "--windows", args.windows, "--cache",
        args.folder / f"{args.model.stem}.{args.windows}.reference", "--json"))
    return made, seen["models"][0] if "models" in seen else seen, seen


def block_bits(made):
    """Of the matrices of the model's blocks: everything but embedding and output."""
    blocks = [t for t in made["tensors"] if t["name"].startswith("blk.")]
    return 8 * sum(t["n_bytes"] for t in blocks) / sum(t["n_params"] for t in blocks)


def table(rows):
    print("| coding | bits asked | file, bytes | bits a parameter | entropy, coded weights | stored, coded weights "
          "| stored, block weights | KLD | median | 99 % | same top | perplexity | passes |")
    print("| --- " * 13 + "|")
    for bpw, made, m, _ in rows:
        print(f"| {made['coding']} | {bpw:g} | {made['n_file_bytes']:,} | {made['bits_per_param']:.3f} "
              f"| {made['entropy']:.3f} | {made['bits_per_coded_param']:.3f} | {block_bits(made):.3f} "
              f"| {m['kld']:.4f} ± {m['kld_error']:.4f} | {m['kld_median']:.4f} | {m['kld_99']:.3f} "
              f"| {100 * m['same_top']:.1f} % | {m['perplexity']:.3f} | {made['n_passes']} |")


def draw(path, rows, peers):
    """KLD over bits a parameter, both axes as people read them; no library."""
    points = [(made["bits_per_param"], m["kld"]) for _, made, m, _ in rows]
    xs = [p[0] for p in points] + [p[1] for p in peers]
    ys = [p[1] for p in points] + [p[2] for p in peers]
    x0, x1 = math.floor(min(xs)), math.ceil(max(xs))
    y0, y1 = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    width, height, left, top = 720, 420, 70, 20
    x = lambda bits: left + (bits - x0) / (x1 - x0) * (width - left - 20)
    y = lambda kld: top + (y1 - math.log10(kld)) / (y1 - y0) * (height - top - 50)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for bits in range(x0, x1 + 1):
        out.append(f'<path d="M{x(bits):.1f} {top}V{height - 50}" stroke="#ddd"/><text x="{x(bits):.1f}" '
                   f'y="{height - 32}" text-anchor="middle">{bits}</text>')
    for power in range(y0, y1 + 1):
        at = y(10 ** power)
        out.append(f'<path d="M{left} {at:.1f}H{width - 20}" stroke="#ddd"/><text x="{left - 8}" '
                   f'y="{at + 4:.1f}" text-anchor="end">{10 ** power:g}</text>')
    out.append(f'<text x="{(width + left) / 2}" y="{height - 10}" text-anchor="middle">bits a parameter, whole '
               f'file</text><text transform="translate(16 {height / 2 - 20}) rotate(-90)" '
               'text-anchor="middle">KLD, nats a token</text>')
    line = " ".join(f"{x(b):.1f},{y(k):.1f}" for b, k in sorted(points))
    out.append(f'<polyline points="{line}" fill="none" stroke="#0a6" stroke-width="2"/>')
    for b, k in points:
        out.append(f'<circle cx="{x(b):.1f}" cy="{y(k):.1f}" r="4" fill="#0a6"/>')
    for name, b, k in peers:
        # The name stands to the left where to the right another point has its own.
        crowded = any(0 < x(b2) - x(b) < 60 and abs(y(k2) - y(k)) < 12 for _, b2, k2 in peers)
        anchor = ' text-anchor="end"' if crowded else ""
        out.append(f'<circle cx="{x(b):.1f}" cy="{y(k):.1f}" r="4" fill="#c40"/>'
                   f'<text x="{x(b) + (-7 if crowded else 7):.1f}" y="{y(k) + 4:.1f}" fill="#c40"'
                   f'{anchor}>{name}</text>')
    out.append(f'<text x="{width - 190}" y="{top + 14}" fill="#0a6">entrollm watersic</text>'
               f'<text x="{width - 190}" y="{top + 30}" fill="#c40">llama.cpp</text></svg>')
    path.write_text("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--bpw", type=float, nargs="+", required=True)
    parser.add_argument("--method", default="watersic")
    parser.add_argument("--coding")
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--calib", nargs="*", default=[])
    parser.add_argument("--peers", choices=sorted(PEERS))
    parser.add_argument("--svg", type=pathlib.Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = [(bpw, *point(args, bpw)) for bpw in args.bpw]
    table(rows)
    if args.svg:
        draw(args.svg, rows, PEERS.get(args.peers, []))


main()
