/* calibration.c - see calibration.h. */
#include "pipeline/calibration.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calib/calib_writer.h"
#include "calib/collect.h"
#include "calib/written_text.h"

char *en_calibration_folder(const char *given, const char *path)
{
    if (given != NULL)
        return en_strndup(given, strlen(given));
    size_t n = strlen(path) + sizeof ".calib";
    char *name = en_alloc(n, 1);
    if (name != NULL)
        snprintf(name, n, "%s.calib", path);
    return name;
}

entro_status en_calibration_text(en_calib_text *text, const entro_model *model, const char *folder,
                                 const en_text_wanted *wanted, en_job *job, entro_error *err)
{
    if (model->tokenizer == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the model has no tokenizer, so that it can neither read nor write the text "
                       "that calibration and tuning want; a method without them, like rtn, works");
    if (wanted->n_files == 0)
        return en_calib_text_write(text, folder, model->decoder, model->tokenizer,
                                   &(en_calib_writing){.n_positions = EN_CALIB_POSITIONS,
                                                       .n_tokens = wanted->n_tokens,
                                                       .seed = wanted->seed,
                                                       .meta = en_source_meta(model->source)},
                                   job, err);
    return en_calib_text_read(text, wanted->files, wanted->n_files, model->tokenizer,
                              EN_CALIB_POSITIONS, wanted->n_tokens, err);
}

entro_status en_calibration_any_text(en_calib_text *text, const entro_model *model,
                                     const char *folder, const en_text_wanted *wanted, en_job *job,
                                     entro_error *err)
{
    if (wanted->n_files == 0) {
        entro_error found;
        entro_status status = en_calib_text_find(text, folder, model->decoder, EN_CALIB_POSITIONS,
                                                 wanted->n_tokens, &found);
        if (status != ENTRO_ERR_NOT_FOUND) {
            if (status != ENTRO_OK && err != NULL)
                *err = found;
            return status;
        }
    }
    return en_calibration_text(text, model, folder, wanted, job, err);
}

static entro_status collect(const en_calibration *c, const char *folder,
                            const entro_compress_options *opt, en_job *job, entro_error *err)
{
    en_calib_text text = {0};
    uint64_t usual = opt->n_calib == 0 ? EN_COLLECT_OWN_TOKENS : EN_COLLECT_TOKENS;
    uint64_t n = opt->n_calib_tokens != 0 ? opt->n_calib_tokens : usual;
    const en_text_wanted wanted = {opt->calib, opt->n_calib, n + EN_COLLECT_FISHER_TOKENS,
                                   opt->seed};
    EN_TRY(en_calibration_text(&text, c->model, folder, &wanted, job, err));
    en_collect_options how = {.n_tokens = n, .seed = opt->seed, .precision = EN_PRECISION_BF16};
    entro_status status = en_statistics_collect(folder, c->model->decoder, &text, &how, job, err);
    en_calib_text_free(&text);
    return status;
}

static entro_status open_statistics(en_calibration *c, const char *folder,
                                    const entro_compress_options *opt, en_job *job,
                                    entro_error *err)
{
    entro_error missing = {.status = ENTRO_OK};
    entro_status status =
        en_statistics_open(&c->statistics, folder, c->model->decoder, job->pool, &missing);
    if (status == ENTRO_ERR_NOT_FOUND) {
        EN_TRY(collect(c, folder, opt, job, err));
        return en_statistics_open(&c->statistics, folder, c->model->decoder, job->pool, err);
    }
    if (status != ENTRO_OK && err != NULL)
        *err = missing;
    return status;
}

entro_status en_calibration_open(en_calibration *c, const char *source, const char *path,
                                 const entro_compress_options *opt, en_job *job, entro_error *err)
{
    *c = (en_calibration){0};
    EN_TRY(en_model_open(&c->model, source, NULL, err));
    char *folder = en_calibration_folder(opt->statistics, path);
    if (folder == NULL)
        return en_fail_memory(err);
    entro_status status = open_statistics(c, folder, opt, job, err);
    en_free(folder);
    return status;
}

void en_calibration_close(en_calibration *c)
{
    en_statistics_close(c->statistics);
    en_model_close(c->model);
    *c = (en_calibration){0};
}
