/* file.c - see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* ---- input ----------------------------------------------------------------------------- */

static entro_status open_regular(const char *path, int *fd, uint64_t *n_bytes, entro_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    entro_status status = ENTRO_OK;
    if (*fd < 0 || fstat(*fd, &st) != 0)
        status = en_fail_errno(err, errno, "cannot open");
    else if (S_ISDIR(st.st_mode))
        status = en_fail(err, ENTRO_ERR_FORMAT, "is a folder, expected a file");
    else if (!S_ISREG(st.st_mode))
        status = en_fail(err, ENTRO_ERR_FORMAT, "is not a regular file");
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", path);
        if (*fd >= 0)
            close(*fd);
        return status;
    }
    *n_bytes = (uint64_t)st.st_size;
    return ENTRO_OK;
}

/* Memory for a file and the padding, at a huge page's start, and nothing else. */
static uint8_t *reserve(size_t n_bytes)
{
    size_t n_area, n_kept = n_bytes + EN_MAP_PAD;
    if (!en_add(n_bytes, EN_MAP_PAD + EN_HUGE_PAGE, &n_area)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    uint8_t *area =
        mmap(NULL, n_area, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return MAP_FAILED;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    size_t before = -(uintptr_t)area & (EN_HUGE_PAGE - 1);
    size_t after = n_area - before - ((n_kept + page - 1) & ~(page - 1));
    if (before > 0)
        munmap(area, before);
    if (after >= page)
        munmap(area + n_area - after, after);
    return area + before;
}

entro_status en_map_open(en_map *map, const char *path, entro_error *err)
{
    *map = (en_map){0};
    int fd;
    uint64_t n_bytes;
    EN_TRY(open_regular(path, &fd, &n_bytes, err));
    if (n_bytes == 0) {
        close(fd);
        return ENTRO_OK;
    }
    /* Reserve the padding first, then lay the file over the front: bytes after the end of the
     * file's last page would otherwise fault. */
    uint8_t *area = reserve((size_t)n_bytes);
    if (area != MAP_FAILED &&
        mmap(area, n_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int saved = errno;
        munmap(area, n_bytes + EN_MAP_PAD);
        errno = saved;
        area = MAP_FAILED;
    }
    int saved = errno;
    close(fd);
    if (area == MAP_FAILED) {
        en_fail_errno(err, saved, "cannot map %llu bytes", (unsigned long long)n_bytes);
        en_error_place(err, "%s", path);
        return ENTRO_ERR_IO;
    }
    /* Where the page cache can, it then reads huge pages and maps them whole: 3 to 5 % of the time of generating
     * from coded weights.  A hint: no matter if it is refused. */
    madvise(area, n_bytes, MADV_HUGEPAGE);
    map->data = area;
    map->n_bytes = n_bytes;
    return ENTRO_OK;
}

void en_map_close(en_map *map)
{
    if (map->data != NULL)
        munmap((void *)(uintptr_t)map->data, map->n_bytes + EN_MAP_PAD);
    *map = (en_map){0};
}

static bool read_fully(int fd, char *data, size_t n_bytes)
{
    for (size_t pos = 0; pos < n_bytes;) {
        ssize_t n = read(fd, data + pos, n_bytes - pos);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* shrank while we read */
        if (n <= 0)
            return false;
        pos += (size_t)n;
    }
    return true;
}

entro_status en_file_read(char **data, size_t *n_bytes, const char *path, size_t n_max,
                          entro_error *err)
{
    int fd;
    uint64_t size;
    EN_TRY(open_regular(path, &fd, &size, err));
    entro_status status = ENTRO_OK;
    char *bytes = NULL;
    if (size > n_max)
        status = en_fail(err, ENTRO_ERR_FORMAT, "has %llu bytes, expected at most %zu",
                         (unsigned long long)size, n_max);
    else if ((bytes = en_alloc((size_t)size + 1, 1)) == NULL)
        status = en_fail_memory(err);
    else if (!read_fully(fd, bytes, (size_t)size))
        status = en_fail_errno(err, errno, "cannot read");
    close(fd);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", path);
        en_free(bytes);
        return status;
    }
    bytes[size] = '\0';
    *data = bytes;
    *n_bytes = (size_t)size;
    return ENTRO_OK;
}

bool en_path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool en_path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

char *en_path_join(const char *folder, const char *name)
{
    size_t n_folder = strlen(folder), n_name = strlen(name);
    bool slash = n_folder == 0 || folder[n_folder - 1] != '/';
    char *path = en_alloc(n_folder + n_name + 2, 1);
    if (path != NULL)
        snprintf(path, n_folder + n_name + 2, "%s%s%s", folder, slash ? "/" : "", name);
    return path;
}

const char *en_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- output ---------------------------------------------------------------------------- */

enum { OUTPUT_BUFFER_BYTES = 1 << 20, WRITE_BACK_BYTES = 16 << 20 };

struct en_output {
    int fd;
    bool overwrite;
    bool has_name; /* the temporary file has a name that must be unlinked */
    uint64_t pos;  /* bytes written, those in the buffer included */
    uint64_t sent; /* bytes that are on their way to the disk */
    size_t n_buffered;
    char *path, *folder, *temporary;
    uint8_t *buffer;
};

static void output_free(en_output *out)
{
    if (out == NULL)
        return;
    if (out->fd >= 0)
        close(out->fd);
    if (out->has_name)
        unlink(out->temporary);
    en_free(out->path);
    en_free(out->folder);
    en_free(out->temporary);
    en_free(out->buffer);
    en_free(out);
}

static entro_status output_error(const en_output *out, int errno_value, const char *what,
                                 entro_error *err)
{
    entro_status status = en_fail_errno(err, errno_value, "%s", what);
    en_error_place(err, "%s", out->path);
    return status;
}

static entro_status refuse_existing(const char *path, entro_error *err)
{
    en_fail(err, ENTRO_ERR_EXISTS,
            "exists already; choose another name or overwrite it with "
            "--force");
    en_error_place(err, "%s", path);
    return ENTRO_ERR_EXISTS;
}

/* A file without a name vanishes with its process.  Linking it later needs /proc or
 * AT_EMPTY_PATH; linkat cannot replace, so an unnamed file gets its temporary name only for the
 * moment between the fsync and the rename. */
static int open_unnamed(const char *folder)
{
#ifdef O_TMPFILE
    if (access("/proc/self/fd", X_OK) == 0)
        return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
#endif
    (void)folder;
    return -1;
}

entro_status en_output_create(en_output **result, const char *path, bool overwrite,
                              entro_error *err)
{
    if (!overwrite && en_path_exists(path))
        return refuse_existing(path, err);
    en_output *out = en_alloc_zero(1, sizeof *out);
    if (out == NULL)
        return en_fail_memory(err);
    out->fd = -1;
    out->overwrite = overwrite;
    const char *base = en_path_base(path);
    size_t n_folder = (size_t)(base - path), n_temporary = strlen(path) + 32;
    out->path = en_strndup(path, strlen(path));
    out->folder = n_folder > 0 ? en_strndup(path, n_folder) : en_strndup("./", 2);
    out->temporary = en_alloc(n_temporary, 1);
    out->buffer = en_alloc(OUTPUT_BUFFER_BYTES, 1);
    if (!out->path || !out->folder || !out->temporary || !out->buffer) {
        output_free(out);
        return en_fail_memory(err);
    }
    snprintf(out->temporary, n_temporary, "%s.%ld.tmp", path, (long)getpid());

    out->fd = open_unnamed(out->folder);
    if (out->fd < 0) {
        out->fd = open(out->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        out->has_name = out->fd >= 0;
    }
    if (out->fd < 0) {
        entro_status status = output_error(out, errno, "cannot create", err);
        output_free(out);
        return status;
    }
    *result = out;
    return ENTRO_OK;
}

entro_status en_output_check(const char *path, bool overwrite, entro_error *err)
{
    en_output *out;
    EN_TRY(en_output_create(&out, path, overwrite, err));
    en_output_abort(out);
    return ENTRO_OK;
}

static entro_status write_fully(en_output *out, const uint8_t *data, size_t n_bytes, int64_t at,
                                entro_error *err)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = at < 0 ? write(out->fd, data + done, n_bytes - done)
                           : pwrite(out->fd, data + done, n_bytes - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return output_error(out, n == 0 ? ENOSPC : errno, "cannot write", err);
        done += (size_t)n;
    }
    return ENTRO_OK;
}

/* So that the disk works while we do; else all of it waits for the end. */
static void start_write_back(en_output *out)
{
#ifdef SYNC_FILE_RANGE_WRITE
    uint64_t written = out->pos - out->n_buffered;
    if (written - out->sent < WRITE_BACK_BYTES)
        return;
    (void)!sync_file_range(out->fd, (off_t)out->sent, (off_t)(written - out->sent),
                           SYNC_FILE_RANGE_WRITE);
    out->sent = written;
#else
    (void)out;
#endif
}

static entro_status flush(en_output *out, entro_error *err)
{
    size_t n = out->n_buffered;
    out->n_buffered = 0;
    return write_fully(out, out->buffer, n, -1, err);
}

entro_status en_output_write(en_output *out, const void *data, size_t n_bytes, entro_error *err)
{
    out->pos += n_bytes;
    if (out->n_buffered + n_bytes > OUTPUT_BUFFER_BYTES)
        EN_TRY(flush(out, err));
    if (n_bytes > OUTPUT_BUFFER_BYTES) {
        EN_TRY(write_fully(out, data, n_bytes, -1, err));
    } else if (n_bytes > 0) {
        memcpy(out->buffer + out->n_buffered, data, n_bytes);
        out->n_buffered += n_bytes;
    }
    start_write_back(out);
    return ENTRO_OK;
}

entro_status en_output_zeros(en_output *out, size_t n_bytes, entro_error *err)
{
    static const uint8_t zeros[4096];
    while (n_bytes > 0) {
        size_t n = n_bytes < sizeof zeros ? n_bytes : sizeof zeros;
        EN_TRY(en_output_write(out, zeros, n, err));
        n_bytes -= n;
    }
    return ENTRO_OK;
}

uint64_t en_output_pos(const en_output *out)
{
    return out->pos;
}

entro_status en_output_patch(en_output *out, uint64_t offset, const void *data, size_t n_bytes,
                             entro_error *err)
{
    if (n_bytes > out->pos || offset > out->pos - n_bytes)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "patch outside of what was written");
    EN_TRY(flush(out, err));
    return write_fully(out, data, n_bytes, (int64_t)offset, err);
}

/* Gives an unnamed file its temporary name. */
static bool link_temporary(en_output *out)
{
    if (out->has_name)
        return true;
    char link_path[64];
    snprintf(link_path, sizeof link_path, "/proc/self/fd/%d", out->fd);
    unlink(out->temporary);
    out->has_name = linkat(AT_FDCWD, link_path, AT_FDCWD, out->temporary, AT_SYMLINK_FOLLOW) == 0;
    return out->has_name;
}

static void sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

entro_status en_output_commit(en_output *out, entro_error *err)
{
    entro_status status = flush(out, err);
    if (status == ENTRO_OK && fsync(out->fd) != 0)
        status = output_error(out, errno, "cannot flush to disk", err);
    if (status == ENTRO_OK && !out->overwrite && en_path_exists(out->path))
        status = refuse_existing(out->path, err);
    if (status == ENTRO_OK && (!link_temporary(out) || rename(out->temporary, out->path) != 0))
        status = output_error(out, errno, "cannot put the finished file in place", err);
    if (status == ENTRO_OK) {
        out->has_name = false;
        sync_folder(out->folder);
    }
    output_free(out);
    return status;
}

void en_output_abort(en_output *out)
{
    output_free(out);
}
