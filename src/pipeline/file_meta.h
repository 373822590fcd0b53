/*
 * file_meta.h - the metadata of a file we write, made from that of the file we read.
 */
#ifndef EN_PIPELINE_FILE_META_H
#define EN_PIPELINE_FILE_META_H

#include "formats/source.h"

/*
 * All keys of 'source', borrowed, so it must outlive *out; without entrollm.*, split.* and what
 * depends on how weights are stored (general.file_type, general.alignment).
 */
entro_status en_file_meta_copy(en_meta **out, const en_source *source, entro_error *err);

/* Whether a file made from 'source' has all of these, as they are there: ENTRO_ERR_MISMATCH names the first that it
 * has not. */
entro_status en_file_meta_compare(const en_meta *file, const en_source *source, entro_error *err);

entro_status en_file_meta_set_u64(en_meta *meta, const char *key, uint64_t value, entro_error *err);

#endif
