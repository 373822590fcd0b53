#!/usr/bin/env python3
"""Makes tests/fixtures/models: tiny random models and what Hugging Face transformers says of them.

    python3 scripts/make_model_fixtures.py [NAME ...]

Needs the PyPI packages torch, transformers and safetensors (made with torch 2.x, transformers 5).
The results are committed; run this again only to add a model.  Each folder holds config.json, the
weights and, for each context tried, expected-N.bin:

    u32 n_tokens, u32 n_vocab, u32 n_ctx | i32 tokens[n_tokens] | f32 logits[n_tokens][n_vocab]

The weights are stored rounded to 'dtype' and the logits computed from the rounded weights in f32.
Their spread is wide enough that attention matters: with transformers' own initialization a model
with wrong positions would still pass.
"""
import json
import pathlib
import shutil
import struct
import sys

import torch
import transformers as tf

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "models"
SHAPE = dict(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)

# name: (class, stored as, [(tokens, n_ctx), ...], shard size, config)
MODELS = {
    "llama": (tf.LlamaConfig, "bfloat16", [(70, 256)], None,
              dict(tie_word_embeddings=True)),
    "llama-bias": (tf.LlamaConfig, "float16", [(20, 64)], "24KB",
                   dict(attention_bias=True, mlp_bias=True)),
    "llama-linear-rope": (tf.LlamaConfig, "bfloat16", [(20, 64)], None,
                          dict(rope_parameters=dict(rope_type="linear", factor=2.5,
                                                    rope_theta=10000.0))),
    "llama3-rope": (tf.LlamaConfig, "bfloat16", [(40, 256)], None,
                    dict(num_attention_heads=4, num_key_value_heads=1, head_dim=16,
                         rope_parameters=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                              high_freq_factor=4.0, rope_theta=500000.0,
                                              original_max_position_embeddings=64))),
    "mistral-window": (tf.MistralConfig, "float16", [(66, 256)], None,
                       dict(sliding_window=11, head_dim=12)),
    "phi3": (tf.Phi3Config, "bfloat16", [(30, 256)], None, dict(sliding_window=19)),
    "phi3-longrope": (tf.Phi3Config, "bfloat16", [(24, 32), (40, 128)], None,
                      dict(sliding_window=None, max_position_embeddings=128,
                           original_max_position_embeddings=32, num_attention_heads=2,
                           num_key_value_heads=2, partial_rotary_factor=0.75,
                           rope_parameters=dict(
                               rope_type="longrope", rope_theta=10000.0,
                               partial_rotary_factor=0.75,
                               original_max_position_embeddings=32,
                               short_factor=[1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
                               long_factor=[1.1, 1.5, 2.0, 3.0, 3.7, 4.0]))),
    "qwen2": (tf.Qwen2Config, "float32", [(20, 256)], None, dict(tie_word_embeddings=True)),
}


def randomize(model, generator):
    for name, p in model.named_parameters():
        values = torch.randn(p.shape, generator=generator)
        if "norm" in name:
            values = 1 + 0.2 * values
        elif name.endswith("bias"):
            values = 0.3 * values
        elif "embed_tokens" in name or "lm_head" in name:
            values = 0.5 * values
        else:
            values = values * p.shape[-1] ** -0.5
        p.data.copy_(values)


def make(name):
    config_class, dtype, cases, shard, options = MODELS[name]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    config = config_class(**{**SHAPE, **options})
    generator = torch.Generator().manual_seed(20250502)
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomize(model, generator)
    stored = model.to(getattr(torch, dtype))
    stored.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    # Read back rather than cast: to() also rounds the table of rope frequencies.
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                    attn_implementation="eager").eval()
    for n_tokens, n_ctx in cases:
        tokens = torch.randint(3, config.vocab_size, (1, n_tokens), generator=generator)
        with torch.no_grad():
            logits = model(tokens, use_cache=False).logits[0].float().contiguous()
        ids = tokens[0].tolist()
        (folder / f"expected-{n_ctx}.bin").write_bytes(
            struct.pack("<3I", n_tokens, config.vocab_size, n_ctx)
            + struct.pack(f"<{n_tokens}i", *ids) + logits.numpy().astype("<f4").tobytes())
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size} bytes, |logit| <= {logits.abs().max():.3f}")


for wanted in sys.argv[1:] or MODELS:
    make(wanted)
