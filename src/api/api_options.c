/*
 * api_options.c - the _init() functions and the merging of options.
 */
#include "api/api_options.h"

#include <string.h>

enum { DEFAULT_WINDOW = 512, DEFAULT_SHOTS = 5, DEFAULT_ANSWER = 256 };

entro_status en_options_merge(void *full, size_t full_bytes, const void *given, entro_error *err)
{
    if (given == NULL)
        return ENTRO_OK;
    size_t given_bytes;
    memcpy(&given_bytes, given, sizeof given_bytes);
    /* A length of zero is an options struct that never saw its _init(); a longer one comes from a
     * newer header and may ask for things this library does not know. */
    if (given_bytes < sizeof given_bytes || given_bytes > full_bytes)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "options struct of %zu bytes where this library knows %zu: fill it with "
                       "its _init() function, and use the header of this library",
                       given_bytes, full_bytes);
    memcpy(full, given, given_bytes);
    memcpy(full, &full_bytes, sizeof full_bytes);
    return ENTRO_OK;
}

static size_t report_bytes(const void *report)
{
    size_t n;
    memcpy(&n, report, sizeof n);
    return n;
}

entro_status en_report_check(const void *report, size_t full_bytes, entro_error *err)
{
    size_t n = report_bytes(report);
    if (n < sizeof n || n > full_bytes)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "report struct of %zu bytes where this library knows %zu: set its "
                       "struct_size, and use the header of this library",
                       n, full_bytes);
    return ENTRO_OK;
}

void en_report_give(void *report, const void *full)
{
    size_t n = report_bytes(report);
    memcpy(report, full, n);
    memcpy(report, &n, sizeof n);
}

const char *entro_version(void)
{
    return ENTRO_VERSION;
}

void entro_model_options_init(entro_model_options *opt)
{
    *opt = (entro_model_options){.struct_size = sizeof *opt};
}

void entro_session_options_init(entro_session_options *opt)
{
    *opt = (entro_session_options){.struct_size = sizeof *opt};
}

void entro_sampler_options_init(entro_sampler_options *opt)
{
    *opt = (entro_sampler_options){.struct_size = sizeof *opt,
                                   .temperature = 0.8f,
                                   .top_k = 40,
                                   .top_p = 0.95f,
                                   .min_p = 0.05f,
                                   .repeat_penalty = 1.0f,
                                   .repeat_last_n = 64};
}

void entro_compress_options_init(entro_compress_options *opt)
{
    *opt = (entro_compress_options){
        .struct_size = sizeof *opt, .method = "watersic", .table = "tensor", .coding = "auto"};
}

void entro_tune_options_init(entro_tune_options *opt)
{
    *opt = (entro_tune_options){.struct_size = sizeof *opt};
}

void entro_job_options_init(entro_job_options *opt)
{
    *opt = (entro_job_options){.struct_size = sizeof *opt};
}

void entro_perplexity_options_init(entro_perplexity_options *opt)
{
    *opt = (entro_perplexity_options){.struct_size = sizeof *opt, .n_ctx = DEFAULT_WINDOW};
}

void entro_divergence_options_init(entro_divergence_options *opt)
{
    *opt = (entro_divergence_options){.struct_size = sizeof *opt, .n_ctx = DEFAULT_WINDOW};
}

void entro_eval_options_init(entro_eval_options *opt)
{
    *opt = (entro_eval_options){
        .struct_size = sizeof *opt, .n_shots = DEFAULT_SHOTS, .n_predict = DEFAULT_ANSWER};
}
