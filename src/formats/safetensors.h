/*
 * safetensors.h - the syntax of one .safetensors file.
 *
 *   | n: 8 bytes | JSON header of n bytes: name -> dtype, shape, data_offsets | data ... |
 *
 * Offsets count from the start of the data.  Everything is checked here: ranges against the file,
 * sizes against shape and type, tensors against each other.
 */
#ifndef EN_FORMATS_SAFETENSORS_H
#define EN_FORMATS_SAFETENSORS_H

#include "formats/json_parse.h"
#include "tensor/tensor.h"

enum {
    EN_SAFETENSORS_MAX_HEADER = 100 << 20,
    EN_SAFETENSORS_MAX_TENSORS = 1 << 20,
    EN_SAFETENSORS_MAX_DIMS = 8
};

typedef struct en_safetensors_entry {
    const char *name;                       /* terminated; lives as long as the en_safetensors */
    const char *dtype;                      /* as written: "BF16" */
    uint32_t n_dims;                        /* may be 0 */
    uint64_t dims[EN_SAFETENSORS_MAX_DIMS]; /* as written: rows first */
    const uint8_t *data;
    uint64_t n_bytes;
    uint64_t offset; /* in the file */
} en_safetensors_entry;

typedef struct en_safetensors {
    en_json header;
    en_safetensors_entry *entries; /* by name */
    uint32_t n_entries;
} en_safetensors;

/* Parses a whole file in memory; the bytes must outlive it. */
entro_status en_safetensors_parse(en_safetensors *st, const uint8_t *data, size_t n_bytes,
                                  entro_error *err);
void en_safetensors_close(en_safetensors *st); /* a zeroed one is fine */

const en_safetensors_entry *en_safetensors_find(const en_safetensors *st, const char *name);

/*
 * The entry as a tensor with ggml's order of dimensions; dtype, dims, data, n_bytes and offset are
 * set, the name is not.  ENTRO_ERR_UNSUPPORTED for types other than F32, F16 and BF16.
 */
entro_status en_safetensors_tensor(const en_safetensors_entry *entry, en_tensor *tensor,
                                   entro_error *err);

#endif
