/* hf_config.c - see hf_config.h. */
#include "formats/hf_config.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"

/* One reading of a config.json. */
typedef struct reading {
    en_hf_config *config;
    const en_json_node *root;
    const en_json_node *rope; /* rope_parameters or rope_scaling; NULL: none */
    en_meta *meta;
    entro_error *err;
} reading;

/* ---- helpers ------------------------------------------------------------------------------- */

enum { LARGEST = 1 << 28 }; /* of any size in a config; keeps products of two below 2^63 */

/* A whole number between 1 and LARGEST. */
static entro_status read_size(reading *r, const char *key, bool required, uint32_t *out)
{
    const en_json_node *node = en_json_get(r->root, key);
    int64_t v;
    if (node == NULL && !required)
        return ENTRO_OK;
    if (node == NULL)
        return en_fail(r->err, ENTRO_ERR_FORMAT, "'%s' is missing", key);
    if (!en_json_int(node, &v) || v < 1 || v > LARGEST)
        return en_fail(r->err, ENTRO_ERR_FORMAT, "'%s' is no whole number from 1 to %d", key,
                       LARGEST);
    *out = (uint32_t)v;
    return ENTRO_OK;
}

/* A finite positive number of 'object'; 'fallback' < 0: it must be there. */
static entro_status read_positive(reading *r, const en_json_node *object, const char *key,
                                  double fallback, double *out)
{
    const en_json_node *node = en_json_get(object, key);
    *out = fallback;
    if (node == NULL && fallback >= 0)
        return ENTRO_OK;
    if (!en_json_real(node, out) || !(*out > 0) || !(*out < 1e30))
        return en_fail(r->err, ENTRO_ERR_FORMAT, "'%s' is %s", key,
                       node == NULL ? "missing" : "no positive number");
    return ENTRO_OK;
}

static void arch_key(const reading *r, const char *name, char *key, size_t n_key)
{
    snprintf(key, n_key, "%s.%s", r->config->arch->name, name);
}

static entro_status set_u32(reading *r, const char *name, uint32_t value)
{
    char key[96];
    arch_key(r, name, key, sizeof key);
    return en_meta_set_u32(r->meta, key, value, r->err);
}

static entro_status set_f32(reading *r, const char *name, double value)
{
    char key[96];
    arch_key(r, name, key, sizeof key);
    return en_meta_set_f32(r->meta, key, (float)value, r->err);
}

static entro_status set_string(reading *r, const char *name, const char *value)
{
    char key[96];
    arch_key(r, name, key, sizeof key);
    return en_meta_set_string(r->meta, key, value, r->err);
}

/* ---- architecture and sizes ---------------------------------------------------------------- */

static entro_status read_arch(reading *r)
{
    const en_json_node *classes = en_json_get(r->root, "architectures");
    en_span hf_class = {NULL, 0}, model_type = {NULL, 0};
    if (classes != NULL && classes->type == EN_JSON_ARRAY && classes->n > 0)
        en_json_string(classes + 1, &hf_class);
    en_json_string(en_json_get(r->root, "model_type"), &model_type);
    r->config->arch = en_arch_find_hf(hf_class.p, model_type.p);
    if (r->config->arch == NULL) {
        char known[256];
        en_arch_list_hf(known, sizeof known);
        if (hf_class.p == NULL && model_type.p == NULL)
            return en_fail(r->err, ENTRO_ERR_FORMAT,
                           "neither 'architectures' nor 'model_type' says what model this is");
        return en_fail(r->err, ENTRO_ERR_UNSUPPORTED, "unknown architecture '%.100s' (known: %s)",
                       hf_class.p != NULL ? hf_class.p : model_type.p, known);
    }
    return en_meta_set_string(r->meta, "general.architecture", r->config->arch->name, r->err);
}

static entro_status refuse_what_differs(reading *r)
{
    const en_json_node *act = en_json_get(r->root, "hidden_act");
    if (act != NULL && !en_json_is(act, "silu") && !en_json_is(act, "swish"))
        return en_fail(r->err, ENTRO_ERR_UNSUPPORTED, "'hidden_act' is '%.60s', expected 'silu'",
                       act->type == EN_JSON_STRING ? act->s : "?");
    if (en_json_get(r->root, "quantization_config") != NULL)
        return en_fail(r->err, ENTRO_ERR_UNSUPPORTED,
                       "the weights are quantized already ('quantization_config'); use the model's "
                       "original bf16, f16 or f32 weights");
    return ENTRO_OK;
}

static entro_status read_sizes(reading *r)
{
    en_hf_config *c = r->config;
    uint32_t n_ctx = 2048, n_ff = 0, n_head_dim = 0;
    double epsilon;
    EN_TRY(read_size(r, "num_hidden_layers", true, &c->n_layers));
    EN_TRY(read_size(r, "max_position_embeddings", false, &n_ctx));
    EN_TRY(read_size(r, "hidden_size", true, &c->n_embd));
    EN_TRY(read_size(r, "intermediate_size", true, &n_ff));
    EN_TRY(read_size(r, "num_attention_heads", true, &c->n_heads));
    c->n_kv_heads = c->n_heads;
    EN_TRY(read_size(r, "num_key_value_heads", false, &c->n_kv_heads));
    EN_TRY(read_size(r, "vocab_size", true, &c->n_vocab));
    EN_TRY(read_size(r, "head_dim", false, &n_head_dim));
    EN_TRY(read_positive(r, r->root, "rms_norm_eps", -1, &epsilon));
    if (n_head_dim == 0 && c->n_embd % c->n_heads != 0)
        return en_fail(r->err, ENTRO_ERR_FORMAT,
                       "'hidden_size' %u is no multiple of 'num_attention_heads' %u", c->n_embd,
                       c->n_heads);
    if (c->n_heads % c->n_kv_heads != 0)
        return en_fail(r->err, ENTRO_ERR_FORMAT,
                       "'num_attention_heads' %u is no multiple of 'num_key_value_heads' %u",
                       c->n_heads, c->n_kv_heads);
    c->n_head_dim = n_head_dim > 0 ? n_head_dim : c->n_embd / c->n_heads;
    EN_TRY(set_u32(r, "block_count", c->n_layers));
    EN_TRY(set_u32(r, "context_length", n_ctx));
    EN_TRY(set_u32(r, "embedding_length", c->n_embd));
    EN_TRY(set_u32(r, "feed_forward_length", n_ff));
    EN_TRY(set_u32(r, "attention.head_count", c->n_heads));
    EN_TRY(set_u32(r, "attention.head_count_kv", c->n_kv_heads));
    EN_TRY(set_f32(r, "attention.layer_norm_rms_epsilon", epsilon));
    EN_TRY(set_u32(r, "vocab_size", c->n_vocab));
    if (n_head_dim > 0) {
        EN_TRY(set_u32(r, "attention.key_length", n_head_dim));
        EN_TRY(set_u32(r, "attention.value_length", n_head_dim));
    }
    return ENTRO_OK;
}

/* ---- sliding window -------------------------------------------------------------------------- */

/* How many layers look through a window, where config.json distinguishes them. */
static uint32_t count_windowed_layers(const reading *r)
{
    const en_json_node *types = en_json_get(r->root, "layer_types");
    uint32_t n_layers = r->config->n_layers, n = 0;
    if (types != NULL && types->type == EN_JSON_ARRAY) {
        for (EN_JSON_EACH(type, types))
            n += en_json_is(type, "sliding_attention");
        return n < types->n ? n : n_layers;
    }
    int64_t first = 0; /* qwen2: layers below this one see everything */
    if (r->config->arch->hf.window == EN_HF_WINDOW_IF_USED)
        en_json_int(en_json_get(r->root, "max_window_layers"), &first);
    return first <= 0 ? n_layers : first >= n_layers ? 0 : n_layers - (uint32_t)first;
}

static entro_status read_window(reading *r)
{
    en_hf_window kind = r->config->arch->hf.window;
    uint32_t window = 0;
    bool used = kind != EN_HF_WINDOW_NEVER;
    if (kind == EN_HF_WINDOW_IF_USED) {
        used = false;
        en_json_bool(en_json_get(r->root, "use_sliding_window"), &used);
    }
    if (used)
        EN_TRY(read_size(r, "sliding_window", false, &window));
    if (window > 0) {
        uint32_t n = count_windowed_layers(r);
        if (n > 0 && n < r->config->n_layers)
            return en_fail(r->err, ENTRO_ERR_UNSUPPORTED,
                           "%u of %u layers use a sliding window; all or none can be run", n,
                           r->config->n_layers);
        if (n == 0)
            window = 0;
    }
    if (window > 0 || kind == EN_HF_WINDOW_OR_ZERO)
        return set_u32(r, "attention.sliding_window", window);
    return ENTRO_OK;
}

/* ---- rope ------------------------------------------------------------------------------------ */

static entro_status add_computed(reading *r, const char *name, uint32_t n, float **values)
{
    *values = en_alloc(n, sizeof **values);
    if (*values == NULL)
        return en_fail_memory(r->err);
    r->config->computed[r->config->n_computed++] =
        (en_hf_computed){.name = name, .values = *values, .n = n};
    return ENTRO_OK;
}

/* Llama 3: long wavelengths are divided by 'factor', short ones kept, those between blended.  GGUF
 * stores what each frequency is divided by. */
static entro_status read_rope_llama3(reading *r, uint32_t n_dims, double theta)
{
    double factor, low, high, n_ctx_old;
    EN_TRY(read_positive(r, r->rope, "factor", -1, &factor));
    EN_TRY(read_positive(r, r->rope, "low_freq_factor", 1, &low));
    EN_TRY(read_positive(r, r->rope, "high_freq_factor", 4, &high));
    EN_TRY(read_positive(r, r->rope, "original_max_position_embeddings", 8192, &n_ctx_old));
    float *values;
    EN_TRY(add_computed(r, "rope_freqs.weight", n_dims / 2, &values));
    for (uint32_t i = 0; i < n_dims / 2; i++) {
        double wave = 2 * M_PI * pow(theta, 2.0 * i / n_dims);
        if (wave < n_ctx_old / high)
            values[i] = 1;
        else if (wave > n_ctx_old / low)
            values[i] = (float)factor;
        else {
            double smooth = high != low ? (n_ctx_old / wave - low) / (high - low) : 0;
            values[i] = (float)(1 / ((1 - smooth) / factor + smooth));
        }
    }
    return ENTRO_OK;
}

static entro_status read_factors(reading *r, const char *key, const char *name, uint32_t n)
{
    const en_json_node *list = en_json_get(r->rope, key);
    if (list == NULL || list->type != EN_JSON_ARRAY || list->n != n)
        return en_fail(r->err, ENTRO_ERR_FORMAT,
                       "'%s' is no list of %u numbers (one a rotated pair)", key, n);
    float *values;
    EN_TRY(add_computed(r, name, n, &values));
    for (EN_JSON_EACH(node, list)) {
        double v;
        if (!en_json_real(node, &v) || !(v > 0) || !(v < 1e30))
            return en_fail(r->err, ENTRO_ERR_FORMAT,
                           "'%s' holds something other than positive numbers", key);
        *values++ = (float)v;
    }
    return ENTRO_OK;
}

/* Phi-3: two lists of divisors, for contexts up to the original length and beyond. */
static entro_status read_rope_long(reading *r, uint32_t n_dims, double n_ctx_old)
{
    double n_ctx, attention;
    EN_TRY(read_positive(r, r->root, "max_position_embeddings", -1, &n_ctx));
    if (n_ctx_old < 2 || n_ctx_old > LARGEST)
        return en_fail(r->err, ENTRO_ERR_FORMAT,
                       "'original_max_position_embeddings' is missing or out of range");
    double scale = n_ctx / n_ctx_old;
    double computed = scale > 1 ? sqrt(1 + log(scale) / log(n_ctx_old)) : 1;
    EN_TRY(read_positive(r, r->rope, "attention_factor", computed, &attention));
    EN_TRY(set_string(r, "rope.scaling.type", "longrope"));
    EN_TRY(set_u32(r, "rope.scaling.original_context_length", (uint32_t)n_ctx_old));
    EN_TRY(set_f32(r, "rope.scaling.attn_factor", attention));
    EN_TRY(read_factors(r, "long_factor", "rope_factors_long.weight", n_dims / 2));
    return read_factors(r, "short_factor", "rope_factors_short.weight", n_dims / 2);
}

static entro_status read_rope_linear(reading *r)
{
    double factor;
    EN_TRY(read_positive(r, r->rope, "factor", -1, &factor));
    EN_TRY(set_string(r, "rope.scaling.type", "linear"));
    return set_f32(r, "rope.scaling.factor", factor);
}

static entro_status read_rope_scaling(reading *r, uint32_t n_dims, double theta, double n_ctx_old)
{
    const en_json_node *type = en_json_get(r->rope, "rope_type");
    if (type == NULL)
        type = en_json_get(r->rope, "type");
    if (type == NULL || en_json_is(type, "default"))
        return ENTRO_OK;
    if (en_json_is(type, "linear"))
        return read_rope_linear(r);
    if (en_json_is(type, "llama3"))
        return read_rope_llama3(r, n_dims, theta);
    if (en_json_is(type, "longrope") || en_json_is(type, "su"))
        return read_rope_long(r, n_dims, n_ctx_old);
    return en_fail(r->err, ENTRO_ERR_UNSUPPORTED,
                   "rope scaling '%.60s' (known: linear, llama3, longrope)",
                   type->type == EN_JSON_STRING ? type->s : "?");
}

static entro_status read_rope(reading *r)
{
    r->rope = en_json_get(r->root, "rope_parameters");
    if (r->rope == NULL)
        r->rope = en_json_get(r->root, "rope_scaling");
    const en_json_node *full = en_json_get(r->rope, "full_attention"); /* one set a layer kind */
    if (full != NULL)
        r->rope = full;
    double theta, part, n_ctx_old;
    EN_TRY(read_positive(r, r->root, "rope_theta", 10000, &theta));
    EN_TRY(read_positive(r, r->rope, "rope_theta", theta, &theta));
    EN_TRY(read_positive(r, r->root, "partial_rotary_factor", 1, &part));
    EN_TRY(read_positive(r, r->rope, "partial_rotary_factor", part, &part));
    EN_TRY(read_positive(r, r->root, "original_max_position_embeddings", 0, &n_ctx_old));
    EN_TRY(read_positive(r, r->rope, "original_max_position_embeddings", n_ctx_old, &n_ctx_old));
    uint32_t n_dims = part <= 1 ? (uint32_t)(part * r->config->n_head_dim) : 0;
    if (n_dims == 0 || n_dims % 2 != 0)
        return en_fail(r->err, ENTRO_ERR_FORMAT,
                       "rope needs an even number of dimensions: a head has %u, "
                       "'partial_rotary_factor' is %g",
                       r->config->n_head_dim, part);
    EN_TRY(set_u32(r, "rope.dimension_count", n_dims));
    EN_TRY(set_f32(r, "rope.freq_base", theta));
    return read_rope_scaling(r, n_dims, theta, n_ctx_old);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static entro_status read_all(reading *r)
{
    if (r->root->type != EN_JSON_OBJECT)
        return en_fail(r->err, ENTRO_ERR_FORMAT, "is no JSON object");
    EN_TRY(read_arch(r));
    EN_TRY(refuse_what_differs(r));
    EN_TRY(read_sizes(r));
    EN_TRY(read_window(r));
    EN_TRY(read_rope(r));
    const en_json_node *tied = en_json_get(r->root, "tie_word_embeddings");
    r->config->may_be_tied = !en_json_bool(tied, &r->config->tied);
    return ENTRO_OK;
}

entro_status en_hf_config_read(en_hf_config *config, const en_json_node *root, en_meta *meta,
                               entro_error *err)
{
    *config = (en_hf_config){0};
    reading r = {.config = config, .root = root, .meta = meta, .err = err};
    entro_status status = read_all(&r);
    if (status != ENTRO_OK)
        en_hf_config_close(config);
    return status;
}

void en_hf_config_close(en_hf_config *config)
{
    for (uint32_t i = 0; i < config->n_computed; i++)
        en_free(config->computed[i].values);
    *config = (en_hf_config){0};
}
