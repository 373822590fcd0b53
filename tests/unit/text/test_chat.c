/* test_chat.c - families of chat templates; oracle/test_chat.py runs the real templates. */
#include "text/chat.h"

#include "base/memory.h"
#include "tokenizer_support.h"

static const entro_chat_message talk[] = {
    {"system", "Be brief."}, {"user", "Hi "}, {"assistant", "Hello."}, {"user", "Bye"}};

static void check(const char *template, size_t first, size_t n, const char *want)
{
    static const char *const tokens[] = {"<unk>", "<s>", "</s>"};
    en_meta *meta = new_test_meta("llama", NULL);
    char *out;
    set_strings(meta, "tokenizer.ggml.tokens", tokens, 3);
    en_meta_set_u32(meta, "tokenizer.ggml.bos_token_id", 1, NULL);
    en_meta_set_u32(meta, "tokenizer.ggml.eos_token_id", 2, NULL);
    en_meta_set_string(meta, "tokenizer.chat_template", template, NULL);
    assert_int_equal(en_chat_format(meta, talk + first, n, true, &out, NULL), ENTRO_OK);
    assert_string_equal(out, want);
    en_free(out);
    en_meta_free(meta);
}

static void chatml(void **state)
{
    (void)state;
    check("'<|im_start|>' + message['role']", 0, 2,
          "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n"
          "<|im_start|>assistant\n");
}

static void chatml_with_a_default_system_message(void **state)
{
    (void)state;
    const char *template = "{{ '<|im_start|>system\\n' + content + '<|im_end|>' }}"
                           "{{ '<|im_start|>system\\nYou are X.<|im_end|>\\n' }}";
    check(template, 1, 1,
          "<|im_start|>system\nYou are X.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n"
          "<|im_start|>assistant\n");
    check(template, 0, 2,
          "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n"
          "<|im_start|>assistant\n");
}

static void llama3(void **state)
{
    (void)state;
    check("<|start_header_id|><|end_header_id|>", 1, 1,
          "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
          "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

static void llama2(void **state)
{
    (void)state;
    check("[INST] <<SYS>>", 0, 4,
          "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Bye [/INST]");
}

static void mistral(void **state)
{
    (void)state;
    check("{{ ' [INST] ' + system_message }}", 0, 4,
          " [INST] Be brief.\n\nHi  [/INST] Hello.</s> [INST] Bye [/INST]");
    check("[AVAILABLE_TOOLS] '[INST] '", 0, 4,
          "[INST] Hi [/INST] Hello.</s>[INST] Be brief.\n\nBye[/INST]");
    check("[AVAILABLE_TOOLS] \"[INST]\"", 1, 3, "[INST]Hi [/INST]Hello.</s>[INST]Bye[/INST]");
    check("[SYSTEM_PROMPT] '[INST] '", 0, 2,
          "[SYSTEM_PROMPT] Be brief.[/SYSTEM_PROMPT][INST] Hi [/INST]");
}

static void phi_and_zephyr(void **state)
{
    (void)state;
    check("'<|system|>\\n' '<|end|>\\n' '<|assistant|>\\n'", 0, 2,
          "<|system|>\nBe brief.<|end|>\n<|user|>\nHi <|end|>\n<|assistant|>\n");
    check("'<|user|>' '<|assistant|>' eos_token", 1, 3,
          "<|user|>\nHi </s>\n<|assistant|>\nHello.</s>\n<|user|>\nBye</s>\n<|assistant|>\n");
    check("<|im_start|><|im_sep|>", 1, 1,
          "<|im_start|>user<|im_sep|>Hi <|im_end|><|im_start|>assistant<|im_sep|>");
}

static void refusals(void **state)
{
    (void)state;
    en_meta *meta = new_test_meta("gpt2", NULL);
    entro_error err = {0};
    char *out;
    assert_int_equal(en_chat_format(meta, talk, 1, true, &out, &err), ENTRO_ERR_NOT_FOUND);
    assert_null(out);
    assert_non_null(strstr(err.message, "no chat template"));
    en_meta_set_string(meta, "tokenizer.chat_template", "{{ messages }}", NULL);
    assert_int_equal(en_chat_format(meta, talk, 1, true, &out, &err), ENTRO_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ChatML"));
    en_meta_set_string(meta, "tokenizer.chat_template", "<|im_start|>", NULL);
    for (uint64_t n = 0, ok = 0; !ok; n++) {
        en_memory_fail_at(n);
        ok = en_chat_format(meta, talk, 4, true, &out, NULL) == ENTRO_OK;
        en_memory_fail_at(UINT64_MAX);
        en_free(out);
    }
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chatml),   cmocka_unit_test(chatml_with_a_default_system_message),
        cmocka_unit_test(llama3),   cmocka_unit_test(llama2),
        cmocka_unit_test(mistral),  cmocka_unit_test(phi_and_zephyr),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
