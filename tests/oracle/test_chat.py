#!/usr/bin/env python3
"""Chat formats against the models' own templates, run by Jinja.

    ENTRO_SHARED=../shared ENTRO_BUILD=build/release ENTRO_MODEL=MODEL.gguf python3 tests/oracle/test_chat.py

The templates: Qwen2.5's (shared folder), Phi-3's (its vocabulary file), the model's in ENTRO_MODEL,
and below the published ones of Llama 2, Llama 3, Mistral, Zephyr and TinyLlama.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import gguf
    import jinja2.sandbox
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

DATA = pathlib.Path(os.environ.get("ENTRO_SHARED", "../shared")) / "data/tokenizers"
PROGRAM = pathlib.Path(os.environ.get("ENTRO_BUILD", "build/release")) / "tests" / "print_tokens"
if not DATA.is_dir() or not PROGRAM.exists():
    print(f"skipped: no {DATA} or no {PROGRAM}")
    sys.exit(77)
TEMP = tempfile.TemporaryDirectory()
FOLDER = pathlib.Path(TEMP.name)

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}")
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
MISTRAL_V1 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
    "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}"
    "{{- bos_token }}{%- for message in loop_messages %}{%- if message['role'] == 'user' %}"
    "{%- if loop.first and system_message is defined %}"
    "{{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}{%- else %}"
    "{{- ' [INST] ' + message['content'] + ' [/INST]' }}{%- endif %}"
    "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token}}{%- endif %}"
    "{%- endfor %}")
MISTRAL_OLD = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token}}{% endif %}{% endfor %}")
MISTRAL_V3 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
    "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}"
    "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}"
    "{%- set user_messages = loop_messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{- bos_token }}{%- for message in loop_messages %}{%- if message['role'] == 'user' %}"
    "{%- if tools is not none and (message == user_messages[-1]) %}{{- '[AVAILABLE_TOOLS] [' }}"
    "{%- endif %}{%- if loop.last and system_message is defined %}"
    "{{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}{%- else %}"
    "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
    "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content']|trim + eos_token}}"
    "{%- endif %}{%- endfor %}")
TEKKEN = MISTRAL_V3.replace("'[INST] '", '"[INST]"').replace("' ' + message['content']|trim",
                                                             "message['content']")
MISTRAL_V7 = (
    "{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- elif message['role'] == 'system' %}"
    "{{- '[SYSTEM_PROMPT] ' + message['content'] + '[/SYSTEM_PROMPT]' }}"
    "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}"
    "{%- endif %}{%- endfor %}")
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + "
    "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + "
    "message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}")
PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + "
    "message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + "
    "message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + "
    "message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|assistant|>\\n' }}{% endif %}")

SYSTEM = {"role": "system", "content": "Be brief."}
TALKS = [
    [{"role": "user", "content": "What is this?"}],
    [SYSTEM, {"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "One\ntwo"}, {"role": "assistant", "content": "Three."},
     {"role": "user", "content": "{{ four }} <|im_end|>"}],
    [SYSTEM, {"role": "user", "content": "\u00e9 \U0001F600"}, {"role": "assistant", "content": "ok"},
     {"role": "user", "content": "and?"}],
]


def render(template, talk):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = env.from_string(template).render(messages=talk, add_generation_prompt=True,
                                            bos_token="<s>", eos_token="</s>")
    return text.removeprefix("<s>")  # the tokenizer adds the first one


def ours(template, talks):
    path, records = FOLDER / "chat.gguf", FOLDER / "records"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>"])
    writer.add_token_types([2, 3, 3])
    writer.add_token_scores([0.0, 0.0, 0.0])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    raw = [b"".join(m[k].encode() + b"\0" for m in talk for k in ("role", "content"))
           for talk in talks]
    records.write_bytes(b"".join(struct.pack("<I", len(r)) + r for r in raw))
    out = subprocess.run([PROGRAM, "chat", path, records], capture_output=True, check=True).stdout
    texts = []
    while out:
        n = struct.unpack_from("<I", out)[0]
        texts.append(out[4:4 + n].decode())
        out = out[4 + n:]
    return texts


def template_of(path):
    return gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()


templates = {
    "Qwen2.5": json.loads((DATA / "qwen2.5/tokenizer_config.json").read_text())["chat_template"],
    "Llama 2": LLAMA2, "Llama 3": LLAMA3, "Mistral v0.1": MISTRAL_OLD, "Mistral v1": MISTRAL_V1,
    "Mistral v3": MISTRAL_V3, "Mistral tekken": TEKKEN, "Mistral v7": MISTRAL_V7, "Zephyr": ZEPHYR,
    "Phi-3.5": PHI3, "Phi-3 of its first days": template_of(DATA / "llama.cpp-vocab/ggml-vocab-phi-3.gguf"),
}
if os.environ.get("ENTRO_MODEL"):
    templates["the model in ENTRO_MODEL"] = template_of(os.environ["ENTRO_MODEL"])
failed = False
for name, template in templates.items():
    # The first templates had no place for a system message.
    talks = TALKS[::2] if name in ("Mistral v0.1", "Phi-3 of its first days") else TALKS
    bad = [(a, b) for a, b in zip(ours(template, talks), (render(template, t) for t in talks)) if a != b]
    print(f"{'FAIL' if bad else 'ok  '} {name}: {len(talks)} conversations, {len(bad)} differ")
    for pair in bad[:2]:
        print("    ", *map(repr, pair), sep="\n      ")
    failed |= bool(bad)
sys.exit(failed)
