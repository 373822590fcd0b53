/*
 * fuzz_gguf.c - any bytes as a GGUF file: parse, show, dequantize, and write the head anew.
 *
 * What was accepted must come out of writing and reading again unchanged.  One input in four also
 * has one allocation fail; nothing may leak either way.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "formats/gguf.h"
#include "kernels/kernels.h"
#include "fuzz_entry.h"

static void show(const en_meta *meta)
{
    char text[200];
    for (size_t i = 0; i < en_meta_count(meta); i++) {
        const char *key = en_meta_key(meta, i);
        const en_meta_value *value = en_meta_at(meta, i);
        REQUIRE(en_meta_get(meta, key) == value);
        size_t n = en_meta_format(value, text, sizeof text);
        REQUIRE(strlen(text) == (n < sizeof text ? n : sizeof text - 1));
        en_meta_u32(meta, key, 1);
        en_meta_f32(meta, key, 1.0f);
        en_meta_bool(meta, key, true);
        en_meta_string(meta, key);
    }
}

static void dequantize(const en_gguf *gguf, size_t n_bytes)
{
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        const en_tensor *t = &gguf->tensors[i];
        uint64_t n = en_tensor_n_elems(t);
        if (!en_dtype_get(t->dtype)->is_float)
            continue;
        REQUIRE(n <= 4 * n_bytes); /* Q2_K is the smallest: 256 weights in 84 bytes */
        float *out = malloc((size_t)n * sizeof *out);
        REQUIRE(out != NULL);
        en_kernels table = {0};
        en_kernels_init_dequantize_ref(&table);
        table.dequantize[t->dtype](t->data, out, (size_t)n);
        free(out);
    }
}

static void require_same(const en_gguf *a, const en_gguf *b)
{
    char text_a[400], text_b[400];
    REQUIRE(a->n_tensors == b->n_tensors && a->alignment == b->alignment);
    REQUIRE(en_meta_count(a->meta) == en_meta_count(b->meta));
    for (size_t i = 0; i < en_meta_count(a->meta); i++) {
        REQUIRE(strcmp(en_meta_key(a->meta, i), en_meta_key(b->meta, i)) == 0);
        en_meta_format(en_meta_at(a->meta, i), text_a, sizeof text_a);
        en_meta_format(en_meta_at(b->meta, i), text_b, sizeof text_b);
        REQUIRE(strcmp(text_a, text_b) == 0);
    }
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const en_tensor *x = &a->tensors[i], *y = &b->tensors[i];
        REQUIRE(strcmp(x->name, y->name) == 0 && x->dtype == y->dtype && x->n_dims == y->n_dims);
        REQUIRE(memcmp(x->dims, y->dims, sizeof x->dims) == 0 && x->n_bytes == y->n_bytes);
        REQUIRE(x->offset - a->data_offset == y->offset - b->data_offset);
    }
}

static void write_and_read_again(const en_gguf *gguf)
{
    size_t n_head, n_data = 0;
    en_tensor *tensors = malloc((gguf->n_tensors + 1) * sizeof *tensors);
    REQUIRE(tensors != NULL);
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        tensors[i] = gguf->tensors[i];
        tensors[i].offset -= gguf->data_offset;
        size_t end = (size_t)(tensors[i].offset + tensors[i].n_bytes);
        n_data = end > n_data ? end : n_data;
    }
    REQUIRE(en_gguf_head_bytes(gguf->meta, tensors, gguf->n_tensors, gguf->alignment, &n_head,
                               NULL) == ENTRO_OK);
    uint8_t *file = calloc(n_head + n_data, 1);
    REQUIRE(file != NULL);
    REQUIRE(en_gguf_head_write(gguf->meta, tensors, gguf->n_tensors, gguf->alignment, file, n_head,
                               NULL) == ENTRO_OK);
    en_gguf again;
    REQUIRE(en_gguf_parse(&again, file, n_head + n_data, NULL) == ENTRO_OK);
    require_same(gguf, &again);
    en_gguf_close(&again);
    free(file);
    free(tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    entro_error err = {0};
    en_gguf gguf;
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0;
    en_memory_fail_at((last & 3) == 3 ? last >> 2 : UINT64_MAX);
    entro_status status = en_gguf_parse(&gguf, data, n_bytes, &err);
    en_memory_fail_at(UINT64_MAX);
    if (status == ENTRO_OK) {
        show(gguf.meta);
        dequantize(&gguf, n_bytes);
        write_and_read_again(&gguf);
        en_gguf_close(&gguf);
    } else {
        REQUIRE(err.status == status && err.message[0] != '\0');
    }
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
