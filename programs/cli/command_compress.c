/*
 * command_compress.c - entrollm compress: a source model to one coded file, with the account.
 */
#include "cli_account.h"
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_page.h"
#include "cli_terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    const char *source, *try, *page, *output, *method, *table, *coding, *size, *statistics;
    double bits, bpw, max_kld;
    cli_list overrides, calib;
    int64_t threads, calib_tokens, seed, drift, tune;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, output),
    {.name = "method",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, method),
     .value = "METHOD",
     .choices = "watersic|rtn|u8|u4|u8-row|u4-row|u4-row-sparse|lossless",
     .help =
         "how weights become integers.  watersic: calibrated, the best for its size; rtn: one "
         "scale a row, as fine as --bits or the size says; u8, u4: 8 or 4 bits, one scale a "
         "tensor (the EntroLLM paper's) or a row, the last one with outliers apart; lossless: "
         "every bit is kept, and restore gives back the source's files.  Without it watersic; rtn "
         "with --bits, u8 with --coding words or --table model"},
    {.name = "bpw",
     .kind = CLI_REAL,
     .offset = offsetof(settings, bpw),
     .value = "B",
     .help = "size of the whole file in bits a parameter, met from below (watersic, rtn); 4 "
             "without it",
     .min = 0.5,
     .max = 16},
    {.name = "size",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, size),
     .value = "SIZE",
     .help = "the same as a size, like 600MB"},
    {.name = "max-kld",
     .kind = CLI_REAL,
     .offset = offsetof(settings, max_kld),
     .value = "K",
     .help =
         "the other way round: the smallest file that is expected to stay within this KLD to the "
         "source, nats a token (watersic)",
     .min = 1e-5,
     .max = 10},
    {.name = "try",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, try),
     .value = "LIST",
     .help =
         "bits a parameter like 2.5,3,3.5,4: says what each would cost, or that it cannot be met, "
         "and writes nothing"},
    {.name = "page",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, page),
     .value = "FILE",
     .help = "write the account as an HTML page, with pictures, too; with --try the frontier"},
    {.name = "calib",
     .kind = CLI_LIST,
     .offset = offsetof(settings, calib),
     .value = "FILE",
     .help = "text to calibrate on, plain or JSON lines; may be repeated.  Without it the model "
             "writes its own"},
    {.name = "calib-tokens",
     .kind = CLI_INT,
     .offset = offsetof(settings, calib_tokens),
     .value = "N",
     .help = "tokens of it; more are better and slower [40960, of the model's own 32768]",
     .min = 512,
     .max = 1 << 24},
    {.name = "statistics",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, statistics),
     .value = "FOLDER",
     .help = "what calibration has found out, to be used again for other sizes; without it "
             "SOURCE's name with .calib, beside OUTPUT"},
    CLI_SHARED_AS(settings, seed, "of the text the model writes and of what calibration samples"),
    {.name = "drift",
     .kind = CLI_INT,
     .offset = offsetof(settings, drift),
     .value = "TOKENS",
     .alone = "20480",
     .help =
         "correct each layer's weights, before they are quantized, for what quantization of the "
         "layers before does to their inputs, seen on so many tokens of the same text; 20480 "
         "without a number (watersic).  A better file of the same size (a tenth less KLD at 3 "
         "and 4 bits), for about as long as calibration takes, with every size",
     .min = 512,
     .max = 1 << 24},
    {.name = "tune",
     .kind = CLI_INT,
     .offset = offsetof(settings, tune),
     .value = "TOKENS",
     .alone = "20480",
     .help =
         "then fine-tune gains and biases against SOURCE, as 'entrollm tune' does, with so many "
         "tokens of the same text; 20480 without a number.  The file takes no more room; it is "
         "there before "
         "tuning begins, and replaced when that made it better",
     .min = 512,
     .max = 1 << 24},
    {.name = "bits",
     .kind = CLI_REAL,
     .offset = offsetof(settings, bits),
     .value = "B",
     .help = "entropy of rtn's integers, bits a weight; 4 without it.  Above about 7.3 u8-row is "
             "mostly the "
             "smaller file",
     .min = 1,
     .max = 9},
    {.name = "coding",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, coding),
     .value = "KIND",
     .fallback = "auto",
     .choices = "auto|words|strips|rans",
     .help = "how integers are coded: strips are the faster to run, words the smaller where most "
             "integers are the same; rans makes the smallest files, which are kept packed in "
             "memory to run; auto: rans for watersic, strips for others, but for matrices whose "
             "strips would take more than 7.5 bits a weight, which packed take hardly more: "
             "those are in rans"},
    {.name = "table",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, table),
     .value = "KIND",
     .fallback = "tensor",
     .choices = "tensor|model",
     .help = "one code table a tensor, or one for the model (words only)"},
    {.name = "set",
     .kind = CLI_LIST,
     .offset = offsetof(settings, overrides),
     .value = "PATTERN=METHOD",
     .help = "another method for tensors whose name matches (also rtn:6.5 and the like, keep, f16, "
             "f32; lossless keeps 2-D weights exactly); may be repeated, the first match wins"},
    {.name = "keep",
     .kind = CLI_LIST,
     .offset = offsetof(settings, overrides),
     .value = "PATTERN",
     .suffix = "=keep",
     .help = "store matching tensors as they are in the source"},
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, force),
    CLI_SHARED(settings, json),
    CLI_SHARED_AS(settings, quiet, "no progress, no account"),
};

static const cli_positional positionals[] = {
    {"SOURCE", offsetof(settings, source), true, "a GGUF file or a Hugging Face folder"},
    {"OUTPUT", offsetof(settings, output), false,
     "the file to write; without it SOURCE's name with the method added"},
};

static int check_overrides(const settings *s)
{
    for (size_t i = 0; i < s->overrides.n; i++) {
        const char *item = s->overrides.items[i], *equals = strrchr(item, '=');
        if (!equals || equals == item || !equals[1])
            return cli_usage_error(&cli_compress_command,
                                   "--set wants PATTERN=METHOD (as 'output.weight=f16'), not '%s'",
                                   item);
    }
    return CLI_EXIT_OK;
}

/* Whether a method whose name begins so is in use. */
static bool uses(const settings *s, const char *method)
{
    for (size_t i = 0; i < s->overrides.n; i++)
        if (strncmp(strrchr(s->overrides.items[i], '=') + 1, method, strlen(method)) == 0)
            return true;
    return strcmp(s->method, method) == 0;
}

/* Options that do not go together. */
static int check_coding(const settings *s)
{
    bool words = strcmp(s->coding, "words") == 0, model = strcmp(s->table, "model") == 0;
    bool per_tensor = strcmp(s->coding, "strips") == 0 || strcmp(s->coding, "rans") == 0;
    if (model && per_tensor)
        return cli_usage_error(&cli_compress_command,
                               "--coding %s has tables for each tensor: leave out --table model, "
                               "or use --coding words",
                               s->coding);
    static const char *const of_strips[] = {"rtn", "watersic", "u4-row-sparse"};
    for (size_t i = 0; i < CLI_COUNT(of_strips); i++)
        if (uses(s, of_strips[i]) && (words || model))
            return cli_usage_error(&cli_compress_command, "method %s needs strips: leave out %s",
                                   of_strips[i], words ? "--coding words" : "--table model");
    if (s->bits != 0 && !uses(s, "rtn"))
        return cli_usage_error(&cli_compress_command,
                               "--bits is for --method rtn; of watersic the whole file's size is "
                               "chosen with --bpw or --size");
    return CLI_EXIT_OK;
}

static int check_tune(const settings *s)
{
    if (s->tune != 0 && s->try)
        return cli_usage_error(&cli_compress_command,
                               "--try writes nothing that could be tuned: leave out --tune");
    if (s->tune != 0 && strcmp(s->method, "lossless") == 0)
        return cli_usage_error(
            &cli_compress_command,
            "--method lossless keeps every bit, so that there is nothing to tune: "
            "leave out --tune");
    return CLI_EXIT_OK;
}

/* What there is to know for a file of a certain size. */
static int check_size(const settings *s, uint64_t *n_bytes)
{
    bool sized = s->bpw != 0 || s->size != NULL || s->max_kld != 0 || s->try != NULL;
    *n_bytes = 0;
    if ((s->bpw != 0) + (s->size != NULL) + (s->max_kld != 0) + (s->try != NULL) > 1)
        return cli_usage_error(&cli_compress_command,
                               "--bpw, --size, --max-kld and --try all choose the size; use one");
    if (s->max_kld != 0 && strcmp(s->method, "watersic") != 0)
        return cli_usage_error(&cli_compress_command, "--max-kld is for --method watersic");
    if (sized && !uses(s, "watersic") && strcmp(s->method, "rtn") != 0)
        return cli_usage_error(&cli_compress_command,
                               "the size of a file can be chosen with --method watersic or rtn; "
                               "the bits of %s are fixed",
                               s->method);
    if (sized && s->bits != 0)
        return cli_usage_error(&cli_compress_command,
                               "--bits says the entropy, %s the size of the file; use one",
                               s->size ? "--size" : "--bpw");
    if (s->size != NULL && (!cli_parse_bytes(s->size, n_bytes) || *n_bytes == 0))
        return cli_usage_error(&cli_compress_command, "--size is '%s', expected a size like 600MB",
                               s->size);
    if ((s->calib.n > 0 || s->statistics) && !uses(s, "watersic") && s->tune == 0)
        return cli_usage_error(&cli_compress_command, "only --method watersic is calibrated");
    if (s->drift != 0 && !uses(s, "watersic"))
        return cli_usage_error(&cli_compress_command,
                               "--drift is for --method watersic: leave it out");
    return check_tune(s);
}

/* The method of who names none. */
static const char *default_method(const settings *s)
{
    if (s->bits != 0)
        return "rtn";
    bool words = strcmp(s->coding, "words") == 0 || strcmp(s->table, "model") == 0;
    return words ? "u8" : "watersic";
}

static char *name_output(const settings *s)
{
    if (s->output)
        return strdup(s->output);
    char *stem = cli_stem(s->source), *name = NULL;
    if (stem && asprintf(&name, "%s-%s.gguf", stem, s->method) < 0)
        name = NULL;
    free(stem);
    return name;
}

static void fill_options(entro_compress_options *opt, const settings *s, cli_progress *progress,
                         cli_account *account)
{
    entro_compress_options_init(opt);
    opt->method = s->method;
    opt->table = s->table;
    opt->coding = s->coding;
    opt->bits = s->bits;
    opt->bits_per_param = s->bpw;
    opt->max_kld = s->max_kld;
    opt->overrides = s->overrides.items;
    opt->n_overrides = s->overrides.n;
    opt->calib = s->calib.items;
    opt->n_calib = s->calib.n;
    opt->n_calib_tokens = (uint64_t)s->calib_tokens;
    opt->seed = (uint64_t)s->seed;
    opt->n_threads = (uint32_t)s->threads;
    opt->overwrite = s->force;
    opt->progress = cli_progress_show;
    opt->progress_user = progress;
    opt->account = cli_account_add;
    opt->account_user = account;
    opt->n_drift_tokens = (uint64_t)s->drift;
    opt->n_tune_tokens = (uint64_t)s->tune;
}

/* Above these bits of entropy integers are more than tables hold (docs/methods.md). */
#define MOST_SENSIBLE_BITS 7.3

/* What is hardly meant so. */
static void note_size(const settings *s, const entro_compress_report *r)
{
    if (s->bits > MOST_SENSIBLE_BITS)
        cli_note("above %g bits of entropy, integers on a list make files grow fast: --method "
                 "u8-row is mostly the smaller file, and --method lossless may be",
                 MOST_SENSIBLE_BITS);
    if (r->n_file_bytes > r->n_source_bytes)
        cli_note("the file is larger than its source, which has %s",
                 cli_bytes((double)r->n_source_bytes).s);
}

static int run_job(const settings *s, const char *output, const char *statistics,
                   uint64_t file_bytes)
{
    cli_progress progress = {.quiet = s->quiet};
    cli_account account = {.source = s->source,
                           .output = output,
                           .method = s->method,
                           .table = s->table,
                           .coding = s->coding};
    entro_compress_options opt;
    entro_error err = {.status = ENTRO_OK};
    fill_options(&opt, s, &progress, &account);
    opt.file_bytes = file_bytes;
    opt.statistics = statistics;
    cli_progress_begin(&progress);
    entro_status status = entro_compress(s->source, output, &opt, &account.report, &err);
    cli_progress_clear(&progress);
    int code = CLI_EXIT_OK;
    /* Of an interruption nothing else is said. */
    if (status == ENTRO_ERR_CANCELLED && strstr(err.message, "not tuned"))
        cli_note("%s", err.message);
    if (status != ENTRO_OK)
        code = cli_fail(&err);
    else if (account.out_of_memory)
        code = cli_fail_text("out of memory");
    else if (s->json)
        code = cli_account_json(&account);
    else if (!s->quiet)
        cli_account_print(&account);
    if (!code && s->page)
        code = cli_page_write(&account, s->page);
    if (!code && !s->quiet)
        note_size(s, &account.report);
    cli_account_release(&account);
    return code;
}

/* ---- --try --------------------------------------------------------------------------------- */

/* The sizes of the list; how many, 0 when it is none. */
static size_t parse_tries(const char *list, double bpw[CLI_MAX_TRIES])
{
    size_t n = 0;
    for (const char *at = list;; at++) {
        char *end;
        if (n == CLI_MAX_TRIES)
            return 0;
        bpw[n] = strtod(at, &end);
        if (end == at || !(bpw[n] >= 0.5 && bpw[n] <= 16) || (*end != ',' && *end != '\0'))
            return 0;
        n++;
        if (*end == '\0')
            return n;
        at = end;
    }
}

/* A size that cannot be met, unlike other failures, leaves the other sizes. */
static bool can_go_on(const entro_error *failed)
{
    return !failed || failed->status == ENTRO_ERR_ARGUMENT;
}

/* Makes every file under a name of its own, reports it, removes it. */
static int try_sizes(const settings *s, const char *output, const char *statistics)
{
    cli_tries tries = {0};
    tries.n = parse_tries(s->try, tries.bpw);
    if (tries.n == 0)
        return cli_usage_error(
            &cli_compress_command,
            "--try is '%s', expected up to %d numbers of bits from 0.5 to 16, like 2.5,3,4", s->try,
            CLI_MAX_TRIES);
    char *name = NULL;
    if (asprintf(&name, "%s.try", output) < 0)
        return cli_fail_text("out of memory");
    cli_progress progress = {.quiet = s->quiet};
    const entro_error *failed = NULL;
    size_t n_made = 0;
    cli_progress_begin(&progress);
    for (size_t i = 0; i < tries.n && can_go_on(failed); i++) {
        entro_compress_options opt;
        fill_options(&opt, s, &progress, NULL);
        opt.account = NULL;
        opt.bits_per_param = tries.bpw[i];
        opt.statistics = statistics;
        opt.overwrite = true;
        if (entro_compress(s->source, name, &opt, &tries.reports[i], &tries.errors[i]) == ENTRO_OK)
            n_made++;
        else
            failed = &tries.errors[i];
        remove(name);
    }
    cli_progress_clear(&progress);
    free(name);
    if (failed && (n_made == 0 || !can_go_on(failed)))
        return cli_fail(failed);
    int code = cli_account_tries(s->json, &tries);
    return code || !s->page ? code : cli_page_write_tries(s->source, s->method, &tries, s->page);
}

static int check_page(const settings *s, const char *output)
{
    if (strcmp(s->page, output) == 0)
        return cli_usage_error(&cli_compress_command, "--page and OUTPUT are both '%s'", output);
    return cli_check_output(s->page, s->source);
}

static int compress(void *p)
{
    settings *s = p;
    if (!s->method)
        s->method = default_method(s);
    uint64_t file_bytes;
    int code = check_overrides(s);
    if (!code)
        code = check_coding(s);
    if (!code)
        code = check_size(s, &file_bytes);
    if (code)
        return code;
    char *output = name_output(s), *statistics = NULL;
    if (output)
        statistics = cli_statistics_folder(s->statistics, s->source, output);
    if (statistics)
        code = cli_check_output(output, s->source);
    else
        code = cli_fail_text("out of memory");
    if (!code && s->page)
        code = check_page(s, output);
    if (!code && s->try)
        code = try_sizes(s, output, statistics);
    else if (!code)
        code = run_job(s, output, statistics, file_bytes);
    free(output);
    free(statistics);
    return code;
}

const cli_command cli_compress_command = {
    .name = "compress",
    .summary = "quantize and entropy-code a model into one GGUF file",
    .about =
        "Reads a GGUF file or a Hugging Face folder and writes one GGUF file whose 2-D weights "
        "are quantized and entropy-coded; norms and biases stay as they are.  Without options it "
        "calibrates the model and gives the best file of 4 bits a parameter; that takes minutes to "
        "an hour, and less from the second size on.  --method rtn or u8 take seconds.  With "
        "--method "
        "lossless nothing is quantized: the weights' exponents are coded, every bit is kept, and "
        "'entrollm restore' gives back the source's files.  The file appears under its name only "
        "when it is complete.",
    .examples = "  entrollm compress model.gguf model-4.gguf\n"
                "  entrollm compress model.gguf model-3.5.gguf --bpw 3.5\n"
                "  entrollm compress model.gguf model-3.gguf --bpw 3 --tune\n"
                "  entrollm compress model.gguf model-u8.gguf --method u8\n"
                "  entrollm compress ./Llama-3.2-1B -o llama-u4.gguf --method u4-row\n"
                "  entrollm compress model.gguf small.gguf --size 60MB --calib text.txt\n"
                "  entrollm compress model.gguf --try 2.5,3,3.5,4\n"
                "  entrollm compress model.gguf model-4.5.gguf --method rtn --bits 4.5\n"
                "  entrollm compress model.gguf -o out.gguf --set 'blk.*.ffn_*=u4-row' "
                "--keep output.weight\n"
                "  entrollm compress model.gguf out.gguf --table model --json\n"
                "  entrollm compress ./Llama-3.2-1B llama-lossless.gguf --method lossless\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = compress,
};
