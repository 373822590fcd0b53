/*
 * command_compare.c - entrollm compare: how far models predict from a reference.
 *
 * The reference runs once: beside a single model, or, for several, ahead of them; then what it
 * predicts is kept in the file that --cache names, or in one that vanishes in the end.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct settings {
    const char *reference, *file, *cache, *kv_type;
    cli_list models;
    int64_t n_ctx, windows, threads, batch;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    {.name = "file",
     .letter = 'f',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, file),
     .value = "TEXT",
     .help = "the text, instead of the last argument; - reads standard input"},
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
    {.name = "cache",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, cache),
     .value = "FILE",
     .help = "keep what the reference predicts in FILE, and use it from there the next time; made "
             "when it does not exist"},
    {.name = "force",
     .letter = 'F',
     .kind = CLI_FLAG,
     .offset = offsetof(settings, force),
     .help = "make the file of --cache anew"},
    {.name = "batch-size",
     .letter = 'b',
     .kind = CLI_INT,
     .offset = offsetof(settings, batch),
     .value = "N",
     .fallback = "0",
     .min = 0,
     .max = 1 << 14,
     .help = "tokens evaluated together; 0: chosen by the library"},
    CLI_OPTION_KV_TYPE(settings),
    CLI_OPTION_THREADS(settings),
    CLI_OPTION_JSON(settings),
    CLI_OPTION_QUIET(settings),
};

static const cli_positional positionals[] = {
    {"REFERENCE", offsetof(settings, reference), CLI_REQUIRED,
     "the model that is right, by definition"},
    {"MODEL", offsetof(settings, models), CLI_MANY,
     "a coded file, a GGUF file or a folder; behind the last one the text, unless -f names it"},
};

/* One model's figures. */
typedef struct outcome {
    const char *model;
    entro_divergence_report report;
    char worst[ENTRO_N_WORST][24]; /* the tokens as text */
} outcome;

/* The text of one token, shortened, without control characters. */
static void show_token(char *out, size_t n_out, const entro_model *model, entro_token token)
{
    const char *text = "";
    size_t n = 0;
    entro_text_stream *stream = NULL;
    out[0] = 0;
    if (entro_text_stream_new(&stream, model, true, NULL) == ENTRO_OK &&
        entro_text_stream_put(stream, token, &text, &n, NULL) == ENTRO_OK) {
        snprintf(out, n_out, "%.*s", (int)(n < 20 ? n : 20), text);
        for (char *p = out; *p; p++)
            if ((unsigned char)*p < ' ')
                *p = '.';
    }
    entro_text_stream_free(stream);
}

static json_t *json_of(const outcome *o)
{
    const entro_divergence_report *r = &o->report;
    json_t *model = json_object(), *worst = json_array();
    cli_json_text(model, "model", o->model);
    cli_json_real(model, "kld", r->kld);
    cli_json_real(model, "kld_error", r->kld_error);
    cli_json_real(model, "kld_median", r->kld_median);
    cli_json_real(model, "kld_99", r->kld_99);
    cli_json_real(model, "kld_max", r->kld_max);
    cli_json_real(model, "same_top", r->same_top);
    cli_json_real(model, "perplexity", r->perplexity);
    cli_json_real(model, "seconds", r->seconds);
    for (uint32_t i = 0; i < r->n_worst; i++) {
        json_t *t = json_object();
        cli_json_real(t, "kld", r->worst[i].kld);
        cli_json_int(t, "window", r->worst[i].window);
        cli_json_int(t, "position", r->worst[i].position);
        cli_json_int(t, "token", (uint64_t)r->worst[i].token);
        cli_json_text(t, "text", o->worst[i]);
        json_array_append_new(worst, t);
    }
    json_object_set_new(model, "worst", worst);
    return model;
}

static int print_json(const settings *s, const outcome *outcomes)
{
    const entro_divergence_report *first = &outcomes[0].report;
    json_t *o = json_object(), *models = json_array();
    cli_json_text(o, "reference", s->reference);
    cli_json_text(o, "text", s->file);
    cli_json_real(o, "reference_perplexity", first->reference_perplexity);
    json_object_set_new(o, "reference_reused", json_boolean(first->reference_reused));
    cli_json_int(o, "n_ctx", (uint64_t)s->n_ctx);
    cli_json_int(o, "n_windows", first->n_windows);
    cli_json_int(o, "n_scored", first->n_scored);
    for (size_t i = 0; i < s->models.n; i++)
        json_array_append_new(models, json_of(&outcomes[i]));
    json_object_set_new(o, "models", models);
    return cli_json_print(o);
}

static void print_table(const settings *s, const outcome *outcomes)
{
    enum { NAME = 28 };
    char name[64];
    printf("%-*s  %-23s%9s%10s%10s%10s%12s\n", NAME, "model", "KLD", "median", "99 %", "largest",
           "same top", "perplexity");
    cli_format_shortened(name, sizeof(name), cli_base_name(s->reference), NAME);
    printf("%-*s  %-23s%9s%10s%10s%10s%12.4f\n", NAME, name, "(the reference)", "", "", "", "",
           outcomes[0].report.reference_perplexity);
    for (size_t i = 0; i < s->models.n; i++) {
        const entro_divergence_report *r = &outcomes[i].report;
        cli_format_shortened(name, sizeof(name), cli_base_name(outcomes[i].model), NAME);
        printf("%-*s  %.6f +/- %.6f%11.6f%10.6f%10.4f%8.2f %%%12.4f\n", NAME, name, r->kld,
               r->kld_error, r->kld_median, r->kld_99, r->kld_max, 100 * r->same_top,
               r->perplexity);
    }
}

static void print_worst(const outcome *o)
{
    const entro_divergence_report *r = &o->report;
    printf("\nworst tokens of %s\n", cli_base_name(o->model));
    for (uint32_t i = 0; i < r->n_worst; i++)
        printf("  %8.4f  '%s' (window %u, token %u)\n", r->worst[i].kld, o->worst[i],
               r->worst[i].window, r->worst[i].position + 1);
}

static int print_report(const settings *s, const outcome *outcomes)
{
    const entro_divergence_report *first = &outcomes[0].report;
    double seconds = 0;
    print_table(s, outcomes);
    if (s->quiet)
        return CLI_EXIT_OK;
    for (size_t i = 0; i < s->models.n; i++) {
        print_worst(&outcomes[i]);
        seconds += outcomes[i].report.seconds;
    }
    cli_note("%llu tokens in %u windows of %lld; %.1f s%s", (unsigned long long)first->n_scored,
             first->n_windows, (long long)s->n_ctx, seconds,
             first->reference_reused ? "; the reference from the file" : "");
    return CLI_EXIT_OK;
}

static int compare_one(const settings *s, const cli_buffer *text, const entro_model *reference,
                       const char *cache, bool again, outcome *o)
{
    cli_progress progress = {.quiet = s->quiet};
    entro_model *model = NULL;
    entro_divergence_options opt;
    entro_error err = {.status = ENTRO_OK};
    int code = cli_open_model(&model, o->model, false);
    if (code)
        return code;
    entro_divergence_options_init(&opt);
    opt.n_ctx = (uint32_t)s->n_ctx;
    opt.n_windows = (uint32_t)s->windows;
    opt.n_threads = (uint32_t)s->threads;
    opt.n_batch = (uint32_t)s->batch;
    opt.kv_type = cli_kv_type(s->kv_type);
    opt.progress = cli_progress_show;
    opt.progress_user = &progress;
    opt.cache = cache;
    opt.overwrite_cache = again;
    cli_progress_begin(&progress);
    entro_status status =
        entro_divergence(reference, model, text->data, text->n, &opt, &o->report, &err);
    cli_progress_clear(&progress);
    if (status != ENTRO_OK)
        code = cli_fail(&err);
    for (uint32_t i = 0; !code && i < o->report.n_worst; i++)
        show_token(o->worst[i], sizeof(o->worst[i]), model, o->report.worst[i].token);
    entro_model_close(model);
    return code;
}

static int compare_all(const settings *s, const cli_buffer *text, const entro_model *reference,
                       const char *cache)
{
    outcome *outcomes = calloc(s->models.n, sizeof(*outcomes));
    if (!outcomes)
        return cli_fail_text("out of memory");
    int code = CLI_EXIT_OK;
    for (size_t i = 0; i < s->models.n && !code; i++) {
        outcomes[i].model = s->models.items[i];
        code = compare_one(s, text, reference, cache, s->force && i == 0, &outcomes[i]);
    }
    if (!code)
        code = s->json ? print_json(s, outcomes) : print_report(s, outcomes);
    free(outcomes);
    return code;
}

/* With a folder for the reference's predictions that vanishes in the end. */
static int compare_with_folder(const settings *s, const cli_buffer *text,
                               const entro_model *reference)
{
    char folder[512], cache[540];
    const char *place = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/entrollm-XXXXXX", place && *place ? place : "/tmp");
    if (!mkdtemp(folder))
        return cli_fail_text("%s: %s (a place for the reference's predictions; TMPDIR names "
                             "another, --cache a file)",
                             folder, strerror(errno));
    snprintf(cache, sizeof(cache), "%s/reference", folder);
    int code = compare_all(s, text, reference, cache);
    unlink(cache);
    rmdir(folder);
    return code;
}

static int compare(void *p)
{
    settings *s = p;
    cli_buffer text = {0};
    entro_model *reference = NULL;
    if (!s->file && s->models.n > 1)
        s->file = s->models.items[--s->models.n];
    if (!s->file)
        return cli_usage_error(&cli_compare_command, "TEXT is missing: the last argument, or -f");
    int code = cli_read_text(&text, s->file);
    if (!code)
        code = cli_open_model(&reference, s->reference, false);
    if (!code)
        code = s->models.n > 1 && !s->cache ? compare_with_folder(s, &text, reference)
                                            : compare_all(s, &text, reference, s->cache);
    entro_model_close(reference);
    free(text.data);
    return code;
}

const cli_command cli_compare_command = {
    .name = "compare",
    .summary = "how far models predict from a reference",
    .about =
        "Runs the reference once and every model over the text, and compares their predictions "
        "token "
        "by token: the Kullback-Leibler divergence (KLD, nats a token), how often the likeliest "
        "token is the same, and the perplexities.  Windows and definitions are llama.cpp's.  The "
        "reference is the source, as a rule; KLD 0 means no difference at all.  --cache keeps "
        "what the reference predicts for the next time; the results are the same without.  "
        "--kv-type "
        "is that of the models, the reference keeps f16; what it costs shows with small batches "
        "(-b 32), since tokens of one batch do not read one another from the cache.",
    .examples = "  entrollm compare model.gguf model-u8.gguf wiki.test.raw --windows 8\n"
                "  entrollm compare model.gguf a.gguf b.gguf -f wiki.test.raw --cache model.ref\n"
                "  entrollm compare ./Qwen2.5-1.5B model-3.5.gguf -f text.txt --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = compare,
};
