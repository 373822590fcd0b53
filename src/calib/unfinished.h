/*
 * unfinished.h - what a stage of collecting has done so far, kept in the folder of statistics until it
 * is done, so that a run that was killed goes on from there.
 *
 *   unfinished-text.gguf, unfinished-cache-000.gguf ...   of a text being written (unfinished_text.h)
 *   unfinished-fisher.gguf                                of importances (unfinished_fisher.h)
 *
 * They are files like the others there (statistics_file.h): of one model, text and settings, with checksums,
 * whole or not there.  One that cannot serve is as good as none: a note says so, and the stage begins again.
 */
#ifndef EN_CALIB_UNFINISHED_H
#define EN_CALIB_UNFINISHED_H

#include "base/job.h"
#include "calib/statistics_file.h"

static inline bool en_unfinished_is_there(const en_statistics_file *f)
{
    return f->gguf.meta != NULL;
}

/* 'f' is zeroed when there is none, or none of this model, text and settings. */
entro_status en_unfinished_open(en_statistics_file *f, const char *folder, en_statistics_kind kind,
                                uint32_t number, const en_statistics_identity *id, en_job *job,
                                entro_error *err);
entro_status en_unfinished_write(const char *folder, en_statistics_kind kind, uint32_t number,
                                 const en_statistics_identity *id, const en_statistics_item *items,
                                 size_t n_items, entro_error *err);

/* What a file is good for was found to be nothing: a note says why, 'f' is closed. */
void en_unfinished_refuse(en_statistics_file *f, en_statistics_kind kind, uint32_t number,
                          const entro_error *why, en_job *job);

/* It is no error when there are none. */
entro_status en_unfinished_remove(const char *folder, en_statistics_kind kind, uint32_t number,
                                  entro_error *err);
entro_status en_unfinished_remove_caches(const char *folder, entro_error *err);
entro_status en_unfinished_remove_all(const char *folder, entro_error *err);

#endif
