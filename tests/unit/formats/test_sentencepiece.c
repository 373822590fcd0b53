/*
 * test_sentencepiece.c - tokenizer.model: real ones, hand-made ones, damaged ones.
 */
#include "formats/sentencepiece.h"

#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "test_support.h"

static uint8_t file[1024];
static size_t n_file;

static void put(const void *bytes, size_t n)
{
    memcpy(file + n_file, bytes, n);
    n_file += n;
}

#define PUT(literal) put(literal, sizeof(literal) - 1)

/* Field 1 of the model: a piece of at most 100 bytes. */
static void put_piece(const char *text, float score, uint8_t type)
{
    size_t n = strlen(text);
    put((uint8_t[]){0x0a, (uint8_t)(n + 9), 0x0a, (uint8_t)n}, 4);
    put(text, n);
    PUT("\x15");
    put(&score, 4);
    put((uint8_t[]){0x18, type}, 2);
}

static void put_trainer(uint8_t model_type)
{
    put((uint8_t[]){0x12, 2, 0x18, model_type}, 4);
}

static void refused(entro_status expected, const char *words)
{
    en_sentencepiece sp;
    entro_error err = {0};
    assert_int_equal(en_sentencepiece_parse(&sp, file, n_file, &err), expected);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' lacks '%s'", err.message, words);
    assert_int_equal(en_memory_in_use(), 0);
    n_file = 0;
}

static void reads_pieces_and_options(void **state)
{
    (void)state;
    en_sentencepiece sp;
    n_file = 0;
    put_piece("<unk>", 0, 2);
    put_piece("▁a", -1.5f, 1);
    PUT("\x12\x18\x18\x02"                                 /* BPE */
        "\xc0\x02\x05"                                     /* unk 5 */
        "\xc8\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" /* bos -1 */
        "\xd0\x02\x07"                                     /* eos 7 */
        "\x22\x02xx");                                     /* a field to skip */
    PUT("\x1a\x04\x18\x00\x20\x00");
    assert_int_equal(en_sentencepiece_parse(&sp, file, n_file, NULL), ENTRO_OK);
    assert_int_equal(sp.n_pieces, 2);
    assert_true(en_span_is(sp.pieces[1].text, "▁a") && sp.pieces[1].score == -1.5f);
    assert_int_equal(sp.pieces[0].kind, EN_HF_TOKEN_UNKNOWN);
    assert_int_equal(sp.pieces[1].kind, EN_HF_TOKEN_NORMAL);
    assert_true(sp.unk_id == 5 && sp.bos_id == -1 && sp.eos_id == 7 && sp.pad_id == -1);
    assert_true(!sp.add_dummy_prefix && !sp.remove_extra_whitespaces && sp.charsmap.n == 0);
    en_sentencepiece_free(&sp);
    n_file = 0;
}

static void refuses_other_kinds_of_model(void **state)
{
    (void)state;
    put_piece("a", 0, 1);
    put_trainer(1);
    refused(ENTRO_ERR_UNSUPPORTED, "unigram");
    put_piece("a", 0, 1);
    put_trainer(3);
    refused(ENTRO_ERR_UNSUPPORTED, "word or char");
    put_piece("a", 0, 1);
    refused(ENTRO_ERR_UNSUPPORTED, "unigram"); /* the default */
    put_piece("a", 0, 1);
    put_trainer(2);
    PUT("\x12\x03\xc0\x01\x01"); /* field 24 */
    refused(ENTRO_ERR_UNSUPPORTED, "treat_whitespace_as_suffix");
    put_piece("a", 0, 1);
    put_trainer(2);
    PUT("\x1a\x02\x28\x00");
    refused(ENTRO_ERR_UNSUPPORTED, "escape_whitespaces");
}

static void refuses_damaged_files(void **state)
{
    (void)state;
    put_trainer(2);
    refused(ENTRO_ERR_FORMAT, "no pieces");
    refused(ENTRO_ERR_FORMAT, "no pieces");
    put_piece("", 0, 1);
    refused(ENTRO_ERR_FORMAT, "piece 0 is damaged");
    put_piece("a", 0, 1);
    put_piece("b", 0, 9);
    refused(ENTRO_ERR_FORMAT, "piece 1 is damaged");
    put_piece("a", (float)(1e300 * 1e10), 1);
    refused(ENTRO_ERR_FORMAT, "piece 0 is damaged");
    PUT("\x0a\x7f"); /* a piece of 127 bytes that are not there */
    refused(ENTRO_ERR_FORMAT, "truncated");
    PUT("\x0f\x01"); /* wire type 7 */
    refused(ENTRO_ERR_FORMAT, "damaged at byte 1");
    PUT("\x02\x00"); /* field 0 */
    refused(ENTRO_ERR_FORMAT, "damaged");
    PUT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"); /* a varint without end */
    refused(ENTRO_ERR_FORMAT, "damaged");
    PUT("version https://git-lfs.github.com/spec/v1");
    refused(ENTRO_ERR_FORMAT, "no SentencePiece model");
}

static void refuses_every_cut_or_keeps_whole_pieces(void **state)
{
    (void)state;
    en_sentencepiece sp;
    put_trainer(2);
    put_piece("hello", 1, 1);
    put_piece("world", 2, 1);
    for (size_t n = 0; n < n_file; n++) {
        entro_status status = en_sentencepiece_parse(&sp, file, n, NULL);
        assert_int_equal(status, n == 4 + 16 ? ENTRO_OK : ENTRO_ERR_FORMAT);
        en_sentencepiece_free(&sp);
    }
    n_file = 0;
}

static void reads_real_models(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t n_pieces;
        bool extra; /* white space is squeezed */
    } models[] = {
        {TEST_SHARED "/data/tokenizers/llama2/tokenizer.model", 32000, false},
        {TEST_SHARED "/data/tokenizers/mistral/tokenizer.model.v1", 32000, false},
        {TEST_SHARED "/data/tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3", 32768,
         false},
        {TEST_SHARED "/data/models/stories260k/tok512.model", 512, true},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        en_map map;
        en_sentencepiece sp;
        if (!en_path_exists(models[i].path))
            skip();
        assert_int_equal(en_map_open(&map, models[i].path, NULL), ENTRO_OK);
        assert_int_equal(en_sentencepiece_parse(&sp, map.data, map.n_bytes, NULL), ENTRO_OK);
        assert_int_equal(sp.n_pieces, models[i].n_pieces);
        assert_int_equal(sp.remove_extra_whitespaces, models[i].extra);
        assert_int_equal(sp.charsmap.n, 0);
        assert_true(sp.add_dummy_prefix && sp.bos_id == 1 && sp.eos_id == 2 && sp.unk_id == 0);
        assert_true(en_span_is(sp.pieces[0].text, "<unk>"));
        assert_int_equal(sp.pieces[0].kind, EN_HF_TOKEN_UNKNOWN);
        assert_int_equal(sp.pieces[1].kind, EN_HF_TOKEN_CONTROL);
        en_sentencepiece_free(&sp);
        en_map_close(&map);
    }
}

static void survives_every_failing_allocation(void **state)
{
    (void)state;
    en_sentencepiece sp;
    put_trainer(2);
    for (int i = 0; i < 20; i++)
        put_piece("piece", 1, 1);
    uint64_t fail_at = 0;
    for (entro_status status = ENTRO_ERR_NOMEM; status != ENTRO_OK; fail_at++) {
        en_memory_fail_at(fail_at);
        status = en_sentencepiece_parse(&sp, file, n_file, NULL);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        en_sentencepiece_free(&sp);
        assert_int_equal(en_memory_in_use(), 0);
    }
    assert_true(fail_at > 2);
    n_file = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_pieces_and_options),
        cmocka_unit_test(refuses_other_kinds_of_model),
        cmocka_unit_test(refuses_damaged_files),
        cmocka_unit_test(refuses_every_cut_or_keeps_whole_pieces),
        cmocka_unit_test(reads_real_models),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
