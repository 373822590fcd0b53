#!/usr/bin/env python3
"""tune and compress --tune: what is written, what is said, what is refused."""
import json

from cli_support import STORIES, TINY, Folder, compress, expect, main, need, run

need(STORIES, TINY)
WORDS = ("Once upon a time there was a little dog named Tim. Tim liked to run in the park with the "
         "ball. One day it rained, and the ball rolled into the water. ")


def write_text(folder, n_copies=60):
    path = folder / "text.txt"
    path.write_text("".join(WORDS.replace("Tim", f"Tim {i}") for i in range(n_copies)))
    return path


def tune(*args):
    report = json.loads(expect(run("tune", *args, "--json"), 0).out)
    assert report["is_better"] is True and 0 <= report["kld_after"] < report["kld_before"], report
    assert report["n_tokens"] > 0 and report["n_check_tokens"] > 0, report
    return report


def check_tuned_file_is_nearer_and_whole():
    with Folder() as folder:
        text = write_text(folder)
        coded = compress(STORIES, folder / "coded.gguf", "--method", "u4")
        tuned = folder / "tuned.gguf"
        report = tune(STORIES, coded, tuned, "--calib", text, "--calib-tokens", 2048)
        assert report["n_tensors"] == 11 and report["n_values"] == 11 * 64, report
        assert report["n_file_bytes"] == tuned.stat().st_size <= coded.stat().st_size + 64
        expect(run("verify", tuned, "--source", STORIES), 0, "ok", stream="out")
        expect(run("inspect", tuned), 0, f"tune={report['n_tokens']}", stream="out")
        assert run("verify", tuned, "--source", TINY).code == 1
        expect(run("run", tuned, "-p", "Once", "-n", "4"), 0)


def check_report_for_people():
    with Folder() as folder:
        text = write_text(folder)
        coded = compress(STORIES, folder / "coded.gguf", "--method", "u4")
        args = ("--calib", text, "-n", "1024")
        expect(run("tune", STORIES, coded, *args), 0, "coded-tuned.gguf", "before", "kept apart",
               stream="out")
        assert (folder / "coded-tuned.gguf").exists()
        assert run("tune", STORIES, coded, folder / "q.gguf", *args, "-q").out == ""


def check_text_of_the_model_is_kept_and_used_again():
    with Folder() as folder:
        coded = compress(STORIES, folder / "coded.gguf", "--method", "u4")
        one = tune(STORIES, coded, folder / "1.gguf", "-n", 1024)
        kept = folder / "stories260K.calib" / "text.gguf"
        before = kept.read_bytes()
        two = tune(STORIES, coded, folder / "2.gguf", "-n", 512)  # a part of it
        assert kept.read_bytes() == before and two["n_tokens"] < one["n_tokens"], (one, two)
        again = tune(STORIES, coded, folder / "3.gguf", "-n", 1024)
        assert again["kld_after"] == one["kld_after"], (one, again)
        assert (folder / "1.gguf").read_bytes() == (folder / "3.gguf").read_bytes()
        tune(STORIES, coded, folder / "4.gguf", "-n", 512, "--statistics", folder / "other")
        assert (folder / "other" / "text.gguf").exists()


def check_output_may_be_the_model():
    with Folder() as folder:
        text = write_text(folder)
        coded = compress(STORIES, folder / "coded.gguf", "--method", "u4")
        before = coded.read_bytes()
        args = ("--calib", text, "-n", "1024")
        expect(run("tune", STORIES, coded, coded, *args), 1, "exists already", "--force")
        assert coded.read_bytes() == before
        tune(STORIES, coded, coded, *args, "--force")
        assert coded.read_bytes() != before
        expect(run("verify", coded, "--source", STORIES), 0)
        assert sorted(p.name for p in folder.iterdir()) == ["coded.gguf", "text.txt"]


def check_nothing_is_written_when_it_is_no_better():
    """Every weight is the source's: there is nothing to learn."""
    with Folder() as folder:
        text = write_text(folder)
        same = compress(STORIES, folder / "same.gguf", "--set", "*=keep")
        out = folder / "out.gguf"
        args = (STORIES, same, out, "--calib", text, "-n", "1024")
        expect(run("tune", *args), 1, "error: ", "no better", "nothing was written")
        result = expect(run("tune", *args, "--json"), 1)
        report = json.loads(result.out)
        assert report["is_better"] is False and report["n_file_bytes"] == 0, report
        assert not out.exists()
        before = same.read_bytes()
        expect(run("compress", STORIES, same, "--method", "u8", "--set", "*=keep", "--tune", "1024",
                   "--calib", text, "--force"), 0, "no better", stream="out")
        assert same.read_bytes() == before


def check_mistakes():
    with Folder() as folder:
        text = write_text(folder)
        coded = compress(STORIES, folder / "coded.gguf")
        out = folder / "out.gguf"
        for args, *said in (
                ((STORIES, STORIES, out), "is not an EntroLLM container", "stories260K.gguf"),
                ((TINY, coded, out), "has shape", "coded.gguf"),
                ((coded, coded, out), "is a container itself"),
                ((STORIES, folder / "none.gguf", out), "none.gguf"),
                ((folder / "none.gguf", coded, out), "none.gguf"),
                ((STORIES, coded, STORIES, "--force"), "is the model that is read"),
                ((STORIES, coded, folder / "no" / "out.gguf"), "there is no folder"),
                ((STORIES, coded, text), "exists already", "--force"),
                ((STORIES, coded, out, "--calib", folder / "none.txt"), "none.txt")):
            result = expect(run("tune", *args), 1, "error: ", *said)
            assert result.out == "" and not out.exists(), result
        short = folder / "short.txt"
        short.write_text(WORDS)
        expect(run("tune", STORIES, coded, out, "--calib", short), 1, "error: ", "longer text")
        expect(run("compress", STORIES, out, "--method", "u8", "--tune", "--calib", short), 1,
               "longer text")
        lossless = compress(STORIES, folder / "lossless.gguf", "--method", "lossless")
        expect(run("tune", STORIES, lossless, out), 1, "nothing to tune")
        assert not out.exists()


def check_usage():
    expect(run("tune"), 2, "SOURCE is missing")
    expect(run("tune", "a.gguf"), 2, "MODEL is missing")
    expect(run("tune", "a", "b", "c", "-n", "5"), 2, "wants a number from 512")
    expect(run("compress", "a", "b", "--try", "3,4", "--tune"), 2, "leave out --tune")
    expect(run("compress", "a", "b", "--method", "lossless", "--tune"), 2, "leave out --tune")
    expect(run("compress", "a", "b", "--tune=many"), 2, "--tune wants a whole number, not 'many'")
    expect(run("compress", "a", "b", "--tune", "7"), 2, "--tune wants a number from 512")
    expect(run("compress", "--help"), 0, "--tune [TOKENS]", stream="out")


def check_compress_tunes():
    with Folder() as folder:
        text = write_text(folder)
        page = folder / "page.html"
        common = ("--method", "u4", "--calib", text)
        out = folder / "a.gguf"
        # The option may stand in front of the arguments, with a number or without.
        result = expect(run("compress", "--tune", "1024", STORIES, out, *common, "--json", "--page",
                            page), 0)
        report = json.loads(result.out)
        assert report["is_tuned"] and report["kld_tuned"] < report["kld_untuned"], report
        assert report["n_tune_tokens"] > 0 and report["n_check_tokens"] > 0, report
        assert report["n_file_bytes"] == out.stat().st_size, report
        assert "before tuning" in page.read_text()
        expect(run("verify", out, "--source", STORIES), 0)
        expect(run("compress", "--tune", STORIES, folder / "b.gguf", *common), 0, "tuned ", "before",
               stream="out")
        plain = json.loads(expect(run("compress", STORIES, folder / "c.gguf", "--method", "u4",
                                      "--json"), 0).out)
        assert plain["n_tune_tokens"] == 0 and plain["kld_tuned"] is None, plain
        assert plain["is_tuned"] is False
        # The same as in two steps, but for the order.
        expect(run("tune", STORIES, folder / "c.gguf", folder / "d.gguf", "--calib", text, "-n",
                   "1024"), 0)
        assert (folder / "d.gguf").read_bytes() == out.read_bytes()


def check_a_size_is_still_met():
    with Folder() as folder:
        text = write_text(folder)
        out = folder / "a.gguf"
        report = json.loads(expect(run("compress", TINY, out, "--bpw", "4.5", "--method", "rtn",
                                       "--calib", text, "--tune", "1024", "--json"), 0).out)
        assert report["bits_per_param"] <= 4.5, report
        assert out.stat().st_size * 8 <= 4.5 * report["n_params"], report


main(globals())
