/*
 * model_weights.c - see model_weights.h.
 */
#include "model/model_weights.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/model_vectors.h"

enum { MAX_VOCAB = 1 << 24 };

typedef struct loader {
    const en_source *source;
    const en_container *container;
    en_hparams *hp;
    entro_error *err;
    char name[64]; /* of the tensor at hand */
} loader;

typedef struct found {
    const en_tensor *tensor; /* NULL: no such tensor */
    const en_coded *coded;
} found;

static found find_tensor(const loader *l)
{
    if (l->container == NULL)
        return (found){.tensor = en_source_find(l->source, l->name)};
    const en_container_tensor *t = en_container_find(l->container, l->name);
    return t != NULL ? (found){&t->tensor, t->coded} : (found){0};
}

/* "blk.3.attn_q.weight"; layer < 0: a tensor of the whole model. */
static void set_name(loader *l, int layer, const char *name)
{
    if (layer < 0)
        snprintf(l->name, sizeof l->name, "%s", name);
    else
        snprintf(l->name, sizeof l->name, "blk.%d.%s", layer, name);
}

static entro_status missing(const loader *l)
{
    entro_status status = en_fail(l->err, ENTRO_ERR_NOT_FOUND,
                                  "the model has no such tensor, but architecture %s needs it "
                                  "(vocabulary-only or damaged file, or a missing shard?)",
                                  l->hp->arch->name);
    en_error_place(l->err, "%s", l->name);
    return status;
}

static entro_status wrong_shape(const loader *l, const en_tensor *t, uint64_t cols, uint64_t rows)
{
    entro_status status =
        en_fail(l->err, ENTRO_ERR_FORMAT,
                "expected %llu columns and %llu rows from the metadata, found %llu and %llu",
                (unsigned long long)cols, (unsigned long long)rows, (unsigned long long)t->dims[0],
                (unsigned long long)en_tensor_n_rows(t));
    en_error_place(l->err, "%s", l->name);
    return status;
}

static entro_status not_float(const loader *l, const en_tensor *t)
{
    const char *type = en_dtype_get(t->dtype)->name;
    entro_status status =
        en_fail(l->err, ENTRO_ERR_FORMAT, "weights of type %s, expected floating-point ones",
                type != NULL ? type : "unknown");
    en_error_place(l->err, "%s", l->name);
    return status;
}

/* rows 0: any number of them. */
static entro_status load_matrix(loader *l, int layer, const char *name, uint64_t cols,
                                uint64_t rows, en_linear *out)
{
    set_name(l, layer, name);
    found f = find_tensor(l);
    if (f.tensor == NULL)
        return missing(l);
    uint64_t n_rows = en_tensor_n_rows(f.tensor);
    if (f.tensor->dims[0] != cols || (rows != 0 && n_rows != rows) || n_rows == 0)
        return wrong_shape(l, f.tensor, cols, rows);
    *out = (en_linear){.n_rows = n_rows, .n_cols = cols, .name = f.tensor->name};
    if (f.coded != NULL) {
        out->coded = f.coded;
        return ENTRO_OK;
    }
    if (!en_dtype_get(f.tensor->dtype)->is_float)
        return not_float(l, f.tensor);
    out->plain = f.tensor;
    out->source = l->source;
    return ENTRO_OK;
}

/* Reads n floats to 'out' + offset; *out is allocated (n_total, zeroed) when it is NULL. */
static entro_status read_vector(loader *l, const en_tensor *t, const en_coded *coded, uint64_t n,
                                uint64_t offset, uint64_t n_total, float **out)
{
    if (en_tensor_n_elems(t) != n || t->dims[0] != n)
        return wrong_shape(l, t, n, 1);
    if (coded != NULL || !en_dtype_get(t->dtype)->is_float)
        return not_float(l, t);
    if (*out == NULL)
        *out = en_alloc_zero(n_total, sizeof **out);
    if (*out == NULL)
        return en_fail_memory(l->err);
    return en_source_read_rows(l->source, t, 0, 1, *out + offset, l->err);
}

static entro_status load_vector(loader *l, const char *name, uint64_t n, bool required, float **out)
{
    set_name(l, -1, name);
    found f = find_tensor(l);
    if (f.tensor == NULL)
        return required ? missing(l) : ENTRO_OK;
    return read_vector(l, f.tensor, f.coded, n, 0, n, out);
}

/* Biases of matrices whose results lie side by side become one vector; parts that are missing stay
 * zero. */
static entro_status load_layer_vectors(loader *l, int i, en_layer *layer)
{
    en_vector_place places[EN_LAYER_VECTORS];
    uint32_t n = en_layer_vectors(l->hp, places);
    for (uint32_t k = 0; k < n; k++) {
        const en_vector_place *p = &places[k];
        set_name(l, i, p->name);
        found f = find_tensor(l);
        if (f.tensor != NULL)
            EN_TRY(read_vector(l, f.tensor, f.coded, p->n, p->first, p->all,
                               en_vector_field(layer, p)));
        else if (p->is_required)
            return missing(l);
    }
    return ENTRO_OK;
}

static entro_status load_attention(loader *l, int i, en_layer *layer)
{
    const en_hparams *hp = l->hp;
    uint64_t n_q = (uint64_t)hp->n_heads * hp->n_head_dim;
    uint64_t n_kv = (uint64_t)hp->n_kv_heads * hp->n_head_dim;
    if (hp->arch->fused_qkv) {
        EN_TRY(load_matrix(l, i, "attn_qkv.weight", hp->n_embd, n_q + 2 * n_kv, &layer->qkv[0]));
    } else {
        EN_TRY(load_matrix(l, i, "attn_q.weight", hp->n_embd, n_q, &layer->qkv[0]));
        EN_TRY(load_matrix(l, i, "attn_k.weight", hp->n_embd, n_kv, &layer->qkv[1]));
        EN_TRY(load_matrix(l, i, "attn_v.weight", hp->n_embd, n_kv, &layer->qkv[2]));
    }
    return load_matrix(l, i, "attn_output.weight", n_q, hp->n_embd, &layer->attn_output);
}

static entro_status load_feed_forward(loader *l, int i, en_layer *layer)
{
    const en_hparams *hp = l->hp;
    if (hp->arch->fused_gate_up) {
        EN_TRY(load_matrix(l, i, "ffn_up.weight", hp->n_embd, 2 * (uint64_t)hp->n_ff,
                           &layer->gate_up[0]));
    } else {
        EN_TRY(load_matrix(l, i, "ffn_gate.weight", hp->n_embd, hp->n_ff, &layer->gate_up[0]));
        EN_TRY(load_matrix(l, i, "ffn_up.weight", hp->n_embd, hp->n_ff, &layer->gate_up[1]));
    }
    return load_matrix(l, i, "ffn_down.weight", hp->n_ff, hp->n_embd, &layer->ffn_down);
}

static entro_status load_whole_model(loader *l, en_weights *w)
{
    en_hparams *hp = l->hp;
    EN_TRY(load_matrix(l, -1, "token_embd.weight", hp->n_embd, 0, &w->token_embd));
    if (w->token_embd.n_rows > MAX_VOCAB) {
        entro_status status =
            en_fail(l->err, ENTRO_ERR_FORMAT, "a vocabulary of %llu, at most %u can be right",
                    (unsigned long long)w->token_embd.n_rows, (unsigned)MAX_VOCAB);
        en_error_place(l->err, "%s", l->name);
        return status;
    }
    hp->n_vocab = (uint32_t)w->token_embd.n_rows;
    EN_TRY(load_vector(l, "output_norm.weight", hp->n_embd, true, &w->output_norm));
    EN_TRY(load_vector(l, "rope_freqs.weight", hp->n_rot / 2, false, &w->rope_freqs));
    EN_TRY(load_vector(l, "rope_factors_long.weight", hp->n_rot / 2, false, &w->rope_long));
    EN_TRY(load_vector(l, "rope_factors_short.weight", hp->n_rot / 2, false, &w->rope_short));
    set_name(l, -1, "output.weight");
    w->output = w->token_embd;
    return find_tensor(l).tensor != NULL
               ? load_matrix(l, -1, "output.weight", hp->n_embd, hp->n_vocab, &w->output)
               : ENTRO_OK;
}

/* ---- tensors that nobody asked for --------------------------------------------------------- */

static bool is_in(const char *const *list, const char *suffix)
{
    for (; *list != NULL; list++) {
        if (strcmp(suffix, *list) == 0)
            return true;
    }
    return false;
}

static bool is_known_suffix(const en_arch *arch, const char *suffix)
{
    /* the last two: old files, tables that are computed here */
    static const char *const shared[] = {"attn_norm.weight",
                                         "ffn_norm.weight",
                                         "attn_output.weight",
                                         "attn_output.bias",
                                         "ffn_up.weight",
                                         "ffn_up.bias",
                                         "ffn_down.weight",
                                         "ffn_down.bias",
                                         "attn_rot_embd",
                                         "rope_freqs.weight",
                                         NULL};
    static const char *const qkv_apart[] = {"attn_q.weight",
                                            "attn_k.weight",
                                            "attn_v.weight",
                                            "attn_q.bias",
                                            "attn_k.bias",
                                            "attn_v.bias",
                                            NULL};
    static const char *const qkv_fused[] = {"attn_qkv.weight", "attn_qkv.bias", NULL};
    static const char *const gate[] = {"ffn_gate.weight", "ffn_gate.bias", NULL};
    return is_in(shared, suffix) || is_in(arch->fused_qkv ? qkv_fused : qkv_apart, suffix) ||
           (!arch->fused_gate_up && is_in(gate, suffix));
}

/* A layer's tensor that is not used (a norm of q, a bias of the feed-forward) would make the
 * model silently compute something else: refuse. */
static entro_status check_nothing_is_left(const loader *l)
{
    uint32_t n = l->container != NULL ? en_container_n_tensors(l->container)
                                      : en_source_n_tensors(l->source);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = l->container != NULL
                               ? en_container_tensor_at(l->container, i)->tensor.name
                               : en_source_tensor(l->source, i)->name;
        int n_head = 0;
        unsigned layer;
        if (sscanf(name, "blk.%6u.%n", &layer, &n_head) != 1 || n_head == 0)
            continue;
        if (layer < l->hp->n_layers && is_known_suffix(l->hp->arch, name + n_head))
            continue;
        entro_status status = en_fail(
            l->err, ENTRO_ERR_UNSUPPORTED,
            "architecture %s of %u layers has no place for this tensor; the model is a variant "
            "that cannot be run here",
            l->hp->arch->name, l->hp->n_layers);
        en_error_place(l->err, "%s", name);
        return status;
    }
    return ENTRO_OK;
}

entro_status en_weights_load(en_weights *w, en_hparams *hp, const en_source *source,
                             const en_container *container, entro_error *err)
{
    *w = (en_weights){0};
    loader l = {.source = source, .container = container, .hp = hp, .err = err};
    w->layers = en_alloc_zero(hp->n_layers, sizeof *w->layers);
    if (w->layers == NULL)
        return en_fail_memory(err);
    w->n_layers = hp->n_layers;
    entro_status status = load_whole_model(&l, w);
    for (uint32_t i = 0; i < hp->n_layers && status == ENTRO_OK; i++) {
        status = load_attention(&l, (int)i, &w->layers[i]);
        if (status == ENTRO_OK)
            status = load_feed_forward(&l, (int)i, &w->layers[i]);
        if (status == ENTRO_OK)
            status = load_layer_vectors(&l, (int)i, &w->layers[i]);
    }
    if (status == ENTRO_OK)
        status = check_nothing_is_left(&l);
    if (status != ENTRO_OK)
        en_weights_free(w);
    return status;
}

static void free_layer(en_layer *l)
{
    for (uint32_t i = 0; i < sizeof l->qkv / sizeof l->qkv[0]; i++)
        en_linear_unpack(&l->qkv[i]);
    for (uint32_t i = 0; i < sizeof l->gate_up / sizeof l->gate_up[0]; i++)
        en_linear_unpack(&l->gate_up[i]);
    en_linear_unpack(&l->attn_output);
    en_linear_unpack(&l->ffn_down);
    en_free(l->attn_norm);
    en_free(l->ffn_norm);
    en_free(l->qkv_bias);
    en_free(l->attn_output_bias);
    en_free(l->gate_up_bias);
    en_free(l->ffn_down_bias);
}

void en_weights_free(en_weights *w)
{
    for (uint32_t i = 0; i < w->n_layers; i++)
        free_layer(&w->layers[i]);
    en_linear_unpack(&w->token_embd);
    en_linear_unpack(&w->output);
    en_free(w->layers);
    en_free(w->output_norm);
    en_free(w->rope_freqs);
    en_free(w->rope_long);
    en_free(w->rope_short);
    *w = (en_weights){0};
}
