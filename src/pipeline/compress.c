/*
 * compress.c - source model to container, tensor by tensor.
 *
 *   choose:  what becomes of each tensor (recipe.h); the list of stored tensors is then known
 *   measure: with one table a model, every coded tensor is quantized once for its histogram
 *   encode:  quantize, code, write; plain tensors are copied or converted
 *
 * The head is written last.  At most one tensor's codes and payload are in memory at a time.
 */
#include "pipeline/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "container/format_keys.h"
#include "pipeline/encoder.h"
#include "pipeline/file_meta.h"
#include "pipeline/gguf_output.h"
#include "pipeline/recipe.h"
#include "pipeline/table_choice.h"
#include "pipeline/weights.h"

/* Sums over coded tensors, for the report. */
typedef struct totals {
    uint64_t n_weights;
    double entropy_bits, huffman_bits;
    uint64_t n_table_bytes; /* of the tables in use */
    double more_bits;       /* what one table a model takes more than one a tensor */
    double error, weight, max_error;
} totals;

typedef struct compression {
    const entro_compress_options *opt;
    en_source *source;
    uint32_t n_source; /* tensors there */
    en_recipe recipe;
    en_store_choice *choices; /* of each source tensor */
    uint64_t n_params, n_coded_source_bytes, n_all_source_bytes;

    en_job job;
    en_quantizer quantizer;
    en_encoder encoder;
    en_weights_scratch scratch;
    uint8_t *plain; /* one converted tensor */

    bool alphabets[2]; /* in use by coded tensors */
    en_model_codes model;
    en_table_choice tables;

    en_meta *meta;
    en_tensor *stored; /* as they go into the file: shared tables first */
    uint32_t n_stored;
    uint64_t *hashes;
    en_gguf_output out;
    uint64_t done; /* source bytes of the stage */

    bool half_grids; /* in use by a coded tensor */
    totals totals;
    entro_compress_report report;
} compression;

static unsigned bits_of_slot(int slot)
{
    return slot == 1 ? 8 : 4;
}

/* ---- choose ---------------------------------------------------------------------------- */

static entro_status choose(compression *c, entro_error *err)
{
    c->choices = en_alloc_zero(c->n_source, sizeof *c->choices);
    if (c->choices == NULL)
        return en_fail_memory(err);
    en_quantizer_need need = {0};
    for (uint32_t i = 0; i < c->n_source; i++) {
        const en_tensor *t = en_source_tensor(c->source, i);
        c->choices[i] = en_recipe_choose(&c->recipe, t);
        c->n_params += en_tensor_n_elems(t);
        c->n_all_source_bytes += t->n_bytes;
        if (c->choices[i].kind != EN_STORE_CODED)
            continue;
        c->n_coded_source_bytes += t->n_bytes;
        c->report.n_coded_tensors++;
        c->report.n_coded_params += en_tensor_n_elems(t);
        en_quantizer_need_add(&need, t, c->choices[i].method);
    }
    EN_TRY(en_recipe_check_used(&c->recipe, err));
    memcpy(c->alphabets, need.alphabets, sizeof c->alphabets);
    EN_TRY(en_table_choice_open(&c->tables, c->alphabets, err));
    EN_TRY(en_quantizer_open(&c->quantizer, c->source, &c->job, &need, err));
    return en_encoder_open(&c->encoder, &c->job, err);
}

/* How a tensor will stand in the file; a payload's length is not known yet. */
static entro_status plan_stored(const compression *c, uint32_t i, en_tensor *out, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->source, i);
    *out = *t;
    out->data = NULL;
    switch (c->choices[i].kind) {
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

static entro_status list_stored(compression *c, entro_error *err)
{
    c->stored = en_alloc_zero((size_t)c->n_source + 2, sizeof *c->stored);
    c->hashes = en_alloc_zero((size_t)c->n_source + 2, sizeof *c->hashes);
    if (!c->stored || !c->hashes)
        return en_fail_memory(err);
    for (int slot = 0; slot < 2; slot++) {
        if (!c->recipe.model_table || !c->alphabets[slot])
            continue;
        en_tensor *t = &c->stored[c->n_stored++];
        *t = (en_tensor){.dtype = EN_DTYPE_I8, .n_dims = 1, .dims = {1, 1, 1, 1}};
        snprintf(t->name, sizeof t->name, "%s", en_model_table_name(bits_of_slot(slot)));
    }
    for (uint32_t i = 0; i < c->n_source; i++)
        EN_TRY(plan_stored(c, i, &c->stored[c->n_stored++], err));
    return ENTRO_OK;
}

/* ---- metadata -------------------------------------------------------------------------- */

static entro_status set_source_name(compression *c, entro_error *err)
{
    /* A folder may be given with a slash behind it. */
    const char *path = en_source_path(c->source);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t first = n;
    while (first > 0 && path[first - 1] != '/')
        first--;
    char text[512];
    snprintf(text, sizeof text, "%.*s (%llu bytes)", (int)(n - first < 400 ? n - first : 400),
             path + first, (unsigned long long)en_source_file_bytes(c->source));
    return en_meta_set_string(c->meta, EN_KEY_SOURCE, text, err);
}

/* Called again when all tensors are coded: only then it is known which grids fit 16 bits. */
static entro_status set_features(compression *c, entro_error *err)
{
    uint64_t features = 0;
    if (c->report.n_coded_tensors > 0)
        features = EN_FEATURE_HUFFMAN | (c->recipe.model_table ? EN_FEATURE_MODEL_TABLE : 0) |
                   (c->half_grids ? EN_FEATURE_HALF_GRIDS : 0);
    return en_file_meta_set_u64(c->meta, EN_KEY_FEATURES, features, err);
}

static entro_status make_meta(compression *c, entro_error *err)
{
    EN_TRY(en_file_meta_copy(&c->meta, c->source, err));
    EN_TRY(en_meta_set_u32(c->meta, "general.alignment", EN_PAYLOAD_ALIGN, err));
    EN_TRY(en_meta_set_u32(c->meta, EN_KEY_VERSION, EN_CONTAINER_VERSION, err));
    EN_TRY(set_features(c, err));
    char tool[64];
    snprintf(tool, sizeof tool, "entrollm %s", ENTRO_VERSION);
    EN_TRY(en_meta_set_string(c->meta, EN_KEY_TOOL, tool, err));
    EN_TRY(en_meta_set_string(c->meta, EN_KEY_RECIPE, c->recipe.text, err));
    EN_TRY(set_source_name(c, err));
    EN_TRY(en_file_meta_set_u64(c->meta, EN_KEY_N_PARAMS, c->n_params, err));
    /* Borrowed: the numbers are filled in while tensors are written. */
    en_meta_value hashes = {.type = EN_META_U64, .is_array = true, .n = c->n_stored};
    hashes.data = (const uint8_t *)c->hashes;
    return en_meta_set_borrowed(c->meta, EN_KEY_HASHES, &hashes, err);
}

/* ---- measure --------------------------------------------------------------------------- */

static entro_status quantize(compression *c, uint32_t i, uint64_t n_bytes, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->source, i);
    return en_quantizer_run(&c->quantizer, t, c->choices[i].method, c->done, n_bytes, err);
}

/* A code for the tensor at hand alone. */
static entro_status build_own(compression *c, en_code **own, entro_error *err)
{
    EN_TRY(en_code_build(own, c->quantizer.histogram, err));
    entro_status status = en_table_choice_add(&c->tables, &c->quantizer, *own, err);
    if (status != ENTRO_OK)
        en_code_free(*own);
    return status;
}

static entro_status measure_tensor(compression *c, uint32_t i, uint64_t n_bytes, entro_error *err)
{
    en_code *own;
    EN_TRY(quantize(c, i, n_bytes, err));
    EN_TRY(build_own(c, &own, err));
    en_code_free(own);
    return ENTRO_OK;
}

/* Names the tensor, unless whoever failed has named a place already (a source tensor, the output) or
 * the place does not matter. */
static entro_status fail_at_tensor(const compression *c, uint32_t i, entro_status status,
                                   entro_error *err)
{
    if (status == ENTRO_ERR_CANCELLED || err == NULL || err->where[0] != '\0')
        return status;
    en_error_place(err, "tensor '%s'", en_source_tensor(c->source, i)->name);
    en_error_place(err, "%s", en_source_path(c->source));
    return status;
}

/* Builds the shared codes from all tensors' histograms. */
static entro_status measure(compression *c, entro_error *err)
{
    en_job_stage(&c->job, "measure", c->n_coded_source_bytes);
    c->done = 0;
    for (uint32_t i = 0; i < c->n_source; i++) {
        if (c->choices[i].kind != EN_STORE_CODED)
            continue;
        uint64_t n_bytes = en_source_tensor(c->source, i)->n_bytes;
        entro_status status = measure_tensor(c, i, n_bytes, err);
        en_source_forget(c->source, en_source_tensor(c->source, i));
        if (status != ENTRO_OK)
            return fail_at_tensor(c, i, status, err);
        c->done += n_bytes;
    }
    return en_table_choice_build(&c->tables, &c->model, err);
}

/* ---- encode ---------------------------------------------------------------------------- */

static entro_status put_tensor(compression *c, uint32_t stored, const uint8_t *data, size_t n_bytes,
                               entro_error *err)
{
    EN_TRY(en_gguf_output_start(&c->out, stored, err));
    EN_TRY(en_gguf_output_put(&c->out, stored, data, n_bytes, err));
    if (c->stored[stored].dtype == EN_DTYPE_I8)
        c->stored[stored].dims[0] = n_bytes;
    c->hashes[stored] = en_hash64(data, n_bytes);
    return ENTRO_OK;
}

static entro_status put_tables(compression *c, uint32_t *stored, entro_error *err)
{
    for (int slot = 0; slot < 2; slot++) {
        en_code *code = c->model.code[slot];
        if (code == NULL)
            continue;
        size_t n = en_code_stored_bytes(code);
        uint8_t *bytes = en_alloc(n, 1);
        if (bytes == NULL)
            return en_fail_memory(err);
        en_code_store(code, bytes);
        entro_status status = put_tensor(c, (*stored)++, bytes, n, err);
        en_free(bytes);
        EN_TRY(status);
        c->totals.n_table_bytes += n;
        c->report.n_coded_bytes += n;
    }
    return ENTRO_OK;
}

static void add_totals(compression *c)
{
    const en_quantizer *q = &c->quantizer;
    totals *t = &c->totals;
    c->half_grids |= q->plan.half_grids;
    uint64_t n_weights = q->plan.n_rows * q->plan.n_cols;
    double n = (double)n_weights;
    t->n_weights += n_weights;
    t->entropy_bits += q->plan.entropy * n;
    t->huffman_bits += q->plan.huffman_bits * n;
    t->error += q->error;
    t->weight += q->weight;
    t->max_error = q->max_error > t->max_error ? q->max_error : t->max_error;
    c->report.n_coded_bytes += c->encoder.n_bytes;
}

static entro_status put_coded(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    uint64_t n_bytes = en_source_tensor(c->source, i)->n_bytes, half = n_bytes / 2;
    EN_TRY(quantize(c, i, half, err));
    en_source_forget(c->source, en_source_tensor(c->source, i));
    int slot = en_model_codes_slot(c->choices[i].method->bits);
    en_code *own = NULL;
    if (!c->recipe.model_table) {
        EN_TRY(build_own(c, &own, err));
        c->totals.n_table_bytes += en_code_stored_bytes(own);
    }
    const en_code *code = own != NULL ? own : c->model.code[slot];
    entro_status status = en_encoder_run(&c->encoder, &c->quantizer, code, own == NULL,
                                         c->done + half, n_bytes - half, err);
    if (status == ENTRO_OK) {
        add_totals(c);
        status = put_tensor(c, stored, c->encoder.payload, c->encoder.n_bytes, err);
    }
    en_code_free(own);
    return status;
}

static entro_status convert_plain(compression *c, const en_tensor *t, uint32_t dtype, uint8_t *out,
                                  entro_error *err)
{
    en_weights w = en_weights_of(c->source, t, NULL);
    uint64_t n_clipped = 0;
    EN_TRY(
        en_weights_convert(&w, &c->job, &c->scratch, 0, w.n_blocks, dtype, out, &n_clipped, err));
    if (n_clipped > 0)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "%llu weights are beyond the range of f16; store it as f32 or keep it",
                       (unsigned long long)n_clipped);
    return ENTRO_OK;
}

static entro_status put_plain(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->source, i);
    uint32_t dtype = c->stored[stored].dtype;
    if (dtype == t->dtype && t->data != NULL)
        return put_tensor(c, stored, t->data, (size_t)t->n_bytes, err);
    if (dtype != EN_DTYPE_F32 && dtype != EN_DTYPE_F16 && dtype != EN_DTYPE_BF16)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "%s cannot be stored as computed",
                       en_dtype_get(dtype)->name);
    uint64_t n_bytes;
    if (!en_dtype_bytes(dtype, en_tensor_n_elems(t), &n_bytes))
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "is too large");
    c->plain = en_alloc((size_t)n_bytes, 1);
    if (c->plain == NULL)
        return en_fail_memory(err);
    entro_status status = convert_plain(c, t, dtype, c->plain, err);
    if (status == ENTRO_OK)
        status = put_tensor(c, stored, c->plain, (size_t)n_bytes, err);
    en_free(c->plain);
    c->plain = NULL;
    return status;
}

static entro_status encode(compression *c, entro_error *err)
{
    en_job_stage(&c->job, "encode", c->n_all_source_bytes);
    c->done = 0;
    uint32_t stored = 0;
    EN_TRY(put_tables(c, &stored, err));
    for (uint32_t i = 0; i < c->n_source; i++, stored++) {
        const en_tensor *t = en_source_tensor(c->source, i);
        bool coded = c->choices[i].kind == EN_STORE_CODED;
        entro_status status = coded ? put_coded(c, i, stored, err) : put_plain(c, i, stored, err);
        en_source_forget(c->source, t);
        c->done += t->n_bytes;
        if (status == ENTRO_OK)
            status = en_job_reach(&c->job, t->name, c->done, err);
        if (status != ENTRO_OK)
            return fail_at_tensor(c, i, status, err);
    }
    return ENTRO_OK;
}

/* ---- report ---------------------------------------------------------------------------- */

static entro_status compare_tables(compression *c, entro_error *err)
{
    if (!c->recipe.model_table) /* else the model's codes are there already */
        EN_TRY(en_table_choice_build(&c->tables, &c->model, err));
    return en_table_choice_compare(&c->tables, &c->model, &c->totals.more_bits, err);
}

static void make_report(compression *c, uint64_t n_file_bytes)
{
    entro_compress_report *r = &c->report;
    const totals *t = &c->totals;
    double n = t->n_weights > 0 ? (double)t->n_weights : NAN;
    r->n_params = c->n_params;
    r->n_source_bytes = en_source_file_bytes(c->source);
    r->n_file_bytes = n_file_bytes;
    r->n_table_bytes = t->n_table_bytes;
    r->n_tensors = c->n_source;
    r->entropy = t->entropy_bits / n;
    r->huffman_bits = t->huffman_bits / n;
    r->bits_per_coded_param = 8.0 * (double)r->n_coded_bytes / n;
    r->bits_per_param = 8.0 * (double)n_file_bytes / (double)c->n_params;
    double other = c->recipe.model_table ? -t->more_bits : t->more_bits;
    r->bits_other_table = r->bits_per_coded_param + other / n;
    r->max_error = t->max_error;
    r->rms_error = sqrt(t->error / n);
    r->rms_weight = sqrt(t->weight / n);
}

/* ---- the job --------------------------------------------------------------------------- */

static void close_all(compression *c)
{
    en_gguf_output_abort(&c->out);
    en_meta_free(c->meta);
    en_free(c->stored);
    en_free(c->hashes);
    en_table_choice_close(&c->tables);
    en_code_free(c->model.code[0]);
    en_code_free(c->model.code[1]);
    en_weights_scratch_free(&c->scratch);
    en_encoder_close(&c->encoder);
    en_quantizer_close(&c->quantizer);
    en_job_close(&c->job);
    en_free(c->choices);
    en_recipe_free(&c->recipe);
    en_source_close(c->source);
}

static entro_status open_source(compression *c, const char *path, entro_error *err)
{
    EN_TRY(en_source_open(&c->source, path, err));
    c->n_source = en_source_n_tensors(c->source);
    entro_status status = ENTRO_OK;
    if (en_container_is(c->source))
        status = en_fail(err, ENTRO_ERR_ARGUMENT,
                         "is already compressed; compress the original, or make a plain file of "
                         "this one with 'entrollm restore' first");
    else if (c->n_source == 0)
        status = en_fail(err, ENTRO_ERR_UNSUPPORTED, "has no tensors to compress");
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    return status;
}

static entro_status run(compression *c, const char *source, const char *path, entro_error *err)
{
    EN_TRY(en_recipe_init(&c->recipe, c->opt, err));
    EN_TRY(open_source(c, source, err));
    EN_TRY(en_job_open(&c->job, c->opt->n_threads, c->opt->progress, c->opt->progress_user, err));
    EN_TRY(choose(c, err));
    entro_status status = list_stored(c, err);
    if (status == ENTRO_OK)
        status = make_meta(c, err);
    if (status == ENTRO_OK)
        status = en_gguf_output_begin(&c->out, path, c->opt->overwrite, c->meta, c->stored,
                                      c->n_stored, EN_PAYLOAD_ALIGN, err);
    if (status == ENTRO_OK && c->recipe.model_table)
        status = measure(c, err);
    if (status == ENTRO_OK)
        status = encode(c, err);
    if (status == ENTRO_OK)
        status = set_features(c, err);
    if (status == ENTRO_OK)
        status = compare_tables(c, err);
    uint64_t n_file_bytes = 0;
    if (status == ENTRO_OK)
        status = en_gguf_output_finish(&c->out, &n_file_bytes, err);
    if (status == ENTRO_OK)
        make_report(c, n_file_bytes);
    return status;
}

entro_status en_compress(const char *source, const char *path, const entro_compress_options *opt,
                         entro_compress_report *report, entro_error *err)
{
    entro_compress_options defaults = {.struct_size = sizeof defaults};
    double start = en_clock_seconds();
    compression c = {.opt = opt != NULL ? opt : &defaults};
    entro_status status = run(&c, source, path, err);
    if (status == ENTRO_OK && report != NULL) {
        c.report.seconds = en_clock_seconds() - start;
        c.report.peak_resident = en_memory_peak_resident();
        *report = c.report;
    }
    close_all(&c);
    return status;
}
