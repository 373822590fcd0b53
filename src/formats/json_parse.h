/*
 * json_parse.h - JSON text to one flat array of nodes, for the files of a Hugging Face folder.
 *
 *   {"a": [1, 2], "b": "x"}   ->   | { | "a" | [ | 1 | 2 | "b" | "x" |
 *
 * A node is followed by its children, so 'skip' (nodes in the subtree, itself included) leads to
 * the next sibling; an object's children alternate between key and value.  jansson parses; the flat
 * view lets readers walk a vocabulary of 150,000 tokens in the file's order without a look-up each.
 *
 * As Python's json: integers of any size are accepted (tokenizer_config.json has some above 2^64), the
 * last of two equal keys counts.  Stricter: text must be UTF-8, NaN and Infinity are refused, nesting
 * ends at EN_JSON_MAX_DEPTH.
 */
#ifndef EN_FORMATS_JSON_PARSE_H
#define EN_FORMATS_JSON_PARSE_H

#include "base/bytes.h"
#include "base/status.h"

enum { EN_JSON_MAX_DEPTH = 64 };

typedef enum en_json_type {
    EN_JSON_NULL,
    EN_JSON_BOOL, /* 'i' is 0 or 1 */
    EN_JSON_INT,  /* a whole number of at most 53 bits */
    EN_JSON_REAL, /* every other number */
    EN_JSON_STRING,
    EN_JSON_ARRAY,
    EN_JSON_OBJECT
} en_json_type;

typedef struct en_json_node {
    en_json_type type;
    uint32_t n;    /* bytes of a string, elements of an array, members of an object */
    uint32_t skip; /* >= 1 */
    union {
        int64_t i;
        double f;
        const char *s; /* terminated; may hold zero bytes */
    };
} en_json_node;

typedef struct en_json {
    struct json_t *tree; /* jansson's; owns the strings */
    en_json_node *nodes; /* nodes[0] is the root */
} en_json;

/* 'unique_keys' refuses two equal keys in an object; else the last one counts. */
entro_status en_json_parse(en_json *json, const char *text, size_t n_bytes, bool unique_keys,
                           entro_error *err);
/* Reads and parses a file of at most n_max bytes. */
entro_status en_json_load(en_json *json, const char *path, size_t n_max, entro_error *err);
void en_json_close(en_json *json); /* a zeroed one is fine */

/* The value of a key; NULL when 'object' is NULL or no object, or the value is absent or null. */
const en_json_node *en_json_get(const en_json_node *object, const char *key);

/* False (and *out untouched) when 'node' is NULL or of another kind. */
bool en_json_int(const en_json_node *node, int64_t *out);
bool en_json_real(const en_json_node *node, double *out); /* integers too */
bool en_json_bool(const en_json_node *node, bool *out);
bool en_json_string(const en_json_node *node, en_span *out);
bool en_json_is(const en_json_node *node, const char *text); /* a string equal to 'text' */

/* for (EN_JSON_EACH(child, array)) and for (EN_JSON_MEMBERS(key, object)), where key + 1 is the
 * value: nothing is
 * visited when the node is NULL or of another kind. */
static inline const en_json_node *en_json_end(const en_json_node *parent, en_json_type type)
{
    return parent == NULL || parent->type != type ? NULL : parent + parent->skip;
}

static inline const en_json_node *en_json_begin(const en_json_node *parent, en_json_type type)
{
    return parent == NULL || parent->type != type ? NULL : parent + 1;
}

#define EN_JSON_EACH(child, array)                                                                 \
    const en_json_node *child = en_json_begin(array, EN_JSON_ARRAY);                               \
    child != en_json_end(array, EN_JSON_ARRAY);                                                    \
    child += child->skip

#define EN_JSON_MEMBERS(key, object)                                                               \
    const en_json_node *key = en_json_begin(object, EN_JSON_OBJECT);                               \
    key != en_json_end(object, EN_JSON_OBJECT);                                                    \
    key += 1 + key[1].skip

#endif
