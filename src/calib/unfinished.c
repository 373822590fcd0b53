/* unfinished.c - see unfinished.h. */
#include "calib/unfinished.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"

void en_unfinished_refuse(en_statistics_file *f, en_statistics_kind kind, uint32_t number,
                          const entro_error *why, en_job *job)
{
    char name[48];
    en_job_note(job, "%s is not used, what it was kept for begins again: %s",
                en_statistics_name(name, sizeof name, kind, number),
                why->status == ENTRO_ERR_CHECKSUM ? "it is damaged" : why->message);
    en_statistics_file_close(f);
}

static entro_status open_any(en_statistics_file *f, const char *folder, en_statistics_kind kind,
                             uint32_t number, entro_error *err)
{
    char *path = en_statistics_path(folder, kind, number);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = en_statistics_file_open(f, path, kind, number, err);
    en_free(path);
    return status;
}

entro_status en_unfinished_open(en_statistics_file *f, const char *folder, en_statistics_kind kind,
                                uint32_t number, const en_statistics_identity *id, en_job *job,
                                entro_error *err)
{
    entro_error why = {0};
    entro_status status = open_any(f, folder, kind, number, &why);
    if (status == ENTRO_ERR_NOMEM)
        return en_fail_memory(err);
    if (status == ENTRO_ERR_NOT_FOUND)
        return ENTRO_OK;
    if (status == ENTRO_OK && !en_statistics_same_model(&f->id, id))
        status = en_fail(&why, ENTRO_ERR_MISMATCH, "it is of another model");
    else if (status == ENTRO_OK && !en_statistics_same_text(&f->id, id))
        status = en_fail(&why, ENTRO_ERR_MISMATCH, "it is of another text or other settings");
    if (status != ENTRO_OK)
        en_unfinished_refuse(f, kind, number, &why, job);
    return ENTRO_OK;
}

entro_status en_unfinished_write(const char *folder, en_statistics_kind kind, uint32_t number,
                                 const en_statistics_identity *id, const en_statistics_item *items,
                                 size_t n_items, entro_error *err)
{
    char *path = en_statistics_path(folder, kind, number);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status =
        en_statistics_file_write(path, id, kind, number, items, n_items, NULL, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    en_free(path);
    return status;
}

/* ---- removing ------------------------------------------------------------------------------ */

entro_status en_unfinished_remove(const char *folder, en_statistics_kind kind, uint32_t number,
                                  entro_error *err)
{
    char *path = en_statistics_path(folder, kind, number);
    if (path == NULL)
        return en_fail_memory(err);
    unlink(path);
    en_free(path);
    return ENTRO_OK;
}

static entro_status count_caches(const char *folder, uint32_t *n, entro_error *err)
{
    bool is_there = true;
    for (*n = 0; is_there; *n += is_there) {
        char *path = en_statistics_path(folder, EN_STATISTICS_UNFINISHED_CACHE, *n);
        if (path == NULL)
            return en_fail_memory(err);
        is_there = en_path_exists(path);
        en_free(path);
    }
    return ENTRO_OK;
}

/* From the last one down, so that what a kill leaves is still found by counting up. */
entro_status en_unfinished_remove_caches(const char *folder, entro_error *err)
{
    uint32_t n;
    EN_TRY(count_caches(folder, &n, err));
    while (n-- > 0)
        EN_TRY(en_unfinished_remove(folder, EN_STATISTICS_UNFINISHED_CACHE, n, err));
    return ENTRO_OK;
}

entro_status en_unfinished_remove_all(const char *folder, entro_error *err)
{
    EN_TRY(en_unfinished_remove(folder, EN_STATISTICS_UNFINISHED_FISHER, 0, err));
    EN_TRY(en_unfinished_remove(folder, EN_STATISTICS_UNFINISHED_TEXT, 0, err));
    return en_unfinished_remove_caches(folder, err);
}
