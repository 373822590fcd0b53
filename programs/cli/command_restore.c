/*
 * command_restore.c - entrollm restore: a model to a plain 16-bit (or 32-bit) GGUF file, or a lossless
 * one to the files it was made from.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct settings {
    const char *model, *output, *type;
    int64_t threads;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),
    {.name = "output",
     .letter = 'o',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, output),
     .value = "PATH",
     .help = "the file or folder to write, instead of the argument"},
    {.name = "type",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, type),
     .value = "TYPE",
     .choices = "original|f16|bf16|f32",
     .help =
         "original: the files a lossless one was made from, byte for byte; else the type of the "
         "2-D weights; without it original where there is one, f16 otherwise"},
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, force),
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
    {"OUTPUT", offsetof(settings, output), false,
     "the file or folder to write; without it MODEL's name with the type added"},
};

/* What will be written. */
typedef struct target {
    const char *type;
    bool is_folder;
} target;

/* Opens the model to see whether it holds its original, unless a type says what is wanted. */
static int choose_target(const settings *s, target *t)
{
    *t = (target){.type = s->type};
    if (s->type && strcmp(s->type, "original") != 0)
        return CLI_EXIT_OK;
    entro_model *model = NULL;
    entro_model_info info;
    int code = cli_open_model(&model, s->model, true);
    if (code)
        return code;
    entro_model_get_info(model, &info);
    entro_model_close(model);
    if (!s->type)
        t->type = info.n_original_files > 0 ? "original" : "f16";
    t->is_folder = info.original_is_folder && strcmp(t->type, "original") == 0;
    return CLI_EXIT_OK;
}

static char *name_output(const settings *s, const target *t)
{
    if (s->output) {
        size_t n = strlen(s->output);
        while (t->is_folder && n > 1 && s->output[n - 1] == '/')
            n--;
        return strndup(s->output, n);
    }
    char *stem = cli_stem(s->model), *output = NULL;
    if (stem && asprintf(&output, "%s-%s%s", stem, t->type, t->is_folder ? "" : ".gguf") < 0)
        output = NULL;
    free(stem);
    return output;
}

/* Can it be written there?  Somebody who names a GGUF file wants no folder. */
static int check_name(const char *output, const char *model, const target *t)
{
    size_t n = strlen(output);
    struct stat about;
    if (t->is_folder && stat(output, &about) == 0 && S_ISDIR(about.st_mode))
        return CLI_EXIT_OK; /* the library says what it may do there */
    if (!t->is_folder || n < 5 || strcmp(output + n - 5, ".gguf") != 0)
        return cli_check_output(output, model);
    return cli_usage_error(
        &cli_restore_command,
        "the original is a folder: name one, not '%s', or ask for a GGUF file with "
        "--type f16",
        output);
}

static int report_original(const char *output, const entro_restore_report *r)
{
    printf("%s: %s, %u file%s, byte for byte as before\n", output,
           cli_bytes((double)r->n_file_bytes).s, r->n_files, r->n_files == 1 ? "" : "s");
    return CLI_EXIT_OK;
}

static int report_result(const settings *s, const char *output, const target *t,
                         const entro_restore_report *r)
{
    if (s->json) {
        json_t *o = json_object();
        cli_json_text(o, "output", output);
        cli_json_text(o, "type", t->type);
        cli_json_int(o, "n_file_bytes", r->n_file_bytes);
        cli_json_int(o, "n_tensors", r->n_tensors);
        cli_json_int(o, "n_clipped", r->n_clipped);
        cli_json_int(o, "n_files", r->n_files);
        return cli_json_print(o);
    }
    if (s->quiet)
        return CLI_EXIT_OK;
    if (r->is_original)
        return report_original(output, r);
    printf("%s: %s, %u tensors, 2-D weights as %s\n", output, cli_bytes((double)r->n_file_bytes).s,
           r->n_tensors, t->type);
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
    target t;
    int code = choose_target(s, &t);
    if (code)
        return code;
    char *output = name_output(s, &t);
    if (!output)
        return cli_fail_text("out of memory");
    code = check_name(output, s->model, &t);
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
    entro_status status = entro_restore(s->model, output, t.type, &opt, &report, &err);
    cli_progress_clear(&progress);
    code = status == ENTRO_OK ? report_result(s, output, &t, &report) : cli_fail(&err);
    free(output);
    return code;
}

const cli_command cli_restore_command = {
    .name = "restore",
    .summary = "write a plain GGUF file from a coded one, or the original from a lossless one",
    .about =
        "Decodes every weight and writes a GGUF file that any other program reads.  The values "
        "are those MODEL holds: what quantization lost does not come back.  A file made with "
        "--method lossless gives back the files it was made from, a GGUF file or a folder, byte "
        "for "
        "byte; their checksums are compared before they get their names.",
    .examples = "  entrollm restore model-lossless.gguf ./model\n"
                "  entrollm restore model-u8.gguf model-f16.gguf\n"
                "  entrollm restore model-u8.gguf -o model.gguf --type bf16\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = restore,
};
