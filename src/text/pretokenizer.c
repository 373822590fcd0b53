/*
 * pretokenizer.c - which scanner a name stands for.
 *
 * Facts from the models' tokenizer.json files and from the list of names GGUF converters write.
 * 'composes' is set where the published tokenizer.json has an NFC normalizer; llama.cpp leaves that
 * step out, so on text that is not in NFC we agree with the publisher and not with it.
 */
#include "text/pretokenizer.h"

#include "text/pretokenizer_scan.h"

static const en_pretokenizer table[] = {
    {"default", en_scan_default, 0, false, false, false},
    {"gpt-2", en_scan_gpt2, 0, false, false, false},
    {"phi-2", en_scan_gpt2, 0, false, false, false},
    {"mpt", en_scan_gpt2, 0, false, false, true},
    {"olmo", en_scan_gpt2, 0, false, false, true},
    {"gpt-neox", en_scan_gpt2, 0, false, false, true},
    {"jais", en_scan_gpt2, 0, false, false, false},
    {"gigachat", en_scan_gpt2, 0, false, false, false},
    {"exaone4", en_scan_gpt2, 0, false, false, false},
    {"trillion", en_scan_gpt2, 0, false, false, false},
    {"smollm", en_scan_gpt2_digits, 0, false, false, false},
    {"starcoder", en_scan_gpt2_digits, 0, false, false, false},
    {"refact", en_scan_gpt2_digits, 0, false, false, false},
    {"command-r", en_scan_gpt2_digits, 0, false, false, false},
    {"codeshell", en_scan_gpt2_digits, 0, false, false, false},
    {"exaone", en_scan_gpt2_digits, 0, false, false, false},
    {"minerva-7b", en_scan_gpt2_digits, 0, false, false, false},
    {"llama-bpe", en_scan_cl100k, 3, true, true, false},
    {"llama3", en_scan_cl100k, 3, true, true, false},
    {"llama-v3", en_scan_cl100k, 3, true, true, false},
    {"falcon3", en_scan_cl100k, 3, true, true, false},
    {"lfm2", en_scan_cl100k, 3, true, true, false},
    {"pixtral", en_scan_cl100k, 3, true, true, false},
    {"midm-2.0", en_scan_cl100k, 3, true, true, false},
    {"dbrx", en_scan_cl100k, 3, false, false, false},
    {"smaug-bpe", en_scan_cl100k, 3, false, false, false},
    {"glm4", en_scan_cl100k, 3, false, false, false},
    {"chatglm-bpe", en_scan_cl100k, 3, false, false, false},
    {"qwen2", en_scan_cl100k, 1, false, false, true},
    {"deepseek-r1-qwen", en_scan_cl100k, 1, false, false, false},
    {"megrez", en_scan_cl100k, 1, false, false, false},
    {"stablelm2", en_scan_cl100k, 1, false, false, false},
    {"hunyuan", en_scan_cl100k, 1, false, false, false},
    {"gpt-4o", en_scan_o200k, 3, false, false, false},
    {"llama4", en_scan_o200k, 3, false, false, false},
    {"tekken", en_scan_tekken, 1, true, true, false},
};

const en_pretokenizer *en_pretokenizer_find(en_span name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (en_span_is(name, table[i].name))
            return &table[i];
    }
    return NULL;
}

const en_pretokenizer *en_pretokenizer_at(size_t i)
{
    return i < sizeof table / sizeof table[0] ? &table[i] : NULL;
}
