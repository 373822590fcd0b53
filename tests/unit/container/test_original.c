/* test_original.c - the list of original files: stored and read again, and what is refused. */
#include "container/original.h"

#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "test_support.h"
#include "change_support.h"

/* config.json, literal; model.safetensors: a head, a tensor, padding, a tensor in heads. */
static uint8_t *make_list(size_t *n_bytes)
{
    en_original_file files[] = {
        {.name = "config.json", .n_bytes = 5, .hash = 1, .first_piece = 0, .n_pieces = 1},
        {.name = "model.safetensors", .n_bytes = 70, .hash = 2, .first_piece = 1, .n_pieces = 4}};
    en_piece pieces[] = {{.kind = EN_PIECE_LITERAL, .n_bytes = 5},
                         {.kind = EN_PIECE_LITERAL, .n_bytes = 20},
                         {.kind = EN_PIECE_TENSOR, .tensor = 7},
                         {.kind = EN_PIECE_LITERAL, .n_bytes = 2},
                         {.kind = EN_PIECE_TENSOR, .tensor = 9, .n_head_rows = 4}};
    en_original o = {
        .is_folder = true, .n_files = 2, .n_pieces = 5, .files = files, .pieces = pieces};
    *n_bytes = en_original_stored_bytes(&o);
    uint8_t *bytes = en_alloc(*n_bytes, 1);
    en_original_store(&o, bytes);
    return bytes;
}

static void gives_back_what_was_stored(void **state)
{
    (void)state;
    size_t n;
    uint8_t *bytes = make_list(&n);
    en_original *o;
    entro_error err;
    assert_int_equal(en_original_parse(&o, bytes, n, &err), ENTRO_OK);
    assert_true(o->is_folder);
    assert_int_equal(o->n_files, 2);
    assert_int_equal(o->n_pieces, 5);
    assert_int_equal(o->n_literal_bytes, 27);
    assert_string_equal(o->files[1].name, "model.safetensors");
    assert_int_equal(o->files[1].n_bytes, 70);
    assert_int_equal(o->files[1].hash, 2);
    assert_int_equal(o->files[1].first_piece, 1);
    assert_int_equal(o->files[1].n_pieces, 4);
    assert_int_equal(o->pieces[4].kind, EN_PIECE_TENSOR);
    assert_int_equal(o->pieces[4].tensor, 9);
    assert_int_equal(o->pieces[4].n_head_rows, 4);
    uint8_t *again = en_alloc(n, 1);
    assert_int_equal(en_original_stored_bytes(o), n);
    en_original_store(o, again);
    assert_memory_equal(again, bytes, n);
    en_free(again);
    en_original_free(o);
    en_free(bytes);
}

static void refuses_every_truncation_and_more(void **state)
{
    (void)state;
    size_t n;
    uint8_t *bytes = make_list(&n), *longer = en_alloc_zero(n + 16, 1);
    en_original *o;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(en_original_parse(&o, bytes, i, NULL), ENTRO_ERR_FORMAT);
    memcpy(longer, bytes, n);
    assert_int_equal(en_original_parse(&o, longer, n + 16, NULL), ENTRO_ERR_FORMAT);
    en_free(longer);
    en_free(bytes);
}

static entro_status parse(const uint8_t *bytes, size_t n_bytes, entro_error *err)
{
    en_original *o;
    return en_original_parse(&o, bytes, n_bytes, err);
}

static void refuses_contradictions(void **state)
{
    (void)state;
    const size_t name_at = 32 + 24, pieces_at = 32 + 24 + 16 + 24 + 24;
    const test_change cases[] = {
        {0, 1, 'x', ENTRO_ERR_FORMAT, "does not start"},
        {8, 4, 2, ENTRO_ERR_VERSION, "newer entrollm"},
        {12, 4, 2, ENTRO_ERR_VERSION, "newer entrollm"},
        {12, 4, 0, ENTRO_ERR_FORMAT, "2 original files"}, /* a GGUF file is one */
        {16, 4, 0, ENTRO_ERR_FORMAT, "0 original files"},
        {16, 4, 1 << 20, ENTRO_ERR_FORMAT, "original files"},
        {24, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "pieces"},
        {24, 8, 4, ENTRO_ERR_FORMAT, "have 5 pieces"},
        {32 + 16, 4, UINT32_MAX, ENTRO_ERR_FORMAT, "pieces"},
        {32 + 20, 4, 0, ENTRO_ERR_FORMAT, "name"},
        {32 + 20, 4, 256, ENTRO_ERR_FORMAT, "too early"},
        {32 + 20, 4, UINT32_MAX, ENTRO_ERR_FORMAT, "too early"},
        {name_at, 1, '.', ENTRO_ERR_FORMAT, "out of its folder"},
        {name_at, 1, '/', ENTRO_ERR_FORMAT, "out of its folder"},
        {name_at + 6, 1, '/', ENTRO_ERR_FORMAT, "out of its folder"},
        {name_at + 6, 1, '\\', ENTRO_ERR_FORMAT, "out of its folder"},
        {name_at + 6, 1, 0, ENTRO_ERR_FORMAT, "out of its folder"},
        {name_at + 6, 1, 27, ENTRO_ERR_FORMAT, "out of its folder"},
        {pieces_at, 4, 2, ENTRO_ERR_FORMAT, "kind 2"},
        {pieces_at + 4, 4, 2, ENTRO_ERR_FORMAT, "head rows 2"},
        {pieces_at + 8, 8, UINT64_MAX, ENTRO_ERR_FORMAT, "a piece"},
        {pieces_at + 4 * 16 + 4, 4, 3, ENTRO_ERR_FORMAT, "head rows 3"},
    };
    size_t n;
    uint8_t *bytes = make_list(&n);
    test_changes(bytes, n, cases, sizeof cases / sizeof *cases, parse);
    en_free(bytes);
}

static void refuses_two_files_of_one_name(void **state)
{
    (void)state;
    en_original_file files[] = {{.name = "a"}, {.name = "a"}};
    en_original o = {.is_folder = true, .n_files = 2, .files = files}, *read;
    uint8_t bytes[128];
    size_t n = en_original_stored_bytes(&o);
    entro_error err;
    en_original_store(&o, bytes);
    assert_int_equal(en_original_parse(&read, bytes, n, &err), ENTRO_ERR_FORMAT);
    assert_non_null(strstr(err.message, "two original files"));
}

static void knows_harmless_names(void **state)
{
    (void)state;
    const char *good[] = {"config.json", "a", "model-00001-of-00003.safetensors",
                          "tok\xc3\xa9n isation.json", "a..b"};
    const char *bad[] = {"",    ".",           "..",   ".bashrc", "../x",
                         "a/b", "/etc/passwd", "a\\b", "a\nb",    "\x7f"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(en_original_name_fits(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(en_original_name_fits(bad[i], strlen(bad[i])));
    char longest[EN_ORIGINAL_MAX_NAME + 1];
    memset(longest, 'x', sizeof longest);
    assert_true(en_original_name_fits(longest, EN_ORIGINAL_MAX_NAME));
    assert_false(en_original_name_fits(longest, EN_ORIGINAL_MAX_NAME + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_stored),
        cmocka_unit_test(refuses_every_truncation_and_more),
        cmocka_unit_test(refuses_contradictions),
        cmocka_unit_test(refuses_two_files_of_one_name),
        cmocka_unit_test(knows_harmless_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
