"""What the program's tests share: running it, small models, a runner for functions named check_*.

Environment: ENTROLLM (the program), ENTRO_SHARED (models and texts; may be missing), ENTRO_MODEL.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = os.path.abspath(os.environ.get("ENTROLLM", ROOT / "build/release/entrollm"))
SHARED = pathlib.Path(os.environ.get("ENTRO_SHARED", str(ROOT.parent / "shared")))
STORIES = SHARED / "data/models/stories260k/stories260K.gguf"
TINY = SHARED / "data/models/tinystories-656k"
VOCAB_ONLY = SHARED / "data/tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf"
SKIP = 77


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __str__(self):
        return f"exit {self.code}\nstdout: {self.out[-1500:]}\nstderr: {self.err[-1500:]}"


def run(*args, stdin="", timeout=120, env=None, cwd=None):
    done = subprocess.run([PROGRAM, *map(str, args)], input=stdin, capture_output=True, text=True,
                          timeout=timeout, errors="replace", env={**os.environ, **(env or {})}, cwd=cwd)
    return Result(done)


def expect(result, code, *texts, stream="err"):
    """The exit code, and texts that must occur in the stream."""
    assert result.code == code, f"exit code {code} expected\n{result}"
    found = getattr(result, stream)
    for text in texts:
        assert text in found, f"{text!r} expected in std{stream}\n{result}"
    return result


def need(*paths):
    """The test skips when data is missing."""
    for path in paths:
        if not pathlib.Path(path).exists():
            print(f"skipped: {path} is missing")
            sys.exit(SKIP)


class Folder:
    """A folder that vanishes, with the coded little models in it when asked for."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="entrollm-test-"))
        return self.path

    def __exit__(self, *unused):
        shutil.rmtree(self.path, ignore_errors=True)


def compress(source, target, *args):
    """By the method that is done soonest, unless the arguments name one."""
    method = () if "--method" in args else ("--method", "u8")
    expect(run("compress", source, target, *method, *args), 0)
    return target


def main(names):
    failures = 0
    for name, function in list(names.items()):
        if not name.startswith("check_"):
            continue
        try:
            function()
            print(f"ok    {name[6:]}")
        except Exception:
            failures += 1
            print(f"FAIL  {name[6:]}")
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failures else 0)
