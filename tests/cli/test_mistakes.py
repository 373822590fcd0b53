#!/usr/bin/env python3
"""Mistakes people make get an answer: exit 1, what was found, what to try; never a crash."""
import json
import os
import pathlib
import shutil
import subprocess

from cli_support import PROGRAM, STORIES, TINY, VOCAB_ONLY, Folder, compress, expect, main, need, run

need(STORIES, TINY)


def said(result, code=1):
    """An error was said in one line that starts with 'error:', nothing on stdout."""
    expect(result, code, "error: ")
    assert result.out == "", result
    assert "Sanitizer" not in result.err, result
    return result


def check_missing_model():
    result = said(run("run", "no-such-model.gguf", "-p", "x"))
    assert "no-such-model.gguf" in result.err and "No such file" in result.err, result
    said(run("inspect", "no-such-folder/"))


def check_wrong_kind_of_file():
    with Folder() as folder:
        for name, data in (("text.gguf", b"Once upon a time there was no model at all.\n" * 99),
                           ("empty.gguf", b""), ("zip.gguf", b"PK\3\4" + bytes(500)),
                           ("short.gguf", b"GGUF")):
            (folder / name).write_bytes(data)
            for command in (["inspect"], ["run", "-p", "x"], ["verify"],
                            ["compress", "--method", "u8", "-o", folder / "out.gguf"]):
                result = said(run(*command, folder / name))
                assert name in result.err, result
            assert not (folder / "out.gguf").exists()
        result = said(run("inspect", folder))  # a folder without a model
        assert "config.json" in result.err, result


def check_verify_wants_a_coded_file():
    said(run("verify", STORIES))


def check_truncated_download():
    with Folder() as folder:
        data = STORIES.read_bytes()
        cut = folder / "cut.gguf"
        for n in (len(data) - 1, len(data) // 2, 3000):
            cut.write_bytes(data[:n])
            said(run("run", cut, "-p", "x"))
            said(run("compress", cut, folder / "out.gguf", "--method", "u8"))
        coded = compress(STORIES, folder / "coded.gguf").read_bytes()
        cut.write_bytes(coded[: len(coded) * 3 // 4])
        said(run("verify", cut))
        said(run("run", cut, "-p", "x"))


def check_damaged_file():
    with Folder() as folder:
        coded = bytearray(compress(STORIES, folder / "coded.gguf").read_bytes())
        for at in (len(coded) // 2, len(coded) - 5000):
            coded[at] ^= 0x55
        (folder / "bad.gguf").write_bytes(coded)
        result = said(run("verify", folder / "bad.gguf"))
        assert "bad.gguf" in result.err, result
        result = run("verify", folder / "bad.gguf", "--json")
        assert result.code == 1 and json.loads(result.out)["ok"] is False, result


def check_missing_shard():
    with Folder() as folder:
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(TINY / name, folder / name)
        index = {"metadata": {}, "weight_map": {
            "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
            "model.norm.weight": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        shutil.copy(TINY / "model.safetensors", folder / "model-00001-of-00002.safetensors")
        result = said(run("inspect", folder))
        assert "model-00002-of-00002.safetensors" in result.err, result


def check_unknown_architecture():
    with Folder() as folder:
        for path in TINY.iterdir():
            shutil.copy(path, folder / path.name)
        config = json.loads((TINY / "config.json").read_text())
        config["architectures"], config["model_type"] = ["WhaleForCausalLM"], "whale"
        os.chmod(folder / "config.json", 0o644)
        (folder / "config.json").write_text(json.dumps(config))
        result = said(run("run", folder, "-p", "x"))
        assert "whale" in result.err.lower() and "llama" in result.err.lower(), result


def check_output_exists():
    with Folder() as folder:
        out = folder / "out.gguf"
        out.write_text("mine")
        result = said(run("compress", STORIES, out, "--method", "u8"))
        assert "--force" in result.err and out.read_text() == "mine", result
        expect(run("compress", STORIES, out, "--method", "u8", "--force"), 0)
        assert out.read_bytes()[:4] == b"GGUF"
        said(run("restore", out, STORIES))
        restored = folder / "restored.gguf"
        expect(run("restore", out, restored), 0)
        said(run("restore", out, restored))
        expect(run("restore", out, restored, "--force"), 0)
        # An output that is also the source is never touched.
        before = out.read_bytes()
        for name in (out, folder / "." / ".." / folder.name / "out.gguf"):
            for force in ([], ["--force"]):
                said(run("restore", out, name, *force))
        result = said(run("compress", restored, restored, "--method", "u8", "--force"))
        assert "is the model that is read" in result.err, result
        assert out.read_bytes() == before
        assert "is a folder" in said(run("compress", restored, "-o", folder, "--method", "u8")).err


def check_output_folder_missing():
    with Folder() as folder:
        result = said(run("compress", STORIES, folder / "no/such/out.gguf", "--method", "u8"))
        assert "there is no folder" in result.err and "no/such" in result.err, result
        (folder / "there").mkdir()
        for name, missing in (("nodir/../b.gguf", "nodir"), ("no/such/../b.gguf", "no/such"),
                              ("there/../no/such/b.gguf", "there/../no/such"),
                              ("there/no/../../b.gguf", "there/no"), ("..no/b.gguf", "..no")):
            result = said(run("compress", STORIES, name, "--method", "u8", cwd=folder))
            assert f"there is no folder '{missing}'" in result.err, result


def check_no_space():
    """A file size limit stands in for the full disk."""
    with Folder() as folder:
        out = folder / "out.gguf"
        limited = f"trap '' XFSZ; ulimit -f 16; exec '{PROGRAM}' compress --method u8 '{STORIES}' '{out}'"
        done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True)
        assert done.returncode == 1 and "error: " in done.stderr, done
        assert list(folder.iterdir()) == [], "something was left behind"


def check_no_space_for_the_report():
    if not pathlib.Path("/dev/full").exists():
        return
    for more in ([], ["--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "inspect", str(STORIES), *more], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "No space left" in done.stderr, done


def check_text_file_missing():
    result = said(run("perplexity", STORIES, "no-such-text.txt"))
    assert "no-such-text.txt" in result.err, result
    said(run("run", STORIES, "-f", "no-such-text.txt"))
    said(run("run", STORIES, "-f", "."))


def check_text_too_short():
    with Folder() as folder:
        text = folder / "short.txt"
        text.write_text("Too short.")
        result = said(run("perplexity", STORIES, text, "-c", "512"))
        assert "512" in result.err, result


def check_text_empty():
    with Folder() as folder:
        text = folder / "empty.txt"
        text.write_bytes(b"")
        for command in (["perplexity", STORIES], ["compare", STORIES, STORIES]):
            result = said(run(*command, text))
            assert f"{text} is empty" in result.err and "tokens long" not in result.err, result
            assert "standard input is empty" in said(run(*command, "-f", "-")).err


def check_stop_empty():
    for more in (["--stop", ""], ["--stop=x", "-r", ""]):
        expect(run("run", STORIES, "-p", "Once", *more), 2, "--stop is empty", "Try 'entrollm run --help'")


def check_unknown_processor_feature():
    """Said once, with the names there are; what is computed stays the same."""
    bogus = {"ENTRO_CPU_DISABLE": "amx, bogus,avx512"}
    said_of_it = "ENTRO_CPU_DISABLE names 'bogus', which is no feature; known are amx, bf16, avx512, avx2, dotprod and neon"
    for command in (["version"], ["inspect", STORIES], ["run", STORIES, "-p", "Once", "-n", "2"]):
        result = expect(run(*command, env=bogus), 0, said_of_it)
        assert result.err.count("ENTRO_CPU_DISABLE") == 1 and "ENTRO_CPU" not in result.out, result
        for known in ("", "avx2", "amx,avx512,,avx2 dotprod,bf16,neon,"):
            assert "ENTRO_CPU" not in run(*command, env={"ENTRO_CPU_DISABLE": known}).err, known
    assert run("run", STORIES, "-p", "Once", "-n", "2", "-q", env=bogus).err == ""
    known = run("version", env={"ENTRO_CPU_DISABLE": "amx,avx512"})
    assert run("version", env=bogus).out == known.out


def check_prompt_longer_than_context():
    result = said(run("run", STORIES, "-c", "32", "-p", "Once upon a time. " * 10))
    assert "32" in result.err and "-c" in result.err, result
    result = said(run("run", STORIES, "-c", "32", "-p", "Once upon a time. " * 50))
    assert "trained for" in result.err and "-c" not in result.err, result


def check_prompt_empty():
    expect(run("run", STORIES, stdin=""), 2, "-p")
    expect(run("run", STORIES, "-f", os.devnull), 2, "-p")
    expect(run("run", STORIES, "-p", "", "-n", "2"), 0)  # no chat template: begins with nothing
    if os.environ.get("ENTRO_MODEL"):
        expect(run("run", os.environ["ENTRO_MODEL"], "-p", ""), 2, "the prompt is empty")


def check_missing_model_is_said_first():
    expect(run("run", "no-such-model.gguf", stdin=""), 1, "no-such-model.gguf")


def check_context_beyond_training_is_possible_or_refused():
    result = run("run", STORIES, "-c", "2000000", "-p", "x", "-n", "1")
    assert result.code in (0, 1), result


def check_no_chat_template():
    result = said(run("run", STORIES, "--chat", "-p", "Hello"))
    assert "chat template" in result.err, result


def check_model_without_tokenizer():
    """The keys of the tokenizer are renamed, byte for byte the same length."""
    with Folder() as folder:
        data = STORIES.read_bytes().replace(b"tokenizer.ggml.", b"nokenizer.ggml.")
        path = folder / "mute.gguf"
        path.write_bytes(data)
        expect(run("inspect", path), 0)
        result = said(run("run", path, "-p", "Hello"))
        assert "tokenizer" in result.err, result
        result = said(run("tokenize", path, "-p", "Hello"))
        assert "tokenizer" in result.err, result


def check_vocabulary_without_weights():
    need(VOCAB_ONLY)
    said(run("run", VOCAB_ONLY, "-p", "Hello"))


def check_source_of_another_model():
    with Folder() as folder:
        coded = compress(STORIES, folder / "coded.gguf")
        said(run("verify", coded, "--source", TINY))


def check_out_of_memory_is_said():
    limited = f"ulimit -v 60000; exec '{PROGRAM}' "
    shell = lambda words: subprocess.run(["sh", "-c", limited + words], capture_output=True, text=True)
    # Sanitizers need more address space than that for themselves: their programs do not even start.
    if shell("version").returncode != 0 and is_sanitized():
        return
    done = shell(f"run '{STORIES}' -c 1000000 -p x -n 1")
    assert done.returncode == 1 and "memory" in done.stderr, done


def is_sanitized():
    libraries = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout
    return "libasan" in libraries or "libubsan" in libraries


main(globals())
