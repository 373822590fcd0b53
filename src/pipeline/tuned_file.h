/*
 * tuned_file.h - a container once more, with other gains and biases.
 *
 *   head:     | keys, but recipe, entrollm.tuned and checksums | tensor infos |
 *   tensors:  | coded, tables, packed metadata: byte for byte | gains and biases: f32 of 'weights' | ...
 *
 * A gain that the file holds in 16 bits (a few methods keep what the source has) becomes f32 as well.
 */
#ifndef EN_PIPELINE_TUNED_FILE_H
#define EN_PIPELINE_TUNED_FILE_H

#include "container/gguf_output.h"
#include "formats/source.h"
#include "model/decoder.h"

/* The file is this much longer at most, when its vectors are f32 already. */
enum { EN_TUNED_MORE_BYTES = 64 };

typedef struct en_tuned_file {
    const en_source *source; /* borrowed: the file that is read */
    en_meta *meta;
    en_tensor *stored;
    uint64_t *hashes;
    uint8_t *bytes; /* of the vector at hand */
    en_gguf_output out;
    uint32_t n_replaced;
    uint64_t n_values;
    uint64_t n_bytes; /* of the finished file */
} en_tuned_file;

/* Notes the file's own keys; to be called ahead of en_container_open(), which adds to them. */
entro_status en_tuned_file_open(en_tuned_file *f, const en_source *source, entro_error *err);
/* 'decoder' is of the same file; it has learnt from n_tokens. */
entro_status en_tuned_file_write(en_tuned_file *f, const en_decoder *decoder, uint64_t n_tokens,
                                 const char *path, bool overwrite, entro_error *err);
void en_tuned_file_close(en_tuned_file *f); /* a zeroed one is fine */

#endif
