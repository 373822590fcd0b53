#!/usr/bin/env python3
"""The table of ./demo, from the JSON that the program's commands wrote into a folder."""
import datetime
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])


def load(name):
    return json.loads((folder / f"{name}.json").read_text())


def row(label, n_bytes, n_params, perplexity="-", speed="-", memory="-"):
    print(f"  {label:26} {n_bytes / 1e6:6.1f} MB {8 * n_bytes / n_params:6.2f} {perplexity:>22} "
          f"{speed:>13} {memory:>9}")


def measured(name):
    p = load(f"perplexity-{name}")
    bench = load(f"bench-{name}")
    b = bench["results"][0]
    value = p["perplexity"]
    shown = "model destroyed" if value is None else f"{value:.4g} +/- {p['perplexity_error']:.2g}"
    return (shown, f"{b['tokens_per_second']:.1f} +/- {b['deviation']:.1f}",
            f"{bench['peak_resident'] / 1e6:.0f} MB")


def when():
    """When the last of the figures was measured."""
    newest = max(path.stat().st_mtime for path in folder.glob("bench-*.json"))
    return datetime.datetime.fromtimestamp(newest).strftime("%Y-%m-%d %H:%M")


def main():
    u8 = load("compress-u8")
    n = u8["n_params"]
    print(f"  {'measured ' + when():26} {'file':>9} {'bits':>6} {'perplexity':>22} {'tokens/s':>13} "
          f"{'memory':>9}")
    row("16-bit (size only)", 2 * n, n)
    row("source: Q4_1 as published", u8["n_source_bytes"], n, *measured("source"))
    for name, label in (("u8", "u8, scale per tensor"), ("u4", "u4, scale per tensor"),
                        ("u4-row", "u4-row, scale per row"), ("rtn", "rtn, 4.5 bits a weight")):
        row(label, load(f"compress-{name}")["n_file_bytes"], n, *measured(name))
    u4 = load("perplexity-u4")["perplexity"]
    loss = (u4 or float("inf")) / load("perplexity-source")["perplexity"]
    print(f"\n  bits: whole file over {n / 1e6:.1f} M parameters.  Of u8, a coded weight takes "
          f"{u8['bits_per_coded_param']:.2f} bits;\n  the entropy of its integers is "
          f"{u8['entropy']:.2f}.  Perplexity: lower is better; two windows of a short text,\n"
          "  so rough.  Memory: the peak while generating, the mapped file included.")
    if loss > 10:
        print(f"  Plain u4 with one scale a tensor destroys this model (perplexity x {loss:.0e}): "
              "16 levels\n  cannot span a tensor's outliers.  Kept here because the scheme is "
              "published so.")


main()
