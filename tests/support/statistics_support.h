/*
 * statistics_support.h - a folder of statistics of a tiny model, of numbers that are easy to tell.
 */
#ifndef EN_TESTS_STATISTICS_SUPPORT_H
#define EN_TESTS_STATISTICS_SUPPORT_H

#include "calib/gradients.h"
#include "calib/statistics.h"
#include "calib/statistics_file.h"
#include "gguf_support.h"
#include "session_support.h"
#include "sums_support.h"

typedef struct test_statistics {
    entro_model *model;
    float *sums[EN_LAYER_GROUPS], *gradients;
} test_statistics;

static inline const char *test_statistics_path(en_statistics_kind kind, uint32_t layer)
{
    char *path = en_statistics_path(g_folder, kind, layer);
    const char *copy = test_path(en_path_base(path));
    en_free(path);
    return copy;
}

static inline en_statistics_identity test_statistics_identity(const entro_model *model)
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

static inline void test_statistics_write_layer(const test_statistics *m,
                                               const en_statistics_identity *id, uint32_t layer)
{
    en_statistics_item items[EN_LAYER_GROUPS];
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(&m->model->decoder->hp, g);
        items[g] = (en_statistics_item){.name = group.inputs,
                                        .n = group.n_inputs,
                                        .sums = m->sums[g],
                                        .scale = 1.0 / (layer + 1)};
    }
    assert_int_equal(en_statistics_file_write(test_statistics_path(EN_STATISTICS_LAYER, layer), id,
                                              EN_STATISTICS_LAYER, layer, items, EN_LAYER_GROUPS,
                                              NULL, NULL),
                     ENTRO_OK);
}

/* Importance of row i of group g in layer l: 100 l + 10 g + i / 1000. */
static inline void test_statistics_write_fisher(const test_statistics *m,
                                                const en_statistics_identity *id)
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
    assert_int_equal(en_statistics_file_write(test_statistics_path(EN_STATISTICS_FISHER, 0), id,
                                              EN_STATISTICS_FISHER, 0, items, n, NULL, NULL),
                     ENTRO_OK);
    free(rows);
}

/* Row i's gradients: (i + 1) of one and the same number, but for a hundredth of their own. */
static inline void test_statistics_write_gradients(const test_statistics *m,
                                                   const en_statistics_identity *id, uint32_t layer)
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
    assert_int_equal(en_statistics_file_write(test_statistics_path(EN_STATISTICS_GRADIENTS, layer),
                                              id, EN_STATISTICS_GRADIENTS, layer, items, n_items,
                                              NULL, NULL),
                     ENTRO_OK);
    free(blocks);
}

static inline void test_statistics_write_output(const test_statistics *m,
                                                const en_statistics_identity *id)
{
    en_statistics_item item = {.name = EN_OUTPUT_COVARIANCE,
                               .n = m->model->decoder->hp.n_embd,
                               .sums = m->sums[0],
                               .scale = 1};
    assert_int_equal(en_statistics_file_write(test_statistics_path(EN_STATISTICS_OUTPUT, 0), id,
                                              EN_STATISTICS_OUTPUT, 0, &item, 1, NULL, NULL),
                     ENTRO_OK);
}

static inline void test_statistics_make(test_statistics *m, const char *name)
{
    m->model = test_open_fixture(name);
    const en_hparams *hp = &m->model->decoder->hp;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        m->sums[g] = test_sums(en_layer_group_of(hp, g).n_inputs, 100, 3, g + 1);
    m->gradients = test_sums(hp->n_embd, 100, 4, 9);
    en_statistics_identity id = test_statistics_identity(m->model);
    test_statistics_write_fisher(m, &id);
    test_statistics_write_layer(m, &id, 0);
    test_statistics_write_layer(m, &id, 1);
    test_statistics_write_gradients(m, &id, 0);
    test_statistics_write_gradients(m, &id, 1);
    test_statistics_write_output(m, &id);
}

static inline void test_statistics_unmake(test_statistics *m)
{
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        free(m->sums[g]);
    free(m->gradients);
    en_model_close(m->model);
}

static inline en_statistics *test_statistics_open(const test_statistics *m)
{
    en_statistics *s = NULL;
    entro_error err = {0};
    if (en_statistics_open(&s, g_folder, m->model->decoder, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return s;
}

static inline void test_statistics_expect(const test_statistics *m, entro_status status,
                                          const char *where, const char *message)
{
    en_statistics *s = NULL;
    entro_error err = {0};
    assert_int_equal(en_statistics_open(&s, g_folder, m->model->decoder, NULL, &err), status);
    assert_null(s);
    if (strstr(err.where, where) == NULL || strstr(err.message, message) == NULL)
        fail_msg("%s: %s", err.where, err.message);
}

#endif
