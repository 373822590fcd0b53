/*
 * api_jobs.c - compress, tune, restore, verify, perplexity, divergence.
 */
#include "api/api_options.h"
#include "eval/divergence.h"
#include "eval/perplexity.h"
#include "pipeline/pipeline.h"

entro_status entro_compress(const char *source, const char *path, const entro_compress_options *opt,
                            entro_compress_report *report, entro_error *err)
{
    entro_compress_options full;
    entro_compress_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_compress(source, path, &full, report, err);
}

entro_status entro_tune(const char *source, const char *model, const char *path,
                        const entro_tune_options *opt, entro_tune_report *report, entro_error *err)
{
    entro_tune_options full;
    entro_tune_report all = {.struct_size = sizeof all};
    entro_tune_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    if (report != NULL)
        EN_TRY(en_report_check(report, sizeof all, err));
    EN_TRY(en_tune(source, model, path, &full, &all, err));
    if (report != NULL)
        en_report_give(report, &all);
    return ENTRO_OK;
}

entro_status entro_restore(const char *model, const char *path, const char *type,
                           const entro_job_options *opt, entro_restore_report *report,
                           entro_error *err)
{
    entro_job_options full;
    entro_job_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_restore(model, path, type, &full, report, err);
}

entro_status entro_verify(const char *path, const char *source, const entro_job_options *opt,
                          entro_verify_report *report, entro_error *err)
{
    entro_job_options full;
    entro_job_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_verify(path, source, &full, report, err);
}

entro_status entro_perplexity(const entro_model *model, const char *text, size_t n_text,
                              const entro_perplexity_options *opt, entro_perplexity_report *report,
                              entro_error *err)
{
    entro_perplexity_options full;
    entro_perplexity_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_perplexity(model, text, n_text, &full, report, err);
}

entro_status entro_divergence(const entro_model *reference, const entro_model *model,
                              const char *text, size_t n_text, const entro_divergence_options *opt,
                              entro_divergence_report *report, entro_error *err)
{
    entro_divergence_options full;
    entro_divergence_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_divergence(reference, model, text, n_text, &full, report, err);
}
