/* test_tokenizer.c - tokenizers made by hand: merges, special tokens, refusals. */
#include "text/tokenizer.h"

#include <stdio.h>

#include "base/memory.h"
#include "tokenizer_support.h"

/* ---- byte-level -------------------------------------------------------------------------- */

static const char *const small_tokens[] = {"a",
                                           "b",
                                           "c",
                                           "\xC4\xA0",
                                           "ab",
                                           "abc",
                                           "\xC4\xA0"
                                           "a",
                                           "<|end|>",
                                           "<user>",
                                           "bc",
                                           "<us"};
static const int32_t small_types[] = {1, 1, 1, 1, 1, 1, 1, 3, 4, 1, 4};
static const char *const small_merges[] = {"b c", "a b", "\xC4\xA0 a", "a bc", "ab c"};

static en_meta *small_meta(void)
{
    en_meta *meta = new_test_meta("gpt2", "gpt-2");
    set_strings(meta, "tokenizer.ggml.tokens", small_tokens, 11);
    set_numbers(meta, "tokenizer.ggml.token_type", EN_META_I32, small_types, 11);
    set_strings(meta, "tokenizer.ggml.merges", small_merges, 5);
    en_meta_set_u32(meta, "tokenizer.ggml.bos_token_id", 7, NULL);
    en_meta_set_u32(meta, "tokenizer.ggml.eos_token_id", 7, NULL);
    return meta;
}

static void check_ids(const en_tokenizer *t, const char *text, bool add, bool parse,
                      const int32_t *want, size_t n_want)
{
    int32_t ids[64];
    assert_int_equal(encode_text(t, text, add, parse, ids, 64), n_want);
    assert_memory_equal(ids, want, n_want * sizeof ids[0]);
}

#define CHECK(t, text, add, parse, ...)                                                            \
    check_ids(t, text, add, parse, (const int32_t[]){__VA_ARGS__},                                 \
              sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void merges_by_rank(void **state)
{
    (void)state;
    en_meta *meta = small_meta();
    en_tokenizer *t;
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    for (int twice = 0; twice < 2; twice++) { /* the second time from notes */
        CHECK(t, "abc", false, false, 5);
        CHECK(t, "ab", false, false, 4);
        CHECK(t, "bcb", false, false, 9, 1);
        CHECK(t, "a abc", false, false, 0, 6, 9);
    }
    assert_string_equal(en_tokenizer_kind(t), "byte-level BPE (gpt-2)");
    assert_int_equal(en_tokenizer_n_vocab(t), 11);
    assert_int_equal(en_tokenizer_eos(t), 7);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void special_tokens_in_text(void **state)
{
    (void)state;
    en_meta *meta = small_meta();
    en_tokenizer *t;
    en_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", true, NULL);
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    CHECK(t, "a<|end|>b", true, true, 7, 0, 7, 1);
    CHECK(t, "a<user>", false, false, 0, 8);   /* the longer of two */
    CHECK(t, "a<usb", false, false, 0, 10, 1); /* the shorter fits */
    CHECK(t, "b<|end|", false, true, 1);       /* no token for the rest: dropped */
    assert_true(en_tokenizer_adds_bos(t));
    assert_true(en_tokenizer_ends(t, 7));
    assert_false(en_tokenizer_ends(t, 0));
    assert_false(en_tokenizer_ends(t, -1));
    assert_false(en_tokenizer_ends(t, 11));
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void asking_for_the_size(void **state)
{
    (void)state;
    en_meta *meta = small_meta();
    en_tokenizer *t;
    size_t n = 0;
    int32_t one[1];
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    assert_int_equal(en_tokenizer_encode(t, "abc a", 5, false, false, NULL, 0, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(en_tokenizer_encode(t, "abc a", 5, false, false, one, 1, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(one[0], 5);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void white_space_next_to_special_tokens(void **state)
{
    (void)state;
    en_meta *meta = small_meta();
    en_tokenizer *t;
    uint8_t strips[11] = {0};
    strips[7] = 1;
    strips[8] = 2;
    set_numbers(meta, "entrollm.tokenizer.strip", EN_META_U8, strips, 11);
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    CHECK(t, "a \n <|end|> a", false, true, 0, 7, 6);
    CHECK(t, "a <user> \n a", false, true, 0, 3, 8, 0);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

/* ---- merges against the obvious way ------------------------------------------------------- */

enum { N_LETTERS = 4, N_RANDOM_MERGES = 60 };

typedef struct random_bpe {
    char texts[N_LETTERS + N_RANDOM_MERGES][64];
    char merges[N_RANDOM_MERGES][64];
    int left[N_RANDOM_MERGES], right[N_RANDOM_MERGES], made[N_RANDOM_MERGES];
    int n_tokens, n_merges;
} random_bpe;

static int find_text(const random_bpe *r, const char *text)
{
    for (int i = 0; i < r->n_tokens; i++) {
        if (strcmp(r->texts[i], text) == 0)
            return i;
    }
    return -1;
}

static void make_random_bpe(random_bpe *r, uint64_t *seed)
{
    memset(r, 0, sizeof *r);
    for (r->n_tokens = 0; r->n_tokens < N_LETTERS; r->n_tokens++)
        r->texts[r->n_tokens][0] = (char)('a' + r->n_tokens);
    while (r->n_merges < N_RANDOM_MERGES) {
        int a = (int)(test_random(seed) % (uint64_t)r->n_tokens);
        int b = (int)(test_random(seed) % (uint64_t)r->n_tokens);
        char joined[128];
        snprintf(joined, sizeof joined, "%s%s", r->texts[a], r->texts[b]);
        if (strlen(joined) > 20)
            continue;
        int id = find_text(r, joined);
        if (id < 0) {
            id = r->n_tokens++;
            strcpy(r->texts[id], joined);
        }
        char merge[64];
        int n = snprintf(merge, sizeof merge, "%.20s %.20s", r->texts[a], r->texts[b]);
        memcpy(r->merges[r->n_merges], merge, (size_t)n + 1);
        r->left[r->n_merges] = a;
        r->right[r->n_merges] = b;
        r->made[r->n_merges++] = id;
    }
}

static int rank_of(const random_bpe *r, int a, int b)
{
    for (int i = 0; i < r->n_merges; i++) {
        if (r->left[i] == a && r->right[i] == b)
            return i;
    }
    return r->n_merges;
}

static size_t merge_slowly(const random_bpe *r, const char *text, int32_t *ids)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        ids[i] = text[i] - 'a';
    for (;;) {
        size_t best = 0;
        int best_rank = r->n_merges;
        for (size_t i = 0; i + 1 < n; i++) {
            int rank = rank_of(r, ids[i], ids[i + 1]);
            if (rank < best_rank) {
                best_rank = rank;
                best = i;
            }
        }
        if (best_rank == r->n_merges)
            return n;
        ids[best] = r->made[best_rank];
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof ids[0]);
        n--;
    }
}

static void short_and_long_words_merge_alike(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 60; round++) {
        random_bpe r;
        const char *tokens[N_LETTERS + N_RANDOM_MERGES], *merges[N_RANDOM_MERGES];
        make_random_bpe(&r, &seed);
        for (int i = 0; i < r.n_tokens; i++)
            tokens[i] = r.texts[i];
        for (int i = 0; i < r.n_merges; i++)
            merges[i] = r.merges[i];
        en_meta *meta = new_test_meta(round % 2 ? "llama" : "gpt2", "gpt-2");
        set_strings(meta, "tokenizer.ggml.tokens", tokens, (size_t)r.n_tokens);
        set_strings(meta, "tokenizer.ggml.merges", merges, (size_t)r.n_merges);
        en_meta_set_bool(meta, "tokenizer.ggml.add_space_prefix", false, NULL);
        en_tokenizer *t;
        assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
        for (int word = 0; word < 60; word++) {
            char text[201];
            int32_t ours[201], want[201];
            size_t n = 1 + test_random(&seed) % 200;
            for (size_t i = 0; i < n; i++)
                text[i] = (char)('a' + test_random(&seed) % N_LETTERS);
            text[n] = 0;
            size_t n_want = merge_slowly(&r, text, want);
            assert_int_equal(encode_text(t, text, false, false, ours, 201), n_want);
            assert_memory_equal(ours, want, n_want * sizeof ours[0]);
        }
        en_tokenizer_free(t);
        en_meta_free(meta);
    }
}

/* ---- SentencePiece ------------------------------------------------------------------------ */

static const char *const pieces[] = {"<unk>",
                                     "<s>",
                                     "</s>",
                                     "<0xC3>",
                                     "<0xA9>",
                                     "<0xFF>",
                                     "\xE2\x96\x81",
                                     "a",
                                     "b",
                                     "\xE2\x96\x81"
                                     "a",
                                     "ab",
                                     "\xE2\x96\x81"
                                     "ab"};
static const int32_t piece_types[] = {2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1};
static const float piece_scores[] = {0, 0, 0, 0, 0, 0, -9, -8, -7, -2, -1, -3};

static en_meta *pieces_meta(void)
{
    en_meta *meta = new_test_meta("llama", NULL);
    set_strings(meta, "tokenizer.ggml.tokens", pieces, 12);
    set_numbers(meta, "tokenizer.ggml.token_type", EN_META_I32, piece_types, 12);
    set_numbers(meta, "tokenizer.ggml.scores", EN_META_F32, piece_scores, 12);
    return meta;
}

static void pieces_by_score(void **state)
{
    (void)state;
    en_meta *meta = pieces_meta();
    en_tokenizer *t;
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    CHECK(t, "ab", true, false, 1, 11);
    CHECK(t, "aa ab", false, false, 9, 7, 11);
    CHECK(t, "\xC3\xA9\xFF", false, false, 6, 3, 4, 5); /* bytes */
    CHECK(t, "zyb", false, false, 6, 0, 8);             /* no byte tokens: unknown, once */
    CHECK(t, "a</s>a", false, true, 9, 2, 9);           /* a space in front of each stretch */
    CHECK(t,
          "a\xE2\x96\x81"
          "a",
          false, false, 9, 9);
    assert_string_equal(en_tokenizer_kind(t), "SentencePiece BPE");
    en_tokenizer_free(t);
    en_meta_set_bool(meta, "entrollm.tokenizer.space_prefix_once", true, NULL);
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    CHECK(t, "a</s>a", false, true, 9, 2, 7);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

/*
 * A map with one key, made by hand: 'b' becomes " a".  The root's children are at 1, so 'b' leads to
 * unit 1 ^ 'b', and its child of byte 0, the value, is unit 7.
 */
enum { N_UNITS = 256, CHILDREN = 1, UNIT_B = CHILDREN ^ 'b', VALUE = 7 };

static void set_charsmap(en_meta *meta, uint32_t n_trie, uint32_t value)
{
    uint8_t map[4 + 4 * N_UNITS + 4] = {0};
    en_store32(map, n_trie);
    en_store32(map + 4, CHILDREN << 10);
    en_store32(map + 4 + 4 * UNIT_B, 'b' | 1u << 8 | (UNIT_B ^ VALUE) << 10);
    en_store32(map + 4 + 4 * VALUE, value | 1u << 31);
    memcpy(map + 4 + 4 * N_UNITS, " a\0x", 4); /* the second text does not end */
    set_numbers(meta, "tokenizer.ggml.precompiled_charsmap", EN_META_U8, map, sizeof map);
}

static void normalizes_pieces(void **state)
{
    (void)state;
    en_meta *meta = pieces_meta();
    en_tokenizer *t;
    set_charsmap(meta, 4 * N_UNITS, 0);
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    CHECK(t, "b", false, false, 6, 9);
    CHECK(t, "ab", false, false, 9, 9);
    en_tokenizer_free(t);
    en_meta_set_bool(meta, "tokenizer.ggml.remove_extra_whitespaces", true, NULL);
    assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
    CHECK(t, "  b b  a   ", false, false, 9, 9, 9);
    int32_t ids[4];
    assert_int_equal(encode_text(t, "   ", false, false, ids, 4), 0);
    assert_int_equal(encode_text(t, "\xE2\x96\x81", false, false, ids, 4), 0);
    en_tokenizer_free(t);
    for (uint32_t value = 3; value < 1u << 31; value *= 5) { /* outside of the texts: no such key */
        set_charsmap(meta, 4 * N_UNITS, value);
        assert_int_equal(en_tokenizer_new(&t, meta, NULL), ENTRO_OK);
        CHECK(t, "ab", false, false, 11);
        en_tokenizer_free(t);
    }
    en_meta_free(meta);
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void check_refused(en_meta *meta, entro_status want, const char *hint)
{
    entro_error err = {0};
    en_tokenizer *t;
    assert_int_equal(en_tokenizer_new(&t, meta, &err), want);
    assert_null(t);
    assert_non_null(strstr(err.message, hint));
    en_meta_free(meta);
}

static void refuses_what_it_cannot_read(void **state)
{
    (void)state;
    check_refused(new_test_meta("gpt2", "gpt-2"), ENTRO_ERR_NOT_FOUND, "no tokenizer");
    en_meta *meta = small_meta();
    en_meta_remove(meta, "tokenizer.ggml.model");
    check_refused(meta, ENTRO_ERR_NOT_FOUND, "no tokenizer");
    meta = small_meta();
    en_meta_set_string(meta, "tokenizer.ggml.model", "t5", NULL);
    check_refused(meta, ENTRO_ERR_UNSUPPORTED, "'t5'");
    meta = small_meta();
    en_meta_set_string(meta, "tokenizer.ggml.pre", "nobody", NULL);
    check_refused(meta, ENTRO_ERR_UNSUPPORTED, "'nobody'");
    meta = small_meta();
    en_meta_remove(meta, "tokenizer.ggml.merges");
    check_refused(meta, ENTRO_ERR_FORMAT, "merges");
    meta = small_meta();
    set_numbers(meta, "tokenizer.ggml.token_type", EN_META_I32, small_types, 3);
    check_refused(meta, ENTRO_ERR_FORMAT, "token_type");
    meta = small_meta();
    en_meta_set_u32(meta, "tokenizer.ggml.tokens", 3, NULL);
    check_refused(meta, ENTRO_ERR_FORMAT, "tokenizer.ggml.tokens");
    meta = small_meta();
    en_meta_set_u32(meta, "tokenizer.ggml.merges", 3, NULL);
    check_refused(meta, ENTRO_ERR_FORMAT, "merges");
    meta = pieces_meta();
    en_meta_remove(meta, "tokenizer.ggml.scores");
    check_refused(meta, ENTRO_ERR_FORMAT, "scores");
    static const uint32_t sizes[] = {0, 3, 6, 4 * N_UNITS + 8, UINT32_MAX - 3};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        meta = pieces_meta();
        set_charsmap(meta, sizes[i], 0);
        check_refused(meta, ENTRO_ERR_FORMAT, "map of characters");
    }
}

static void each_allocation_fails_once(const en_meta *meta)
{
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    char text[300];
    memset(text, 'a', sizeof text);
    memcpy(text, "e\xCC\x81 ", 4);
    for (uint64_t n = 0; status != ENTRO_OK; n++) {
        en_tokenizer *t;
        size_t n_ids;
        en_memory_fail_at(n);
        status = en_tokenizer_new(&t, meta, NULL);
        if (status == ENTRO_OK)
            status = en_tokenizer_encode(t, text, sizeof text, true, true, NULL, 0, &n_ids, NULL);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        en_memory_fail_at(UINT64_MAX);
        en_tokenizer_free(t);
        assert_int_equal(en_memory_in_use(), before);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    en_meta *meta = small_meta();
    en_meta_set_string(meta, "tokenizer.ggml.pre", "qwen2", NULL);
    each_allocation_fails_once(meta);
    en_meta_free(meta);
    meta = pieces_meta();
    set_charsmap(meta, 4 * N_UNITS, 0);
    each_allocation_fails_once(meta);
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank),
        cmocka_unit_test(special_tokens_in_text),
        cmocka_unit_test(asking_for_the_size),
        cmocka_unit_test(white_space_next_to_special_tokens),
        cmocka_unit_test(short_and_long_words_merge_alike),
        cmocka_unit_test(pieces_by_score),
        cmocka_unit_test(normalizes_pieces),
        cmocka_unit_test(refuses_what_it_cannot_read),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
