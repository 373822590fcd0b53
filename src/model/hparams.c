/*
 * hparams.c - see hparams.h.
 */
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>

enum {
    MAX_LAYERS = 1 << 12,
    MAX_EMBD = 1 << 20,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 12,
    MAX_FF = 1 << 22,
    MAX_CTX = 1 << 28,
};

typedef struct keys {
    const en_meta *meta;
    const en_arch *arch;
    entro_error *err;
    char key[128];
} keys;

static const en_meta_value *look_up(keys *k, const char *name)
{
    snprintf(k->key, sizeof k->key, "%s.%s", k->arch->name, name);
    return en_meta_get(k->meta, k->key);
}

static entro_status bad_value(keys *k, const char *wanted)
{
    char found[64];
    const en_meta_value *value = en_meta_get(k->meta, k->key);
    if (value != NULL)
        en_meta_format(value, found, sizeof found);
    entro_status status =
        en_fail(k->err, value != NULL ? ENTRO_ERR_FORMAT : ENTRO_ERR_NOT_FOUND,
                "expected %s, found %s", wanted, value != NULL ? found : "no such key");
    en_error_place(k->err, "%s", k->key);
    return status;
}

/* A whole number in 1 .. max.  'fallback' 0 makes the key required. */
static entro_status read_count(keys *k, const char *name, uint32_t max, uint32_t fallback,
                               uint32_t *out)
{
    const en_meta_value *value = look_up(k, name);
    if (value != NULL && value->is_array)
        return en_fail(k->err, ENTRO_ERR_UNSUPPORTED,
                       "%s differs from layer to layer; only models whose layers are alike can "
                       "be run",
                       k->key);
    *out = value != NULL ? en_meta_u32(k->meta, k->key, 0) : fallback;
    if (*out == 0 || *out > max) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "a whole number from 1 to %u", max);
        return bad_value(k, wanted);
    }
    return ENTRO_OK;
}

static entro_status read_float(keys *k, const char *name, float lo, float hi, float fallback,
                               float *out)
{
    *out = look_up(k, name) != NULL ? en_meta_f32(k->meta, k->key, NAN) : fallback;
    if (!(*out >= lo && *out <= hi)) { /* also refuses NaN */
        char wanted[64];
        snprintf(wanted, sizeof wanted, "a number from %g to %g", (double)lo, (double)hi);
        return bad_value(k, wanted);
    }
    return ENTRO_OK;
}

static entro_status read_heads(keys *k, en_hparams *hp)
{
    EN_TRY(read_count(k, "attention.head_count", MAX_HEADS, 0, &hp->n_heads));
    EN_TRY(read_count(k, "attention.head_count_kv", MAX_HEADS, hp->n_heads, &hp->n_kv_heads));
    if (hp->n_heads % hp->n_kv_heads != 0)
        return bad_value(k, "a divisor of attention.head_count");
    uint32_t head_dim = hp->n_embd / hp->n_heads;
    EN_TRY(read_count(k, "attention.key_length", MAX_HEAD_DIM, head_dim, &hp->n_head_dim));
    uint32_t value_length;
    EN_TRY(read_count(k, "attention.value_length", MAX_HEAD_DIM, hp->n_head_dim, &value_length));
    if (value_length != hp->n_head_dim)
        return en_fail(k->err, ENTRO_ERR_UNSUPPORTED,
                       "keys of %u and values of %u floats a head; only equal ones can be run",
                       hp->n_head_dim, value_length);
    EN_TRY(read_count(k, "rope.dimension_count", hp->n_head_dim, hp->n_head_dim, &hp->n_rot));
    if (hp->n_rot % 2 != 0)
        return bad_value(k, "an even number");
    return ENTRO_OK;
}

static entro_status read_rope(keys *k, en_rope_params *rope)
{
    EN_TRY(read_float(k, "rope.freq_base", 1.0f, 1e12f, 10000.0f, &rope->base));
    EN_TRY(read_float(k, "rope.scaling.attn_factor", 0.0f, 1e3f, 0.0f, &rope->attn_factor));
    rope->linear_factor = 1.0f;
    rope->n_ctx_before = 0;
    if (look_up(k, "rope.scaling.original_context_length") != NULL)
        EN_TRY(
            read_count(k, "rope.scaling.original_context_length", MAX_CTX, 0, &rope->n_ctx_before));
    look_up(k, "rope.scaling.type");
    en_span type = en_meta_string(k->meta, k->key);
    if (en_span_is(type, "linear"))
        return read_float(k, "rope.scaling.factor", 1e-3f, 1e6f, 1.0f, &rope->linear_factor);
    /* Long-rope and Llama 3's scaling are tensors; their presence says it. */
    if (type.n == 0 || en_span_is(type, "none") || en_span_is(type, "longrope") ||
        en_span_is(type, "llama3"))
        return ENTRO_OK;
    return en_fail(k->err, ENTRO_ERR_UNSUPPORTED,
                   "rope scaling '%.*s' is not supported; none, linear, llama3 and longrope are",
                   (int)(type.n < 32 ? type.n : 32), type.p);
}

static entro_status find_arch(en_hparams *hp, const en_meta *meta, entro_error *err)
{
    en_span name = en_meta_string(meta, "general.architecture");
    if (name.n == 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "no key general.architecture: this file holds no language model");
    hp->arch = en_arch_find(name);
    if (hp->arch != NULL)
        return ENTRO_OK;
    char known[256];
    en_arch_list(known, sizeof known);
    return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                   "architecture '%.*s' is not known here; known ones: %s",
                   (int)(name.n < 64 ? name.n : 64), name.p, known);
}

entro_status en_hparams_read(en_hparams *hp, const en_meta *meta, entro_error *err)
{
    *hp = (en_hparams){0};
    EN_TRY(find_arch(hp, meta, err));
    keys k = {.meta = meta, .arch = hp->arch, .err = err};
    EN_TRY(read_count(&k, "block_count", MAX_LAYERS, 0, &hp->n_layers));
    EN_TRY(read_count(&k, "embedding_length", MAX_EMBD, 0, &hp->n_embd));
    EN_TRY(read_count(&k, "feed_forward_length", MAX_FF, 0, &hp->n_ff));
    EN_TRY(read_heads(&k, hp));
    if (look_up(&k, "context_length") != NULL)
        EN_TRY(read_count(&k, "context_length", MAX_CTX, 0, &hp->n_ctx_train));
    /* 0 means "no window" in some files, so it is no count. */
    look_up(&k, "attention.sliding_window");
    hp->sliding_window = en_meta_u32(meta, k.key, 0);
    EN_TRY(
        read_float(&k, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f, 1e-5f, &hp->norm_epsilon));
    look_up(&k, "expert_count");
    if (en_meta_u32(meta, k.key, 0) > 0)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "a mixture of %u experts; only dense models can be run",
                       en_meta_u32(meta, k.key, 0));
    return read_rope(&k, &hp->rope);
}
