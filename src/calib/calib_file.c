/*
 * calib_file.c - see calib_file.h.
 *
 * The first character that is no white space tells the form: '[' may begin an array, '{' an object a
 * line; a file of which that is not true after all is plain text.
 */
#include "calib/calib_file.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/json_parse.h"

#define MAX_FILE_BYTES ((size_t)4 << 30)
enum { PIECE_BYTES = 1 << 14 };

bool en_calib_string_add(en_calib_string *out, const char *s, size_t n)
{
    size_t n_needed;
    if (!en_add(out->n, n, &n_needed) ||
        !en_grow((void **)&out->s, &out->cap, n_needed, SIZE_MAX / 2, 1))
        return false;
    if (n > 0)
        memcpy(out->s + out->n, s, n);
    out->n = n_needed;
    return true;
}

/* ---- JSON -------------------------------------------------------------------------------- */

/* The text of a document: a string, or an object's. */
static bool document_of(const en_json_node *node, en_span *text)
{
    return en_json_string(node, text) || en_json_string(en_json_get(node, "text"), text) ||
           en_json_string(en_json_get(node, "content"), text);
}

static entro_status add_document(en_calib_string *out, en_span text, entro_error *err)
{
    return en_calib_string_add(out, text.p, text.n) && en_calib_string_add(out, "\n\n", 2)
               ? ENTRO_OK
               : en_fail_memory(err);
}

static entro_status add_array(en_calib_string *out, const en_json_node *array, size_t n_wanted,
                              bool *is_text, entro_error *err)
{
    size_t n_bytes = 0, passed = 0;
    en_span text;
    *is_text = true;
    for (EN_JSON_EACH(item, array)) {
        if (!document_of(item, &text)) {
            *is_text = false;
            return ENTRO_OK;
        }
        n_bytes += text.n;
    }
    for (EN_JSON_EACH(item, array)) { /* so many that the output grows in step with the input */
        (void)document_of(item, &text);
        passed += text.n;
        if ((double)out->n < (double)n_wanted * (double)passed / (double)n_bytes)
            EN_TRY(add_document(out, text, err));
    }
    return ENTRO_OK;
}

static entro_status read_array(en_calib_string *out, en_span all, size_t n_wanted, bool *is_text,
                               entro_error *err)
{
    en_json json;
    *is_text = false;
    entro_status status = en_json_parse(&json, all.p, all.n, false, err);
    if (status == ENTRO_ERR_NOMEM)
        return status;
    if (status != ENTRO_OK)
        return ENTRO_OK; /* some other text in brackets */
    if (json.nodes[0].type == EN_JSON_ARRAY && json.nodes[0].n > 0)
        status = add_array(out, json.nodes, n_wanted, is_text, err);
    en_json_close(&json);
    return status;
}

static entro_status bad_line(size_t offset, entro_error *err)
{
    return en_fail_at(
        err, ENTRO_ERR_FORMAT, offset,
        "expected a JSON object with a string \"text\" or \"content\" in each line, as in "
        "the first");
}

static bool is_blank(en_span line)
{
    for (size_t i = 0; i < line.n; i++)
        if (strchr(" \t\r\n", line.p[i]) == NULL)
            return false;
    return true;
}

static entro_status add_line(en_calib_string *out, en_span line, size_t offset, entro_error *err)
{
    en_json json;
    en_span text;
    if (is_blank(line))
        return ENTRO_OK;
    entro_status status = en_json_parse(&json, line.p, line.n, false, err);
    if (status != ENTRO_OK)
        return status == ENTRO_ERR_NOMEM ? status : bad_line(offset, err);
    status = json.nodes[0].type == EN_JSON_OBJECT && document_of(json.nodes, &text)
                 ? add_document(out, text, err)
                 : bad_line(offset, err);
    en_json_close(&json);
    return status;
}

static en_span line_at(en_span all, size_t offset)
{
    const char *end = memchr(all.p + offset, '\n', all.n - offset);
    size_t n = end != NULL ? (size_t)(end - all.p) + 1 - offset : all.n - offset;
    return (en_span){all.p + offset, n};
}

static entro_status read_lines(en_calib_string *out, en_span all, size_t n_wanted, entro_error *err)
{
    for (size_t offset = 0; offset < all.n;) {
        en_span line = line_at(all, offset);
        if ((double)out->n <= (double)n_wanted * (double)offset / (double)all.n)
            EN_TRY(add_line(out, line, offset, err));
        offset += line.n;
    }
    return ENTRO_OK;
}

/* Whether the first line is an object; one without text is an error. */
static entro_status has_objects(en_span all, size_t first, bool *answer, entro_error *err)
{
    en_json json;
    en_span line = line_at(all, first), text;
    entro_status status = en_json_parse(&json, line.p, line.n, false, err);
    *answer = status == ENTRO_OK && json.nodes[0].type == EN_JSON_OBJECT;
    if (status != ENTRO_OK)
        return status == ENTRO_ERR_NOMEM ? status : ENTRO_OK;
    if (*answer && !document_of(json.nodes, &text))
        status =
            en_fail(err, ENTRO_ERR_FORMAT,
                    "JSON lines without a string named \"text\" or \"content\"; name a file of "
                    "plain text or of such lines");
    en_json_close(&json);
    return status;
}

/* ---- plain text ---------------------------------------------------------------------------- */

/* The next place at or after 'offset' where a piece may begin: behind a line's end, or if none is near,
 * at a character. */
static size_t piece_border(en_span all, size_t offset)
{
    size_t left = all.n - offset, near = left < PIECE_BYTES ? left : PIECE_BYTES;
    if (offset == 0 || left == 0)
        return offset;
    const char *end = memchr(all.p + offset, '\n', near);
    if (end != NULL)
        return (size_t)(end - all.p) + 1;
    while (offset < all.n && ((uint8_t)all.p[offset] & 0xC0) == 0x80)
        offset++;
    return offset;
}

static entro_status read_plain(en_calib_string *out, en_span all, size_t n_wanted, entro_error *err)
{
    if (all.n <= n_wanted)
        return en_calib_string_add(out, all.p, all.n) ? ENTRO_OK : en_fail_memory(err);
    size_t n_pieces = n_wanted / PIECE_BYTES + 1, n_each = n_wanted / n_pieces, done = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        size_t at = (size_t)((double)all.n * (double)i / (double)n_pieces);
        size_t first = piece_border(all, at > done ? at : done);
        done = piece_border(all, all.n - first < n_each ? all.n : first + n_each);
        if (!en_calib_string_add(out, all.p + first, done - first))
            return en_fail_memory(err);
    }
    return ENTRO_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

entro_status en_calib_file_parse(en_calib_string *out, const char *bytes, size_t n_bytes,
                                 size_t n_wanted, entro_error *err)
{
    en_span all = {bytes, n_bytes};
    size_t first = 0;
    bool is_json = false;
    if (memchr(all.p, '\0', all.n) != NULL)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "has bytes of zero, expected text (a model or a compressed file?)");
    while (first < all.n && strchr(" \t\r\n", all.p[first]) != NULL)
        first++;
    if (first < all.n && all.p[first] == '[')
        EN_TRY(read_array(out, all, n_wanted, &is_json, err));
    if (is_json)
        return ENTRO_OK;
    if (first < all.n && all.p[first] == '{')
        EN_TRY(has_objects(all, first, &is_json, err));
    return is_json ? read_lines(out, all, n_wanted, err) : read_plain(out, all, n_wanted, err);
}

entro_status en_calib_file_read(en_calib_string *out, const char *path, size_t n_wanted,
                                entro_error *err)
{
    en_map map;
    EN_TRY(en_map_open(&map, path, err));
    entro_status status = ENTRO_OK;
    if (map.n_bytes > MAX_FILE_BYTES)
        status = en_fail(err, ENTRO_ERR_ARGUMENT, "has %zu bytes, expected at most %zu",
                         map.n_bytes, MAX_FILE_BYTES);
    else if (map.n_bytes > 0)
        status = en_calib_file_parse(out, (const char *)map.data, map.n_bytes, n_wanted, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    en_map_close(&map);
    return status;
}
