/* test_memory.c - accounting, alignment, overflow and failure on demand. */
#include "base/memory.h"

#include <string.h>

#include "test_support.h"

static void blocks_are_aligned_and_counted(void **state)
{
    (void)state;
    size_t before = en_memory_in_use();
    void *a = en_alloc(1, 1), *b = en_alloc(1000, 3), *c = en_alloc(0, 8);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal((uintptr_t)b % 64, 0);
    assert_non_null(c);
    assert_int_equal(en_memory_in_use() - before, 3001);
    en_free(a);
    en_free(b);
    en_free(c);
    en_free(NULL);
    assert_int_equal(en_memory_in_use(), before);
}

static void small_blocks_are_counted_and_may_fail(void **state)
{
    (void)state;
    size_t before = en_memory_in_use();
    char *p = en_small_alloc(10);
    memcpy(p, "012345678", 10);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_int_equal(en_memory_in_use() - before, 10);
    en_small_free(p);
    en_small_free(NULL);
    assert_int_equal(en_memory_in_use(), before);
    en_memory_fail_at(0);
    assert_null(en_small_alloc(1));
    assert_null(en_small_alloc(SIZE_MAX));
}

static void realloc_keeps_the_content(void **state)
{
    (void)state;
    char *p = en_realloc(NULL, 4, 1);
    memcpy(p, "abc", 4);
    p = en_realloc(p, 1000, 1);
    assert_string_equal(p, "abc");
    p = en_realloc(p, 2, 1);
    assert_memory_equal(p, "ab", 2);
    en_free(p);
}

static void refuses_sizes_that_overflow(void **state)
{
    (void)state;
    assert_null(en_alloc(SIZE_MAX / 2, 3));
    assert_null(en_alloc(SIZE_MAX, 1));
    assert_null(en_alloc_zero(SIZE_MAX / 8 + 1, 8));
}

static void the_named_allocation_fails_once(void **state)
{
    (void)state;
    en_memory_fail_at(1);
    void *a = en_alloc(1, 1), *b = en_alloc(1, 1), *c = en_alloc(1, 1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    en_free(a);
    en_free(c);
}

static void growing_doubles_up_to_the_limit(void **state)
{
    (void)state;
    void *items = NULL;
    size_t cap = 0;
    assert_true(en_grow(&items, &cap, 1, 100, 4));
    assert_int_equal(cap, 16);
    assert_true(en_grow(&items, &cap, 17, 100, 4));
    assert_int_equal(cap, 32);
    assert_true(en_grow(&items, &cap, 100, 100, 4));
    assert_int_equal(cap, 100);
    assert_false(en_grow(&items, &cap, 101, 100, 4));
    en_free(items);
}

static void strndup_terminates(void **state)
{
    (void)state;
    char *s = en_strndup("hello", 3), *empty = en_strndup(NULL, 0);
    assert_string_equal(s, "hel");
    assert_string_equal(empty, "");
    en_free(s);
    en_free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_counted),
        cmocka_unit_test(small_blocks_are_counted_and_may_fail),
        cmocka_unit_test(realloc_keeps_the_content),
        cmocka_unit_test(refuses_sizes_that_overflow),
        cmocka_unit_test(the_named_allocation_fails_once),
        cmocka_unit_test(growing_doubles_up_to_the_limit),
        cmocka_unit_test(strndup_terminates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
