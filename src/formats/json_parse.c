/*
 * json_parse.c - see json_parse.h.
 *
 * jansson's memory is ours: allocated, counted and made to fail in base/memory.h like everything
 * else.  The hook is set before main(), because jansson wants it before its first allocation in the
 * process.
 */
#include "formats/json_parse.h"

#include <math.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"

/* jansson 2.14 reports most failed allocations as some other error.  One it ignores: when the buffer
 * of the string at hand cannot grow, it loses characters and, when one is the closing quote, writes
 * past the string's end.  So a failure is remembered, the text refused in the end whatever jansson
 * says, and until then a second attempt keeps it from going astray. */
static _Thread_local bool g_out_of_memory;

static void *allocate(size_t n_bytes)
{
    void *p = en_small_alloc(n_bytes);
    if (p != NULL)
        return p;
    g_out_of_memory = true;
    return en_small_alloc(n_bytes);
}

__attribute__((constructor)) static void count_memory_of_jansson(void)
{
    json_set_alloc_funcs(allocate, en_small_free);
}

/* ---- flattening -------------------------------------------------------------------------- */

enum { MAX_NODES = 1 << 26 };

typedef struct flattening {
    en_json_node *nodes;
    size_t n_nodes, cap_nodes;
    unsigned depth;
    entro_error *err;
} flattening;

static entro_status add_node(flattening *f, en_json_type type, size_t *index)
{
    if (f->n_nodes == MAX_NODES)
        return en_fail(f->err, ENTRO_ERR_FORMAT, "JSON has more than %u values",
                       (unsigned)MAX_NODES);
    if (!en_grow((void **)&f->nodes, &f->cap_nodes, f->n_nodes + 1, MAX_NODES, sizeof *f->nodes))
        return en_fail_memory(f->err);
    *index = f->n_nodes++;
    f->nodes[*index] = (en_json_node){.type = type, .skip = 1};
    return ENTRO_OK;
}

static entro_status add_string(flattening *f, const char *text, size_t n)
{
    size_t i = 0;
    EN_TRY(add_node(f, EN_JSON_STRING, &i));
    f->nodes[i].s = text;
    f->nodes[i].n = (uint32_t)n;
    return ENTRO_OK;
}

/* Numbers come as doubles (JSON_DECODE_INT_AS_REAL): jansson refuses integers above 64 bits, which
 * stand in published files. */
static entro_status add_number(flattening *f, double v)
{
    size_t i = 0;
    bool whole = fabs(v) <= 9007199254740992.0 && v == rint(v);
    EN_TRY(add_node(f, whole ? EN_JSON_INT : EN_JSON_REAL, &i));
    if (whole)
        f->nodes[i].i = (int64_t)v;
    else
        f->nodes[i].f = v;
    return ENTRO_OK;
}

static entro_status add_value(flattening *f, json_t *value);

static entro_status add_members(flattening *f, json_t *object)
{
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        EN_TRY(add_string(f, key, strlen(key)));
        EN_TRY(add_value(f, json_object_iter_value(it)));
    }
    return ENTRO_OK;
}

static entro_status add_items(flattening *f, json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        EN_TRY(add_value(f, json_array_get(array, i)));
    return ENTRO_OK;
}

static entro_status add_container(flattening *f, json_t *value)
{
    if (f->depth == EN_JSON_MAX_DEPTH)
        return en_fail(f->err, ENTRO_ERR_FORMAT, "JSON is nested deeper than %u",
                       (unsigned)EN_JSON_MAX_DEPTH);
    bool object = json_is_object(value);
    size_t i = 0;
    EN_TRY(add_node(f, object ? EN_JSON_OBJECT : EN_JSON_ARRAY, &i));
    f->depth++;
    EN_TRY(object ? add_members(f, value) : add_items(f, value));
    f->depth--;
    f->nodes[i].n = (uint32_t)(object ? json_object_size(value) : json_array_size(value));
    f->nodes[i].skip = (uint32_t)(f->n_nodes - i);
    return ENTRO_OK;
}

static entro_status add_value(flattening *f, json_t *value)
{
    size_t i = 0;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
    case JSON_ARRAY: return add_container(f, value);
    case JSON_STRING: return add_string(f, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
    case JSON_REAL: return add_number(f, json_number_value(value));
    case JSON_TRUE:
    case JSON_FALSE:
        EN_TRY(add_node(f, EN_JSON_BOOL, &i));
        f->nodes[i].i = json_is_true(value);
        return ENTRO_OK;
    case JSON_NULL: break;
    }
    return add_node(f, EN_JSON_NULL, &i);
}

/* ---- parsing ----------------------------------------------------------------------------- */

static entro_status fail_parse(const json_error_t *e, size_t n_bytes, entro_error *err)
{
    uint64_t position = e->position > 0 ? (uint64_t)e->position : 0;
    if (g_out_of_memory)
        return en_fail_memory(err);
    switch (json_error_code(e)) {
    case json_error_duplicate_key:
        return en_fail_at(err, ENTRO_ERR_FORMAT, position, "%s; names must be unique", e->text);
    case json_error_stack_overflow:
        return en_fail_at(err, ENTRO_ERR_FORMAT, position, "JSON is nested deeper than %u",
                          (unsigned)EN_JSON_MAX_DEPTH);
    case json_error_premature_end_of_input:
        return en_fail_at(err, ENTRO_ERR_FORMAT, position,
                          "JSON ends after %zu bytes: %s (truncated download?)", n_bytes, e->text);
    default:
        return en_fail_at(err, ENTRO_ERR_FORMAT, position, "not valid JSON: line %d, column %d: %s",
                          e->line, e->column, e->text);
    }
}

entro_status en_json_parse(en_json *json, const char *text, size_t n_bytes, bool unique_keys,
                           entro_error *err)
{
    *json = (en_json){0};
    json_error_t e;
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    g_out_of_memory = false;
    json_t *tree =
        json_loadb(text, n_bytes, unique_keys ? flags | JSON_REJECT_DUPLICATES : flags, &e);
    if (tree == NULL)
        return fail_parse(&e, n_bytes, err);
    flattening f = {.err = err};
    entro_status status = g_out_of_memory ? en_fail_memory(err) : add_value(&f, tree);
    if (status != ENTRO_OK) {
        en_free(f.nodes);
        json_decref(tree);
        return status;
    }
    *json = (en_json){.tree = tree, .nodes = f.nodes};
    return ENTRO_OK;
}

entro_status en_json_load(en_json *json, const char *path, size_t n_max, entro_error *err)
{
    *json = (en_json){0};
    char *text;
    size_t n_bytes;
    EN_TRY(en_file_read(&text, &n_bytes, path, n_max, err));
    entro_status status = en_json_parse(json, text, n_bytes, false, err);
    en_free(text);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    return status;
}

void en_json_close(en_json *json)
{
    json_decref(json->tree);
    en_free(json->nodes);
    *json = (en_json){0};
}

/* ---- reading ----------------------------------------------------------------------------- */

const en_json_node *en_json_get(const en_json_node *object, const char *key)
{
    const en_json_node *found = NULL;
    size_t n = strlen(key);
    for (EN_JSON_MEMBERS(k, object))
        if (k->n == n && memcmp(k->s, key, n) == 0)
            found = k + 1;
    return found != NULL && found->type == EN_JSON_NULL ? NULL : found;
}

bool en_json_int(const en_json_node *node, int64_t *out)
{
    if (node == NULL || node->type != EN_JSON_INT)
        return false;
    *out = node->i;
    return true;
}

bool en_json_real(const en_json_node *node, double *out)
{
    if (node == NULL || (node->type != EN_JSON_REAL && node->type != EN_JSON_INT))
        return false;
    *out = node->type == EN_JSON_INT ? (double)node->i : node->f;
    return true;
}

bool en_json_bool(const en_json_node *node, bool *out)
{
    if (node == NULL || node->type != EN_JSON_BOOL)
        return false;
    *out = node->i != 0;
    return true;
}

bool en_json_string(const en_json_node *node, en_span *out)
{
    if (node == NULL || node->type != EN_JSON_STRING)
        return false;
    *out = (en_span){node->s, node->n};
    return true;
}

bool en_json_is(const en_json_node *node, const char *text)
{
    return node != NULL && node->type == EN_JSON_STRING && node->n == strlen(text) &&
           memcmp(node->s, text, node->n) == 0;
}
