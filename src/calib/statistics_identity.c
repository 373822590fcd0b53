/*
 * statistics_identity.c - what tells one model, one text from another; see statistics_file.h.
 *
 * The hash is a chain: of its value so far and the next matrix's name, shape and three rows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "calib/statistics_file.h"

typedef struct chain {
    uint64_t hash;
    float *row;
    size_t cap;
} chain;

static void add(chain *c, const void *data, size_t n_bytes)
{
    uint64_t pair[2] = {c->hash, en_hash64(data, n_bytes)};
    c->hash = en_hash64(pair, sizeof pair);
}

static entro_status add_matrix(chain *c, const en_linear *m, entro_error *err)
{
    uint64_t rows[3] = {0, m->n_rows / 2, m->n_rows - 1}, shape[2] = {m->n_rows, m->n_cols};
    if (m->plain == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "%s is coded; statistics are of a model as its publisher left it", m->name);
    if (!en_grow((void **)&c->row, &c->cap, (size_t)m->n_cols, SIZE_MAX, sizeof *c->row))
        return en_fail_memory(err);
    add(c, m->name, strlen(m->name));
    add(c, shape, sizeof shape);
    for (size_t i = 0; i < 3; i++) {
        EN_TRY(en_source_read_rows(m->source, m->plain, rows[i], 1, c->row, err));
        add(c, c->row, (size_t)m->n_cols * sizeof *c->row);
    }
    return ENTRO_OK;
}

static entro_status add_layer(chain *c, const en_hparams *hp, const en_layer *l, entro_error *err)
{
    for (uint32_t i = 0; i < en_arch_n_qkv(hp->arch); i++)
        EN_TRY(add_matrix(c, &l->qkv[i], err));
    EN_TRY(add_matrix(c, &l->attn_output, err));
    for (uint32_t i = 0; i < en_arch_n_gate_up(hp->arch); i++)
        EN_TRY(add_matrix(c, &l->gate_up[i], err));
    EN_TRY(add_matrix(c, &l->ffn_down, err));
    add(c, l->attn_norm, hp->n_embd * sizeof *l->attn_norm);
    add(c, l->ffn_norm, hp->n_embd * sizeof *l->ffn_norm);
    return ENTRO_OK;
}

static entro_status add_model(chain *c, const en_decoder *decoder, entro_error *err)
{
    const en_weights *w = &decoder->weights;
    EN_TRY(add_matrix(c, &w->token_embd, err));
    if (w->output.plain != w->token_embd.plain)
        EN_TRY(add_matrix(c, &w->output, err));
    for (uint32_t i = 0; i < w->n_layers; i++)
        EN_TRY(add_layer(c, &decoder->hp, &w->layers[i], err));
    return ENTRO_OK;
}

entro_status en_statistics_identify(en_statistics_identity *id, const en_decoder *decoder,
                                    entro_error *err)
{
    const en_hparams *hp = &decoder->hp;
    snprintf(id->model, sizeof id->model,
             "%s of %" PRIu32 " layers, width %" PRIu32 ", feed-forward %" PRIu32
             ", vocabulary %" PRIu32,
             hp->arch->name, hp->n_layers, hp->n_embd, hp->n_ff, hp->n_vocab);
    chain c = {.hash = EN_STATISTICS_VERSION};
    add(&c, id->model, strlen(id->model));
    entro_status status = add_model(&c, decoder, err);
    id->model_hash = c.hash;
    en_free(c.row);
    return status;
}

bool en_statistics_same_model(const en_statistics_identity *a, const en_statistics_identity *b)
{
    return a->model_hash == b->model_hash && strcmp(a->model, b->model) == 0;
}

bool en_statistics_same_text(const en_statistics_identity *a, const en_statistics_identity *b)
{
    return a->text_hash == b->text_hash && a->n_positions == b->n_positions &&
           a->n_tokens == b->n_tokens && a->n_fisher_tokens == b->n_fisher_tokens &&
           a->seed == b->seed;
}
