/* compress_tune.c - see compress_tune.h. */
#include "pipeline/compress_tune.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "pipeline/tune.h"
#include "pipeline/tuned_file.h"

uint64_t en_compress_tune_bytes(const entro_compress_options *opt, uint64_t target)
{
    bool is_asked = opt->n_tune_tokens > 0 && target > EN_TUNED_MORE_BYTES;
    return is_asked ? EN_TUNED_MORE_BYTES : 0;
}

static entro_tune_options tune_options(const entro_compress_options *opt)
{
    return (entro_tune_options){
        .struct_size = sizeof(entro_tune_options),
        .n_tokens = opt->n_tune_tokens,
        .statistics = opt->statistics,
        .calib = opt->calib,
        .n_calib = opt->n_calib,
        .seed = opt->seed,
        .n_threads = opt->n_threads,
        .overwrite = true, /* the file that was just made */
        .progress = opt->progress,
        .progress_user = opt->progress_user,
    };
}

entro_status en_compress_tune_check(const en_compress_plan *plan, const char *source,
                                    const entro_compress_options *opt, entro_error *err)
{
    if (opt->n_tune_tokens == 0)
        return ENTRO_OK;
    if (plan->keeps_files)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "a lossless file holds every bit of its source, so that there is nothing to "
                       "tune; use another method, or do not ask for tuning");
    const entro_tune_options how = tune_options(opt);
    return en_tune_check(source, &how, err);
}

static void report_tuning(const entro_tune_report *tuned, double start, entro_compress_report *r)
{
    r->n_tune_tokens = tuned->n_tokens;
    r->n_check_tokens = tuned->n_check_tokens;
    r->kld_untuned = tuned->kld_before;
    r->kld_tuned = tuned->kld_after;
    r->is_tuned = tuned->is_better;
    if (tuned->is_better) {
        r->n_file_bytes = tuned->n_file_bytes;
        r->bits_per_param = 8 * (double)tuned->n_file_bytes / (double)r->n_params;
    }
    r->seconds = en_clock_seconds() - start;
    r->peak_resident = en_memory_peak_resident();
}

entro_status en_compress_tune(const char *source, const char *path,
                              const entro_compress_options *opt, double start,
                              entro_compress_report *report, entro_error *err)
{
    const entro_tune_options how = tune_options(opt);
    entro_tune_report tuned;
    if (opt->n_tune_tokens == 0)
        return ENTRO_OK;
    entro_status status = en_tune_made(source, path, path, &how, &tuned, err);
    if (status == ENTRO_OK && report != NULL)
        report_tuning(&tuned, start, report);
    if (status != ENTRO_OK && err != NULL) {
        size_t n = strlen(err->message);
        snprintf(err->message + n, sizeof err->message - n,
                 "; %.200s is complete, but not tuned: 'entrollm tune' can still do that", path);
    }
    return status;
}
