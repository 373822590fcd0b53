/* restore_original.c - see restore_original.h. */
#include "pipeline/restore_original.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "pipeline/original_rebuild.h"

typedef struct restoration {
    en_rebuild rebuild;
    const en_original *original;
    char *path, *temporary; /* of a folder, without slashes at the end */
    bool overwrite;
    uint32_t n_written; /* files in the temporary folder */
    bool has_temporary;
} restoration;

uint64_t en_original_total_bytes(const en_original *original)
{
    uint64_t n = 0; /* may wrap around in a hostile file: for progress only */
    for (uint32_t i = 0; i < original->n_files; i++)
        n += original->files[i].n_bytes;
    return n;
}

/* Only damage is the container's own fault. */
static entro_status place_damage(const en_source *source, entro_status status, entro_error *err)
{
    if (status == ENTRO_ERR_CHECKSUM)
        en_error_place(err, "%s", en_source_path(source));
    return status;
}

static entro_status write_file(restoration *r, uint32_t i, const char *path, bool overwrite,
                               entro_error *err)
{
    en_output *out;
    EN_TRY(en_output_create(&out, path, overwrite, err));
    entro_status status = en_rebuild_file(&r->rebuild, i, out, err);
    if (status == ENTRO_OK)
        return en_output_commit(out, err);
    en_output_abort(out);
    return place_damage(r->rebuild.source, status, err);
}

/* ---- a folder ------------------------------------------------------------------------------ */

static entro_status fail_folder(const char *path, const char *what, entro_error *err)
{
    entro_status status = en_fail_errno(err, errno, "%s", what);
    en_error_place(err, "%s", path);
    return status;
}

static entro_status check_target(const restoration *r, entro_error *err)
{
    entro_status status = ENTRO_OK;
    if (en_path_exists(r->path) && !r->overwrite)
        status = en_fail(err, ENTRO_ERR_EXISTS,
                         "exists already; choose another name, or let --force replace the files in "
                         "it");
    else if (en_path_exists(r->path) && !en_path_is_folder(r->path))
        status = en_fail(err, ENTRO_ERR_EXISTS,
                         "is a file, and the original is a folder; choose another name");
    if (status != ENTRO_OK)
        en_error_place(err, "%s", r->path);
    return status;
}

static entro_status name_folders(restoration *r, const char *path, entro_error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t n_temporary = n + 32;
    r->path = en_strndup(path, n);
    r->temporary = en_alloc(n_temporary, 1);
    if (r->path == NULL || r->temporary == NULL)
        return en_fail_memory(err);
    snprintf(r->temporary, n_temporary, "%s.%ld.tmp", r->path, (long)getpid());
    return ENTRO_OK;
}

static void remove_temporary(const restoration *r)
{
    for (uint32_t i = 0; i < r->n_written; i++) {
        char *path = en_path_join(r->temporary, r->original->files[i].name);
        if (path != NULL)
            unlink(path);
        en_free(path);
    }
    rmdir(r->temporary);
}

static entro_status fill_temporary(restoration *r, entro_error *err)
{
    if (mkdir(r->temporary, 0777) != 0)
        return fail_folder(r->temporary, "cannot create the folder", err);
    r->has_temporary = true;
    for (uint32_t i = 0; i < r->original->n_files; i++) {
        char *path = en_path_join(r->temporary, r->original->files[i].name);
        if (path == NULL)
            return en_fail_memory(err);
        entro_status status = write_file(r, i, path, false, err);
        en_free(path);
        EN_TRY(status);
        r->n_written++;
    }
    return ENTRO_OK;
}

/* Moves finished files into a folder that is there. */
static entro_status move_files(restoration *r, entro_error *err)
{
    for (uint32_t i = 0; i < r->original->n_files; i++) {
        const char *name = r->original->files[i].name;
        char *from = en_path_join(r->temporary, name), *to = en_path_join(r->path, name);
        entro_status status = ENTRO_OK;
        if (from == NULL || to == NULL)
            status = en_fail_memory(err);
        else if (rename(from, to) != 0)
            status = fail_folder(to, "cannot put the finished file in place", err);
        en_free(from);
        en_free(to);
        EN_TRY(status);
    }
    rmdir(r->temporary);
    return ENTRO_OK;
}

static void sync_parent(const char *path)
{
    size_t n = (size_t)(en_path_base(path) - path);
    char *folder = n > 0 ? en_strndup(path, n) : en_strndup(".", 1);
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    en_free(folder);
}

static entro_status put_in_place(restoration *r, entro_error *err)
{
    EN_TRY(check_target(r, err));
    if (en_path_exists(r->path))
        return move_files(r, err);
    if (rename(r->temporary, r->path) != 0)
        return fail_folder(r->path, "cannot put the finished folder in place", err);
    sync_parent(r->path);
    return ENTRO_OK;
}

static entro_status write_folder(restoration *r, const char *path, entro_error *err)
{
    EN_TRY(name_folders(r, path, err));
    EN_TRY(check_target(r, err));
    entro_status status = fill_temporary(r, err);
    if (status == ENTRO_OK)
        status = put_in_place(r, err);
    if (status != ENTRO_OK && r->has_temporary)
        remove_temporary(r);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------- */

entro_status en_restore_original(const en_source *source, const en_container *container,
                                 en_job *job, const char *path, bool overwrite,
                                 entro_restore_report *report, entro_error *err)
{
    restoration r = {.original = en_container_original(container), .overwrite = overwrite};
    uint64_t n_bytes = en_original_total_bytes(r.original);
    en_job_stage(job, "restore", n_bytes);
    entro_status status = en_rebuild_open(&r.rebuild, source, container, job, err);
    if (status == ENTRO_OK)
        status = r.original->is_folder ? write_folder(&r, path, err)
                                       : write_file(&r, 0, path, overwrite, err);
    if (status == ENTRO_OK)
        *report = (entro_restore_report){.n_file_bytes = n_bytes,
                                         .n_tensors = en_container_n_tensors(container),
                                         .n_files = r.original->n_files,
                                         .is_original = true,
                                         .is_folder = r.original->is_folder};
    en_rebuild_close(&r.rebuild);
    en_free(r.path);
    en_free(r.temporary);
    return status;
}

entro_status en_check_original(const en_source *source, const en_container *container, en_job *job,
                               uint64_t done, entro_error *err)
{
    const en_original *original = en_container_original(container);
    en_rebuild r;
    entro_status status = en_rebuild_open(&r, source, container, job, err);
    r.done = done;
    for (uint32_t i = 0; i < original->n_files && status == ENTRO_OK; i++)
        status = en_rebuild_file(&r, i, NULL, err);
    en_rebuild_close(&r);
    return place_damage(source, status, err);
}
