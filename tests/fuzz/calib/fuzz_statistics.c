/*
 * fuzz_statistics.c - any bytes as a file of statistics of each kind: parsed, and all it holds read, up to
 * a cap.  Checksums keep hostile numbers out, so those behind a wrong one are unpacked all the same.
 * One input in four also has one allocation fail; nothing may leak either way.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calib/correlation.h"
#include "calib/statistics_file.h"
#include "fuzz_entry.h"

enum { MAX_INPUTS = 300 };

static void require(bool condition)
{
    if (!condition)
        __builtin_trap();
}

static void read_vector(const en_statistics_file *f, const en_tensor *t)
{
    size_t n = (size_t)t->dims[0];
    float *out = en_alloc(n, sizeof *out);
    if (out != NULL && en_statistics_file_vector(f, t->name, n, out, NULL) == ENTRO_OK)
        for (size_t i = 0; i < n; i++)
            require(out[i] >= 0 && isfinite(out[i]));
    en_free(out);
}

static void read_raw(const en_statistics_file *f, const en_tensor *t, const uint8_t *bytes,
                     size_t n_bytes)
{
    const uint8_t *p;
    if (en_statistics_file_raw(f, t->name, (en_dtype)t->dtype, (size_t)t->dims[0], &p, NULL) ==
        ENTRO_OK)
        require(p >= bytes && p + t->n_bytes <= bytes + n_bytes);
}

static const en_tensor *find(const en_statistics_file *f, const char *name)
{
    for (uint32_t i = 0; i < f->gguf.n_tensors; i++)
        if (strcmp(f->gguf.tensors[i].name, name) == 0)
            return &f->gguf.tensors[i];
    return NULL;
}

static void unpack(const en_statistics_file *f, const char *name, size_t n, const en_tensor *t,
                   float *h)
{
    char full[EN_MAX_TENSOR_NAME];
    float diagonal[MAX_INPUTS];
    snprintf(full, sizeof full, "%s.correlation", name);
    const en_tensor *packed = find(f, full);
    if (packed == NULL || packed->n_bytes != 2 * en_correlation_count(n))
        return;
    memcpy(diagonal, t->data, n * sizeof *diagonal);
    en_correlation_unpack(packed->data, diagonal, n, h, NULL);
}

static void read_covariance(const en_statistics_file *f, const en_tensor *t, const char *suffix)
{
    size_t n = (size_t)t->dims[0];
    char name[EN_MAX_TENSOR_NAME];
    if (n > MAX_INPUTS)
        return;
    snprintf(name, sizeof name, "%.*s", (int)(suffix - t->name), t->name);
    float *h = en_alloc(n * n, sizeof *h);
    if (h != NULL && en_statistics_file_check(f, name, false, n, NULL) == ENTRO_OK &&
        en_statistics_file_covariance(f, name, n, h, NULL, NULL) != ENTRO_OK)
        unpack(f, name, n, t, h);
    en_free(h);
}

static void open_kind(const uint8_t *bytes, size_t n_bytes, en_statistics_kind kind)
{
    en_statistics_file f;
    entro_error err = {0};
    entro_status status = en_statistics_file_parse(&f, bytes, n_bytes, kind, 0, &err);
    if (status != ENTRO_OK) {
        require(err.status == status && err.message[0] != '\0');
        return;
    }
    for (uint32_t i = 0; i < f.gguf.n_tensors; i++) {
        const en_tensor *t = &f.gguf.tensors[i];
        const char *suffix = strstr(t->name, ".diagonal");
        read_raw(&f, t, bytes, n_bytes);
        if (t->dtype == EN_DTYPE_F32 && t->n_dims == 1 && suffix != NULL)
            read_covariance(&f, t, suffix);
        else if (t->dtype == EN_DTYPE_F32 && t->n_dims == 1)
            read_vector(&f, t);
    }
    en_statistics_file_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0;
    uint8_t *bytes = en_alloc(n_bytes, 1); /* aligned like a mapped file */
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, n_bytes);
    for (int kind = 0; kind < EN_STATISTICS_KINDS; kind++) {
        en_memory_fail_at((last & 3) == 3 ? last >> 2 : UINT64_MAX);
        open_kind(bytes, n_bytes, (en_statistics_kind)kind);
        en_memory_fail_at(UINT64_MAX);
    }
    en_free(bytes);
    require(en_memory_in_use() == 0);
    return 0;
}
