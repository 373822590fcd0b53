/*
 * gguf_output.h - writes a GGUF file front to back, tensor by tensor.
 *
 *   begin:  | head, zeros for now |          tensors' names and types are final, shapes need not be
 *   tensor: | pad | bytes ...     |          as many as 'tensors' lists, in order
 *   finish: | pad |, then the head is patched in and the file gets its name
 */
#ifndef EN_CONTAINER_GGUF_OUTPUT_H
#define EN_CONTAINER_GGUF_OUTPUT_H

#include "base/file.h"
#include "formats/gguf.h"

typedef struct en_gguf_output {
    en_output *file;
    const en_meta *meta; /* borrowed; values may change until the end, keys may not */
    en_tensor *tensors;  /* borrowed; offset and n_bytes are filled in */
    uint32_t n_tensors;
    uint32_t alignment;
    size_t n_head;
} en_gguf_output;

entro_status en_gguf_output_begin(en_gguf_output *out, const char *path, bool overwrite,
                                  const en_meta *meta, en_tensor *tensors, uint32_t n_tensors,
                                  uint32_t alignment, entro_error *err);
/* Pads, and notes where tensor i starts. */
entro_status en_gguf_output_start(en_gguf_output *out, uint32_t i, entro_error *err);
/* More bytes of tensor i. */
entro_status en_gguf_output_put(en_gguf_output *out, uint32_t i, const void *data, size_t n_bytes,
                                entro_error *err);
/* What the whole file will have, if no more is put. */
uint64_t en_gguf_output_bytes(const en_gguf_output *out);
/* Closes 'out' whatever it returns. */
entro_status en_gguf_output_finish(en_gguf_output *out, uint64_t *n_file_bytes, entro_error *err);
void en_gguf_output_abort(en_gguf_output *out); /* a zeroed or finished one is fine */

#endif
