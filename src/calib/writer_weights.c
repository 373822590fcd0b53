/* writer_weights.c - see writer_weights.h. */
#include "calib/writer_weights.h"

#include <string.h>

#include "base/memory.h"
#include "linear/linear_round.h"

enum { MAX_MATRICES = 7 }; /* of a layer: q, k, v, output; gate, up, down */

static uint32_t matrices_of(en_layer *l, const en_arch *arch, en_linear *out[MAX_MATRICES])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < en_arch_n_qkv(arch); i++)
        out[n++] = &l->qkv[i];
    out[n++] = &l->attn_output;
    for (uint32_t i = 0; i < en_arch_n_gate_up(arch); i++)
        out[n++] = &l->gate_up[i];
    out[n++] = &l->ffn_down;
    return n;
}

/* In place of the decoder's own. */
static entro_status round_matrix(en_linear *m, en_pool *pool, entro_error *err)
{
    en_linear rounded;
    if (!en_linear_can_round(m))
        return ENTRO_OK;
    EN_TRY(en_linear_round(&rounded, m, pool, err));
    en_source_forget(m->source, m->plain);
    *m = rounded;
    return ENTRO_OK;
}

static entro_status round_all(en_decoder *d, en_pool *pool, entro_error *err)
{
    en_linear *matrices[MAX_MATRICES];
    for (uint32_t i = 0; i < d->weights.n_layers; i++)
        for (uint32_t k = 0, n = matrices_of(&d->weights.layers[i], d->hp.arch, matrices); k < n;
             k++)
            EN_TRY(round_matrix(matrices[k], pool, err));
    return round_matrix(&d->weights.output, pool, err);
}

entro_status en_writer_weights_new(en_writer_weights *out, const en_decoder *decoder, en_pool *pool,
                                   entro_error *err)
{
    const en_weights *from = &decoder->weights;
    en_layer *layers = en_alloc(from->n_layers, sizeof *layers);
    if (layers == NULL)
        return en_fail_memory(err);
    memcpy(layers, from->layers, from->n_layers * sizeof *layers);
    *out = (en_writer_weights){.decoder = *decoder, .original = decoder};
    out->decoder.weights.layers = layers;
    entro_status status = round_all(&out->decoder, pool, err);
    if (status != ENTRO_OK)
        en_writer_weights_free(out);
    return status;
}

static void free_matrix(en_linear *m, const en_linear *original)
{
    if (m->coded != original->coded) /* else it was not rounded */
        en_linear_round_free(m);
}

void en_writer_weights_free(en_writer_weights *w)
{
    en_linear *own[MAX_MATRICES], *lent[MAX_MATRICES];
    en_decoder *d = &w->decoder;
    if (w->original == NULL)
        return;
    for (uint32_t i = 0; i < d->weights.n_layers; i++) {
        uint32_t n = matrices_of(&d->weights.layers[i], d->hp.arch, own);
        matrices_of(&w->original->weights.layers[i], d->hp.arch, lent);
        for (uint32_t k = 0; k < n; k++)
            free_matrix(own[k], lent[k]);
    }
    free_matrix(&d->weights.output, &w->original->weights.output);
    en_free(d->weights.layers);
    *w = (en_writer_weights){0};
}
