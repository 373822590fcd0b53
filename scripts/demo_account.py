#!/usr/bin/env python3
"""The table of ./demo, from the JSON that the program's commands wrote into a folder."""
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])


def load(name):
    return json.loads((folder / f"{name}.json").read_text())


def row(label, n_bytes, n_params, perplexity, speed):
    print(f"  {label:26} {n_bytes / 1e6:8.1f} MB {8 * n_bytes / n_params:6.2f} {perplexity:>22} "
          f"{speed:>14}")


def measured(name):
    p = load(f"perplexity-{name}")
    b = load(f"bench-{name}")["results"][0]
    value = p["perplexity"]
    shown = "model destroyed" if value is None else f"{value:.4g} +/- {p['perplexity_error']:.2g}"
    return shown, f"{b['tokens_per_second']:.1f} +/- {b['deviation']:.1f}"


def main():
    u8 = load("compress-u8")
    n = u8["n_params"]
    print(f"  {'':26} {'file':>11} {'bits':>6} {'perplexity':>22} {'tokens/s':>14}")
    print(f"  {'16-bit (size only)':26} {2 * n / 1e6:8.1f} MB {16:6.2f} {'-':>22} {'-':>14}")
    row("source: Q4_1 as published", u8["n_source_bytes"], n, *measured("source"))
    for name, label in (("u8", "u8, scale per tensor"), ("u4", "u4, scale per tensor"),
                        ("u4-row", "u4-row, scale per row")):
        row(label, load(f"compress-{name}")["n_file_bytes"], n, *measured(name))
    loss = load("perplexity-u4")["perplexity"] / load("perplexity-source")["perplexity"]
    print(f"\n  bits: whole file over {n / 1e6:.1f} M parameters.  Of u8, a coded weight takes "
          f"{u8['bits_per_coded_param']:.2f} bits;\n  the entropy of its integers is "
          f"{u8['entropy']:.2f}.  Perplexity: lower is better; two windows of a short text,\n"
          "  so rough.")
    if loss > 10:
        print(f"  Plain u4 with one scale a tensor destroys this model (perplexity x {loss:.0e}): "
              "16 levels\n  cannot span a tensor's outliers.  Kept here because the scheme is "
              "published so.")


main()
