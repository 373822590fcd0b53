/* compress_plan.c - see compress_plan.h. */
#include "pipeline/compress_plan.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "container/container.h"
#include "container/format_keys.h"
#include "container/packed_meta.h"
#include "pipeline/encoder.h"
#include "pipeline/file_meta.h"
#include "pipeline/tensor_order.h"
#include "quant/pass.h"

/* ---- choose ---------------------------------------------------------------------------- */

static entro_status open_source(en_compress_plan *p, const char *path, entro_error *err)
{
    EN_TRY(en_source_open(&p->source, path, err));
    p->n_source = en_source_n_tensors(p->source);
    entro_status status = ENTRO_OK;
    if (en_container_is(p->source))
        status = en_fail(err, ENTRO_ERR_ARGUMENT,
                         "is already compressed; compress the original, or make a plain file of "
                         "this one with 'entrollm restore' first");
    else if (p->n_source == 0)
        status = en_fail(err, ENTRO_ERR_UNSUPPORTED, "has no tensors to compress");
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    return status;
}

static void add_coded(en_compress_plan *p, const en_tensor *t, const en_store_choice *choice)
{
    p->n_coded_bytes += t->n_bytes;
    p->n_coded_tensors++;
    p->n_coded_params += en_tensor_n_elems(t);
    if (choice->method->exact) {
        p->n_exact_tensors++;
        return;
    }
    if (choice->strips) {
        p->n_strip_tensors++;
        p->n_strip_params += en_tensor_n_elems(t);
    } else {
        p->word_alphabets[en_model_codes_slot(choice->method->bits)] = true;
    }
    const en_pass *pass = choice->method->pass;
    p->needs_statistics |= pass != NULL && pass->needs_statistics;
    if (choice->method->bits == 0 || pass != NULL)
        p->n_unlimited_tensors++;
    else
        en_quantizer_need_add(&p->need, t, choice->method);
}

/* Are the source's numbers all there? */
static bool is_kept(const en_store_choice *choice)
{
    return choice->kind == EN_STORE_KEEP ||
           (choice->kind == EN_STORE_CODED && choice->method->exact);
}

static entro_status choose(en_compress_plan *p, const entro_compress_options *opt, entro_error *err)
{
    p->choices = en_alloc_zero(p->n_source, sizeof *p->choices);
    p->order = en_alloc(p->n_source, sizeof *p->order);
    if (p->choices == NULL || p->order == NULL)
        return en_fail_memory(err);
    EN_TRY(en_tensor_order(p->order, p->source, opt->n_drift_tokens > 0, err));
    p->keeps_files = p->recipe.method->exact;
    for (uint32_t i = 0; i < p->n_source; i++) {
        const en_tensor *t = en_source_tensor(p->source, i);
        p->choices[i] = en_recipe_choose(&p->recipe, t);
        p->n_params += en_tensor_n_elems(t);
        p->n_all_bytes += t->n_bytes;
        p->keeps_files = p->keeps_files && is_kept(&p->choices[i]);
        if (p->choices[i].kind == EN_STORE_CODED)
            add_coded(p, t, &p->choices[i]);
    }
    return en_recipe_check_used(&p->recipe, err);
}

/* ---- the list of stored tensors ---------------------------------------------------------- */

static unsigned bits_of_slot(int slot)
{
    return slot == 1 ? 8 : 4;
}

/* How a tensor will stand in the file; a payload's length is not known yet. */
static entro_status plan_stored(const en_compress_plan *p, uint32_t i, en_tensor *out,
                                entro_error *err)
{
    const en_tensor *t = en_source_tensor(p->source, i);
    *out = *t;
    out->data = NULL;
    switch (p->choices[i].kind) {
    case EN_STORE_KEEP: break;
    case EN_STORE_F32: out->dtype = EN_DTYPE_F32; break;
    case EN_STORE_F16: out->dtype = EN_DTYPE_F16; break;
    case EN_STORE_CODED:
        out->dtype = EN_DTYPE_I8;
        out->n_dims = 1;
        out->dims[0] = out->dims[1] = 1;
        break;
    }
    /* In a container, I8 tensors and these names are ours. */
    if ((t->dtype == EN_DTYPE_I8 || strncmp(t->name, EN_KEY_PREFIX, strlen(EN_KEY_PREFIX)) == 0)) {
        en_fail(err, ENTRO_ERR_UNSUPPORTED,
                "is of type I8 or has a name that only containers use; it cannot be carried over");
        en_error_place(err, "tensor '%s'", t->name);
        return ENTRO_ERR_UNSUPPORTED;
    }
    return ENTRO_OK;
}

/* A tensor that is none of the model's. */
static void add_own(en_compress_plan *p, const char *name)
{
    en_tensor *t = &p->stored[p->n_stored++];
    *t = (en_tensor){.dtype = EN_DTYPE_I8, .n_dims = 1, .dims = {1, 1, 1, 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
}

static entro_status list_stored(en_compress_plan *p, entro_error *err)
{
    enum { MOST_OWN = 5 };
    p->stored = en_alloc_zero((size_t)p->n_source + MOST_OWN, sizeof *p->stored);
    p->hashes = en_alloc_zero((size_t)p->n_source + MOST_OWN, sizeof *p->hashes);
    if (!p->stored || !p->hashes)
        return en_fail_memory(err);
    for (int slot = 0; slot < 2; slot++)
        if (p->recipe.model_table && p->word_alphabets[slot])
            add_own(p, en_model_table_name(bits_of_slot(slot)));
    if (p->packed_meta != NULL)
        add_own(p, EN_METADATA_TENSOR);
    uint32_t first_number = p->n_stored;
    for (uint32_t k = 0; k < p->n_source; k++)
        EN_TRY(plan_stored(p, p->order[k], &p->stored[p->n_stored++], err));
    if (!p->keeps_files)
        return ENTRO_OK;
    EN_TRY(en_collected_open(&p->collected, p->source, first_number, err));
    add_own(p, EN_ORIGINAL_LITERALS);
    add_own(p, EN_ORIGINAL_FILES);
    return ENTRO_OK;
}

/* ---- metadata -------------------------------------------------------------------------- */

static entro_status set_source_name(en_compress_plan *p, entro_error *err)
{
    /* A folder may be given with a slash behind it. */
    const char *path = en_source_path(p->source);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t first = n;
    while (first > 0 && path[first - 1] != '/')
        first--;
    char text[512];
    snprintf(text, sizeof text, "%.*s (%llu bytes)", (int)(n - first < 400 ? n - first : 400),
             path + first, (unsigned long long)en_source_file_bytes(p->source));
    return en_meta_set_string(p->meta, EN_KEY_SOURCE, text, err);
}

entro_status en_compress_plan_features(en_compress_plan *p, uint64_t of_payloads, entro_error *err)
{
    uint64_t features = of_payloads;
    if (p->n_exact_tensors > 0 || p->keeps_files)
        features |= EN_FEATURE_PLANES;
    if (p->n_coded_tensors > p->n_strip_tensors + p->n_exact_tensors)
        features |= EN_FEATURE_HUFFMAN | (p->recipe.model_table ? EN_FEATURE_MODEL_TABLE : 0);
    if (p->packed_meta != NULL)
        features |= EN_FEATURE_PACKED_META;
    return en_file_meta_set_u64(p->meta, EN_KEY_FEATURES, features, err);
}

/* Files that are to be small have their tokenizer packed too. */
static entro_status copy_meta(en_compress_plan *p, entro_error *err)
{
    EN_TRY(en_file_meta_copy(&p->meta, p->source, err));
    if (!p->recipe.strips || p->recipe.coding != EN_MATRIX_RANS)
        return ENTRO_OK;
    return en_packed_meta_take(p->meta, &p->packed_meta, &p->n_packed_meta, err);
}

static entro_status make_meta(en_compress_plan *p, entro_error *err)
{
    EN_TRY(en_meta_set_u32(p->meta, "general.alignment", EN_PAYLOAD_ALIGN, err));
    EN_TRY(en_meta_set_u32(p->meta, EN_KEY_VERSION, EN_CONTAINER_VERSION, err));
    EN_TRY(en_compress_plan_features(p, 0, err));
    char tool[64];
    snprintf(tool, sizeof tool, "entrollm %s", ENTRO_VERSION);
    EN_TRY(en_meta_set_string(p->meta, EN_KEY_TOOL, tool, err));
    EN_TRY(en_meta_set_string(p->meta, EN_KEY_RECIPE, p->recipe.text, err));
    EN_TRY(set_source_name(p, err));
    EN_TRY(en_file_meta_set_u64(p->meta, EN_KEY_N_PARAMS, p->n_params, err));
    /* Borrowed: the numbers are filled in while tensors are written. */
    en_meta_value hashes = {.type = EN_META_U64, .is_array = true, .n = p->n_stored};
    hashes.data = (const uint8_t *)p->hashes;
    return en_meta_set_borrowed(p->meta, EN_KEY_HASHES, &hashes, err);
}

/* ---- all of it -------------------------------------------------------------------------- */

entro_status en_compress_plan_open(en_compress_plan *p, const char *source,
                                   const entro_compress_options *opt, entro_error *err)
{
    EN_TRY(en_recipe_init(&p->recipe, opt, err));
    EN_TRY(open_source(p, source, err));
    EN_TRY(choose(p, opt, err));
    EN_TRY(copy_meta(p, err));
    EN_TRY(list_stored(p, err));
    return make_meta(p, err);
}

void en_compress_plan_close(en_compress_plan *p)
{
    en_meta_free(p->meta);
    en_free(p->packed_meta);
    en_collected_close(&p->collected);
    en_free(p->stored);
    en_free(p->hashes);
    en_free(p->choices);
    en_free(p->order);
    en_recipe_free(&p->recipe);
    en_source_close(p->source);
}
