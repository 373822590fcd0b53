/* gguf_output.c - see gguf_output.h. */
#include "container/gguf_output.h"

#include "base/memory.h"

static entro_status pad(en_gguf_output *out, entro_error *err)
{
    size_t over = (size_t)(en_output_pos(out->file) % out->alignment);
    return over == 0 ? ENTRO_OK : en_output_zeros(out->file, out->alignment - over, err);
}

entro_status en_gguf_output_begin(en_gguf_output *out, const char *path, bool overwrite,
                                  const en_meta *meta, en_tensor *tensors, uint32_t n_tensors,
                                  uint32_t alignment, entro_error *err)
{
    *out = (en_gguf_output){
        .meta = meta, .tensors = tensors, .n_tensors = n_tensors, .alignment = alignment};
    EN_TRY(en_gguf_head_bytes(meta, tensors, n_tensors, alignment, &out->n_head, err));
    EN_TRY(en_output_create(&out->file, path, overwrite, err));
    return en_output_zeros(out->file, out->n_head, err);
}

entro_status en_gguf_output_start(en_gguf_output *out, uint32_t i, entro_error *err)
{
    EN_TRY(pad(out, err));
    out->tensors[i].offset = en_output_pos(out->file) - out->n_head;
    out->tensors[i].n_bytes = 0;
    return ENTRO_OK;
}

entro_status en_gguf_output_put(en_gguf_output *out, uint32_t i, const void *data, size_t n_bytes,
                                entro_error *err)
{
    out->tensors[i].n_bytes += n_bytes;
    return en_output_write(out->file, data, n_bytes, err);
}

static entro_status write_head(en_gguf_output *out, entro_error *err)
{
    uint8_t *head = en_alloc(out->n_head, 1);
    if (head == NULL)
        return en_fail_memory(err);
    entro_status status = en_gguf_head_write(out->meta, out->tensors, out->n_tensors,
                                             out->alignment, head, out->n_head, err);
    if (status == ENTRO_OK)
        status = en_output_patch(out->file, 0, head, out->n_head, err);
    en_free(head);
    return status;
}

uint64_t en_gguf_output_bytes(const en_gguf_output *out)
{
    uint64_t n = en_output_pos(out->file);
    return (n + out->alignment - 1) / out->alignment * out->alignment;
}

entro_status en_gguf_output_finish(en_gguf_output *out, uint64_t *n_file_bytes, entro_error *err)
{
    entro_status status = pad(out, err);
    *n_file_bytes = en_output_pos(out->file);
    if (status == ENTRO_OK)
        status = write_head(out, err);
    if (status != ENTRO_OK) {
        en_gguf_output_abort(out);
        return status;
    }
    en_output *file = out->file;
    out->file = NULL;
    return en_output_commit(file, err);
}

void en_gguf_output_abort(en_gguf_output *out)
{
    en_output_abort(out->file);
    out->file = NULL;
}
