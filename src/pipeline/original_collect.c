/* original_collect.c - see original_collect.h. */
#include "pipeline/original_collect.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "formats/safetensors.h"

enum { MIN_TWIN_BYTES = 1024 }; /* of a tensor worth looking for elsewhere */

/* A tensor's bytes in a weight file. */
typedef struct range {
    uint64_t offset, n_bytes;
    uint32_t tensor, n_head_rows;
} range;

typedef struct collector {
    en_collected *c;
    const en_source *source;
    uint32_t first_number;
    en_source_file file; /* at hand */
    uint32_t file_number;
    range *ranges; /* in it */
    size_t n_ranges, ranges_cap;
} collector;

/* ---- pieces -------------------------------------------------------------------------------- */

static entro_status add_file(en_collected *c, const char *name, uint64_t n_bytes,
                             en_original_file **out, entro_error *err)
{
    en_original *o = &c->original;
    if (!en_original_name_fits(name, strlen(name)))
        return en_fail(
            err, ENTRO_ERR_UNSUPPORTED,
            "the name '%s' could not be restored (it is hidden, too long, or has control "
            "characters or backslashes): give the file another one",
            name);
    if (o->n_files >= EN_ORIGINAL_MAX_FILES)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "the folder has more than %d files",
                       EN_ORIGINAL_MAX_FILES);
    if (!en_grow((void **)&o->files, &c->files_cap, (size_t)o->n_files + 1, SIZE_MAX,
                 sizeof *o->files))
        return en_fail_memory(err);
    en_original_file *f = &o->files[o->n_files++];
    *f = (en_original_file){.n_bytes = n_bytes, .first_piece = o->n_pieces};
    memcpy(f->name, name, strlen(name));
    *out = f;
    return ENTRO_OK;
}

static entro_status add_piece(en_collected *c, const en_piece *piece, entro_error *err)
{
    en_original *o = &c->original;
    if (o->n_pieces >= EN_ORIGINAL_MAX_PIECES)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "the source has more than %d pieces",
                       EN_ORIGINAL_MAX_PIECES);
    if (!en_grow((void **)&o->pieces, &c->pieces_cap, (size_t)o->n_pieces + 1, SIZE_MAX,
                 sizeof *o->pieces))
        return en_fail_memory(err);
    o->pieces[o->n_pieces++] = *piece;
    o->files[o->n_files - 1].n_pieces++;
    return ENTRO_OK;
}

static entro_status add_literal(en_collected *c, const uint8_t *data, uint64_t n_bytes,
                                entro_error *err)
{
    if (n_bytes == 0)
        return ENTRO_OK;
    if (!en_grow((void **)&c->runs, &c->runs_cap, c->n_runs + 1, SIZE_MAX, sizeof *c->runs))
        return en_fail_memory(err);
    c->runs[c->n_runs++] = (en_literal_run){data, c->original.n_literal_bytes, n_bytes};
    c->original.n_literal_bytes += n_bytes;
    return add_piece(c, &(en_piece){.kind = EN_PIECE_LITERAL, .n_bytes = n_bytes}, err);
}

/* ---- weight files -------------------------------------------------------------------------- */

static entro_status add_range(collector *k, const range *r, entro_error *err)
{
    if (!en_grow((void **)&k->ranges, &k->ranges_cap, k->n_ranges + 1, SIZE_MAX, sizeof *k->ranges))
        return en_fail_memory(err);
    k->ranges[k->n_ranges++] = *r;
    return ENTRO_OK;
}

static int by_offset(const void *a, const void *b)
{
    const range *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static entro_status list_tensors(collector *k, entro_error *err)
{
    k->n_ranges = 0;
    for (uint32_t i = 0; i < en_source_n_tensors(k->source); i++) {
        en_source_place place;
        if (!en_source_find_place(k->source, i, &place) || place.file != k->file_number)
            continue;
        range r = {place.offset, en_source_tensor(k->source, i)->n_bytes, i, place.n_head_rows};
        EN_TRY(add_range(k, &r, err));
    }
    if (k->n_ranges > 1)
        qsort(k->ranges, k->n_ranges, sizeof *k->ranges, by_offset);
    return ENTRO_OK;
}

static bool is_listed(const collector *k, uint64_t offset, size_t n_listed)
{
    const range wanted = {.offset = offset};
    return n_listed > 0 &&
           bsearch(&wanted, k->ranges, n_listed, sizeof *k->ranges, by_offset) != NULL;
}

/* A tensor of the source with these bytes in some file. */
static bool find_twin(const collector *k, const en_safetensors_entry *e, range *twin)
{
    for (uint32_t i = 0; i < en_source_n_tensors(k->source); i++) {
        en_source_place place;
        if (en_source_tensor(k->source, i)->n_bytes != e->n_bytes ||
            !en_source_find_place(k->source, i, &place))
            continue;
        const uint8_t *data = en_source_file_at(k->source, place.file).data + place.offset;
        if (memcmp(data, e->data, (size_t)e->n_bytes) != 0)
            continue;
        *twin = (range){e->offset, e->n_bytes, i, place.n_head_rows};
        return true;
    }
    return false;
}

/* Tensors that nobody asked for but that are here under another name. */
static entro_status list_twins(collector *k, entro_error *err)
{
    en_safetensors st;
    size_t n_listed = k->n_ranges;
    EN_TRY(en_safetensors_parse(&st, k->file.data, k->file.n_bytes, err));
    entro_status status = ENTRO_OK;
    for (uint32_t i = 0; i < st.n_entries && status == ENTRO_OK; i++) {
        range twin;
        const en_safetensors_entry *e = &st.entries[i];
        if (e->n_bytes >= MIN_TWIN_BYTES && !is_listed(k, e->offset, n_listed) &&
            find_twin(k, e, &twin))
            status = add_range(k, &twin, err);
    }
    en_safetensors_close(&st);
    if (k->n_ranges > n_listed)
        qsort(k->ranges, k->n_ranges, sizeof *k->ranges, by_offset);
    return status;
}

/* Bytes from *at to 'end' as a literal. */
static entro_status add_gap(collector *k, uint64_t *at, uint64_t end, entro_error *err)
{
    const uint8_t *data = k->file.data + *at;
    uint64_t n = end - *at;
    *at = end;
    en_hash_add(k->c->hash, data, (size_t)n);
    return add_literal(k->c, data, n, err);
}

static entro_status add_pieces(collector *k, entro_error *err)
{
    uint64_t at = 0;
    en_hash_start(k->c->hash);
    for (size_t i = 0; i < k->n_ranges; i++) {
        const range *r = &k->ranges[i];
        EN_TRY(add_gap(k, &at, r->offset, err));
        const en_piece piece = {.kind = EN_PIECE_TENSOR,
                                .tensor = (uint64_t)k->first_number + r->tensor,
                                .n_head_rows = r->n_head_rows};
        EN_TRY(add_piece(k->c, &piece, err));
        en_hash_add(k->c->hash, k->file.data + at, (size_t)r->n_bytes);
        en_source_forget(k->source, en_source_tensor(k->source, r->tensor));
        at += r->n_bytes;
    }
    return add_gap(k, &at, k->file.n_bytes, err);
}

static entro_status collect_weights(collector *k, uint32_t file_number, entro_error *err)
{
    en_original_file *f;
    k->file_number = file_number;
    k->file = en_source_file_at(k->source, file_number);
    if (!k->c->original.is_folder && !en_original_name_fits(k->file.name, strlen(k->file.name)))
        k->file.name = "model.gguf"; /* of a single file it hardly matters */
    EN_TRY(add_file(k->c, k->file.name, k->file.n_bytes, &f, err));
    EN_TRY(list_tensors(k, err));
    if (k->c->original.is_folder)
        EN_TRY(list_twins(k, err));
    EN_TRY(add_pieces(k, err));
    f->hash = en_hash_end(k->c->hash);
    return ENTRO_OK;
}

/* ---- a folder's other files ---------------------------------------------------------------- */

static bool is_weight_file(const en_source *source, const char *name)
{
    for (uint32_t i = 0; i < en_source_n_files(source); i++)
        if (strcmp(en_source_file_at(source, i).name, name) == 0)
            return true;
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/* A GGUF file beside the model is another form of it, or what is being written. */
static bool is_carried(const char *path, const char *name)
{
    struct stat st;
    return en_original_name_fits(name, strlen(name)) && !ends_with(name, ".gguf") &&
           stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= EN_ORIGINAL_LARGEST_OTHER;
}

static entro_status collect_other(en_collected *c, const char *path, const char *name,
                                  entro_error *err)
{
    en_original_file *f;
    if (!en_grow((void **)&c->maps, &c->maps_cap, c->n_maps + 1, SIZE_MAX, sizeof *c->maps))
        return en_fail_memory(err);
    en_map *map = &c->maps[c->n_maps];
    EN_TRY(en_map_open(map, path, err));
    c->n_maps++;
    EN_TRY(add_file(c, name, map->n_bytes, &f, err));
    f->hash = en_hash64(map->data, map->n_bytes);
    return add_literal(c, map->data, map->n_bytes, err);
}

static entro_status collect_name(collector *k, const char *name, entro_error *err)
{
    if (name[0] == '.' || is_weight_file(k->source, name))
        return ENTRO_OK;
    char *path = en_path_join(en_source_path(k->source), name);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = ENTRO_OK;
    if (is_carried(path, name))
        status = collect_other(k->c, path, name, err);
    else
        k->c->n_left_out++;
    en_free(path);
    return status;
}

static entro_status collect_others(collector *k, entro_error *err)
{
    struct dirent **names;
    int n = scandir(en_source_path(k->source), &names, NULL, alphasort);
    if (n < 0) {
        entro_status status = en_fail_errno(err, errno, "cannot list the folder");
        en_error_place(err, "%s", en_source_path(k->source));
        return status;
    }
    entro_status status = ENTRO_OK;
    for (int i = 0; i < n; i++) {
        if (status == ENTRO_OK)
            status = collect_name(k, names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static entro_status collect(collector *k, entro_error *err)
{
    for (uint32_t i = 0; i < en_source_n_files(k->source); i++)
        EN_TRY(collect_weights(k, i, err));
    if (k->c->original.is_folder)
        EN_TRY(collect_others(k, err));
    uint64_t n = k->c->original.n_literal_bytes;
    if (en_payload_fits(n, 1))
        return ENTRO_OK;
    return en_fail(
        err, ENTRO_ERR_UNSUPPORTED,
        "the source has %llu bytes that are no weights of the model, at most 4 GiB can be "
        "carried",
        (unsigned long long)n);
}

entro_status en_collected_open(en_collected *c, const en_source *source, uint32_t first_number,
                               entro_error *err)
{
    c->original.is_folder = en_source_get_kind(source) == EN_SOURCE_HF;
    c->hash = en_hash_new();
    if (c->hash == NULL)
        return en_fail_memory(err);
    collector k = {.c = c, .source = source, .first_number = first_number};
    entro_status status = collect(&k, err);
    en_free(k.ranges);
    if (status != ENTRO_OK && err != NULL && err->where[0] == '\0')
        en_error_place(err, "%s", en_source_path(source));
    return status;
}

void en_collected_close(en_collected *c)
{
    for (size_t i = 0; i < c->n_maps; i++)
        en_map_close(&c->maps[i]);
    en_free(c->maps);
    en_free(c->runs);
    en_free(c->original.files);
    en_free(c->original.pieces);
    en_free(c->list);
    en_hash_free(c->hash);
    *c = (en_collected){0};
}

/* ---- what is stored ------------------------------------------------------------------------ */

/* The run that literal byte number 'at' is in. */
static size_t find_run(const en_collected *c, uint64_t at)
{
    size_t first = 0, end = c->n_runs;
    while (end - first > 1) {
        size_t middle = first + (end - first) / 2;
        *(c->runs[middle].start <= at ? &first : &end) = middle;
    }
    return first;
}

static entro_status read_literals(void *context, uint64_t row, uint64_t n_rows, uint8_t *out,
                                  entro_error *err)
{
    (void)err;
    const en_collected *c = context;
    for (size_t i = find_run(c, row); n_rows > 0; i++) {
        const en_literal_run *run = &c->runs[i];
        uint64_t skipped = row - run->start, n = run->n_bytes - skipped;
        n = n < n_rows ? n : n_rows;
        memcpy(out, run->data + skipped, (size_t)n);
        out += n;
        row += n;
        n_rows -= n;
    }
    return ENTRO_OK;
}

en_number_rows en_collected_literals(en_collected *c)
{
    return (en_number_rows){.read = read_literals,
                            .context = c,
                            .name = EN_ORIGINAL_LITERALS,
                            .dtype = EN_DTYPE_I8,
                            .n_rows = c->original.n_literal_bytes,
                            .n_cols = 1};
}

entro_status en_collected_list(en_collected *c, size_t *n_bytes, entro_error *err)
{
    *n_bytes = en_original_stored_bytes(&c->original);
    en_free(c->list);
    c->list = en_alloc(*n_bytes, 1);
    if (c->list == NULL)
        return en_fail_memory(err);
    en_original_store(&c->original, c->list);
    return ENTRO_OK;
}
