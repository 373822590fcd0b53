/*
 * api_model.c - opening a model and looking into it.
 */
#include <math.h>
#include <stdio.h>

#include "api/api_options.h"
#include "engine/engine.h"

entro_status entro_model_open(entro_model **out, const char *path, const entro_model_options *opt,
                              entro_error *err)
{
    entro_model_options full;
    entro_model_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_model_open(out, path, &full, err);
}

void entro_model_close(entro_model *model)
{
    en_model_close(model);
}

/* ---- the model as a whole ------------------------------------------------------------------ */

static uint64_t count_params(const entro_model *model)
{
    uint64_t n = 0;
    if (model->container != NULL) {
        for (uint32_t i = 0; i < en_container_n_tensors(model->container); i++)
            n += en_tensor_n_elems(&en_container_tensor_at(model->container, i)->tensor);
        return n;
    }
    for (uint32_t i = 0; i < en_source_n_tensors(model->source); i++)
        n += en_tensor_n_elems(en_source_tensor(model->source, i));
    return n;
}

static uint32_t model_n_tensors(const entro_model *model)
{
    return model->container != NULL ? en_container_n_tensors(model->container)
                                    : en_source_n_tensors(model->source);
}

static entro_model_kind model_kind(const entro_model *model)
{
    if (model->container != NULL)
        return ENTRO_MODEL_CONTAINER;
    return en_source_get_kind(model->source) == EN_SOURCE_HF ? ENTRO_MODEL_HF_FOLDER
                                                             : ENTRO_MODEL_GGUF;
}

/* "llama.block_count"; straight from the metadata, so that a model this program cannot run can
 * still be looked at. */
static uint32_t arch_u32(const entro_model *model, const char *name, uint32_t fallback)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", model->architecture, name);
    return en_meta_u32(en_source_meta(model->source), key, fallback);
}

static uint32_t count_vocab(const entro_model *model)
{
    const en_meta *meta = en_source_meta(model->source);
    const en_meta_value *tokens = en_meta_get(meta, "tokenizer.ggml.tokens");
    uint32_t n = tokens != NULL && tokens->is_array ? (uint32_t)tokens->n : 0;
    return arch_u32(model, "vocab_size", n);
}

void entro_model_get_info(const entro_model *model, entro_model_info *info)
{
    const en_meta *meta = en_source_meta(model->source);
    const en_original *original =
        model->container != NULL ? en_container_original(model->container) : NULL;
    uint32_t n_heads = arch_u32(model, "attention.head_count", 0);
    *info = (entro_model_info){
        .kind = model_kind(model),
        .architecture = model->architecture,
        .name = model->name,
        .recipe = model->recipe,
        .tool = model->tool,
        .tokenizer = model->tokenizer != NULL ? en_tokenizer_kind(model->tokenizer) : "",
        .n_params = count_params(model),
        .n_strip_matrices = model->residency.n_matrices,
        .n_packed_matrices = model->residency.n_packed,
        .n_packed_bytes = model->residency.packed_bytes,
        .n_original_files = original != NULL ? original->n_files : 0,
        .original_is_folder = original != NULL && original->is_folder,
        .n_file_bytes = en_source_file_bytes(model->source),
        .n_layers = arch_u32(model, "block_count", 0),
        .n_embd = arch_u32(model, "embedding_length", 0),
        .n_heads = n_heads,
        .n_kv_heads = arch_u32(model, "attention.head_count_kv", n_heads),
        .n_ff = arch_u32(model, "feed_forward_length", 0),
        .n_vocab = model->decoder != NULL ? en_model_n_vocab(model) : count_vocab(model),
        .n_ctx_train = arch_u32(model, "context_length", 0),
        .n_tensors = model_n_tensors(model),
        .has_chat_template = en_meta_string(meta, "tokenizer.chat_template").n > 0,
    };
}

/* ---- tensors ------------------------------------------------------------------------------- */

static const char *mode_name(const en_strip_matrix *m)
{
    static const char *const names[] = {"N0", "N1", "N2", "W1", "W2", "W3", "W4", "bytes"};
    for (uint32_t i = 1; i < m->n_row_classes * m->n_col_classes; i++)
        if (m->layouts[i].mode != m->layouts[0].mode)
            return "mixed";
    return names[m->layouts[0].mode];
}

static void describe_coded(const en_coded *coded, entro_tensor_info *info)
{
    info->type = coded->strips != NULL   ? coded->strips->rans != NULL ? "rans" : "strips"
                 : coded->planes != NULL ? "planes"
                                         : "huffman";
    info->method = coded->method->name;
    info->table = coded->model_table ? "model" : "tensor";
    info->n_side_bytes = coded->n_side_bytes;
    info->entropy = coded->entropy;
    info->huffman_bits = coded->huffman_bits > 0 || coded->entropy == 0 ? coded->huffman_bits : NAN;
    if (coded->strips != NULL) {
        info->mode = mode_name(coded->strips);
        info->exceptions = (double)coded->strips->n_exceptions / (double)info->n_params;
    }
    if (coded->planes != NULL) {
        info->mode = en_dtype_get(coded->planes->dtype)->name;
        return;
    }
    info->step_min = INFINITY;
    info->step_max = 0.0f;
    for (uint64_t i = 0; i < coded->n_grids; i++) {
        float step, offset;
        en_coded_grid(coded, i, &step, &offset);
        info->step_min = fminf(info->step_min, fabsf(step));
        info->step_max = fmaxf(info->step_max, fabsf(step));
    }
}

static void describe_tensor(const en_tensor *t, const en_coded *coded, entro_tensor_info *info)
{
    const char *type = en_dtype_get(t->dtype)->name;
    *info = (entro_tensor_info){
        .name = t->name,
        .type = type != NULL ? type : "?",
        .method = "",
        .table = "",
        .mode = "",
        .exceptions = NAN,
        .n_dims = t->n_dims,
        .n_params = en_tensor_n_elems(t),
        .n_bytes = t->n_bytes,
        .entropy = NAN,
        .huffman_bits = NAN,
        .step_min = NAN,
        .step_max = NAN,
        .offset = t->offset,
    };
    for (int d = 0; d < EN_MAX_DIMS; d++)
        info->dims[d] = t->dims[d];
    info->bits = info->n_params > 0 ? 8.0 * (double)t->n_bytes / (double)info->n_params : NAN;
    if (coded != NULL)
        describe_coded(coded, info);
}

entro_status entro_model_get_tensor(const entro_model *model, uint32_t i, entro_tensor_info *info,
                                    entro_error *err)
{
    uint32_t n = model_n_tensors(model);
    if (i >= n)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "tensor number %u asked for, the model has %u", i,
                       n);
    if (model->container != NULL) {
        const en_container_tensor *t = en_container_tensor_at(model->container, i);
        describe_tensor(&t->tensor, t->coded, info);
    } else {
        describe_tensor(en_source_tensor(model->source, i), NULL, info);
    }
    return ENTRO_OK;
}

/* ---- metadata ------------------------------------------------------------------------------ */

uint32_t entro_model_n_keys(const entro_model *model)
{
    return (uint32_t)en_meta_count(en_source_meta(model->source));
}

size_t entro_model_get_key(const entro_model *model, uint32_t i, const char **key, char *value,
                           size_t n_value)
{
    const en_meta *meta = en_source_meta(model->source);
    if (i >= en_meta_count(meta)) {
        *key = "";
        if (n_value > 0)
            value[0] = 0;
        return 0;
    }
    *key = en_meta_key(meta, i);
    return en_meta_format(en_meta_at(meta, i), value, n_value);
}
