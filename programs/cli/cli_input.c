/*
 * cli_input.c - see cli_input.h.
 */
#include "cli_input.h"

#include "cli_format.h"
#include "cli_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int cli_read_text(cli_buffer *out, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    size_t cap = 0, n = 0;
    char *data = NULL;
    struct stat about;
    if (!file)
        return cli_fail_text("%s: %s (a text file was expected)", path, strerror(errno));
    if (fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode)) {
        if (!is_stdin)
            fclose(file);
        return cli_fail_text("%s: is a folder (a text file was expected)", path);
    }
    for (;;) {
        if (cap - n < 4096) {
            char *more = realloc(data, cap = cap ? cap * 2 : 65536);
            if (!more) {
                errno = ENOMEM;
                break;
            }
            data = more;
        }
        errno = 0;
        size_t n_read = fread(data + n, 1, cap - n - 1, file);
        n += n_read;
        if (n_read == 0)
            break;
    }
    int problem = ferror(file) || errno == ENOMEM ? errno : 0;
    if (!is_stdin)
        fclose(file);
    if (problem || !data) {
        free(data);
        return cli_fail_text("%s: %s", is_stdin ? "standard input" : path, strerror(problem));
    }
    data[n] = 0;
    *out = (cli_buffer){data, n};
    return CLI_EXIT_OK;
}

int cli_read_measured(cli_buffer *out, const char *path)
{
    int code = cli_read_text(out, path);
    if (!code && out->n == 0)
        code = cli_fail_text("%s is empty, so that there is nothing to measure on",
                             strcmp(path, "-") == 0 ? "standard input" : path);
    return code;
}

bool cli_context_can_grow(const entro_model *model, uint32_t n_ctx)
{
    entro_model_info info;
    entro_model_get_info(model, &info);
    return info.n_ctx_train == 0 || n_ctx < info.n_ctx_train;
}

void cli_note_context(const entro_model *model, uint32_t n_ctx)
{
    entro_model_info info;
    entro_model_get_info(model, &info);
    if (info.n_ctx_train > 0 && n_ctx > info.n_ctx_train)
        cli_note("the context of %u tokens is longer than the %u tokens the model was trained "
                 "for; expect poor predictions beyond these",
                 n_ctx, info.n_ctx_train);
}

entro_kv_type cli_kv_type(const char *name)
{
    return strcmp(name, "int8") == 0 ? ENTRO_KV_INT8 : ENTRO_KV_F16;
}

static int open_model(entro_model **out, const char *path, const entro_model_options *options)
{
    entro_error err = {.status = ENTRO_OK};
    return entro_model_open(out, path, options, &err) == ENTRO_OK ? CLI_EXIT_OK : cli_fail(&err);
}

int cli_open_model(entro_model **out, const char *path, bool metadata_only)
{
    entro_model_options options;
    entro_model_options_init(&options);
    options.metadata_only = metadata_only;
    options.keep = ENTRO_KEEP_CODED; /* nothing here waits for one token at a time */
    return open_model(out, path, &options);
}

bool cli_parse_bytes(const char *text, uint64_t *n_bytes)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"", 1},     {"B", 1},    {"k", 1e3},
                 {"kB", 1e3}, {"KB", 1e3}, {"KiB", 1024},
                 {"M", 1e6},  {"MB", 1e6}, {"MiB", 1048576.0},
                 {"G", 1e9},  {"GB", 1e9}, {"GiB", 1073741824.0}};
    char *end;
    double n = strtod(text, &end);
    if (end == text || !(n >= 0) || n > 1e15)
        return false;
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
        if (strcmp(end, units[i].unit) == 0) {
            *n_bytes = (uint64_t)(n * units[i].bytes);
            return true;
        }
    return false;
}

/* Of least memory, which rans has no use for. */
static void note_packed(const entro_model *model)
{
    entro_model_info info;
    entro_model_get_info(model, &info);
    if (info.n_packed_matrices > 0)
        cli_note(
            "--ram min: matrices in rans are packed all the same, %s of memory, as decoding them "
            "takes seconds a token; files of 'compress --coding strips' run from their codes",
            cli_bytes((double)info.n_packed_bytes).s);
}

/* Of a size that even the coded form does not fit. */
static void note_too_little(const entro_model *model, uint64_t ram_bytes)
{
    entro_model_info info;
    entro_model_get_info(model, &info);
    if (info.n_strip_matrices > 0 && info.n_packed_matrices == 0 && info.n_file_bytes > ram_bytes)
        cli_note(
            "--ram %s is less than the file's %s: nothing is packed, weights run from the file",
            cli_bytes((double)ram_bytes).s, cli_bytes((double)info.n_file_bytes).s);
}

int cli_open_to_run(entro_model **out, const cli_command *command, const char *path,
                    const char *ram, int64_t threads, bool quiet)
{
    entro_model_options options;
    entro_model_options_init(&options);
    options.n_threads = (uint32_t)threads;
    if (strcmp(ram, "min") == 0)
        options.keep = ENTRO_KEEP_CODED;
    else if (strcmp(ram, "max") == 0)
        options.keep = ENTRO_KEEP_PACKED;
    else if (strcmp(ram, "auto") != 0) {
        options.keep = ENTRO_KEEP_WITHIN;
        if (!cli_parse_bytes(ram, &options.ram_bytes))
            return cli_usage_error(
                command, "--ram is '%s', expected auto, min, max or a size like 600MB", ram);
    }
    int code = open_model(out, path, &options);
    if (!code && !quiet && options.keep == ENTRO_KEEP_CODED)
        note_packed(*out);
    if (!code && !quiet && options.keep == ENTRO_KEEP_WITHIN)
        note_too_little(*out, options.ram_bytes);
    return code;
}

const char *cli_base_name(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    return path + n;
}

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/* A file that the folder around it is opened by. */
static bool stands_for_folder(const char *path)
{
    const char *name = cli_base_name(path);
    bool is_part = strcmp(name, "config.json") == 0 || ends_with(name, ".safetensors") ||
                   ends_with(name, ".safetensors.index.json");
    return is_part && !is_folder(path);
}

/* Length of the path without what says nothing at its end: "x/./" -> "x". */
static size_t trimmed(const char *path, size_t n)
{
    for (;;) {
        if (n > 1 && path[n - 1] == '/')
            n--;
        else if (n > 2 && path[n - 1] == '.' && path[n - 2] == '/')
            n -= 2;
        else
            return n;
    }
}

/* The name that the folder "." or ".." has outside. */
static char *real_name(const char *folder)
{
    char *real = realpath(folder, NULL);
    char *name = strdup(real ? cli_base_name(real) : folder);
    free(real);
    return name;
}

char *cli_stem(const char *path)
{
    bool is_part = stands_for_folder(path);
    size_t n = trimmed(path, is_part ? (size_t)(cli_base_name(path) - path) : strlen(path));
    char *stem = n > 0 ? strndup(path, n) : strdup(is_part ? "." : "");
    if (!stem)
        return NULL;
    const char *name = cli_base_name(stem);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        char *real = real_name(stem);
        free(stem);
        return real;
    }
    if (n > 5 && ends_with(stem, ".gguf"))
        stem[n - 5] = 0;
    return stem;
}

static bool same_place(const char *a, const char *b)
{
    char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
    bool same = real_a && real_b && strcmp(real_a, real_b) == 0;
    free(real_a);
    free(real_b);
    return same;
}

char *cli_statistics_folder(const char *given, const char *source, const char *model)
{
    if (given)
        return strdup(given);
    char *stem = cli_stem(source), *name = NULL;
    int n_folder = (int)(cli_base_name(model) - model);
    if (stem && asprintf(&name, "%.*s%s.calib", n_folder, model, cli_base_name(stem)) < 0)
        name = NULL;
    free(stem);
    return name;
}

static bool is_missing(const char *path)
{
    struct stat about;
    return stat(path, &about) != 0 && errno == ENOENT;
}

/* Of a missing "x/../y" only "x" may have to be made. */
static void cut_to_missing(char *folder)
{
    for (char *up = strstr(folder + 1, "/.."); up; up = strstr(up + 1, "/..")) {
        if (up[3] != 0 && up[3] != '/')
            continue;
        *up = 0;
        if (is_missing(folder))
            return;
        *up = '/';
    }
}

static int refuse_missing(const char *output, char *folder)
{
    cut_to_missing(folder);
    return cli_fail_text("%s: there is no folder '%s'; make it first", output, folder);
}

int cli_check_output(const char *output, const char *model)
{
    char *folder = strdup(output);
    if (!folder)
        return cli_fail_text("out of memory");
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    int code = CLI_EXIT_OK;
    if (slash && slash > folder && is_missing(folder))
        code = refuse_missing(output, folder);
    else if (is_folder(output))
        code = cli_fail_text("%s: is a folder; name the file to write", output);
    else if (same_place(output, model))
        code = cli_fail_text("%s: is the model that is read, and would be lost; choose another "
                             "name",
                             output);
    free(folder);
    return code;
}

void cli_unescape(cli_buffer *text)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) {
        char c = text->data[i];
        if (c == '\\' && i + 1 < text->n) {
            char next = text->data[i + 1];
            const char *known = strchr("n\nt\tr\r\"\"''\\\\", next);
            if (next && known && strchr("ntr\"'\\", next)) {
                c = known[1];
                i++;
            }
        }
        text->data[n++] = c;
    }
    text->data[n] = 0;
    text->n = n;
}

int cli_tokenize(const entro_model *model, const char *text, size_t n_text, bool add_special,
                 bool parse_special, entro_token **tokens, size_t *n_tokens)
{
    entro_error err = {.status = ENTRO_OK};
    size_t n_needed = 0;
    *tokens = NULL;
    if (entro_tokenize(model, text, n_text, add_special, parse_special, NULL, 0, &n_needed, &err))
        return cli_fail(&err);
    entro_token *out = malloc((n_needed + 1) * sizeof(*out));
    if (!out)
        return cli_fail_text("out of memory: %zu tokens", n_needed);
    if (entro_tokenize(model, text, n_text, add_special, parse_special, out, n_needed, n_tokens,
                       &err)) {
        free(out);
        return cli_fail(&err);
    }
    *tokens = out;
    return CLI_EXIT_OK;
}

uint64_t cli_bytes_per_token(const entro_model *model)
{
    entro_model_info info;
    uint64_t n_bytes = 0, n_embedding = 0;
    bool has_output = false;
    entro_model_get_info(model, &info);
    for (uint32_t i = 0; i < info.n_tensors; i++) {
        entro_tensor_info tensor;
        if (entro_model_get_tensor(model, i, &tensor, NULL) != ENTRO_OK)
            continue;
        n_bytes += tensor.n_bytes;
        if (strcmp(tensor.name, "token_embd.weight") == 0)
            n_embedding = tensor.n_bytes;
        if (strcmp(tensor.name, "output.weight") == 0)
            has_output = true;
    }
    return has_output ? n_bytes - n_embedding : n_bytes;
}
