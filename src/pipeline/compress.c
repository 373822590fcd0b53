/*
 * compress.c - source model to container, tensor by tensor.
 *
 *   plan:      what becomes of each tensor, and what will stand in the file (compress_plan.h)
 *   check:     numbers of the source that nobody else looks at are finite (source_check.h)
 *   calibrate: statistics of inputs and outputs, where a method wants them (calibration.h)
 *   rates:     what a slope will cost, where a size is asked for (rate_search.h)
 *   measure:   with one table a model, every coded tensor is quantized once for its histogram
 *   encode:    quantize, code (words here, strips in compress_strips.h), write; exact tensors are coded
 *              as they are (planes_encoder.h); plain tensors are copied or converted; at last what
 *              else restoring the source's files takes
 *
 *   tune:      where it was asked for, gains and biases of the finished file learn from the source
 *              (compress_tune.h)
 *
 * Measuring and encoding are repeated until the file has the size that was asked for.  The head is
 * written last.  At most one tensor's codes and payload are in memory at a time.
 */
#include "pipeline/pipeline.h"

#include <math.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "container/gguf_output.h"
#include "container/weight_rows.h"
#include "pipeline/calibration.h"
#include "pipeline/compress_account.h"
#include "pipeline/compress_drift.h"
#include "pipeline/compress_tune.h"
#include "pipeline/encoder.h"
#include "pipeline/rate_search.h"
#include "pipeline/source_check.h"
#include "pipeline/table_choice.h"

typedef struct compression {
    const entro_compress_options *opt;
    en_compress_plan plan;

    en_job job;
    en_calibration calibration;
    en_compress_drift drift;
    en_rate_search search;
    en_quantizer quantizer;
    en_encoder encoder;
    en_compress_strips strips;
    en_planes_encoder planes;
    en_weight_rows_scratch scratch;
    uint8_t *plain; /* one converted tensor */

    en_model_codes model;
    en_table_choice tables;

    en_gguf_output out;
    uint64_t done; /* source bytes of the stage */

    en_compress_account account;
    uint64_t n_file_bytes;
} compression;

/* ---- measure --------------------------------------------------------------------------- */

static entro_status quantize(compression *c, uint32_t i, uint64_t n_bytes, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    return en_quantizer_run(&c->quantizer, t, c->plan.choices[i].method, c->done, n_bytes, err);
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
    en_error_place(err, "tensor '%s'", en_source_tensor(c->plan.source, i)->name);
    en_error_place(err, "%s", en_source_path(c->plan.source));
    return status;
}

/* Builds the shared codes from all tensors' histograms. */
static entro_status measure(compression *c, entro_error *err)
{
    en_job_stage(&c->job, "measure", c->plan.n_coded_bytes);
    c->done = 0;
    for (uint32_t i = 0; i < c->plan.n_source; i++) {
        const en_store_choice *choice = &c->plan.choices[i];
        if (choice->kind != EN_STORE_CODED || choice->method->exact)
            continue;
        uint64_t n_bytes = en_source_tensor(c->plan.source, i)->n_bytes;
        entro_status status = measure_tensor(c, i, n_bytes, err);
        en_source_forget(c->plan.source, en_source_tensor(c->plan.source, i));
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
    if (c->plan.stored[stored].dtype == EN_DTYPE_I8)
        c->plan.stored[stored].dims[0] = n_bytes;
    c->plan.hashes[stored] = en_hash64(data, n_bytes);
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
        c->account.n_table_bytes += n;
        c->account.n_coded_bytes += n;
    }
    return ENTRO_OK;
}

static entro_status put_words(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    uint64_t n_bytes = en_source_tensor(c->plan.source, i)->n_bytes, half = n_bytes / 2;
    int slot = en_model_codes_slot(c->plan.choices[i].method->bits);
    en_code *own = NULL;
    if (!c->plan.recipe.model_table) {
        EN_TRY(build_own(c, &own, err));
        c->account.n_table_bytes += en_code_stored_bytes(own);
    }
    const en_code *code = own != NULL ? own : c->model.code[slot];
    entro_status status = en_encoder_run(&c->encoder, &c->quantizer, code, own == NULL,
                                         c->done + half, n_bytes - half, err);
    if (status == ENTRO_OK) {
        en_compress_account_words(&c->account, en_source_tensor(c->plan.source, i), &c->quantizer,
                                  c->encoder.n_bytes);
        status = put_tensor(c, stored, c->encoder.payload, c->encoder.n_bytes, err);
    }
    en_code_free(own);
    return status;
}

/* The tensor that was just coded in strips or rans, and stays so in the next passes: a search would be misled by
 * sizes that jump back and forth. */
static entro_status put_strips(compression *c, uint32_t i, uint32_t stored,
                               const en_matrix_figures *figures, entro_error *err)
{
    const en_strip_writer *w = &c->strips.encoder.writer;
    c->plan.choices[i].coding = en_matrix_encoder_chosen(&c->strips.encoder);
    en_compress_account_strips(&c->account, en_source_tensor(c->plan.source, i), &c->strips.encoder,
                               figures);
    return put_tensor(c, stored, w->front, w->n_front, err);
}

static entro_status put_pass(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    EN_TRY(en_compress_strips_pass(&c->strips, t, c->plan.choices[i].method, exp2(c->search.x),
                                   c->done, t->n_bytes, err));
    const en_matrix_pass *p = &c->strips.pass;
    const en_matrix_figures figures = {&p->errors, p->result.loss, p->loss_alone,
                                       p->entropy_one_table, &p->histogram};
    return put_strips(c, i, stored, &figures, err);
}

static entro_status put_rtn(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    const en_store_choice *choice = &c->plan.choices[i];
    double bits = choice->searched ? -c->search.x : choice->bits;
    EN_TRY(en_compress_strips_rtn(&c->strips, t, choice->method, bits, c->done, t->n_bytes, err));
    const en_rtn_quantizer *q = &c->strips.rtn;
    const en_matrix_figures figures = {&q->errors, NAN, NAN, q->entropy, &q->histogram};
    return put_strips(c, i, stored, &figures, err);
}

static entro_status put_exact(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    en_source_rows from = {c->plan.source, en_source_tensor(c->plan.source, i)};
    const en_number_rows rows = en_number_rows_of(&from);
    en_planes_encoder *e = &c->planes;
    EN_TRY(en_planes_encoder_run(e, &rows, c->done, from.tensor->n_bytes, err));
    en_compress_account_exact(&c->account, from.tensor, e);
    return put_tensor(c, stored, e->payload, e->n_bytes, err);
}

/* What the source's files hold beside the tensors. */
static entro_status put_original(compression *c, uint32_t stored, entro_error *err)
{
    en_collected *collected = &c->plan.collected;
    const en_number_rows rows = en_collected_literals(collected);
    EN_TRY(en_planes_encoder_run(&c->planes, &rows, c->done, 0, err));
    EN_TRY(put_tensor(c, stored, c->planes.payload, c->planes.n_bytes, err));
    c->account.n_original_bytes = c->planes.n_bytes;
    size_t n_bytes;
    EN_TRY(en_collected_list(collected, &n_bytes, err));
    c->account.n_original_bytes += n_bytes;
    return put_tensor(c, stored + 1, collected->list, n_bytes, err);
}

static entro_status put_coded(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    const en_store_choice *choice = &c->plan.choices[i];
    uint64_t n_bytes = t->n_bytes, half = n_bytes / 2;
    c->strips.encoder.asked = choice->coding;
    if (choice->method->exact)
        return put_exact(c, i, stored, err);
    if (choice->method->pass != NULL)
        return put_pass(c, i, stored, err);
    if (choice->method->bits == 0)
        return put_rtn(c, i, stored, err);
    EN_TRY(quantize(c, i, half, err));
    en_source_forget(c->plan.source, t);
    if (!choice->strips)
        return put_words(c, i, stored, err);
    EN_TRY(
        en_compress_strips_codes(&c->strips, &c->quantizer, c->done + half, n_bytes - half, err));
    entro_histogram histogram;
    en_compress_account_histogram(&c->quantizer, &histogram);
    const en_matrix_figures figures = {&c->quantizer.errors, NAN, NAN, c->quantizer.plan.entropy,
                                       &histogram};
    return put_strips(c, i, stored, &figures, err);
}

static entro_status convert_plain(compression *c, const en_tensor *t, uint32_t dtype, uint8_t *out,
                                  entro_error *err)
{
    en_weight_rows w = en_weight_rows_of(c->plan.source, t, NULL);
    uint64_t n_clipped = 0;
    EN_TRY(en_weight_rows_convert(&w, &c->job, &c->scratch, 0, w.n_blocks, dtype, out, &n_clipped,
                                  err));
    if (n_clipped > 0)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "%llu weights are beyond the range of f16; store it as f32 or keep it",
                       (unsigned long long)n_clipped);
    return ENTRO_OK;
}

/* As the source has it, which may have to put rows in order. */
static entro_status put_copy(compression *c, const en_tensor *t, uint32_t stored, entro_error *err)
{
    c->plain = en_alloc((size_t)t->n_bytes, 1);
    if (c->plain == NULL)
        return en_fail_memory(err);
    entro_status status =
        en_source_read_bytes(c->plan.source, t, 0, en_tensor_n_rows(t), c->plain, err);
    if (status == ENTRO_OK)
        status = put_tensor(c, stored, c->plain, (size_t)t->n_bytes, err);
    en_free(c->plain);
    c->plain = NULL;
    return status;
}

static entro_status put_plain(compression *c, uint32_t i, uint32_t stored, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    uint32_t dtype = c->plan.stored[stored].dtype;
    if (dtype == t->dtype && t->data != NULL)
        return put_tensor(c, stored, t->data, (size_t)t->n_bytes, err);
    if (dtype == t->dtype)
        return put_copy(c, t, stored, err);
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
    en_job_stage(&c->job, "encode", c->plan.n_all_bytes);
    c->done = 0;
    uint32_t stored = 0;
    EN_TRY(put_tables(c, &stored, err));
    if (c->plan.packed_meta != NULL)
        EN_TRY(put_tensor(c, stored++, c->plan.packed_meta, c->plan.n_packed_meta, err));
    for (uint32_t k = 0; k < c->plan.n_source; k++, stored++) {
        uint32_t i = c->plan.order[k];
        const en_tensor *t = en_source_tensor(c->plan.source, i);
        bool coded = c->plan.choices[i].kind == EN_STORE_CODED;
        entro_status status = coded ? put_coded(c, i, stored, err) : put_plain(c, i, stored, err);
        en_source_forget(c->plan.source, t);
        c->done += t->n_bytes;
        if (status == ENTRO_OK)
            status = en_job_reach(&c->job, t->name, c->done, err);
        if (status != ENTRO_OK)
            return fail_at_tensor(c, i, status, err);
    }
    return c->plan.keeps_files ? put_original(c, stored, err) : ENTRO_OK;
}

static entro_status compare_tables(compression *c, entro_error *err)
{
    if (c->plan.n_strip_tensors > 0 || c->plan.n_exact_tensors > 0) /* they have no choice */
        return ENTRO_OK;
    if (!c->plan.recipe.model_table) /* else the model's codes are there already */
        EN_TRY(en_table_choice_build(&c->tables, &c->model, err));
    return en_table_choice_compare(&c->tables, &c->model, &c->account.more_bits, err);
}

/* ---- the size of the file ---------------------------------------------------------------- */

/* What tensors that are not searched will take, about. */
static double guess_bytes(const compression *c, uint32_t i)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    const en_store_choice *choice = &c->plan.choices[i];
    double n = (double)en_tensor_n_elems(t);
    switch (choice->kind) {
    case EN_STORE_KEEP: return (double)t->n_bytes;
    case EN_STORE_F32: return 4 * n;
    case EN_STORE_F16: return 2 * n;
    case EN_STORE_CODED: break;
    }
    return n / 8 * (choice->method->bits > 0 ? choice->method->bits : choice->bits);
}

static entro_status add_to_search(compression *c, uint32_t i, entro_error *err)
{
    const en_tensor *t = en_source_tensor(c->plan.source, i);
    const en_quant_method *method = c->plan.choices[i].method;
    uint64_t n_rows = en_tensor_n_rows(t), n_cols = t->dims[0];
    if (method->pass == NULL)
        return en_rate_search_add(&c->search, n_rows, n_cols, NULL, NULL, err);
    float *spreads = en_alloc((size_t)(n_rows + n_cols), sizeof *spreads);
    if (spreads == NULL)
        return en_fail_memory(err);
    float *of_cols = spreads + n_rows;
    entro_status status = en_matrix_pass_spreads(&c->strips.pass, t, method, spreads, of_cols, err);
    if (status == ENTRO_OK)
        status = en_rate_search_add(&c->search, n_rows, n_cols, spreads, of_cols, err);
    en_free(spreads);
    return status;
}

/* As measured of SmolLM2-135M and the 1.5 B model at 3.3 bits: 0.094 and 0.08 in rans, 0.2 in strips. */
#define RANS_OVERHEAD   0.09
#define STRIPS_OVERHEAD 0.2

/* Everything that the search for a size wants to know. */
static entro_status prepare_search(compression *c, entro_error *err)
{
    const en_recipe *recipe = &c->plan.recipe;
    uint64_t target = recipe->file_bytes;
    if (recipe->bits_per_param > 0)
        target = (uint64_t)(recipe->bits_per_param / 8 * (double)c->plan.n_params);
    target -= en_compress_tune_bytes(c->opt, target);
    en_rate_search_init(&c->search, target);
    c->search.target_kld = recipe->max_kld;
    c->search.n_params = c->plan.n_params;
    c->search.overhead = c->plan.recipe.coding == EN_MATRIX_RANS ? RANS_OVERHEAD : STRIPS_OVERHEAD;
    if (!en_recipe_has_target(recipe))
        return ENTRO_OK;
    en_job_stage(&c->job, "rates", c->plan.n_coded_bytes);
    c->done = 0;
    for (uint32_t i = 0; i < c->plan.n_source; i++) {
        const en_tensor *t = en_source_tensor(c->plan.source, i);
        if (!c->plan.choices[i].searched) {
            c->search.other_bytes += guess_bytes(c, i);
            continue;
        }
        entro_status status = add_to_search(c, i, err);
        c->done += t->n_bytes;
        if (status == ENTRO_OK)
            status = en_job_reach(&c->job, t->name, c->done, err);
        if (status != ENTRO_OK)
            return fail_at_tensor(c, i, status, err);
    }
    return ENTRO_OK;
}

/* ---- the job --------------------------------------------------------------------------- */

static void close_tables(compression *c)
{
    en_table_choice_close(&c->tables);
    en_code_free(c->model.code[0]);
    en_code_free(c->model.code[1]);
    c->model = (en_model_codes){0};
}

static void close_all(compression *c)
{
    en_gguf_output_abort(&c->out);
    close_tables(c);
    en_rate_search_free(&c->search);
    en_weight_rows_scratch_free(&c->scratch);
    en_encoder_close(&c->encoder);
    en_compress_drift_end(&c->strips.pass);
    en_compress_drift_close(&c->drift);
    en_compress_strips_close(&c->strips);
    en_calibration_close(&c->calibration);
    en_planes_encoder_close(&c->planes);
    en_quantizer_close(&c->quantizer);
    en_job_close(&c->job);
    en_compress_plan_close(&c->plan);
}

static entro_status open_parts(compression *c, entro_error *err)
{
    const en_quantizer_need *need = &c->plan.need;
    EN_TRY(en_compress_strips_open(&c->strips, c->plan.source, c->calibration.statistics, &c->job,
                                   err));
    EN_TRY(en_planes_encoder_open(&c->planes, &c->job, err));
    EN_TRY(en_quantizer_open(&c->quantizer, c->plan.source, &c->job, need, err));
    return en_encoder_open(&c->encoder, &c->job, err);
}

/* Whether the pass at hand does: the first one of a search tells what the slope costs, sooner. */
static bool corrects(const compression *c)
{
    return c->drift.n_tokens > 0 &&
           (c->search.n_passes > 0 || !en_recipe_has_target(&c->plan.recipe));
}

/* One file, complete but for its name. */
static entro_status write_file(compression *c, const char *path, entro_error *err)
{
    close_tables(c);
    en_compress_account_start(&c->account, c->opt, c->search.n_passes);
    EN_TRY(en_table_choice_open(&c->tables, c->plan.word_alphabets, err));
    EN_TRY(en_gguf_output_begin(&c->out, path, c->opt->overwrite, c->plan.meta, c->plan.stored,
                                c->plan.n_stored, EN_PAYLOAD_ALIGN, err));
    if (c->search.n_passes == 0) {
        c->search.other_bytes += (double)(c->out.n_head + c->plan.n_packed_meta);
        EN_TRY(en_rate_search_start(&c->search, err));
    }
    if (c->plan.recipe.model_table)
        EN_TRY(measure(c, err));
    if (corrects(c))
        EN_TRY(en_compress_drift_begin(&c->drift, &c->strips.pass, err));
    EN_TRY(encode(c, err));
    en_compress_drift_end(&c->strips.pass);
    EN_TRY(en_compress_plan_features(&c->plan, c->account.features, err));
    return compare_tables(c, err);
}

static entro_status search_next(compression *c, bool *again, entro_error *err)
{
    bool is_first_try = c->drift.n_tokens > 0 && !corrects(c);
    if (c->search.target_kld > 0)
        EN_TRY(en_rate_search_next_kld(&c->search, EN_KLD_OF_LOSS * c->account.loss, again, err));
    else
        EN_TRY(en_rate_search_next(&c->search, en_gguf_output_bytes(&c->out), again, err));
    if (is_first_try) {
        *again = true;
        en_rate_search_forget(&c->search);
    }
    return ENTRO_OK;
}

static entro_status run(compression *c, const char *source, const char *path, entro_error *err)
{
    EN_TRY(en_compress_plan_open(&c->plan, source, c->opt, err));
    EN_TRY(en_output_check(path, c->opt->overwrite, err));
    EN_TRY(en_compress_tune_check(&c->plan, source, c->opt, err));
    EN_TRY(en_compress_drift_check(&c->plan, c->opt, err));
    EN_TRY(en_job_open(&c->job, c->opt->n_threads, c->opt->progress, c->opt->progress_user, err));
    EN_TRY(en_source_check(&c->plan, &c->job, err));
    if (c->plan.needs_statistics)
        EN_TRY(en_calibration_open(&c->calibration, source, path, c->opt, &c->job, err));
    EN_TRY(en_compress_drift_open(&c->drift, &c->calibration, path, c->opt, &c->job, err));
    EN_TRY(open_parts(c, err));
    EN_TRY(prepare_search(c, err));
    for (bool again = true; again;) {
        EN_TRY(write_file(c, path, err));
        EN_TRY(search_next(c, &again, err));
        if (again)
            en_gguf_output_abort(&c->out);
    }
    return en_gguf_output_finish(&c->out, &c->n_file_bytes, err);
}

static void make_report(const compression *c, double start, entro_compress_report *r)
{
    *r = (entro_compress_report){.kld_untuned = NAN, .kld_tuned = NAN};
    en_compress_account_report(&c->account, &c->plan, c->n_file_bytes, r);
    r->n_passes = c->search.n_passes;
    r->n_drift_tokens = c->drift.n_used;
    r->rate_choice = en_recipe_has_target(&c->plan.recipe) ? c->search.x : NAN;
    double below = en_rate_search_below(&c->search);
    r->size_below = c->search.target > 0 ? below : NAN;
    r->kld_below = c->search.target_kld > 0 ? below : NAN;
    r->is_asked_met = en_rate_search_is_met(&c->search);
    r->seconds = en_clock_seconds() - start;
    r->peak_resident = en_memory_peak_resident();
}

entro_status en_compress(const char *source, const char *path, const entro_compress_options *opt,
                         entro_compress_report *report, entro_error *err)
{
    entro_compress_options defaults = {.struct_size = sizeof defaults};
    double start = en_clock_seconds();
    compression c = {.opt = opt != NULL ? opt : &defaults};
    entro_status status = run(&c, source, path, err);
    if (status == ENTRO_OK && report != NULL)
        make_report(&c, start, report);
    close_all(&c);
    if (status == ENTRO_OK)
        status = en_compress_tune(source, path, c.opt, start, report, err);
    return status;
}
