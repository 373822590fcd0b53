#!/usr/bin/env python3
"""compare and eval against NumPy: a Llama forward pass, KLD, perplexity and accuracies by their definitions.

    ENTRO_SHARED=../shared ENTROLLM=build/release/entrollm python3 tests/oracle/test_evaluation.py

Nothing is shared with the program but the token ids, which oracle/test_tokenizers.py checks.  The
coded model is read by way of `restore --type f32`.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from gguf import GGUFReader
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = os.environ.get("ENTROLLM", str(ROOT / "build/release/entrollm"))
SHARED = pathlib.Path(os.environ.get("ENTRO_SHARED", str(ROOT.parent / "shared")))
STORIES = SHARED / "data/models/stories260k/stories260K.gguf"
N_CTX, N_WINDOWS = 64, 3
STORY = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One "
         "day, she saw a big, red ball. She wanted to play with it, but it was too high. Lily's mom said, "
         "\"Lily, let's go to the park.\" Lily was sad and didn't know what to do. ") * 4
CHOICES = [
    {"query": "Once upon a time, there was a little", "choices": ["girl named Lily.", "spoon of sand."], "gold": 0},
    {"query": "Question: What is red?\n", "choices": ["the ball", "a", "Lily's mom"], "gold": 1},
    {"query": "She went to the", "choices": ["park to play with her friends", "rug"], "gold": 0},
    {"query": "Lily was very", "choices": ["sad because she lost her ball", "hot"], "gold": 0},
    {"query": "The dog barked at", "choices": ["the cat", "the bird", "the"], "gold": 2},
]
OPTIONS = [
    {"context_options": ["Tom gave Sue a ball because Tom", "Tom gave Sue a ball because Sue"],
     "continuation": "wanted to play.", "gold": 1},
    {"context_options": ["The cat saw the dog and the cat", "The cat saw the dog and the dog"],
     "continuation": "ran away.", "gold": 0},
]


def program(*args, text=None):
    done = subprocess.run([PROGRAM, *map(str, args)], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tokens_of(text):
    return [int(i) for i in program("tokenize", STORIES, "--ids", text=text).split()]


class Llama:
    """Logits at every position, in f64."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.t = {t.name: np.asarray(t.data, np.float64).reshape([int(n) for n in t.shape[::-1]])
                  for t in reader.tensors}

        def field(name):
            f = reader.fields["llama." + name]
            return f.parts[f.data[0]][0]
        self.n_layers, self.n_heads = int(field("block_count")), int(field("attention.head_count"))
        self.n_kv = int(field("attention.head_count_kv"))
        self.eps = float(field("attention.layer_norm_rms_epsilon"))
        self.base = float(field("rope.freq_base")) if "llama.rope.freq_base" in reader.fields else 10000.0

    def norm(self, x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * gain

    def rope(self, x):
        n, _, d = x.shape
        angle = np.arange(n)[:, None] * self.base ** (-np.arange(0, d, 2) / d)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
        return out

    def attention(self, h, w):
        n, heads = len(h), self.n_heads
        q = self.rope((h @ w("attn_q").T).reshape(n, heads, -1))
        k = self.rope((h @ w("attn_k").T).reshape(n, self.n_kv, -1))
        v = (h @ w("attn_v").T).reshape(n, self.n_kv, -1)
        k, v = (np.repeat(m, heads // self.n_kv, axis=1) for m in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1])
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", weights, v).reshape(n, -1) @ w("attn_output").T

    def log_p(self, tokens):
        x = self.t["token_embd.weight"][tokens]
        for i in range(self.n_layers):
            def w(name):
                return self.t[f"blk.{i}.{name}.weight"]
            x = x + self.attention(self.norm(x, w("attn_norm")), w)
            h = self.norm(x, w("ffn_norm"))
            gate = h @ w("ffn_gate").T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w("ffn_up").T)) @ w("ffn_down").T
        head = self.t.get("output.weight", self.t["token_embd.weight"])
        logits = self.norm(x, self.t["output_norm.weight"]) @ head.T
        top = logits.max(-1, keepdims=True)
        return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def near(name, found, wanted, relative, absolute=0.0):
    ok = abs(found - wanted) <= absolute + relative * abs(wanted)
    print(f"{'ok  ' if ok else 'FAIL'}  {name}: {found:.8g}, by definition {wanted:.8g}", flush=True)
    return ok


def check_compare(reference, model, coded, text, folder):
    tokens = tokens_of(STORY)
    klds, tops, nlls = [], [], [[], []]
    for i in range(N_WINDOWS):
        window = tokens[i * N_CTX:(i + 1) * N_CTX]
        window[0] = tokens[0]
        a, b = reference.log_p(window), model.log_p(window)
        for t in range(N_CTX // 2, N_CTX - 1):
            klds.append((np.exp(a[t]) * (a[t] - b[t])).sum())
            tops.append(a[t].argmax() == b[t].argmax())
            nlls[0].append(-a[t][window[t + 1]])
            nlls[1].append(-b[t][window[t + 1]])
    ok = True
    for how in ([], ["--cache", folder / "kept"], ["--cache", folder / "kept"]):
        report = json.loads(program("compare", STORIES, coded, "-f", text, "-c", N_CTX, "--windows", N_WINDOWS,
                                    "--json", *how))
        found = report["models"][0]
        assert report["n_scored"] == len(klds)
        ok &= near("KLD", found["kld"], np.mean(klds), 2e-3)
        ok &= near("its error", found["kld_error"], np.std(klds) / np.sqrt(len(klds) - 1), 2e-3)
        ok &= near("its median", found["kld_median"], np.median(klds), 2e-2)
        ok &= near("the largest", found["kld_max"], np.max(klds), 5e-3)
        ok &= near("same top", found["same_top"], np.mean(tops), 0, 1.01 / len(tops))
        ok &= near("perplexity", found["perplexity"], np.exp(np.mean(nlls[1])), 1e-3)
        ok &= near("of the reference", report["reference_perplexity"], np.exp(np.mean(nlls[0])), 1e-3)
    return ok


def log_likelihood(model, context, continuation):
    n, tokens = len(tokens_of(context)), tokens_of(context + continuation)
    log_p = model.log_p(tokens)
    return sum(log_p[i - 1][tokens[i]] for i in range(n, len(tokens)))


def pairs_of(line):
    if "context_options" in line:
        return [(c, " " + line["continuation"]) for c in line["context_options"]], None
    context = line["query"].rstrip()
    if context.startswith("Question:"):
        context += "\nAnswer:"
    return [(context, " " + c) for c in line["choices"]], [len(c.encode()) for c in line["choices"]]


def check_eval(models, paths, lines, folder):
    task, details = folder / "task.jsonl", folder / "details.jsonl"
    task.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = json.loads(program("eval", *paths, "-f", task, "--json", "--details", details))["tasks"][0]
    answers = [json.loads(line) for line in details.read_text().splitlines()]
    ok, right = True, {}
    for m, (model, path) in enumerate(zip(models, paths)):
        right[m] = {"acc": [], "acc_norm": []}
        for i, line in enumerate(lines):
            pairs, n_bytes = pairs_of(line)
            wanted = np.array([log_likelihood(model, *pair) for pair in pairs])
            found = answers[m * len(lines) + i]["log_likelihoods"]
            for k, value in enumerate(wanted):
                ok &= near(f"log p of choice {k} of question {i}", found[k], value, 2e-3, 2e-3)
            right[m]["acc"].append(wanted.argmax() == line["gold"])
            if n_bytes:
                right[m]["acc_norm"].append((wanted / n_bytes).argmax() == line["gold"])
        for metric, outcomes in right[m].items():
            if not outcomes:
                assert metric not in report["models"][m]
                continue
            share, n = np.array(outcomes, float), len(outcomes)
            found = report["models"][m][metric]
            ok &= near(metric, found["value"], share.mean(), 0, 1e-8)
            ok &= near("its error", found["error"], share.std(ddof=1) / np.sqrt(n), 0, 1e-8)
            if m:
                d = share - np.array(right[0][metric], float)
                ok &= near("difference", found["difference"]["value"], d.mean(), 0, 1e-8)
                ok &= near("its error", found["difference"]["error"], d.std(ddof=1) / np.sqrt(n), 0, 1e-8)
    return ok


def main():
    if not STORIES.exists():
        print(f"skipped: {STORIES} is missing")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="entrollm-test-") as name:
        folder = pathlib.Path(name)
        coded, plain, text = folder / "coded.gguf", folder / "plain.gguf", folder / "text.txt"
        text.write_text(STORY)
        program("compress", STORIES, coded, "--method", "rtn", "--bits", "3")
        program("restore", coded, plain, "--type", "f32")
        reference, model = Llama(STORIES), Llama(plain)
        ok = check_compare(reference, model, coded, text, folder)
        ok &= check_eval([reference, model], [STORIES, coded], CHOICES, folder)
        ok &= check_eval([reference, model], [STORIES, coded], OPTIONS, folder)
    sys.exit(0 if ok else 1)


main()
