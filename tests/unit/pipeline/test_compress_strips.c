/* test_compress_strips.c - codings 2 and 4: every method comes back as from words; rtn keeps its promises. */
#include "pipeline/pipeline.h"

#include <math.h>

#include "container/container.h"
#include "container/format_keys.h"
#include "container/packed_meta.h"
#include "quant/method.h"
#include "compress_support.h"
#include "test_support.h"
#include "gguf_support.h"

static const char stories[] = TEST_SHARED "/data/models/stories260k/stories260K.gguf";

static entro_compress_options options(const char *method, const char *coding)
{
    return (entro_compress_options){.struct_size = sizeof(entro_compress_options),
                                    .method = method,
                                    .coding = coding,
                                    .overwrite = true};
}

static void verify_within(const char *path, const char *source, double most_steps)
{
    entro_verify_report r;
    entro_error err = {0};
    if (en_verify(path, source, NULL, &r, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(r.n_compared == (source != NULL ? r.n_tensors : 0));
    assert_true(r.max_steps <= most_steps);
}

static void verify(const char *path, const char *source)
{
    verify_within(path, source, 0.5001);
}

static void restore(const char *model, const char *path)
{
    entro_job_options job = {.overwrite = true, .n_threads = 2};
    assert_int_equal(en_restore(model, path, "f32", &job, NULL, NULL), ENTRO_OK);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n_a, n_b;
    uint8_t *bytes_a = test_file_read(a, &n_a), *bytes_b = test_file_read(b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(bytes_a, bytes_b, n_a);
    free(bytes_a);
    free(bytes_b);
}

/* Keys may come in another order. */
static void assert_same_model(const char *path_a, const char *path_b)
{
    en_source *a, *b;
    assert_int_equal(en_source_open(&a, path_a, NULL), ENTRO_OK);
    assert_int_equal(en_source_open(&b, path_b, NULL), ENTRO_OK);
    assert_int_equal(en_meta_count(en_source_meta(a)), en_meta_count(en_source_meta(b)));
    for (size_t i = 0; i < en_meta_count(en_source_meta(a)); i++)
        assert_non_null(en_meta_get(en_source_meta(b), en_meta_key(en_source_meta(a), i)));
    assert_int_equal(en_source_n_tensors(a), en_source_n_tensors(b));
    for (uint32_t i = 0; i < en_source_n_tensors(a); i++) {
        const en_tensor *t = en_source_tensor(a, i), *u = en_source_find(b, t->name);
        assert_true(u != NULL && u->n_bytes == t->n_bytes);
        assert_memory_equal(t->data, u->data, t->n_bytes);
    }
    en_source_close(a);
    en_source_close(b);
}

static void remove_all(void)
{
    const char *const names[] = {"source", "o", "words", "restored", "other"};
    for (int i = 0; i < 5; i++)
        unlink(test_path(names[i]));
    assert_int_equal(test_folder_count(), 0);
}

/* The coded tensor of a container, until it is closed. */
typedef struct opened {
    en_source *source;
    en_container *container;
    const en_coded *coded;
} opened;

static opened open_tensor(const char *path, const char *name)
{
    opened o;
    assert_int_equal(en_source_open(&o.source, path, NULL), ENTRO_OK);
    assert_int_equal(en_container_open(&o.container, o.source, NULL), ENTRO_OK);
    o.coded = en_container_find(o.container, name)->coded;
    assert_non_null(o.coded);
    return o;
}

static void close_tensor(opened *o)
{
    en_container_close(o->container);
    en_source_close(o->source);
}

/* ---- codes ------------------------------------------------------------------------------- */

static void every_method_restores_as_from_words(void **state)
{
    (void)state;
    const char *const methods[] = {"u8", "u4", "u8-row", "u4-row"};
    for (int m = 0; m < 8; m++) {
        entro_compress_options strips = options(methods[m / 2], m % 2 ? "rans" : "strips");
        entro_compress_options words = options(methods[m / 2], "words");
        entro_compress_report r = test_compress(stories, test_path("o"), &strips);
        assert_true(r.n_strip_tensors == 37 && r.n_coded_tensors == 37);
        assert_true(r.n_strip_params == r.n_coded_params && isnan(r.bits_other_table));
        assert_true(r.entropy > 0 && r.huffman_bits >= r.entropy);
        assert_true(r.bits_per_coded_param > r.entropy);
        verify(test_path("o"), stories);
        verify(test_path("o"), NULL);
        test_compress(stories, test_path("words"), &words);
        restore(test_path("o"), test_path("restored"));
        restore(test_path("words"), test_path("other"));
        if (m % 2 == 0)
            assert_same_file(test_path("restored"), test_path("other"));
        else
            assert_same_model(test_path("restored"), test_path("other"));
    }
    remove_all();
}

static void features_and_recipe_tell_of_strips(void **state)
{
    (void)state;
    const char *const one[] = {"blk.0.attn_q.weight=u8"};
    entro_compress_options opt = options("rtn", NULL);
    opt.overrides = one;
    opt.n_overrides = 1;
    opt.bits = 3.25;
    test_compress(stories, test_path("o"), &opt);
    opened o = open_tensor(test_path("o"), "blk.0.attn_q.weight");
    const en_meta *meta = en_source_meta(o.source);
    uint64_t features = en_meta_get(meta, EN_KEY_FEATURES)->u;
    assert_true((features & EN_FEATURE_STRIPS) && !(features & EN_FEATURE_RANS));
    assert_true((features & (EN_FEATURE_HUFFMAN | EN_FEATURE_MODEL_TABLE)) == 0);
    assert_true(en_span_is(en_meta_string(meta, EN_KEY_RECIPE),
                           "rtn:3.25 coding=auto table=tensor blk.0.attn_q.weight=u8"));
    assert_string_equal(o.coded->method->name, "u8");
    assert_non_null(o.coded->strips);
    close_tensor(&o);
    remove_all();
}

/* The tokenizer's arrays are where they always are once the container is open, and restored with it. */
static void rans_files_pack_the_tokenizer(void **state)
{
    (void)state;
    static const char tokens[] = "tokenizer.ggml.tokens";
    entro_compress_options opt = options("rtn", "rans");
    opt.bits = 3;
    test_compress(stories, test_path("o"), &opt);
    en_source *plain, *file;
    en_container *container;
    assert_int_equal(en_source_open(&plain, stories, NULL), ENTRO_OK);
    assert_int_equal(en_source_open(&file, test_path("o"), NULL), ENTRO_OK);
    const en_meta *meta = en_source_meta(file), *of_plain = en_source_meta(plain);
    assert_null(en_meta_get(meta, tokens));
    assert_non_null(en_source_find(file, EN_METADATA_TENSOR));
    assert_int_equal(en_container_open(&container, file, NULL), ENTRO_OK);
    assert_null(en_container_find(container, EN_METADATA_TENSOR));
    const en_meta_value *a = en_meta_get(meta, tokens), *b = en_meta_get(of_plain, tokens);
    assert_true(a != NULL && a->n == b->n);
    for (uint64_t i = 0; i < a->n; i++)
        assert_true(a->strings[i].n == b->strings[i].n &&
                    memcmp(a->strings[i].p, b->strings[i].p, a->strings[i].n) == 0);
    uint64_t features = en_meta_get(meta, EN_KEY_FEATURES)->u;
    assert_true((features & EN_FEATURE_RANS) && (features & EN_FEATURE_PACKED_META));
    assert_true((features & EN_FEATURE_STRIPS) == 0);
    en_container_close(container);
    en_source_close(file);
    en_source_close(plain);
    restore(test_path("o"), test_path("restored"));
    assert_int_equal(en_source_open(&file, test_path("restored"), NULL), ENTRO_OK);
    assert_non_null(en_meta_get(en_source_meta(file), tokens));
    en_source_close(file);
    remove_all();
}

/* Too wide for strips; the rest is coded in them. */
static void wide_matrices_take_words(void **state)
{
    (void)state;
    enum { WIDE = (1 << 16) + 8 };
    float *wide = malloc(2 * WIDE * sizeof *wide), small[2048];
    test_weights(wide, 2 * WIDE, 1);
    test_weights(small, 2048, 2);
    en_tensor tensors[] = {test_floats("wide", wide, WIDE, 2), test_floats("small", small, 64, 32)};
    test_gguf_write(test_path("source"), tensors, 2);
    entro_compress_options opt = options("u4-row", NULL);
    entro_compress_report r = test_compress(test_path("source"), test_path("o"), &opt);
    assert_true(r.n_coded_tensors == 2 && r.n_strip_tensors == 1);
    verify(test_path("o"), test_path("source"));
    opened o = open_tensor(test_path("o"), "wide");
    assert_null(o.coded->strips);
    uint64_t features = en_meta_get(en_source_meta(o.source), EN_KEY_FEATURES)->u;
    assert_true((features & EN_FEATURE_HUFFMAN) && (features & EN_FEATURE_STRIPS));
    close_tensor(&o);
    free(wide);
    remove_all();
}

/* ---- rtn --------------------------------------------------------------------------------- */

enum { COLS = 200, ROWS = 530 }; /* neither whole units nor whole strips */
static float g_weights[ROWS * COLS];

/* Nearly normal, rows of different sizes. */
static void make_normal(void)
{
    test_weights(g_weights, ROWS * COLS, 10);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t k = 0; k < COLS; k++)
            g_weights[r * COLS + k] *= 0.1f * (float)(1 + r % 7);
}

static void write_source(void)
{
    en_tensor tensors[] = {test_floats("w", g_weights, COLS, ROWS)};
    test_gguf_write(test_path("source"), tensors, 1);
}

static entro_compress_report compress_rtn(double bits, uint32_t n_threads, const char *name)
{
    entro_compress_options opt = options("rtn", "strips");
    opt.bits = bits;
    opt.n_threads = n_threads;
    return test_compress(test_path("source"), test_path(name), &opt);
}

static void rtn_has_the_entropy_asked_for(void **state)
{
    (void)state;
    make_normal();
    write_source();
    const double bits[] = {1, 1.5, 2, 3.5, 4, 4.5, 6, 7.25, 9};
    for (int i = 0; i < 9; i++) {
        entro_compress_report r = compress_rtn(bits[i], 2, "o");
        if (!(fabs(r.entropy - bits[i]) < 0.02))
            fail_msg("%g bits asked for, %g are there", bits[i], r.entropy);
        assert_true(isnan(r.huffman_bits));
        verify(test_path("o"), test_path("source"));
        opened o = open_tensor(test_path("o"), "w");
        assert_true(o.coded->half_grids && o.coded->offsets == NULL);
        assert_true(o.coded->n_grids == ROWS && fabs(o.coded->entropy - bits[i]) < 0.02);
        close_tensor(&o);
    }
    remove_all();
}

static void threads_do_not_change_the_file(void **state)
{
    (void)state;
    make_normal();
    write_source();
    compress_rtn(4, 1, "o");
    compress_rtn(4, 5, "other");
    assert_same_file(test_path("o"), test_path("other"));
    const char *methods[] = {"u8", "u4-row"};
    for (int m = 0; m < 2; m++) {
        entro_compress_options opt = options(methods[m], "strips");
        opt.n_threads = 1;
        test_compress(test_path("source"), test_path("o"), &opt);
        opt.n_threads = 4;
        test_compress(test_path("source"), test_path("other"), &opt);
        assert_same_file(test_path("o"), test_path("other"));
    }
    remove_all();
}

/* The weights of the only tensor as the container gives them. */
static void read_restored(float *out)
{
    en_source *s;
    restore(test_path("o"), test_path("restored"));
    assert_int_equal(en_source_open(&s, test_path("restored"), NULL), ENTRO_OK);
    assert_int_equal(en_source_read_rows(s, en_source_tensor(s, 0), 0, ROWS, out, NULL), ENTRO_OK);
    en_source_close(s);
}

static void rows_of_zeros_stay_zeros(void **state)
{
    (void)state;
    static float back[ROWS * COLS];
    make_normal();
    for (size_t r = 0; r < ROWS; r += r % 3 + 1)
        memset(g_weights + r * COLS, 0, COLS * sizeof *g_weights);
    write_source();
    compress_rtn(2, 2, "o");
    verify(test_path("o"), test_path("source"));
    read_restored(back);
    for (size_t k = 0; k < COLS; k++)
        assert_true(back[k] == 0.0f);
    memset(g_weights, 0, sizeof g_weights);
    write_source();
    entro_compress_report r = compress_rtn(4, 2, "o");
    assert_true(r.entropy < 1e-9);
    verify(test_path("o"), test_path("source"));
    remove_all();
}

static void constant_matrices_come_back(void **state)
{
    (void)state;
    const float values[] = {0.3f, -2.0f, 1e-30f, 1e30f};
    for (int i = 0; i < 4; i++) {
        for (size_t k = 0; k < ROWS * COLS; k++)
            g_weights[k] = values[i];
        write_source();
        for (int bits = 1; bits <= 9; bits += 4) {
            entro_compress_report r = compress_rtn(bits, 2, "o");
            assert_true(r.entropy < 1e-9 && r.bits_per_coded_param < 3);
            verify(test_path("o"), test_path("source"));
        }
        entro_compress_options opt = options("u8-row", "strips");
        test_compress(test_path("source"), test_path("o"), &opt);
        verify(test_path("o"), test_path("source"));
    }
    remove_all();
}

/* Every row has one: most of the row's rms. */
static void outliers_of_many_steps_are_kept(void **state)
{
    (void)state;
    static float back[ROWS * COLS];
    make_normal();
    for (size_t r = 0; r < ROWS; r++)
        g_weights[r * COLS + r % COLS] *= r % 2 ? 1e5f : -1e5f;
    write_source();
    entro_compress_report r = compress_rtn(4, 2, "o");
    assert_true(fabs(r.entropy - 4) < 0.1 && r.n_exceptions >= ROWS / 2);
    verify_within(test_path("o"), test_path("source"), 0.6); /* f32 cannot tell such ones better */
    read_restored(back);
    size_t n_outliers = 0;
    for (size_t i = 0; i < ROWS * COLS; i++)
        n_outliers += fabsf(back[i]) > 100;
    assert_true(n_outliers >= ROWS / 2);
    remove_all();
}

static void steps_beyond_f16_are_f32(void **state)
{
    (void)state;
    const float scales[] = {1e-9f, 1e9f};
    for (int i = 0; i < 2; i++) {
        make_normal();
        for (size_t k = 0; k < COLS; k++)
            g_weights[100 * COLS + k] *= scales[i];
        write_source();
        compress_rtn(4, 2, "o");
        verify(test_path("o"), test_path("source"));
        opened o = open_tensor(test_path("o"), "w");
        assert_false(o.coded->half_grids);
        uint64_t features = en_meta_get(en_source_meta(o.source), EN_KEY_FEATURES)->u;
        assert_true((features & EN_FEATURE_HALF_GRIDS) == 0);
        close_tensor(&o);
    }
    remove_all();
}

static void refuses_what_integers_cannot_hold(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    entro_compress_options opt = options("rtn", NULL);
    entro_error err = {0};
    for (int i = 0; i < 3; i++) {
        make_normal();
        g_weights[77 * COLS + 3] = bad[i];
        write_source();
        assert_int_equal(en_compress(test_path("source"), test_path("o"), &opt, NULL, &err),
                         ENTRO_ERR_FORMAT);
        assert_non_null(strstr(err.message, "row 77, column 3"));
        assert_non_null(strstr(err.where, "tensor 'w'"));
    }
    remove_all();
}

/* ---- the coding that the rate says ------------------------------------------------------- */

static bool is_in_rans(const char *name)
{
    opened o = open_tensor(test_path("o"), name);
    bool is = o.coded->strips->rans != NULL;
    close_tensor(&o);
    return is;
}

/* Of the whole range in rows, and normal in a range that one outlier sets. */
static void uniform_integers_take_rans(void **state)
{
    (void)state;
    static float uniform[ROWS * COLS];
    uint64_t seed = 3;
    for (size_t i = 0; i < ROWS * COLS; i++)
        uniform[i] = (float)((double)(test_random(&seed) >> 11) * 0x1p-53 - 0.5);
    make_normal();
    g_weights[7] = 10.0f;
    en_tensor tensors[] = {test_floats("uniform", uniform, COLS, ROWS),
                           test_floats("normal", g_weights, COLS, ROWS)};
    const char *const one[] = {"uniform=u8-row"};
    test_gguf_write(test_path("source"), tensors, 2);
    entro_compress_options opt = options("u8", NULL), other = options("u8", "strips");
    opt.overrides = other.overrides = one;
    opt.n_overrides = other.n_overrides = 1;
    entro_compress_report r = test_compress(test_path("source"), test_path("other"), &other);
    assert_true(r.n_strip_tensors == 2 && r.n_rans_tensors == 0);
    uint64_t n_before = r.n_coded_bytes;
    r = test_compress(test_path("source"), test_path("o"), &opt);
    assert_true(r.n_strip_tensors == 2 && r.n_rans_tensors == 1);
    assert_true(r.n_coded_bytes < 0.9 * (double)n_before);
    assert_true(is_in_rans("uniform") && !is_in_rans("normal"));
    opened o = open_tensor(test_path("o"), "normal");
    uint64_t features = en_meta_get(en_source_meta(o.source), EN_KEY_FEATURES)->u;
    assert_true((features & EN_FEATURE_STRIPS) && (features & EN_FEATURE_RANS));
    assert_true((features & EN_FEATURE_PACKED_META) == 0);
    close_tensor(&o);
    verify(test_path("o"), test_path("source"));
    restore(test_path("o"), test_path("restored"));
    restore(test_path("other"), test_path("words"));
    assert_same_file(test_path("restored"), test_path("words"));
    remove_all();
}

/* Up to 7 bits strips save memory, and at 9 bits file, too: most differences take less on their lists. */
static void rans_is_for_the_rates_between(void **state)
{
    (void)state;
    const struct {
        double bits;
        bool is_rans;
    } cases[] = {{4, false}, {6.5, false}, {7.3, true}, {8, true}, {9, false}};
    make_normal();
    write_source();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        entro_compress_options opt = options("rtn", "auto");
        opt.bits = cases[i].bits;
        entro_compress_report r = test_compress(test_path("source"), test_path("o"), &opt);
        assert_true(r.n_rans_tensors == cases[i].is_rans && is_in_rans("w") == cases[i].is_rans);
        const char *const codings[] = {"strips", "rans"};
        for (int k = 0; k < 2; k++) {
            entro_compress_options asked = opt;
            asked.coding = codings[k];
            entro_compress_report by_hand =
                test_compress(test_path("source"), test_path("other"), &asked);
            assert_true(by_hand.n_rans_tensors == (unsigned)k);
            assert_true(cases[i].bits <= 7 || r.n_coded_bytes <= by_hand.n_coded_bytes);
        }
    }
    remove_all();
}

/* Where rans takes over the same size can be had with more bits or fewer: a search that went from one to the other
 * would not end near it. */
static void a_search_keeps_the_first_coding(void **state)
{
    (void)state;
    make_normal();
    write_source();
    for (int i = 0; i < 6; i++) {
        entro_compress_options opt = options("rtn", "auto");
        opt.bits_per_param = 7.44 + 0.02 * i;
        entro_compress_report r = test_compress(test_path("source"), test_path("o"), &opt);
        if (!r.is_asked_met || r.n_rans_tensors != 1)
            fail_msg("%g bits asked for, %g are there", opt.bits_per_param, r.bits_per_param);
    }
    remove_all();
}

/* ---- damage ------------------------------------------------------------------------------ */

static void finds_flipped_bytes_and_wrong_sources(void **state)
{
    (void)state;
    make_normal();
    write_source();
    compress_rtn(4, 2, "o");
    size_t n;
    uint8_t *bytes = test_file_read(test_path("o"), &n);
    opened o = open_tensor(test_path("o"), "w");
    size_t at = (size_t)(o.coded->strips->words - (const uint8_t *)o.coded->steps);
    const en_tensor *t = &en_container_find(o.container, "w")->tensor;
    at += (size_t)t->offset + (size_t)((const uint8_t *)o.coded->steps - t->data);
    close_tensor(&o);
    bytes[at + 500] ^= 0x10;
    test_file_write(test_path("other"), bytes, n);
    free(bytes);
    entro_error err = {0};
    assert_int_equal(en_verify(test_path("other"), NULL, NULL, NULL, &err), ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.where, "tensor 'w'"));

    g_weights[70 * COLS + 9] += 1.0f;
    write_source();
    assert_int_equal(en_verify(test_path("o"), test_path("source"), NULL, NULL, &err),
                     ENTRO_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "weight 9 of row 70"));
    remove_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_restores_as_from_words),
        cmocka_unit_test(features_and_recipe_tell_of_strips),
        cmocka_unit_test(rans_files_pack_the_tokenizer),
        cmocka_unit_test(wide_matrices_take_words),
        cmocka_unit_test(rtn_has_the_entropy_asked_for),
        cmocka_unit_test(threads_do_not_change_the_file),
        cmocka_unit_test(rows_of_zeros_stay_zeros),
        cmocka_unit_test(constant_matrices_come_back),
        cmocka_unit_test(outliers_of_many_steps_are_kept),
        cmocka_unit_test(steps_beyond_f16_are_f32),
        cmocka_unit_test(refuses_what_integers_cannot_hold),
        cmocka_unit_test(uniform_integers_take_rans),
        cmocka_unit_test(rans_is_for_the_rates_between),
        cmocka_unit_test(a_search_keeps_the_first_coding),
        cmocka_unit_test(finds_flipped_bytes_and_wrong_sources),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
