/* safetensors.c - see safetensors.h. */
#include "formats/safetensors.h"

#include <stdlib.h>

#include "base/memory.h"

typedef struct type_info {
    const char *name;
    unsigned bits;
    int dtype; /* en_dtype, -1: known but not used here */
} type_info;

static const type_info types[] = {
    {"F32", 32, EN_DTYPE_F32},
    {"F16", 16, EN_DTYPE_F16},
    {"BF16", 16, EN_DTYPE_BF16},
    {"F64", 64, -1},
    {"I64", 64, -1},
    {"U64", 64, -1},
    {"I32", 32, -1},
    {"U32", 32, -1},
    {"I16", 16, -1},
    {"U16", 16, -1},
    {"I8", 8, -1},
    {"U8", 8, -1},
    {"BOOL", 8, -1},
    {"F8_E5M2", 8, -1},
    {"F8_E4M3", 8, -1},
    {"F8_E8M0", 8, -1},
    {"F6_E2M3", 6, -1},
    {"F6_E3M2", 6, -1},
    {"F4", 4, -1},
};

static const type_info *find_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

/* ---- parsing ----------------------------------------------------------------------------- */

static entro_status read_header(en_json *header, const uint8_t *data, size_t n_bytes,
                                size_t *data_start, entro_error *err)
{
    static const char lfs[] = "version https://git-lfs";
    if (n_bytes >= sizeof lfs - 1 && memcmp(data, lfs, sizeof lfs - 1) == 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "is a git-lfs pointer, not the weights; fetch them with 'git lfs pull'");
    if (n_bytes < 8)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "is not a safetensors file: %zu bytes, the header's length alone takes 8",
                       n_bytes);
    uint64_t n_header = en_load64(data);
    if (n_header > EN_SAFETENSORS_MAX_HEADER || n_header < 2)
        return en_fail_at(err, ENTRO_ERR_FORMAT, 0,
                          "is not a safetensors file: header of %llu bytes (expected 2 .. %d)",
                          (unsigned long long)n_header, EN_SAFETENSORS_MAX_HEADER);
    if (n_header > n_bytes - 8)
        return en_fail_at(err, ENTRO_ERR_FORMAT, 0,
                          "header ends at byte %llu, file has %zu (truncated download?)",
                          (unsigned long long)n_header + 8, n_bytes);
    EN_TRY(en_json_parse(header, (const char *)data + 8, n_header, true, err));
    if (header->nodes->type != EN_JSON_OBJECT)
        return en_fail_at(err, ENTRO_ERR_FORMAT, 8, "safetensors header is no JSON object");
    if (header->nodes->n > EN_SAFETENSORS_MAX_TENSORS)
        return en_fail_at(err, ENTRO_ERR_FORMAT, 8, "safetensors header names %u tensors, limit %d",
                          header->nodes->n, EN_SAFETENSORS_MAX_TENSORS);
    *data_start = 8 + (size_t)n_header;
    return ENTRO_OK;
}

/* Reads shape; the product of the dimensions goes to *n_elems. */
static entro_status read_shape(en_safetensors_entry *e, const en_json_node *shape,
                               uint64_t *n_elems, entro_error *err)
{
    if (shape == NULL || shape->type != EN_JSON_ARRAY || shape->n > EN_SAFETENSORS_MAX_DIMS)
        return en_fail(err, ENTRO_ERR_FORMAT, "tensor '%s': shape is no list of at most %d numbers",
                       e->name, EN_SAFETENSORS_MAX_DIMS);
    *n_elems = 1;
    for (EN_JSON_EACH(dim, shape)) {
        int64_t v;
        if (!en_json_int(dim, &v) || v < 0 ||
            __builtin_mul_overflow(*n_elems, (uint64_t)v, n_elems))
            return en_fail(err, ENTRO_ERR_FORMAT, "tensor '%s': bad dimension %u of its shape",
                           e->name, e->n_dims);
        e->dims[e->n_dims++] = (uint64_t)v;
    }
    return ENTRO_OK;
}

static entro_status read_entry(en_safetensors_entry *e, const en_json_node *info,
                               const uint8_t *data, size_t data_start, size_t n_file,
                               entro_error *err)
{
    en_span dtype;
    int64_t begin = 0, end = 0;
    const en_json_node *offsets = en_json_get(info, "data_offsets");
    if (!en_json_string(en_json_get(info, "dtype"), &dtype) || offsets == NULL ||
        offsets->type != EN_JSON_ARRAY || offsets->n != 2 || !en_json_int(offsets + 1, &begin) ||
        !en_json_int(offsets + 2, &end) || begin < 0 || end < begin)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "tensor '%s': expected dtype, shape and two rising data_offsets", e->name);
    uint64_t n_elems = 0, n_bits = 0;
    EN_TRY(read_shape(e, en_json_get(info, "shape"), &n_elems, err));
    e->dtype = dtype.p;
    e->n_bytes = (uint64_t)(end - begin);
    uint64_t file_end = (uint64_t)end + data_start; /* below 2^63 + 2^27 */
    if (file_end > n_file)
        return en_fail_at(err, ENTRO_ERR_FORMAT, data_start + (uint64_t)begin,
                          "tensor '%s' ends at byte %llu, file has %zu (truncated download?)",
                          e->name, (unsigned long long)file_end, n_file);
    const type_info *type = find_type(e->dtype);
    if (type != NULL && (__builtin_mul_overflow(n_elems, (uint64_t)type->bits, &n_bits) ||
                         n_bits % 8 != 0 || n_bits / 8 != e->n_bytes))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "tensor '%s': %llu elements of %s do not take the %llu bytes it has",
                       e->name, (unsigned long long)n_elems, e->dtype,
                       (unsigned long long)e->n_bytes);
    e->offset = data_start + (uint64_t)begin;
    e->data = data + e->offset;
    return ENTRO_OK;
}

static int by_offset(const void *a, const void *b)
{
    const en_safetensors_entry *x = a, *y = b;
    uint64_t x_end = x->offset + x->n_bytes, y_end = y->offset + y->n_bytes;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x_end < y_end ? -1 : x_end > y_end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const en_safetensors_entry *)a)->name, ((const en_safetensors_entry *)b)->name);
}

/* Leaves the entries sorted by name. */
static entro_status check_against_each_other(en_safetensors *st, entro_error *err)
{
    en_safetensors_entry *e = st->entries;
    qsort(e, st->n_entries, sizeof *e, by_offset);
    for (uint32_t i = 1; i < st->n_entries; i++)
        if (e[i].offset < e[i - 1].offset + e[i - 1].n_bytes)
            return en_fail_at(err, ENTRO_ERR_FORMAT, e[i].offset, "tensors '%s' and '%s' overlap",
                              e[i - 1].name, e[i].name);
    qsort(e, st->n_entries, sizeof *e, by_name);
    for (uint32_t i = 1; i < st->n_entries; i++)
        if (strcmp(e[i].name, e[i - 1].name) == 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "tensor '%s' is described twice", e[i].name);
    return ENTRO_OK;
}

static entro_status parse(en_safetensors *st, const uint8_t *data, size_t n_bytes, entro_error *err)
{
    size_t data_start = 0;
    EN_TRY(read_header(&st->header, data, n_bytes, &data_start, err));
    const en_json_node *root = st->header.nodes;
    st->entries = en_alloc_zero(root->n, sizeof *st->entries);
    if (st->entries == NULL)
        return en_fail_memory(err);
    for (EN_JSON_MEMBERS(key, root)) {
        if (strcmp(key->s, "__metadata__") == 0)
            continue;
        en_safetensors_entry *e = &st->entries[st->n_entries++];
        e->name = key->s;
        EN_TRY(read_entry(e, key + 1, data, data_start, n_bytes, err));
    }
    return check_against_each_other(st, err);
}

entro_status en_safetensors_parse(en_safetensors *st, const uint8_t *data, size_t n_bytes,
                                  entro_error *err)
{
    *st = (en_safetensors){0};
    entro_status status = parse(st, data, n_bytes, err);
    if (status != ENTRO_OK)
        en_safetensors_close(st);
    return status;
}

void en_safetensors_close(en_safetensors *st)
{
    en_json_close(&st->header);
    en_free(st->entries);
    *st = (en_safetensors){0};
}

/* ---- use ----------------------------------------------------------------------------------- */

const en_safetensors_entry *en_safetensors_find(const en_safetensors *st, const char *name)
{
    const en_safetensors_entry wanted = {.name = name};
    if (st->n_entries == 0)
        return NULL;
    return bsearch(&wanted, st->entries, st->n_entries, sizeof *st->entries, by_name);
}

entro_status en_safetensors_tensor(const en_safetensors_entry *entry, en_tensor *tensor,
                                   entro_error *err)
{
    const type_info *type = find_type(entry->dtype);
    if (type == NULL || type->dtype < 0)
        return en_fail_at(err, ENTRO_ERR_UNSUPPORTED, entry->offset,
                          "tensor '%s' has type %s; F32, F16 and BF16 can be read, so convert the "
                          "model to one of them",
                          entry->name, entry->dtype);
    if (entry->n_dims < 1 || entry->n_dims > EN_MAX_DIMS || entry->n_bytes == 0)
        return en_fail_at(err, ENTRO_ERR_UNSUPPORTED, entry->offset,
                          "tensor '%s' has %u dimensions and %llu bytes, expected 1 to %d "
                          "dimensions, none of them 0",
                          entry->name, entry->n_dims, (unsigned long long)entry->n_bytes,
                          EN_MAX_DIMS);
    tensor->dtype = (uint32_t)type->dtype;
    tensor->n_dims = entry->n_dims;
    for (uint32_t i = 0; i < EN_MAX_DIMS; i++)
        tensor->dims[i] = i < entry->n_dims ? entry->dims[entry->n_dims - 1 - i] : 1;
    tensor->data = entry->data;
    tensor->n_bytes = entry->n_bytes;
    tensor->offset = entry->offset;
    return ENTRO_OK;
}
