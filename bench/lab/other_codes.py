#!/usr/bin/env python3
"""What codes of strips would store that were not built: symbols of three values, and lengths from four numbers only.

    python3 bench/lab/other_codes.py

Integers are rounded Gaussians.  A symbol is the high parts of one, two or three of them side by side; the n likeliest
symbols have codes of at most 7 bits, n is the best one, and a symbol without a code costs the shortest code and 24 bits
on the list.  Bits a weight, calculated: chunks, tables and padding are left out.
"""
import itertools
import math

LIMIT, LISTED = 7, 24


def high_parts(sigma, raw):
    """Probabilities of a rounded Gaussian without its 'raw' low bits."""
    below = lambda x: 0.5 * (1 + math.erf(x / sigma / math.sqrt(2)))
    p = {}
    for z in range(-40, 41):
        p[z >> raw] = p.get(z >> raw, 0.0) + below(z + 0.5) - below(z - 0.5)
    return list(p.values())


def entropy(p):
    return -sum(x * math.log2(x) for x in p if x > 0)


def best_lengths(p):
    """Bits of the best prefix code with lengths up to LIMIT, and its shortest length (package-merge)."""
    items = sorted((x, (i,)) for i, x in enumerate(p))
    packages = []
    for _ in range(LIMIT):
        merged = sorted(items + packages)
        packages = [(a + b, s + t) for (a, s), (b, t) in zip(merged[::2], merged[1::2])]
    lengths = [0] * len(p)
    for _, symbols in packages[:len(p) - 1]:
        for i in symbols:
            lengths[i] += 1
    return sum(x * n for x, n in zip(p, lengths)), min(lengths)


def four_lengths(p):
    """The same when lengths may have four values, the best four; 'p' falls."""
    total = list(itertools.accumulate(p, initial=0.0))
    n, best = len(p), (math.inf, 0)
    for a, b, c, d in itertools.combinations(range(1, LIMIT + 1), 4):
        for n_a in range(min(n, 2**a) + 1):
            room = 2**d - n_a * 2**(d - a)
            for n_b in range(min(n - n_a, room >> (d - b)) + 1):
                left, m = room - n_b * 2**(d - b), n - n_a - n_b
                n_c, rest = divmod(left - m, 2**(d - c) - 1)  # n_c 2^(d - c) + n_d = left, n_c + n_d = m
                if rest or not 0 <= n_c <= m:
                    continue
                ends = (n_a, n_a + n_b, n_a + n_b + n_c, n)
                bits = sum(length * (total[end] - total[start])
                           for length, start, end in zip((a, b, c, d), (0, *ends), ends))
                best = min(best, (bits, next((x for x, k in zip((a, b, c), (n_a, n_b, n_c)) if k), d)))
    return best


def stored(sigma, raw, n_values, code, sizes):
    p = high_parts(sigma, raw)
    symbols = sorted((math.prod(t) for t in itertools.product(p, repeat=n_values)), reverse=True)[:2**LIMIT]
    found = math.inf
    for n in (n for n in sizes if n <= len(symbols)):
        bits, shortest = code(symbols[:n])
        listed = max(0.0, 1 - sum(symbols[:n]))
        found = min(found, (bits + listed * (LISTED + shortest)) / n_values)
    return found + raw


print("| sigma | entropy | raw bits | one | two | three | two, four lengths |")
print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for sigma, raw in ((0.45, 0), (0.6, 0), (0.8, 0), (1.0, 0), (1.3, 0), (1.93, 1), (2.4, 1)):
    every, some = range(2, 2**LIMIT + 1), range(8, 2**LIMIT + 1, 4)
    print(f"| {sigma:g} | {entropy(high_parts(sigma, 0)):.3f} | {raw} "
          + "".join(f"| {stored(sigma, raw, n, best_lengths, every):.3f} " for n in (1, 2, 3))
          + f"| {stored(sigma, raw, 2, four_lengths, some):.3f} |", flush=True)
