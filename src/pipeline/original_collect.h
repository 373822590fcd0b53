/*
 * original_collect.h - what a lossless container keeps of its source beside the tensors.
 *
 *   each weight file:  gaps between the tensors are literal bytes; a tensor that is not used but is
 *                      the same as one that is (a tied output matrix stored twice) is that one
 *   a folder's others: config.json, tokenizers and the like, whole
 *
 * Literal bytes stay where they are, in mapped files, until they are coded.
 */
#ifndef EN_PIPELINE_ORIGINAL_COLLECT_H
#define EN_PIPELINE_ORIGINAL_COLLECT_H

#include "base/file.h"
#include "base/hash.h"
#include "container/original.h"
#include "pipeline/planes_encoder.h"

enum { EN_ORIGINAL_LARGEST_OTHER = 64 << 20 /* bytes of a file that is no weight file */ };

typedef struct en_literal_run {
    const uint8_t *data;
    uint64_t start, n_bytes; /* start: among all literal bytes */
} en_literal_run;

typedef struct en_collected {
    en_original original;
    size_t files_cap, pieces_cap;
    en_literal_run *runs;
    size_t n_runs, runs_cap;
    en_map *maps; /* of a folder's other files */
    size_t n_maps, maps_cap;
    uint32_t n_left_out; /* files of a folder that are too large, or no files of the model */
    en_hash *hash;
    uint8_t *list; /* the original as it is stored; set by en_collected_list() */
} en_collected;

/* The tensors of 'source' have the numbers first_number, first_number + 1 ... in the container.
 * 'c' must be zeroed; en_collected_close is right in every case. */
entro_status en_collected_open(en_collected *c, const en_source *source, uint32_t first_number,
                               entro_error *err);
void en_collected_close(en_collected *c);

/* The literal bytes, to be coded. */
en_number_rows en_collected_literals(en_collected *c);
/* The list of files; *n_bytes is set. */
entro_status en_collected_list(en_collected *c, size_t *n_bytes, entro_error *err);

#endif
