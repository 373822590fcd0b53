/* json_parse.c - see json_parse.h. */
#include "formats/json_parse.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"

typedef struct parser {
    char *text; /* terminated by a zero byte at text[n_bytes] */
    size_t n_bytes;
    size_t pos;
    en_json_node *nodes;
    size_t n_nodes, cap_nodes;
    unsigned depth;
    entro_error *err;
} parser;

static entro_status bad(parser *p, const char *expected)
{
    if (p->pos >= p->n_bytes)
        return en_fail_at(p->err, ENTRO_ERR_FORMAT, p->pos,
                          "JSON ends after %zu bytes, expected %s (truncated download?)",
                          p->n_bytes, expected);
    return en_fail_at(p->err, ENTRO_ERR_FORMAT, p->pos,
                      "not valid JSON: expected %s, found byte 0x%02x at position %zu", expected,
                      (unsigned char)p->text[p->pos], p->pos);
}

static void skip_space(parser *p)
{
    while (p->text[p->pos] == ' ' || p->text[p->pos] == '\n' || p->text[p->pos] == '\r' ||
           p->text[p->pos] == '\t')
        p->pos++;
}

static entro_status add_node(parser *p, en_json_type type, size_t *index)
{
    if (!en_grow((void **)&p->nodes, &p->cap_nodes, p->n_nodes + 1, UINT32_MAX, sizeof *p->nodes))
        return en_fail_memory(p->err);
    *index = p->n_nodes++;
    p->nodes[*index] = (en_json_node){.type = type, .skip = 1};
    return ENTRO_OK;
}

/* ---- strings ----------------------------------------------------------------------------- */

static bool hex4(const char *s, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i]; /* the terminating zero stops us in time */
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v * 16 + (uint32_t)((c | 32) - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* At the character after a backslash; leaves pos behind the escape.  What is written is never
 * longer than what was read, so decoding in place is safe. */
static entro_status unescape(parser *p, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = p->text[p->pos];
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    if (known != NULL) {
        *(*out)++ = to[known - from];
        p->pos++;
        return ENTRO_OK;
    }
    uint32_t unit = 0, low = 0;
    if (c != 'u' || !hex4(p->text + p->pos + 1, &unit))
        return bad(p, "an escape sequence");
    p->pos += 5;
    if (unit >= 0xd800 && unit < 0xe000) {
        if (unit >= 0xdc00 || p->text[p->pos] != '\\' || p->text[p->pos + 1] != 'u' ||
            !hex4(p->text + p->pos + 2, &low) || low < 0xdc00 || low >= 0xe000)
            return bad(p, "the second half of a surrogate pair");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        p->pos += 6;
    }
    *out = put_utf8(*out, unit);
    return ENTRO_OK;
}

/* Copies one sequence of two to four bytes, strictly: no overlong forms, no surrogates. */
static entro_status copy_utf8(parser *p, char **out)
{
    const unsigned char *s = (const unsigned char *)p->text + p->pos;
    unsigned n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 4;
    bool ok = s[0] >= 0xc2 && s[0] <= 0xf4;
    for (unsigned i = 1; ok && i < n; i++)
        ok = (s[i] & 0xc0) == 0x80; /* false at the terminating zero */
    if (!ok || (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
        return bad(p, "UTF-8");
    memmove(*out, s, n);
    *out += n;
    p->pos += n;
    return ENTRO_OK;
}

static entro_status parse_string(parser *p)
{
    size_t index = 0;
    EN_TRY(add_node(p, EN_JSON_STRING, &index));
    char *start = p->text + ++p->pos, *out = start;
    for (;;) {
        unsigned char c = (unsigned char)p->text[p->pos];
        if (c == '"')
            break;
        if (c < 0x20)
            return bad(p, "a character or '\"'");
        if (c == '\\') {
            p->pos++;
            EN_TRY(unescape(p, &out));
        } else if (c < 0x80) {
            *out++ = (char)c;
            p->pos++;
        } else {
            EN_TRY(copy_utf8(p, &out));
        }
    }
    p->pos++;
    *out = '\0'; /* at or before the closing quote */
    p->nodes[index].s = start;
    p->nodes[index].n = (uint32_t)(out - start);
    return ENTRO_OK;
}

/* ---- numbers and words --------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The end of a number by JSON's grammar, NULL when it is none; *integer: no fraction or exponent. */
static const char *number_end(const char *s, bool *integer)
{
    s += *s == '-';
    if (!is_digit(*s))
        return NULL;
    if (*s == '0')
        s++;
    else
        while (is_digit(*s))
            s++;
    *integer = *s != '.' && *s != 'e' && *s != 'E';
    if (*s == '.') {
        if (!is_digit(*++s))
            return NULL;
        while (is_digit(*s))
            s++;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        if (!is_digit(*s))
            return NULL;
        while (is_digit(*s))
            s++;
    }
    return s;
}

static entro_status parse_number(parser *p)
{
    char *s = p->text + p->pos;
    bool integer = false;
    const char *end = number_end(s, &integer);
    if (end == NULL)
        return bad(p, "a value");
    size_t index = 0;
    EN_TRY(add_node(p, EN_JSON_REAL, &index));
    en_json_node *node = &p->nodes[index];
    errno = 0;
    node->i = integer ? strtoll(s, NULL, 10) : 0;
    if (integer && errno == 0)
        node->type = EN_JSON_INT;
    else /* the program may have set a locale with another decimal point */
        node->f = strtod_l(s, NULL, newlocale(LC_ALL_MASK, "C", (locale_t)0));
    p->pos += (size_t)(end - s);
    return ENTRO_OK;
}

static entro_status parse_word(parser *p)
{
    static const struct {
        const char *word;
        en_json_type type;
        int64_t i;
        double f;
    } words[] = {{"null", EN_JSON_NULL, 0, 0},
                 {"true", EN_JSON_BOOL, 1, 0},
                 {"false", EN_JSON_BOOL, 0, 0},
                 {"NaN", EN_JSON_REAL, 0, NAN},
                 {"Infinity", EN_JSON_REAL, 0, HUGE_VAL},
                 {"-Infinity", EN_JSON_REAL, 0, -HUGE_VAL}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word), index = 0;
        if (strncmp(p->text + p->pos, words[i].word, n) != 0)
            continue;
        EN_TRY(add_node(p, words[i].type, &index));
        if (words[i].type == EN_JSON_REAL)
            p->nodes[index].f = words[i].f;
        else
            p->nodes[index].i = words[i].i;
        p->pos += n;
        return ENTRO_OK;
    }
    return parse_number(p);
}

/* ---- containers ----------------------------------------------------------------------------- */

static entro_status parse_value(parser *p);

static entro_status parse_member(parser *p)
{
    if (p->text[p->pos] != '"')
        return bad(p, "'\"' of a key");
    EN_TRY(parse_string(p));
    skip_space(p);
    if (p->text[p->pos] != ':')
        return bad(p, "':'");
    p->pos++;
    return parse_value(p);
}

static entro_status parse_container(parser *p, en_json_type type, char close)
{
    if (p->depth == EN_JSON_MAX_DEPTH)
        return en_fail_at(p->err, ENTRO_ERR_FORMAT, p->pos, "JSON nested deeper than %d levels",
                          EN_JSON_MAX_DEPTH);
    p->depth++;
    size_t index = 0;
    EN_TRY(add_node(p, type, &index));
    p->pos++;
    skip_space(p);
    uint32_t n = 0;
    while (p->text[p->pos] != close) {
        if (n > 0) {
            if (p->text[p->pos] != ',')
                return bad(p, type == EN_JSON_OBJECT ? "',' or '}'" : "',' or ']'");
            p->pos++;
            skip_space(p);
        }
        EN_TRY(type == EN_JSON_OBJECT ? parse_member(p) : parse_value(p));
        skip_space(p);
        n++;
    }
    p->pos++;
    p->depth--;
    p->nodes[index].n = n;
    p->nodes[index].skip = (uint32_t)(p->n_nodes - index);
    return ENTRO_OK;
}

static entro_status parse_value(parser *p)
{
    skip_space(p);
    switch (p->text[p->pos]) {
    case '{': return parse_container(p, EN_JSON_OBJECT, '}');
    case '[': return parse_container(p, EN_JSON_ARRAY, ']');
    case '"': return parse_string(p);
    default: return parse_word(p);
    }
}

/* Takes 'text' over, whatever it returns. */
static entro_status parse_owned(en_json *json, char *text, size_t n_bytes, entro_error *err)
{
    parser p = {.text = text, .n_bytes = n_bytes, .err = err};
    *json = (en_json){0};
    if (n_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        p.pos = 3;
    entro_status status = n_bytes > INT32_MAX
                              ? en_fail(err, ENTRO_ERR_FORMAT, "JSON of more than 2 GiB")
                              : parse_value(&p);
    skip_space(&p);
    if (status == ENTRO_OK && p.pos != n_bytes)
        status = bad(&p, "the end of the text");
    json->text = text;
    json->nodes = p.nodes;
    if (status != ENTRO_OK)
        en_json_close(json);
    return status;
}

entro_status en_json_parse(en_json *json, const char *text, size_t n_bytes, entro_error *err)
{
    *json = (en_json){0};
    char *copy = en_strndup(text, n_bytes);
    return copy == NULL ? en_fail_memory(err) : parse_owned(json, copy, n_bytes, err);
}

entro_status en_json_load(en_json *json, const char *path, size_t n_max, entro_error *err)
{
    *json = (en_json){0};
    char *text;
    size_t n_bytes;
    EN_TRY(en_file_read(&text, &n_bytes, path, n_max, err));
    entro_status status = parse_owned(json, text, n_bytes, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    return status;
}

void en_json_close(en_json *json)
{
    en_free(json->text);
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
