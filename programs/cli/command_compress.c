/*
 * command_compress.c - entrollm compress: a source model to one coded file, with the account.
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
    const char *source, *output, *method, *table, *coding;
    double bits;
    cli_list overrides;
    int64_t threads;
    bool force, json, quiet;
} settings;

static const cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, output),
     .value = "FILE",
     .help = "the file to write, instead of the argument"},
    {.name = "method",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, method),
     .value = "METHOD",
     .fallback = "u8",
     .choices = "u8|u4|u8-row|u4-row|rtn|lossless",
     .help =
         "how weights become integers: 8 or 4 bits, one scale a tensor or a row; rtn: one scale "
         "a row, as fine as --bits says; lossless: they keep every bit, and restore gives back the "
         "source's files"},
    {.name = "bits",
     .kind = CLI_REAL,
     .offset = offsetof(settings, bits),
     .value = "B",
     .help = "entropy of rtn's integers, bits a weight; 4 without it",
     .min = 1,
     .max = 9},
    {.name = "coding",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, coding),
     .value = "KIND",
     .fallback = "auto",
     .choices = "auto|words|strips",
     .help = "how integers are coded: strips are the faster to run, words the smaller where most "
             "integers are the same; auto: strips wherever they can be"},
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
    CLI_OPTION_THREADS(settings),
    CLI_OPTION_FORCE(settings),
    CLI_OPTION_JSON(settings),
    {.name = "quiet",
     .letter = 'q',
     .kind = CLI_FLAG,
     .offset = offsetof(settings, quiet),
     .help = "no progress, no account"},
};

static const cli_positional positionals[] = {
    {"SOURCE", offsetof(settings, source), true, "a GGUF file or a Hugging Face folder"},
    {"OUTPUT", offsetof(settings, output), false,
     "the file to write; without it SOURCE's name with the method added"},
};

static void print_coding(const settings *s, const entro_compress_report *r)
{
    const char *other = strcmp(s->table, "tensor") == 0 ? "model" : "tensor";
    if (r->n_exact_tensors > 0)
        printf("  exact    %u of %u coded tensors are the source's own numbers, every bit\n",
               r->n_exact_tensors, r->n_coded_tensors);
    if (r->n_original_files > 0)
        printf("  original %u file%s can be restored byte for byte, for %s beyond the weights\n",
               r->n_original_files, r->n_original_files == 1 ? "" : "s",
               cli_bytes((double)r->n_original_bytes).s);
    if (r->n_left_out > 0)
        printf(
            "           %u file%s or folder%s of the source left out (larger than 64 MiB and not "
            "used, or GGUF)\n",
            r->n_left_out, r->n_left_out == 1 ? "" : "s", r->n_left_out == 1 ? "" : "s");
    if (r->n_strip_tensors > 0)
        printf("  coding   strips for %u of %u tensors; %.3f %% of their integers are exceptions\n",
               r->n_strip_tensors, r->n_coded_tensors,
               100 * (double)r->n_exceptions / (double)r->n_strip_params);
    else if (!isnan(r->bits_other_table))
        printf("           one table a %s would take %s bits\n", other,
               cli_figure(r->bits_other_table, 4).s);
}

static void print_account(const settings *s, const char *output, const entro_compress_report *r)
{
    double n = (double)r->n_params, coded = (double)r->n_coded_params;
    printf("%s\n", output);
    printf("  source   %s, %.2f bits a parameter\n", cli_bytes((double)r->n_source_bytes).s,
           n > 0 ? 8 * (double)r->n_source_bytes / n : 0);
    printf("  result   %s, %.2f bits a parameter (whole file), %.1f %% of 16 bits\n",
           cli_bytes((double)r->n_file_bytes).s, r->bits_per_param, r->bits_per_param / 0.16);
    printf("  coded    %s of %s parameters, %u of %u tensors: %s, one table a %s\n",
           cli_count(coded).s, cli_count(n).s, r->n_coded_tensors, r->n_tensors, s->method,
           r->n_exact_tensors > 0 && r->n_exact_tensors == r->n_coded_tensors ? "plane" : s->table);
    printf("  rate     %s bits a coded weight; entropy %s, one-symbol Huffman %s, tables %s\n",
           cli_figure(r->bits_per_coded_param, 4).s, cli_figure(r->entropy, 4).s,
           cli_figure(r->huffman_bits, 4).s, cli_bytes((double)r->n_table_bytes).s);
    print_coding(s, r);
    printf("  error    rms %s %% of the weights' rms, largest %s\n",
           cli_figure(r->rms_weight > 0 ? 100 * r->rms_error / r->rms_weight : NAN, 3).s,
           cli_figure(r->max_error, 5).s);
    printf("  time     %.2f s, %s/s of source, %s weights/s; peak memory %s\n", r->seconds,
           cli_bytes((double)r->n_source_bytes / r->seconds).s, cli_count(n / r->seconds).s,
           cli_bytes((double)r->peak_resident).s);
}

static int print_json(const settings *s, const char *output, const entro_compress_report *r)
{
    json_t *o = json_object();
    cli_json_text(o, "source", s->source);
    cli_json_text(o, "output", output);
    cli_json_text(o, "method", s->method);
    cli_json_text(o, "table", s->table);
    cli_json_text(o, "coding", s->coding);
    cli_json_int(o, "n_params", r->n_params);
    cli_json_int(o, "n_source_bytes", r->n_source_bytes);
    cli_json_int(o, "n_file_bytes", r->n_file_bytes);
    cli_json_int(o, "n_tensors", r->n_tensors);
    cli_json_int(o, "n_coded_tensors", r->n_coded_tensors);
    cli_json_int(o, "n_coded_params", r->n_coded_params);
    cli_json_int(o, "n_coded_bytes", r->n_coded_bytes);
    cli_json_int(o, "n_table_bytes", r->n_table_bytes);
    cli_json_real(o, "bits_per_param", r->bits_per_param);
    cli_json_real(o, "bits_per_coded_param", r->bits_per_coded_param);
    cli_json_real(o, "entropy", r->entropy);
    cli_json_real(o, "huffman_bits", r->huffman_bits);
    cli_json_real(o, "bits_other_table", r->bits_other_table);
    cli_json_int(o, "n_strip_tensors", r->n_strip_tensors);
    cli_json_int(o, "n_strip_params", r->n_strip_params);
    cli_json_int(o, "n_exceptions", r->n_exceptions);
    cli_json_int(o, "n_exact_tensors", r->n_exact_tensors);
    cli_json_int(o, "n_original_files", r->n_original_files);
    cli_json_int(o, "n_original_bytes", r->n_original_bytes);
    cli_json_int(o, "n_left_out", r->n_left_out);
    cli_json_real(o, "max_error", r->max_error);
    cli_json_real(o, "rms_error", r->rms_error);
    cli_json_real(o, "rms_weight", r->rms_weight);
    cli_json_real(o, "seconds", r->seconds);
    cli_json_int(o, "peak_resident", r->peak_resident);
    return cli_json_print(o);
}

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

static bool uses_rtn(const settings *s)
{
    for (size_t i = 0; i < s->overrides.n; i++)
        if (strncmp(strrchr(s->overrides.items[i], '=') + 1, "rtn", 3) == 0)
            return true;
    return strcmp(s->method, "rtn") == 0;
}

/* Options that do not go together. */
static int check_coding(const settings *s)
{
    bool words = strcmp(s->coding, "words") == 0, model = strcmp(s->table, "model") == 0;
    if (model && strcmp(s->coding, "strips") == 0)
        return cli_usage_error(&cli_compress_command,
                               "--coding strips has a table for each tensor: leave out --table "
                               "model, or use --coding words");
    if (uses_rtn(s) && (words || model))
        return cli_usage_error(&cli_compress_command, "method rtn needs strips: leave out %s",
                               words ? "--coding words" : "--table model");
    if (s->bits != 0 && !uses_rtn(s))
        return cli_usage_error(&cli_compress_command,
                               "--bits is for --method rtn; the others' bits are in their names");
    return CLI_EXIT_OK;
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

static int compress(void *p)
{
    const settings *s = p;
    cli_progress progress = {.quiet = s->quiet};
    entro_compress_options opt;
    entro_compress_report report;
    entro_error err = {.status = ENTRO_OK};
    int code = check_overrides(s);
    if (!code)
        code = check_coding(s);
    if (code)
        return code;
    char *output = name_output(s);
    if (!output)
        return cli_fail_text("out of memory");
    code = cli_check_output(output, s->source);
    if (code) {
        free(output);
        return code;
    }
    entro_compress_options_init(&opt);
    opt.method = s->method;
    opt.table = s->table;
    opt.coding = s->coding;
    opt.bits = s->bits;
    opt.overrides = s->overrides.items;
    opt.n_overrides = s->overrides.n;
    opt.n_threads = (uint32_t)s->threads;
    opt.overwrite = s->force;
    opt.progress = cli_progress_show;
    opt.progress_user = &progress;
    cli_progress_begin(&progress);
    entro_status status = entro_compress(s->source, output, &opt, &report, &err);
    cli_progress_clear(&progress);
    if (status != ENTRO_OK)
        code = cli_fail(&err);
    else if (s->json)
        code = print_json(s, output, &report);
    else if (!s->quiet)
        print_account(s, output, &report);
    free(output);
    return code;
}

const cli_command cli_compress_command = {
    .name = "compress",
    .summary = "quantize and entropy-code a model into one GGUF file",
    .about =
        "Reads a GGUF file or a Hugging Face folder and writes one GGUF file whose 2-D weights "
        "are quantized and entropy-coded; norms and biases stay as they are.  With --method "
        "lossless "
        "nothing is quantized: the weights' exponents are coded, every bit is kept, and 'entrollm "
        "restore' gives back the source's files.  The file appears under its name only when it is "
        "complete.",
    .examples = "  entrollm compress model.gguf model-u8.gguf\n"
                "  entrollm compress ./Llama-3.2-1B -o llama-u4.gguf --method u4-row\n"
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
