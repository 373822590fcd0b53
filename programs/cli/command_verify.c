/*
 * command_verify.c - entrollm verify: is the file whole, and does it hold what the source held?
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_terminal.h"

#include <stdio.h>

typedef struct settings {
    const char *model, *source;
    int64_t threads;
    bool json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),
    {.name = "source",
     .letter = 's',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, source),
     .value = "SOURCE",
     .help = "also compare every weight with this model it was made from"},
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a file made by 'entrollm compress'"},
};

static int report_result(const settings *s, const entro_verify_report *r)
{
    if (s->json) {
        json_t *o = json_object();
        cli_json_text(o, "model", s->model);
        json_object_set_new(o, "ok", json_true());
        cli_json_int(o, "n_tensors", r->n_tensors);
        cli_json_int(o, "n_bytes", r->n_bytes);
        cli_json_int(o, "n_compared", r->n_compared);
        cli_json_real(o, "max_steps", r->max_steps);
        cli_json_real(o, "rms_error", r->rms_error);
        cli_json_int(o, "n_files", r->n_files);
        return cli_json_print(o);
    }
    if (s->quiet)
        return CLI_EXIT_OK;
    printf("%s: ok, %u checksums over %s\n", s->model, r->n_tensors,
           cli_bytes((double)r->n_bytes).s);
    if (r->n_files > 0)
        printf("%u original file%s would be restored byte for byte\n", r->n_files,
               r->n_files == 1 ? "" : "s");
    if (s->source && r->max_steps == 0)
        printf("%u tensors compared with %s: rms error %.3f %%\n", r->n_compared, s->source,
               100 * r->rms_error);
    else if (s->source)
        printf(
            "%u tensors compared with %s: within %.4f steps (0.5 is perfect rounding), rms error "
            "%.3f %%\n",
            r->n_compared, s->source, r->max_steps, 100 * r->rms_error);
    return CLI_EXIT_OK;
}

static int verify(void *p)
{
    const settings *s = p;
    cli_progress progress = {.quiet = s->quiet};
    entro_job_options opt;
    entro_verify_report report;
    entro_error err = {.status = ENTRO_OK};
    entro_job_options_init(&opt);
    opt.n_threads = (uint32_t)s->threads;
    opt.progress = cli_progress_show;
    opt.progress_user = &progress;
    cli_progress_begin(&progress);
    entro_status status = entro_verify(s->model, s->source, &opt, &report, &err);
    cli_progress_clear(&progress);
    if (status == ENTRO_OK)
        return report_result(s, &report);
    int code = cli_fail(&err);
    if (s->json) {
        json_t *o = json_object();
        cli_json_text(o, "model", s->model);
        json_object_set_new(o, "ok", json_false());
        cli_json_text(o, "status", entro_status_name(status));
        cli_json_text(o, "where", err.where);
        cli_json_text(o, "message", err.message);
        cli_json_print(o);
    }
    return code;
}

const cli_command cli_verify_command = {
    .name = "verify",
    .summary = "check every checksum and every coded stream of a file",
    .about =
        "Reads the whole file, compares the checksum of each tensor and decodes each coded "
        "stream.  With --source it also compares the weights with those they were made from: "
        "each must lie within half a quantization step (of watersic, have the source's sign more "
        "often than by chance), or be the same where nothing was quantized; gains and biases of a "
        "tuned "
        "file "
        "must be near the source's.  Of a lossless file the "
        "original files are made once more, in memory, for "
        "their checksums.",
    .examples = "  entrollm verify model-u8.gguf\n"
                "  entrollm verify model-u8.gguf --source model.gguf\n"
                "  entrollm verify model-u8.gguf --json && echo whole\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = verify,
};
