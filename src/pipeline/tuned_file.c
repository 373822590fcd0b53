/* tuned_file.c - see tuned_file.h. */
#include "pipeline/tuned_file.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "container/format_keys.h"
#include "container/payload.h"
#include "model/model_vectors.h"
#include "pipeline/file_meta.h"

entro_status en_tuned_file_open(en_tuned_file *f, const en_source *source, entro_error *err)
{
    *f = (en_tuned_file){.source = source};
    EN_TRY(en_meta_new(&f->meta, err));
    const en_meta *meta = en_source_meta(source);
    for (size_t i = 0; i < en_meta_count(meta); i++)
        EN_TRY(en_meta_set_borrowed(f->meta, en_meta_key(meta, i), en_meta_at(meta, i), err));
    return ENTRO_OK;
}

void en_tuned_file_close(en_tuned_file *f)
{
    en_gguf_output_abort(&f->out);
    en_meta_free(f->meta);
    en_free(f->stored);
    en_free(f->hashes);
    en_free(f->bytes);
    *f = (en_tuned_file){0};
}

/* The floats that take the place of tensor i; NULL for one that stays. */
static const float *replacement(const en_tuned_file *f, const en_decoder *decoder, uint32_t i)
{
    uint64_t n;
    const en_tensor *t = en_source_tensor(f->source, i);
    const float *v = en_weights_vector(&decoder->weights, &decoder->hp, t->name, &n);
    return en_tensor_n_elems(t) == n ? v : NULL;
}

/* "watersic coding=rans table=tensor tune=20480"; once more for each time it was tuned. */
static entro_status set_recipe(en_tuned_file *f, uint64_t n_tokens, entro_error *err)
{
    en_span old = en_meta_string(f->meta, EN_KEY_RECIPE);
    char recipe[4096];
    int n_old = old.n < sizeof recipe / 2 ? (int)old.n : (int)(sizeof recipe / 2);
    snprintf(recipe, sizeof recipe, "%.*s%stune=%llu", n_old, n_old > 0 ? old.p : "",
             n_old > 0 ? " " : "", (unsigned long long)n_tokens);
    return en_meta_set_string(f->meta, EN_KEY_RECIPE, recipe, err);
}

static entro_status set_keys(en_tuned_file *f, uint64_t n_tokens, entro_error *err)
{
    const en_meta_value *tuned = en_meta_get(f->meta, EN_KEY_TUNED);
    uint64_t before =
        tuned != NULL && !tuned->is_array && tuned->type == EN_META_U64 ? tuned->u : 0;
    EN_TRY(en_meta_set_u32(f->meta, "general.alignment", EN_PAYLOAD_ALIGN, err));
    EN_TRY(set_recipe(f, n_tokens, err));
    EN_TRY(en_file_meta_set_u64(f->meta, EN_KEY_TUNED, before + n_tokens, err));
    /* Borrowed: some numbers change while tensors are written. */
    en_meta_value hashes = {
        .type = EN_META_U64, .is_array = true, .n = en_source_n_tensors(f->source)};
    hashes.data = (const uint8_t *)f->hashes;
    return en_meta_set_borrowed(f->meta, EN_KEY_HASHES, &hashes, err);
}

static entro_status list_tensors(en_tuned_file *f, const en_decoder *decoder, entro_error *err)
{
    uint32_t n = en_source_n_tensors(f->source);
    f->stored = en_alloc(n, sizeof *f->stored);
    f->hashes = en_alloc(n, sizeof *f->hashes);
    if (f->stored == NULL || f->hashes == NULL)
        return en_fail_memory(err);
    const en_meta_value *hashes = en_meta_get(f->meta, EN_KEY_HASHES); /* checked when opened */
    for (uint32_t i = 0; i < n; i++) {
        f->stored[i] = *en_source_tensor(f->source, i);
        f->stored[i].data = NULL;
        f->hashes[i] = en_load64(hashes->data + (size_t)i * 8);
        if (replacement(f, decoder, i) != NULL)
            f->stored[i].dtype = EN_DTYPE_F32;
    }
    return ENTRO_OK;
}

static entro_status put_vector(en_tuned_file *f, uint32_t i, const float *v, entro_error *err)
{
    size_t n = (size_t)en_tensor_n_elems(&f->stored[i]);
    f->bytes = en_alloc(n, 4);
    if (f->bytes == NULL)
        return en_fail_memory(err);
    for (size_t k = 0; k < n; k++)
        en_store_f32(f->bytes + 4 * k, v[k]);
    f->hashes[i] = en_hash64(f->bytes, 4 * n);
    entro_status status = en_gguf_output_put(&f->out, i, f->bytes, 4 * n, err);
    en_free(f->bytes);
    f->bytes = NULL;
    f->n_replaced++;
    f->n_values += n;
    return status;
}

static entro_status put_tensor(en_tuned_file *f, const en_decoder *decoder, uint32_t i,
                               entro_error *err)
{
    const en_tensor *t = en_source_tensor(f->source, i);
    const float *v = replacement(f, decoder, i);
    EN_TRY(en_gguf_output_start(&f->out, i, err));
    if (v != NULL)
        return put_vector(f, i, v, err);
    EN_TRY(en_gguf_output_put(&f->out, i, t->data, (size_t)t->n_bytes, err));
    en_source_forget(f->source, t);
    return ENTRO_OK;
}

entro_status en_tuned_file_write(en_tuned_file *f, const en_decoder *decoder, uint64_t n_tokens,
                                 const char *path, bool overwrite, entro_error *err)
{
    uint32_t n = en_source_n_tensors(f->source);
    EN_TRY(list_tensors(f, decoder, err));
    EN_TRY(set_keys(f, n_tokens, err));
    EN_TRY(en_gguf_output_begin(&f->out, path, overwrite, f->meta, f->stored, n, EN_PAYLOAD_ALIGN,
                                err));
    for (uint32_t i = 0; i < n; i++)
        EN_TRY(put_tensor(f, decoder, i, err));
    return en_gguf_output_finish(&f->out, &f->n_bytes, err);
}
