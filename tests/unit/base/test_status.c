/* test_status.c - messages, places and names of failures. */
#include "base/status.h"

#include <errno.h>
#include <string.h>

#include "test_support.h"

static void fail_fills_the_error(void **state)
{
    (void)state;
    entro_error err;
    assert_int_equal(en_fail(&err, ENTRO_ERR_FORMAT, "expected %d", 7), ENTRO_ERR_FORMAT);
    assert_int_equal(err.status, ENTRO_ERR_FORMAT);
    assert_string_equal(err.message, "expected 7");
    assert_string_equal(err.where, "");
    assert_true(err.offset == EN_NO_OFFSET);
    assert_int_equal(en_fail_at(&err, ENTRO_ERR_IO, 99, "x"), ENTRO_ERR_IO);
    assert_int_equal(err.offset, 99);
    assert_int_equal(en_fail(NULL, ENTRO_ERR_IO, "nobody listens"), ENTRO_ERR_IO);
}

static void places_are_put_in_front(void **state)
{
    (void)state;
    entro_error err;
    en_fail(&err, ENTRO_ERR_FORMAT, "bad");
    en_error_place(&err, "tensor '%s'", "a");
    en_error_place(&err, "file");
    assert_string_equal(err.where, "file: tensor 'a'");
    for (int i = 0; i < 100; i++)
        en_error_place(&err, "long long name %d", i);
    assert_true(strlen(err.where) < sizeof err.where);
    en_error_place(NULL, "no error");
}

static void errno_gets_its_own_status(void **state)
{
    (void)state;
    entro_error err;
    assert_int_equal(en_fail_errno(&err, ENOSPC, "cannot write"), ENTRO_ERR_NO_SPACE);
    assert_non_null(strstr(err.message, "cannot write: No space"));
    assert_int_equal(en_fail_errno(&err, ENOENT, "x"), ENTRO_ERR_NOT_FOUND);
    assert_int_equal(en_fail_errno(&err, EEXIST, "x"), ENTRO_ERR_EXISTS);
    assert_int_equal(en_fail_errno(&err, EPERM, "x"), ENTRO_ERR_IO);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int s = ENTRO_OK; s <= ENTRO_ERR_MISMATCH; s++)
        assert_string_not_equal(entro_status_name((entro_status)s), "unknown status");
    assert_string_equal(entro_status_name((entro_status)99), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_the_error),
        cmocka_unit_test(places_are_put_in_front),
        cmocka_unit_test(errno_gets_its_own_status),
        cmocka_unit_test(every_status_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
