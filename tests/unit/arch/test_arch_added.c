/*
 * Adding an architecture is adding one file: the room, built with arch_white_whale.c beside its own
 * files and nothing else changed (tests/CMakeLists.txt), has one more.
 */
#include <string.h>

#include "test_support.h"

#include "arch/arch.h"

static void one_file_more_is_one_architecture_more(void **state)
{
    (void)state;
    static const char name[] = "white-whale";
    assert_ptr_equal(en_arch_find((en_span){name, strlen(name)}), &en_arch_white_whale);
    assert_ptr_equal(en_arch_find_hf("WhiteWhaleForCausalLM", NULL), &en_arch_white_whale);
    assert_ptr_equal(en_arch_find_hf(NULL, "white_whale"), &en_arch_white_whale);
    char list[4096];
    en_arch_list(list, sizeof list);
    assert_non_null(strstr(list, ", white-whale"));
    en_arch_list_hf(list, sizeof list);
    assert_non_null(strstr(list, ", WhiteWhaleForCausalLM"));
    assert_ptr_equal(en_arch_find_hf("LlamaForCausalLM", NULL), &en_arch_llama);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_more_is_one_architecture_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
