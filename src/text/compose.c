/*
 * compose.c - NFC of the parts that can change, by utf8proc.
 *
 * Below U+0300 every character is a starter that never joins what is in front of it.  So text falls
 * into parts: one character, followed by characters from U+0300 on.  A part in which no character
 * has the flag EN_CLASS_NORMALIZES is in NFC and is copied; the others go through utf8proc.
 */
#include "text/compose.h"

#include <string.h>

#include <utf8proc.h>

#include "base/memory.h"
#include "text/unicode_class.h"

typedef struct growing {
    char *p;
    size_t cap, n;
} growing;

static bool append(growing *g, const char *p, size_t n)
{
    if (!en_grow((void **)&g->p, &g->cap, g->n + n + 1, SIZE_MAX / 4, 1))
        return false;
    memcpy(g->p + g->n, p, n);
    g->n += n;
    return true;
}

/* The end of the part at i; *changes says whether normalization may change it. */
static size_t part_end(const char *text, size_t n, size_t i, bool *changes)
{
    *changes = false;
    for (size_t begin = i; i < n;) {
        uint32_t code = (uint8_t)text[i];
        size_t length = code < 0x80 ? 1 : en_utf8_read(text + i, n - i, &code);
        if (i > begin && (length == 0 || code < 0x300))
            return i;
        if (length == 0)
            return i + 1; /* a broken byte is a part of its own */
        if (en_unicode_class(code) & EN_CLASS_NORMALIZES)
            *changes = true;
        i += length;
    }
    return n;
}

/* Composes a valid part into *g. */
static entro_status append_composed(growing *g, const char *p, size_t n, entro_error *err)
{
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)p;
    utf8proc_ssize_t need = utf8proc_decompose(bytes, (utf8proc_ssize_t)n, NULL, 0, options);
    if (need < 0)
        return append(g, p, n) ? ENTRO_OK : en_fail_memory(err);
    utf8proc_int32_t *codes = en_alloc((size_t)need + 1, sizeof *codes);
    if (codes == NULL)
        return en_fail_memory(err);
    need = utf8proc_decompose(bytes, (utf8proc_ssize_t)n, codes, need, options);
    need = utf8proc_normalize_utf32(codes, need, options);
    bool ok = need >= 0;
    for (utf8proc_ssize_t i = 0; ok && i < need; i++) {
        char utf8[4];
        ok = append(g, utf8, en_utf8_write(utf8, (uint32_t)codes[i]));
    }
    en_free(codes);
    return ok ? ENTRO_OK : en_fail_memory(err);
}

/* Everything from i on, the part at i being the first that may change. */
static entro_status compose_rest(growing *g, const char *text, size_t n, size_t i, entro_error *err)
{
    if (!append(g, text, i))
        return en_fail_memory(err);
    while (i < n) {
        bool changes;
        size_t end = part_end(text, n, i, &changes);
        if (changes)
            EN_TRY(append_composed(g, text + i, end - i, err));
        else if (!append(g, text + i, end - i))
            return en_fail_memory(err);
        i = end;
    }
    return ENTRO_OK;
}

entro_status en_compose(const char *text, size_t n, char **out, size_t *n_out, entro_error *err)
{
    growing g = {0};
    *out = NULL;
    *n_out = n;
    for (size_t i = 0; i < n;) {
        bool changes;
        size_t end = (uint8_t)text[i] < 0x80 && i + 1 < n && (uint8_t)text[i + 1] < 0xCC
                         ? i + 1
                         : part_end(text, n, i, &changes);
        if (end > i + 1 && changes) {
            entro_status status = compose_rest(&g, text, n, i, err);
            if (status != ENTRO_OK) {
                en_free(g.p);
                return status;
            }
            *out = g.p;
            *n_out = g.n;
            return ENTRO_OK;
        }
        i = end;
    }
    return ENTRO_OK;
}
