/*
 * command_run.c - entrollm run: text from a model, once or as a conversation.
 *
 * stdout carries the generated text alone; remarks and the account go to stderr.
 */
#include "cli_chat.h"
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

typedef struct settings {
    const char *model, *prompt, *file, *system, *speculate, *ram, *kv_type;
    int64_t n_predict, n_ctx, threads, batch, seed, top_k, repeat_last_n;
    double temp, top_p, min_p, repeat_penalty;
    cli_list stops;
    bool raw, chat, echo, special, escape, ignore_eos, json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),
    {.name = "prompt",
     .letter = 'p',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, prompt),
     .value = "TEXT",
     .help = "the prompt"},
    {.name = "file",
     .letter = 'f',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, file),
     .value = "FILE",
     .help = "read the prompt from a file; - reads standard input"},
    {.name = "predict",
     .letter = 'n',
     .alias = "n-predict",
     .kind = CLI_INT,
     .offset = offsetof(settings, n_predict),
     .value = "N",
     .fallback = "-1",
     .min = -1,
     .max = 1 << 30,
     .help = "tokens to generate at most; -1: until the model ends"},
    {.name = "ctx-size",
     .letter = 'c',
     .kind = CLI_INT,
     .offset = offsetof(settings, n_ctx),
     .value = "N",
     .fallback = "0",
     .min = 0,
     .max = 1 << 24,
     .help = "tokens of context; 0: what the model was trained for, at most 4096"},
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, ram),
    CLI_SHARED(settings, kv_type),
    CLI_SHARED(settings, batch),
    {.name = "seed",
     .letter = 's',
     .kind = CLI_INT,
     .offset = offsetof(settings, seed),
     .value = "N",
     .fallback = "-1",
     .min = -1,
     .max = 9007199254740992.0,
     .help = "same seed, same text, whatever the threads; -1: another each time"},
    {.name = "temp",
     .alias = "temperature",
     .kind = CLI_REAL,
     .offset = offsetof(settings, temp),
     .value = "X",
     .fallback = "0.8",
     .min = 0,
     .max = 100,
     .help = "how daring; 0: always the likeliest token"},
    {.name = "top-k",
     .kind = CLI_INT,
     .offset = offsetof(settings, top_k),
     .value = "N",
     .fallback = "40",
     .min = 0,
     .max = 1 << 30,
     .help = "only the N likeliest tokens; 0: all"},
    {.name = "top-p",
     .kind = CLI_REAL,
     .offset = offsetof(settings, top_p),
     .value = "X",
     .fallback = "0.95",
     .min = 0,
     .max = 1,
     .help = "only the likeliest tokens that make up this share; 1: all"},
    {.name = "min-p",
     .kind = CLI_REAL,
     .offset = offsetof(settings, min_p),
     .value = "X",
     .fallback = "0.05",
     .min = 0,
     .max = 1,
     .help = "only tokens at least this share as likely as the likeliest; 0: all"},
    {.name = "repeat-penalty",
     .kind = CLI_REAL,
     .offset = offsetof(settings, repeat_penalty),
     .value = "X",
     .fallback = "1",
     .min = 0.01,
     .max = 100,
     .help = "makes tokens of the recent text less likely; 1: off"},
    {.name = "repeat-last-n",
     .kind = CLI_INT,
     .offset = offsetof(settings, repeat_last_n),
     .value = "N",
     .fallback = "64",
     .min = 0,
     .max = 1 << 20,
     .help = "tokens the penalty looks back at"},
    {.name = "speculate",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, speculate),
     .value = "HOW",
     .fallback = "auto",
     .choices = "auto|on|off",
     .help = "guess tokens from what the context repeats and check several in one pass: auto (when "
             "it is faster), on, off; the text is the same"},
    {.name = "stop",
     .alias = "reverse-prompt",
     .letter = 'r',
     .kind = CLI_LIST,
     .offset = offsetof(settings, stops),
     .value = "TEXT",
     .help = "end before this text; may be repeated"},
    {.name = "system",
     .alias = "system-prompt",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, system),
     .value = "TEXT",
     .help = "system message of a chat"},
    {.name = "chat",
     .alias = "conversation",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, chat),
     .help = "go on as a conversation after the first answer"},
    {.name = "raw",
     .alias = "no-conversation",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, raw),
     .help = "take the prompt literally, without the model's chat template"},
    {.name = "escape",
     .letter = 'e',
     .kind = CLI_FLAG,
     .offset = offsetof(settings, escape),
     .help = "\\n, \\t, \\\" and \\\\ in the prompt are escapes"},
    {.name = "echo",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, echo),
     .help = "write the prompt before the text"},
    {.name = "special",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, special),
     .help = "show special tokens in the text"},
    {.name = "ignore-eos",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, ignore_eos),
     .help = "go on after the model's end token"},
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
};

typedef struct job {
    const settings *s;
    entro_model *model;
    entro_model_info info;
    entro_session *session;
    entro_sampler *sampler;
    uint64_t seed;
    cli_buffer prompt; /* no data: interactive */
    cli_generator g;
} job;

/* ---- setting up ------------------------------------------------------------------------- */

static cli_speculate speculate_of(const settings *s)
{
    return strcmp(s->speculate, "on") == 0    ? CLI_SPECULATE_ON
           : strcmp(s->speculate, "off") == 0 ? CLI_SPECULATE_OFF
                                              : CLI_SPECULATE_AUTO;
}

static int check_usage(const settings *s)
{
    if (s->prompt && s->file)
        return cli_usage_error(&cli_run_command, "-p and -f exclude each other");
    if (s->raw && (s->chat || s->system))
        return cli_usage_error(&cli_run_command, "--raw excludes --chat and --system");
    if (s->json && s->chat)
        return cli_usage_error(&cli_run_command, "--json excludes --chat");
    if (!s->prompt && !s->file && isatty(STDIN_FILENO) && (s->raw || s->json))
        return cli_usage_error(&cli_run_command, "a prompt is missing: give it with -p \"...\"");
    for (size_t i = 0; i < s->stops.n; i++)
        if (!*s->stops.items[i])
            return cli_usage_error(&cli_run_command,
                                   "--stop is empty (a variable that is not set?); leave it out");
    return CLI_EXIT_OK;
}

/* After the model was opened: of two mistakes that one is said, and nothing is read for nothing. */
static int read_prompt(job *j)
{
    const settings *s = j->s;
    if (s->prompt) {
        j->prompt = (cli_buffer){strdup(s->prompt), strlen(s->prompt)};
        if (!j->prompt.data)
            return cli_fail_text("out of memory");
    } else if (s->file || !isatty(STDIN_FILENO)) {
        int code = cli_read_text(&j->prompt, s->file ? s->file : "-");
        if (code)
            return code;
        if (j->prompt.n && j->prompt.data[j->prompt.n - 1] == '\n')
            j->prompt.data[--j->prompt.n] = 0;
        if (!j->prompt.n)
            return cli_usage_error(&cli_run_command, "%s is empty; give the prompt with -p \"...\"",
                                   s->file ? s->file : "standard input");
    }
    if (s->escape && j->prompt.data)
        cli_unescape(&j->prompt);
    return CLI_EXIT_OK;
}

static int open_session(job *j)
{
    const settings *s = j->s;
    entro_error err = {.status = ENTRO_OK};
    entro_session_options session_options;
    entro_sampler_options sampler_options;
    entro_session_options_init(&session_options);
    session_options.n_ctx = (uint32_t)s->n_ctx;
    session_options.n_threads = (uint32_t)s->threads;
    session_options.n_batch = (uint32_t)s->batch;
    session_options.kv_type = cli_kv_type(s->kv_type);
    if (entro_session_open(&j->session, j->model, &session_options, &err) != ENTRO_OK)
        return cli_fail(&err);
    if (!s->quiet)
        cli_note_context(j->model, entro_session_n_ctx(j->session));
    j->seed = (uint64_t)s->seed;
    if (s->seed < 0) {
        uint32_t random = 1;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
            random = (uint32_t)(cli_now() * 1e6);
        j->seed = random;
    }
    entro_sampler_options_init(&sampler_options);
    sampler_options.temperature = (float)s->temp;
    sampler_options.top_k = (uint32_t)s->top_k;
    sampler_options.top_p = (float)s->top_p;
    sampler_options.min_p = (float)s->min_p;
    sampler_options.repeat_penalty = (float)s->repeat_penalty;
    sampler_options.repeat_last_n = (uint32_t)s->repeat_last_n;
    sampler_options.seed = j->seed;
    if (entro_sampler_new(&j->sampler, j->info.n_vocab, &sampler_options, &err) != ENTRO_OK)
        return cli_fail(&err);
    j->g = (cli_generator){.model = j->model,
                           .session = j->session,
                           .sampler = j->sampler,
                           .stops = &s->stops,
                           .n_predict = s->n_predict,
                           .show = !s->json,
                           .show_special = s->special,
                           .ignore_end = s->ignore_eos,
                           .speculation = {.mode = speculate_of(s),
                                           .n_vocab = j->info.n_vocab,
                                           .n_most = j->info.n_strip_matrices > 0
                                                         ? CLI_MAX_DRAFT
                                                         : CLI_MAX_DRAFT_PLAIN},
                           .progress = {.quiet = s->quiet}};
    return CLI_EXIT_OK;
}

/* ---- the account ------------------------------------------------------------------------ */

static double speed(double n, double seconds)
{
    return n > 0 && seconds > 0 ? n / seconds : 0;
}

static void print_account(const job *j)
{
    const cli_generator *g = &j->g;
    entro_memory m;
    char rate[40];
    double generated = speed(g->n_evaluated, g->generate_seconds);
    entro_session_get_memory(j->session, &m);
    cli_format_rate(rate, sizeof(rate), generated * (double)cli_bytes_per_token(j->model));
    cli_note("prompt     %u tokens, %.1f tok/s", g->n_prompt,
             speed(g->n_prompt, g->prompt_seconds));
    if (generated > 0) /* the first token comes from the prompt and takes no time of its own */
        cli_note("generated  %u tokens, %.1f tok/s, %s of weights; seed %llu", g->n_generated,
                 generated, rate, (unsigned long long)j->seed);
    else
        cli_note("generated  %u tokens; seed %llu", g->n_generated, (unsigned long long)j->seed);
    const cli_speculation *guesses = &g->speculation;
    if (guesses->n_passes > 0)
        cli_note("guessed    %u tokens in %u passes, %u right", guesses->n_drafted,
                 guesses->n_passes, guesses->n_right);
    char kept[96];
    if (cli_format_kept(kept, sizeof(kept), &j->info))
        cli_note("weights    %s", kept);
    cli_note("memory     file %s (mapped), KV cache %s (%s), compute %s, other %s; peak %s",
             cli_bytes((double)m.file).s, cli_bytes((double)m.kv_cache).s, j->s->kv_type,
             cli_bytes((double)m.compute).s, cli_bytes((double)m.other).s,
             cli_bytes((double)m.peak_resident).s);
}

static int print_json(const job *j)
{
    const cli_generator *g = &j->g;
    entro_memory m;
    entro_session_get_memory(j->session, &m);
    json_t *o = json_object();
    cli_json_text(o, "model", j->s->model);
    cli_json_text(o, "text", g->text ? g->text : "");
    cli_json_text(o, "finish", cli_finish_name(g->finish));
    cli_json_int(o, "seed", j->seed);
    cli_json_int(o, "n_prompt", g->n_prompt);
    cli_json_int(o, "n_generated", g->n_generated);
    cli_json_real(o, "prompt_tokens_per_second", speed(g->n_prompt, g->prompt_seconds));
    double generated = speed(g->n_evaluated, g->generate_seconds);
    cli_json_real(o, "tokens_per_second", generated);
    cli_json_int(o, "n_drafted", g->speculation.n_drafted);
    cli_json_int(o, "n_draft_right", g->speculation.n_right);
    cli_json_real(o, "weight_bytes_per_second", generated * (double)cli_bytes_per_token(j->model));
    cli_json_int(o, "n_strip_matrices", j->info.n_strip_matrices);
    cli_json_int(o, "n_packed_matrices", j->info.n_packed_matrices);
    cli_json_int(o, "n_packed_bytes", j->info.n_packed_bytes);
    cli_json_text(o, "kv_type", j->s->kv_type);
    cli_json_int(o, "memory_file", m.file);
    cli_json_int(o, "memory_kv_cache", m.kv_cache);
    cli_json_int(o, "memory_compute", m.compute);
    cli_json_int(o, "memory_other", m.other);
    cli_json_int(o, "peak_resident", m.peak_resident);
    return cli_json_print(o);
}

/* ---- running ---------------------------------------------------------------------------- */

static int run_raw(job *j)
{
    entro_token *tokens = NULL;
    size_t n_tokens = 0;
    int code = cli_tokenize(j->model, j->prompt.data, j->prompt.n, true, true, &tokens, &n_tokens);
    if (!code)
        code = cli_generator_prompt(&j->g, tokens, n_tokens);
    free(tokens);
    if (!code && j->g.finish != CLI_FINISH_INTERRUPT)
        code = cli_generator_run(&j->g);
    return code;
}

static int run_chat(job *j)
{
    cli_chat chat = {.g = &j->g, .quiet = j->s->quiet};
    int code = CLI_EXIT_OK;
    if (j->s->system && !cli_chat_add(&chat, "system", j->s->system))
        code = cli_fail_text("out of memory");
    if (!code && j->prompt.data) {
        code = cli_chat_add(&chat, "user", j->prompt.data) ? cli_chat_answer(&chat)
                                                           : cli_fail_text("out of memory");
        if (!code && j->s->chat)
            putchar('\n');
    }
    if (!code && !cli_interrupted() && (j->s->chat || !j->prompt.data))
        code = cli_chat_loop(&chat);
    cli_chat_free(&chat);
    return code;
}

static void note_full(const job *j)
{
    uint32_t n_ctx = entro_session_n_ctx(j->session);
    if (cli_context_can_grow(j->model, n_ctx))
        cli_note("stopped: the context of %u tokens is full, and old text is not dropped to make "
                 "room; -c sets a larger one",
                 n_ctx);
    else
        cli_note("stopped: the context of %u tokens is full, and old text is not dropped to make "
                 "room; the model was trained for %u",
                 n_ctx, j->info.n_ctx_train);
}

static int generate(job *j)
{
    const settings *s = j->s;
    bool as_chat = j->info.has_chat_template && !s->raw;
    if (!as_chat && (s->chat || s->system || !j->prompt.data))
        return cli_fail_text("%s: the model has no chat template, so there is no conversation to "
                             "be had; give a text to continue with -p \"...\"",
                             s->model);
    if (as_chat && j->prompt.data && !j->prompt.n)
        return cli_usage_error(&cli_run_command,
                               "the prompt is empty (a variable that is not set?); "
                               "--raw begins with nothing");
    if (as_chat && j->prompt.data && !s->quiet)
        cli_note("the prompt is put into the model's chat template; --raw takes it literally");
    if (s->echo && j->prompt.data && !s->json)
        fwrite(j->prompt.data, 1, j->prompt.n, stdout);
    int code = as_chat ? run_chat(j) : run_raw(j);
    if (code)
        return code;
    if (s->json)
        return print_json(j);
    if (j->prompt.data && (!j->g.n_text || j->g.text[j->g.n_text - 1] != '\n'))
        putchar('\n');
    if (j->g.finish == CLI_FINISH_CONTEXT)
        note_full(j);
    fflush(stdout);
    if (!s->quiet)
        print_account(j);
    return cli_interrupted() ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}

static int run(void *p)
{
    job j = {.s = p};
    int code = check_usage(j.s);
    if (!code)
        code = cli_open_to_run(&j.model, &cli_run_command, j.s->model, j.s->ram, j.s->threads,
                               j.s->quiet);
    if (!code)
        code = read_prompt(&j);
    if (!code) {
        entro_model_get_info(j.model, &j.info);
        code = *j.info.tokenizer
                   ? open_session(&j)
                   : cli_fail_text("%s: the model has no tokenizer, so text cannot go in or come "
                                   "out; take a file with tokenizer.ggml.* keys, or a folder with "
                                   "tokenizer.json or tokenizer.model",
                                   j.s->model);
    }
    if (!code)
        code = generate(&j);
    cli_generator_free(&j.g);
    entro_sampler_free(j.sampler);
    entro_session_close(j.session);
    entro_model_close(j.model);
    free(j.prompt.data);
    return code;
}

const cli_command cli_run_command = {
    .name = "run",
    .summary = "generate text, once or as a conversation",
    .about =
        "Runs the model from the coded weights (GGUF files and folders run too).  A model with "
        "a chat template gets the prompt as a chat message, unless --raw says otherwise.  "
        "Without a prompt it is read from standard input; on a terminal a conversation begins.",
    .examples = "  entrollm run model-u8.gguf -p \"What is entropy?\"\n"
                "  entrollm run model-u8.gguf                              # a conversation\n"
                "  entrollm run model-u8.gguf --raw -p \"Once upon a time\" -n 64 --seed 7\n"
                "  entrollm run -m model-u8.gguf -f question.txt --temp 0 --stop \"###\"\n"
                "  echo \"Name three rivers.\" | entrollm run model-u8.gguf --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = run,
};
