#!/usr/bin/env python3
"""Ids and texts of the tokenizers against llama.cpp's test pairs, 'tokenizers' and 'sentencepiece'.

    ENTRO_SHARED=../shared ENTRO_BUILD=build/release python3 tests/oracle/test_tokenizers.py \\
        [byte-level] [pieces] [decoding] [folders] [llama3]

Vocabularies come as tokenizer.json, vocab.json and merges.txt or SentencePiece models; they are
written as GGUF files into a temporary folder first.  Where llama.cpp and Hugging Face disagree
(NFC in Qwen2 and GPT-NeoX), Hugging Face is right here.

Llama 3's vocabulary is not in the tests' data; ./check fetches it ('build/venv/bin/python scripts/fetch_model.py
llama3-vocabulary'), and without it that group is left out.
"""
import base64
import io
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

try:
    import gguf
    import sentencepiece
    from tokenizers import (Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers)
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

SHARED = pathlib.Path(os.environ.get("ENTRO_SHARED", "../shared")) / "data"
DATA = SHARED / "tokenizers"
PAIRS = DATA / "llama.cpp-vocab"
PROGRAM = pathlib.Path(os.environ.get("ENTRO_BUILD", "build/release")) / "tests" / "print_tokens"
if not DATA.is_dir() or not PROGRAM.exists():
    print(f"skipped: no {DATA} or no {PROGRAM}")
    sys.exit(77)
TEMP = tempfile.TemporaryDirectory()
FOLDER = pathlib.Path(TEMP.name)
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6
failures = 0


def report(name, n, bad):
    global failures
    print(f"{'ok  ' if not bad else 'FAIL'} {name}: {n} compared, {len(bad)} differ", flush=True)
    for item in bad[:3]:
        print("     ", *(repr(x)[:300] for x in item), sep="\n      ")
    failures += bool(bad)


# ---- our side --------------------------------------------------------------------------------

def run(mode, model, records):
    path = FOLDER / "records"
    path.write_bytes(b"".join(struct.pack("<I", len(r)) + r for r in records))
    done = subprocess.run([PROGRAM, mode, model, path], capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{model}: {done.stderr.decode()}")
    return done.stdout


def encode(model, texts, mode="encode"):
    records = [t if isinstance(t, bytes) else t.encode() for t in texts]
    lines = run(mode, model, records).decode().split("\n")[:-1]
    return [[int(x) for x in line.split()] for line in lines]


def decode(model, lists, mode="decode"):
    raw, texts = run(mode, model, [struct.pack(f"<{len(ids)}i", *ids) for ids in lists]), []
    while raw:
        n = struct.unpack_from("<I", raw)[0]
        texts.append(raw[4:4 + n])
        raw = raw[4 + n:]
    return texts


def write_gguf(name, model, tokens, types, merges=None, scores=None, pre=None, **keys):
    path = FOLDER / (name + ".gguf")
    writer = gguf.GGUFWriter(path, keys.pop("architecture", "llama"))
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    for key, value in keys.items():
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(
            "tokenizer.ggml." + key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def merge_text(m):
    return m if isinstance(m, str) else " ".join(m)


def gguf_of_json(name, path, model, pre=None, **keys):
    """A tokenizer.json as GGUF."""
    spec = json.loads(path.read_text())
    vocab = dict(spec["model"]["vocab"])
    added = {a["id"]: a for a in spec["added_tokens"]}
    vocab.update({a["content"]: a["id"] for a in added.values()})
    texts = {i: t for t, i in vocab.items()}
    tokens, types = [], []
    for i in range(max(texts) + 1):
        text = texts.get(i, f"[unused{i}]")
        kind = NORMAL if i in texts else 5
        if i in added:
            kind = CONTROL if added[i]["special"] else USER
        elif model == "llama" and len(text) == 6 and text.startswith("<0x"):
            kind = BYTE
        tokens.append(text)
        types.append(kind)
    return write_gguf(name, model, tokens, types, [merge_text(m) for m in spec["model"]["merges"]],
                      pre=pre, **keys)


def gguf_of_qwen(name, pre, added=True):
    vocab = json.loads((DATA / "qwen2.5/vocab.json").read_text())
    merges = (DATA / "qwen2.5/merges.txt").read_text().split("\n")
    merges = [m for m in merges if m and not m.startswith("#version")]
    texts = {i: t for t, i in vocab.items()}
    tokens, types = [texts[i] for i in range(len(texts))], [NORMAL] * len(texts)
    if added:
        for i, a in qwen_added():
            assert i == len(tokens)
            tokens.append(a["content"])
            types.append(CONTROL if a["special"] else USER)
    return write_gguf(name, "gpt2", tokens, types, merges, pre=pre, add_bos_token=False)


def qwen_added():
    config = json.loads((DATA / "qwen2.5/tokenizer_config.json").read_text())
    return sorted((int(i), a) for i, a in config["added_tokens_decoder"].items())


def gguf_of_pieces(name, path):
    """A SentencePiece model as GGUF, with scores."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    n = pieces.vocab_size()
    types = [UNKNOWN if pieces.is_unknown(i) else CONTROL if pieces.is_control(i) else
             BYTE if pieces.is_byte(i) else NORMAL for i in range(n)]
    return pieces, write_gguf(name, "llama", [pieces.id_to_piece(i) for i in range(n)], types,
                              scores=[pieces.get_score(i) for i in range(n)])


# ---- the other side ---------------------------------------------------------------------------

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
WORD = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|")
TAIL = r"\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERNS = {"qwen2": CL100K % "", "deepseek-r1-qwen": CL100K % "", "llama-bpe": CL100K % "{1,3}",
            "dbrx": CL100K % "{1,3}", "gpt-4o": WORD % (SUFFIX, SUFFIX) + TAIL % "{1,3}",
            "tekken": WORD % ("", "") + TAIL % ""}


def hf_qwen(pre):
    """Qwen2.5's vocabulary behind the pattern of any family: only the splitting matters."""
    t = Tokenizer(models.BPE.from_file(str(DATA / "qwen2.5/vocab.json"),
                                       str(DATA / "qwen2.5/merges.txt"),
                                       ignore_merges=pre in ("llama-bpe", "tekken")))
    if pre == "qwen2":
        t.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PATTERNS[pre]), "isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return t


def hf_gpt2():
    t = Tokenizer(models.BPE.from_file(str(DATA / "gpt2/gpt2_vocab.json"),
                                       str(DATA / "gpt2/gpt2_merges.txt")))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


# ---- texts -------------------------------------------------------------------------------------

def wiki_texts():
    text = (SHARED / "eval/wikitext-2/wiki.test.raw").read_text()
    return [text] + text.split("\n")


def hostile_texts():
    emoji = "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466"
    texts = ["", " ", "  ", "\n", " \n ", "\r\n\r\n", "\t\t a", "a" * 100000, "ab" * 50000,
             "\u4e2d\u6587" * 20000, " " * 5000, "\n" * 5000, " \n" * 3000, "'" * 3000, "1" * 4999,
             "'s'S'll'LL'lL're'Re'VE'd'D'm'M't'T'x'\u017f", "we'RE '\u017ft '\u017f",
             emoji * 300, "\U0001F1E9\U0001F1EA" * 99, "\u2764\uFE0F\u200D\U0001F525", "e\u0301" * 999,
             "\u1100\u1161\u11a8" * 50, "\u0301\u0301a", "\u212b\u00c5A\u030a", "a\u0323\u0307",
             "".join(map(chr, range(32))) + "\x7f", "\x00\x00", "\u2581", "a\u2581b \u2581", "\ufeffx",
             "\u00a0x\u00a0 \u00a0", "\u3000\u3000x", "\u0085\u2028\u2029", "<0x0A>", "<0x41>", "<s>",
             "</s>x", "<unk>", "<|endoftext|>", "<|im_start|>user", "< |im_end|>", "x" + "\u0301" * 5000,
             "HelloWORLDfooBAR \u4e2dABC\u4e2dd", "don't DON'T can'T", "a\u02b0B \u01c5a", "//\n/ ./\r\n",
             "1234567 12\u0663\u0664 \u00bd\u2167", "      x\n      y", "\t\tif (x):\n\t\t\treturn"]
    return texts + [t + " tail" for t in texts] + ["head" + t for t in texts]


def code_point_texts():
    """Every code point, in front of and after what pre-tokenizers look at."""
    texts = ["".join(f"{chr(c)}a {chr(c)}" for c in range(0x30000, 0x110000, 997))]
    for first in range(0, 0x30000, 64):
        block = [chr(c) for c in range(first, first + 64) if not 0xD800 <= c <= 0xDFFF]
        texts += ["".join(f"{c}a {c}1{c}{c} '{c} " for c in block),
                  "".join(f"Ab{c}.{c}\n\n{c}  {c}\t" for c in block)] if block else []
    return texts


def random_texts(n, seed=7):
    rng = random.Random(seed)
    parts = list(" \n\r\t'.,!/<>|aAzZ019\u00e9\u0301\u4e2d\u0e01\u00df\u0130\u01c5\u02b0\u0903\u2581\u00a0") + [
        "  ", "the", " The", "'s", "'LL", "123", "\U0001F600", "\u200d", "\ufe0f", "\u1100\u1161",
        "<|im_end|>", "<s>", "\u0663", "\u2167", "ing", "\x00", "\u017f", "\U00010d40", "\U0003ffff"]
    return ["".join(rng.choices(parts, k=rng.randrange(1, 40))) for _ in range(n)]


TEXTS = {"WikiText-2": wiki_texts(), "hostile": hostile_texts(), "all code points": code_point_texts(),
         "random": random_texts(5000)}


# ---- comparisons -------------------------------------------------------------------------------

def compare(name, model, ids_of, texts=None, mode="encode"):
    for kind, group in (texts or TEXTS).items():
        ours = encode(model, group, mode)
        theirs = ids_of(group)
        bad = [(t[:200], a[:40], list(b)[:40]) for t, a, b in zip(group, ours, theirs)
               if a != list(b)]
        report(f"{name}, {kind}", len(group), bad)


def compare_hf(name, model, t, texts=None, mode="encode"):
    # One at a time: the Encoding objects of a whole group take gigabytes.
    compare(name, model, lambda group: [t.encode(x, add_special_tokens=False).ids for x in group],
            texts, mode)


def round_trip(name, model, space=False):
    """Ids of any bytes give the text back, broken parts as U+FFFD."""
    rng = random.Random(3)
    texts = [bytes(rng.choices(range(256), k=rng.randrange(1, 60))) for _ in range(3000)]
    texts += [b"\xff" * 5000, b"\xc3", b"a\xe4\xb8", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80x"]
    texts += [t.encode() for t in TEXTS["hostile"] + TEXTS["random"][:3000] + TEXTS["WikiText-2"][:1]]
    # The space in front is taken off only where BOS says that the text starts.
    back = decode(model, encode(model, texts, "encode-bos"), "decode")
    # U+2581 and a space are one to SentencePiece.
    want = [t.replace(b"\xe2\x96\x81", b" ") if space else t for t in texts]
    bad = [(t[:100], b[:100]) for t, b in zip(want, back)
           if t.decode(errors="replace") != b.decode()]
    report(f"{name}, there and back", len(texts), bad)


def test_pairs(name, model):
    texts = (PAIRS / f"ggml-vocab-{name}.gguf.inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
    lines = (PAIRS / f"ggml-vocab-{name}.gguf.out").read_text().split("\n")
    want = [[int(x) for x in line.split()] for line in lines[:len(texts)]]
    ours = encode(model, texts)
    report(f"llama.cpp's pairs, {name}", len(texts),
           [(t, a, b) for t, a, b in zip(texts, ours, want) if a != b])


def test_byte_level():
    smollm2 = gguf_of_json("smollm2", DATA / "smollm2/tokenizer.json", "gpt2", "smollm")
    t = Tokenizer.from_file(str(DATA / "smollm2/tokenizer.json"))
    compare_hf("SmolLM2 with control tokens", smollm2, t, mode="encode-special")
    neox = gguf_of_json("neox", DATA / "gpt-neox-20b/20B_tokenizer.json", "gpt2", architecture="gptneox")
    compare_hf("GPT-NeoX", neox, Tokenizer.from_file(str(DATA / "gpt-neox-20b/20B_tokenizer.json")),
               mode="encode-special")
    compare_hf("GPT-2", PAIRS / "ggml-vocab-gpt-2.gguf", hf_gpt2())
    round_trip("GPT-2", PAIRS / "ggml-vocab-gpt-2.gguf")
    test_pairs("gpt-2", PAIRS / "ggml-vocab-gpt-2.gguf")
    test_pairs("qwen2", gguf_of_qwen("qwen2", "qwen2"))
    for pre in PATTERNS:
        compare_hf(f"pattern {pre}", gguf_of_qwen(pre, pre, added=False), hf_qwen(pre))


def test_pieces():
    for name in ("llama-spm", "phi-3"):
        test_pairs(name, PAIRS / f"ggml-vocab-{name}.gguf")
    # sentencepiece takes a control token's text and U+0000 otherwise than llama.cpp.
    texts = {k: [t for t in group if "\x00" not in t] for k, group in TEXTS.items()}
    for name, path in (("Llama 2", "llama2/tokenizer.model"), ("Mistral v1", "mistral/tokenizer.model.v1"),
                       ("Mistral v3", "mistral/mistral_instruct_tokenizer_240323.model.v3")):
        pieces, model = gguf_of_pieces(name.replace(" ", "-"), DATA / path)
        compare(f"{name} by score", model, lambda group: pieces.encode(group), texts)
        round_trip(name, model, space=True)
    phi3 = gguf_of_json("phi-3", DATA / "phi-3/tokenizer.json", "llama", architecture="phi3",
                        bos_token_id=1, eos_token_id=32000)
    compare_hf("Phi-3 by rank", phi3, Tokenizer.from_file(str(DATA / "phi-3/tokenizer.json")),
               mode="encode-special")
    tiny = SHARED / "models/tinystories-656k/tokenizer.json"
    # Its <unk> is a 'normalized' token: Hugging Face finds "\u2581<unk>" and nothing else, which no
    # model we run relies on.
    texts = {k: [t for t in group if "<unk>" not in t] for k, group in TEXTS.items()}
    compare_hf("TinyStories-656K by rank", gguf_of_json("tiny", tiny, "llama"),
               Tokenizer.from_file(str(tiny)), texts, "encode-special")


def test_decoding():
    """Texts of ids that no encoder gave."""
    rng = random.Random(5)
    gguf_of_json("smollm2", DATA / "smollm2/tokenizer.json", "gpt2", "smollm")
    lists = [[rng.randrange(17, 49152) for _ in range(rng.randrange(1, 30))] for _ in range(5000)]
    t = Tokenizer.from_file(str(DATA / "smollm2/tokenizer.json"))
    ours = decode(FOLDER / "smollm2.gguf", lists)
    bad = [(a, b.decode(), t.decode(a)) for a, b in zip(lists, ours) if b.decode() != t.decode(a)]
    report("SmolLM2, decoding random ids", len(lists), bad)
    mixed = [[1] + ids + [2] for ids in lists[:500]]
    ours = decode(FOLDER / "smollm2.gguf", mixed)
    bad = [(a, b.decode(), t.decode(a)) for a, b in zip(mixed, ours) if b.decode() != t.decode(a)]
    report("SmolLM2, control tokens hidden", len(mixed), bad)
    ours = decode(FOLDER / "smollm2.gguf", mixed, "decode-special")
    bad = [(a, b.decode()) for a, b in zip(mixed, ours)
           if b.decode() != t.decode(a, skip_special_tokens=False)]
    report("SmolLM2, control tokens shown", len(mixed), bad)


def new_folder(name, n_vocab):
    """What a Hugging Face folder has besides its tokenizer."""
    folder = FOLDER / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
         "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
         "vocab_size": n_vocab, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}))
    tensors, at = {}, 0
    layer = "model.layers.0."
    for tensor, shape in (("model.embed_tokens.weight", [n_vocab, 8]), ("model.norm.weight", [8]),
                          ("lm_head.weight", [n_vocab, 8]), (layer + "input_layernorm.weight", [8]),
                          (layer + "post_attention_layernorm.weight", [8]),
                          *((layer + f"{part}_proj.weight", [8, 8]) for part in (
                              "self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o",
                              "mlp.gate", "mlp.up", "mlp.down"))):
        n_bytes = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors[tensor] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(at))
    return folder


def train_pieces(name, rule, extra, prefix):
    """A small SentencePiece model in a folder."""
    lines = [line for line in TEXTS["WikiText-2"][1:3000] if line.strip()]
    lines += ["\u2460 \ufb01ne \u00e9t\u00e9 \u3000 \uff21\uff22 \u00bd caf\u0065\u0301"] * 50
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=700, model_type="bpe",
        byte_fallback=True, normalization_rule_name=rule, remove_extra_whitespaces=extra,
        add_dummy_prefix=prefix, num_threads=1, minloglevel=2)
    folder = new_folder(name, 700)
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue()), folder


def test_folders():
    """Tokenizers as folders hold them: normalizers, and patterns by their text."""
    texts = {k: [t for t in group if "\x00" not in t] for k, group in TEXTS.items()}
    texts["WikiText-2"] = texts["WikiText-2"][1:1500]
    for rule in ("identity", "nmt_nfkc", "nfkc", "nmt_nfkc_cf"):
        for extra, prefix in ((True, True), (False, True), (True, False)):
            name = f"{rule}{'-squeezed' * extra}{'-prefix' * prefix}"
            pieces, folder = train_pieces(name, rule, extra, prefix)
            compare(f"SentencePiece {name}", folder, lambda group: pieces.encode(group), texts)
    for pre in PATTERNS:
        for composes in (False, True):
            t = hf_qwen(pre)
            t.normalizer = normalizers.Sequence([normalizers.NFC()]) if composes else None
            folder = new_folder(f"{pre}-{composes}", t.get_vocab_size())
            t.save(str(folder / "tokenizer.json"))
            compare_hf(f"tokenizer.json, {pre}{', NFC' * composes}", folder, t,
                       {"hostile": texts["hostile"], "random": texts["random"]})


LLAMA3 = pathlib.Path(__file__).resolve().parents[2] / "models/llama3-tokenizer.model"


def merges_of_ranks(ranks):
    """tiktoken joins the pair whose token has the lowest rank: every split of a token into two
    tokens is a merge of that token's rank."""
    merges = []
    for token, rank in ranks.items():
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(a, b) for a, b in splits if a in ranks and b in ranks]
        merges += sorted(known, key=lambda m: (ranks[m[0]], ranks[m[1]]))
    return merges


def test_llama3():
    if not LLAMA3.is_file():
        print(f"left out: no {LLAMA3}")
        return
    lines = [line.split() for line in LLAMA3.read_bytes().splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in shown}
    letters |= {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in letters)}
    tokens = ["".join(letters[b] for b in token) for token in ranks]
    merges = [tuple("".join(letters[b] for b in part) for part in m) for m in merges_of_ranks(ranks)]
    t = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(PATTERNS["llama-bpe"]), "isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    specials = [f"<|special_{i}|>" for i in range(256)]
    model = write_gguf("llama3", "gpt2", tokens + specials, [NORMAL] * len(tokens) + [CONTROL] * 256,
                       [" ".join(m) for m in merges], pre="llama-bpe", bos_token_id=128000,
                       eos_token_id=128001)
    test_pairs("llama-bpe", model)
    compare_hf("Llama 3", model, t)
    round_trip("Llama 3", model)


TESTS = {"byte-level": test_byte_level, "pieces": test_pieces, "decoding": test_decoding,
         "folders": test_folders, "llama3": test_llama3}
for which in sys.argv[1:] or TESTS:
    TESTS[which]()
print("failed" if failures else "all ok")
sys.exit(failures > 0)
