/* distill_vectors.c - see distill_vectors.h. */
#include "calib/distill_vectors.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "calib/block_parts.h"

static const double mean_decay = 0.9, square_decay = 0.95, least = 1e-12;

/* ---- which ------------------------------------------------------------------------------- */

enum { LAYER_VECTORS = 6 };

typedef struct layer_vector {
    float *values; /* NULL: the model has none */
    size_t n;
    bool is_gain;
    double **gradients;
} layer_vector;

static void list_layer(const en_hparams *hp, const en_layer *l, en_block_vectors *g,
                       layer_vector out[LAYER_VECTORS])
{
    const layer_vector all[LAYER_VECTORS] = {
        {l->attn_norm, hp->n_embd, true, &g->attn_norm},
        {l->ffn_norm, hp->n_embd, true, &g->ffn_norm},
        {l->qkv_bias, en_block_qkv_floats(hp), false, &g->qkv_bias},
        {l->attn_output_bias, hp->n_embd, false, &g->attn_output_bias},
        {l->gate_up_bias, 2 * (size_t)hp->n_ff, false, &g->gate_up_bias},
        {l->ffn_down_bias, hp->n_embd, false, &g->ffn_down_bias}};
    memcpy(out, all, sizeof all);
}

static size_t count(const en_decoder *d)
{
    en_block_vectors unused;
    layer_vector list[LAYER_VECTORS];
    size_t n = d->hp.n_embd;
    for (uint32_t i = 0; i < d->weights.n_layers; i++) {
        list_layer(&d->hp, &d->weights.layers[i], &unused, list);
        for (int k = 0; k < LAYER_VECTORS; k++)
            n += list[k].values != NULL ? list[k].n : 0;
    }
    return n;
}

static void add(en_distill_vectors *v, const layer_vector *vector)
{
    double squares = 0;
    if (vector->values == NULL)
        return;
    for (size_t i = 0; i < vector->n; i++)
        squares += (double)vector->values[i] * (double)vector->values[i];
    *vector->gradients = v->gradients + v->n;
    for (size_t i = 0; i < vector->n; i++, v->n++) {
        v->values[v->n] = vector->values + i;
        v->before[v->n] = vector->values[i];
        v->sizes[v->n] =
            vector->is_gain ? vector->values[i] : (float)sqrt(squares / (double)vector->n);
    }
}

static void list(en_distill_vectors *v, const en_decoder *d)
{
    layer_vector all[LAYER_VECTORS];
    for (uint32_t i = 0; i < d->weights.n_layers; i++) {
        list_layer(&d->hp, &d->weights.layers[i], &v->layers[i], all);
        for (int k = 0; k < LAYER_VECTORS; k++)
            add(v, &all[k]);
    }
    add(v, &(layer_vector){d->weights.output_norm, d->hp.n_embd, true, &v->output_norm});
}

entro_status en_distill_vectors_open(en_distill_vectors *v, en_decoder *decoder, entro_error *err)
{
    size_t n = count(decoder);
    *v = (en_distill_vectors){0};
    v->values = en_alloc(n, sizeof *v->values);
    v->before = en_alloc(n, sizeof *v->before);
    v->sizes = en_alloc(n, sizeof *v->sizes);
    v->t = en_alloc_zero(n, sizeof *v->t);
    v->gradients = en_alloc_zero(n, sizeof *v->gradients);
    v->means = en_alloc_zero(n, sizeof *v->means);
    v->squares = en_alloc_zero(n, sizeof *v->squares);
    v->layers = en_alloc_zero(decoder->weights.n_layers, sizeof *v->layers);
    if (!v->values || !v->before || !v->sizes || !v->t || !v->gradients || !v->means ||
        !v->squares || !v->layers) {
        en_distill_vectors_close(v);
        return en_fail_memory(err);
    }
    list(v, decoder);
    return ENTRO_OK;
}

void en_distill_vectors_close(en_distill_vectors *v)
{
    en_free(v->values);
    en_free(v->before);
    en_free(v->sizes);
    en_free(v->t);
    en_free(v->gradients);
    en_free(v->means);
    en_free(v->squares);
    en_free(v->layers);
    *v = (en_distill_vectors){0};
}

/* ---- how far ----------------------------------------------------------------------------- */

void en_distill_vectors_step(en_distill_vectors *v, double rate, uint64_t n_tokens)
{
    v->n_steps++;
    double of_mean = 1 / (1 - pow(mean_decay, (double)v->n_steps));
    double of_square = 1 / (1 - pow(square_decay, (double)v->n_steps));
    for (size_t i = 0; i < v->n; i++) {
        double g = v->gradients[i] * (double)v->sizes[i] / (double)n_tokens;
        v->gradients[i] = 0;
        v->means[i] = mean_decay * v->means[i] + (1 - mean_decay) * g;
        v->squares[i] = square_decay * v->squares[i] + (1 - square_decay) * g * g;
        double size = sqrt(v->squares[i] * of_square) + least;
        v->t[i] -= (float)(rate * v->means[i] * of_mean / size);
        *v->values[i] = v->before[i] + v->sizes[i] * v->t[i];
    }
}

void en_distill_vectors_restore(en_distill_vectors *v)
{
    for (size_t i = 0; i < v->n; i++)
        *v->values[i] = v->before[i];
}
