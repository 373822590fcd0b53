#!/usr/bin/env python3
"""Generated text: seeds, threads, limits, stop strings, prompts from everywhere."""
import json

from cli_support import STORIES, TINY, Folder, compress, expect, main, need, run

need(STORIES, TINY)
ONCE = ["-p", "Once upon a time", "--raw"]


def text(*args, **kw):
    return expect(run("run", *args, **kw), 0).out


def check_same_seed_same_text():
    with Folder() as folder:
        for source in (STORIES, TINY):
            model = compress(source, folder / f"{source.stem}.gguf")
            first = text(model, *ONCE, "-n", "48", "--seed", "5", "-t", "1")
            assert len(first) > 40
            assert first == text(model, *ONCE, "-n", "48", "--seed", "5", "-t", "2")
            assert first == text(model, *ONCE, "-n", "48", "--seed", "5", "-b", "3")
            others = {text(model, *ONCE, "-n", "48", "--seed", s) for s in ("6", "7", "8")}
            assert others - {first}, "the seed changes nothing"


def check_greedy_ignores_the_seed():
    a = text(STORIES, *ONCE, "-n", "32", "--temp", "0", "--seed", "1")
    assert a == text(STORIES, *ONCE, "-n", "32", "--temp", "0", "--seed", "2")
    assert a == text(STORIES, *ONCE, "-n", "32", "--top-k", "1", "--seed", "3")


def check_stories_are_english():
    """The little model's greedy story begins as its training stories do."""
    story = text(STORIES, *ONCE, "-n", "24", "--temp", "0")
    assert "there was a" in story, story


def check_int8_cache():
    how = [*ONCE, "-n", "100", "-c", "160", "--temp", "0", "--ignore-eos"]
    kept = {}
    for kv in ("f16", "int8"):
        report = json.loads(text(STORIES, *how, "--json", "--kv-type", kv))
        assert report["kv_type"] == kv and "there was a" in report["text"], report
        kept[kv] = report["memory_kv_cache"]
    assert kept["int8"] * 16 == kept["f16"] * 10, kept  # heads of 8: 8 bytes and an f16 scale
    result = expect(run("run", STORIES, *how, "--kv-type", "int8"), 0, "KV cache", "(int8)")
    with Folder() as folder:  # drafts that are rejected leave nothing behind
        model = compress(STORIES, folder / "stories.gguf")
        one_by_one = text(model, *how, "--kv-type", "int8", "--speculate", "off")
        assert one_by_one == text(model, *how, "--kv-type", "int8", "--speculate", "on", "-t", "2")
    assert len(result.out) > 100


def check_guesses_change_nothing():
    """Speculation draws what drawing one by one would have, greedy or not, whatever weights are kept as."""
    with Folder() as folder:
        strips = compress(TINY, folder / "strips.gguf", "--coding", "strips")
        rans = compress(STORIES, folder / "rans.gguf", "--method", "rtn", "--coding", "rans")
        for model, ram in [(STORIES, "auto"), (strips, "min"), (strips, "max"), (rans, "auto")]:
            for how in (["--temp", "0"], ["--temp", "0.8", "-s", "7"], ["--temp", "1.2", "-s", "3"]):
                args = [model, *ONCE, "-n", "90", "-c", "128", "--ignore-eos", "--ram", ram, *how]
                reports = [json.loads(text(*args, "--json", "--speculate", s)) for s in ("on", "off")]
                assert reports[0]["text"] == reports[1]["text"], (model, how)
                assert reports[1]["n_drafted"] == 0
                if how[1] == "0":
                    assert reports[0]["n_drafted"] > 0, "nothing was guessed, so nothing is tested"


def check_rans_has_no_least_memory():
    with Folder() as folder:
        rans = compress(STORIES, folder / "rans.gguf", "--method", "rtn", "--coding", "rans")
        args = (rans, *ONCE, "-n", "2")
        expect(run("run", *args, "--ram", "min"), 0, "packed all the same", "--coding strips")
        assert "packed all" not in run("run", *args, "--ram", "min", "-q").err
        assert "packed all" not in run("run", *args, "--ram", "max").err


def check_too_little_memory_is_told():
    with Folder() as folder:
        args = (compress(STORIES, folder / "strips.gguf", "--coding", "strips"), *ONCE, "-n", "2")
        expect(run("run", *args, "--ram", "1kB"), 0, "--ram 1.00 kB is less than the file's")
        assert "is less than" not in run("run", *args, "--ram", "1kB", "-q").err
        assert "is less than" not in run("run", *args, "--ram", "1GB").err


def check_limits():
    report = json.loads(text(STORIES, *ONCE, "-n", "10", "--json", "--ignore-eos"))
    assert report["n_generated"] == 10 and report["finish"] == "length", report
    assert report["n_prompt"] > 3 and report["peak_resident"] >= 0
    none = json.loads(text(STORIES, *ONCE, "-n", "0", "--json"))
    assert none["n_generated"] == 0 and none["text"] == "", none


def check_context_limit_is_said():
    result = expect(run("run", STORIES, *ONCE, "-c", "48", "--ignore-eos", "--seed", "1"), 0,
                    "the context of 48 tokens is full", "-c sets a larger one")
    assert len(result.out) > 20


def check_context_beyond_training_is_remarked():
    """The model was trained for 128 tokens: more is possible, and no advice."""
    beyond = "is longer than the 128 tokens the model was trained for"
    for n_ctx in (100000, 129):
        result = expect(run("run", STORIES, *ONCE, "-c", n_ctx, "-n", "4"), 0, f"the context of {n_ctx} tokens {beyond}")
        assert result.err.count(beyond) == 1, result
    assert run("run", STORIES, *ONCE, "-c", "129", "-n", "4", "-q").err == ""
    for n_ctx in ("0", "64", "128"):
        assert beyond not in run("run", STORIES, *ONCE, "-c", n_ctx, "-n", "4").err
    for more in ([], ["-c", "128"], ["-c", "140"]):
        result = expect(run("run", STORIES, *ONCE, *more, "--ignore-eos", "--temp", "0"), 0, "is full",
                        "the model was trained for 128")
        assert "-c" not in result.err, result
    # What a prompt is told to ask for is not beyond it either.
    expect(run("run", STORIES, "-c", "32", "-p", "word " * 30), 1, "'-c 128' makes room")


def check_windows_beyond_training_are_remarked():
    beyond = "the context of 256 tokens is longer than the 128 tokens"
    with Folder() as folder:
        text = folder / "text.txt"
        text.write_text("Once upon a time, there was a little girl named Lily. " * 40)
        for command in (["perplexity", STORIES], ["compare", STORIES, STORIES, STORIES]):
            result = expect(run(*command, text, "-c", "256", "--windows", "1"), 0)
            assert result.err.count(beyond) == 1, result
            assert run(*command, text, "-c", "256", "--windows", "1", "-q").err == ""
            assert "trained for" not in run(*command, text, "-c", "128", "--windows", "1").err


def check_stop_strings():
    args = [STORIES, *ONCE, "-n", "60", "--temp", "0"]
    whole = text(*args)
    words = whole.split()
    stop = " ".join(words[6:8])  # spans tokens
    assert stop in whole
    cut = json.loads(text(*args, "--stop", "never occurs", "--stop", stop, "--json"))
    assert cut["finish"] == "stop" and cut["text"] == whole[: whole.index(stop)], (cut, whole)
    assert text(*args, "--stop", stop) == cut["text"] + "\n"
    # Half a stop string that never completes is shown all the same.
    assert text(*args, "--stop", whole[-8:].strip() + "\1") == whole


def check_prompt_from_everywhere():
    expected = text(STORIES, *ONCE, "-n", "12", "--temp", "0")
    more = ["-n", "12", "--temp", "0"]
    assert text(STORIES, *more, stdin="Once upon a time\n") == expected
    assert text(STORIES, "-f", "-", *more, stdin="Once upon a time") == expected
    with Folder() as folder:
        (folder / "prompt.txt").write_text("Once upon a time\n")
        assert text(STORIES, "-f", folder / "prompt.txt", *more) == expected
    echoed = text(STORIES, *ONCE, *more, "--echo")
    assert echoed == "Once upon a time" + expected
    escaped = text(STORIES, "-e", "-p", "a\\nb", *more)
    assert escaped == text(STORIES, "-p", "a\nb", *more)


def check_account_goes_to_stderr():
    result = expect(run("run", STORIES, *ONCE, "-n", "8"), 0, "tok/s", "memory", "KV cache", "peak",
                    "seed")
    assert "tok/s" not in result.out
    assert run("run", STORIES, *ONCE, "-n", "8", "-q").err == ""


def check_context_is_checked_before_work():
    expect(run("run", STORIES, "-c", "16", "-p", "word " * 40), 1, "the context holds 16")


main(globals())
