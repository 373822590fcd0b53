/*
 * test_statistics.c - a folder of statistics: what is written is read, and what is missing, damaged or of
 * another model or text is refused.
 */
#include "calib/statistics.h"

#include <math.h>
#include <sys/stat.h>

#include "test_support.h"

#include "calib/correlation.h"
#include "calib/gradients.h"
#include "calib/statistics_file.h"
#include "calib/statistics_tied.h"
#include "engine/engine.h"
#include "gguf_support.h"

static double unit(uint64_t *state) /* 0 .. 1 */
{
    return (double)(test_random(state) >> 11) * 0x1p-53;
}

/* Sums of x x^T of inputs that hang together and differ in size; input 'dead' never moves. */
static float *make_sums(size_t n, size_t n_tokens, size_t dead, uint64_t seed)
{
    double *sums = calloc(n * n, sizeof *sums), *x = malloc(n * sizeof *x);
    float *out = calloc(n * n, sizeof *out);
    for (size_t t = 0; t < n_tokens; t++) {
        double last = 0;
        for (size_t i = 0; i < n; i++) {
            last = 0.8 * last + unit(&seed) - 0.5;
            x[i] = i == dead ? 0 : last * pow(10, (double)(i % 7) - 3);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k <= i; k++)
                sums[i * n + k] += x[i] * x[k];
    }
    for (size_t i = 0; i < n * n; i++)
        out[i] = (float)sums[i];
    free(sums);
    free(x);
    return out;
}

/* ---- correlations ---------------------------------------------------------------------------- */

static void correlations_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 31, 32, 33, 100, 1100};
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, 3, NULL), ENTRO_OK);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s], n_packed = en_correlation_count(n);
        float *sums = make_sums(n, 20, 1, s + 1), *h = malloc(n * n * sizeof *h);
        float *diagonal = malloc(n * sizeof *diagonal), *again = malloc(n * n * sizeof *again);
        uint16_t *packed = malloc(n_packed * sizeof *packed);
        assert_int_equal(en_correlation_pack(sums, n, 0.05, packed, diagonal, pool), n);
        assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, n, h, pool), n);
        assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, n, again, NULL), n);
        assert_memory_equal(h, again, n * n * sizeof *h);
        for (size_t i = 0; i < n; i++) {
            assert_true(h[i * n + i] == (float)((double)sums[i * n + i] * 0.05));
            for (size_t k = 0; k <= i; k++) {
                double size = sqrt((double)h[i * n + i] * (double)h[k * n + k]);
                double want = (double)sums[i * n + k] * 0.05;
                assert_true(h[i * n + k] == h[k * n + i]);
                assert_true(fabs((double)h[i * n + k] - want) <= 0x1p-11 * size);
            }
        }
        free(sums);
        free(h);
        free(again);
        free(diagonal);
        free(packed);
    }
    en_pool_free(pool);
}

static void correlations_that_cannot_be_are_refused(void **state)
{
    (void)state;
    enum { N = 40 };
    static const float bad[] = {NAN, INFINITY, -1.0f};
    uint16_t packed[N * (N + 1) / 2];
    float diagonal[N], h[N * N];
    for (int i = 0; i < 3; i++) {
        float *sums = make_sums(N, 20, N, 7);
        sums[33 * N + 33] = bad[i];
        assert_int_equal(en_correlation_pack(sums, N, 0.05, packed, diagonal, NULL), 33);
        sums[33 * N + 33] = 1;
        if (i < 2) {
            sums[35 * N + 2] = bad[i];
            assert_int_equal(en_correlation_pack(sums, N, 0.05, packed, diagonal, NULL), 35);
        }
        free(sums);
    }
    float *sums = make_sums(N, 20, N, 7);
    assert_int_equal(en_correlation_pack(sums, N, 0.05, packed, diagonal, NULL), N);
    uint16_t kept = packed[en_correlation_count(20) + 3];
    packed[en_correlation_count(20) + 3] = 0x3C01; /* just above 1 */
    assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, N, h, NULL), 20);
    packed[en_correlation_count(20) + 3] = kept;
    diagonal[5] = -diagonal[5];
    assert_int_equal(en_correlation_unpack((uint8_t *)packed, diagonal, N, h, NULL), 5);
    free(sums);
}

/* ---- two uses of one matrix -------------------------------------------------------------------- */

/* tr(a b^-1) / n, by elimination. */
static double trace_over(const float *a, const double *b, size_t n)
{
    double *m = malloc(2 * n * n * sizeof *m), sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            m[i * 2 * n + k] = b[i * n + k];
            m[i * 2 * n + n + k] = (double)a[i * n + k];
        }
    for (size_t p = 0; p < n; p++) /* positive definite: no pivoting */
        for (size_t i = 0; i < n; i++) {
            double f = m[i * 2 * n + p] / m[p * 2 * n + p];
            for (size_t k = p; k < 2 * n && i != p; k++)
                m[i * 2 * n + k] -= f * m[p * 2 * n + k];
        }
    for (size_t i = 0; i < n; i++)
        sum += m[i * 2 * n + n + i] / m[i * 2 * n + i];
    free(m);
    return sum / (double)n;
}

static void mirror(float *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            h[k * n + i] = h[i * n + k];
}

static void tied_uses_are_added_up(void **state)
{
    (void)state;
    enum { N = 24, ROWS = 300 };
    uint64_t seed = 5;
    float *ho = make_sums(N, 400, N, 1), *hi = make_sums(N, 400, N, 2);
    float fo[ROWS], fi[ROWS], work[N * N], h[N * N], f[ROWS];
    double ridged[N * N], mean = 0, shares[2] = {0, 0}, floor_f = 0;
    mirror(ho, N);
    mirror(hi, N);
    for (size_t v = 0; v < ROWS; v++) {
        fo[v] = (float)pow(10, -4 * unit(&seed));
        fi[v] = (float)pow(10, -3 - 4 * unit(&seed));
    }
    const en_tied_use uses[2] = {{ho, fo, 100000}, {hi, fi, 50000}};
    en_tied_weights w;
    assert_int_equal(en_tied_weigh(&w, uses, N, ROWS, work, NULL), ENTRO_OK);
    assert_in_range(w.n_tokens, 50000, 100000);
    en_tied_covariance(&w, uses, N, h);
    en_tied_importance(&w, uses, ROWS, f);
    for (size_t i = 0; i < N; i++)
        mean += (double)h[i * N + i] / N;
    assert_true(fabs(mean - 1) < 1e-4);
    for (size_t i = 0; i < N * N; i++) /* shrunk as en_covariance_ridge_for() says: 5 % */
        ridged[i] = (double)h[i] * (i % (N + 1) == 0 ? 1 : 0.95) + (i % (N + 1) == 0 ? 1e-4 : 0);
    double po = trace_over(ho, ridged, N), pi = trace_over(hi, ridged, N);
    for (size_t v = 0; v < ROWS; v++) {
        double want = po * (double)fo[v] + pi * (double)fi[v];
        assert_true(fabs((double)f[v] - want) < 0.02 * want);
        floor_f += 0.1 * want / ROWS;
    }
    for (size_t v = 0; v < ROWS; v++) {
        shares[0] += (double)fo[v] / ((double)f[v] + floor_f);
        shares[1] += (double)fi[v] / ((double)f[v] + floor_f);
    }
    double ratio = shares[0] / shares[1] / (w.covariance[0] / w.covariance[1]);
    assert_true(fabs(ratio - 1) < 0.05);
    free(ho);
    free(hi);
}

/* ---- a folder -------------------------------------------------------------------------------- */

typedef struct made {
    entro_model *model;
    float *sums[EN_LAYER_GROUPS], *gradients;
} made;

static entro_model *open_model(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s", name);
    entro_model *model = NULL;
    assert_int_equal(en_model_open(&model, path, NULL, NULL), ENTRO_OK);
    return model;
}

static const char *file_path(en_statistics_kind kind, uint32_t layer)
{
    char *path = en_statistics_path(g_folder, kind, layer);
    const char *copy = test_path(en_path_base(path));
    en_free(path);
    return copy;
}

static en_statistics_identity identity_of(const entro_model *model)
{
    en_statistics_identity id = {.text = "some text",
                                 .text_hash = 77,
                                 .n_positions = 16,
                                 .n_tokens = 1600,
                                 .n_fisher_tokens = 160,
                                 .seed = 3};
    assert_int_equal(en_statistics_identify(&id, model->decoder, NULL), ENTRO_OK);
    return id;
}

static void write_layer(const made *m, const en_statistics_identity *id, uint32_t layer)
{
    en_statistics_item items[EN_LAYER_GROUPS];
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(&m->model->decoder->hp, g);
        items[g] = (en_statistics_item){.name = group.inputs,
                                        .n = group.n_inputs,
                                        .sums = m->sums[g],
                                        .scale = 1.0 / (layer + 1)};
    }
    assert_int_equal(en_statistics_file_write(file_path(EN_STATISTICS_LAYER, layer), id,
                                              EN_STATISTICS_LAYER, layer, items, EN_LAYER_GROUPS,
                                              NULL, NULL),
                     ENTRO_OK);
}

/* Importance of row i of group g in layer l: 100 l + 10 g + i / 1000. */
static void write_fisher(const made *m, const en_statistics_identity *id)
{
    const en_hparams *hp = &m->model->decoder->hp;
    en_statistics_item items[64];
    char names[64][48];
    float *rows = malloc(1 << 20), *next = rows;
    size_t n = 0;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
            en_layer_group group = en_layer_group_of(hp, g);
            en_importance_name(names[n], sizeof names[n], &group, l);
            items[n] = (en_statistics_item){.name = names[n], .n = group.n_outputs, .vector = next};
            n++;
            for (size_t i = 0; i < group.n_outputs; i++)
                *next++ = (float)(100 * l + 10 * g) + (float)i / 1000;
        }
    }
    for (int k = 0; k < 2; k++) {
        items[n++] = (en_statistics_item){.name = k ? EN_TOKENS_IMPORTANCE : EN_OUTPUT_IMPORTANCE,
                                          .n = hp->n_vocab,
                                          .vector = next};
        for (uint32_t i = 0; i < hp->n_vocab; i++)
            *next++ = (float)(k + 1) / (float)(i + 1);
    }
    items[n++] = (en_statistics_item){
        .name = EN_TOKENS_COVARIANCE, .n = hp->n_embd, .sums = m->gradients, .scale = 1};
    assert_int_equal(en_statistics_file_write(file_path(EN_STATISTICS_FISHER, 0), id,
                                              EN_STATISTICS_FISHER, 0, items, n, NULL, NULL),
                     ENTRO_OK);
    free(rows);
}

/* Row i's gradients: (i + 1) of one and the same number, but for a hundredth of their own. */
static void write_gradients(const made *m, const en_statistics_identity *id, uint32_t layer)
{
    const en_hparams *hp = &m->model->decoder->hp;
    en_statistics_item items[16];
    char names[16][48];
    float tokens = 160, *blocks = calloc(en_gradient_layer_floats(hp), sizeof *blocks);
    float *at = blocks;
    size_t n_items = 0;
    items[n_items++] = (en_statistics_item){.name = EN_GRADIENT_TOKENS, .n = 1, .vector = &tokens};
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(hp, g);
        en_gradient_group matrices = en_gradient_group_of(hp, g);
        for (uint32_t k = 0; k < matrices.n_matrices; k++, n_items++) {
            size_t n = matrices.n_rows[k];
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j <= i; j++)
                    at[i * n + j] = (float)((i + 1) * (j + 1)) * (i == j ? 1.01f : 1.0f);
            items[n_items] = (en_statistics_item){
                .name = en_gradient_name(names[n_items], sizeof names[0], &group, k, 0),
                .n = n,
                .sums = at,
                .scale = layer + 1};
            at += n * n;
        }
    }
    assert_int_equal(en_statistics_file_write(file_path(EN_STATISTICS_GRADIENTS, layer), id,
                                              EN_STATISTICS_GRADIENTS, layer, items, n_items, NULL,
                                              NULL),
                     ENTRO_OK);
    free(blocks);
}

static void write_output(const made *m, const en_statistics_identity *id)
{
    en_statistics_item item = {.name = EN_OUTPUT_COVARIANCE,
                               .n = m->model->decoder->hp.n_embd,
                               .sums = m->sums[0],
                               .scale = 1};
    assert_int_equal(en_statistics_file_write(file_path(EN_STATISTICS_OUTPUT, 0), id,
                                              EN_STATISTICS_OUTPUT, 0, &item, 1, NULL, NULL),
                     ENTRO_OK);
}

static void make(made *m, const char *name)
{
    m->model = open_model(name);
    const en_hparams *hp = &m->model->decoder->hp;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        m->sums[g] = make_sums(en_layer_group_of(hp, g).n_inputs, 100, 3, g + 1);
    m->gradients = make_sums(hp->n_embd, 100, 4, 9);
    en_statistics_identity id = identity_of(m->model);
    write_fisher(m, &id);
    write_layer(m, &id, 0);
    write_layer(m, &id, 1);
    write_gradients(m, &id, 0);
    write_gradients(m, &id, 1);
    write_output(m, &id);
}

static void unmake(made *m)
{
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        free(m->sums[g]);
    free(m->gradients);
    en_model_close(m->model);
}

static en_statistics *open_folder(const made *m)
{
    en_statistics *s = NULL;
    entro_error err = {0};
    if (en_statistics_open(&s, g_folder, m->model->decoder, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return s;
}

static void expect_error(const made *m, entro_status status, const char *where, const char *message)
{
    en_statistics *s = NULL;
    entro_error err = {0};
    assert_int_equal(en_statistics_open(&s, g_folder, m->model->decoder, NULL, &err), status);
    assert_null(s);
    if (strstr(err.where, where) == NULL || strstr(err.message, message) == NULL)
        fail_msg("%s: %s", err.where, err.message);
}

static void gradients_are_found_by_tensor(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    en_statistics *s = open_folder(&m);
    const char *const names[] = {"attn_q", "attn_v", "attn_output", "ffn_up", "ffn_down"};
    float *g = malloc(4096 * 64);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        char name[64];
        uint64_t n_tokens;
        snprintf(name, sizeof name, "blk.1.%s.weight", names[k]);
        const en_tensor *t = en_source_find(m.model->source, name);
        size_t n = (size_t)t->dims[1];
        assert_true(n * n <= 4096 * 16 && en_statistics_has_gradients(s, name));
        assert_int_equal(en_statistics_gradients(s, name, g, &n_tokens, NULL), ENTRO_OK);
        assert_int_equal(n_tokens, 160);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double want = 2.0 * (double)((i + 1) * (j + 1)) * (i == j ? 1.01 : 1.0);
                assert_true(fabs((double)g[i * n + j] - want) <= 1e-3 * want);
            }
    }
    uint64_t n_tokens;
    assert_false(en_statistics_has_gradients(s, "output.weight"));
    assert_int_equal(en_statistics_gradients(s, "output.weight", g, &n_tokens, NULL),
                     ENTRO_ERR_NOT_FOUND);
    assert_int_equal(en_statistics_gradients(s, "nobody", g, &n_tokens, NULL), ENTRO_ERR_NOT_FOUND);
    free(g);
    en_statistics_close(s);
    unlink(file_path(EN_STATISTICS_GRADIENTS, 1));
    expect_error(&m, ENTRO_ERR_NOT_FOUND, "gradients-001.gguf", "");
    unmake(&m);
}

static void answers_by_tensor(void **state)
{
    (void)state;
    made m;
    make(&m, "llama-bias");
    en_statistics *s = open_folder(&m);
    en_statistics_info info;
    en_statistics_get_info(s, &info);
    assert_int_equal(info.n_tokens, 1600);
    assert_int_equal(info.n_fisher_tokens, 160);
    assert_string_equal(info.text, "some text");
    float h[64 * 64], f[128];
    uint64_t n_tokens;
    const struct {
        const char *name;
        size_t n_rows, n_cols, first, site;
        unsigned layer, group;
    } matrices[] = {{"blk.0.attn_q.weight", 32, 32, 0, 0, 0, 0},
                    {"blk.0.attn_v.weight", 16, 32, 48, 0, 0, 0},
                    {"blk.1.attn_output.weight", 32, 32, 0, 5, 1, 1},
                    {"blk.1.ffn_up.weight", 64, 32, 64, 6, 1, 2},
                    {"blk.1.ffn_down.weight", 32, 64, 0, 7, 1, 3}};
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        assert_true(en_statistics_has(s, matrices[i].name));
        assert_int_equal(en_statistics_site(s, matrices[i].name), matrices[i].site);
        assert_int_equal(en_statistics_of(s, matrices[i].name, h, f, &n_tokens, NULL), ENTRO_OK);
        assert_int_equal(n_tokens, 1600);
        size_t n = matrices[i].n_cols;
        for (size_t k = 0; k < n; k++)
            assert_true(h[k * n + k] == (float)((double)m.sums[matrices[i].group][k * n + k] /
                                                (matrices[i].layer + 1)));
        for (size_t k = 0; k < matrices[i].n_rows; k++)
            assert_true(f[k] == (float)(100 * matrices[i].layer + 10 * matrices[i].group) +
                                    (float)(matrices[i].first + k) / 1000);
        memset(f, 0, sizeof f);
        assert_int_equal(en_statistics_of(s, matrices[i].name, NULL, f, &n_tokens, NULL), ENTRO_OK);
        assert_true(f[1] > 0);
    }
    float *vocab = malloc(96 * sizeof *vocab);
    assert_int_equal(en_statistics_of(s, "token_embd.weight", h, vocab, &n_tokens, NULL), ENTRO_OK);
    assert_int_equal(n_tokens, 160);
    assert_true(h[33] == m.gradients[33] && vocab[1] == 1.0f);
    assert_int_equal(en_statistics_of(s, "output.weight", h, vocab, &n_tokens, NULL), ENTRO_OK);
    assert_true(h[33] == m.sums[0][33] && vocab[1] == 0.5f && n_tokens == 1600);
    assert_int_not_equal(en_statistics_site(s, "token_embd.weight"),
                         en_statistics_site(s, "output.weight"));
    assert_false(en_statistics_has(s, "blk.0.attn_norm.weight"));
    assert_true(en_statistics_site(s, "blk.2.attn_q.weight") == SIZE_MAX);
    assert_int_equal(en_statistics_of(s, "blk.2.attn_q.weight", h, f, &n_tokens, NULL),
                     ENTRO_ERR_NOT_FOUND);
    free(vocab);
    en_statistics_close(s);
    unmake(&m);
}

static void answers_for_a_tied_embedding(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    en_statistics *s = open_folder(&m);
    float h[32 * 32], f[96], again[96];
    uint64_t n_tokens;
    assert_false(en_statistics_has(s, "output.weight"));
    assert_int_equal(en_statistics_of(s, "token_embd.weight", NULL, again, &n_tokens, NULL),
                     ENTRO_OK);
    assert_int_equal(en_statistics_of(s, "token_embd.weight", h, f, &n_tokens, NULL), ENTRO_OK);
    assert_memory_equal(f, again, sizeof f);
    assert_in_range(n_tokens, 160, 1600);
    double mean = 0;
    for (int i = 0; i < 32; i++)
        mean += (double)h[33 * i] / 32;
    assert_true(fabs(mean - 1) < 1e-3);
    for (int v = 1; v < 96; v++) /* both uses fall as 1 / (v + 1) */
        assert_true(fabs((double)f[0] / (double)f[v] - (v + 1)) < 1e-3 * v);
    en_statistics_close(s);
    unmake(&m);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    unlink(file_path(EN_STATISTICS_LAYER, 1));
    expect_error(&m, ENTRO_ERR_NOT_FOUND, "layer-001.gguf", "");
    unlink(file_path(EN_STATISTICS_FISHER, 0));
    expect_error(&m, ENTRO_ERR_NOT_FOUND, "fisher.gguf", "");
    unmake(&m);
}

static void statistics_of_another_model_are_refused(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    entro_model *right = m.model;
    m.model = open_model("qwen2");
    expect_error(&m, ENTRO_ERR_ARGUMENT, "fisher.gguf", "another model: of a llama of 2 layers");
    en_model_close(m.model);
    m.model = right;
    /* the same shapes, other weights */
    en_statistics_identity other = identity_of(right);
    other.model_hash++;
    write_layer(&m, &other, 1);
    expect_error(&m, ENTRO_ERR_ARGUMENT, "layer-001.gguf", "another model");
    unmake(&m);
}

static void statistics_of_two_texts_are_refused(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    en_statistics_identity other = identity_of(m.model);
    other.text_hash++;
    write_layer(&m, &other, 1);
    expect_error(&m, ENTRO_ERR_NOT_FOUND, "layer-001.gguf", "another text");
    unmake(&m);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    en_statistics *s = open_folder(&m);
    size_t n_bytes;
    uint8_t *bytes = test_file_read(file_path(EN_STATISTICS_LAYER, 0), &n_bytes);
    float h[64 * 64], f[128];
    uint64_t n_tokens;
    entro_error err = {0};
    bytes[n_bytes - 300] ^= 1;  /* in ffn_out.diagonal, the last one of 256 bytes */
    bytes[n_bytes - 3000] ^= 1; /* in ffn_out.correlation */
    test_file_write(file_path(EN_STATISTICS_LAYER, 0), bytes, n_bytes);
    assert_int_equal(en_statistics_of(s, "blk.0.ffn_down.weight", h, f, &n_tokens, &err),
                     ENTRO_ERR_CHECKSUM);
    assert_non_null(strstr(err.where, "layer-000.gguf"));
    assert_non_null(strstr(err.where, "ffn_out.correlation"));
    assert_int_equal(en_statistics_of(s, "blk.0.attn_q.weight", h, f, &n_tokens, NULL), ENTRO_OK);
    for (size_t n = 0; n < n_bytes; n += n_bytes / 40) {
        test_file_write(file_path(EN_STATISTICS_LAYER, 0), bytes, n);
        expect_error(&m, ENTRO_ERR_FORMAT, "layer-000.gguf", "");
        assert_int_equal(en_statistics_of(s, "blk.0.attn_q.weight", h, f, &n_tokens, NULL),
                         ENTRO_ERR_FORMAT);
    }
    free(bytes);
    en_statistics_close(s);
    unmake(&m);
}

static void renamed_files_are_refused(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    assert_int_equal(rename(file_path(EN_STATISTICS_LAYER, 0), file_path(EN_STATISTICS_LAYER, 1)),
                     0);
    en_statistics_identity id = identity_of(m.model);
    write_layer(&m, &id, 0);
    expect_error(&m, ENTRO_ERR_FORMAT, "layer-001.gguf", "renamed?");
    unmake(&m);
}

static void numbers_that_are_not_finite_are_not_written(void **state)
{
    (void)state;
    made m;
    make(&m, "llama");
    en_statistics_identity id = identity_of(m.model);
    entro_error err = {0};
    int n_files = test_folder_count();
    m.sums[0][65] = NAN;
    en_statistics_item item = {.name = "attn_in", .n = 32, .sums = m.sums[0], .scale = 1};
    assert_int_equal(en_statistics_file_write(test_path("new.gguf"), &id, EN_STATISTICS_OUTPUT, 0,
                                              &item, 1, NULL, &err),
                     ENTRO_ERR_FORMAT);
    assert_string_equal(err.where, "attn_in");
    assert_int_equal(test_folder_count(), n_files);
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(correlations_come_back),
        cmocka_unit_test(correlations_that_cannot_be_are_refused),
        cmocka_unit_test(tied_uses_are_added_up),
        cmocka_unit_test(answers_by_tensor),
        cmocka_unit_test(gradients_are_found_by_tensor),
        cmocka_unit_test(answers_for_a_tied_embedding),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(statistics_of_another_model_are_refused),
        cmocka_unit_test(statistics_of_two_texts_are_refused),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(renamed_files_are_refused),
        cmocka_unit_test(numbers_that_are_not_finite_are_not_written),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
