/* metadata.c - see metadata.h. */
#include "formats/metadata.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "formats/name_index.h"

enum { MAX_ENTRIES = 1 << 20 };

struct entry {
    char *key;
    en_meta_value value;
    void *owned; /* memory the value points into; NULL when borrowed */
};

struct en_meta {
    struct entry *entries; /* in order of arrival */
    size_t n, cap;
    en_name_index index; /* key -> position in 'entries' */
};

entro_status en_meta_new(en_meta **out, entro_error *err)
{
    *out = en_alloc_zero(1, sizeof **out);
    return *out != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_meta_free(en_meta *meta)
{
    if (meta == NULL)
        return;
    for (size_t i = 0; i < meta->n; i++) {
        en_free(meta->entries[i].key);
        en_free(meta->entries[i].owned);
    }
    en_free(meta->entries);
    en_name_index_free(&meta->index);
    en_free(meta);
}

size_t en_meta_count(const en_meta *meta)
{
    return meta->n;
}

const char *en_meta_key(const en_meta *meta, size_t i)
{
    return meta->entries[i].key;
}

const en_meta_value *en_meta_at(const en_meta *meta, size_t i)
{
    return &meta->entries[i].value;
}

static struct entry *find(const en_meta *meta, const char *key)
{
    uint32_t i = en_name_index_find(&meta->index, key);
    return i != EN_NAME_NONE ? &meta->entries[i] : NULL;
}

const en_meta_value *en_meta_get(const en_meta *meta, const char *key)
{
    const struct entry *entry = find(meta, key);
    return entry != NULL ? &entry->value : NULL;
}

/* ---- reading values -------------------------------------------------------------------- */

static bool is_signed(en_meta_type type)
{
    return type == EN_META_I8 || type == EN_META_I16 || type == EN_META_I32 || type == EN_META_I64;
}

static bool is_unsigned(en_meta_type type)
{
    return type == EN_META_U8 || type == EN_META_U16 || type == EN_META_U32 || type == EN_META_U64;
}

static bool is_real(en_meta_type type)
{
    return type == EN_META_F32 || type == EN_META_F64;
}

static const en_meta_value *get_scalar(const en_meta *meta, const char *key)
{
    const en_meta_value *value = en_meta_get(meta, key);
    return value != NULL && !value->is_array ? value : NULL;
}

uint32_t en_meta_u32(const en_meta *meta, const char *key, uint32_t fallback)
{
    const en_meta_value *value = get_scalar(meta, key);
    if (value == NULL)
        return fallback;
    if (is_unsigned(value->type) && value->u <= UINT32_MAX)
        return (uint32_t)value->u;
    if (is_signed(value->type) && value->i >= 0 && value->i <= (int64_t)UINT32_MAX)
        return (uint32_t)value->i;
    return fallback;
}

float en_meta_f32(const en_meta *meta, const char *key, float fallback)
{
    const en_meta_value *value = get_scalar(meta, key);
    if (value == NULL)
        return fallback;
    if (is_real(value->type))
        return (float)value->f;
    if (is_unsigned(value->type))
        return (float)value->u;
    return is_signed(value->type) ? (float)value->i : fallback;
}

bool en_meta_bool(const en_meta *meta, const char *key, bool fallback)
{
    const en_meta_value *value = get_scalar(meta, key);
    return value != NULL && value->type == EN_META_BOOL ? value->u != 0 : fallback;
}

en_span en_meta_string(const en_meta *meta, const char *key)
{
    const en_meta_value *value = get_scalar(meta, key);
    return value != NULL && value->type == EN_META_STRING ? value->string : (en_span){NULL, 0};
}

int64_t en_meta_array_int(const en_meta_value *array, uint64_t i)
{
    const uint8_t *p = array->data + i * en_meta_type_bytes(array->type);
    switch (array->type) {
    case EN_META_U8:
    case EN_META_BOOL: return *p;
    case EN_META_I8: return (int8_t)*p;
    case EN_META_U16: return en_load16(p);
    case EN_META_I16: return (int16_t)en_load16(p);
    case EN_META_U32: return en_load32(p);
    case EN_META_I32: return (int32_t)en_load32(p);
    case EN_META_I64: return (int64_t)en_load64(p);
    case EN_META_U64: return en_load64(p) > INT64_MAX ? INT64_MAX : (int64_t)en_load64(p);
    default: return 0;
    }
}

static double load_f64(const uint8_t *p)
{
    double d;
    memcpy(&d, p, sizeof d);
    return d;
}

float en_meta_array_f32(const en_meta_value *array, uint64_t i)
{
    if (array->type == EN_META_F32)
        return en_load_f32(array->data + 4 * i);
    if (array->type == EN_META_F64)
        return (float)load_f64(array->data + 8 * i);
    return (float)en_meta_array_int(array, i);
}

size_t en_meta_type_bytes(en_meta_type type)
{
    switch (type) {
    case EN_META_U8:
    case EN_META_I8:
    case EN_META_BOOL: return 1;
    case EN_META_U16:
    case EN_META_I16: return 2;
    case EN_META_U32:
    case EN_META_I32:
    case EN_META_F32: return 4;
    case EN_META_U64:
    case EN_META_I64:
    case EN_META_F64: return 8;
    default: return 0;
    }
}

/* ---- setting --------------------------------------------------------------------------- */

static entro_status append(en_meta *meta, const char *key, struct entry **out, entro_error *err)
{
    char *copy = en_strndup(key, strlen(key));
    if (copy == NULL ||
        !en_grow((void **)&meta->entries, &meta->cap, meta->n + 1, MAX_ENTRIES,
                 sizeof *meta->entries) ||
        !en_name_index_add(&meta->index, copy, (uint32_t)meta->n)) {
        en_free(copy);
        return en_fail_memory(err);
    }
    *out = &meta->entries[meta->n++];
    **out = (struct entry){.key = copy};
    return ENTRO_OK;
}

entro_status en_meta_set_adopted(en_meta *meta, const char *key, const en_meta_value *value,
                                 void *owned, entro_error *err)
{
    en_meta_value v = *value; /* may be part of the entry that it replaces */
    struct entry *entry = find(meta, key);
    if (entry == NULL) {
        entro_status status = append(meta, key, &entry, err);
        if (status != ENTRO_OK) {
            en_free(owned);
            return status;
        }
    }
    en_free(entry->owned);
    entry->value = v;
    entry->owned = owned;
    return ENTRO_OK;
}

entro_status en_meta_set_borrowed(en_meta *meta, const char *key, const en_meta_value *value,
                                  entro_error *err)
{
    return en_meta_set_adopted(meta, key, value, NULL, err);
}

/* One block: the spans, then their bytes. */
static en_span *copy_strings(const en_span *strings, size_t n)
{
    size_t n_bytes;
    if (!en_mul(n, sizeof *strings, &n_bytes))
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!en_add(n_bytes, strings[i].n, &n_bytes))
            return NULL;
    en_span *copy = en_alloc(n_bytes, 1);
    if (copy == NULL)
        return NULL;
    char *bytes = (char *)(copy + n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = (en_span){bytes, strings[i].n};
        if (strings[i].n > 0)
            memcpy(bytes, strings[i].p, strings[i].n);
        bytes += strings[i].n;
    }
    return copy;
}

entro_status en_meta_set(en_meta *meta, const char *key, const en_meta_value *value,
                         entro_error *err)
{
    en_meta_value v = *value;
    size_t n_bytes;
    void *owned = NULL;
    if (v.type != EN_META_STRING && en_meta_type_bytes(v.type) == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "metadata type %d of '%s' does not exist",
                       (int)v.type, key);
    if (!v.is_array && v.type != EN_META_STRING)
        return en_meta_set_borrowed(meta, key, &v, err);
    if (!v.is_array) {
        v.string.p = owned = en_strndup(v.string.p, v.string.n);
    } else if (v.type == EN_META_STRING) {
        v.strings = owned = copy_strings(v.strings, v.n);
    } else if (en_mul(v.n, en_meta_type_bytes(v.type), &n_bytes)) {
        owned = en_alloc(n_bytes, 1);
        if (owned != NULL && n_bytes > 0)
            memcpy(owned, v.data, n_bytes);
        v.data = owned;
    }
    if (owned == NULL)
        return en_fail_memory(err);
    return en_meta_set_adopted(meta, key, &v, owned, err);
}

entro_status en_meta_set_u32(en_meta *meta, const char *key, uint32_t value, entro_error *err)
{
    return en_meta_set(meta, key, &(en_meta_value){.type = EN_META_U32, .n = 1, .u = value}, err);
}

entro_status en_meta_set_f32(en_meta *meta, const char *key, float value, entro_error *err)
{
    return en_meta_set(meta, key, &(en_meta_value){.type = EN_META_F32, .n = 1, .f = value}, err);
}

entro_status en_meta_set_bool(en_meta *meta, const char *key, bool value, entro_error *err)
{
    return en_meta_set(meta, key, &(en_meta_value){.type = EN_META_BOOL, .n = 1, .u = value}, err);
}

entro_status en_meta_set_string(en_meta *meta, const char *key, const char *value, entro_error *err)
{
    en_meta_value v = {.type = EN_META_STRING, .n = 1, .string = {value, strlen(value)}};
    return en_meta_set(meta, key, &v, err);
}

void en_meta_remove(en_meta *meta, const char *key)
{
    struct entry *entry = find(meta, key);
    if (entry == NULL)
        return;
    en_free(entry->key);
    en_free(entry->owned);
    meta->n--;
    memmove(entry, entry + 1, (size_t)(meta->entries + meta->n - entry) * sizeof *entry);
    /* Positions moved: file them anew, within the room there is. */
    en_name_index_clear(&meta->index);
    for (size_t i = 0; i < meta->n; i++)
        en_name_index_add(&meta->index, meta->entries[i].key, (uint32_t)i);
}

/* ---- for people ------------------------------------------------------------------------ */

enum { SHOWN_ELEMENTS = 6, SHOWN_STRING_BYTES = 32 };

struct text {
    char *out;
    size_t n_out; /* room */
    size_t n;     /* whole length so far */
};

static void put_bytes(struct text *text, const char *bytes, size_t n)
{
    if (text->n < text->n_out) {
        size_t room = text->n_out - text->n;
        memcpy(text->out + text->n, bytes, n < room ? n : room);
    }
    text->n += n;
}

static void put(struct text *text, const char *s)
{
    put_bytes(text, s, strlen(s));
}

/* Control characters would move the reader's cursor or worse. */
static void put_string(struct text *text, en_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char escape[8];
        if (c == '\n')
            put(text, "\\n");
        else if (c == '\t')
            put(text, "\\t");
        else if (c < 32 || c == 127)
            put_bytes(text, escape, (size_t)snprintf(escape, sizeof escape, "\\x%02x", c));
        else
            put_bytes(text, s.p + i, 1);
    }
}

static void put_quoted(struct text *text, en_span s)
{
    size_t n = s.n;
    if (n > SHOWN_STRING_BYTES) { /* cut between characters of UTF-8 */
        n = SHOWN_STRING_BYTES;
        while (n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
            n--;
    }
    put(text, "\"");
    put_string(text, (en_span){s.p, n});
    put(text, n < s.n ? "...\"" : "\"");
}

static void put_scalar(struct text *text, en_meta_type type, uint64_t u, int64_t i, double f)
{
    char number[40];
    if (type == EN_META_BOOL)
        snprintf(number, sizeof number, "%s", u != 0 ? "true" : "false");
    else if (is_real(type))
        snprintf(number, sizeof number, "%.*g", type == EN_META_F32 ? 7 : 15, f);
    else if (is_signed(type))
        snprintf(number, sizeof number, "%" PRId64, i);
    else
        snprintf(number, sizeof number, "%" PRIu64, u);
    put(text, number);
}

static void put_element(struct text *text, const en_meta_value *array, uint64_t i)
{
    if (array->type == EN_META_STRING) {
        put_quoted(text, array->strings[i]);
        return;
    }
    int64_t integer = en_meta_array_int(array, i);
    uint64_t u = array->type == EN_META_U64 ? en_load64(array->data + 8 * i) : (uint64_t)integer;
    double f = array->type == EN_META_F64 ? load_f64(array->data + 8 * i)
                                          : (double)en_meta_array_f32(array, i);
    put_scalar(text, array->type, u, integer, f);
}

size_t en_meta_format(const en_meta_value *value, char *out, size_t n_out)
{
    struct text text = {.out = out, .n_out = n_out > 0 ? n_out - 1 : 0};
    if (value->is_array) {
        put(&text, "[");
        for (uint64_t i = 0; i < value->n && i < SHOWN_ELEMENTS; i++) {
            put(&text, i > 0 ? ", " : "");
            put_element(&text, value, i);
        }
        if (value->n > SHOWN_ELEMENTS) {
            char more[48];
            snprintf(more, sizeof more, ", ... %" PRIu64 " in all", value->n);
            put(&text, more);
        }
        put(&text, "]");
    } else if (value->type == EN_META_STRING) {
        put_string(&text, value->string);
    } else if (is_real(value->type)) {
        put_scalar(&text, value->type, 0, 0, value->f);
    } else {
        put_scalar(&text, value->type, value->u, is_signed(value->type) ? value->i : 0, 0);
    }
    if (n_out > 0)
        out[text.n < n_out ? text.n : n_out - 1] = '\0';
    return text.n;
}

static bool same_span(en_span a, en_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool en_meta_equal(const en_meta_value *a, const en_meta_value *b)
{
    if (a->type != b->type || a->is_array != b->is_array || a->n != b->n)
        return false;
    if (!a->is_array)
        return a->type == EN_META_STRING ? same_span(a->string, b->string) : a->u == b->u;
    if (a->type != EN_META_STRING)
        return a->n == 0 ||
               memcmp(a->data, b->data, (size_t)a->n * en_meta_type_bytes(a->type)) == 0;
    for (uint64_t i = 0; i < a->n; i++)
        if (!same_span(a->strings[i], b->strings[i]))
            return false;
    return true;
}
