/*
 * gguf.h - GGUF v2/v3 syntax: reading a mapped file, and laying one out for writing.
 *
 *   | "GGUF" version n_tensors n_keys | keys and values | tensor infos | pad | data ... |
 *
 * Nothing here knows what the keys mean.  Parsing takes (pointer, length), checks bounds before
 * each read and limits every count by the bytes that are left.
 */
#ifndef EN_FORMATS_GGUF_H
#define EN_FORMATS_GGUF_H

#include "formats/metadata.h"
#include "tensor/tensor.h"

enum { EN_GGUF_MAX_TENSORS = 1 << 20, EN_GGUF_MAX_KEYS = 1 << 16 };

typedef struct en_gguf {
    uint32_t version;
    uint32_t alignment;
    uint64_t data_offset; /* of the tensor data section */
    en_meta *meta;        /* owned; borrows from the bytes */
    en_tensor *tensors;   /* owned; data points into the bytes */
    uint32_t n_tensors;
} en_gguf;

/* True when the bytes start with GGUF's magic. */
bool en_gguf_is(const uint8_t *data, size_t n_bytes);

/*
 * Parses a whole file in memory.  The bytes must outlive 'gguf'.  Refuses: another version, big
 * endian, truncated file (says how long it should be), overlapping or misaligned tensors, duplicate
 * names or keys, tensor types that are not readable here (named, with what to convert from).
 */
entro_status en_gguf_parse(en_gguf *gguf, const uint8_t *data, size_t n_bytes, entro_error *err);
void en_gguf_close(en_gguf *gguf); /* a zeroed one is fine */

/*
 * Writing: the head is a function of the keys and of names, types and shapes alone; its length
 * does not depend on values of scalars, offsets or the elements of numeric arrays.  So a writer
 * reserves it, streams the data, then patches it in.  'alignment' must be the metadata's
 * general.alignment (32 when that key is absent), or ENTRO_ERR_ARGUMENT is returned.
 */
/* Bytes of the head, padded to 'alignment'; the data section starts there. */
entro_status en_gguf_head_bytes(const en_meta *meta, const en_tensor *tensors, uint32_t n_tensors,
                                uint32_t alignment, size_t *n_bytes, entro_error *err);
/* Writes exactly that many bytes.  tensors[i].offset counts from the start of the data section. */
entro_status en_gguf_head_write(const en_meta *meta, const en_tensor *tensors, uint32_t n_tensors,
                                uint32_t alignment, uint8_t *out, size_t n_bytes, entro_error *err);

#endif
