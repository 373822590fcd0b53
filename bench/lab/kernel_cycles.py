#!/usr/bin/env python3
"""What compiled kernels are made of, and what llvm-mca says of them: the counted and calculated tables of docs/performance.md.

    cmake --build build/release --target en_kernels lab_phase_lanes lab_row_lanes
    cmake --preset aarch64 && cmake --build build/aarch64 --target en_kernels
    python3 bench/lab/kernel_cycles.py [--mca llvm-mca-19]

Takes the innermost loops out of the object files.  llvm-mca takes every branch for foreseen and every load for a hit,
so what it says is a bound; nothing is run.  LLVM 14 has no models of its own of most of these processors.
"""
import argparse
import collections
import re
import subprocess

# Name, GHz that is assumed, llvm-mca's name.
X86 = [("Ice Lake", 3.2, "icelake-server"), ("Sapphire Rapids", 3.2, "sapphirerapids"), ("Zen 4", 3.7, "znver4")]
ARM = [("Cortex-A57", 2.0, "cortex-a57"), ("Cortex-A76 (model of Neoverse N1)", 2.4, "neoverse-n1"),
       ("Cortex-X1, X2 (model of Neoverse V1)", 3.0, "neoverse-v1")]


class Machine:
    def __init__(self, folder, objdump, options):
        self.folder, self.objdump, self.options = folder, objdump, options

    def innermost_loops(self, file, function):
        """Bodies of loops of 30 and more instructions that hold no other such: (address, opcode, operands) of each."""
        text = subprocess.run([*self.objdump, "-d", "--no-show-raw-insn", f"--disassemble={function}",
                               f"{self.folder}/{file}.c.o"], check=True, stdout=subprocess.PIPE, text=True).stdout
        code = [(int(at, 16), op, operands)
                for at, op, operands in re.findall(r"^\s+([0-9a-f]+):\s+(\S+)[ \t]*(.*)$", text, re.M)]
        index = {at: i for i, (at, _, _) in enumerate(code)}
        loops = []
        for i, (_, op, operands) in enumerate(code):
            target = re.search(r"([0-9a-f]+) <", operands)
            is_jump = target and re.match(r"b\.|j(?!mp)", op)
            begin = index.get(int(target[1], 16), i + 1) if is_jump else i + 1
            if begin + 29 <= i:
                loops.append((begin, i))
        inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
        return [code[begin:end + 1] for begin, end in inner]

    def simulate(self, loop, core, mca):
        """Cycles of a turn, and of these the busiest port's."""
        lines = []
        for _, op, operands in loop:  # without comments, and with branches to nowhere
            lines.append(f"{op} {re.sub(r'[0-9a-f]+ <.*', '0', re.sub(r'(#|//) .*', '', operands))}")
        out = subprocess.run([mca, *self.options.split(), f"-mcpu={core}", "-iterations=200"],
                             input="\n".join(lines), check=True, stdout=subprocess.PIPE, text=True).stdout
        cycles = int(re.search(r"Total Cycles:\s+(\d+)", out)[1]) / 200
        busy = re.search(r"Resource pressure per iteration:\n.*\n(.*)\n", out)[1].split()
        return cycles, max(float(b) for b in busy if b != "-")


def opcodes(loop):
    return collections.Counter(op for _, op, _ in loop)


def the_one(loops, fits):
    found = [loop for loop in loops if fits(opcodes(loop))]
    assert len(found) == 1, f"{len(found)} loops fit, expected 1: the kernels have changed"
    return found[0]


def layout_table():
    """Instructions of the products of layouts compared, one vector of 8-bit activations."""
    kernels = "build/release/CMakeFiles/en_kernels.dir/src/kernels/x86"
    rows = [("strips, 4-bit values, nothing raw (N0, 4 chunks)", kernels, "strips_avx512", "dot_N0_4_1", 2048),
            ("strips, one raw bit (W1, 3 chunks)", kernels, "strips_avx512", "dot_W1_3_1", 1536)]
    rows += [(f"{name.replace('_', ' ')} (6 chunks)", f"build/release/bench/CMakeFiles/lab_{name}.dir/lab", name,
              "try_sigma", n_weights) for name, n_weights in (("phase_lanes", 768), ("row_lanes", 384))]
    print("| layout | instructions for 256 weights | of these on vectors | without moves |")
    print("| --- | ---: | ---: | ---: |")
    for name, folder, file, function, n_weights in rows:
        n = opcodes(the_one(Machine(folder, ["objdump", "-M", "att"], "").innermost_loops(file, function),
                            lambda n: n["vpexpandw"]))
        on_vectors = sum(times for op, times in n.items() if op.startswith("v"))
        moves = sum(times for op, times in n.items() if op.startswith("vmov"))
        each = 256 / n_weights
        print(f"| {name} | {n.total() * each:.0f} | {on_vectors * each:.0f} | {(on_vectors - moves) * each:.0f} |")


def x86_table(mca):
    """Every row is one loop: what it multiplies or decodes in a turn."""
    m = Machine("build/release/CMakeFiles/en_kernels.dir/src/kernels/x86", ["objdump", "-M", "att"],
                "-mtriple=x86_64")
    rows = [("AVX-512, product, N1, one vector", "strips_avx512", "dot_N1_3_1", 1536),
            ("AVX-512, product, W1, one vector", "strips_avx512", "dot_W1_3_1", 1536),
            ("AVX-512, product, N1, 15 bits", "strips_avx512", "dot_N1_3_2", 1536),
            ("AVX-512, product, W1, 15 bits", "strips_avx512", "dot_W1_3_2", 1536),
            ("AVX-512, decoding, N0", "strips_avx512", "decode_N0_4", 2048),
            ("AVX-512, decoding, W1", "strips_avx512", "decode_W1_4", 2048),
            ("AVX-512, decoding, W3", "strips_avx512", "decode_W3_4", 2048),
            ("AVX2, decoding of symbols", "strips_avx2", "decode_symbols", 256),
            ("AVX2, product of decoded N1, one vector", "strips_avx2", "dot_N1", 128)]
    print("| loop | instructions, weights | "
          + " | ".join(f"{name}: cycles (busiest port); G weights/s at {ghz} GHz" for name, ghz, _ in X86) + " |")
    print("| --- | ---: |" + " ---: |" * len(X86))
    for name, file, function, n_weights in rows:
        loop = min(m.innermost_loops(file, function), key=len)  # with several it is that of the fewest vectors
        cells = []
        for _, ghz, core in X86:
            cycles, busiest = m.simulate(loop, core, mca)
            cells.append(f"{cycles:.1f} ({busiest:.1f}); {n_weights * ghz / cycles:.1f}")
        print(f"| {name} | {len(loop)}, {n_weights} | " + " | ".join(cells) + " |")


def arm_table(mca):
    """Decoding and product with one vector of 8-bit activations are two loops, one after the other."""
    m = Machine("build/aarch64/CMakeFiles/en_kernels.dir/src/kernels/arm", ["aarch64-linux-gnu-objdump"],
                "-mtriple=aarch64 -mattr=+dotprod")
    products = m.innermost_loops("strips_product_neon", "dot")
    # A turn of each and its weights, for values in nibbles (cut out with shifts) and in bytes.
    neon = [(the_one(products, lambda n: n["smlal"] and n["ushr"]), 512),
            (the_one(products, lambda n: n["smlal"] > 24 and not n["ushr"]), 512)]
    dot = [(the_one(m.innermost_loops("strips_dotprod", f), lambda n: n["sdot"] == 16), 256)
           for f in ("dot_narrow", "dot_wide")]
    modes = ("N0", "N1", "W1")
    print("| G weights/s a core (cycles for 256 weights: decoding + product) | " + " | ".join(modes) + " |")
    print("| --- |" + " ---: |" * len(modes))
    for name, ghz, core in ARM:
        cells = []
        for mode in modes:
            halves = m.innermost_loops("strips_neon", f"decode_{mode}")
            assert len(halves) == 2, "a unit is decoded in two halves of 256 weights"
            decoding = sum(m.simulate(loop, core, mca)[0] for loop in halves) / 2
            parts = []
            for what, (loop, n_weights) in (("", neon[mode[0] == "W"]), ("dot product ", dot[mode[0] == "W"])):
                if what and core == "cortex-a57":
                    continue  # has none
                product = m.simulate(loop, core, mca)[0] * 256 / n_weights
                rate = 256 * ghz / (decoding + product)
                parts.append(f"{what}{rate:.2f} ({decoding:.0f} + {product:.0f})")
            cells.append("; ".join(parts))
        print(f"| {name}, {ghz} GHz | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mca", default="llvm-mca-19")
    args = parser.parse_args()
    layout_table()
    print()
    x86_table(args.mca)
    print()
    arm_table(args.mca)


if __name__ == "__main__":
    main()
