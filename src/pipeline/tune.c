/*
 * tune.c - fine-tunes a container's gains and biases against its source (calib/distill.h), and writes it once
 * more.
 *
 *   compare:  is it whole, and made from this source? (verify)
 *   text:     of files; else what the model has written, or writes now (calibration.h)
 *   distill:  the source's logits teach the container's vectors
 *   write:    only when that has brought them nearer (tuned_file.h)
 */
#include "pipeline/tune.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "calib/calib_writer.h"
#include "calib/distill.h"
#include "model/model_vectors.h"
#include "pipeline/calibration.h"
#include "pipeline/pipeline.h"
#include "pipeline/tuned_file.h"

/* One to learn from, one kept apart. */
enum { LEAST_SEQUENCES = 2 };

typedef struct tuning {
    const entro_tune_options *opt;
    entro_model *teacher;
    en_source *source; /* of the container */
    en_container *container;
    en_decoder *student;
    en_tuned_file file;
    en_job job;
    en_calib_text text;
    en_distill_report result;
} tuning;

/* ---- text ---------------------------------------------------------------------------------- */

static en_text_wanted wanted_text(const entro_tune_options *opt)
{
    uint64_t n = opt->n_tokens != 0 ? opt->n_tokens : EN_DISTILL_TOKENS;
    return (en_text_wanted){opt->calib, opt->n_calib, n + EN_DISTILL_CHECK_TOKENS, opt->seed};
}

static entro_status check_length(const en_calib_text *text, entro_error *err)
{
    if (text->n_sequences >= LEAST_SEQUENCES)
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_ARGUMENT,
                   "the text has %" PRIu64 " sequence of %" PRIu32
                   " tokens; tuning needs at least %d, one to learn from and one to check; use a "
                   "longer text",
                   text->n_sequences, text->n_positions, LEAST_SEQUENCES);
}

static entro_status get_text(tuning *t, const char *model, entro_error *err)
{
    char *folder = en_calibration_folder(t->opt->statistics, model);
    if (folder == NULL)
        return en_fail_memory(err);
    const en_text_wanted wanted = wanted_text(t->opt);
    entro_status status =
        en_calibration_any_text(&t->text, t->teacher, folder, &wanted, &t->job, err);
    en_free(folder);
    return status == ENTRO_OK ? check_length(&t->text, err) : status;
}

entro_status en_tune_check(const char *source, const entro_tune_options *opt, entro_error *err)
{
    entro_model *model;
    en_calib_text text = {0};
    en_text_wanted wanted = wanted_text(opt);
    EN_TRY(en_model_open(&model, source, NULL, err));
    entro_status status = ENTRO_OK;
    if (model->tokenizer == NULL || wanted.n_files > 0)
        status = en_calibration_text(&text, model, NULL, &wanted, NULL, err);
    if (status == ENTRO_OK && wanted.n_files > 0)
        status = check_length(&text, err);
    en_calib_text_free(&text);
    en_model_close(model);
    return status;
}

/* ---- models -------------------------------------------------------------------------------- */

static entro_status refuse(const char *path, entro_error *err, const char *message)
{
    en_fail(err, ENTRO_ERR_ARGUMENT, "%s", message);
    en_error_place(err, "%s", path);
    return ENTRO_ERR_ARGUMENT;
}

static entro_status open_container(tuning *t, const char *model, entro_error *err)
{
    EN_TRY(en_source_open(&t->source, model, err));
    if (!en_container_is(t->source))
        return refuse(model, err,
                      "is not an EntroLLM container, whose gains could be tuned; make one with "
                      "'entrollm compress'");
    EN_TRY(en_tuned_file_open(&t->file, t->source, err));
    EN_TRY(en_container_open(&t->container, t->source, err));
    if (en_container_original(t->container) != NULL)
        return refuse(model, err,
                      "holds every bit of its source already, so that there is nothing to tune");
    return ENTRO_OK;
}

/* In memory a fused bias has numbers for parts without a tensor, which the file has no place for. */
static entro_status check_layer_parts(const tuning *t, uint32_t layer, entro_error *err)
{
    en_vector_place places[EN_LAYER_VECTORS];
    uint32_t n = en_layer_vectors(&t->student->hp, places);
    for (uint32_t i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer, places[i].name);
        if (*en_vector_field(&t->student->weights.layers[layer], &places[i]) == NULL ||
            en_container_find(t->container, name) != NULL)
            continue;
        en_fail(
            err, ENTRO_ERR_UNSUPPORTED,
            "is missing, while other parts of this bias are there; such a model cannot be tuned");
        en_error_place(err, "%s", name);
        return ENTRO_ERR_UNSUPPORTED;
    }
    return ENTRO_OK;
}

static entro_status open_student(tuning *t, entro_error *err)
{
    EN_TRY(en_decoder_new(&t->student, t->source, t->container, err));
    for (uint32_t i = 0; i < t->student->weights.n_layers; i++)
        EN_TRY(check_layer_parts(t, i, err));
    return ENTRO_OK;
}

/* Of other shapes or another model: said here, with a place, before anything takes long. */
static entro_status compare(const tuning *t, const char *source, const char *model,
                            entro_error *err)
{
    entro_job_options job = {.struct_size = sizeof job,
                             .n_threads = t->opt->n_threads,
                             .progress = t->opt->progress,
                             .progress_user = t->opt->progress_user};
    return en_verify(model, source, &job, NULL, err);
}

/* ---- the job ------------------------------------------------------------------------------- */

static entro_status run(tuning *t, const char *source, const char *model, const char *path,
                        bool is_made, entro_error *err)
{
    const entro_tune_options *opt = t->opt;
    EN_TRY(open_container(t, model, err));
    EN_TRY(en_output_check(path, opt->overwrite, err));
    if (!is_made)
        EN_TRY(compare(t, source, model, err));
    EN_TRY(en_model_open(&t->teacher, source, NULL, err));
    entro_status status = open_student(t, err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", model);
        return status;
    }
    EN_TRY(en_job_open(&t->job, opt->n_threads, opt->progress, opt->progress_user, err));
    EN_TRY(get_text(t, model, err));
    const en_distill_options how = {.n_tokens = opt->n_tokens};
    EN_TRY(en_distill(t->student, t->teacher->decoder, &t->text, &how, &t->job, &t->result, err));
    if (!t->result.is_better)
        return ENTRO_OK;
    return en_tuned_file_write(&t->file, t->student, t->result.n_tokens, path, opt->overwrite, err);
}

static void make_report(const tuning *t, double start, entro_tune_report *r)
{
    *r = (entro_tune_report){
        .struct_size = sizeof *r,
        .kld_before = t->result.kld_before,
        .kld_after = t->result.kld_after,
        .n_tokens = t->result.n_tokens,
        .n_check_tokens = t->result.n_check_tokens,
        .is_better = t->result.is_better,
        .n_tensors = t->file.n_replaced,
        .n_values = t->file.n_values,
        .n_file_bytes = t->file.n_bytes,
        .seconds = en_clock_seconds() - start,
        .peak_resident = en_memory_peak_resident(),
    };
}

static void close_all(tuning *t)
{
    en_tuned_file_close(&t->file);
    en_calib_text_free(&t->text);
    en_job_close(&t->job);
    en_decoder_free(t->student);
    en_container_close(t->container);
    en_source_close(t->source);
    en_model_close(t->teacher);
}

static entro_status tune(const char *source, const char *model, const char *path, bool is_made,
                         const entro_tune_options *opt, entro_tune_report *report, entro_error *err)
{
    entro_tune_options defaults = {.struct_size = sizeof defaults};
    double start = en_clock_seconds();
    tuning t = {.opt = opt != NULL ? opt : &defaults};
    entro_status status = run(&t, source, model, path, is_made, err);
    if (status == ENTRO_OK && report != NULL)
        make_report(&t, start, report);
    close_all(&t);
    return status;
}

entro_status en_tune(const char *source, const char *model, const char *path,
                     const entro_tune_options *opt, entro_tune_report *report, entro_error *err)
{
    return tune(source, model, path, false, opt, report, err);
}

entro_status en_tune_made(const char *source, const char *model, const char *path,
                          const entro_tune_options *opt, entro_tune_report *report,
                          entro_error *err)
{
    return tune(source, model, path, true, opt, report, err);
}
