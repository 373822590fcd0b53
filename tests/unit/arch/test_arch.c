/*
 * An architecture is one file of src/arch/: each file there is found by its GGUF name, by its Hugging
 * Face class and model_type, and named in messages; and there is none without a file.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "test_support.h"

#include "arch/arch.h"

#define ENTRY(name) {"arch_" #name ".c", &en_arch_##name},

static const struct {
    const char *file;
    const en_arch *arch;
} listed[] = {EN_ARCH_LIST(ENTRY)};

enum { N_LISTED = sizeof listed / sizeof *listed, LIST = 4096 };

static const en_arch *find(const char *name)
{
    return en_arch_find((en_span){name, strlen(name)});
}

/* Whether "a, b, c" has it, not only as a part of another. */
static bool names(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)) != NULL; p++) {
        if ((p == list || p[-1] == ' ') && (p[n] == '\0' || p[n] == ','))
            return true;
    }
    return false;
}

static void check_file(const char *file)
{
    size_t i = 0;
    while (i < N_LISTED && strcmp(listed[i].file, file) != 0)
        i++;
    if (i == N_LISTED)
        fail_msg("%s is in src/arch/, but not in the list", file);
    const en_arch *arch = listed[i].arch;
    char list[LIST];
    assert_ptr_equal(find(arch->name), arch);
    assert_ptr_equal(en_arch_find_hf(arch->hf.class_name, NULL), arch);
    assert_ptr_equal(en_arch_find_hf(NULL, arch->hf.model_type), arch);
    en_arch_list(list, sizeof list);
    assert_true(names(list, arch->name));
    en_arch_list_hf(list, sizeof list);
    assert_true(names(list, arch->hf.class_name));
}

static void every_file_is_an_architecture(void **state)
{
    (void)state;
    DIR *folder = opendir(TEST_SOURCES "/arch");
    assert_non_null(folder);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        size_t length = strlen(e->d_name);
        if (strncmp(e->d_name, "arch_", 5) != 0 || strcmp(e->d_name + length - 2, ".c") != 0)
            continue;
        check_file(e->d_name);
        n++;
    }
    closedir(folder);
    assert_int_equal(n, N_LISTED);
}

/* GGUF's names have '-' and '.' where those of C have '_'. */
static void files_are_named_as_gguf_names_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_LISTED; i++) {
        char file[128];
        snprintf(file, sizeof file, "arch_%s.c", listed[i].arch->name);
        for (char *p = file; p < file + strlen(file) - 2; p++)
            *p = *p == '-' || *p == '.' ? '_' : *p;
        assert_string_equal(file, listed[i].file);
    }
}

/* What the readers of a Hugging Face folder and of a model's tensors take for granted. */
static void rules_name_the_tensors_that_the_shape_asks_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_LISTED; i++) {
        const en_arch *arch = listed[i].arch;
        char all[LIST] = "";
        size_t n = 0;
        for (const en_hf_rule *rule = arch->hf.rules; rule->hf != NULL; rule++) {
            assert_false(names(all, rule->gguf));
            if (!rule->optional)
                n += (size_t)snprintf(all + n, sizeof all - n, "%s, ", rule->gguf);
            /* Only pairs that GGUF has side by side are brought there. */
            if (rule->rows != EN_HF_ROWS_PLAIN)
                assert_int_equal(arch->rope, EN_ROPE_ADJACENT);
        }
        assert_true(names(all, "attn_norm.weight") && names(all, "ffn_norm.weight"));
        assert_true(names(all, "attn_output.weight") && names(all, "ffn_down.weight"));
        assert_int_equal(names(all, "attn_qkv.weight"), arch->fused_qkv);
        assert_int_equal(names(all, "attn_q.weight"), !arch->fused_qkv);
        assert_int_equal(names(all, "ffn_gate.weight"), !arch->fused_gate_up);
        if (arch->needs_qkv_bias)
            assert_true(names(all, arch->fused_qkv ? "attn_qkv.bias" : "attn_q.bias"));
    }
}

static void others_are_unknown(void **state)
{
    (void)state;
    assert_null(find(""));
    assert_null(find("llam"));
    assert_null(find("llama2"));
    assert_null(find("LlamaForCausalLM"));
    assert_null(en_arch_find_hf(NULL, NULL));
    assert_null(en_arch_find_hf(NULL, "LlamaForCausalLM"));
    assert_null(en_arch_find_hf("llama", NULL));
    /* The class says more than the type. */
    assert_null(en_arch_find_hf("WhaleForCausalLM", "llama"));
    assert_ptr_equal(en_arch_find_hf("Qwen2ForCausalLM", "llama"), &en_arch_qwen2);
}

static void lists_are_cut_to_the_room_there_is(void **state)
{
    (void)state;
    char list[LIST], cut[LIST];
    en_arch_list(list, sizeof list);
    for (size_t n = 1; n < strlen(list) + 2; n++) {
        memset(cut, '#', sizeof cut);
        en_arch_list(cut, n);
        assert_int_equal(strlen(cut), n - 1 < strlen(list) ? n - 1 : strlen(list));
        assert_memory_equal(cut, list, strlen(cut));
        assert_int_equal(cut[n], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_is_an_architecture),
        cmocka_unit_test(files_are_named_as_gguf_names_them),
        cmocka_unit_test(rules_name_the_tensors_that_the_shape_asks_for),
        cmocka_unit_test(others_are_unknown),
        cmocka_unit_test(lists_are_cut_to_the_room_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
