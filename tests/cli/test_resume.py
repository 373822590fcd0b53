#!/usr/bin/env python3
"""Statistics after kill -9: in each stage the same command goes on, says from where, and leaves the same files."""
import os
import pty
import re
import shutil
import signal
import subprocess
import time

from cli_support import PROGRAM, STORIES, Folder, expect, main, need, run

need(STORIES)

SAVE_ALL = {"ENTRO_SAVE_SECONDS": "0"}


def arguments(folder, name, n_threads):
    return ["compress", STORIES, folder / f"{name}.gguf", "--statistics", folder / name, "--calib-tokens", "2048",
            "--method", "watersic", "--bpw", "6", "--force", "-t", n_threads]


def kill_when(args, is_time):
    """Returns what the program had said; None when it was done before it could be killed."""
    process = subprocess.Popen([PROGRAM, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, **SAVE_ALL})
    end = time.time() + 120
    while not is_time() and process.poll() is None and time.time() < end:
        time.sleep(0.001)
    process.kill()
    said = process.communicate()[1]
    return said if process.returncode == -signal.SIGKILL else None


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed_in_each_stage(folder, name):
    """The notes of runs that went on; None when one was too fast."""
    place = folder / name
    stages = [(lambda: (place / "unfinished-cache-003.gguf").exists(), lambda: not (place / "text.gguf").exists()),
              (lambda: (place / "unfinished-fisher.gguf").exists(), lambda: not (place / "fisher.gguf").exists()),
              (lambda: (place / "layer-001.gguf").exists(), lambda: not (place / "output.gguf").exists())]
    said = []
    for i, (is_time, is_in_time) in enumerate(stages):
        said.append(kill_when(arguments(folder, name, 1 + i % 2), is_time))
        if said[-1] is None or not is_in_time():
            return None
        assert not (folder / f"{name}.gguf").exists()
    return said[1:]


def check_killed_runs_go_on():
    with Folder() as folder:
        done = expect(run(*arguments(folder, "whole", 2)), 0)
        assert "goes on" not in done.err, done.err
        for i in range(5):
            said = killed_in_each_stage(folder, f"cut{i}")
            if said is not None:
                break
        assert said is not None, "the stages were over before the program could be killed"
        done = expect(run(*arguments(folder, f"cut{i}", 2)), 0)
        said.append(done.err)
        for text, stage in zip(said, ("goes on with a text that an earlier run began, at token",
                                      "goes on with statistics that an earlier run began, at the importances of",
                                      "goes on with statistics that an earlier run began, at the covariances of")):
            assert stage in text, (stage, text)
        whole, cut = contents(folder / "whole"), contents(folder / f"cut{i}")
        assert sorted(whole) == sorted(cut), (sorted(whole), sorted(cut))
        assert [name for name in whole if whole[name] != cut[name]] == []
        assert (folder / "whole.gguf").read_bytes() == (folder / f"cut{i}.gguf").read_bytes()


def check_what_is_damaged_is_not_used():
    with Folder() as folder:
        place = folder / "cut"
        for _ in range(5):
            shutil.rmtree(place, ignore_errors=True)
            kill_when(arguments(folder, "cut", 2), (place / "unfinished-fisher.gguf").exists)
            if not (place / "fisher.gguf").exists():
                break
        assert not (place / "fisher.gguf").exists(), "it was over before the program could be killed"
        (place / "unfinished-fisher.gguf").write_bytes(b"GGUF")
        done = expect(run(*arguments(folder, "cut", 2)), 0, "unfinished-fisher.gguf is not used")
        assert "goes on" not in done.err, done.err
        assert not list(place.glob("unfinished-*"))
        for path in place.glob("layer-*"):
            path.unlink()
        quiet = expect(run(*arguments(folder, "cut", 2), "--quiet"), 0)
        assert quiet.err == "", quiet.err


def on_a_terminal(args):
    """What the program writes to it."""
    master, slave = pty.openpty()
    process = subprocess.Popen([PROGRAM, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0, said
    return said.decode(errors="replace")


def check_progress_begins_where_the_run_goes_on():
    with Folder() as folder:
        place = folder / "cut"
        kill_when(arguments(folder, "cut", 2), (place / "unfinished-cache-010.gguf").exists)
        assert not (place / "text.gguf").exists()
        said = on_a_terminal(arguments(folder, "cut", 2))
        at, total = map(int, re.search(r"at token (\d+) of (\d+)", said).groups())
        first = re.search(r"text .*? (\d+) % +([\d.]+) tok/s", said)
        assert int(first[1]) == round(100 * at / total), (at, total, first[0])
        assert float(first[2]) == 0, first[0]  # what was there is no speed


if __name__ == "__main__":
    main(globals())
