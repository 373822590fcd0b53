/* compress_drift.c - see compress_drift.h. */
#include "pipeline/compress_drift.h"

#include "base/memory.h"

entro_status en_compress_drift_check(const en_compress_plan *plan,
                                     const entro_compress_options *opt, entro_error *err)
{
    if (opt->n_drift_tokens == 0 || plan->needs_statistics)
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_ARGUMENT,
                   "only matrices of a calibrated method (watersic) can be corrected for what "
                   "quantization does to their inputs, and none is; leave out --drift");
}

entro_status en_compress_drift_open(en_compress_drift *d, const en_calibration *calibration,
                                    const char *path, const entro_compress_options *opt,
                                    en_job *job, entro_error *err)
{
    d->n_tokens = opt->n_drift_tokens;
    if (d->n_tokens == 0)
        return ENTRO_OK;
    d->decoder = calibration->model->decoder;
    d->job = job;
    char *folder = en_calibration_folder(opt->statistics, path);
    if (folder == NULL)
        return en_fail_memory(err);
    const en_text_wanted wanted = {opt->calib, opt->n_calib, d->n_tokens, opt->seed};
    entro_status status =
        en_calibration_any_text(&d->text, calibration->model, folder, &wanted, job, err);
    en_free(folder);
    return status;
}

void en_compress_drift_close(en_compress_drift *d)
{
    en_calib_text_free(&d->text);
    *d = (en_compress_drift){0};
}

entro_status en_compress_drift_begin(en_compress_drift *d, en_matrix_pass *pass, entro_error *err)
{
    EN_TRY(en_drift_open(&pass->drift, d->decoder, &d->text, d->n_tokens, d->job, err));
    d->n_used = en_drift_tokens(pass->drift);
    return ENTRO_OK;
}

void en_compress_drift_end(en_matrix_pass *pass)
{
    en_drift_close(pass->drift);
    pass->drift = NULL;
}
