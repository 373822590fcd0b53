/* model_vectors.c - see model_vectors.h. */
#include "model/model_vectors.h"

#include <stdio.h>
#include <string.h>

typedef struct list {
    en_vector_place *places;
    uint32_t n;
} list;

static void add_part(list *l, const char *name, size_t field, uint64_t n, uint64_t first,
                     uint64_t all, bool is_required)
{
    l->places[l->n++] = (en_vector_place){name, field, n, first, all, is_required};
}

static void add(list *l, const char *name, size_t field, uint64_t n, bool is_required)
{
    add_part(l, name, field, n, 0, n, is_required);
}

uint32_t en_layer_vectors(const en_hparams *hp, en_vector_place places[EN_LAYER_VECTORS])
{
    list l = {.places = places};
    const en_arch *arch = hp->arch;
    uint64_t n_q = (uint64_t)hp->n_heads * hp->n_head_dim;
    uint64_t n_kv = (uint64_t)hp->n_kv_heads * hp->n_head_dim, n_qkv = n_q + 2 * n_kv;
    uint64_t n_ff = hp->n_ff, n_embd = hp->n_embd;
    add(&l, "attn_norm.weight", offsetof(en_layer, attn_norm), n_embd, true);
    add(&l, "ffn_norm.weight", offsetof(en_layer, ffn_norm), n_embd, true);
    const size_t qkv = offsetof(en_layer, qkv_bias), gate_up = offsetof(en_layer, gate_up_bias);
    if (arch->fused_qkv) {
        add(&l, "attn_qkv.bias", qkv, n_qkv, arch->needs_qkv_bias);
    } else {
        add_part(&l, "attn_q.bias", qkv, n_q, 0, n_qkv, arch->needs_qkv_bias);
        add_part(&l, "attn_k.bias", qkv, n_kv, n_q, n_qkv, arch->needs_qkv_bias);
        add_part(&l, "attn_v.bias", qkv, n_kv, n_q + n_kv, n_qkv, arch->needs_qkv_bias);
    }
    add(&l, "attn_output.bias", offsetof(en_layer, attn_output_bias), n_embd, false);
    if (arch->fused_gate_up) {
        add(&l, "ffn_up.bias", gate_up, 2 * n_ff, false);
    } else {
        add_part(&l, "ffn_gate.bias", gate_up, n_ff, 0, 2 * n_ff, false);
        add_part(&l, "ffn_up.bias", gate_up, n_ff, n_ff, 2 * n_ff, false);
    }
    add(&l, "ffn_down.bias", offsetof(en_layer, ffn_down_bias), n_embd, false);
    return l.n;
}

/* The layer's number and the name behind it; false for a tensor of the whole model. */
static bool split_name(const char *name, uint32_t n_layers, unsigned *layer, const char **rest)
{
    int n_head = 0;
    if (sscanf(name, "blk.%6u.%n", layer, &n_head) != 1 || n_head == 0 || *layer >= n_layers)
        return false;
    *rest = name + n_head;
    return true;
}

float *en_weights_vector(const en_weights *w, const en_hparams *hp, const char *name, uint64_t *n)
{
    en_vector_place places[EN_LAYER_VECTORS];
    unsigned layer = 0;
    const char *rest = NULL;
    *n = 0;
    if (strcmp(name, "output_norm.weight") == 0) {
        *n = hp->n_embd;
        return w->output_norm;
    }
    if (!split_name(name, w->n_layers, &layer, &rest))
        return NULL;
    uint32_t n_places = en_layer_vectors(hp, places);
    for (uint32_t i = 0; i < n_places; i++) {
        float *field = *en_vector_field(&w->layers[layer], &places[i]);
        if (field == NULL || strcmp(places[i].name, rest) != 0)
            continue;
        *n = places[i].n;
        return field + places[i].first;
    }
    return NULL;
}
