#!/usr/bin/env python3
"""compare and eval: tables and JSON agree, one reference serves several models, mistakes are named."""
import json
import math
import signal
import subprocess
import time

from cli_support import PROGRAM, STORIES, Folder, compress, expect, main, need, run

need(STORIES)
TEXT = "Once upon a time, there was a little girl named Lily. She liked to play outside. " * 40
CHOICES = [
    {"query": "Once upon a time, there was a little", "choices": ["girl named Lily.", "spoon of sand."], "gold": 0},
    {"query": "Question: What is red?\n", "choices": ["the ball", "a", "Lily's mom"], "gold": 1},
    {"query": "She went to the", "choices": ["park", "quantizer"], "gold": 0},
    {"query": "Lily was very", "choices": ["happy", "xylophone of doubt"], "gold": 0},
] * 3
NUMBERS = [{"question": f"Tom has {i} balls.", "answer": f"He has {i}.\n#### {i}"} for i in range(8)]


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def parsed(*args):
    result = expect(run(*args), 0)
    assert "\r" not in result.err and "\033" not in result.err, result
    return json.loads(result.out)


def coded_models(folder):
    return (compress(STORIES, folder / "eight.gguf"),
            compress(STORIES, folder / "four.gguf", "--method", "rtn", "--bits", "4"))


def check_compare_several_models():
    with Folder() as folder:
        text = folder / "text.txt"
        text.write_text(TEXT)
        eight, four = coded_models(folder)
        how = ("-c", "64", "--windows", "3")
        files = sorted(p.name for p in folder.iterdir())
        report = parsed("compare", STORIES, eight, four, "-f", text, *how, "--json")
        assert [m["model"] for m in report["models"]] == [str(eight), str(four)], report
        assert report["n_windows"] == 3 and report["n_scored"] == 3 * 31
        assert report["models"][0]["kld"] < report["models"][1]["kld"]
        assert sorted(p.name for p in folder.iterdir()) == files, "nothing is left"
        for model, found in zip((eight, four), report["models"]):
            alone = parsed("compare", STORIES, model, text, *how, "--json")
            found, alone = dict(found), dict(alone["models"][0])
            del found["seconds"], alone["seconds"]
            assert found == alone, (found, alone)
        table = expect(run("compare", STORIES, eight, four, text, *how), 0, "eight.gguf",
                       "four.gguf", "worst tokens", f"{report['models'][1]['kld']:.6f}",
                       f"{report['reference_perplexity']:.4f}", stream="out")
        assert "\r" not in table.err


def check_int8_cache_is_close():
    with Folder() as folder:
        text = folder / "text.txt"
        text.write_text(TEXT)
        how = (text, "-c", "64", "--windows", "3", "-b", "4", "--json")
        for kv, least, most in (("f16", 0, 0), ("int8", 1e-7, 1e-3)):
            (found,) = parsed("compare", STORIES, STORIES, *how, "--kv-type", kv)["models"]
            assert least <= found["kld"] <= most, found
            alone = parsed("perplexity", STORIES, *how, "--kv-type", kv)
            assert math.isclose(alone["perplexity"], found["perplexity"], rel_tol=1e-6), found
        task = write_lines(folder / "little.jsonl", CHOICES)
        for kv in ("f16", "int8"):
            report = parsed("eval", STORIES, "-f", task, "--kv-type", kv, "--json")
            assert report["tasks"][0]["n_questions"] == len(CHOICES)


def check_compare_keeps_the_reference():
    with Folder() as folder:
        text, cache = folder / "text.txt", folder / "stories.ref"
        text.write_text(TEXT)
        eight, four = coded_models(folder)
        how = ("-f", text, "-c", "64", "--windows", "3", "--cache", cache, "--json")
        first = parsed("compare", STORIES, eight, *how)
        assert first["reference_reused"] is False and cache.stat().st_size < 3 * 31 * 64 * 4 + 200
        again = parsed("compare", STORIES, eight, four, *how)
        assert again["reference_reused"] is True
        assert again["models"][0]["kld"] == first["models"][0]["kld"]
        expect(run("compare", STORIES, four, *how, "--windows", "4"), 1, "stories.ref",
               "fewer windows", "--force")
        expect(run("compare", four, eight, *how), 1, "stories.ref", "another model", "--force")
        forced = parsed("compare", four, eight, *how, "--force")
        assert forced["reference_reused"] is False
        cache.write_text("not a reference at all")
        expect(run("compare", STORIES, four, *how), 1, "stories.ref", "ENTROREF")
        expect(run("compare", STORIES, four, *how[:-2], folder / "none" / "x.ref"), 1, "none/x.ref")


def check_compare_wants_a_text():
    expect(run("compare", STORIES, STORIES), 2, "TEXT is missing")
    expect(run("compare", STORIES), 2, "MODEL is missing")


def check_eval_reports():
    with Folder() as folder:
        task = write_lines(folder / "little.jsonl", CHOICES)
        eight, four = coded_models(folder)
        details = folder / "details.jsonl"
        report = parsed("eval", eight, four, "-f", task, "--json", "--details", details)
        (found,) = report["tasks"]
        assert found["task"] == "little" and found["n_questions"] == len(CHOICES)
        answers = [json.loads(line) for line in details.read_text().splitlines()]
        assert len(answers) == 2 * len(CHOICES)
        for model, result in zip((eight, four), found["models"]):
            own = [a for a in answers if a["model"] == str(model)]
            for metric in ("acc", "acc_norm"):
                share = sum(a[metric] for a in own) / len(own)
                assert math.isclose(result[metric]["value"], share, abs_tol=1e-9)
        assert "difference" in found["models"][1]["acc"]
        table = expect(run("eval", eight, four, "-f", task, "--limit", "4"), 0, "little", "acc_norm",
                       "(4 asked)", "difference", "eight.gguf", stream="out").out
        assert "nan" not in table


def check_eval_generates_numbers():
    with Folder() as folder:
        task = write_lines(folder / "sums.jsonl", NUMBERS)
        details = folder / "details.jsonl"
        report = parsed("eval", STORIES, "-f", task, "--shots", "2", "-n", "8", "--limit", "3",
                        "--json", "--details", details)
        (found,) = report["tasks"]
        assert found["n_questions"] == 3 and found["shots"] == 2 and found["chat"] is False
        assert set(found["models"][0]) >= {"exact_match", "strict_match"}
        answers = [json.loads(line) for line in details.read_text().splitlines()]
        assert [a["expected"] for a in answers] == ["0", "1", "2"] and all(a["text"] for a in answers)
        expect(run("eval", STORIES, "-f", task, "--chat", "-n", "8"), 1, "template")
        expect(run("eval", STORIES, "-f", task, "--shots", "8", "-n", "8"), 1, "would be examples")


def check_eval_says_what_is_wrong():
    with Folder() as folder:
        task = write_lines(folder / "little.jsonl", CHOICES)
        expect(run("eval", STORIES), 2, "no task")
        expect(run("eval", "-f", task), 2, "MODEL is missing")
        expect(run("eval", STORIES, "-f", folder / "none.jsonl"), 1, "none.jsonl")
        expect(run("eval", "none.gguf", "-f", task), 1, "none.gguf")
        expect(run("eval", STORIES, "-f", task, "--details", folder / "none" / "x"), 1, "none/x")
        task.write_text(task.read_text() + '{"query": "q", "choices": ["a", "b"], "gold": 7}\n')
        expect(run("eval", STORIES, "-f", task), 1, f"little.jsonl: line {len(CHOICES) + 1}", "'gold'")


def check_eval_stops():
    with Folder() as folder:
        task = write_lines(folder / "long.jsonl", CHOICES * 5000)
        process = subprocess.Popen([PROGRAM, "eval", STORIES, "-f", task], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT and "interrupted" in err, (process.returncode, err)
        assert out == "", out


main(globals())
