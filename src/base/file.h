/*
 * file.h - mapped input files and output files that appear whole or not at all.
 */
#ifndef EN_BASE_FILE_H
#define EN_BASE_FILE_H

#include "base/status.h"

/* ---- input ----------------------------------------------------------------------------- */

typedef struct en_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t n_bytes;
} en_map;

/*
 * Maps a regular file read-only.  At least EN_MAP_PAD readable bytes follow the last one, so that
 * vector code may read past the end of the last tensor.
 */
#define EN_MAP_PAD 64
entro_status en_map_open(en_map *map, const char *path, entro_error *err);
void en_map_close(en_map *map); /* a zeroed map is fine */

/* Reads a small file whole into allocated memory (terminated by a zero byte that does not count);
 * refuses more than n_max bytes.  Free with en_free. */
entro_status en_file_read(char **data, size_t *n_bytes, const char *path, size_t n_max,
                          entro_error *err);

bool en_path_is_folder(const char *path);
bool en_path_exists(const char *path);
/* "folder/name" in allocated memory, NULL when out of memory. */
char *en_path_join(const char *folder, const char *name);
/* The part after the last slash; borrowed. */
const char *en_path_base(const char *path);

/* ---- output ---------------------------------------------------------------------------- */

typedef struct en_output en_output;

/*
 * Creates a temporary file next to 'path'.  Nothing appears under 'path' until
 * en_output_commit(), which flushes, fsyncs, renames and fsyncs the folder.  Without 'overwrite'
 * an existing 'path' is refused, at the start and again at the commit.  The temporary file has
 * no name where the system allows it (O_TMPFILE), so that even a kill leaves nothing; elsewhere
 * its name is unlinked by en_output_abort().
 */
entro_status en_output_create(en_output **out, const char *path, bool overwrite, entro_error *err);
/* Whether it could be created: what takes long asks before it begins. */
entro_status en_output_check(const char *path, bool overwrite, entro_error *err);
entro_status en_output_write(en_output *out, const void *data, size_t n_bytes, entro_error *err);
entro_status en_output_zeros(en_output *out, size_t n_bytes, entro_error *err);
uint64_t en_output_pos(const en_output *out);
/* Overwrites bytes that were written before; the position stays. */
entro_status en_output_patch(en_output *out, uint64_t offset, const void *data, size_t n_bytes,
                             entro_error *err);
/* Closes and frees 'out' whatever it returns. */
entro_status en_output_commit(en_output *out, entro_error *err);
void en_output_abort(en_output *out); /* NULL is fine */

#endif
