/*
 * restore_original.h - the files that a lossless container was made from, byte for byte.
 */
#ifndef EN_PIPELINE_RESTORE_ORIGINAL_H
#define EN_PIPELINE_RESTORE_ORIGINAL_H

#include "base/job.h"
#include "container/container.h"

/* Writes them to 'path': one GGUF file, or a folder, which is filled under a temporary name.  Into a
 * folder that exists, with 'overwrite' only, finished files are moved one by one.
 * ENTRO_ERR_CHECKSUM when a file comes out different. */
entro_status en_restore_original(const en_source *source, const en_container *container,
                                 en_job *job, const char *path, bool overwrite,
                                 entro_restore_report *report, entro_error *err);

/* Makes the same bytes, writes nothing: do the checksums of all files come out right?  Moves the
 * job's progress from 'done' on. */
entro_status en_check_original(const en_source *source, const en_container *container, en_job *job,
                               uint64_t done, entro_error *err);

/* Bytes of all files. */
uint64_t en_original_total_bytes(const en_original *original);

#endif
