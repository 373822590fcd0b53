/*
 * test_hf_tokenizer.c - tokenizer files of Hugging Face folders to GGUF keys.
 */
#include "formats/hf_tokenizer.h"

#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "test_support.h"

enum { N_FILES = 8 };

static en_meta *meta;
static en_json files_json[N_FILES];
static size_t n_json;

static const en_json_node *json(const char *text)
{
    entro_error err = {0};
    if (en_json_parse(&files_json[n_json], text, strlen(text), false, &err) != ENTRO_OK)
        fail_msg("%s: %s", text, err.message);
    return files_json[n_json++].nodes;
}

static entro_status build(const en_hf_tokenizer_files *files, uint32_t n_vocab, entro_error *err)
{
    assert_int_equal(en_meta_new(&meta, NULL), ENTRO_OK);
    return en_hf_tokenizer_build(meta, files, n_vocab, err);
}

static void accepted(const en_hf_tokenizer_files *files, uint32_t n_vocab)
{
    entro_error err = {0};
    if (build(files, n_vocab, &err) != ENTRO_OK)
        fail_msg("%s", err.message);
}

static void done(void)
{
    en_meta_free(meta);
    while (n_json > 0)
        en_json_close(&files_json[--n_json]);
    assert_int_equal(en_memory_in_use(), 0);
}

static void refused(const en_hf_tokenizer_files *files, entro_status expected, const char *words)
{
    entro_error err = {0};
    assert_int_equal(build(files, 0, &err), expected);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' lacks '%s'", err.message, words);
    done();
}

static bool string_is(const char *key, const char *text)
{
    return en_span_is(en_meta_string(meta, key), text);
}

static const en_meta_value *array(const char *key)
{
    const en_meta_value *value = en_meta_get(meta, key);
    assert_non_null(value);
    assert_true(value->is_array);
    return value;
}

static bool token_is(uint32_t id, const char *text, int kind)
{
    const en_meta_value *tokens = array("tokenizer.ggml.tokens");
    assert_true(id < tokens->n);
    return en_span_is(tokens->strings[id], text) &&
           en_meta_array_int(array("tokenizer.ggml.token_type"), id) == kind;
}

static uint32_t id_of(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    return en_meta_u32(meta, key, 999);
}

#define VOCAB      "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3}"
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":"
#define BPE(splitter)                                                                              \
    "{\"model\":{\"type\":\"BPE\"," VOCAB                                                          \
    ",\"merges\":[\"a b\",\"ab a\"]},\"pre_tokenizer\":" splitter "}"

/* ---- byte-level BPE ---------------------------------------------------------------------------- */

static void reads_byte_level_bpe(void **state)
{
    (void)state;
    en_hf_tokenizer_files f = {
        .tokenizer =
            json("{\"model\":{\"type\":\"BPE\"," VOCAB
                 ",\"merges\":[[\"a\",\"b\"],[\"ab\",\"a\"]]},\"pre_tokenizer\":" BYTE_LEVEL
                 "true},\"added_tokens\":["
                 "{\"id\":4,\"content\":\"<|end|>\",\"special\":false,\"rstrip\":true},"
                 "{\"id\":5,\"content\":\"x▁y\",\"special\":false,\"lstrip\":true},"
                 "{\"id\":6,\"content\":\"[S]\",\"special\":true},"
                 "{\"id\":99,\"content\":\"no row\",\"special\":true}]}"),
        .config = json("{\"eos_token\":\"<|end|>\",\"bos_token\":{\"content\":\"[S]\"},"
                       "\"pad_token\":null,\"chat_template\":\"{{ messages }}\"}")};
    accepted(&f, 8);
    assert_true(string_is("tokenizer.ggml.model", "gpt2"));
    assert_true(string_is("tokenizer.ggml.pre", "gpt-2"));
    assert_true(string_is("tokenizer.chat_template", "{{ messages }}"));
    assert_int_equal(array("tokenizer.ggml.tokens")->n, 8);
    assert_true(token_is(2, "ab", 1) && token_is(4, "<|end|>", 3) && token_is(5, "x y", 4));
    assert_true(token_is(6, "[S]", 3) && token_is(7, "[PAD7]", 5));
    const en_meta_value *merges = array("tokenizer.ggml.merges");
    assert_true(merges->n == 2 && en_span_is(merges->strings[1], "ab a"));
    const en_meta_value *strip = array("entrollm.tokenizer.strip");
    assert_true(strip->n == 8 && en_meta_array_int(strip, 4) == 2 &&
                en_meta_array_int(strip, 5) == 1 && en_meta_array_int(strip, 6) == 0);
    assert_null(en_meta_get(meta, "tokenizer.ggml.scores"));
    assert_null(en_meta_get(meta, "tokenizer.ggml.add_space_prefix"));
    assert_null(en_meta_get(meta, "tokenizer.ggml.padding_token_id"));
    assert_int_equal(id_of("eos"), 4);
    assert_int_equal(id_of("bos"), 6);
    assert_false(en_meta_bool(meta, "tokenizer.ggml.add_bos_token", true));
    done();
}

#define SPLIT(pattern)                                                                             \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL "false}]}"
#define CL100K(digits)                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                 \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

#define CASED  "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define UPPER  "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define SHORTS "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
#define O200K                                                                                      \
    UPPER "*" CASED "+" SHORTS UPPER "+" CASED "*" SHORTS                                          \
          "\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"                                              \
          "[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static void names_pre_tokenizers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
    } cases[] = {
        {BPE(BYTE_LEVEL "true}"), "gpt-2"},
        {BPE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
             "\"individual_digits\":true}," BYTE_LEVEL "true}]}"),
         "smollm"},
        {BPE(SPLIT(CL100K("\\\\p{N}"))), "qwen2"},
        {BPE(SPLIT(CL100K("\\\\p{N}{1,3}"))), "dbrx"},
        {"{\"model\":{\"ignore_merges\":true," VOCAB
         ",\"merges\":[]},\"pre_tokenizer\":" SPLIT(CL100K("\\\\p{N}{1,3}")) "}",
         "llama-bpe"},
        {BPE(SPLIT(O200K)), "gpt-4o"},
        {BPE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
             "\"" O200K "\"},\"behavior\":\"Removed\",\"invert\":true}," BYTE_LEVEL "false}]}"),
         "gpt-4o"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accepted(&(en_hf_tokenizer_files){.tokenizer = json(cases[i].text)}, 0);
        if (!string_is("tokenizer.ggml.pre", cases[i].name))
            fail_msg("case %zu is not %s", i, cases[i].name);
        done();
    }
}

static void refuses_unknown_pre_tokenizers(void **state)
{
    (void)state;
    static const char *const cases[] = {
        BPE("null"),
        BPE("{\"type\":\"Whitespace\"}"),
        BPE(SPLIT("\\\\s+")),
        BPE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
            "\"x\"},"
            "\"behavior\":\"Removed\"}," BYTE_LEVEL "false}]}"),
        BPE("{\"type\":\"Digits\",\"individual_digits\":true}"),
        BPE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"}," BYTE_LEVEL
            "true}]}"),
        BPE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\"}]}"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(&(en_hf_tokenizer_files){.tokenizer = json(cases[i])}, ENTRO_ERR_UNSUPPORTED,
                "pre-tokenizer that is not one of");
}

#define WITH_NORMALIZER(model, normalizer)                                                         \
    "{\"model\":{" model VOCAB ",\"merges\":[]},\"pre_tokenizer\":" BYTE_LEVEL                     \
    "true},\"normalizer\":" normalizer "}"
#define STEPS(steps) "{\"type\":\"Sequence\",\"normalizers\":[" steps "]}"
#define NFC          "{\"type\":\"NFC\"}"
#define MARK_SPACES(out)                                                                           \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" out "\"}"
#define PIECES "\"byte_fallback\":true,"

static void reads_normalizers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool composes;
    } cases[] = {{WITH_NORMALIZER("", "null"), false},
                 {WITH_NORMALIZER("", NFC), true},
                 {WITH_NORMALIZER("", STEPS(NFC)), true},
                 {WITH_NORMALIZER("", STEPS("")), false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accepted(&(en_hf_tokenizer_files){.tokenizer = json(cases[i].text)}, 0);
        assert_int_equal(en_meta_bool(meta, "entrollm.tokenizer.nfc", !cases[i].composes),
                         cases[i].composes);
        done();
    }
    accepted(
        &(en_hf_tokenizer_files){
            .tokenizer = json(WITH_NORMALIZER(
                PIECES, STEPS("{\"type\":\"Prepend\",\"prepend\":\"▁\"}," MARK_SPACES("▁"))))},
        0);
    assert_null(en_meta_get(meta, "entrollm.tokenizer.nfc"));
    done();
    static const struct {
        const char *text, *words;
    } bad[] = {{WITH_NORMALIZER("", "{\"type\":\"NFKC\"}"), "'NFKC' is not supported"},
               {WITH_NORMALIZER("", STEPS(NFC ",{\"type\":\"Lowercase\"}")), "'Lowercase'"},
               {WITH_NORMALIZER("", "{}"), "'none'"},
               {WITH_NORMALIZER("", MARK_SPACES("▁")), "'Replace'"},
               {WITH_NORMALIZER(PIECES, MARK_SPACES("x")), "'Replace'"},
               {WITH_NORMALIZER(PIECES, NFC), "'NFC'"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(&(en_hf_tokenizer_files){.tokenizer = json(bad[i].text)}, ENTRO_ERR_UNSUPPORTED,
                bad[i].words);
    refused(&(en_hf_tokenizer_files){.tokenizer = json(BPE(BYTE_LEVEL "true}")),
                                     .config = json("{\"add_prefix_space\":true}")},
            ENTRO_ERR_UNSUPPORTED, "add_prefix_space");
}

static void reads_vocab_and_merges_files(void **state)
{
    (void)state;
    static const char merges[] = "#version: 0.2\na b\r\n\nab a";
    en_hf_tokenizer_files f = {
        .vocab = json("{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3}"),
        .merges = {merges, sizeof merges - 1},
        .config = json("{\"tokenizer_class\":\"Qwen2Tokenizer\",\"added_tokens_decoder\":{"
                       "\"4\":{\"content\":\"<tool>\",\"special\":false},"
                       "\"x\":{\"content\":\"skipped\"}}}")};
    accepted(&f, 5);
    assert_true(string_is("tokenizer.ggml.pre", "qwen2"));
    assert_int_equal(array("tokenizer.ggml.merges")->n, 2);
    assert_true(en_span_is(array("tokenizer.ggml.merges")->strings[0], "a b"));
    assert_true(token_is(4, "<tool>", 4));
    done();
}

/* ---- converted SentencePiece ---------------------------------------------------------------------- */

static void reads_bpe_with_byte_fallback(void **state)
{
    (void)state;
    en_hf_tokenizer_files f = {
        .tokenizer = json(
            "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"vocab\":"
            "{\"<unk>\":0,\"<s>\":1,\"<0x0A>\":2,\"▁\":3,\"a\":4,\"▁a\":5,\"▁aa\":6},"
            "\"merges\":[\"▁ a\",\"▁a a\",\"a a\"]},"
            "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
            "\"prepend\":\"▁\"}]},"
            "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
            "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]},"
            "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true},"
            "{\"id\":0,\"content\":\"<unk>\",\"special\":true}]}"),
        .model_config = json("{\"eos_token_id\":[6,5,4,3],\"bos_token_id\":1}")};
    accepted(&f, 0);
    assert_true(string_is("tokenizer.ggml.model", "llama"));
    assert_true(string_is("tokenizer.ggml.pre", "default"));
    assert_true(token_is(0, "<unk>", 2) && token_is(1, "<s>", 3) && token_is(2, "<0x0A>", 6));
    const en_meta_value *scores = array("tokenizer.ggml.scores");
    assert_true(en_meta_array_f32(scores, 5) == 0 && en_meta_array_f32(scores, 6) == -1);
    assert_true(en_meta_array_f32(scores, 4) == -3 && en_meta_array_f32(scores, 2) == 0);
    assert_int_equal(array("tokenizer.ggml.merges")->n, 3);
    assert_true(en_meta_bool(meta, "tokenizer.ggml.add_space_prefix", false));
    assert_true(en_meta_bool(meta, "tokenizer.ggml.add_bos_token", false));
    assert_false(en_meta_bool(meta, "tokenizer.ggml.add_eos_token", true));
    assert_true(id_of("bos") == 1 && id_of("eos") == 6 && id_of("eot") == 5 && id_of("eom") == 4);
    assert_null(en_meta_get(meta, "entrollm.tokenizer.strip"));
    done();
}

static void reads_metaspace_schemes(void **state)
{
    (void)state;
#define SPM(splitter)                                                                              \
    "{\"model\":{\"byte_fallback\":true,\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":"     \
    "{\"type\":\"Metaspace\"," splitter "}}"
    static const struct {
        const char *text;
        bool prefix, once;
    } cases[] = {{SPM("\"prepend_scheme\":\"always\""), true, false},
                 {SPM("\"prepend_scheme\":\"first\""), true, true},
                 {SPM("\"prepend_scheme\":\"never\""), false, false},
                 {SPM("\"add_prefix_space\":false"), false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accepted(&(en_hf_tokenizer_files){.tokenizer = json(cases[i].text)}, 0);
        assert_int_equal(en_meta_bool(meta, "tokenizer.ggml.add_space_prefix", !cases[i].prefix),
                         cases[i].prefix);
        assert_int_equal(en_meta_bool(meta, "entrollm.tokenizer.space_prefix_once", false),
                         cases[i].once);
        assert_int_equal(en_meta_bool(meta, "entrollm.tokenizer.space_prefix_if_missing", false),
                         cases[i].prefix);
        done();
    }
}

/* "<unk>", "<s>", "</s>", "▁a" */
static const char spm_file[] = "\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02"
                               "\x0a\x0c\x0a\x03<s>\x15\0\0\0\0\x18\x03"
                               "\x0a\x0d\x0a\x04</s>\x15\0\0\0\0\x18\x03"
                               "\x0a\x0d\x0a\x04▁a\x15\0\0\x80\xbf\x18\x01"
                               "\x12\x02\x18\x02\x1a\x02\x20\0";

static void prefers_the_sentencepiece_model(void **state)
{
    (void)state;
    en_hf_tokenizer_files f = {.sentencepiece = {spm_file, sizeof spm_file - 1},
                               .tokenizer =
                                   json("{\"model\":{\"type\":\"Unigram\"},\"added_tokens\":["
                                        "{\"id\":4,\"content\":\"<|user|>\",\"special\":true}]}"),
                               .added = json("{\"<extra>\":5,\"<gone>\":77}"),
                               .special = json("{\"pad_token\":{\"content\":\"</s>\"}}"),
                               .config = json("{\"add_bos_token\":true,\"add_eos_token\":true}")};
    accepted(&f, 7);
    assert_true(string_is("tokenizer.ggml.model", "llama"));
    assert_true(token_is(3, "▁a", 1) && token_is(4, "<|user|>", 3) && token_is(5, "<extra>", 4));
    assert_true(token_is(6, "[PAD6]", 5));
    assert_true(en_meta_array_f32(array("tokenizer.ggml.scores"), 3) == -1);
    assert_true(id_of("bos") == 1 && id_of("eos") == 2 && id_of("unknown") == 0);
    assert_int_equal(id_of("padding"), 2);
    assert_true(en_meta_bool(meta, "tokenizer.ggml.add_bos_token", false));
    assert_true(en_meta_bool(meta, "tokenizer.ggml.add_eos_token", false));
    done();
    accepted(&(en_hf_tokenizer_files){.sentencepiece = {spm_file, sizeof spm_file - 1}}, 0);
    assert_int_equal(array("tokenizer.ggml.tokens")->n, 4);
    assert_true(en_meta_bool(meta, "tokenizer.ggml.add_bos_token", false));
    assert_true(en_meta_bool(meta, "tokenizer.ggml.add_space_prefix", false));
    done();
}

/* ---- the rest ------------------------------------------------------------------------------------ */

static void picks_the_default_chat_template(void **state)
{
    (void)state;
    static const char text[] = "from the jinja file";
    en_hf_tokenizer_files f = {
        .tokenizer = json(BPE(BYTE_LEVEL "true}")),
        .config = json("{\"chat_template\":[{\"name\":\"rag\",\"template\":\"r\"},"
                       "{\"name\":\"default\",\"template\":\"d\"},"
                       "{\"name\":\"tool\",\"template\":\"t\"}]}"),
        .template_text = {text, sizeof text - 1},
        .template_json = json("{\"chat_template\":\"from chat_template.json\"}")};
    accepted(&f, 0);
    assert_true(string_is("tokenizer.chat_template", "d"));
    en_meta_free(meta);
    f.config = NULL;
    accepted(&f, 0);
    assert_true(string_is("tokenizer.chat_template", text));
    en_meta_free(meta);
    f.template_text.p = NULL;
    accepted(&f, 0);
    assert_true(string_is("tokenizer.chat_template", "from chat_template.json"));
    done();
}

static void sets_nothing_without_a_vocabulary(void **state)
{
    (void)state;
    accepted(&(en_hf_tokenizer_files){.config = json("{\"eos_token\":\"x\"}")}, 10);
    assert_int_equal(en_meta_count(meta), 0);
    done();
    accepted(&(en_hf_tokenizer_files){.vocab = json("{\"a\":0}")}, 10);
    assert_int_equal(en_meta_count(meta), 0);
    done();
}

static void refuses_damaged_vocabularies(void **state)
{
    (void)state;
#define MODEL(rest) "{\"model\":{" rest "},\"pre_tokenizer\":" BYTE_LEVEL "true}}"
    static const struct {
        const char *text, *words;
        entro_status status;
    } cases[] = {
        {"{}", "tokenizer model 'none'", ENTRO_ERR_UNSUPPORTED},
        {MODEL("\"type\":\"Unigram\""), "'Unigram'", ENTRO_ERR_UNSUPPORTED},
        {MODEL("\"merges\":[]"), "without 'vocab'", ENTRO_ERR_FORMAT},
        {MODEL("\"vocab\":{},\"merges\":[]"), "without 'vocab'", ENTRO_ERR_FORMAT},
        {MODEL("\"vocab\":{\"a\":\"b\"},\"merges\":[]"), "'a' has no id", ENTRO_ERR_FORMAT},
        {MODEL("\"vocab\":{\"a\":-1},\"merges\":[]"), "'a' has no id", ENTRO_ERR_FORMAT},
        {MODEL(VOCAB), "without 'merges'", ENTRO_ERR_FORMAT},
        {MODEL(VOCAB ",\"merges\":[\"ab\"]"), "merge 0 is not a pair", ENTRO_ERR_FORMAT},
        {MODEL(VOCAB ",\"merges\":[\"a b\",[\"a\"]]"), "merge 1 is not a pair", ENTRO_ERR_FORMAT},
        {MODEL(VOCAB ",\"merges\":[[\"a\",\"\"]]"), "merge 0 is not a pair", ENTRO_ERR_FORMAT},
        {MODEL(VOCAB ",\"merges\":[[\"a \",\"b\"]]"), "hold spaces", ENTRO_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(&(en_hf_tokenizer_files){.tokenizer = json(cases[i].text)}, cases[i].status,
                cases[i].words);
    refused(&(en_hf_tokenizer_files){.vocab = json("{\"a\":0}"), .merges = {"a b c", 5}},
            ENTRO_ERR_FORMAT, "line 1 is not a pair");
    refused(&(en_hf_tokenizer_files){.sentencepiece = {"\x0a", 1}}, ENTRO_ERR_FORMAT,
            "no SentencePiece model");
}

static void reads_real_tokenizers(void **state)
{
    (void)state;
    static const struct {
        const char *path, *model, *pre;
        uint32_t n_tokens, n_merges;
    } cases[] = {
        {"smollm2/tokenizer.json", "gpt2", "smollm", 49152, 48900},
        {"phi-3/tokenizer.json", "llama", "default", 32011, 61249},
        {"gpt-neox-20b/20B_tokenizer.json", "gpt2", "gpt-2", 50277, 50009},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/data/tokenizers/%s", TEST_SHARED, cases[i].path);
        if (!en_path_exists(path))
            skip();
        assert_int_equal(en_json_load(&files_json[n_json++], path, 1 << 28, NULL), ENTRO_OK);
        accepted(&(en_hf_tokenizer_files){.tokenizer = files_json[0].nodes}, 0);
        assert_true(string_is("tokenizer.ggml.model", cases[i].model));
        assert_true(string_is("tokenizer.ggml.pre", cases[i].pre));
        assert_int_equal(array("tokenizer.ggml.tokens")->n, cases[i].n_tokens);
        assert_int_equal(array("tokenizer.ggml.merges")->n, cases[i].n_merges);
        done();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_byte_level_bpe),
        cmocka_unit_test(names_pre_tokenizers),
        cmocka_unit_test(refuses_unknown_pre_tokenizers),
        cmocka_unit_test(reads_normalizers),
        cmocka_unit_test(reads_vocab_and_merges_files),
        cmocka_unit_test(reads_bpe_with_byte_fallback),
        cmocka_unit_test(reads_metaspace_schemes),
        cmocka_unit_test(prefers_the_sentencepiece_model),
        cmocka_unit_test(picks_the_default_chat_template),
        cmocka_unit_test(sets_nothing_without_a_vocabulary),
        cmocka_unit_test(refuses_damaged_vocabularies),
        cmocka_unit_test(reads_real_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
