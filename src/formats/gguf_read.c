/*
 * gguf_read.c - parses GGUF v2 and v3.  See gguf.h.
 *
 *   magic "GGUF", u32 version, u64 n_tensors, u64 n_keys
 *   n_keys    x  string key, u32 type, value     (string: u64 length, bytes;
 *                                                 array: u32 type, u64 n, elements)
 *   n_tensors x  string name, u32 n_dims, u64 dims[n_dims], u32 dtype, u64 offset
 *   zeros up to a multiple of the alignment, then the data that the offsets count from
 *
 * Every count is compared with the bytes that are left before anything is allocated, so memory
 * stays within a small factor of the file's size.
 */
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "formats/name_index.h"

enum {
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
    MAX_KEY_BYTES = 65535,
    MAX_ALIGNMENT = 1 << 16,
    DEFAULT_ALIGNMENT = 32
};

bool en_gguf_is(const uint8_t *data, size_t n_bytes)
{
    return n_bytes >= 4 && memcmp(data, "GGUF", 4) == 0;
}

/* ---- small parts ----------------------------------------------------------------------- */

static entro_status cut_short(const en_reader *r, const char *what, uint64_t n_needed,
                              entro_error *err)
{
    return en_fail_at(err, ENTRO_ERR_FORMAT, r->pos,
                      "the file ends inside its head: %s needs %" PRIu64
                      " bytes, %zu of %zu are left (truncated download, or damaged?)",
                      what, n_needed, en_reader_left(r), r->n_bytes);
}

static entro_status read_string(en_reader *r, const char *what, en_span *out, entro_error *err)
{
    if (en_reader_left(r) < 8)
        return cut_short(r, what, 8, err);
    uint64_t n = en_reader_u64(r);
    const uint8_t *p = en_reader_take(r, n);
    if (p == NULL)
        return cut_short(r, what, n, err);
    *out = (en_span){(const char *)p, (size_t)n};
    return ENTRO_OK;
}

/* Names end up in messages and on terminals, so they must be plain text. */
static entro_status check_name(const char *what, en_span name, size_t n_max, uint64_t offset,
                               entro_error *err)
{
    if (name.n == 0 || name.n > n_max)
        return en_fail_at(err, ENTRO_ERR_FORMAT, offset,
                          "the name of a %s has %zu bytes, expected 1 to %zu (damaged?)", what,
                          name.n, n_max);
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 32 || name.p[i] == 127)
            return en_fail_at(err, ENTRO_ERR_FORMAT, offset,
                              "the name of a %s has a control character (damaged?)", what);
    return ENTRO_OK;
}

/* ---- keys ------------------------------------------------------------------------------ */

static void read_scalar(en_reader *r, en_meta_type type, en_meta_value *value)
{
    double f;
    uint64_t bits;
    switch (type) {
    case EN_META_U8: value->u = en_reader_u8(r); break;
    case EN_META_BOOL: value->u = en_reader_u8(r) != 0; break;
    case EN_META_I8: value->i = (int8_t)en_reader_u8(r); break;
    case EN_META_U16: value->u = en_reader_u16(r); break;
    case EN_META_I16: value->i = (int16_t)en_reader_u16(r); break;
    case EN_META_U32: value->u = en_reader_u32(r); break;
    case EN_META_I32: value->i = (int32_t)en_reader_u32(r); break;
    case EN_META_U64: value->u = en_reader_u64(r); break;
    case EN_META_I64: value->i = (int64_t)en_reader_u64(r); break;
    case EN_META_F32: value->f = (double)en_reader_f32(r); break;
    default: /* F64; the caller knows no other */
        bits = en_reader_u64(r);
        memcpy(&f, &bits, sizeof f);
        value->f = f;
    }
}

static entro_status read_string_array(en_reader *r, en_meta_value *value, void **owned,
                                      entro_error *err)
{
    if (value->n > en_reader_left(r) / 8) /* each has at least its length */
        return en_fail_at(err, ENTRO_ERR_FORMAT, r->pos,
                          "an array of %" PRIu64 " strings does not fit in the %zu bytes that are "
                          "left (truncated download, or damaged?)",
                          value->n, en_reader_left(r));
    en_span *strings = en_alloc((size_t)value->n, sizeof *strings);
    if (strings == NULL)
        return en_fail_memory(err);
    *owned = strings;
    value->strings = strings;
    for (uint64_t i = 0; i < value->n; i++)
        EN_TRY(read_string(r, "a string", &strings[i], err));
    return ENTRO_OK;
}

static entro_status read_array(en_reader *r, en_meta_value *value, void **owned, entro_error *err)
{
    if (en_reader_left(r) < 12)
        return cut_short(r, "an array", 12, err);
    value->type = (en_meta_type)en_reader_u32(r);
    value->n = en_reader_u64(r);
    value->is_array = true;
    if (value->type == EN_META_STRING)
        return read_string_array(r, value, owned, err);
    if (value->type == EN_META_ARRAY)
        return en_fail_at(err, ENTRO_ERR_UNSUPPORTED, r->pos, "arrays of arrays are not supported");
    size_t item_bytes = en_meta_type_bytes(value->type);
    if (item_bytes == 0)
        return en_fail_at(err, ENTRO_ERR_FORMAT, r->pos,
                          "array elements of type %d, expected 0 to 12 (damaged?)",
                          (int)value->type);
    if (value->n > en_reader_left(r) / item_bytes)
        return en_fail_at(err, ENTRO_ERR_FORMAT, r->pos,
                          "an array of %" PRIu64 " elements of %zu bytes does not fit in the %zu "
                          "bytes that are left (truncated download, or damaged?)",
                          value->n, item_bytes, en_reader_left(r));
    value->data = en_reader_take(r, value->n * item_bytes);
    return ENTRO_OK;
}

/* '*owned' is memory that the value points into, to be kept or freed whatever is returned. */
static entro_status read_value(en_reader *r, en_meta_value *value, void **owned, entro_error *err)
{
    uint64_t offset = r->pos;
    if (en_reader_left(r) < 4)
        return cut_short(r, "a value's type", 4, err);
    uint32_t type = en_reader_u32(r);
    *value = (en_meta_value){.type = (en_meta_type)type, .n = 1};
    if (type == EN_META_STRING)
        return read_string(r, "a string", &value->string, err);
    if (type == EN_META_ARRAY)
        return read_array(r, value, owned, err);
    size_t n = type <= EN_META_F64 ? en_meta_type_bytes((en_meta_type)type) : 0;
    if (n == 0)
        return en_fail_at(err, ENTRO_ERR_FORMAT, offset,
                          "a value of type %" PRIu32 ", expected 0 to 12 (damaged?)", type);
    if (en_reader_left(r) < n)
        return cut_short(r, "a value", n, err);
    read_scalar(r, (en_meta_type)type, value);
    return ENTRO_OK;
}

static entro_status read_key(en_gguf *gguf, en_reader *r, entro_error *err)
{
    uint64_t offset = r->pos;
    en_span name = {NULL, 0};
    EN_TRY(read_string(r, "a key", &name, err));
    EN_TRY(check_name("key", name, MAX_KEY_BYTES, offset, err));
    char *key = en_strndup(name.p, name.n);
    if (key == NULL)
        return en_fail_memory(err);
    en_meta_value value;
    void *owned = NULL;
    entro_status status;
    if (en_meta_get(gguf->meta, key) != NULL)
        status = en_fail_at(err, ENTRO_ERR_FORMAT, offset, "the key appears twice (damaged?)");
    else
        status = read_value(r, &value, &owned, err);
    if (status == ENTRO_OK)
        status = en_meta_set_adopted(gguf->meta, key, &value, owned, err);
    else
        en_free(owned);
    if (status != ENTRO_OK)
        en_error_place(err, "key '%.100s'", key);
    en_free(key);
    return status;
}

static entro_status find_alignment(en_gguf *gguf, entro_error *err)
{
    gguf->alignment = DEFAULT_ALIGNMENT;
    if (en_meta_get(gguf->meta, "general.alignment") == NULL)
        return ENTRO_OK;
    uint32_t a = en_meta_u32(gguf->meta, "general.alignment", 0);
    if (a == 0 || (a & (a - 1)) != 0 || a > MAX_ALIGNMENT)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "general.alignment is no power of two up to %d (damaged?)", MAX_ALIGNMENT);
    gguf->alignment = a;
    return ENTRO_OK;
}

/* ---- tensors --------------------------------------------------------------------------- */

static entro_status check_dtype(uint32_t dtype, entro_error *err)
{
    const en_dtype_info *info = en_dtype_get(dtype);
    if (info->block_elems > 0)
        return ENTRO_OK;
    char name[32];
    if (info->name != NULL)
        snprintf(name, sizeof name, "%s", info->name);
    else
        snprintf(name, sizeof name, "%" PRIu32 " (unknown)", dtype);
    return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                   "tensor type %s is not supported; convert from the model's 16-bit original (F16 "
                   "or BF16 GGUF, or the Hugging Face folder), or use a file of type Q8_0, Q2_K to "
                   "Q6_K, IQ4_NL or IQ4_XS",
                   name);
}

/* Checks the shape and sets n_bytes. */
static entro_status measure_tensor(en_tensor *t, entro_error *err)
{
    uint64_t n_rows = 1, row_bytes, n_elems;
    for (uint32_t i = 0; i < EN_MAX_DIMS; i++)
        if (t->dims[i] == 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "dimension %" PRIu32 " is zero (damaged?)", i);
    uint32_t block = en_dtype_get(t->dtype)->block_elems;
    if (t->dims[0] % block != 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "rows of %" PRIu64 " weights are no whole number of blocks of %" PRIu32
                       " (damaged?)",
                       t->dims[0], block);
    bool fits = en_dtype_bytes(t->dtype, t->dims[0], &row_bytes);
    for (uint32_t i = 1; i < EN_MAX_DIMS; i++)
        fits = fits && !__builtin_mul_overflow(n_rows, t->dims[i], &n_rows);
    fits = fits && !__builtin_mul_overflow(n_rows, t->dims[0], &n_elems) &&
           n_elems <= INT64_MAX / sizeof(float) &&
           !__builtin_mul_overflow(n_rows, row_bytes, &t->n_bytes);
    return fits ? ENTRO_OK
                : en_fail(err, ENTRO_ERR_FORMAT,
                          "the product of the dimensions overflows (damaged?)");
}

static entro_status read_tensor(en_reader *r, en_tensor *t, entro_error *err)
{
    uint64_t offset = r->pos;
    en_span name = {NULL, 0};
    EN_TRY(read_string(r, "a tensor's name", &name, err));
    EN_TRY(check_name("tensor", name, EN_MAX_TENSOR_NAME - 1, offset, err));
    *t = (en_tensor){.dims = {1, 1, 1, 1}};
    memcpy(t->name, name.p, name.n);
    entro_status status = ENTRO_OK;
    t->n_dims = en_reader_u32(r);
    if (r->failed)
        status = cut_short(r, "a tensor", 24, err);
    else if (t->n_dims < 1 || t->n_dims > EN_MAX_DIMS)
        status = en_fail_at(err, ENTRO_ERR_FORMAT, offset,
                            "%" PRIu32 " dimensions, expected 1 to %d (damaged?)", t->n_dims,
                            (int)EN_MAX_DIMS);
    if (status == ENTRO_OK) {
        for (uint32_t i = 0; i < t->n_dims; i++)
            t->dims[i] = en_reader_u64(r);
        t->dtype = en_reader_u32(r);
        t->offset = en_reader_u64(r);
        if (r->failed)
            status = cut_short(r, "a tensor", 8ull * t->n_dims + 12, err);
    }
    if (status == ENTRO_OK)
        status = check_dtype(t->dtype, err);
    if (status == ENTRO_OK)
        status = measure_tensor(t, err);
    if (status != ENTRO_OK)
        en_error_place(err, "tensor '%s'", t->name);
    return status;
}

static entro_status read_tensors(en_gguf *gguf, en_reader *r, uint64_t n, entro_error *err)
{
    gguf->tensors = en_alloc((size_t)n, sizeof *gguf->tensors);
    en_name_index names = {0};
    entro_status status = ENTRO_OK;
    if (gguf->tensors == NULL || !en_name_index_reserve(&names, (size_t)n))
        status = en_fail_memory(err);
    for (; status == ENTRO_OK && gguf->n_tensors < n; gguf->n_tensors++) {
        en_tensor *t = &gguf->tensors[gguf->n_tensors];
        status = read_tensor(r, t, err);
        if (status != ENTRO_OK)
            break;
        if (en_name_index_find(&names, t->name) != EN_NAME_NONE) {
            status =
                en_fail_at(err, ENTRO_ERR_FORMAT, r->pos, "two tensors of this name (damaged?)");
            en_error_place(err, "tensor '%s'", t->name);
            break;
        }
        en_name_index_add(&names, t->name, gguf->n_tensors); /* the room is reserved */
    }
    en_name_index_free(&names);
    return status;
}

/* ---- data ------------------------------------------------------------------------------ */

static int by_offset(const void *a, const void *b)
{
    const en_tensor *x = *(const en_tensor *const *)a, *y = *(const en_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Each pair of neighbours in file order must not overlap. */
static entro_status check_order(const en_tensor *const *order, uint32_t n, entro_error *err)
{
    for (uint32_t i = 1; i < n; i++) {
        const en_tensor *a = order[i - 1], *b = order[i];
        if (b->offset - a->offset >= a->n_bytes)
            continue;
        en_fail_at(err, ENTRO_ERR_FORMAT, b->offset, "overlaps the data of '%s' (damaged?)",
                   a->name);
        en_error_place(err, "tensor '%s'", b->name);
        return ENTRO_ERR_FORMAT;
    }
    return ENTRO_OK;
}

static entro_status check_overlap(const en_gguf *gguf, entro_error *err)
{
    const en_tensor **order = en_alloc(gguf->n_tensors, sizeof *order);
    if (order == NULL)
        return en_fail_memory(err);
    bool sorted = true;
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        order[i] = &gguf->tensors[i];
        sorted = sorted && (i == 0 || order[i - 1]->offset <= order[i]->offset);
    }
    if (!sorted)
        qsort(order, gguf->n_tensors, sizeof *order, by_offset);
    entro_status status = check_order(order, gguf->n_tensors, err);
    en_free(order);
    return status;
}

/* Turns offsets in the data section into offsets in the file, and both into pointers. */
static entro_status place_tensors(en_gguf *gguf, const uint8_t *data, size_t n_bytes,
                                  entro_error *err)
{
    uint64_t n_expected = gguf->data_offset;
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        en_tensor *t = &gguf->tensors[i];
        uint64_t end = 0;
        entro_status status = ENTRO_OK;
        if (t->offset % gguf->alignment != 0)
            status = en_fail(err, ENTRO_ERR_FORMAT,
                             "data offset %" PRIu64 " is no multiple of the alignment, %" PRIu32
                             " (damaged?)",
                             t->offset, gguf->alignment);
        else if (__builtin_add_overflow(t->offset, gguf->data_offset, &t->offset) ||
                 __builtin_add_overflow(t->offset, t->n_bytes, &end) || end > INT64_MAX)
            status = en_fail(err, ENTRO_ERR_FORMAT, "the data offset overflows (damaged?)");
        if (status != ENTRO_OK) {
            en_error_place(err, "tensor '%s'", t->name);
            return status;
        }
        n_expected = end > n_expected ? end : n_expected;
    }
    if (gguf->n_tensors > 0 && n_expected > n_bytes)
        return en_fail_at(err, ENTRO_ERR_FORMAT, n_bytes,
                          "the file should have at least %" PRIu64 " bytes and has %zu (truncated "
                          "download? Fetch it again)",
                          n_expected, n_bytes);
    for (uint32_t i = 0; i < gguf->n_tensors; i++)
        gguf->tensors[i].data = data + gguf->tensors[i].offset;
    return gguf->n_tensors > 0 ? check_overlap(gguf, err) : ENTRO_OK;
}

/* ---- the whole ------------------------------------------------------------------------- */

static entro_status check_version(uint32_t version, entro_error *err)
{
    if (version == 2 || version == 3)
        return ENTRO_OK;
    if (version == 1)
        return en_fail_at(err, ENTRO_ERR_UNSUPPORTED, 4,
                          "GGUF version 1 (August 2023) is not supported; get a newer file of the "
                          "model, or convert the original again");
    uint32_t swapped = __builtin_bswap32(version);
    if (swapped >= 1 && swapped <= 3)
        return en_fail_at(err, ENTRO_ERR_UNSUPPORTED, 4,
                          "this is a big-endian GGUF file; get the little-endian one, or convert "
                          "it with gguf-convert-endian of the PyPI package gguf");
    return en_fail_at(err, ENTRO_ERR_VERSION, 4,
                      "GGUF version %" PRIu32 ", this program reads 2 and 3", version);
}

static entro_status check_count(const en_reader *r, const char *what, uint64_t n, uint64_t n_max,
                                size_t min_bytes, entro_error *err)
{
    if (n > n_max)
        return en_fail_at(err, ENTRO_ERR_FORMAT, 8,
                          "the head names %" PRIu64 " %s, expected at most %" PRIu64 " (damaged?)",
                          n, what, n_max);
    if (n > en_reader_left(r) / min_bytes)
        return en_fail_at(err, ENTRO_ERR_FORMAT, r->n_bytes,
                          "the head names %" PRIu64 " %s, too many for a file of %zu bytes "
                          "(truncated download, or damaged?)",
                          n, what, r->n_bytes);
    return ENTRO_OK;
}

static entro_status parse(en_gguf *gguf, const uint8_t *data, size_t n_bytes, entro_error *err)
{
    if (!en_gguf_is(data, n_bytes))
        return en_fail_at(err, ENTRO_ERR_FORMAT, 0, "is no GGUF file (no \"GGUF\" at the start)");
    en_reader r = en_reader_of(data, n_bytes);
    en_reader_take(&r, 4);
    if (en_reader_left(&r) < 20)
        return cut_short(&r, "the head", 20, err);
    gguf->version = en_reader_u32(&r);
    EN_TRY(check_version(gguf->version, err));
    uint64_t n_tensors = en_reader_u64(&r), n_keys = en_reader_u64(&r);
    EN_TRY(check_count(&r, "tensors", n_tensors, EN_GGUF_MAX_TENSORS, MIN_TENSOR_BYTES, err));
    EN_TRY(check_count(&r, "keys", n_keys, EN_GGUF_MAX_KEYS, MIN_KEY_BYTES, err));

    EN_TRY(en_meta_new(&gguf->meta, err));
    for (uint64_t i = 0; i < n_keys; i++)
        EN_TRY(read_key(gguf, &r, err));
    EN_TRY(find_alignment(gguf, err));
    EN_TRY(check_count(&r, "tensors", n_tensors, EN_GGUF_MAX_TENSORS, MIN_TENSOR_BYTES, err));
    EN_TRY(read_tensors(gguf, &r, n_tensors, err));
    uint64_t a = gguf->alignment;
    gguf->data_offset = (r.pos + a - 1) / a * a;
    return place_tensors(gguf, data, n_bytes, err);
}

entro_status en_gguf_parse(en_gguf *gguf, const uint8_t *data, size_t n_bytes, entro_error *err)
{
    *gguf = (en_gguf){0};
    entro_status status = parse(gguf, data, n_bytes, err);
    if (status != ENTRO_OK)
        en_gguf_close(gguf);
    return status;
}

void en_gguf_close(en_gguf *gguf)
{
    en_meta_free(gguf->meta);
    en_free(gguf->tensors);
    *gguf = (en_gguf){0};
}
