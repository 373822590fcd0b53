/*
 * packed_meta.h - a tokenizer's arrays, compressed: of a small model's file they are a tenth of a bit a weight.
 *
 *   tensor entrollm.metadata:  "EntroMet" | u32 version 1 | u32 0 | u64 bytes | a zstd frame of so many bytes
 *
 * The bytes are a GGUF file without tensors, whose keys belong to the container's (docs/format.md).
 */
#ifndef EN_CONTAINER_PACKED_META_H
#define EN_CONTAINER_PACKED_META_H

#include "formats/gguf.h"

#define EN_METADATA_TENSOR "entrollm.metadata"

/* Takes what is worth it out of 'meta'.  *bytes is the tensor (en_free() it), NULL when nothing is. */
entro_status en_packed_meta_take(en_meta *meta, uint8_t **bytes, size_t *n_bytes, entro_error *err);

/* What was read of such a tensor; zeroed at first. */
typedef struct en_packed_meta {
    uint8_t *bytes;
    en_gguf gguf;
} en_packed_meta;

/* Checks untrusted bytes. */
entro_status en_packed_meta_read(en_packed_meta *p, const uint8_t *bytes, size_t n_bytes,
                                 entro_error *err);
void en_packed_meta_close(en_packed_meta *p);

#endif
