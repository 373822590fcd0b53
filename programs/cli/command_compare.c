/*
 * command_compare.c - entrollm compare: how far a model's predictions are from a reference's.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct settings {
    const char *reference, *model, *file;
    int64_t n_ctx, windows, threads;
    bool json, quiet;
} settings;

static const cli_option options[] = {
    {.name = "file",
     .letter = 'f',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, file),
     .value = "TEXT",
     .help = "the text, instead of the argument; - reads standard input"},
    {.name = "ctx-size",
     .letter = 'c',
     .kind = CLI_INT,
     .offset = offsetof(settings, n_ctx),
     .value = "N",
     .fallback = "512",
     .min = 8,
     .max = 1 << 20,
     .help = "tokens a window"},
    {.name = "windows",
     .letter = 'n',
     .alias = "chunks",
     .kind = CLI_INT,
     .offset = offsetof(settings, windows),
     .value = "N",
     .fallback = "0",
     .min = 0,
     .max = 1 << 30,
     .help = "only the first N windows; 0: all"},
    CLI_OPTION_THREADS(settings),
    CLI_OPTION_JSON(settings),
    CLI_OPTION_QUIET(settings),
};

static const cli_positional positionals[] = {
    {"REFERENCE", offsetof(settings, reference), true, "the model that is right, by definition"},
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
    {"TEXT", offsetof(settings, file), true, "a text file"},
};

/* The text of one token, shortened; the same buffer each time. */
static const char *token_text(const entro_model *model, entro_token token)
{
    static char shown[24];
    const char *text = "";
    size_t n = 0;
    entro_text_stream *stream = NULL;
    shown[0] = 0;
    if (entro_text_stream_new(&stream, model, true, NULL) == ENTRO_OK &&
        entro_text_stream_put(stream, token, &text, &n, NULL) == ENTRO_OK) {
        snprintf(shown, sizeof(shown), "%.*s", (int)(n < 20 ? n : 20), text);
        for (char *p = shown; *p; p++)
            if ((unsigned char)*p < ' ')
                *p = '.';
    }
    entro_text_stream_free(stream);
    return shown;
}

static int print_json(const settings *s, const entro_divergence_report *r)
{
    json_t *o = json_object(), *worst = json_array();
    cli_json_text(o, "reference", s->reference);
    cli_json_text(o, "model", s->model);
    cli_json_text(o, "text", s->file);
    cli_json_real(o, "kld", r->kld);
    cli_json_real(o, "kld_error", r->kld_error);
    cli_json_real(o, "kld_median", r->kld_median);
    cli_json_real(o, "kld_99", r->kld_99);
    cli_json_real(o, "kld_max", r->kld_max);
    cli_json_real(o, "same_top", r->same_top);
    cli_json_real(o, "reference_perplexity", r->reference_perplexity);
    cli_json_real(o, "perplexity", r->perplexity);
    cli_json_int(o, "n_ctx", (uint64_t)s->n_ctx);
    cli_json_int(o, "n_windows", r->n_windows);
    cli_json_int(o, "n_scored", r->n_scored);
    cli_json_real(o, "seconds", r->seconds);
    for (uint32_t i = 0; i < r->n_worst; i++) {
        json_t *t = json_object();
        cli_json_real(t, "kld", r->worst[i].kld);
        cli_json_int(t, "window", r->worst[i].window);
        cli_json_int(t, "position", r->worst[i].position);
        cli_json_int(t, "token", (uint64_t)r->worst[i].token);
        json_array_append_new(worst, t);
    }
    json_object_set_new(o, "worst", worst);
    return cli_json_print(o);
}

static int print_report(const settings *s, const entro_model *model,
                        const entro_divergence_report *r)
{
    printf("KLD         %.6f +/- %.6f (median %.6f, 99 %% below %.6f, largest %.4f)\n", r->kld,
           r->kld_error, r->kld_median, r->kld_99, r->kld_max);
    printf("same top    %.2f %% of %llu tokens\n", 100 * r->same_top,
           (unsigned long long)r->n_scored);
    printf("perplexity  %.4f, the reference %.4f\n", r->perplexity, r->reference_perplexity);
    if (s->quiet)
        return CLI_EXIT_OK;
    printf("worst       ");
    for (uint32_t i = 0; i < r->n_worst; i++)
        printf("%s%.2f '%s' (window %u, token %u)", i ? "\n            " : "", r->worst[i].kld,
               token_text(model, r->worst[i].token), r->worst[i].window, r->worst[i].position + 1);
    printf("\n");
    cli_note("%u windows of %lld tokens; %.1f s", r->n_windows, (long long)s->n_ctx, r->seconds);
    return CLI_EXIT_OK;
}

static int compare(void *p)
{
    const settings *s = p;
    cli_progress progress = {.quiet = s->quiet};
    cli_buffer text = {0};
    entro_model *reference = NULL, *model = NULL;
    entro_perplexity_options opt;
    entro_divergence_report report;
    entro_error err = {.status = ENTRO_OK};
    int code = cli_read_text(&text, s->file);
    if (!code)
        code = cli_open_model(&reference, s->reference, false);
    if (!code)
        code = cli_open_model(&model, s->model, false);
    if (!code) {
        entro_perplexity_options_init(&opt);
        opt.n_ctx = (uint32_t)s->n_ctx;
        opt.n_windows = (uint32_t)s->windows;
        opt.n_threads = (uint32_t)s->threads;
        opt.progress = cli_progress_show;
        opt.progress_user = &progress;
        cli_progress_begin(&progress);
        entro_status status =
            entro_divergence(reference, model, text.data, text.n, &opt, &report, &err);
        cli_progress_clear(&progress);
        code = status != ENTRO_OK ? cli_fail(&err)
               : s->json          ? print_json(s, &report)
                                  : print_report(s, model, &report);
    }
    entro_model_close(model);
    entro_model_close(reference);
    free(text.data);
    return code;
}

const cli_command cli_compare_command = {
    .name = "compare",
    .summary = "how far a model predicts from a reference",
    .about =
        "Runs both models over the text and compares their predictions token by token: the "
        "Kullback-Leibler divergence (KLD, nats a token), how often the likeliest token is the "
        "same, and both perplexities.  Windows and definitions are llama.cpp's.  The reference "
        "is the source, as a rule; KLD 0 means no difference at all.",
    .examples = "  entrollm compare model.gguf model-u8.gguf wiki.test.raw --windows 8\n"
                "  entrollm compare ./Qwen2.5-1.5B model-3.5.gguf -f text.txt --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = compare,
};
