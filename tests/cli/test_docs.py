#!/usr/bin/env python3
"""docs/cli.md is what the program says; examples in --help use options that exist."""
import re
import subprocess
import sys

from cli_support import PROGRAM, ROOT, expect, main, run


def check_page_is_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "scripts/make_cli_docs.py", PROGRAM, "--check",
                           ROOT / "docs/cli.md"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_examples_use_known_options():
    for command in re.findall(r"^## (\w+)$", (ROOT / "docs/cli.md").read_text(), re.M):
        text = expect(run(command, "--help"), 0).out
        usage, examples = text.split("examples:")
        for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", examples):
            if re.search(rf"\| (less|wc)", examples) and option in ("-w",):
                continue
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", usage), f"{command}: {option}"


def check_readme_names_what_exists():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / path).exists(), path
    for command in re.findall(r"entrollm ([a-z]+) ", text):
        expect(run(command, "--help"), 0)


main(globals())
