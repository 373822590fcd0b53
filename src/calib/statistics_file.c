/* statistics_file.c - see statistics_file.h. */
#include "calib/statistics_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/memory.h"
#include "calib/correlation.h"
#include "container/format_keys.h"
#include "container/gguf_output.h"
#include "kernels/kernels.h"

#define PREFIX "entrollm.statistics."

enum { ALIGNMENT = 64, MAX_ITEM_NAME = 80 };

static const char *const kind_names[EN_STATISTICS_KINDS] = {
    "fisher", "gradients",         "layer",           "output",
    "text",   "unfinished-fisher", "unfinished-text", "unfinished-cache"};

static bool is_numbered(en_statistics_kind kind)
{
    return kind == EN_STATISTICS_LAYER || kind == EN_STATISTICS_GRADIENTS ||
           kind == EN_STATISTICS_UNFINISHED_CACHE;
}

const char *en_statistics_name(char *out, size_t n_out, en_statistics_kind kind, uint32_t layer)
{
    if (is_numbered(kind))
        snprintf(out, n_out, "%s-%03" PRIu32 ".gguf", kind_names[kind], layer);
    else
        snprintf(out, n_out, "%s.gguf", kind_names[kind]);
    return out;
}

char *en_statistics_path(const char *folder, en_statistics_kind kind, uint32_t layer)
{
    char name[48];
    return en_path_join(folder, en_statistics_name(name, sizeof name, kind, layer));
}

entro_status en_statistics_make_folder(const char *folder, entro_error *err)
{
    if (mkdir(folder, 0777) == 0 || (errno == EEXIST && en_path_is_folder(folder)))
        return ENTRO_OK;
    entro_status status = en_fail_errno(err, errno, "cannot make a folder for statistics");
    en_error_place(err, "%s", folder);
    return status;
}

en_layer_group en_layer_group_of(const en_hparams *hp, uint32_t group)
{
    size_t n_q = (size_t)hp->n_heads * hp->n_head_dim;
    size_t n_qkv = n_q + 2 * (size_t)hp->n_kv_heads * hp->n_head_dim, n_ff = hp->n_ff;
    const en_layer_group groups[EN_LAYER_GROUPS] = {{"attn_in", "qkv", hp->n_embd, n_qkv},
                                                    {"attn_out", "attn_output", n_q, hp->n_embd},
                                                    {"ffn_in", "gate_up", hp->n_embd, 2 * n_ff},
                                                    {"ffn_out", "ffn_down", n_ff, hp->n_embd}};
    return groups[group];
}

const char *en_importance_name(char *out, size_t n_out, const en_layer_group *group, uint32_t layer)
{
    snprintf(out, n_out, "blk.%" PRIu32 ".%s.importance", layer, group->outputs);
    return out;
}

const char *en_gradient_name(char *out, size_t n_out, const en_layer_group *group, uint32_t matrix,
                             size_t block)
{
    snprintf(out, n_out, "%s.%" PRIu32 ".%zu", group->outputs, matrix, block);
    return out;
}

/* ---- metadata ------------------------------------------------------------------------------ */

static entro_status set_u64(en_meta *meta, const char *key, uint64_t u, entro_error *err)
{
    en_meta_value value = {.type = EN_META_U64, .n = 1, .u = u};
    return en_meta_set(meta, key, &value, err);
}

static entro_status set_identity(en_meta *meta, const en_statistics_identity *id, entro_error *err)
{
    EN_TRY(en_meta_set_string(meta, PREFIX "model", id->model, err));
    EN_TRY(set_u64(meta, PREFIX "model_hash", id->model_hash, err));
    EN_TRY(en_meta_set_string(meta, PREFIX "text", id->text, err));
    EN_TRY(set_u64(meta, PREFIX "text_hash", id->text_hash, err));
    EN_TRY(en_meta_set_u32(meta, PREFIX "n_positions", id->n_positions, err));
    EN_TRY(set_u64(meta, PREFIX "n_tokens", id->n_tokens, err));
    EN_TRY(set_u64(meta, PREFIX "n_fisher_tokens", id->n_fisher_tokens, err));
    return set_u64(meta, PREFIX "seed", id->seed, err);
}

static entro_status set_keys(en_meta *meta, const en_statistics_identity *id,
                             en_statistics_kind kind, uint32_t layer, entro_error *err)
{
    EN_TRY(en_meta_set_string(meta, "general.architecture", "entrollm-statistics", err));
    EN_TRY(en_meta_set_u32(meta, "general.alignment", ALIGNMENT, err));
    EN_TRY(en_meta_set_string(meta, EN_KEY_TOOL, "entrollm " ENTRO_VERSION, err));
    EN_TRY(en_meta_set_u32(meta, PREFIX "version", EN_STATISTICS_VERSION, err));
    EN_TRY(en_meta_set_string(meta, PREFIX "kind", kind_names[kind], err));
    EN_TRY(en_meta_set_u32(meta, PREFIX "layer", layer, err));
    return set_identity(meta, id, err);
}

static void get_string(const en_meta *meta, const char *key, char *out, size_t n_out)
{
    en_span s = en_meta_string(meta, key);
    size_t n = s.n < n_out - 1 ? s.n : n_out - 1;
    if (n > 0)
        memcpy(out, s.p, n);
    out[n] = '\0';
}

static entro_status get_u64(const en_meta *meta, const char *key, uint64_t *out, entro_error *err)
{
    const en_meta_value *v = en_meta_get(meta, key);
    if (v == NULL || v->is_array || v->type != EN_META_U64)
        return en_fail(err, ENTRO_ERR_FORMAT, "no key %s of 64 bits, expected in statistics", key);
    *out = v->u;
    return ENTRO_OK;
}

static entro_status get_identity(const en_meta *meta, en_statistics_identity *id, entro_error *err)
{
    get_string(meta, PREFIX "model", id->model, sizeof id->model);
    get_string(meta, PREFIX "text", id->text, sizeof id->text);
    id->n_positions = en_meta_u32(meta, PREFIX "n_positions", 0);
    EN_TRY(get_u64(meta, PREFIX "model_hash", &id->model_hash, err));
    EN_TRY(get_u64(meta, PREFIX "text_hash", &id->text_hash, err));
    EN_TRY(get_u64(meta, PREFIX "n_tokens", &id->n_tokens, err));
    EN_TRY(get_u64(meta, PREFIX "n_fisher_tokens", &id->n_fisher_tokens, err));
    EN_TRY(get_u64(meta, PREFIX "seed", &id->seed, err));
    if (id->n_positions == 0 || id->n_tokens == 0 || id->n_fisher_tokens == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "statistics of no tokens at all");
    return ENTRO_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

typedef struct writing {
    en_gguf_output out;
    en_meta *meta;
    en_tensor *tensors;
    uint64_t *hashes;
    uint16_t *packed; /* of the largest covariance */
    float *diagonal;
    uint32_t n_tensors;
} writing;

static en_tensor tensor_of(const char *name, const char *part, uint32_t dtype, size_t n)
{
    en_tensor t = {.dtype = dtype, .n_dims = 1, .dims = {n, 1, 1, 1}};
    snprintf(t.name, sizeof t.name, "%.*s%s", (int)MAX_ITEM_NAME, name, part);
    return t;
}

static entro_status prepare(writing *w, const en_statistics_item *items, size_t n_items,
                            entro_error *err)
{
    size_t largest = 0;
    w->tensors = en_alloc_zero(2 * n_items, sizeof *w->tensors);
    w->hashes = en_alloc_zero(2 * n_items, sizeof *w->hashes);
    if (w->tensors == NULL || w->hashes == NULL)
        return en_fail_memory(err);
    for (size_t i = 0; i < n_items; i++) {
        const en_statistics_item *it = &items[i];
        if (it->sums == NULL) {
            w->tensors[w->n_tensors++] =
                tensor_of(it->name, "", it->raw != NULL ? it->dtype : EN_DTYPE_F32, it->n);
            continue;
        }
        w->tensors[w->n_tensors++] =
            tensor_of(it->name, ".correlation", EN_DTYPE_F16, en_correlation_count(it->n));
        w->tensors[w->n_tensors++] = tensor_of(it->name, ".diagonal", EN_DTYPE_F32, it->n);
        largest = it->n > largest ? it->n : largest;
    }
    w->packed = en_alloc(en_correlation_count(largest), sizeof *w->packed);
    w->diagonal = en_alloc(largest, sizeof *w->diagonal);
    return w->packed != NULL && w->diagonal != NULL ? ENTRO_OK : en_fail_memory(err);
}

/* Hashes are patched in with the head, so they may be computed as the data goes by. */
static entro_status set_hashes(writing *w, entro_error *err)
{
    en_meta_value hashes = {.type = EN_META_U64, .is_array = true, .n = w->n_tensors};
    hashes.data = (const uint8_t *)w->hashes;
    return en_meta_set_borrowed(w->meta, EN_KEY_HASHES, &hashes, err);
}

static entro_status put(writing *w, uint32_t i, const void *data, size_t n_bytes, entro_error *err)
{
    w->hashes[i] = en_hash64(data, n_bytes);
    EN_TRY(en_gguf_output_start(&w->out, i, err));
    return en_gguf_output_put(&w->out, i, data, n_bytes, err);
}

static entro_status not_finite(const en_statistics_item *it, size_t at, entro_error *err)
{
    entro_status status = en_fail(err, ENTRO_ERR_FORMAT,
                                  "number %zu of the statistics is not finite: there is NaN or "
                                  "infinity in the model's activations",
                                  at);
    en_error_place(err, "%s", it->name);
    return status;
}

static entro_status put_item(writing *w, uint32_t *i, const en_statistics_item *it, en_pool *pool,
                             entro_error *err)
{
    if (it->raw != NULL) {
        size_t n_bytes = it->n * en_dtype_get(it->dtype)->block_bytes;
        return put(w, (*i)++, it->raw, n_bytes, err);
    }
    if (it->vector != NULL) {
        float lo, hi;
        if (!en_kernels_get()->min_max(it->vector, it->n, &lo, &hi))
            return not_finite(it, 0, err);
        return put(w, (*i)++, it->vector, it->n * sizeof *it->vector, err);
    }
    size_t bad = en_correlation_pack(it->sums, it->n, it->scale, w->packed, w->diagonal, pool);
    if (bad < it->n)
        return not_finite(it, bad, err);
    EN_TRY(put(w, (*i)++, w->packed, en_correlation_count(it->n) * sizeof *w->packed, err));
    return put(w, (*i)++, w->diagonal, it->n * sizeof *w->diagonal, err);
}

static entro_status write_all(writing *w, const char *path, const en_statistics_item *items,
                              size_t n_items, en_pool *pool, entro_error *err)
{
    uint32_t next = 0;
    uint64_t n_bytes;
    EN_TRY(prepare(w, items, n_items, err));
    EN_TRY(set_hashes(w, err));
    EN_TRY(en_gguf_output_begin(&w->out, path, true, w->meta, w->tensors, w->n_tensors, ALIGNMENT,
                                err));
    for (size_t i = 0; i < n_items; i++)
        EN_TRY(put_item(w, &next, &items[i], pool, err));
    return en_gguf_output_finish(&w->out, &n_bytes, err);
}

entro_status en_statistics_file_write(const char *path, const en_statistics_identity *id,
                                      en_statistics_kind kind, uint32_t layer,
                                      const en_statistics_item *items, size_t n_items,
                                      en_pool *pool, entro_error *err)
{
    writing w = {0};
    EN_TRY(en_meta_new(&w.meta, err));
    entro_status status = set_keys(w.meta, id, kind, layer, err);
    if (status == ENTRO_OK)
        status = write_all(&w, path, items, n_items, pool, err);
    en_gguf_output_abort(&w.out);
    en_meta_free(w.meta);
    en_free(w.tensors);
    en_free(w.hashes);
    en_free(w.packed);
    en_free(w.diagonal);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------- */

static entro_status check_kind(const en_meta *meta, en_statistics_kind kind, uint32_t layer,
                               entro_error *err)
{
    char found[32];
    uint32_t version = en_meta_u32(meta, PREFIX "version", 0);
    if (version == 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "is a GGUF file, but not one of statistics (no " PREFIX "version)");
    if (version != EN_STATISTICS_VERSION)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "statistics of version %" PRIu32
                       ", this program knows %d; collect them again",
                       version, EN_STATISTICS_VERSION);
    get_string(meta, PREFIX "kind", found, sizeof found);
    if (strcmp(found, kind_names[kind]) != 0 || en_meta_u32(meta, PREFIX "layer", 0) != layer)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "expected statistics of kind %s, layer %" PRIu32 ", found %s, layer %" PRIu32
                       " (renamed?)",
                       kind_names[kind], layer, found, en_meta_u32(meta, PREFIX "layer", 0));
    return ENTRO_OK;
}

static entro_status check_head(en_statistics_file *f, en_statistics_kind kind, uint32_t layer,
                               entro_error *err)
{
    EN_TRY(check_kind(f->gguf.meta, kind, layer, err));
    EN_TRY(get_identity(f->gguf.meta, &f->id, err));
    const en_meta_value *hashes = en_meta_get(f->gguf.meta, EN_KEY_HASHES);
    if (hashes == NULL || !hashes->is_array || hashes->type != EN_META_U64 ||
        hashes->n != f->gguf.n_tensors)
        return en_fail(err, ENTRO_ERR_FORMAT, "expected a checksum for each of %" PRIu32 " tensors",
                       f->gguf.n_tensors);
    f->hashes = hashes->data;
    return ENTRO_OK;
}

entro_status en_statistics_file_parse(en_statistics_file *f, const uint8_t *data, size_t n_bytes,
                                      en_statistics_kind kind, uint32_t layer, entro_error *err)
{
    *f = (en_statistics_file){0};
    EN_TRY(en_gguf_parse(&f->gguf, data, n_bytes, err));
    entro_status status = check_head(f, kind, layer, err);
    if (status != ENTRO_OK)
        en_statistics_file_close(f);
    return status;
}

entro_status en_statistics_file_open(en_statistics_file *f, const char *path,
                                     en_statistics_kind kind, uint32_t layer, entro_error *err)
{
    en_map map;
    *f = (en_statistics_file){0};
    EN_TRY(en_map_open(&map, path, err));
    entro_status status = en_statistics_file_parse(f, map.data, map.n_bytes, kind, layer, err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", path);
        en_map_close(&map);
        return status;
    }
    f->map = map;
    return ENTRO_OK;
}

void en_statistics_file_close(en_statistics_file *f)
{
    en_gguf_close(&f->gguf);
    en_map_close(&f->map);
    *f = (en_statistics_file){0};
}

static entro_status find(const en_statistics_file *f, const char *name, const char *part,
                         uint32_t dtype, size_t n, uint32_t *index, entro_error *err)
{
    char full[EN_MAX_TENSOR_NAME];
    snprintf(full, sizeof full, "%.*s%s", (int)MAX_ITEM_NAME, name, part);
    entro_status status = ENTRO_OK;
    uint32_t i = 0;
    while (i < f->gguf.n_tensors && strcmp(f->gguf.tensors[i].name, full) != 0)
        i++;
    const en_tensor *t = &f->gguf.tensors[i];
    if (i == f->gguf.n_tensors)
        status = en_fail(err, ENTRO_ERR_FORMAT, "there is no such tensor in the statistics");
    else if (t->dtype != dtype || t->n_dims != 1 || t->dims[0] != n)
        status = en_fail(
            err, ENTRO_ERR_FORMAT, "expected %zu numbers of type %s, found %" PRIu64 " of type %s",
            n, en_dtype_get(dtype)->name, en_tensor_n_elems(t), en_dtype_get(t->dtype)->name);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", full);
    *index = i;
    return status;
}

/* Its bytes, which are what was written. */
static entro_status verified(const en_statistics_file *f, uint32_t i, const uint8_t **data,
                             entro_error *err)
{
    const en_tensor *t = &f->gguf.tensors[i];
    *data = t->data;
    if (en_hash64(t->data, (size_t)t->n_bytes) == en_load64(f->hashes + 8 * (size_t)i))
        return ENTRO_OK;
    entro_status status =
        en_fail(err, ENTRO_ERR_CHECKSUM,
                "the checksum does not match: the file is damaged; remove it and collect again");
    en_error_place(err, "%s", t->name);
    return status;
}

entro_status en_statistics_file_check(const en_statistics_file *f, const char *name, bool is_vector,
                                      size_t n, entro_error *err)
{
    uint32_t i;
    if (is_vector)
        return find(f, name, "", EN_DTYPE_F32, n, &i, err);
    EN_TRY(find(f, name, ".correlation", EN_DTYPE_F16, en_correlation_count(n), &i, err));
    return find(f, name, ".diagonal", EN_DTYPE_F32, n, &i, err);
}

static entro_status read_floats(const en_statistics_file *f, const char *name, const char *part,
                                size_t n, float *out, entro_error *err)
{
    uint32_t i;
    const uint8_t *data;
    float lo, hi;
    EN_TRY(find(f, name, part, EN_DTYPE_F32, n, &i, err));
    EN_TRY(verified(f, i, &data, err));
    memcpy(out, data, n * sizeof *out);
    if (en_kernels_get()->min_max(out, n, &lo, &hi) && lo >= 0)
        return ENTRO_OK;
    entro_status status =
        en_fail(err, ENTRO_ERR_FORMAT, "expected finite numbers that are not negative");
    en_error_place(err, "%s", f->gguf.tensors[i].name);
    return status;
}

entro_status en_statistics_file_vector(const en_statistics_file *f, const char *name, size_t n,
                                       float *out, entro_error *err)
{
    return read_floats(f, name, "", n, out, err);
}

entro_status en_statistics_file_raw(const en_statistics_file *f, const char *name, en_dtype dtype,
                                    size_t n, const uint8_t **out, entro_error *err)
{
    uint32_t i;
    EN_TRY(find(f, name, "", dtype, n, &i, err));
    return verified(f, i, out, err);
}

entro_status en_statistics_file_covariance(const en_statistics_file *f, const char *name, size_t n,
                                           float *h, en_pool *pool, entro_error *err)
{
    uint32_t i;
    const uint8_t *packed;
    EN_TRY(find(f, name, ".correlation", EN_DTYPE_F16, en_correlation_count(n), &i, err));
    EN_TRY(verified(f, i, &packed, err));
    float *diagonal = en_alloc(n, sizeof *diagonal);
    if (diagonal == NULL)
        return en_fail_memory(err);
    entro_status status = read_floats(f, name, ".diagonal", n, diagonal, err);
    size_t bad = n;
    if (status == ENTRO_OK)
        bad = en_correlation_unpack(packed, diagonal, n, h, pool);
    if (bad < n) {
        status = en_fail(err, ENTRO_ERR_FORMAT,
                         "row %zu has a correlation that is not in -1 .. 1; collect again", bad);
        en_error_place(err, "%s", f->gguf.tensors[i].name);
    }
    en_free(diagonal);
    return status;
}
