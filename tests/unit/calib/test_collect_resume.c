/*
 * test_collect_resume.c - a collection that was stopped goes on to the same files, and one of another text
 * or model does not.
 */
#include "calib/collect.h"

#include "test_support.h"

#include "collect_support.h"

static void what_was_stopped_goes_on_to_the_same_files(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("qwen2");
    en_calib_text text = test_collect_text(600, 8);
    const char *whole = test_path("whole"), *stopped = test_path("stopped");
    test_collect_well(whole, model, &text, 4096, 512, 1);
    int n_stops = 0;
    for (int n_until = 0; n_until < 100; n_until++) { /* a call more each time */
        entro_error err = {0};
        entro_status status = test_collect(stopped, model, &text, 4096, 512, 3, n_until, &err);
        DIR *d = opendir(stopped);
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            bool known = e->d_name[0] == '.';
            for (size_t i = 0; i < sizeof test_collect_files / sizeof test_collect_files[0]; i++)
                known = known || strcmp(e->d_name, test_collect_files[i]) == 0;
            assert_true(known);
        }
        closedir(d);
        if (status == ENTRO_OK)
            break;
        assert_int_equal(status, ENTRO_ERR_CANCELLED);
        assert_non_null(strstr(err.message, "goes on from there"));
        n_stops++;
    }
    assert_true(n_stops > 0);
    test_collect_assert_same(whole, stopped);
    for (int i = 0; i < 4; i++) { /* any one file is made anew alone */
        char path[512];
        snprintf(path, sizeof path, "%s/%s", stopped, test_collect_files[i]);
        test_file_write(path, (const uint8_t *)"half a file", 11);
        test_collect_well(stopped, model, &text, 4096, 512, 2);
        test_collect_assert_same(whole, stopped);
    }
    test_collect_remove(whole);
    test_collect_remove(stopped);
    en_calib_text_free(&text);
    en_model_close(model);
}

static void another_text_is_collected_anew_and_another_model_is_refused(void **state)
{
    (void)state;
    entro_model *model = test_open_fixture("qwen2"), *other = test_open_fixture("llama");
    en_calib_text text = test_collect_text(20, 8), second = test_collect_text(20, 9);
    const char *folder = test_path("calib"), *fresh = test_path("fresh");
    entro_error err = {0};
    test_collect_well(folder, model, &text, 64, 32, 1);
    assert_int_equal(test_collect(folder, other, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another model: of a qwen2 of 2 layers"));
    test_collect_well(folder, model, &second, 64, 32, 1);
    test_collect_well(fresh, model, &second, 64, 32, 1);
    test_collect_assert_same(folder, fresh);
    test_collect_remove(folder);
    test_collect_remove(fresh);
    en_calib_text_free(&text);
    en_calib_text_free(&second);
    en_model_close(model);
    en_model_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_stopped_goes_on_to_the_same_files),
        cmocka_unit_test(another_text_is_collected_anew_and_another_model_is_refused),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
