/*
 * command_perplexity.c - entrollm perplexity: how well the model predicts a text.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct settings {
    const char *model, *file, *kv_type;
    int64_t n_ctx, windows, threads, batch;
    bool json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),   CLI_SHARED(settings, file),  CLI_SHARED(settings, n_ctx),
    CLI_SHARED(settings, windows), CLI_SHARED(settings, batch), CLI_SHARED(settings, kv_type),
    CLI_SHARED(settings, threads), CLI_SHARED(settings, json),  CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
    {"TEXT", offsetof(settings, file), true, "a text file"},
};

static int report_result(const settings *s, const entro_perplexity_report *r)
{
    if (!s->json) {
        printf("perplexity %.4f +/- %.4f over %u windows of %lld tokens (%llu scored)\n",
               r->perplexity, r->perplexity_error, r->n_windows, (long long)s->n_ctx,
               (unsigned long long)r->n_scored);
        if (!s->quiet)
            cli_note("%llu tokens in the text; %.1f s, %.0f tok/s", (unsigned long long)r->n_tokens,
                     r->seconds, (double)r->n_windows * (double)s->n_ctx / r->seconds);
        return CLI_EXIT_OK;
    }
    json_t *o = json_object();
    cli_json_text(o, "model", s->model);
    cli_json_text(o, "text", s->file);
    cli_json_real(o, "perplexity", r->perplexity);
    cli_json_real(o, "perplexity_error", r->perplexity_error);
    cli_json_real(o, "nll", r->nll);
    cli_json_int(o, "n_ctx", (uint64_t)s->n_ctx);
    cli_json_int(o, "n_windows", r->n_windows);
    cli_json_int(o, "n_scored", r->n_scored);
    cli_json_int(o, "n_tokens", r->n_tokens);
    cli_json_real(o, "seconds", r->seconds);
    return cli_json_print(o);
}

static int perplexity(void *p)
{
    const settings *s = p;
    cli_progress progress = {.quiet = s->quiet};
    cli_buffer text = {0};
    entro_model *model = NULL;
    entro_perplexity_options opt;
    entro_perplexity_report report;
    entro_error err = {.status = ENTRO_OK};
    int code = cli_read_measured(&text, s->file);
    if (!code)
        code = cli_open_model(&model, s->model, false);
    if (!code) {
        if (!s->quiet)
            cli_note_context(model, (uint32_t)s->n_ctx);
        entro_perplexity_options_init(&opt);
        opt.n_ctx = (uint32_t)s->n_ctx;
        opt.n_windows = (uint32_t)s->windows;
        opt.n_threads = (uint32_t)s->threads;
        opt.n_batch = (uint32_t)s->batch;
        opt.kv_type = cli_kv_type(s->kv_type);
        opt.progress = cli_progress_show;
        opt.progress_user = &progress;
        cli_progress_begin(&progress);
        entro_status status = entro_perplexity(model, text.data, text.n, &opt, &report, &err);
        cli_progress_clear(&progress);
        code = status == ENTRO_OK ? report_result(s, &report) : cli_fail(&err);
    }
    entro_model_close(model);
    free(text.data);
    return code;
}

const cli_command cli_perplexity_command = {
    .name = "perplexity",
    .summary = "how well a model predicts a text",
    .about =
        "Cuts the text into windows that do not overlap and scores the second half of each, as "
        "llama.cpp does, so that the numbers compare.  Lower is better.",
    .examples = "  entrollm perplexity model-u8.gguf wiki.test.raw\n"
                "  entrollm perplexity -m model.gguf -f wiki.test.raw -c 512 --windows 60\n"
                "  entrollm perplexity model-u8.gguf text.txt --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = perplexity,
};
