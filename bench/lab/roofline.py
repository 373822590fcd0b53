#!/usr/bin/env python3
"""The table 'On other machines' of docs/performance.md: what bounds a product with one vector.

    python3 bench/lab/roofline.py

Weights a second are the smaller of bandwidth / bits and kernel rate x cores.  Nothing here is measured
on the devices: bandwidths are those their makers publish, or follow from published memory types
(channels x width x transfers); kernel rates are of docs/performance.md.  Block formats and packed
integers are taken as bound by memory alone, which favours them.
"""

BLOCKS = {"Q4_0": 4.5, "Q4_K_M": 4.85}
PACKED_BITS = 4.0
CODED_BITS = (3.15, 3.5)
USABLE = 0.6  # of the published peak: what all cores together often reach


def neon(ghz, cycles):
    """G weights/s of one core from llvm-mca's cycles for 256 weights."""
    return 256 * ghz / cycles


A57 = 329               # mode N1, no dot product; LLVM's model of the A72 is the same
A76, X1 = 173, 90       # mode N1 with dot product: models of Neoverse N1 and V1
AVX2, AVX512 = 7.9, 29.5  # measured on Zen 4 at 3.7 GHz with 15-bit activations

# name, GB/s, kernel rates of its cores
MACHINES = [
    ("Raspberry Pi 4: 4 A72, 1.8 GHz; 32-bit LPDDR4-3200", 12.8, [neon(1.8, A57)] * 4),
    ("Jetson Nano: 4 A57, 1.43 GHz; 64-bit LPDDR4-3200", 25.6, [neon(1.43, A57)] * 4),
    ("Raspberry Pi 5: 4 A76, 2.4 GHz; 32-bit LPDDR4X-4267", 17.1, [neon(2.4, A76)] * 4),
    ("phone: 1 X-class 3.0 GHz, 3 A7xx 2.4 GHz as A76; 64-bit LPDDR5X-8533", 68.3,
     [neon(3.0, X1)] + [neon(2.4, A76)] * 3),
    ("laptop: 8 cores, AVX2; 2 x DDR4-3200", 51.2, [AVX2] * 8),
    ("laptop: 8 cores, AVX-512; 2 x DDR5-5600", 89.6, [AVX512] * 8),
    ("server: 64 cores, AVX-512; 8 x DDR5-5600", 358.4, [AVX512] * 64),
    ("here: 2 cores Zen 4, AVX-512; 16 GB/s a core (measured)", 32.0, [AVX512] * 2),
    ("here with AVX2 only", 32.0, [AVX2] * 2),
]


def memory_bound(gb, bits):
    return gb * 8 / bits


def coded(gb, bits, kernel):
    return min(memory_bound(gb, bits), kernel)


def mark(gb, bits, kernel):
    return f"{coded(gb, bits, kernel):.3g}" + (" k" if kernel < memory_bound(gb, bits) else " m")


print("| machine | GB/s | a core | even below | Q4_0 | Q4_K_M | packed | coded 3.15 | coded 3.5 "
      f"| coded 3.5 / Q4_0 | at {USABLE:.0%} of GB/s |")
print("| --- " + "| ---: " * 10 + "|")
for name, gb, rates in MACHINES:
    kernel = sum(rates)
    blocks = [memory_bound(gb, bits) for bits in BLOCKS.values()]
    ratios = [coded(f * gb, 3.5, kernel) / memory_bound(f * gb, BLOCKS["Q4_0"]) for f in (1, USABLE)]
    if "measured" in name or "here" in name:
        ratios[1] = None  # already what can be used
    print(f"| {name} | {gb:g} | {gb / len(rates):.1f} "
          f"| {kernel / len(rates) * BLOCKS['Q4_0'] / 8:.2f} "
          + "".join(f"| {b:.3g} " for b in blocks)
          + f"| {memory_bound(gb, PACKED_BITS):.3g} "
          + "".join(f"| {mark(gb, bits, kernel)} " for bits in CODED_BITS)
          + "".join(f"| {r:.2f} " if r else "| " for r in ratios) + "|")
