/*
 * original_rebuild.h - the bytes of an original file, from the container's tensors and literals.
 *
 * Files must be asked for in order, because literal bytes are decoded one after the other.
 */
#ifndef EN_PIPELINE_ORIGINAL_REBUILD_H
#define EN_PIPELINE_ORIGINAL_REBUILD_H

#include "base/file.h"
#include "base/hash.h"
#include "container/weight_rows.h"

typedef struct en_rebuild {
    const en_source *source;
    const en_container *container;
    en_job *job;
    uint64_t done; /* bytes, for progress */
    en_weight_rows_scratch scratch;
    en_hash *hash;
    uint8_t *buffer, *head; /* blocks of a tensor; rows of a head in the file's order */
    size_t buffer_cap, head_cap;

    uint8_t *room, *literals; /* a segment of literal bytes */
    size_t n_literals, next_literal;
    uint32_t next_segment;

    en_output *out; /* of the file at hand; NULL: nothing is written */
    const char *name;
} en_rebuild;

/* The container has an original.  'r' must be zeroed; en_rebuild_close is right in every case. */
entro_status en_rebuild_open(en_rebuild *r, const en_source *source, const en_container *container,
                             en_job *job, entro_error *err);
void en_rebuild_close(en_rebuild *r);

/* The next file, number i.  Its bytes go to 'out' (NULL: nowhere); ENTRO_ERR_CHECKSUM when they are
 * not what they were. */
entro_status en_rebuild_file(en_rebuild *r, uint32_t i, en_output *out, entro_error *err);

#endif
