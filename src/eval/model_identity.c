/* model_identity.c - see model_identity.h. */
#include "eval/model_identity.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/* A chain: each piece is hashed, then the hash so far with it. */
static void add(uint64_t *chain, const void *data, size_t n_bytes)
{
    uint64_t link[3] = {*chain, n_bytes, en_hash64(data, n_bytes)};
    *chain = en_hash64(link, sizeof link);
}

static void add_number(uint64_t *chain, uint64_t n)
{
    add(chain, &n, sizeof n);
}

static void add_value(uint64_t *chain, const en_meta_value *v)
{
    add_number(chain, (uint64_t)v->type << 1 | v->is_array);
    add_number(chain, v->n);
    if (v->type == EN_META_STRING) {
        const en_span *strings = v->is_array ? v->strings : &v->string;
        for (uint64_t i = 0; i < v->n; i++)
            add(chain, strings[i].p, strings[i].n);
    } else if (v->is_array) {
        add(chain, v->data, (size_t)v->n * en_meta_type_bytes(v->type));
    } else {
        add_number(chain, v->u);
    }
}

static void add_metadata(uint64_t *chain, const en_meta *meta)
{
    for (size_t i = 0; i < en_meta_count(meta); i++) {
        const char *key = en_meta_key(meta, i);
        add(chain, key, strlen(key));
        add_value(chain, en_meta_at(meta, i));
    }
}

/* A tensor that is put together while it is read. */
static entro_status add_rows(uint64_t *chain, const en_source *source, const en_tensor *t,
                             entro_error *err)
{
    uint64_t n_rows = t->n_dims > 1 ? en_tensor_n_rows(t) : 1;
    uint64_t n_cols = t->dims[0];
    float *row = en_alloc((size_t)n_cols, sizeof *row);
    if (row == NULL)
        return en_fail_memory(err);
    entro_status status = ENTRO_OK;
    for (uint64_t r = 0; r < n_rows && status == ENTRO_OK; r++) {
        status = en_source_read_rows(source, t, r, 1, row, err);
        if (status == ENTRO_OK)
            add(chain, row, (size_t)n_cols * sizeof *row);
    }
    en_free(row);
    return status;
}

static entro_status add_tensor(uint64_t *chain, const entro_model *model, const en_tensor *t,
                               entro_error *err)
{
    add(chain, t->name, strlen(t->name));
    add_number(chain, t->dtype);
    add(chain, t->dims, sizeof t->dims);
    if (model->container != NULL)
        return ENTRO_OK;
    if (t->data == NULL)
        return add_rows(chain, model->source, t, err);
    add(chain, t->data, (size_t)t->n_bytes);
    return ENTRO_OK;
}

entro_status en_model_identity(const entro_model *model, uint64_t *identity, entro_error *err)
{
    uint64_t chain = 0;
    add_metadata(&chain, en_source_meta(model->source));
    for (uint32_t i = 0; i < en_source_n_tensors(model->source); i++)
        EN_TRY(add_tensor(&chain, model, en_source_tensor(model->source, i), err));
    *identity = chain;
    return ENTRO_OK;
}
