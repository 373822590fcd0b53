#!/usr/bin/env python3
"""Checks the house rule: a room of src/ includes only rooms of a lower rank.

    base < arch, tensor, entropy < kernels < formats, quant < container < linear, text
         < model, sampling < engine < calib < pipeline, eval < api

Includes are written from src/ ("entropy/code.h").  Programs include the public header only, and
file names are unique in the whole tree, so that a name alone finds a file.
"""
import pathlib
import re
import sys

RANKS = [["base"], ["arch", "tensor", "entropy"], ["kernels"], ["formats", "quant"], ["container"],
         ["linear", "text"], ["model", "sampling"], ["engine"], ["calib"], ["pipeline", "eval"], ["api"]]
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
GENERATED = {"arch/arch_list.h"}  # by CMake, in the build folder
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)

root = pathlib.Path(__file__).resolve().parent.parent
problems = []
seen = {}


def check_room_file(path, room):
    for target in INCLUDE.findall(path.read_text()):
        other = target.split("/")[0]
        if "/" not in target or other not in RANK:
            problems.append(f"{path}: \"{target}\" is not written from src/")
        elif other != room and RANK[other] >= RANK[room]:
            problems.append(f"{path}: room '{room}' must not include '{target}'")
        elif target not in GENERATED and not (root / "src" / target).is_file():
            problems.append(f"{path}: \"{target}\" does not exist")


for path in sorted((root / "src").rglob("*.[ch]")):
    room = path.relative_to(root / "src").parts[0]
    if room not in RANK:
        problems.append(f"{path}: unknown room '{room}'")
        continue
    check_room_file(path, room)

for path in sorted((root / "programs").rglob("*.[ch]")):
    for target in INCLUDE.findall(path.read_text()):
        if not (path.parent / target).is_file():
            problems.append(f"{path}: programs see only <entrollm/entrollm.h>, not \"{target}\"")

for folder in ("include", "src", "programs", "bench", "tests"):
    for path in sorted((root / folder).rglob("*.[ch]")):
        if path.name in seen:
            problems.append(f"{path}: same file name as {seen[path.name]}")
        seen[path.name] = path

for problem in problems:
    print(problem.replace(str(root) + "/", ""))
print(f"{len(seen)} files, {len(problems)} problems")
sys.exit(1 if problems else 0)
