/*
 * command_tune.c - entrollm tune: gains and biases of a coded model learn from its source.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    const char *source, *model, *output, *statistics;
    cli_list calib;
    int64_t tokens, seed, threads;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, output),
    {.name = "calib",
     .kind = CLI_LIST,
     .offset = offsetof(settings, calib),
     .value = "FILE",
     .help = "text to learn from, plain or JSON lines; may be repeated.  Without it the text that "
             "SOURCE writes itself"},
    {.name = "calib-tokens",
     .letter = 'n',
     .kind = CLI_INT,
     .offset = offsetof(settings, tokens),
     .value = "N",
     .help = "tokens to learn from; 4096 more are kept apart, to see what it brought",
     .fallback = "20480",
     .min = 512,
     .max = 1 << 24},
    {.name = "statistics",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, statistics),
     .value = "FOLDER",
     .help = "where the text that SOURCE writes is kept, and looked for first; without it SOURCE's "
             "name with .calib, beside MODEL, as of compress"},
    CLI_SHARED_AS(settings, seed, "of the text, when it must be written"),
    CLI_SHARED(settings, threads),
    CLI_SHARED_AS(settings, force, "overwrite the output, which may be MODEL"),
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"SOURCE", offsetof(settings, source), true, "the model it was made from"},
    {"MODEL", offsetof(settings, model), true, "a file made by 'entrollm compress'"},
    {"OUTPUT", offsetof(settings, output), false,
     "the file to write; without it MODEL's name with -tuned"},
};

static char *name_output(const settings *s)
{
    if (s->output)
        return strdup(s->output);
    char *stem = cli_stem(s->model), *name = NULL;
    if (stem && asprintf(&name, "%s-tuned.gguf", stem) < 0)
        name = NULL;
    free(stem);
    return name;
}

/* Nothing written is not what was asked for, so that a script sees it. */
static int report_result(const settings *s, const char *output, const entro_tune_report *r)
{
    int code = r->is_better ? CLI_EXIT_OK : CLI_EXIT_FAILED;
    if (s->json) {
        json_t *o = json_object();
        cli_json_text(o, "source", s->source);
        cli_json_text(o, "model", s->model);
        cli_json_text(o, "output", output);
        json_object_set_new(o, "is_better", json_boolean(r->is_better));
        cli_json_real(o, "kld_before", r->kld_before);
        cli_json_real(o, "kld_after", r->kld_after);
        cli_json_int(o, "n_tokens", r->n_tokens);
        cli_json_int(o, "n_check_tokens", r->n_check_tokens);
        cli_json_int(o, "n_tensors", r->n_tensors);
        cli_json_int(o, "n_values", r->n_values);
        cli_json_int(o, "n_file_bytes", r->n_file_bytes);
        cli_json_real(o, "seconds", r->seconds);
        cli_json_int(o, "peak_resident", r->peak_resident);
        int printed = cli_json_print(o);
        return printed ? printed : code;
    }
    if (!r->is_better)
        return cli_fail_text(
            "%s: tuning on %llu tokens made it no better (KLD %s before, %s after, "
            "on %llu tokens kept apart), so that nothing was written; try more "
            "text (--calib-tokens)",
            s->model, (unsigned long long)r->n_tokens, cli_small(r->kld_before).s,
            cli_small(r->kld_after).s, (unsigned long long)r->n_check_tokens);
    if (s->quiet)
        return code;
    printf("%s\n", output);
    printf("  KLD      %s before, %s after: %.1f %% less, on %llu tokens kept apart\n",
           cli_small(r->kld_before).s, cli_small(r->kld_after).s,
           100 * (1 - r->kld_after / r->kld_before), (unsigned long long)r->n_check_tokens);
    printf("  tuned    %s gains and biases of %u tensors, on %llu tokens\n",
           cli_count((double)r->n_values).s, r->n_tensors, (unsigned long long)r->n_tokens);
    printf("  result   %s, everything else as in %s\n", cli_bytes((double)r->n_file_bytes).s,
           s->model);
    printf("  time     %.1f s; peak memory %s\n", r->seconds,
           cli_bytes((double)r->peak_resident).s);
    return code;
}

static int run_job(const settings *s, const char *output, const char *statistics)
{
    cli_progress progress = {.quiet = s->quiet};
    entro_tune_options opt;
    entro_tune_report report = {.struct_size = sizeof(report)};
    entro_error err = {.status = ENTRO_OK};
    entro_tune_options_init(&opt);
    opt.n_tokens = (uint64_t)s->tokens;
    opt.statistics = statistics;
    opt.calib = s->calib.items;
    opt.n_calib = s->calib.n;
    opt.seed = (uint64_t)s->seed;
    opt.n_threads = (uint32_t)s->threads;
    opt.overwrite = s->force;
    opt.progress = cli_progress_show;
    opt.progress_user = &progress;
    cli_progress_begin(&progress);
    entro_status status = entro_tune(s->source, s->model, output, &opt, &report, &err);
    cli_progress_clear(&progress);
    return status == ENTRO_OK ? report_result(s, output, &report) : cli_fail(&err);
}

static int tune(void *p)
{
    const settings *s = p;
    char *output = name_output(s), *statistics = NULL;
    if (output)
        statistics = cli_statistics_folder(s->statistics, s->source, s->model);
    int code = statistics ? cli_check_output(output, s->source) : cli_fail_text("out of memory");
    if (!code)
        code = run_job(s, output, statistics);
    free(output);
    free(statistics);
    return code;
}

const cli_command cli_tune_command = {
    .name = "tune",
    .summary = "fine-tune gains and biases of a coded file against its source",
    .about =
        "Runs SOURCE and MODEL over a text and changes MODEL's gains of norms and biases so that "
        "its predictions follow SOURCE's.  These are stored as 32-bit numbers in any case, so that "
        "the "
        "file grows by no more than its notes; matrices stay as they are, byte for byte.  Part of "
        "the text is "
        "kept apart: the KLD there is measured before and after, and when it did not fall "
        "nothing is written and the exit code is 1.  MODEL is first compared with SOURCE, as by "
        "'entrollm verify --source'.  'entrollm compress --tune' does both at once.",
    .examples =
        "  entrollm tune model.gguf model-3.gguf model-3-tuned.gguf\n"
        "  entrollm tune model.gguf model-3.gguf model-3.gguf --force\n"
        "  entrollm tune ./Llama-3.2-1B llama-3.gguf --calib text.txt --calib-tokens 40960\n"
        "  entrollm tune model.gguf model-3.gguf -o tuned.gguf --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = tune,
};
