/* reference_cache.c - see reference_cache.h. */
#include "eval/reference_cache.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
    VERSION = 1,
    HEAD_BYTES = 64,
    INDEX_BYTES = 16, /* a window */
    HASH_AT = 32,
    MAX_EMBD = 1 << 20,
    MAX_WINDOWS = 1 << 22, /* with the others: no product of them overflows */
};

static const char magic[8] = {'E', 'N', 'T', 'R', 'O', 'R', 'E', 'F'};

/* Far above what a norm's output can be, far below what could overflow in a product. */
static const float largest = 1e9f;

static uint32_t rows_per_window(uint32_t n_ctx)
{
    return n_ctx - 1 - n_ctx / 2;
}

static uint64_t window_bytes(uint32_t n_ctx, uint32_t n_embd)
{
    return (uint64_t)rows_per_window(n_ctx) * n_embd * sizeof(float);
}

static size_t index_end(uint32_t n_windows)
{
    return HEAD_BYTES + (size_t)n_windows * INDEX_BYTES;
}

/* ---- reading ------------------------------------------------------------------------------- */

static entro_status check_head(const en_reference_cache *c, entro_error *err)
{
    if (c->n_embd == 0 || c->n_embd > MAX_EMBD || c->n_ctx < 2 || c->n_ctx > EN_WINDOWS_MAX_CTX ||
        c->n_windows == 0 || c->n_windows > MAX_WINDOWS)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "the head says %u windows of %u tokens and %u floats each, which cannot be",
                       c->n_windows, c->n_ctx, c->n_embd);
    uint64_t expected =
        index_end(c->n_windows) + (uint64_t)c->n_windows * window_bytes(c->n_ctx, c->n_embd);
    if (c->n_bytes != expected)
        return en_fail(err, ENTRO_ERR_FORMAT, "the file has %zu bytes, its head says %llu",
                       c->n_bytes, (unsigned long long)expected);
    return ENTRO_OK;
}

/* Of head and index, without the field that holds it. */
static uint64_t hash_head(const uint8_t *data, uint32_t n_windows)
{
    uint64_t parts[2] = {
        en_hash64(data, HASH_AT),
        en_hash64(data + HASH_AT + 8, index_end(n_windows) - HASH_AT - 8),
    };
    return en_hash64(parts, sizeof parts);
}

entro_status en_reference_cache_parse(en_reference_cache *c, const uint8_t *data, size_t n_bytes,
                                      entro_error *err)
{
    *c = (en_reference_cache){.data = data, .n_bytes = n_bytes};
    en_reader r = en_reader_of(data, n_bytes);
    const uint8_t *start = en_reader_take(&r, sizeof magic);
    if (start == NULL || memcmp(start, magic, sizeof magic) != 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "is no file of reference predictions (these begin with ENTROREF)");
    uint32_t version = en_reader_u32(&r);
    c->n_embd = en_reader_u32(&r);
    c->n_ctx = en_reader_u32(&r);
    c->n_windows = en_reader_u32(&r);
    c->identity = en_reader_u64(&r);
    uint64_t hash = en_reader_u64(&r);
    if (!r.failed && version != VERSION)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "holds reference predictions of version %u, this program knows %u", version,
                       (unsigned)VERSION);
    if (r.failed || n_bytes < HEAD_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT, "ends after %zu bytes, within its head", n_bytes);
    EN_TRY(check_head(c, err));
    if (hash_head(data, c->n_windows) != hash)
        return en_fail(err, ENTRO_ERR_CHECKSUM, "the checksum of head and index does not match");
    return ENTRO_OK;
}

static uint64_t token_hash(const int32_t *tokens, uint32_t n)
{
    return en_hash64(tokens, n * sizeof *tokens);
}

static entro_status refuse(entro_error *err, const char *what)
{
    return en_fail(err, ENTRO_ERR_MISMATCH,
                   "holds %s; name another file, or have this one made anew (--force)", what);
}

/* Windows are told by their tokens as they stand in the text: BOS in front follows from the model. */
entro_status en_reference_cache_check(const en_reference_cache *c, const en_windows *w,
                                      uint64_t identity, uint32_t n_embd, entro_error *err)
{
    if (c->identity != identity || c->n_embd != n_embd)
        return refuse(err, "the predictions of another model");
    if (c->n_ctx != w->n_ctx)
        return refuse(err, "windows of another length than the one asked for");
    if (c->n_windows < w->n_windows)
        return refuse(err, "fewer windows than are asked for");
    for (uint32_t i = 0; i < w->n_windows; i++)
        if (en_load64(c->data + index_end(i)) !=
            token_hash(w->tokens + (size_t)i * w->n_ctx, w->n_ctx))
            return refuse(err, "the predictions on another text");
    return ENTRO_OK;
}

entro_status en_reference_cache_window(const en_reference_cache *c, uint32_t index,
                                       const uint8_t **rows, entro_error *err)
{
    size_t n_bytes = (size_t)window_bytes(c->n_ctx, c->n_embd);
    size_t at = index_end(c->n_windows) + index * n_bytes;
    if (en_hash64(c->data + at, n_bytes) != en_load64(c->data + index_end(index) + 8))
        return en_fail_at(err, ENTRO_ERR_CHECKSUM, at, "the checksum of window %u does not match",
                          index);
    for (size_t i = 0; i < n_bytes; i += sizeof(float))
        if (!(fabsf(en_load_f32(c->data + at + i)) <= largest))
            return en_fail_at(err, ENTRO_ERR_FORMAT, at + i,
                              "window %u holds a number that no model gives", index);
    *rows = c->data + at;
    return ENTRO_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

entro_status en_reference_writer_open(en_reference_writer *w, const char *path, bool overwrite,
                                      const en_windows *windows, uint64_t identity, uint32_t n_embd,
                                      entro_error *err)
{
    *w = (en_reference_writer){
        .n_embd = n_embd, .n_ctx = windows->n_ctx, .n_windows = windows->n_windows};
    size_t n_head = index_end(w->n_windows);
    w->head = en_alloc_zero(n_head, 1);
    if (w->head == NULL)
        return en_fail_memory(err);
    memcpy(w->head, magic, sizeof magic);
    en_store32(w->head + 8, VERSION);
    en_store32(w->head + 12, n_embd);
    en_store32(w->head + 16, w->n_ctx);
    en_store32(w->head + 20, w->n_windows);
    en_store64(w->head + 24, identity);
    entro_status status = en_output_create(&w->out, path, overwrite, err);
    if (status == ENTRO_OK)
        status = en_output_zeros(w->out, n_head, err);
    if (status != ENTRO_OK)
        en_reference_writer_abort(w);
    return status;
}

entro_status en_reference_writer_put(en_reference_writer *w, const int32_t *tokens,
                                     const float *rows, entro_error *err)
{
    size_t n_bytes = (size_t)window_bytes(w->n_ctx, w->n_embd);
    uint8_t *entry = w->head + index_end(w->n_written);
    en_store64(entry, token_hash(tokens, w->n_ctx));
    en_store64(entry + 8, en_hash64(rows, n_bytes));
    w->n_written++;
    return en_output_write(w->out, rows, n_bytes, err);
}

entro_status en_reference_writer_finish(en_reference_writer *w, entro_error *err)
{
    en_store64(w->head + HASH_AT, hash_head(w->head, w->n_windows));
    EN_TRY(en_output_patch(w->out, 0, w->head, index_end(w->n_windows), err));
    en_output *out = w->out;
    w->out = NULL;
    return en_output_commit(out, err);
}

void en_reference_writer_abort(en_reference_writer *w)
{
    en_output_abort(w->out);
    en_free(w->head);
    *w = (en_reference_writer){0};
}
