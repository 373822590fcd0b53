/*
 * test_calib_text.c - texts of every form become sequences of tokens; several files take turns.
 */
#include "calib/calib_text.h"

#include "tokenizer_support.h"

#include "calib/calib_file.h"
#include "gguf_support.h"

/* A tokenizer of bytes: token of byte b is b, BOS is 256. */
static en_tokenizer *make_tokenizer(en_meta **meta, bool add_bos)
{
    return new_byte_tokenizer(meta, 0, 256, add_bos);
}

static const char *write_text(const char *name, const char *text, size_t n)
{
    const char *path = test_path(name);
    test_file_write(path, (const uint8_t *)text, n);
    return path;
}

static void expect_text(const char *bytes, const char *text)
{
    en_calib_string out = {0};
    entro_error err = {0};
    if (en_calib_file_parse(&out, bytes, strlen(bytes), 1 << 20, &err) != ENTRO_OK)
        fail_msg("%s", err.message);
    assert_int_equal(out.n, strlen(text));
    assert_memory_equal(out.s, text, out.n);
    en_free(out.s);
}

static void forms_are_told_apart(void **state)
{
    (void)state;
    expect_text("{\"text\": \"one\\u00e4\"}\n\n{\"content\": \"two\", \"n\": 1}",
                "one\xc3\xa4\n\ntwo\n\n");
    expect_text(" [\"one\", {\"text\": \"two\"},\n {\"content\": \"three\"}]\n",
                "one\n\ntwo\n\nthree\n\n");
    expect_text("{ int x; }\n{\"text\": \"one\"}\n", "{ int x; }\n{\"text\": \"one\"}\n");
    expect_text("[1] See there.\n", "[1] See there.\n");
    expect_text("[1, 2]", "[1, 2]"); /* no texts */
    expect_text(" plain\n", " plain\n");
    expect_text("  ", "  ");
}

static void expect_parse_error(const char *bytes, size_t n, const char *message)
{
    en_calib_string out = {0};
    entro_error err = {0};
    assert_int_equal(en_calib_file_parse(&out, bytes, n, 1 << 20, &err), ENTRO_ERR_FORMAT);
    if (strstr(err.message, message) == NULL)
        fail_msg("%s", err.message);
    en_free(out.s);
}

static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    static const char lines[] = "{\"text\": \"one\"}\n{\"text\": 2}\n",
                      other[] = "{\"id\": \"one\"}\n";
    static const char half[] = "{\"text\": \"one\"}\n{\"text\": \"tw";
    expect_parse_error("GGUF\0\0", 6, "bytes of zero");
    expect_parse_error(other, strlen(other), "without a string named");
    expect_parse_error(lines, strlen(lines), "in each line");
    expect_parse_error(half, strlen(half), "in each line");
}

static void large_files_are_thinned_evenly(void **state)
{
    (void)state;
    enum { N_LINES = 20000 };
    char *text = malloc(N_LINES * 40), *lines = malloc(N_LINES * 40);
    size_t n_text = 0, n_lines = 0;
    for (int i = 0; i < N_LINES; i++) {
        n_text += (size_t)sprintf(text + n_text, "line %05d\n", i);
        n_lines += (size_t)sprintf(lines + n_lines, "{\"text\": \"line %05d\"}\n", i);
    }
    for (int k = 0; k < 2; k++) {
        en_calib_string out = {0};
        assert_int_equal(
            en_calib_file_parse(&out, k ? lines : text, k ? n_lines : n_text, 100000, NULL),
            ENTRO_OK);
        assert_in_range(out.n, 90000, 125000);
        int counts[4] = {0}, n = 0, last = -1;
        for (size_t at = 0; at + 10 <= out.n; at += k ? 12 : 11) {
            int number;
            assert_int_equal(sscanf(out.s + at, "line %5d", &number), 1); /* whole lines */
            assert_true(number > last);
            last = number;
            counts[number / (N_LINES / 4)]++;
            n++;
        }
        for (int i = 0; i < 4; i++)
            assert_in_range(counts[i], n / 8, n / 2);
        en_free(out.s);
    }
    free(text);
    free(lines);
}

static void files_take_turns(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    char a[90], b[1000], c[3] = "ccc";
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    const char *paths[] = {write_text("a.txt", a, sizeof a), write_text("b.txt", b, sizeof b),
                           write_text("c.txt", c, sizeof c)};
    en_calib_text text;
    assert_int_equal(en_calib_text_read(&text, paths, 3, t, 10, 200, NULL), ENTRO_OK);
    assert_int_equal(text.n_sequences, 20);
    assert_string_equal(text.name, "a.txt + b.txt + c.txt");
    int n_a = 0;
    for (uint64_t i = 0; i < 20; i++) {
        const int32_t *s = en_calib_text_sequence(&text, i);
        assert_int_equal(s[0], 256);
        for (int k = 2; k < 10; k++)
            assert_true(s[k] == s[1] && (s[1] == 'a' || s[1] == 'b'));
        n_a += s[1] == 'a';
        assert_true(abs(2 * n_a - (int)i - 1) <= 1); /* half and half so far */
    }
    en_calib_text_free(&text);
    /* a file that is too short gives what it has */
    assert_int_equal(en_calib_text_read(&text, paths, 3, t, 10, 2000, NULL), ENTRO_OK);
    assert_int_equal(text.n_sequences, 10 + 111); /* 3 times 'c' and one 'b' are left over */
    en_calib_text_free(&text);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void short_files_are_joined(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, false);
    const char *paths[] = {write_text("a.txt", "aaa", 3), write_text("b.txt", "bbbb", 4)};
    en_calib_text text;
    assert_int_equal(en_calib_text_read(&text, paths, 2, t, 5, 100, NULL), ENTRO_OK);
    assert_int_equal(text.n_sequences, 1);
    static const int32_t joined[] = {'a', 'a', 'a', 'b', 'b'};
    assert_memory_equal(text.tokens, joined, sizeof joined);
    en_calib_text_free(&text);
    entro_error err = {0};
    assert_int_equal(en_calib_text_read(&text, paths, 2, t, 8, 100, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "7 tokens long, one sequence needs 8"));
    assert_string_equal(err.where, "a.txt + b.txt");
    assert_int_equal(en_calib_text_read(&text, paths, 1, t, 8, 100, &err), ENTRO_ERR_ARGUMENT);
    assert_string_equal(err.where, paths[0]);
    paths[1] = "/nowhere/text";
    assert_int_equal(en_calib_text_read(&text, paths, 2, t, 5, 100, &err), ENTRO_ERR_NOT_FOUND);
    paths[1] = write_text("empty", "", 0);
    assert_int_equal(en_calib_text_read(&text, paths, 2, t, 3, 100, NULL), ENTRO_OK);
    assert_int_equal(text.n_sequences, 1);
    en_calib_text_free(&text);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    static const char lines[] = "{\"text\": \"one and two\"}\n", list[] = "[\"one\", \"two\"]";
    const char *paths[] = {write_text("a", "some plain text", 15),
                           write_text("b", lines, sizeof lines - 1),
                           write_text("c", list, sizeof list - 1)};
    size_t n_before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        en_calib_text text;
        assert_in_range(i, 0, 5000);
        en_memory_fail_at(i);
        status = en_calib_text_read(&text, paths, 3, t, 5, 50, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        en_calib_text_free(&text);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    en_tokenizer_free(t);
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_told_apart),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(large_files_are_thinned_evenly),
        cmocka_unit_test(files_take_turns),
        cmocka_unit_test(short_files_are_joined),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
