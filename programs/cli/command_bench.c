/*
 * command_bench.c - entrollm bench: prompt and generation speed at several depths.
 *
 * In llama-bench's terms: pp512 evaluates 512 tokens together, tg128 one after the other 128 times,
 * "@ d1024" with 1024 tokens in the context before.  vf16, which llama-bench has not, is a pass of
 * speculation: 16 tokens together with the logits of each, as generation would be if all guesses were
 * right.  The depth is filled once, outside the clock, and each repetition starts there again.  Token ids do not matter for speed; a fixed sequence is
 * used.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    const char *model, *prompts, *gens, *verified, *depths, *ram, *kv_type;
    int64_t repetitions, threads, batch;
    bool json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),
    {.name = "n-prompt",
     .letter = 'p',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, prompts),
     .value = "N,...",
     .fallback = "512",
     .help = "prompt lengths; 0: none"},
    {.name = "n-gen",
     .letter = 'n',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, gens),
     .value = "N,...",
     .fallback = "128",
     .help = "tokens generated; 0: none"},
    {.name = "n-verify",
     .letter = 'v',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, verified),
     .value = "N,...",
     .fallback = "16",
     .help = "tokens of a pass of speculation, at most 64: a token and guesses of what follows; "
             "0: none"},
    {.name = "n-depth",
     .letter = 'd',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, depths),
     .value = "N,...",
     .fallback = "0,512",
     .help = "tokens in the context before"},
    {.name = "repetitions",
     .letter = 'r',
     .kind = CLI_INT,
     .offset = offsetof(settings, repetitions),
     .value = "N",
     .fallback = "3",
     .min = 1,
     .max = 1000,
     .help = "times each is measured"},
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, ram),
    CLI_SHARED(settings, kv_type),
    CLI_SHARED(settings, batch),
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
};

enum { N_SIZES_MAX = 16, SIZE_MAX_TOKENS = 1 << 20, VERIFY_MAX_TOKENS = 64, VERIFY_PASSES = 4 };

typedef struct sizes {
    uint32_t n[N_SIZES_MAX];
    size_t count;
    uint32_t largest;
} sizes;

typedef enum kind { PROMPT, GENERATE, VERIFY } kind;

typedef struct result {
    char test[48];
    kind kind;
    uint32_t n_tokens, depth;
    double mean, deviation; /* tokens/s */
} result;

typedef struct bench {
    const settings *s;
    entro_session *session;
    entro_model_info info;
    entro_token *tokens; /* a fixed sequence, as long as the longest step */
    float *logits;       /* of the longest pass of speculation */
    cli_progress progress;
    entro_error err;
    size_t n_done, n_steps;
} bench;

static int parse_sizes(sizes *out, const char *text, const char *option)
{
    *out = (sizes){0};
    for (const char *p = text; *p;) {
        char *end;
        long n = strtol(p, &end, 10);
        if (end == p || n < 0 || n > SIZE_MAX_TOKENS || (*end && *end != ',') ||
            out->count == N_SIZES_MAX)
            return cli_usage_error(&cli_bench_command,
                                   "%s wants numbers with commas between them (at most %d), not "
                                   "'%s'",
                                   option, N_SIZES_MAX, text);
        out->n[out->count++] = (uint32_t)n;
        if ((uint32_t)n > out->largest)
            out->largest = (uint32_t)n;
        p = *end ? end + 1 : end;
    }
    return CLI_EXIT_OK;
}

static bool show_step(bench *b, const char *test)
{
    entro_progress progress = {.stage = "bench",
                               .item = test,
                               .done = b->n_done,
                               .total = b->n_steps,
                               .unit = "run",
                               .value = NAN};
    return cli_progress_show(&b->progress, &progress);
}

/* Passes that each take the place of the one before, as if all guesses had been wrong. */
static bool verify(bench *b, const result *r)
{
    for (int i = 0; i < VERIFY_PASSES; i++) {
        entro_session_truncate(b->session, r->depth);
        if (entro_session_decode_all(b->session, b->tokens, r->n_tokens, b->logits, &b->err) !=
            ENTRO_OK)
            return false;
    }
    return true;
}

/* One timed repetition; seconds, or a negative number after an error. */
static double time_once(bench *b, const result *r)
{
    entro_session_truncate(b->session, r->depth);
    double start = cli_now();
    if (r->kind == VERIFY)
        return verify(b, r) ? (cli_now() - start) / VERIFY_PASSES : -1;
    if (r->kind == PROMPT) {
        if (entro_session_decode(b->session, b->tokens, r->n_tokens, &b->err) != ENTRO_OK)
            return -1;
        return cli_now() - start;
    }
    for (uint32_t i = 0; i < r->n_tokens; i++) {
        if (cli_interrupted()) {
            b->err.status = ENTRO_ERR_CANCELLED;
            return -1;
        }
        if (entro_session_decode(b->session, b->tokens + i, 1, &b->err) != ENTRO_OK)
            return -1;
    }
    return cli_now() - start;
}

static bool measure(bench *b, result *r)
{
    double sum = 0, squares = 0, n = (double)b->s->repetitions;
    static const char *const names[] = {"pp", "tg", "vf"};
    snprintf(r->test, sizeof(r->test), "%s%u @ d%u", names[r->kind], r->n_tokens, r->depth);
    /* One token beforehand wakes the threads and pages the file in. */
    result warm = {.kind = GENERATE, .n_tokens = 1, .depth = r->depth};
    if (time_once(b, &warm) < 0)
        return false;
    for (int64_t i = 0; i < b->s->repetitions; i++) {
        if (!show_step(b, r->test)) {
            b->err.status = ENTRO_ERR_CANCELLED;
            return false;
        }
        double seconds = time_once(b, r);
        if (seconds < 0)
            return false;
        double speed = r->n_tokens / (seconds > 0 ? seconds : 1e-9);
        sum += speed;
        squares += speed * speed;
        b->n_done++;
    }
    r->mean = sum / n;
    double variance = n > 1 ? (squares - n * r->mean * r->mean) / (n - 1) : 0;
    r->deviation = variance > 0 ? sqrt(variance) : 0;
    return true;
}

/* Fills the context to 'depth' in steps, so that Ctrl-C is heard. */
static bool fill_depth(bench *b, uint32_t depth, uint32_t n_step)
{
    entro_session_truncate(b->session, 0);
    for (uint32_t at = 0; at < depth;) {
        uint32_t n = depth - at < n_step ? depth - at : n_step;
        if (!show_step(b, "filling the context")) {
            b->err.status = ENTRO_ERR_CANCELLED;
            return false;
        }
        if (entro_session_decode(b->session, b->tokens, n, &b->err) != ENTRO_OK)
            return false;
        at += n;
    }
    return true;
}

static int print_table(const bench *b, const result *results, size_t n, double n_read)
{
    entro_memory memory;
    entro_session_get_memory(b->session, &memory);
    printf("%s: %s, %s parameters, %s%s%s\n\n", b->s->model,
           cli_bytes((double)b->info.n_file_bytes).s, cli_count((double)b->info.n_params).s,
           b->info.architecture, *b->info.recipe ? ", " : "", b->info.recipe);
    printf("%-18s %20s %14s\n", "test", "tokens/s", "weights read");
    for (size_t i = 0; i < n; i++) {
        char rate[40] = "";
        if (results[i].kind == GENERATE)
            cli_format_rate(rate, sizeof(rate), n_read * results[i].mean);
        printf("%-18s %11.2f +- %5.2f %14s\n", results[i].test, results[i].mean,
               results[i].deviation, rate);
    }
    char kept[96];
    if (cli_format_kept(kept, sizeof(kept), &b->info))
        printf("\nweights: %s", kept);
    printf("\nmemory: file %s (mapped), KV cache %s (%s), compute %s, other %s, peak %s\n",
           cli_bytes((double)memory.file).s, cli_bytes((double)memory.kv_cache).s, b->s->kv_type,
           cli_bytes((double)memory.compute).s, cli_bytes((double)memory.other).s,
           cli_bytes((double)memory.peak_resident).s);
    return CLI_EXIT_OK;
}

static int print_json(const bench *b, const result *results, size_t n, double n_read)
{
    entro_memory memory;
    json_t *o = json_object(), *list = json_array();
    entro_session_get_memory(b->session, &memory);
    cli_json_text(o, "model", b->s->model);
    cli_json_text(o, "recipe", b->info.recipe);
    cli_json_text(o, "version", entro_version());
    cli_json_text(o, "cpu", entro_cpu_name());
    cli_json_int(o, "threads", (uint64_t)b->s->threads);
    cli_json_int(o, "repetitions", (uint64_t)b->s->repetitions);
    cli_json_int(o, "n_file_bytes", b->info.n_file_bytes);
    cli_json_int(o, "n_params", b->info.n_params);
    for (size_t i = 0; i < n; i++) {
        json_t *r = json_object();
        cli_json_text(r, "test", results[i].test);
        static const char *const keys[] = {"n_prompt", "n_gen", "n_verify"};
        cli_json_int(r, keys[results[i].kind], results[i].n_tokens);
        cli_json_int(r, "n_depth", results[i].depth);
        cli_json_real(r, "tokens_per_second", results[i].mean);
        cli_json_real(r, "deviation", results[i].deviation);
        if (results[i].kind == GENERATE)
            cli_json_real(r, "weight_bytes_per_second", n_read * results[i].mean);
        json_array_append_new(list, r);
    }
    json_object_set_new(o, "results", list);
    cli_json_int(o, "n_strip_matrices", b->info.n_strip_matrices);
    cli_json_int(o, "n_packed_matrices", b->info.n_packed_matrices);
    cli_json_int(o, "n_packed_bytes", b->info.n_packed_bytes);
    cli_json_text(o, "kv_type", b->s->kv_type);
    cli_json_int(o, "memory_file", memory.file);
    cli_json_int(o, "memory_kv_cache", memory.kv_cache);
    cli_json_int(o, "memory_compute", memory.compute);
    cli_json_int(o, "memory_other", memory.other);
    cli_json_int(o, "peak_resident", memory.peak_resident);
    return cli_json_print(o);
}

/* What is measured at each depth, by kind. */
typedef struct plan {
    sizes of[VERIFY + 1], depths;
    uint32_t largest; /* of them all */
} plan;

/* All tests at all depths; *n results. */
static bool measure_all(bench *b, const plan *p, result *results, size_t *n)
{
    for (size_t d = 0; d < p->depths.count; d++) {
        if (!fill_depth(b, p->depths.n[d], p->largest))
            return false;
        for (size_t i = 0; i < (VERIFY + 1) * N_SIZES_MAX; i++) {
            const sizes *of = &p->of[i / N_SIZES_MAX];
            if (i % N_SIZES_MAX >= of->count || of->n[i % N_SIZES_MAX] == 0)
                continue;
            results[*n] = (result){.kind = (kind)(i / N_SIZES_MAX),
                                   .n_tokens = of->n[i % N_SIZES_MAX],
                                   .depth = p->depths.n[d]};
            if (!measure(b, &results[*n]))
                return false;
            (*n)++;
        }
    }
    return true;
}

static int bench_session(bench *b, const entro_model *model, const plan *p)
{
    static result results[(VERIFY + 1) * N_SIZES_MAX * N_SIZES_MAX];
    size_t n = 0, n_longest = p->largest + 1;
    entro_session_options opt;
    entro_session_options_init(&opt);
    opt.n_ctx = p->depths.largest + p->largest + 1;
    opt.n_threads = (uint32_t)b->s->threads;
    opt.n_batch = (uint32_t)b->s->batch;
    opt.kv_type = cli_kv_type(b->s->kv_type);
    size_t n_tests = p->of[PROMPT].count + p->of[GENERATE].count + p->of[VERIFY].count;
    b->n_steps = p->depths.count * n_tests * (size_t)b->s->repetitions;
    b->tokens = calloc(n_longest, sizeof(*b->tokens));
    b->logits = malloc((p->of[VERIFY].largest * (size_t)b->info.n_vocab + 1) * sizeof(*b->logits));
    if (!b->tokens || !b->logits)
        return cli_fail_text("out of memory");
    for (size_t i = 0; i < n_longest; i++)
        b->tokens[i] =
            (entro_token)(1 + (i * 7919) % (b->info.n_vocab > 2 ? b->info.n_vocab - 1 : 1));
    if (entro_session_open(&b->session, model, &opt, &b->err) != ENTRO_OK)
        return cli_fail(&b->err);
    bool ok = measure_all(b, p, results, &n);
    cli_progress_clear(&b->progress);
    if (!ok)
        return cli_fail(&b->err);
    double n_read = (double)cli_bytes_per_token(model);
    return b->s->json ? print_json(b, results, n, n_read) : print_table(b, results, n, n_read);
}

static int make_plan(plan *p, const settings *s)
{
    const struct {
        sizes *out;
        const char *text, *option;
    } lists[] = {{&p->of[PROMPT], s->prompts, "-p"},
                 {&p->of[GENERATE], s->gens, "-n"},
                 {&p->of[VERIFY], s->verified, "-v"},
                 {&p->depths, s->depths, "-d"}};
    for (size_t i = 0; i < CLI_COUNT(lists); i++) {
        int code = parse_sizes(lists[i].out, lists[i].text, lists[i].option);
        if (code)
            return code;
    }
    if (p->of[VERIFY].largest > VERIFY_MAX_TOKENS)
        return cli_usage_error(&cli_bench_command, "-v wants at most %d tokens, not %u",
                               VERIFY_MAX_TOKENS, p->of[VERIFY].largest);
    p->largest = 0;
    for (int i = PROMPT; i <= VERIFY; i++)
        p->largest = p->of[i].largest > p->largest ? p->of[i].largest : p->largest;
    if (p->largest == 0)
        return cli_usage_error(&cli_bench_command, "nothing to measure: -p, -n and -v are all 0");
    return CLI_EXIT_OK;
}

static int bench_model(void *given)
{
    const settings *s = given;
    plan p;
    entro_model *model = NULL;
    int code = make_plan(&p, s);
    if (!code)
        code = cli_open_to_run(&model, &cli_bench_command, s->model, s->ram, s->threads, s->quiet);
    if (code)
        return code;
    bench b = {.s = s, .progress = {.quiet = s->quiet}};
    entro_model_get_info(model, &b.info);
    code = bench_session(&b, model, &p);
    entro_session_close(b.session);
    free(b.tokens);
    free(b.logits);
    entro_model_close(model);
    return code;
}

const cli_command cli_bench_command = {
    .name = "bench",
    .summary = "prompt and generation speed at several depths",
    .about =
        "pp512 evaluates a prompt of 512 tokens, tg128 generates 128 tokens, '@ d1024' with "
        "1024 tokens in the context before; the tests and their names are llama-bench's.  vf16 is "
        "a pass of speculation, 16 tokens together: over tg it is what right guesses gain.  The "
        "deviation is that of the repetitions.",
    .examples = "  entrollm bench model-u8.gguf\n"
                "  entrollm bench model-u8.gguf -p 512 -n 128 -d 0,1024,4096 -r 5\n"
                "  entrollm bench model-u8.gguf -p 0 -n 64 -d 0 -t 1 --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = bench_model,
};
