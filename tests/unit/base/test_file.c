/* test_file.c - mapped inputs, and outputs that appear whole or not at all. */
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "test_support.h"

static char g_folder[] = "/tmp/entrollm-test-XXXXXX";
static char g_path[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(g_folder + strlen(g_folder) - 6, "XXXXXX");
    if (mkdtemp(g_folder) == NULL)
        return -1;
    snprintf(g_path, sizeof g_path, "%s/out", g_folder);
    return 0;
}

static int count_files(void)
{
    int n = 0;
    DIR *d = opendir(g_folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(g_path);
    return rmdir(g_folder);
}

static void write_file(const char *data, size_t n)
{
    en_output *out;
    assert_int_equal(en_output_create(&out, g_path, true, NULL), ENTRO_OK);
    assert_int_equal(en_output_write(out, data, n, NULL), ENTRO_OK);
    assert_int_equal(en_output_commit(out, NULL), ENTRO_OK);
}

static void assert_content(const char *data, size_t n)
{
    char *read;
    size_t n_read;
    assert_int_equal(en_file_read(&read, &n_read, g_path, 1 << 24, NULL), ENTRO_OK);
    assert_int_equal(n_read, n);
    assert_memory_equal(read, data, n);
    en_free(read);
}

static void output_appears_only_at_commit(void **state)
{
    (void)state;
    en_output *out;
    assert_int_equal(en_output_create(&out, g_path, false, NULL), ENTRO_OK);
    assert_int_equal(en_output_write(out, "hello", 5, NULL), ENTRO_OK);
    assert_false(en_path_exists(g_path));
    assert_int_equal(en_output_commit(out, NULL), ENTRO_OK);
    assert_content("hello", 5);
    assert_int_equal(count_files(), 1);
}

static void abort_leaves_the_old_file(void **state)
{
    (void)state;
    write_file("old", 3);
    en_output *out;
    assert_int_equal(en_output_create(&out, g_path, true, NULL), ENTRO_OK);
    assert_int_equal(en_output_write(out, "new", 3, NULL), ENTRO_OK);
    en_output_abort(out);
    assert_content("old", 3);
    assert_int_equal(count_files(), 1);
}

static void refuses_an_existing_output(void **state)
{
    (void)state;
    write_file("old", 3);
    en_output *out;
    entro_error err;
    assert_int_equal(en_output_create(&out, g_path, false, &err), ENTRO_ERR_EXISTS);
    assert_non_null(strstr(err.where, g_path));
}

static void refuses_an_output_that_came_up_meanwhile(void **state)
{
    (void)state;
    en_output *out;
    assert_int_equal(en_output_create(&out, g_path, false, NULL), ENTRO_OK);
    write_file("other", 5);
    assert_int_equal(en_output_commit(out, NULL), ENTRO_ERR_EXISTS);
    assert_content("other", 5);
    assert_int_equal(count_files(), 1);
}

static void patches_what_was_written(void **state)
{
    (void)state;
    size_t n = (3u << 20) + 17;
    char *data = malloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 7);
    en_output *out;
    assert_int_equal(en_output_create(&out, g_path, false, NULL), ENTRO_OK);
    assert_int_equal(en_output_zeros(out, 100, NULL), ENTRO_OK);
    assert_int_equal(en_output_write(out, data + 100, 1000, NULL), ENTRO_OK);
    assert_int_equal(en_output_write(out, data + 1100, n - 1100, NULL), ENTRO_OK);
    assert_int_equal(en_output_pos(out), n);
    assert_int_equal(en_output_patch(out, 0, data, 100, NULL), ENTRO_OK);
    assert_int_equal(en_output_patch(out, n - 5, data, 10, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_output_commit(out, NULL), ENTRO_OK);
    assert_content(data, n);
    free(data);
}

/* A limit on the file size stands for a full disk: write() fails midway. */
static void failed_write_leaves_nothing(void **state)
{
    (void)state;
    write_file("old", 3);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 16, 1 << 16});
        en_output *out;
        entro_error err;
        if (en_output_create(&out, g_path, true, &err) != ENTRO_OK)
            _exit(2);
        static const char zeros[1 << 21];
        entro_status status = en_output_write(out, zeros, sizeof zeros, &err);
        en_output_abort(out);
        _exit(status == ENTRO_ERR_IO ? 0 : 3);
    }
    int rc;
    waitpid(child, &rc, 0);
    assert_int_equal(rc, 0);
    assert_content("old", 3);
    assert_int_equal(count_files(), 1);
}

static void kill_leaves_nothing(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        en_output *out;
        if (en_output_create(&out, g_path, true, NULL) != ENTRO_OK)
            _exit(2);
        en_output_zeros(out, 1 << 22, NULL);
        if (write(ready[1], "x", 1) != 1)
            _exit(3);
        pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(count_files(), 0);
}

static void maps_with_readable_padding(void **state)
{
    (void)state;
    size_t n = (size_t)sysconf(_SC_PAGESIZE);
    char *data = malloc(n);
    memset(data, 'a', n);
    write_file(data, n);
    en_map map;
    assert_int_equal(en_map_open(&map, g_path, NULL), ENTRO_OK);
    assert_int_equal(map.n_bytes, n);
    assert_int_equal(map.data[n - 1], 'a');
    int sum = 0;
    for (int i = 0; i < EN_MAP_PAD; i++)
        sum += map.data[n + (size_t)i];
    assert_int_equal(sum, 0);
    en_map_close(&map);
    free(data);
}

static void input_mistakes_are_told_apart(void **state)
{
    (void)state;
    en_map map;
    entro_error err;
    assert_int_equal(en_map_open(&map, g_path, &err), ENTRO_ERR_NOT_FOUND);
    assert_non_null(strstr(err.where, g_path));
    assert_int_equal(en_map_open(&map, g_folder, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "folder"));
    write_file("", 0);
    assert_int_equal(en_map_open(&map, g_path, &err), ENTRO_OK);
    assert_int_equal(map.n_bytes, 0);
    en_map_close(&map);
    char *read;
    size_t n_read;
    write_file("12345", 5);
    assert_int_equal(en_file_read(&read, &n_read, g_path, 4, &err), ENTRO_ERR_FORMAT);
}

static void paths_are_joined(void **state)
{
    (void)state;
    char *a = en_path_join("x", "y"), *b = en_path_join("x/", "y");
    assert_string_equal(a, "x/y");
    assert_string_equal(b, "x/y");
    assert_string_equal(en_path_base("a/b/c"), "c");
    assert_string_equal(en_path_base("c"), "c");
    en_free(a);
    en_free(b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(output_appears_only_at_commit), TEST(abort_leaves_the_old_file),
        TEST(refuses_an_existing_output),    TEST(refuses_an_output_that_came_up_meanwhile),
        TEST(patches_what_was_written),      TEST(failed_write_leaves_nothing),
        TEST(kill_leaves_nothing),           TEST(maps_with_readable_padding),
        TEST(input_mistakes_are_told_apart), TEST(paths_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
