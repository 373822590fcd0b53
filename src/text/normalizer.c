/*
 * normalizer.c - see normalizer.h.
 *
 *   map:  | u32 bytes of the trie | trie: u32 units | texts, each ends with a zero byte |
 *
 * The trie is darts-clone's double array.  A unit holds the byte that leads to it (bits 0-7), whether
 * a key ends here (bit 8), and where its children are (bits 10-30, times 256 when bit 9 is set),
 * xor-ed with its own place.  The child of byte 0 of a unit where a key ends is the value: where the
 * replacement starts in the texts.  Of all keys that fit at a place the longest is replaced.
 *
 * The map comes from a file: every place is checked, and no key is followed for more than MAX_KEY
 * bytes, so that damaged tries cost no more than linear time.
 */
#include "text/normalizer.h"

#include <string.h>

#include "base/memory.h"
#include "text/utf8.h"

enum { MAX_KEY = 96, MAX_MAP = 16 << 20 };

/* ---- the map ----------------------------------------------------------------------------------- */

static uint32_t unit_at(const en_normalizer *z, uint32_t place)
{
    return en_load32(z->map + 4 * (size_t)place);
}

static uint32_t children_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* Bit 31 marks values, which no byte leads to. */
static uint32_t byte_of(uint32_t unit)
{
    return unit & (1u << 31 | 0xFF);
}

static en_span text_at(const en_normalizer *z, uint32_t start)
{
    const char *texts = (const char *)z->map + 4 * z->n_units;
    const char *end = start < z->n_texts ? memchr(texts + start, 0, z->n_texts - start) : NULL;
    return end != NULL ? (en_span){texts + start, (size_t)(end - texts) - start}
                       : (en_span){NULL, 0};
}

/* The length of the longest key at 'p', and what stands for it; 0 when there is none. */
static size_t find_key(const en_normalizer *z, const char *p, size_t n, en_span *text)
{
    size_t length = 0;
    uint32_t place = children_of(unit_at(z, 0));
    for (size_t i = 0; i < n && i < MAX_KEY; i++) {
        place ^= (uint8_t)p[i];
        if (place >= z->n_units)
            break;
        uint32_t unit = unit_at(z, place);
        if (byte_of(unit) != (uint8_t)p[i])
            break;
        place ^= children_of(unit);
        if (!(unit & 1u << 8) || place >= z->n_units)
            continue;
        en_span found = text_at(z, unit_at(z, place) & ~(1u << 31));
        if (found.p != NULL) {
            *text = found;
            length = i + 1;
        }
    }
    return length;
}

entro_status en_normalizer_load(en_normalizer *z, const en_meta *meta, entro_error *err)
{
    const en_meta_value *map = en_meta_get(meta, "tokenizer.ggml.precompiled_charsmap");
    z->squeezes = en_meta_bool(meta, "tokenizer.ggml.remove_extra_whitespaces", false);
    if (map == NULL || map->n == 0)
        return ENTRO_OK;
    bool is_bytes = map->is_array && (map->type == EN_META_U8 || map->type == EN_META_I8);
    uint64_t n = is_bytes && map->n >= 8 && map->n <= MAX_MAP ? map->n - 4 : 0;
    uint32_t n_trie = n > 0 ? en_load32(map->data) : 0;
    if (n_trie < 4 || n_trie % 4 != 0 || n_trie > n)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "tokenizer.ggml.precompiled_charsmap is no map of characters: it must be an "
                       "array of bytes, a trie and texts; the file is damaged");
    z->map = en_alloc((size_t)n, 1);
    if (z->map == NULL)
        return en_fail_memory(err);
    memcpy(z->map, (const uint8_t *)map->data + 4, (size_t)n);
    z->n_units = n_trie / 4;
    z->n_texts = (size_t)n - n_trie;
    return ENTRO_OK;
}

void en_normalizer_free(en_normalizer *z)
{
    en_free(z->map);
    *z = (en_normalizer){0};
}

/* ---- text -------------------------------------------------------------------------------------- */

entro_status en_normalize(const en_normalizer *z, const char *text, size_t n, char **out,
                          size_t *n_out, entro_error *err)
{
    char *written = NULL;
    size_t cap = 0, n_written = 0;
    bool after_space = z->squeezes;
    *out = NULL;
    *n_out = n;
    if (z->map == NULL && !z->squeezes)
        return ENTRO_OK;
    for (size_t i = 0, length; i < n; i += length) {
        en_span s = {NULL, 0};
        length = z->map != NULL ? find_key(z, text + i, n - i, &s) : 0;
        if (length == 0) {
            length = en_utf8_length(text + i, n - i);
            s = (en_span){text + i, length};
        }
        while (after_space && s.n > 0 && s.p[0] == ' ')
            s = (en_span){s.p + 1, s.n - 1};
        /* One byte more: nothing may be left, and that is not the same as nothing done. */
        if (!en_grow((void **)&written, &cap, n_written + s.n + 1, SIZE_MAX / 4, 1)) {
            en_free(written);
            return en_fail_memory(err);
        }
        if (s.n == 0)
            continue;
        memcpy(written + n_written, s.p, s.n);
        n_written += s.n;
        after_space = z->squeezes && s.p[s.n - 1] == ' ';
    }
    *out = written;
    *n_out = n_written;
    return ENTRO_OK;
}
