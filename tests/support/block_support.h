/*
 * block_support.h - the tiny models of fixtures/models as blocks, and runs through all of them.
 */
#ifndef EN_TESTS_BLOCK_SUPPORT_H
#define EN_TESTS_BLOCK_SUPPORT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "calib/block.h"
#include "formats/source.h"
#include "model/decoder.h"

enum { TEST_MAX_LAYERS = 4 };

typedef struct test_model {
    en_source *source;
    en_decoder *decoder;
    const en_hparams *hp;
    en_pool *pool;
    en_rope rope;
    en_block blocks[TEST_MAX_LAYERS];
    en_block_tape tapes[TEST_MAX_LAYERS];
    float *output;      /* the output matrix */
    float *x, *head_in; /* tokens x n_embd: behind the last layer; the head's */
    uint32_t n_tokens;  /* of all sequences */
} test_model;

static inline void test_must(entro_status status, const entro_error *err)
{
    if (status != ENTRO_OK)
        fail_msg("%s: %s", err->where, err->message);
}

static inline size_t test_qkv_floats(const en_hparams *hp)
{
    return (size_t)(hp->n_heads + 2 * hp->n_kv_heads) * hp->n_head_dim;
}

static inline test_model test_model_open(const char *name, uint32_t n_ctx, uint32_t n_sequences,
                                         uint32_t n_positions, uint32_t n_threads)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s", name);
    test_model m = {.n_tokens = n_sequences * n_positions};
    entro_error err = {0};
    test_must(en_source_open(&m.source, path, &err), &err);
    test_must(en_decoder_new(&m.decoder, m.source, NULL, &err), &err);
    m.hp = &m.decoder->hp;
    assert_true(m.hp->n_layers <= TEST_MAX_LAYERS);
    test_must(en_pool_new(&m.pool, n_threads, &err), &err);
    test_must(en_rope_new(&m.rope, m.hp, &m.decoder->weights, n_ctx, n_positions, &err), &err);
    en_rope_fill(&m.rope, 0, n_positions);
    for (uint32_t i = 0; i < m.hp->n_layers; i++) {
        test_must(en_block_new(&m.blocks[i], m.hp, &err), &err);
        test_must(en_block_load(&m.blocks[i], &m.decoder->weights.layers[i], m.pool, &err), &err);
        test_must(en_block_tape_new(&m.tapes[i], m.hp, n_sequences, n_positions, &err), &err);
    }
    const en_linear *output = &m.decoder->weights.output;
    m.output = en_alloc(output->n_rows, output->n_cols * sizeof *m.output);
    m.x = en_alloc(m.n_tokens, m.hp->n_embd * sizeof *m.x);
    m.head_in = en_alloc(m.n_tokens, m.hp->n_embd * sizeof *m.head_in);
    assert_true(m.output && m.x && m.head_in);
    test_must(en_matrix_load(output, m.output, m.pool, &err), &err);
    return m;
}

static inline void test_model_close(test_model *m)
{
    for (uint32_t i = 0; i < m->hp->n_layers; i++) {
        en_block_free(&m->blocks[i]);
        en_block_tape_free(&m->tapes[i]);
    }
    en_free(m->output);
    en_free(m->x);
    en_free(m->head_in);
    en_rope_free(&m->rope);
    en_pool_free(m->pool);
    en_decoder_free(m->decoder);
    en_source_close(m->source);
}

/* Ids from 3 on, as the fixtures' own. */
static inline void test_tokens(int32_t *tokens, uint32_t n, uint32_t n_vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(3 + test_random(&seed) % (n_vocab - 3));
}

/* Embedding and all layers, to m->x. */
static inline void test_model_forward(test_model *m, const int32_t *tokens)
{
    entro_error err = {0};
    const en_linear *embedding = &m->decoder->weights.token_embd;
    for (uint32_t t = 0; t < m->n_tokens; t++)
        test_must(en_linear_read_row(embedding, (uint64_t)tokens[t],
                                     m->tapes[0].x + (size_t)t * m->hp->n_embd, NULL, &err),
                  &err);
    for (uint32_t i = 0; i < m->hp->n_layers; i++) {
        float *out = i + 1 < m->hp->n_layers ? m->tapes[i + 1].x : m->x;
        test_must(en_block_forward(&m->blocks[i], &m->rope, &m->tapes[i], m->tapes[i].n_sequences,
                                   out, m->pool, &err),
                  &err);
    }
}

/* The head: m->x becomes the gradient at it. */
static inline double test_model_loss(test_model *m, const int32_t *labels, uint64_t seed,
                                     double *fisher)
{
    entro_error err = {0};
    en_head head = {.hp = m->hp, .norm = m->decoder->weights.output_norm, .output = m->output};
    double loss = -1;
    test_must(en_head_backward(&head, m->n_tokens, m->x, m->head_in, labels, seed, fisher, &loss,
                               m->pool, &err),
              &err);
    return loss;
}

/* The sums that fisher points at lie one behind the other: q, k, v | output | gate, up | down. */
static inline size_t test_fisher_floats(const en_hparams *hp)
{
    return test_qkv_floats(hp) + 2 * (size_t)hp->n_embd + 2 * (size_t)hp->n_ff;
}

static inline en_block_sums test_fisher_at(const en_hparams *hp, double *sums)
{
    en_block_sums f = {.qkv = sums};
    f.attn_output = f.qkv + test_qkv_floats(hp);
    f.gate_up = f.attn_output + hp->n_embd;
    f.ffn_down = f.gate_up + 2 * (size_t)hp->n_ff;
    return f;
}

/* m->x becomes the gradient at the embedding's output; 'sums': of each layer; NULL: not wanted. */
static inline void test_model_backward(test_model *m, double *sums)
{
    entro_error err = {0};
    for (uint32_t i = m->hp->n_layers; i-- > 0;) {
        en_block_sums fisher = {0};
        if (sums != NULL)
            fisher = test_fisher_at(m->hp, sums + i * test_fisher_floats(m->hp));
        test_must(en_block_backward(&m->blocks[i], &m->rope, &m->tapes[i], m->tapes[i].n_sequences,
                                    m->x, &fisher, m->pool, &err),
                  &err);
    }
}

#endif
