/*
 * command_compare.c - entrollm compare: how far models predict from a reference.
 *
 * The reference runs once: beside a single model, or, for several, ahead of them; then what it
 * predicts is kept in the file that --cache names, or in one that vanishes in the end.
 */
#include "cli_commands.h"
#include "cli_comparison.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct settings {
    const char *reference, *file, *cache, *page, *kv_type;
    cli_list models;
    int64_t n_ctx, windows, threads, batch;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, file),
    CLI_SHARED(settings, n_ctx),
    CLI_SHARED(settings, windows),
    {.name = "cache",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, cache),
     .value = "FILE",
     .help = "keep what the reference predicts in FILE, and use it from there the next time; made "
             "when it does not exist"},
    CLI_SHARED_AS(settings, force, "make the file of --cache anew"),
    {.name = "page",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, page),
     .value = "FILE",
     .help = "write the frontier of all models (sizes over KLD) as an HTML page, with a picture, "
             "too"},
    CLI_SHARED(settings, batch),
    CLI_SHARED(settings, kv_type),
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"REFERENCE", offsetof(settings, reference), CLI_REQUIRED,
     "the model that is right, by definition"},
    {"MODEL", offsetof(settings, models), CLI_MANY,
     "a coded file, a GGUF file or a folder; behind the last one the text, unless -f names it"},
};

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

static int compare_one(const settings *s, const cli_buffer *text, const entro_model *reference,
                       const char *cache, bool again, cli_outcome *o)
{
    cli_progress progress = {.quiet = s->quiet};
    entro_model *model = NULL;
    entro_model_info info, whole;
    entro_divergence_options opt;
    entro_error err = {.status = ENTRO_OK};
    int code = cli_open_model(&model, o->model, false);
    if (code)
        return code;
    entro_model_get_info(model, &info);
    entro_model_get_info(reference, &whole);
    o->is_container = info.kind == ENTRO_MODEL_CONTAINER;
    o->n_file_bytes = info.n_file_bytes;
    o->bits = 8 * (double)info.n_file_bytes / (double)whole.n_params;
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
    cli_comparison found = {.reference = s->reference,
                            .text = s->file,
                            .n_ctx = (uint32_t)s->n_ctx,
                            .outcomes = calloc(s->models.n, sizeof(*found.outcomes)),
                            .n = s->models.n};
    if (!found.outcomes)
        return cli_fail_text("out of memory");
    entro_model_get_info(reference, &found.reference_info);
    int code = CLI_EXIT_OK;
    for (size_t i = 0; i < s->models.n && !code; i++) {
        found.outcomes[i].model = s->models.items[i];
        code = compare_one(s, text, reference, cache, s->force && i == 0, &found.outcomes[i]);
    }
    if (!code)
        code = s->json ? cli_comparison_json(&found) : cli_comparison_print(&found, s->quiet);
    if (!code && s->page)
        code = cli_comparison_page(&found, s->page);
    free(found.outcomes);
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

/* The page must not take the place of anything that is read. */
static int check_page(const settings *s)
{
    const char *const read[] = {s->reference, s->file, s->cache};
    int code = CLI_EXIT_OK;
    for (size_t i = 0; !code && i < CLI_COUNT(read); i++)
        if (read[i])
            code = cli_check_output(s->page, read[i]);
    for (size_t i = 0; !code && i < s->models.n; i++)
        code = cli_check_output(s->page, s->models.items[i]);
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
    int code = s->page ? check_page(s) : CLI_EXIT_OK;
    if (!code)
        code = cli_read_measured(&text, s->file);
    if (!code)
        code = cli_open_model(&reference, s->reference, false);
    if (!code && !s->quiet)
        cli_note_context(reference, (uint32_t)s->n_ctx);
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
        "what the reference predicts for the next time; the results are the same without.  Bits "
        "are the "
        "file's over the reference's parameters, so that any GGUF file is a peer: --page draws "
        "sizes over KLD.  --kv-type is that of the models, the reference keeps f16; what it costs "
        "shows with small batches (-b 32), since tokens of one batch do not read one another from "
        "the cache.",
    .examples =
        "  entrollm compare model.gguf model-u8.gguf wiki.test.raw --windows 8\n"
        "  entrollm compare model.gguf a.gguf b.gguf -f wiki.test.raw --cache model.ref\n"
        "  entrollm compare model.gguf ours-3.gguf Q4_K_M.gguf -f text.txt --page frontier.html\n"
        "  entrollm compare ./Qwen2.5-1.5B model-3.5.gguf -f text.txt --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = compare,
};
