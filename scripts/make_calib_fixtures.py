#!/usr/bin/env python3
"""Makes tests/fixtures/calib: gradients of the tiny models of tests/fixtures/models by PyTorch.

    python3 scripts/make_calib_fixtures.py [NAME ...]

Needs the PyPI packages torch, transformers and safetensors (made with torch 2.15, transformers 5.24).
The results are committed; run this again only to add a model.  The tokens are the first of the
model's expected-N.bin, the labels are drawn from the model's softmax, the loss is the sum of the
cross-entropies.  NAME.bin, all of it 4 bytes each, floats f32:

    u32 n_tokens, n_ctx, n_layers, n_first, n_rows | i32 tokens[n_tokens], labels[n_tokens] | loss
    sums over tokens of squared gradients at the outputs:
      for each layer: q, k, v | attn_output | gate, up | ffn_down;   then the logits     (n_rows in all)
    gradient at the embedding's output of the n_first first tokens

Rows of q and k of llama and mistral are in GGUF's order, pairs of a rotation side by side.
"""
import pathlib
import struct
import sys

import torch
import transformers as tf

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
N_TOKENS, N_FIRST = 24, 3
CONTEXTS = {"llama": 256, "llama-bias": 64, "llama-linear-rope": 64, "llama3-rope": 256,
            "mistral-window": 256, "phi3": 256, "phi3-longrope": 32, "qwen2": 256}


def read_tokens(name, n_ctx):
    data = (FIXTURES / "models" / name / f"expected-{n_ctx}.bin").read_bytes()
    n = min(struct.unpack_from("<I", data)[0], N_TOKENS)
    return list(struct.unpack_from(f"<{n}i", data, 12))


def keep_gradients(module, store, key):
    """Keeps the module's output, whose .grad holds what is wanted after backward()."""
    def hook(_module, _inputs, output):
        output.retain_grad()
        store[key] = output
    module.register_forward_hook(hook)


def squares(output):
    return output.grad[0].double().square().sum(0)


def interleave(rows, n_heads):
    """Hugging Face's order of a head's rows (halves) to GGUF's (pairs)."""
    return rows.reshape(n_heads, 2, -1).transpose(1, 2).reshape(-1)


def layer_modules(layer):
    attention, mlp = layer.self_attn, layer.mlp
    if hasattr(attention, "qkv_proj"):
        return {"qkv": attention.qkv_proj, "o": attention.o_proj, "gate_up": mlp.gate_up_proj,
                "down": mlp.down_proj}
    return {"q": attention.q_proj, "k": attention.k_proj, "v": attention.v_proj,
            "o": attention.o_proj, "gate": mlp.gate_proj, "up": mlp.up_proj, "down": mlp.down_proj}


def layer_sums(config, kept):
    sums = {key: squares(output) for key, output in kept.items()}
    if config.model_type in ("llama", "mistral"):
        sums["q"] = interleave(sums["q"], config.num_attention_heads)
        sums["k"] = interleave(sums["k"], config.num_key_value_heads)
    return torch.cat(list(sums.values()))


def make(name):
    n_ctx = CONTEXTS[name]
    model = tf.AutoModelForCausalLM.from_pretrained(
        FIXTURES / "models" / name, dtype=torch.float32, attn_implementation="eager").eval()
    layers = [{} for _ in model.model.layers]
    whole = {}
    for layer, kept in zip(model.model.layers, layers):
        for key, module in layer_modules(layer).items():
            keep_gradients(module, kept, key)
    keep_gradients(model.model.embed_tokens, whole, "embedding")
    keep_gradients(model.lm_head, whole, "logits")

    ids = read_tokens(name, n_ctx)
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    generator = torch.Generator().manual_seed(20250503)
    labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    loss.backward()

    rows = torch.cat([layer_sums(model.config, kept) for kept in layers]
                     + [squares(whole["logits"])])
    first = whole["embedding"].grad[0, :N_FIRST].reshape(-1)
    floats = [loss.item()] + rows.tolist() + first.tolist()
    data = struct.pack("<5I", len(ids), n_ctx, len(layers), N_FIRST, len(rows))
    data += struct.pack(f"<{2 * len(ids)}i", *ids, *labels.tolist())
    data += struct.pack(f"<{len(floats)}f", *floats)
    (FIXTURES / "calib").mkdir(exist_ok=True)
    (FIXTURES / "calib" / f"{name}.bin").write_bytes(data)
    print(f"{name}: {len(data)} bytes, loss {loss.item():.4f}, |gradient| <= {first.abs().max():.3f}")


for wanted in sys.argv[1:] or CONTEXTS:
    make(wanted)
