#!/usr/bin/env python3
"""Help, option parsing and usage errors: exit 0 with text on stdout, exit 2 with advice on stderr."""
from cli_support import expect, main, run

COMMANDS = ["compress", "run", "perplexity", "inspect", "verify", "bench", "restore", "tokenize",
            "compare", "eval", "tune"]


def check_help_lists_every_command():
    result = expect(run("help"), 0, *COMMANDS, stream="out")
    assert result.err == ""
    listing = result.out.split("commands:\n")[1].split("\n\n")[0]
    assert {line.split()[0] for line in listing.splitlines()} == {*COMMANDS, "help", "version"}, result
    assert run("--help").out == result.out == run("-h").out


def check_every_command_explains_itself():
    for command in COMMANDS:
        result = expect(run(command, "--help"), 0, "usage: entrollm " + command, "examples:",
                        f"  entrollm {command} ", "--help", stream="out")
        assert result.err == ""
        assert run("help", command).out == result.out
        assert all(len(line) <= 100 for line in result.out.splitlines()), command


def check_reports_can_be_json():
    for command in COMMANDS:
        expect(run(command, "--help"), 0, "--json", stream="out")


def check_version():
    expect(run("version"), 0, "entrollm ", stream="out")
    assert run("--version").out == run("version").out


def check_nothing_is_wrong_usage():
    expect(run(), 2, "usage: entrollm COMMAND")


def check_misspelt_command():
    expect(run("compres"), 2, "unknown command 'compres'", "did you mean 'compress'?")
    expect(run("preplexity"), 2, "did you mean 'perplexity'?")
    result = expect(run("xyzzyx"), 2, "unknown command 'xyzzyx'")
    assert "did you mean" not in result.err


def check_misspelt_option():
    expect(run("run", "m.gguf", "--tmep", "1"), 2, "unknown option '--tmep'", "did you mean '--temp'?",
           "Try 'entrollm run --help'")
    expect(run("run", "m.gguf", "--thread", "1"), 2, "did you mean '--threads'?")
    expect(run("run", "m.gguf", "-temp", "1"), 2, "did you mean '--temp'?")
    expect(run("compress", "a", "b", "--methd=u4"), 2, "did you mean '--method'?")
    result = expect(run("run", "m.gguf", "--qqqqqq"), 2, "unknown option '--qqqqqq'")
    assert "did you mean" not in result.err


def check_values_are_checked():
    expect(run("run", "m", "--temp", "warm"), 2, "--temp wants a number, not 'warm'")
    expect(run("run", "m", "--temp=-1"), 2, "--temp wants a number from 0 to 100")
    expect(run("run", "m", "-n", "12x"), 2, "-n wants a whole number, not '12x'")
    expect(run("run", "m", "-n"), 2, "-n wants a value (N)")
    expect(run("run", "m", "--top-p", "nan"), 2, "--top-p wants")
    expect(run("run", "m", "--seed"), 2, "--seed wants a value")
    expect(run("run", "m", "--raw=1"), 2, "--raw takes no value")
    expect(run("compress", "a", "b", "--method", "u5"), 2, "u8|u4|u8-row|u4-row", "'u5'")
    expect(run("compress", "a", "b", "--table", "x"), 2, "tensor|model")
    expect(run("compress", "a", "b", "--coding", "x"), 2, "auto|words|strips|rans")
    expect(run("compress", "a", "b", "--method", "rtn", "--bits", "0.5"), 2, "--bits wants a number from 1 to 9")
    expect(run("compress", "a", "b", "--method", "rtn", "--bits", "9.5"), 2, "--bits wants a number from 1 to 9")
    expect(run("compress", "a", "b", "--set", "nothing"), 2, "PATTERN=METHOD")
    for command in (["run", "m"], ["bench", "m"], ["perplexity", "m", "t"], ["compare", "m", "m", "t"],
                    ["eval", "m", "-f", "t"]):
        expect(run(*command, "--kv-type", "q4_0"), 2, "--kv-type wants one of f16|int8, not 'q4_0'")
    expect(run("bench", "m", "-p", "1,x"), 2, "-p wants numbers")
    expect(run("bench", "m", "-p", "0", "-n", "0", "-v", "0"), 2, "nothing to measure")
    expect(run("bench", "m", "-v", "65"), 2, "at most 64")


def check_arguments_are_counted():
    for command in COMMANDS:
        expect(run(command), 2, "is missing", f"Try 'entrollm {command} --help'")
    expect(run("perplexity", "m.gguf"), 2, "TEXT is missing")
    expect(run("run", "m.gguf", "Hello"), 2, "unexpected argument 'Hello'", "-p")
    expect(run("inspect", "a", "b"), 2, "unexpected argument 'b'")
    expect(run("inspect", "-m", "a", "b"), 2, "unexpected argument 'b'")


def check_options_exclude_each_other():
    expect(run("run", "m", "-p", "a", "-f", "b"), 2, "exclude each other")
    expect(run("run", "m", "-p", "a", "--raw", "--chat"), 2, "--raw excludes")
    expect(run("run", "m", "-p", "a", "--json", "--chat"), 2, "--json excludes")
    expect(run("compress", "a", "b", "--coding", "strips", "--table", "model"), 2, "--coding strips", "--table model")
    expect(run("compress", "a", "b", "--method", "rtn", "--coding", "words"), 2, "rtn needs strips", "--coding words")
    expect(run("compress", "a", "b", "--set", "x=rtn:5", "--table", "model"), 2, "rtn needs strips", "--table model")
    expect(run("compress", "a", "b", "--method", "u8", "--bits", "5"), 2, "--bits is for --method rtn")


def check_forms_of_options():
    # All of these get as far as opening a file that is not there.
    for args in (["-m", "none.gguf", "-p", "x"], ["-mnone.gguf", "-px", "-n5"],
                 ["--model=none.gguf", "--prompt=x", "--predict=5"],
                 ["-p", "x", "--", "none.gguf"], ["-ej", "-p", "x", "none.gguf"],
                 ["none.gguf", "-p", "-x-", "-n", "-1", "--n-predict", "3"]):
        expect(run("run", *args), 1, "none.gguf")


main(globals())
