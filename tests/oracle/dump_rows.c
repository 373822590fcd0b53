/*
 * dump_rows.c - prints what the GGUF reader sees, for comparison with other people's readers.
 *
 *   dump_rows FILE           a line per key and per tensor
 *   dump_rows FILE TENSOR    the tensor's rows as raw f32 on standard output
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "formats/source.h"

static void list(const en_source *source)
{
    const en_meta *meta = en_source_meta(source);
    static char text[1 << 16];
    for (size_t i = 0; i < en_meta_count(meta); i++) {
        const en_meta_value *value = en_meta_at(meta, i);
        en_meta_format(value, text, sizeof text);
        printf("key\t%s\t%d\t%d\t%" PRIu64 "\t%s\n", en_meta_key(meta, i), (int)value->type,
               (int)value->is_array, value->n, text);
    }
    for (uint32_t i = 0; i < en_source_n_tensors(source); i++) {
        const en_tensor *t = en_source_tensor(source, i);
        printf("tensor\t%s\t%s\t%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\t%" PRIu64
               "\t%" PRIu64 "\n",
               t->name, en_dtype_get(t->dtype)->name, t->dims[0], t->dims[1], t->dims[2],
               t->dims[3], t->offset, t->n_bytes);
    }
}

static entro_status dump(const en_source *source, const char *name, entro_error *err)
{
    const en_tensor *t = en_source_find(source, name);
    if (t == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND, "no tensor '%s'", name);
    float *row = en_alloc((size_t)t->dims[0], sizeof *row);
    if (row == NULL)
        return en_fail_memory(err);
    entro_status status = ENTRO_OK;
    for (uint64_t r = 0; r < en_tensor_n_rows(t) && status == ENTRO_OK; r++) {
        status = en_source_read_rows(source, t, r, 1, row, err);
        if (status == ENTRO_OK &&
            fwrite(row, sizeof *row, (size_t)t->dims[0], stdout) != (size_t)t->dims[0])
            status = en_fail(err, ENTRO_ERR_IO, "cannot write");
    }
    en_source_forget(source, t);
    en_free(row);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fputs("usage: dump_rows FILE [TENSOR]\n", stderr);
        return 2;
    }
    entro_error err = {0};
    en_source *source;
    entro_status status = en_source_open(&source, argv[1], &err);
    if (status == ENTRO_OK) {
        if (argc == 3)
            status = dump(source, argv[2], &err);
        else
            list(source);
        en_source_close(source);
    }
    if (status != ENTRO_OK)
        fprintf(stderr, "error: %s: %s\n", err.where, err.message);
    return status == ENTRO_OK ? 0 : 1;
}
