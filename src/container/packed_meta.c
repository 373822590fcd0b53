/* packed_meta.c - see packed_meta.h. */
#include "container/packed_meta.h"

#include <string.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/memory.h"

#define MAGIC  "EntroMet"
#define PREFIX "tokenizer."

enum {
    VERSION = 1,
    HEAD_BYTES = 24,
    LEVEL = 19,            /* of zstd: the smallest that is not slow to decode */
    MAX_BYTES = 256 << 20, /* of the keys; the largest tokenizers have 20 MB */
    WORTH_BYTES = 1024,    /* arrays below stay where every program reads them */
    ALIGNMENT = 32,        /* GGUF's own */
};

/* ---- taking ------------------------------------------------------------------------------ */

static bool is_worth_it(const char *key, const en_meta_value *v)
{
    if (strncmp(key, PREFIX, strlen(PREFIX)) != 0 || !v->is_array)
        return false;
    uint64_t each = v->type == EN_META_STRING ? sizeof(uint64_t) : en_meta_type_bytes(v->type);
    return v->n > WORTH_BYTES / each;
}

/* Moves keys; values stay where they are. */
static entro_status move_keys(en_meta *from, en_meta *to, entro_error *err)
{
    for (size_t i = 0; i < en_meta_count(from); i++)
        if (is_worth_it(en_meta_key(from, i), en_meta_at(from, i)))
            EN_TRY(en_meta_set_borrowed(to, en_meta_key(from, i), en_meta_at(from, i), err));
    for (size_t i = 0; i < en_meta_count(to); i++)
        en_meta_remove(from, en_meta_key(to, i));
    return ENTRO_OK;
}

static entro_status compress(const uint8_t *keys, size_t n_keys, uint8_t **bytes, size_t *n_bytes,
                             entro_error *err)
{
    size_t bound = ZSTD_compressBound(n_keys);
    uint8_t *out = en_alloc(HEAD_BYTES + bound, 1);
    if (out == NULL)
        return en_fail_memory(err);
    memcpy(out, MAGIC, 8);
    en_store32(out + 8, VERSION);
    en_store32(out + 12, 0);
    en_store64(out + 16, n_keys);
    size_t n = ZSTD_compress(out + HEAD_BYTES, bound, keys, n_keys, LEVEL);
    if (ZSTD_isError(n)) {
        en_free(out);
        return en_fail_memory(err); /* nothing else can go wrong */
    }
    *bytes = out;
    *n_bytes = HEAD_BYTES + n;
    return ENTRO_OK;
}

static entro_status pack(const en_meta *moved, uint8_t **bytes, size_t *n_bytes, entro_error *err)
{
    size_t n_keys;
    EN_TRY(en_gguf_head_bytes(moved, NULL, 0, ALIGNMENT, &n_keys, err));
    uint8_t *keys = en_alloc(n_keys, 1);
    if (keys == NULL)
        return en_fail_memory(err);
    entro_status status = en_gguf_head_write(moved, NULL, 0, ALIGNMENT, keys, n_keys, err);
    if (status == ENTRO_OK)
        status = compress(keys, n_keys, bytes, n_bytes, err);
    en_free(keys);
    return status;
}

entro_status en_packed_meta_take(en_meta *meta, uint8_t **bytes, size_t *n_bytes, entro_error *err)
{
    en_meta *moved;
    *bytes = NULL;
    EN_TRY(en_meta_new(&moved, err));
    entro_status status = move_keys(meta, moved, err);
    if (status == ENTRO_OK && en_meta_count(moved) > 0)
        status = pack(moved, bytes, n_bytes, err);
    en_meta_free(moved);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Of the tokenizer, and nothing behind them. */
static entro_status check_keys(const en_gguf *gguf, size_t n_bytes, entro_error *err)
{
    if (gguf->version != 3 || gguf->n_tensors > 0 || gguf->data_offset != n_bytes)
        return en_fail(
            err, ENTRO_ERR_FORMAT,
            "holds GGUF version %u with %u tensors and %llu bytes of keys, expected 3, 0, "
            "%zu (damaged?)",
            gguf->version, gguf->n_tensors, (unsigned long long)gguf->data_offset, n_bytes);
    for (size_t i = 0; i < en_meta_count(gguf->meta); i++)
        if (strncmp(en_meta_key(gguf->meta, i), PREFIX, strlen(PREFIX)) != 0)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "holds key '%.100s', expected only those of the "
                           "tokenizer (damaged?)",
                           en_meta_key(gguf->meta, i));
    return ENTRO_OK;
}

static entro_status read_parts(en_packed_meta *p, const uint8_t *bytes, size_t n_bytes,
                               entro_error *err)
{
    if (n_bytes < HEAD_BYTES || memcmp(bytes, MAGIC, 8) != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "does not start like packed metadata (damaged?)");
    if (en_load32(bytes + 8) != VERSION || en_load32(bytes + 12) != 0)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "packed metadata of version %u, this program reads %d; use a newer entrollm",
                       en_load32(bytes + 8), VERSION);
    uint64_t n = en_load64(bytes + 16);
    if (n == 0 || n > MAX_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT, "says it has %llu bytes of keys, expected 1 to %d",
                       (unsigned long long)n, MAX_BYTES);
    p->bytes = en_alloc((size_t)n, 1);
    if (p->bytes == NULL)
        return en_fail_memory(err);
    if (ZSTD_findFrameCompressedSize(bytes + HEAD_BYTES, n_bytes - HEAD_BYTES) !=
        n_bytes - HEAD_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT, "is not one zstd frame (damaged?)");
    size_t got = ZSTD_decompress(p->bytes, (size_t)n, bytes + HEAD_BYTES, n_bytes - HEAD_BYTES);
    if (ZSTD_isError(got) || got != n)
        return en_fail(err, ENTRO_ERR_FORMAT, "its keys do not decompress to %llu bytes: %s",
                       (unsigned long long)n,
                       ZSTD_isError(got) ? ZSTD_getErrorName(got) : "there are fewer");
    EN_TRY(en_gguf_parse(&p->gguf, p->bytes, (size_t)n, err));
    return check_keys(&p->gguf, (size_t)n, err);
}

entro_status en_packed_meta_read(en_packed_meta *p, const uint8_t *bytes, size_t n_bytes,
                                 entro_error *err)
{
    entro_status status = read_parts(p, bytes, n_bytes, err);
    if (status != ENTRO_OK)
        en_packed_meta_close(p);
    return status;
}

void en_packed_meta_close(en_packed_meta *p)
{
    en_gguf_close(&p->gguf);
    en_free(p->bytes);
    *p = (en_packed_meta){0};
}
