/*
 * source.c - finds out what a path is and opens it; what both kinds of sources share.
 *
 * People name all sorts of files.  Each kind that is met in practice gets an answer that says what
 * it is and what to do; the list is 'known_files'.
 */
#include "formats/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/gguf.h"

enum { HEAD_BYTES = 64 };

/* ---- what is it? ----------------------------------------------------------------------- */

static const struct known_file {
    const char *magic;
    uint8_t n_magic;
    entro_status status;
    const char *answer;
} known_files[] = {
    {"version https://git-lfs", 23, ENTRO_ERR_FORMAT,
     "this is a Git LFS pointer, not the model: run 'git lfs pull' in its folder"},
    {"PK\3\4", 4, ENTRO_ERR_UNSUPPORTED,
     "this is a zip archive, probably a PyTorch checkpoint (.bin, .pt, .pth), which can run code "
     "when it is read; use the model's safetensors files or a GGUF file"},
    {"\x80\2", 2, ENTRO_ERR_UNSUPPORTED,
     "this is a Python pickle, probably an old PyTorch checkpoint, which can run code when it is "
     "read; use the model's safetensors files or a GGUF file"},
    {"\x80\4", 2, ENTRO_ERR_UNSUPPORTED,
     "this is a Python pickle, which can run code when it is read; use the model's safetensors "
     "files or a GGUF file"},
    {"lmgg", 4, ENTRO_ERR_UNSUPPORTED,
     "this is an old GGML file (before August 2023); get a GGUF file of the model"},
    {"fmgg", 4, ENTRO_ERR_UNSUPPORTED,
     "this is an old GGML file (ggmf, 2023); get a GGUF file of the model"},
    {"tjgg", 4, ENTRO_ERR_UNSUPPORTED,
     "this is an old GGML file (ggjt, 2023); get a GGUF file of the model"},
    {"algg", 4, ENTRO_ERR_UNSUPPORTED,
     "this is an old GGML adapter (ggla); merge it into its model first"},
    {"FUGG", 4, ENTRO_ERR_UNSUPPORTED,
     "this is a GGUF file with its bytes swapped; get the little-endian one"},
    {"\x1f\x8b", 2, ENTRO_ERR_FORMAT, "this is a gzip archive: unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, ENTRO_ERR_FORMAT, "this is a zstd archive: unpack it first"},
    {"\xfd"
     "7zXZ",
     5, ENTRO_ERR_FORMAT, "this is an xz archive: unpack it first"},
    {"BZh", 3, ENTRO_ERR_FORMAT, "this is a bzip2 archive: unpack it first"},
    {"7z\xbc\xaf", 4, ENTRO_ERR_FORMAT, "this is a 7-Zip archive: unpack it first"},
    {"\x89HDF", 4, ENTRO_ERR_UNSUPPORTED,
     "this is an HDF5 file (Keras, TensorFlow); use the model's safetensors files or a GGUF file"},
    {"<!DOCTYPE", 9, ENTRO_ERR_FORMAT,
     "this is a web page, not the model: the download link led to a page (log in, or use the "
     "link of the raw file)"},
    {"<!doctype", 9, ENTRO_ERR_FORMAT,
     "this is a web page, not the model: the download link led to a page (log in, or use the "
     "link of the raw file)"},
    {"<html", 5, ENTRO_ERR_FORMAT,
     "this is a web page, not the model: the download link led to a page (log in, or use the "
     "link of the raw file)"},
};

static bool is_safetensors(const uint8_t *head, size_t n)
{
    return n >= 9 && en_load64(head) >= 2 && en_load64(head) < 1u << 28 && head[8] == '{';
}

static bool is_json(const uint8_t *head, size_t n)
{
    size_t i = 0;
    while (i < n && (head[i] == ' ' || head[i] == '\n' || head[i] == '\r' || head[i] == '\t'))
        i++;
    return i < n && (head[i] == '{' || head[i] == '[');
}

static bool is_filled_with(const uint8_t *head, size_t n, bool (*test)(uint8_t))
{
    for (size_t i = 0; i < n; i++)
        if (!test(head[i]))
            return false;
    return true;
}

static bool is_zero(uint8_t c)
{
    return c == 0;
}

static bool is_text_byte(uint8_t c)
{
    return (c >= 32 && c != 127) || c == '\n' || c == '\r' || c == '\t';
}

/* What the first bytes say, for a file that is none of ours. */
static entro_status refuse(const uint8_t *head, size_t n, entro_error *err)
{
    if (n == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "the file is empty (interrupted download?)");
    for (size_t i = 0; i < sizeof known_files / sizeof known_files[0]; i++) {
        const struct known_file *k = &known_files[i];
        if (n >= k->n_magic && memcmp(head, k->magic, k->n_magic) == 0)
            return en_fail(err, k->status, "%s", k->answer);
    }
    const char *what = "this is neither a GGUF file nor a Hugging Face folder";
    if (is_safetensors(head, n))
        what = "this is a safetensors file without its config.json; put config.json and the "
               "tokenizer's files beside it and name the folder";
    else if (is_json(head, n))
        what = "this is a JSON file; name the model's folder (config.json, safetensors, "
               "tokenizer.json) or a GGUF file";
    else if (is_filled_with(head, n, is_zero))
        what = "the file starts with zeros (unfinished download?); expected a GGUF file";
    else if (is_filled_with(head, n, is_text_byte))
        what = "this is a text file; expected a GGUF file or a Hugging Face folder";
    return en_fail(err, ENTRO_ERR_FORMAT, "%s", what);
}

/* ---- opening --------------------------------------------------------------------------- */

static entro_status read_head(const char *path, uint8_t *head, size_t *n_head, bool *is_folder,
                              entro_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block */
    struct stat st;
    entro_status status = ENTRO_OK;
    *is_folder = false;
    *n_head = 0;
    if (fd < 0 || fstat(fd, &st) != 0) {
        status = en_fail_errno(err, errno, "cannot open the model");
    } else if (S_ISDIR(st.st_mode)) {
        *is_folder = true;
    } else if (!S_ISREG(st.st_mode)) {
        status = en_fail(err, ENTRO_ERR_FORMAT,
                         "is no regular file; models are mapped, so a pipe or device cannot be "
                         "read: save it to a file first");
    } else {
        ssize_t n = pread(fd, head, HEAD_BYTES, 0);
        if (n < 0)
            status = en_fail_errno(err, errno, "cannot read the model");
        else
            *n_head = (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n < (int)sizeof path && en_path_exists(path);
}

/* A folder without config.json: somebody may have meant a GGUF file in it. */
static entro_status refuse_folder(const char *folder, entro_error *err)
{
    char found[128] = "";
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir != NULL && found[0] == '\0' && (e = readdir(dir)) != NULL;)
        if (ends_with(e->d_name, ".gguf"))
            snprintf(found, sizeof found, "%s", e->d_name);
    if (dir != NULL)
        closedir(dir);
    if (found[0] != '\0')
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "this folder has no config.json, but a GGUF file: name the file itself "
                       "(%s)",
                       found);
    return en_fail(err, ENTRO_ERR_NOT_FOUND,
                   "this folder has no config.json; expected a Hugging Face folder (config.json, "
                   "safetensors, tokenizer.json) or a GGUF file");
}

/* The folder that a file of a Hugging Face model lies in, in allocated memory. */
static entro_status folder_of(const char *path, char **folder, entro_error *err)
{
    size_t n = (size_t)(en_path_base(path) - path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    *folder = n > 0 ? en_strndup(path, n) : en_strndup(".", 1);
    return *folder != NULL ? ENTRO_OK : en_fail_memory(err);
}

static bool is_part_of_folder(const char *path, const uint8_t *head, size_t n_head)
{
    if (is_safetensors(head, n_head))
        return true;
    return is_json(head, n_head) && (strcmp(en_path_base(path), "config.json") == 0 ||
                                     ends_with(path, ".safetensors.index.json"));
}

static entro_status open_file(en_source **out, const char *path, const uint8_t *head, size_t n_head,
                              entro_error *err)
{
    if (en_gguf_is(head, n_head))
        return en_source_open_gguf(out, path, err);
    if (is_part_of_folder(path, head, n_head)) {
        char *folder;
        EN_TRY(folder_of(path, &folder, err));
        entro_status status = ENTRO_OK;
        bool usable = has_file(folder, "config.json");
        if (usable)
            status = en_source_open_hf(out, folder, err);
        en_free(folder);
        if (usable)
            return status;
    }
    entro_status status = refuse(head, n_head, err);
    en_error_place(err, "%s", path);
    return status;
}

/* Lookups by name happen once a tensor of the architecture; files may name a million. */
static entro_status index_names(en_source *source, entro_error *err)
{
    if (!en_name_index_reserve(&source->index, source->n_tensors))
        return en_fail_memory(err);
    for (uint32_t i = 0; i < source->n_tensors; i++)
        if (en_name_index_find(&source->index, source->tensors[i].name) == EN_NAME_NONE)
            en_name_index_add(&source->index, source->tensors[i].name,
                              i); /* the room is reserved */
    return ENTRO_OK;
}

entro_status en_source_open(en_source **out, const char *path, entro_error *err)
{
    uint8_t head[HEAD_BYTES];
    size_t n_head;
    bool is_folder;
    entro_status status = read_head(path, head, &n_head, &is_folder, err);
    if (status == ENTRO_OK && is_folder && !has_file(path, "config.json"))
        status = refuse_folder(path, err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", path);
        return status;
    }
    en_source *source;
    if (is_folder)
        EN_TRY(en_source_open_hf(&source, path, err));
    else
        EN_TRY(open_file(&source, path, head, n_head, err));
    status = index_names(source, err);
    if (status != ENTRO_OK) {
        en_source_close(source);
        return status;
    }
    *out = source;
    return ENTRO_OK;
}

void en_source_close(en_source *source)
{
    if (source == NULL)
        return;
    en_name_index_free(&source->index);
    source->ops->close(source);
}

/* ---- what both kinds share ------------------------------------------------------------- */

en_source_kind en_source_get_kind(const en_source *source)
{
    return source->kind;
}

const char *en_source_path(const en_source *source)
{
    return source->path;
}

const en_meta *en_source_meta(const en_source *source)
{
    return source->meta;
}

entro_status en_source_add_meta(en_source *source, const en_meta *more, entro_error *err)
{
    for (size_t i = 0; i < en_meta_count(more); i++) {
        const char *key = en_meta_key(more, i);
        if (en_meta_get(source->meta, key) != NULL)
            return en_fail(err, ENTRO_ERR_FORMAT, "key '%.100s' is there twice (damaged?)", key);
        EN_TRY(en_meta_set_borrowed(source->meta, key, en_meta_at(more, i), err));
    }
    return ENTRO_OK;
}

uint64_t en_source_file_bytes(const en_source *source)
{
    return source->file_bytes;
}

uint32_t en_source_n_tensors(const en_source *source)
{
    return source->n_tensors;
}

const en_tensor *en_source_tensor(const en_source *source, uint32_t i)
{
    return &source->tensors[i];
}

const en_tensor *en_source_find(const en_source *source, const char *name)
{
    if (source->index.n_slots > 0) {
        uint32_t i = en_name_index_find(&source->index, name);
        return i != EN_NAME_NONE ? &source->tensors[i] : NULL;
    }
    for (uint32_t i = 0; i < source->n_tensors; i++) /* opened by its kind's own function */
        if (strcmp(source->tensors[i].name, name) == 0)
            return &source->tensors[i];
    return NULL;
}

static entro_status check_rows(const en_tensor *tensor, uint64_t row, uint64_t n_rows,
                               entro_error *err)
{
    uint64_t n_all = en_tensor_n_rows(tensor);
    if (row <= n_all && n_rows <= n_all - row)
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_ARGUMENT, "%" PRIu64 " rows from row %" PRIu64 " on, of %" PRIu64,
                   n_rows, row, n_all);
}

static entro_status place_failure(const en_source *source, const en_tensor *tensor,
                                  entro_status status, entro_error *err)
{
    if (status != ENTRO_OK) {
        en_error_place(err, "tensor '%s'", tensor->name);
        en_error_place(err, "%s", source->path);
    }
    return status;
}

entro_status en_source_read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                                 uint64_t n_rows, float *out, entro_error *err)
{
    entro_status status;
    if (!en_dtype_get(tensor->dtype)->is_float)
        status = en_fail(err, ENTRO_ERR_UNSUPPORTED, "has type %s, expected floats",
                         en_dtype_get(tensor->dtype)->name);
    else
        status = check_rows(tensor, row, n_rows, err);
    if (status == ENTRO_OK)
        status = source->ops->read_rows(source, tensor, row, n_rows, out, err);
    return place_failure(source, tensor, status, err);
}

uint64_t en_source_row_bytes(const en_tensor *tensor)
{
    return tensor->n_bytes / en_tensor_n_rows(tensor);
}

entro_status en_source_read_bytes(const en_source *source, const en_tensor *tensor, uint64_t row,
                                  uint64_t n_rows, uint8_t *out, entro_error *err)
{
    entro_status status = check_rows(tensor, row, n_rows, err);
    if (status == ENTRO_OK)
        status = source->ops->read_bytes(source, tensor, row, n_rows, out, err);
    return place_failure(source, tensor, status, err);
}

uint32_t en_source_n_files(const en_source *source)
{
    return source->ops->n_files(source);
}

en_source_file en_source_file_at(const en_source *source, uint32_t i)
{
    return source->ops->file_at(source, i);
}

bool en_source_find_place(const en_source *source, uint32_t i, en_source_place *place)
{
    return source->ops->find_place(source, i, place);
}

void en_source_forget(const en_source *source, const en_tensor *tensor)
{
    en_source_forget_part(source, tensor, 0, tensor->n_bytes);
}

/* The mapped file that holds a tensor's bytes; NULL in 'data': none. */
static en_source_file file_of(const en_source *source, const uint8_t *data)
{
    for (uint32_t i = 0; i < en_source_n_files(source); i++) {
        en_source_file f = en_source_file_at(source, i);
        if (data >= f.data && data < f.data + f.n_bytes)
            return f;
    }
    return (en_source_file){0};
}

void en_source_map_huge(const en_source *source, const en_tensor *tensor, bool huge)
{
    const uint8_t *data = source->ops->mapped(source, tensor);
    if (data == NULL || file_of(source, data).data == NULL)
        return;
    /* Whole pages inside: those at the ends are the neighbours', too. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)data + (uintptr_t)tensor->n_bytes) / page * page;
    if (first < end) /* a hint: no matter if it is refused */
        madvise((void *)first, end - first, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

/*
 * Where the page cache has huge pages one touch maps all of one, and what is not told to forget it whole keeps it: so
 * its ends are moved out to those of huge pages, but not beyond the file.  Neighbours in use are mapped again when
 * they are touched, from the page cache.
 */
void en_source_forget_part(const en_source *source, const en_tensor *tensor, uint64_t offset,
                           uint64_t n_bytes)
{
    const uint8_t *data = source->ops->mapped(source, tensor);
    if (data == NULL || n_bytes == 0 || offset > tensor->n_bytes ||
        n_bytes > tensor->n_bytes - offset)
        return; /* other memory would lose what it holds */
    en_source_file file = file_of(source, data);
    if (file.data == NULL)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)file.data;
    uintptr_t limit = (start + file.n_bytes + page - 1) / page * page;
    uintptr_t first = ((uintptr_t)data + (uintptr_t)offset) / EN_HUGE_PAGE * EN_HUGE_PAGE;
    uintptr_t end = (uintptr_t)data + (uintptr_t)(offset + n_bytes);
    end = (end + EN_HUGE_PAGE - 1) / EN_HUGE_PAGE * EN_HUGE_PAGE;
    first = first > start ? first : start / page * page;
    end = end < limit ? end : limit;
    madvise((void *)first, end - first, MADV_DONTNEED);
}
