/*
 * source.h - a model as its publisher left it: a GGUF file or a Hugging Face folder.
 *
 * Both look the same from here on: metadata in GGUF's terms, tensors under GGUF's names and in
 * GGUF's conventions (llama's q and k rows in interleaved rope order, for instance).  A Hugging
 * Face folder is translated while it is read; nothing is copied or rewritten on disk.
 */
#ifndef EN_FORMATS_SOURCE_H
#define EN_FORMATS_SOURCE_H

#include "formats/metadata.h"
#include "formats/name_index.h"
#include "tensor/tensor.h"

typedef struct en_source en_source;

typedef enum en_source_kind { EN_SOURCE_GGUF, EN_SOURCE_HF } en_source_kind;

/* Opens a GGUF file, a Hugging Face folder, or a file inside such a folder (config.json,
 * model.safetensors, its index).  Says what the path is when it is none of these. */
entro_status en_source_open(en_source **out, const char *path, entro_error *err);
void en_source_close(en_source *source);

en_source_kind en_source_get_kind(const en_source *source);
const char *en_source_path(const en_source *source);
const en_meta *en_source_meta(const en_source *source);
/* Adds keys, borrowed from 'more'; ENTRO_ERR_FORMAT when one is there already. */
entro_status en_source_add_meta(en_source *source, const en_meta *more, entro_error *err);
uint64_t en_source_file_bytes(const en_source *source); /* all weight files */
uint32_t en_source_n_tensors(const en_source *source);
const en_tensor *en_source_tensor(const en_source *source, uint32_t i);     /* i < n_tensors */
const en_tensor *en_source_find(const en_source *source, const char *name); /* NULL if absent */

/*
 * Rows [row, row + n_rows) of a float tensor (is_float of its dtype) as f32: out takes
 * n_rows * dims[0] floats.  A tensor of one dimension is one row.  Any number of threads may read.
 */
entro_status en_source_read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                                 uint64_t n_rows, float *out, entro_error *err);

/*
 * The same rows as the file has them: n_rows times en_source_row_bytes(), also of types that are no
 * floats (whole tensors of those: rows of blocks).  Every bit is kept.
 */
entro_status en_source_read_bytes(const en_source *source, const en_tensor *tensor, uint64_t row,
                                  uint64_t n_rows, uint8_t *out, entro_error *err);
/* Of a tensor of one dimension the row is the whole. */
uint64_t en_source_row_bytes(const en_tensor *tensor);

/* ---- where it all comes from ----------------------------------------------------------------- */

/* A file with weights, mapped. */
typedef struct en_source_file {
    const char *name; /* without folders */
    const uint8_t *data;
    size_t n_bytes;
} en_source_file;

uint32_t en_source_n_files(const en_source *source);
en_source_file en_source_file_at(const en_source *source, uint32_t i);

/* A tensor's bytes in a file.  There, where n_head_rows is not 0, a head's even rows come before its
 * odd ones: file row s n_head_rows / 2 + j of a head is the tensor's row 2 j + s (elements, of a
 * tensor of one dimension). */
typedef struct en_source_place {
    uint32_t file;
    uint64_t offset;
    uint32_t n_head_rows; /* even */
} en_source_place;

/* False for a tensor that is computed. */
bool en_source_find_place(const en_source *source, uint32_t i, en_source_place *place);

/*
 * How the tensor is mapped from now on, where the page cache has huge pages: in these, as all are from the beginning, or
 * page by page: of one that is kept in another form, of whose file only a few numbers are read, which would map
 * megabytes with each.
 */
void en_source_map_huge(const en_source *source, const en_tensor *tensor, bool huge);

/* Tells the system that the tensor's pages will not be needed soon (streaming jobs). */
void en_source_forget(const en_source *source, const en_tensor *tensor);
/* The same for the part 'offset' to 'offset + n_bytes' of its bytes. */
void en_source_forget_part(const en_source *source, const en_tensor *tensor, uint64_t offset,
                           uint64_t n_bytes);

/* ---- for the two kinds (source_gguf.c, source_hf.c) --------------------------------------- */

typedef struct en_source_ops {
    entro_status (*read_rows)(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err);
    entro_status (*read_bytes)(const en_source *source, const en_tensor *tensor, uint64_t row,
                               uint64_t n_rows, uint8_t *out, entro_error *err);
    uint32_t (*n_files)(const en_source *source);
    en_source_file (*file_at)(const en_source *source, uint32_t i);
    bool (*find_place)(const en_source *source, uint32_t i, en_source_place *place);
    /* Where the tensor's bytes are mapped; NULL for one that is computed. */
    const uint8_t *(*mapped)(const en_source *source, const en_tensor *tensor);
    void (*close)(en_source *source); /* frees everything the kind allocated, 'source' too */
} en_source_ops;

struct en_source {
    const en_source_ops *ops;
    en_source_kind kind;
    char *path;
    en_meta *meta;
    en_tensor *tensors;
    uint32_t n_tensors;
    uint64_t file_bytes;
    en_name_index index; /* of the tensors' names; built and freed in source.c, zeroed by kinds */
};

entro_status en_source_open_gguf(en_source **out, const char *path, entro_error *err);
entro_status en_source_open_hf(en_source **out, const char *folder, entro_error *err);

#endif
