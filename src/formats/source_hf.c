/*
 * source_hf.c - a Hugging Face folder as a model source.
 *
 *   config.json ------------> metadata keys, tensors that GGUF stores and HF computes
 *   model.safetensors ------> tensors under GGUF's names, read in place
 *     or *.index.json + shards
 *   tokenizer files --------> tokenizer.* keys
 *
 * The q and k rows of llama and mistral are handed out in GGUF's order: within a head of 2n rows,
 * row 2j + s is row s n + j of the file.  Such tensors have no 'data', only rows to read.
 * Tensors that no rule asks for (rotary_emb.inv_freq, a tied lm_head) are left alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/hf_config.h"
#include "formats/hf_tokenizer.h"
#include "formats/safetensors.h"
#include "formats/source.h"
#include "kernels/kernels.h"

#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

enum { MAX_JSON = 64 << 20, MAX_SHARDS = 4096 };

typedef struct shard {
    char *name; /* within the folder */
    en_map map;
    en_safetensors st;
} shard;

/* Beside source.tensors[i]. */
typedef struct stored {
    const uint8_t *data;
    uint32_t n_head_rows; /* rows of a head that are interleaved; 0: rows as they are */
} stored;

typedef struct hf_source {
    en_source source; /* first, so that pointers to either are pointers to both */
    en_json config_json;
    en_hf_config config;
    shard *shards;
    uint32_t n_shards;
    stored *stored;
} hf_source;

/* ---- reading ------------------------------------------------------------------------------- */

static uint64_t row_in_file(uint64_t row, uint32_t n_head_rows)
{
    if (n_head_rows == 0)
        return row;
    uint64_t in_head = row % n_head_rows;
    return row - in_head + in_head % 2 * (n_head_rows / 2) + in_head / 2;
}

/* Rows of a tensor and how they lie in the file. */
typedef struct row_run {
    const stored *from;
    uint64_t row, n_rows, n_cols;
    size_t row_bytes;
} row_run;

static entro_status find_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, row_run *run, entro_error *err)
{
    const hf_source *s = (const hf_source *)source;
    size_t i = (size_t)(tensor - source->tensors);
    if (tensor < source->tensors || i >= source->n_tensors)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "is no tensor of this source");
    *run = (row_run){&s->stored[i], row, n_rows, tensor->dims[0], 0};
    if (tensor->n_dims == 1 && run->from->n_head_rows > 0) {
        /* A bias of one dimension is a column of heads: its elements move as rows do. */
        run->row *= tensor->dims[0];
        run->n_rows *= tensor->dims[0];
        run->n_cols = 1;
    }
    run->row_bytes = (size_t)(run->n_cols * en_dtype_get(tensor->dtype)->block_bytes);
    return ENTRO_OK;
}

static entro_status read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err)
{
    row_run run = {0};
    EN_TRY(find_rows(source, tensor, row, n_rows, &run, err));
    const stored *from = run.from;
    void (*dequantize)(const uint8_t *, float *, size_t) =
        en_kernels_get()->dequantize[tensor->dtype];
    if (from->n_head_rows == 0) {
        dequantize(from->data + run.row * run.row_bytes, out, (size_t)(run.n_rows * run.n_cols));
        return ENTRO_OK;
    }
    for (uint64_t r = 0; r < run.n_rows; r++)
        dequantize(from->data + row_in_file(run.row + r, from->n_head_rows) * run.row_bytes,
                   out + r * run.n_cols, (size_t)run.n_cols);
    return ENTRO_OK;
}

static entro_status read_bytes(const en_source *source, const en_tensor *tensor, uint64_t row,
                               uint64_t n_rows, uint8_t *out, entro_error *err)
{
    row_run run = {0};
    EN_TRY(find_rows(source, tensor, row, n_rows, &run, err));
    const stored *from = run.from;
    if (from->n_head_rows == 0) {
        memcpy(out, from->data + run.row * run.row_bytes, (size_t)run.n_rows * run.row_bytes);
        return ENTRO_OK;
    }
    for (uint64_t r = 0; r < run.n_rows; r++)
        memcpy(out + r * run.row_bytes,
               from->data + row_in_file(run.row + r, from->n_head_rows) * run.row_bytes,
               run.row_bytes);
    return ENTRO_OK;
}

static uint32_t n_files(const en_source *source)
{
    return ((const hf_source *)source)->n_shards;
}

static en_source_file file_at(const en_source *source, uint32_t i)
{
    const shard *from = &((const hf_source *)source)->shards[i];
    return (en_source_file){from->name, from->map.data, from->map.n_bytes};
}

static bool find_place(const en_source *source, uint32_t i, en_source_place *place)
{
    const hf_source *s = (const hf_source *)source;
    const stored *from = &s->stored[i];
    for (uint32_t f = 0; f < s->n_shards; f++) {
        const en_map *map = &s->shards[f].map;
        uint64_t offset = (uint64_t)((uintptr_t)from->data - (uintptr_t)map->data);
        if ((uintptr_t)from->data < (uintptr_t)map->data || offset >= map->n_bytes)
            continue;
        *place = (en_source_place){f, offset, from->n_head_rows};
        return true;
    }
    return false;
}

static const uint8_t *mapped(const en_source *source, const en_tensor *tensor)
{
    const hf_source *s = (const hf_source *)source;
    size_t i = (size_t)(tensor - source->tensors);
    if (tensor < source->tensors || i >= source->n_tensors || tensor->offset == 0)
        return NULL; /* not ours, or computed */
    return s->stored[i].data;
}

static void close_hf(en_source *source)
{
    hf_source *s = (hf_source *)source;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        en_safetensors_close(&s->shards[i].st);
        en_map_close(&s->shards[i].map);
        en_free(s->shards[i].name);
    }
    en_free(s->shards);
    en_free(s->stored);
    en_hf_config_close(&s->config);
    en_json_close(&s->config_json);
    en_meta_free(source->meta);
    en_free(source->tensors);
    en_free(source->path);
    en_free(s);
}

static const en_source_ops hf_ops = {.read_rows = read_rows,
                                     .read_bytes = read_bytes,
                                     .n_files = n_files,
                                     .file_at = file_at,
                                     .find_place = find_place,
                                     .mapped = mapped,
                                     .close = close_hf};

/* ---- weight files -------------------------------------------------------------------------- */

static entro_status open_shard(hf_source *s, const char *name, entro_error *err)
{
    shard *to = &s->shards[s->n_shards];
    *to = (shard){.name = en_strndup(name, strlen(name))};
    if (to->name == NULL)
        return en_fail_memory(err);
    s->n_shards++;
    char *path = en_path_join(s->source.path, name);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = ENTRO_OK;
    if (!en_path_exists(path)) {
        status = en_fail(err, ENTRO_ERR_NOT_FOUND,
                         "shard '%s' is missing, which " INDEX_NAME " names; download it into the "
                         "folder",
                         name);
    } else {
        status = en_map_open(&to->map, path, err);
        if (status == ENTRO_OK) {
            status = en_safetensors_parse(&to->st, to->map.data, to->map.n_bytes, err);
            if (status != ENTRO_OK)
                en_error_place(err, "%s", path);
        }
    }
    en_free(path);
    s->source.file_bytes += to->map.n_bytes;
    return status;
}

static bool has_shard(const hf_source *s, const char *name)
{
    for (uint32_t i = s->n_shards; i-- > 0;) /* neighbours are mostly in the same shard */
        if (strcmp(s->shards[i].name, name) == 0)
            return true;
    return false;
}

static entro_status open_indexed(hf_source *s, const en_json_node *index, entro_error *err)
{
    const en_json_node *map = en_json_get(index, "weight_map");
    if (map == NULL || map->type != EN_JSON_OBJECT || map->n == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, INDEX_NAME " has no 'weight_map'");
    s->shards = en_alloc_zero(MAX_SHARDS, sizeof *s->shards);
    if (s->shards == NULL)
        return en_fail_memory(err);
    for (EN_JSON_MEMBERS(key, map)) {
        en_span name;
        /* A name from the internet must not lead out of the folder. */
        if (!en_json_string(key + 1, &name) || name.n == 0 || name.p[0] == '.' ||
            strlen(name.p) != name.n || strchr(name.p, '/') != NULL)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           INDEX_NAME ": tensor '%.100s' is not in a file of the folder", key->s);
        if (has_shard(s, name.p))
            continue;
        if (s->n_shards == MAX_SHARDS)
            return en_fail(err, ENTRO_ERR_FORMAT, INDEX_NAME " names more than %d files",
                           MAX_SHARDS);
        EN_TRY(open_shard(s, name.p, err));
    }
    return ENTRO_OK;
}

static entro_status open_weights(hf_source *s, entro_error *err)
{
    char *single = en_path_join(s->source.path, SINGLE_NAME);
    char *index = en_path_join(s->source.path, INDEX_NAME);
    en_json json = {0};
    entro_status status;
    if (single == NULL || index == NULL) {
        status = en_fail_memory(err);
    } else if (en_path_exists(single)) {
        s->shards = en_alloc_zero(1, sizeof *s->shards);
        status = s->shards == NULL ? en_fail_memory(err) : open_shard(s, SINGLE_NAME, err);
    } else if (en_path_exists(index)) {
        status = en_json_load(&json, index, MAX_JSON, err);
        if (status == ENTRO_OK)
            status = open_indexed(s, json.nodes, err);
    } else {
        status = en_fail(err, ENTRO_ERR_NOT_FOUND,
                         "has neither " SINGLE_NAME " nor " INDEX_NAME " (PyTorch's .bin files are "
                         "not read; get or save the model as safetensors)");
    }
    en_json_close(&json);
    en_free(single);
    en_free(index);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static const en_safetensors_entry *find_entry(const hf_source *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        const en_safetensors_entry *e = en_safetensors_find(&s->shards[i].st, name);
        if (e != NULL)
            return e;
    }
    return NULL;
}

/* The slot after the last one, zeroed; the caller counts it when it is filled. */
static en_tensor *next_tensor(hf_source *s, const char *gguf_name)
{
    uint32_t i = s->source.n_tensors; /* there is room: every rule was counted */
    s->stored[i] = (stored){0};
    s->source.tensors[i] = (en_tensor){0};
    snprintf(s->source.tensors[i].name, EN_MAX_TENSOR_NAME, "%s", gguf_name);
    return &s->source.tensors[i];
}

static entro_status interleave(hf_source *s, en_tensor *t, const char *hf_name, en_hf_rows rows,
                               entro_error *err)
{
    if (rows == EN_HF_ROWS_PLAIN)
        return ENTRO_OK;
    uint32_t n_heads = rows == EN_HF_ROWS_OF_HEADS ? s->config.n_heads : s->config.n_kv_heads;
    uint64_t n_rows = t->n_dims == 1 ? t->dims[0] : t->dims[1];
    if (s->config.n_head_dim % 2 != 0)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "config.json says heads of %u rows, expected an even number (rotary "
                       "embedding turns pairs)",
                       s->config.n_head_dim);
    if (t->n_dims > 2 || n_rows != (uint64_t)n_heads * s->config.n_head_dim)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "tensor '%s' has %llu rows, config.json says %u heads of %u", hf_name,
                       (unsigned long long)n_rows, n_heads, s->config.n_head_dim);
    s->stored[s->source.n_tensors].n_head_rows = s->config.n_head_dim;
    t->data = NULL;
    return ENTRO_OK;
}

/* Adds a tensor of the files; *found is false when an optional one is absent. */
static entro_status add_stored(hf_source *s, const char *hf_name, const char *gguf_name,
                               en_hf_rows rows, bool optional, bool *found, entro_error *err)
{
    const en_safetensors_entry *e = find_entry(s, hf_name);
    *found = e != NULL;
    if (e == NULL && optional)
        return ENTRO_OK;
    if (e == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "tensor '%s' is missing from the safetensors files (%s needs it)", hf_name,
                       s->config.arch->hf.class_name);
    en_tensor *t = next_tensor(s, gguf_name);
    EN_TRY(en_safetensors_tensor(e, t, err));
    s->stored[s->source.n_tensors].data = e->data;
    EN_TRY(interleave(s, t, hf_name, rows, err));
    s->source.n_tensors++;
    return ENTRO_OK;
}

static entro_status add_layer(hf_source *s, uint32_t layer, entro_error *err)
{
    for (const en_hf_rule *rule = s->config.arch->hf.rules; rule->hf != NULL; rule++) {
        char hf_name[EN_MAX_TENSOR_NAME], gguf_name[EN_MAX_TENSOR_NAME];
        bool found;
        snprintf(hf_name, sizeof hf_name, "model.layers.%u.%s", layer, rule->hf);
        snprintf(gguf_name, sizeof gguf_name, "blk.%u.%s", layer, rule->gguf);
        EN_TRY(add_stored(s, hf_name, gguf_name, rule->rows, rule->optional, &found, err));
    }
    return ENTRO_OK;
}

static void add_computed(hf_source *s, const en_hf_computed *computed)
{
    en_tensor *t = next_tensor(s, computed->name);
    t->dtype = EN_DTYPE_F32;
    t->n_dims = 1;
    t->dims[0] = computed->n;
    t->dims[1] = t->dims[2] = t->dims[3] = 1;
    t->n_bytes = (uint64_t)computed->n * sizeof *computed->values;
    t->data = s->stored[s->source.n_tensors++].data = (const uint8_t *)computed->values;
}

/* Every layer needs its first tensor: config.json must not promise more layers than a file can
 * hold, or the tables would be allocated for them. */
static entro_status reserve_tensors(hf_source *s, entro_error *err)
{
    uint64_t n_entries = 0;
    uint32_t n_rules = 0;
    for (uint32_t i = 0; i < s->n_shards; i++)
        n_entries += s->shards[i].st.n_entries;
    if (s->config.n_layers > n_entries)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "config.json says %u layers, the safetensors files hold %llu tensors in all",
                       s->config.n_layers, (unsigned long long)n_entries);
    while (s->config.arch->hf.rules[n_rules].hf != NULL)
        n_rules++;
    size_t n = (size_t)s->config.n_layers * n_rules + 3 + EN_HF_MAX_COMPUTED;
    s->source.tensors = en_alloc(n, sizeof *s->source.tensors);
    s->stored = en_alloc(n, sizeof *s->stored);
    return s->source.tensors == NULL || s->stored == NULL ? en_fail_memory(err) : ENTRO_OK;
}

static entro_status add_tensors(hf_source *s, entro_error *err)
{
    bool found;
    EN_TRY(reserve_tensors(s, err));
    EN_TRY(add_stored(s, "model.embed_tokens.weight", "token_embd.weight", EN_HF_ROWS_PLAIN, false,
                      &found, err));
    const en_tensor *embedding = &s->source.tensors[0];
    if (embedding->n_dims != 2 || embedding->dims[1] != s->config.n_vocab)
        return en_fail(
            err, ENTRO_ERR_FORMAT,
            "'model.embed_tokens.weight' is no matrix with the %u rows that 'vocab_size' "
            "of config.json says",
            s->config.n_vocab);
    for (uint32_t i = 0; i < s->config.n_layers; i++)
        EN_TRY(add_layer(s, i, err));
    EN_TRY(add_stored(s, "model.norm.weight", "output_norm.weight", EN_HF_ROWS_PLAIN, false, &found,
                      err));
    if (!s->config.tied)
        EN_TRY(add_stored(s, "lm_head.weight", "output.weight", EN_HF_ROWS_PLAIN,
                          s->config.may_be_tied, &found, err));
    for (uint32_t i = 0; i < s->config.n_computed; i++)
        add_computed(s, &s->config.computed[i]);
    return ENTRO_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static entro_status read_config(hf_source *s, entro_error *err)
{
    char *path = en_path_join(s->source.path, "config.json");
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = en_json_load(&s->config_json, path, MAX_JSON, err);
    if (status == ENTRO_OK) {
        status = en_hf_config_read(&s->config, s->config_json.nodes, s->source.meta, err);
        if (status != ENTRO_OK)
            en_error_place(err, "%s", path);
    }
    en_free(path);
    return status;
}

/* general.name is the folder's name, slashes at its end aside. */
static entro_status set_name(hf_source *s, entro_error *err)
{
    const char *path = s->source.path;
    size_t n = strlen(path), start;
    while (n > 0 && path[n - 1] == '/')
        n--;
    for (start = n; start > 0 && path[start - 1] != '/';)
        start--;
    en_meta_value name = {.type = EN_META_STRING, .n = 1, .string = {path + start, n - start}};
    if (name.string.n == 0 || en_span_is(name.string, ".") || en_span_is(name.string, ".."))
        return ENTRO_OK;
    return en_meta_set(s->source.meta, "general.name", &name, err);
}

static entro_status open_hf(hf_source *s, const char *folder, entro_error *err)
{
    s->source.path = en_strndup(folder, strlen(folder));
    if (s->source.path == NULL)
        return en_fail_memory(err);
    EN_TRY(en_meta_new(&s->source.meta, err));
    EN_TRY(read_config(s, err));
    EN_TRY(set_name(s, err));
    entro_status status = open_weights(s, err);
    if (status == ENTRO_OK)
        status = add_tensors(s, err);
    if (status != ENTRO_OK) {
        if (err != NULL && err->where[0] == '\0')
            en_error_place(err, "%s", folder);
        return status;
    }
    return en_hf_tokenizer_load(s->source.meta, folder, s->config_json.nodes, s->config.n_vocab,
                                err);
}

entro_status en_source_open_hf(en_source **out, const char *folder, entro_error *err)
{
    hf_source *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    s->source.ops = &hf_ops;
    s->source.kind = EN_SOURCE_HF;
    entro_status status = open_hf(s, folder, err);
    if (status != ENTRO_OK) {
        close_hf(&s->source);
        return status;
    }
    *out = &s->source;
    return ENTRO_OK;
}
