/*
 * command_restore.c - entrollm restore: a model to a plain 16-bit (or 32-bit) GGUF file.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct settings {
    const char *model, *output, *type;
    int64_t threads;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    CLI_OPTION_MODEL(settings),
    {.name = "output",
     .letter = 'o',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, output),
     .value = "FILE",
     .help = "the file to write, instead of the argument"},
    {.name = "type",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, type),
     .value = "TYPE",
     .fallback = "f16",
     .choices = "f16|bf16|f32",
     .help = "type of the 2-D weights"},
    CLI_OPTION_THREADS(settings),
    CLI_OPTION_FORCE(settings),
    CLI_OPTION_JSON(settings),
    CLI_OPTION_QUIET(settings),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a file made by 'entrollm compress'"},
    {"OUTPUT", offsetof(settings, output), false,
     "the file to write; without it MODEL's name with the type added"},
};

static int report_result(const settings *s, const char *output, const entro_restore_report *r)
{
    if (s->json) {
        json_t *o = json_object();
        cli_json_text(o, "output", output);
        cli_json_text(o, "type", s->type);
        cli_json_int(o, "n_file_bytes", r->n_file_bytes);
        cli_json_int(o, "n_tensors", r->n_tensors);
        cli_json_int(o, "n_clipped", r->n_clipped);
        return cli_json_print(o);
    }
    if (s->quiet)
        return CLI_EXIT_OK;
    printf("%s: %s, %u tensors, 2-D weights as %s\n", output, cli_bytes((double)r->n_file_bytes).s,
           r->n_tensors, s->type);
    if (r->n_clipped)
        cli_note("%llu weights lie outside the range of f16 and were clipped; --type bf16 or f32 "
                 "keeps them",
                 (unsigned long long)r->n_clipped);
    return CLI_EXIT_OK;
}

static int restore(void *p)
{
    const settings *s = p;
    cli_progress progress = {.quiet = s->quiet};
    entro_job_options opt;
    entro_restore_report report;
    entro_error err = {.status = ENTRO_OK};
    char *stem = cli_stem(s->model), *output = NULL;
    int n = !stem       ? -1
            : s->output ? asprintf(&output, "%s", s->output)
                        : asprintf(&output, "%s-%s.gguf", stem, s->type);
    if (n < 0) {
        free(stem);
        return cli_fail_text("out of memory");
    }
    free(stem);
    int code = cli_check_output(output, s->model);
    if (code) {
        free(output);
        return code;
    }
    entro_job_options_init(&opt);
    opt.n_threads = (uint32_t)s->threads;
    opt.overwrite = s->force;
    opt.progress = cli_progress_show;
    opt.progress_user = &progress;
    cli_progress_begin(&progress);
    entro_status status = entro_restore(s->model, output, s->type, &opt, &report, &err);
    cli_progress_clear(&progress);
    code = status == ENTRO_OK ? report_result(s, output, &report) : cli_fail(&err);
    free(output);
    return code;
}

const cli_command cli_restore_command = {
    .name = "restore",
    .summary = "write a plain 16-bit GGUF file from a coded one",
    .about =
        "Decodes every weight and writes a GGUF file that any other program reads.  The values "
        "are those the coded file holds: what quantization lost does not come back.",
    .examples = "  entrollm restore model-u8.gguf model-f16.gguf\n"
                "  entrollm restore model-u8.gguf -o model.gguf --type bf16\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = restore,
};
