#!/usr/bin/env python3
"""Writes docs/cli.md from the program's own --help, so that the two cannot disagree.

    make_cli_docs.py ENTROLLM            print the page
    make_cli_docs.py ENTROLLM FILE       write it
    make_cli_docs.py ENTROLLM --check FILE   exit 1 when the file says something else
"""
import pathlib
import re
import subprocess
import sys

HEAD = """# The program

`entrollm COMMAND [OPTIONS] ...` does one thing per command. This page is made from the program's own
`--help` by `scripts/make_cli_docs.py`; `tests/cli/test_docs.py` fails when the two differ.

Rules that hold for every command:

- **stdout is data, stderr is talk.** Results, tables and generated text go to standard output; progress,
  remarks and errors to standard error. Progress and colours appear on a terminal only (`NO_COLOR` turns
  colours off).
- **Exit codes:** 0 it worked, 1 it failed, 2 the command line was wrong. After Ctrl-C the program ends
  as the signal would have ended it (a shell shows 130), once what was half-written is removed; a second
  Ctrl-C ends it at once.
- **Options** may stand anywhere, as `--name value`, `--name=value`, `-n value` or `-nvalue`; the last one
  wins; `--` ends them. A model is the first argument or `-m`.
- **`--json`** prints one object. Sizes are bytes, rates tokens or bytes a second, numbers that do not
  exist `null`.
- **Models** are a file made by `compress`, somebody else's GGUF file, or a Hugging Face folder.
- `ENTRO_CPU_DISABLE=avx512,avx2` leaves out processor features (amx, bf16, avx512, avx2, dotprod, neon), for comparing;
  a name that is none of these is remarked on.
- `ENTRO_SAVE_SECONDS=20` is how often statistics that are being collected save what is done, in seconds.

"""


def help_of(program, *args):
    done = subprocess.run([program, *args], capture_output=True, text=True, check=True)
    return re.sub(r"^entrollm \d[^ ]* - ", "entrollm - ", done.stdout)


def page(program):
    top = help_of(program, "help")
    out = [HEAD, "```\n", top, "```\n"]
    listing = top.split("commands:\n")[1].split("\n\n")[0]
    for line in listing.splitlines():
        name = line.split()[0]
        if name in ("help", "version"):
            continue
        out += [f"\n## {name}\n\n```\n", help_of(program, name, "--help"), "```\n"]
    return "".join(out)


def main():
    text = page(sys.argv[1])
    if len(sys.argv) == 2:
        sys.stdout.write(text)
    elif sys.argv[2] == "--check":
        if pathlib.Path(sys.argv[3]).read_text() != text:
            sys.exit(f"{sys.argv[3]} is not what the program says; run scripts/make_cli_docs.py "
                     "ENTROLLM docs/cli.md")
    else:
        pathlib.Path(sys.argv[2]).write_text(text)


main()
