/*
 * test_tune.c - a tuned file is the same file with other gains and biases, verify knows it, and what cannot be
 * tuned is refused.
 */
#include "container/format_keys.h"
#include "container/container.h"
#include "container/packed_meta.h"
#include "engine/engine.h"
#include "model/model_vectors.h"
#include "pipeline/tuned_file.h"

#include <math.h>
#include <stdio.h>

#include "compress_support.h"
#include "gguf_support.h"

static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";
#define FIXTURE(name) TEST_FIXTURES "/models/" name

/* A container, with what can be done to its vectors. */
typedef struct opened {
    en_source *source;
    en_tuned_file file;
    en_container *container;
    en_decoder *decoder;
} opened;

static opened open_coded(const char *path)
{
    opened o = {0};
    entro_error err = {0};
    if (en_source_open(&o.source, path, &err) != ENTRO_OK ||
        en_tuned_file_open(&o.file, o.source, &err) != ENTRO_OK ||
        en_container_open(&o.container, o.source, &err) != ENTRO_OK ||
        en_decoder_new(&o.decoder, o.source, o.container, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return o;
}

static void close_coded(opened *o)
{
    en_tuned_file_close(&o->file);
    en_decoder_free(o->decoder);
    en_container_close(o->container);
    en_source_close(o->source);
}

typedef float (*change_fn)(float v, uint64_t i);

static float grow(float v, uint64_t i)
{
    return v * (1.0f + 0.01f * (float)(i % 5));
}

static bool changes(const char *name, const char *which)
{
    return strstr(name, which) != NULL;
}

/* The file 'from' with its vectors named like 'which' changed. */
static void write_tuned(const char *from, const char *to, const char *which, change_fn change)
{
    opened o = open_coded(from);
    entro_error err = {0};
    for (uint32_t i = 0; i < en_source_n_tensors(o.source); i++) {
        uint64_t n;
        const char *name = en_source_tensor(o.source, i)->name;
        float *v = en_weights_vector(&o.decoder->weights, &o.decoder->hp, name, &n);
        for (uint64_t k = 0; k < n && changes(name, which); k++)
            v[k] = change(v[k], k);
    }
    if (en_tuned_file_write(&o.file, o.decoder, 1000, to, true, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(o.file.n_replaced > 0 && o.file.n_values > o.file.n_replaced);
    close_coded(&o);
}

static en_source *open_source(const char *path)
{
    en_source *s = NULL;
    assert_int_equal(en_source_open(&s, path, NULL), ENTRO_OK);
    return s;
}

static bool is_vector(const en_tensor *t)
{
    return t->n_dims == 1 &&
           (strstr(t->name, "norm.weight") != NULL || strstr(t->name, ".bias") != NULL);
}

static void compare_keys(const en_source *a, const en_source *b)
{
    const en_meta *before = en_source_meta(a), *after = en_source_meta(b);
    assert_int_equal(en_meta_count(after), en_meta_count(before) + 1);
    for (size_t i = 0; i < en_meta_count(before); i++) {
        const char *key = en_meta_key(before, i);
        char one[512], other[512];
        assert_string_equal(en_meta_key(after, i), key);
        en_meta_format(en_meta_at(before, i), one, sizeof one);
        en_meta_format(en_meta_at(after, i), other, sizeof other);
        bool is_ours = strcmp(key, EN_KEY_RECIPE) == 0 || strcmp(key, EN_KEY_HASHES) == 0;
        if (!is_ours)
            assert_string_equal(one, other);
    }
    assert_int_equal(en_meta_get(after, EN_KEY_TUNED)->u, 1000);
    en_span old = en_meta_string(before, EN_KEY_RECIPE), new = en_meta_string(after, EN_KEY_RECIPE);
    assert_int_equal(new.n, old.n + strlen(" tune=1000"));
    assert_memory_equal(new.p, old.p, old.n);
    assert_memory_equal(new.p + old.n, " tune=1000", strlen(" tune=1000"));
}

static void compare_files(const char *from, const char *to, uint32_t dtype_before)
{
    en_source *a = open_source(from), *b = open_source(to);
    compare_keys(a, b);
    assert_int_equal(en_source_n_tensors(a), en_source_n_tensors(b));
    uint32_t n_changed = 0;
    for (uint32_t i = 0; i < en_source_n_tensors(a); i++) {
        const en_tensor *before = en_source_tensor(a, i), *after = en_source_tensor(b, i);
        assert_string_equal(before->name, after->name);
        assert_memory_equal(before->dims, after->dims, sizeof before->dims);
        if (is_vector(before)) {
            assert_int_equal(before->dtype, dtype_before);
            assert_int_equal(after->dtype, EN_DTYPE_F32);
            n_changed += before->dtype != EN_DTYPE_F32 ||
                         memcmp(before->data, after->data, (size_t)before->n_bytes) != 0;
            continue;
        }
        assert_int_equal(before->dtype, after->dtype);
        assert_int_equal(before->n_bytes, after->n_bytes);
        assert_memory_equal(before->data, after->data, (size_t)before->n_bytes);
    }
    assert_true(n_changed > 2);
    if (dtype_before == EN_DTYPE_F32)
        assert_true(en_source_file_bytes(b) <= en_source_file_bytes(a) + EN_TUNED_MORE_BYTES);
    en_source_close(a);
    en_source_close(b);
}

static void all_but_vectors_and_notes_stays(void **state)
{
    (void)state;
    static const char *const overrides[] = {"*.attn_q.weight=u8"};
    const struct {
        const char *source;
        entro_compress_options opt;
        uint32_t dtype;
    } cases[] = {
        {stories, {.method = "u8", .table = "model", .coding = "words"}, EN_DTYPE_F32},
        {stories, {.method = "u8", .coding = "strips"}, EN_DTYPE_F32},
        {TEST_SHARED "/data/models/tinystories-656k",
         {.method = "rtn", .coding = "rans"},
         EN_DTYPE_F32},
        {FIXTURE("llama-bias"), {.method = "u8"}, EN_DTYPE_F32},
        {FIXTURE("phi3-longrope"), {.method = "u8"}, EN_DTYPE_F32},
        {FIXTURE("qwen2"), {.method = "u8"}, EN_DTYPE_F32},
        {FIXTURE("llama"),
         {.method = "lossless", .overrides = overrides, .n_overrides = 1},
         EN_DTYPE_BF16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        entro_compress_options opt = cases[i].opt;
        opt.overwrite = true;
        test_compress(cases[i].source, test_path("c"), &opt);
        write_tuned(test_path("c"), test_path("t"), "", grow);
        compare_files(test_path("c"), test_path("t"), cases[i].dtype);
        entro_error err = {0};
        if (en_verify(test_path("t"), cases[i].source, NULL, NULL, &err) != ENTRO_OK)
            fail_msg("%s: %s", err.where, err.message);
        opened o = open_coded(test_path("t")); /* what was written is what is loaded */
        opened before = open_coded(test_path("c"));
        const float *v = o.decoder->weights.layers[0].attn_norm;
        const float *w = before.decoder->weights.layers[0].attn_norm;
        for (uint32_t k = 0; k < o.decoder->hp.n_embd; k++)
            assert_true(v[k] == grow(w[k], k));
        close_coded(&before);
        close_coded(&o);
    }
    /* Once more: the notes add up. */
    write_tuned(test_path("t"), test_path("t"), "", grow);
    en_source *s = open_source(test_path("t"));
    assert_int_equal(en_meta_get(en_source_meta(s), EN_KEY_TUNED)->u, 2000);
    en_source_close(s);
    unlink(test_path("c"));
    unlink(test_path("t"));
}

static void packed_keys_are_not_doubled(void **state)
{
    (void)state;
    const char *tiny = TEST_SHARED "/data/models/tinystories-656k";
    entro_compress_options opt = {.method = "rtn", .coding = "rans"};
    test_compress(tiny, test_path("c"), &opt);
    write_tuned(test_path("c"), test_path("t"), "", grow);
    en_source *s = open_source(test_path("t"));
    assert_non_null(en_source_find(s, EN_METADATA_TENSOR));
    assert_null(en_meta_get(en_source_meta(s), "tokenizer.ggml.tokens"));
    en_source_close(s);
    entro_model *model;
    assert_int_equal(en_model_open(&model, test_path("t"), NULL, NULL), ENTRO_OK);
    assert_non_null(model->tokenizer);
    en_model_close(model);
    unlink(test_path("c"));
    unlink(test_path("t"));
}

/* ---- what verify makes of it ----------------------------------------------------------------- */

static float five_fold(float v, uint64_t i)
{
    return i == 3 ? 5 * v : v;
}

static float turned(float v, uint64_t i)
{
    (void)i;
    return -v;
}

static float one_nan(float v, uint64_t i)
{
    return i == 2 ? NAN : v;
}

static float one_turned(float v, uint64_t i)
{
    return i == 1 ? -v : v;
}

static void verify_tells_tuned_from_foreign(void **state)
{
    (void)state;
    static const struct {
        const char *which;
        change_fn change;
        const char *message; /* NULL: all right */
    } cases[] = {
        {"", grow, NULL},
        {".bias", one_turned, NULL},
        {"attn_norm", five_fold, "a factor of at most 4"},
        {"ffn_norm", one_turned, "a factor of at most 4"},
        {"output_norm", one_nan, "a factor of at most 4"},
        {"attn_k.bias", turned, "correlation"},
        {"attn_v.bias", one_nan, "finite"},
    };
    entro_compress_options opt = {.method = "u8"};
    test_compress(FIXTURE("qwen2"), test_path("c"), &opt);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tuned(test_path("c"), test_path("t"), cases[i].which, cases[i].change);
        entro_error err = {0};
        entro_status status = en_verify(test_path("t"), FIXTURE("qwen2"), NULL, NULL, &err);
        assert_int_equal(status, cases[i].message != NULL ? ENTRO_ERR_MISMATCH : ENTRO_OK);
        if (cases[i].message != NULL && strstr(err.message, cases[i].message) == NULL)
            fail_msg("case %zu: %s: %s", i, err.where, err.message);
        assert_int_equal(en_verify(test_path("t"), NULL, NULL, NULL, NULL), ENTRO_OK);
    }
    write_tuned(test_path("c"), test_path("t"), "", grow);
    assert_int_equal(en_verify(test_path("t"), FIXTURE("llama"), NULL, NULL, NULL),
                     ENTRO_ERR_MISMATCH);
    unlink(test_path("c"));
    unlink(test_path("t"));
}

/* ---- what cannot be tuned -------------------------------------------------------------------- */

static void refuse(const char *source, const char *model, const entro_tune_options *opt,
                   entro_status status, const char *message)
{
    entro_error err = {0};
    char said[1400];
    entro_status found = en_tune(source, model, test_path("o"), opt, NULL, &err);
    snprintf(said, sizeof said, "%s: %s", err.where, err.message);
    if (found != status || strstr(said, message) == NULL)
        fail_msg("expected %d, '%s'; got %d, '%s'", status, message, found, said);
    assert_int_equal(access(test_path("o"), F_OK), -1);
}

/* The source's tensors but one, as a GGUF file. */
static void write_without(const char *source, const char *name, const char *path)
{
    assert_int_equal(en_restore(source, test_path("all"), "f32", NULL, NULL, NULL), ENTRO_OK);
    en_source *s = open_source(test_path("all"));
    en_tensor tensors[64];
    const uint8_t *data[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < en_source_n_tensors(s); i++) {
        if (strcmp(en_source_tensor(s, i)->name, name) == 0)
            continue;
        assert_in_range(n, 0, 63);
        tensors[n] = *en_source_tensor(s, i);
        data[n++] = en_source_tensor(s, i)->data;
    }
    assert_int_equal(n, en_source_n_tensors(s) - 1);
    en_gguf_output out;
    uint64_t n_bytes;
    const en_meta *meta = en_source_meta(s);
    uint32_t alignment = en_meta_u32(meta, "general.alignment", 32);
    assert_int_equal(en_gguf_output_begin(&out, path, false, meta, tensors, n, alignment, NULL),
                     ENTRO_OK);
    for (uint32_t i = 0; i < n; i++) {
        size_t size = (size_t)tensors[i].n_bytes;
        assert_int_equal(en_gguf_output_start(&out, i, NULL), ENTRO_OK);
        assert_int_equal(en_gguf_output_put(&out, i, data[i], size, NULL), ENTRO_OK);
    }
    assert_int_equal(en_gguf_output_finish(&out, &n_bytes, NULL), ENTRO_OK);
    en_source_close(s);
    unlink(test_path("all"));
}

static void half_a_fused_bias_is_refused(void **state)
{
    (void)state;
    write_without(FIXTURE("llama-bias"), "blk.0.attn_k.bias", test_path("s"));
    entro_compress_options opt = {.method = "u8"};
    test_compress(test_path("s"), test_path("c"), &opt);
    refuse(test_path("s"), test_path("c"), NULL, ENTRO_ERR_UNSUPPORTED, "blk.0.attn_k.bias");
    unlink(test_path("s"));
    unlink(test_path("c"));
}

static void what_cannot_be_tuned_is_refused(void **state)
{
    (void)state;
    entro_compress_options opt = {.method = "u8"}, lossless = {.method = "lossless"};
    test_compress(FIXTURE("llama"), test_path("c"), &opt);
    refuse(FIXTURE("llama"), stories, NULL, ENTRO_ERR_ARGUMENT, "is not an EntroLLM container");
    refuse(FIXTURE("llama"), test_path("none"), NULL, ENTRO_ERR_NOT_FOUND, "none");
    refuse(test_path("none"), test_path("c"), NULL, ENTRO_ERR_NOT_FOUND, "none");
    refuse(test_path("c"), test_path("c"), NULL, ENTRO_ERR_ARGUMENT, "is a container itself");
    refuse(stories, test_path("c"), NULL, ENTRO_ERR_MISMATCH, "has shape"); /* other shapes */
    refuse(FIXTURE("llama3-rope"), test_path("c"), NULL, ENTRO_ERR_MISMATCH, test_path("c"));
    refuse(FIXTURE("llama"), test_path("c"), NULL, ENTRO_ERR_NOT_FOUND, "no tokenizer");
    test_compress(FIXTURE("llama"), test_path("l"), &lossless);
    refuse(FIXTURE("llama"), test_path("l"), NULL, ENTRO_ERR_ARGUMENT, "nothing to tune");
    unlink(test_path("c"));
    unlink(test_path("l"));
}

static void damaged_file_is_refused(void **state)
{
    (void)state;
    entro_compress_options opt = {.method = "u8"};
    test_compress(FIXTURE("llama"), test_path("c"), &opt);
    size_t n;
    uint8_t *bytes = test_file_read(test_path("c"), &n);
    bytes[n - n / 4] ^= 0x10;
    test_file_write(test_path("c"), bytes, n);
    free(bytes);
    refuse(FIXTURE("llama"), test_path("c"), NULL, ENTRO_ERR_CHECKSUM, test_path("c"));
    unlink(test_path("c"));
}

static void short_texts_are_refused(void **state)
{
    (void)state;
    char path[256];
    const char *list[] = {path};
    snprintf(path, sizeof path, "%s", test_path("words"));
    test_file_write(path, (const uint8_t *)"Once upon a time.", 17);
    entro_compress_options opt = {.method = "u8"};
    entro_tune_options how = {.struct_size = sizeof how, .calib = list, .n_calib = 1};
    test_compress(stories, test_path("c"), &opt);
    refuse(stories, test_path("c"), &how, ENTRO_ERR_ARGUMENT, "one sequence needs");
    static uint8_t page[1800]; /* one sequence of 512 tokens, not two */
    for (size_t i = 0; i < sizeof page; i++)
        page[i] = (uint8_t)("the cat sat. "[i % 13]);
    test_file_write(path, page, sizeof page);
    refuse(stories, test_path("c"), &how, ENTRO_ERR_ARGUMENT, "use a longer text");
    unlink(test_path("c"));
    /* Compress says so before it begins. */
    entro_compress_options tuned = {
        .method = "u8", .n_tune_tokens = 1024, .calib = list, .n_calib = 1};
    assert_int_equal(en_compress(stories, test_path("c"), &tuned, NULL, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(access(test_path("c"), F_OK), -1);
    assert_int_equal(en_compress(FIXTURE("llama"), test_path("c"), &tuned, NULL, NULL),
                     ENTRO_ERR_NOT_FOUND);
    tuned.method = "lossless";
    assert_int_equal(en_compress(stories, test_path("c"), &tuned, NULL, NULL), ENTRO_ERR_ARGUMENT);
    unlink(path);
}

static bool stop_behind_encoding(void *user, const entro_progress *p)
{
    (void)user;
    return strcmp(p->stage, "encode") == 0;
}

static void a_file_that_was_not_tuned_is_kept(void **state)
{
    (void)state;
    static uint8_t page[8000];
    char path[256];
    const char *const files[] = {path};
    snprintf(path, sizeof path, "%s", test_path("words"));
    for (size_t i = 0; i < sizeof page; i++)
        page[i] = (uint8_t)("the cat sat. "[i % 13]);
    test_file_write(path, page, sizeof page);
    entro_compress_options opt = {.method = "u8",
                                  .coding = "strips",
                                  .n_tune_tokens = 512,
                                  .calib = files,
                                  .n_calib = 1,
                                  .progress = stop_behind_encoding};
    entro_error err = {0};
    assert_int_equal(en_compress(stories, test_path("c"), &opt, NULL, &err), ENTRO_ERR_CANCELLED);
    assert_non_null(strstr(err.message, "is complete, but not tuned"));
    assert_int_equal(en_verify(test_path("c"), stories, NULL, NULL, NULL), ENTRO_OK);
    en_source *s = open_source(test_path("c"));
    assert_null(en_meta_get(en_source_meta(s), EN_KEY_TUNED));
    en_source_close(s);
    unlink(test_path("c"));
    unlink(path);
}

static void an_output_that_exists_is_kept(void **state)
{
    (void)state;
    entro_compress_options opt = {.method = "u8"};
    test_compress(stories, test_path("c"), &opt);
    entro_error err;
    assert_int_equal(en_tune(stories, test_path("c"), test_path("c"), NULL, NULL, &err),
                     ENTRO_ERR_EXISTS);
    assert_int_equal(en_verify(test_path("c"), stories, NULL, NULL, NULL), ENTRO_OK);
    unlink(test_path("c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_vectors_and_notes_stays),
        cmocka_unit_test(packed_keys_are_not_doubled),
        cmocka_unit_test(verify_tells_tuned_from_foreign),
        cmocka_unit_test(half_a_fused_bias_is_refused),
        cmocka_unit_test(what_cannot_be_tuned_is_refused),
        cmocka_unit_test(damaged_file_is_refused),
        cmocka_unit_test(short_texts_are_refused),
        cmocka_unit_test(a_file_that_was_not_tuned_is_kept),
        cmocka_unit_test(an_output_that_exists_is_kept),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
