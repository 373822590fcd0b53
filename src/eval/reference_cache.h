/*
 * reference_cache.h - what a reference model predicts on a text, kept in a file.
 *
 * Logits are large (half a megabyte a token of a vocabulary of 128,000) and flat, so that rounding
 * or cutting them shows in a KLD.  They are the product of the output matrix and one row of n_embd
 * floats; the file keeps that row (2.3 kB a token of SmolLM2-135M, where the logits take 197 kB),
 * and the logits are computed from it again: the same bits, for a small part of the model's work.
 *
 *   | head: 64 bytes | index: 16 bytes a window | rows of window 0 | rows of window 1 | ...
 *
 *   head    "ENTROREF", u32 version 1, u32 n_embd, u32 n_ctx, u32 n_windows, u64 identity of the
 *           model (model_identity.h), u64 XXH3 of head and index, this field taken as 0; zeros
 *   index   u64 XXH3 of the window's tokens, u64 XXH3 of its rows
 *   rows    f32, n_embd for each scored position (windows.h)
 *
 * Little-endian.  A file serves a run when model, window length and tokens are the same and it has
 * windows enough.  It is read as untrusted: sizes, checksums and the range of every number are checked.
 */
#ifndef EN_EVAL_REFERENCE_CACHE_H
#define EN_EVAL_REFERENCE_CACHE_H

#include "base/file.h"
#include "eval/windows.h"

typedef struct en_reference_cache {
    const uint8_t *data; /* the file */
    size_t n_bytes;
    uint32_t n_embd, n_ctx, n_windows;
    uint64_t identity;
} en_reference_cache;

/* ENTRO_ERR_FORMAT, _VERSION or _CHECKSUM; 'data' is borrowed. */
entro_status en_reference_cache_parse(en_reference_cache *c, const uint8_t *data, size_t n_bytes,
                                      entro_error *err);

/* ENTRO_ERR_MISMATCH, with what differs, unless it serves these windows of this model. */
entro_status en_reference_cache_check(const en_reference_cache *c, const en_windows *w,
                                      uint64_t identity, uint32_t n_embd, entro_error *err);

/* The rows of window 'index', checked: (n_ctx - 1 - n_ctx / 2) * n_embd floats, maybe unaligned. */
entro_status en_reference_cache_window(const en_reference_cache *c, uint32_t index,
                                       const uint8_t **rows, entro_error *err);

/* Writing: windows in order, then finish; abort in between leaves nothing. */
typedef struct en_reference_writer {
    en_output *out;
    uint8_t *head; /* and index */
    uint32_t n_embd, n_ctx, n_windows, n_written;
} en_reference_writer;

entro_status en_reference_writer_open(en_reference_writer *w, const char *path, bool overwrite,
                                      const en_windows *windows, uint64_t identity, uint32_t n_embd,
                                      entro_error *err);
/* 'tokens' are the window's n_ctx. */
entro_status en_reference_writer_put(en_reference_writer *w, const int32_t *tokens,
                                     const float *rows, entro_error *err);
entro_status en_reference_writer_finish(en_reference_writer *w, entro_error *err);
void en_reference_writer_abort(en_reference_writer *w); /* after finish, or zeroed: fine */

#endif
