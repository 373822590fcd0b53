/*
 * source_gguf.c - a GGUF file as a model source: mapped, read in place.
 */
#include <inttypes.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/gguf.h"
#include "formats/source.h"
#include "kernels/kernels.h"

struct gguf_source {
    en_source source; /* first, so that pointers to either are pointers to both */
    en_map map;
    en_gguf gguf; /* owns the metadata and tensors that 'source' points to */
};

static void close_gguf(en_source *source)
{
    struct gguf_source *s = (struct gguf_source *)source;
    en_gguf_close(&s->gguf);
    en_map_close(&s->map);
    en_free(source->path);
    en_free(s);
}

static entro_status read_rows(const en_source *source, const en_tensor *tensor, uint64_t row,
                              uint64_t n_rows, float *out, entro_error *err)
{
    (void)source;
    (void)err;
    uint64_t row_bytes = tensor->n_bytes / en_tensor_n_rows(tensor);
    en_kernels_get()->dequantize[tensor->dtype](tensor->data + row * row_bytes, out,
                                                (size_t)(n_rows * tensor->dims[0]));
    return ENTRO_OK;
}

static entro_status read_bytes(const en_source *source, const en_tensor *tensor, uint64_t row,
                               uint64_t n_rows, uint8_t *out, entro_error *err)
{
    (void)source;
    (void)err;
    size_t row_bytes = (size_t)en_source_row_bytes(tensor);
    memcpy(out, tensor->data + row * row_bytes, (size_t)n_rows * row_bytes);
    return ENTRO_OK;
}

static uint32_t n_files(const en_source *source)
{
    (void)source;
    return 1;
}

static en_source_file file_at(const en_source *source, uint32_t i)
{
    (void)i;
    const struct gguf_source *s = (const struct gguf_source *)source;
    return (en_source_file){en_path_base(source->path), s->map.data, s->map.n_bytes};
}

static bool find_place(const en_source *source, uint32_t i, en_source_place *place)
{
    *place = (en_source_place){.offset = source->tensors[i].offset};
    return true;
}

static const uint8_t *mapped(const en_source *source, const en_tensor *tensor)
{
    (void)source;
    return tensor->data;
}

static const en_source_ops gguf_ops = {.read_rows = read_rows,
                                       .read_bytes = read_bytes,
                                       .n_files = n_files,
                                       .file_at = file_at,
                                       .find_place = find_place,
                                       .mapped = mapped,
                                       .close = close_gguf};

/* Large models are published in parts, each a GGUF file of its own. */
static entro_status refuse_split(const en_meta *meta, entro_error *err)
{
    uint32_t n_parts = en_meta_u32(meta, "split.count", 1);
    if (n_parts <= 1)
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                   "this is part %" PRIu32 " of %" PRIu32 " of a split GGUF file, which is not "
                   "supported; join the parts with llama-gguf-split --merge FIRST-PART OUTPUT",
                   en_meta_u32(meta, "split.no", 0) + 1, n_parts);
}

static entro_status open_gguf(struct gguf_source *s, const char *path, entro_error *err)
{
    s->source.path = en_strndup(path, strlen(path));
    if (s->source.path == NULL)
        return en_fail_memory(err);
    EN_TRY(en_map_open(&s->map, path, err));
    entro_status status = en_gguf_parse(&s->gguf, s->map.data, s->map.n_bytes, err);
    if (status == ENTRO_OK)
        status = refuse_split(s->gguf.meta, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    return status;
}

entro_status en_source_open_gguf(en_source **out, const char *path, entro_error *err)
{
    struct gguf_source *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    entro_status status = open_gguf(s, path, err);
    if (status != ENTRO_OK) {
        close_gguf(&s->source);
        return status;
    }
    s->source.ops = &gguf_ops;
    s->source.kind = EN_SOURCE_GGUF;
    s->source.meta = s->gguf.meta;
    s->source.tensors = s->gguf.tensors;
    s->source.n_tensors = s->gguf.n_tensors;
    s->source.file_bytes = s->map.n_bytes;
    *out = &s->source;
    return ENTRO_OK;
}
