/*
 * gguf_write.c - lays out the head of a GGUF v3 file.  See gguf.h.
 *
 * One walk serves measuring and writing: without a buffer the sink only counts, so the two cannot
 * disagree.
 */
#include "formats/gguf.h"

#include <inttypes.h>

#include "base/memory.h"

struct sink {
    uint8_t *out; /* NULL: count only */
    size_t n_out; /* room; nothing is written beyond */
    size_t n;
    bool overflow; /* of n, or of the room */
};

static void put_bytes(struct sink *s, const void *bytes, size_t n)
{
    size_t end;
    if (s->overflow || !en_add(s->n, n, &end) || (s->out != NULL && end > s->n_out)) {
        s->overflow = true;
        return;
    }
    if (s->out != NULL && n > 0)
        memcpy(s->out + s->n, bytes, n);
    s->n = end;
}

static void put_u32(struct sink *s, uint32_t v)
{
    put_bytes(s, &v, sizeof v);
}

static void put_u64(struct sink *s, uint64_t v)
{
    put_bytes(s, &v, sizeof v);
}

static void put_string(struct sink *s, en_span string)
{
    put_u64(s, string.n);
    put_bytes(s, string.p, string.n);
}

static void put_scalar(struct sink *s, const en_meta_value *v)
{
    float f32;
    switch (v->type) {
    case EN_META_STRING: put_string(s, v->string); break;
    case EN_META_F32:
        f32 = (float)v->f;
        put_bytes(s, &f32, sizeof f32);
        break;
    case EN_META_F64: put_bytes(s, &v->f, sizeof v->f); break;
    default: /* integers: the low bytes of u or i, which share their place */
        put_bytes(s, &v->u, en_meta_type_bytes(v->type));
    }
}

static void put_value(struct sink *s, const en_meta_value *v)
{
    if (!v->is_array) {
        put_u32(s, (uint32_t)v->type);
        put_scalar(s, v);
        return;
    }
    put_u32(s, EN_META_ARRAY);
    put_u32(s, (uint32_t)v->type);
    put_u64(s, v->n);
    if (v->type == EN_META_STRING) {
        for (uint64_t i = 0; i < v->n; i++)
            put_string(s, v->strings[i]);
        return;
    }
    size_t n_bytes;
    if (en_mul((size_t)v->n, en_meta_type_bytes(v->type), &n_bytes))
        put_bytes(s, v->data, n_bytes);
    else
        s->overflow = true;
}

static void put_tensor(struct sink *s, const en_tensor *t)
{
    put_string(s, (en_span){t->name, strlen(t->name)});
    put_u32(s, t->n_dims);
    for (uint32_t i = 0; i < t->n_dims; i++)
        put_u64(s, t->dims[i]);
    put_u32(s, t->dtype);
    put_u64(s, t->offset);
}

static void put_head(struct sink *s, const en_meta *meta, const en_tensor *tensors,
                     uint32_t n_tensors, uint32_t alignment)
{
    size_t n_keys = en_meta_count(meta);
    put_bytes(s, "GGUF", 4);
    put_u32(s, 3);
    put_u64(s, n_tensors);
    put_u64(s, n_keys);
    for (size_t i = 0; i < n_keys; i++) {
        const char *key = en_meta_key(meta, i);
        put_string(s, (en_span){key, strlen(key)});
        put_value(s, en_meta_at(meta, i));
    }
    for (uint32_t i = 0; i < n_tensors; i++)
        put_tensor(s, &tensors[i]);
    while (!s->overflow && s->n % alignment != 0)
        put_bytes(s, "", 1);
}

/* A reader takes the alignment from the metadata, so the two must agree. */
static entro_status check_alignment(const en_meta *meta, uint32_t alignment, entro_error *err)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "alignment %" PRIu32 " is no power of two",
                       alignment);
    uint32_t stated = en_meta_u32(meta, "general.alignment", 32);
    if (stated != alignment)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "alignment %" PRIu32 " differs from the metadata's (general.alignment, 32 "
                       "when absent), %" PRIu32,
                       alignment, stated);
    return ENTRO_OK;
}

entro_status en_gguf_head_bytes(const en_meta *meta, const en_tensor *tensors, uint32_t n_tensors,
                                uint32_t alignment, size_t *n_bytes, entro_error *err)
{
    EN_TRY(check_alignment(meta, alignment, err));
    struct sink sink = {0};
    put_head(&sink, meta, tensors, n_tensors, alignment);
    if (sink.overflow)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "the head of the file is larger than memory");
    *n_bytes = sink.n;
    return ENTRO_OK;
}

entro_status en_gguf_head_write(const en_meta *meta, const en_tensor *tensors, uint32_t n_tensors,
                                uint32_t alignment, uint8_t *out, size_t n_bytes, entro_error *err)
{
    EN_TRY(check_alignment(meta, alignment, err));
    struct sink sink = {.out = out, .n_out = n_bytes};
    put_head(&sink, meta, tensors, n_tensors, alignment);
    if (sink.overflow || sink.n != n_bytes)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the head of the file no longer has the %zu bytes reserved for it (keys, "
                       "names or shapes changed)",
                       n_bytes);
    return ENTRO_OK;
}
