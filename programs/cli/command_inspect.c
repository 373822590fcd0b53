/*
 * command_inspect.c - entrollm inspect: what is in a model file, tensor by tensor.
 *
 * Opens metadata only, so a file of any size answers at once.
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
    const char *model;
    bool json, keys, summary;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),
    {.name = "summary",
     .letter = 's',
     .kind = CLI_FLAG,
     .offset = offsetof(settings, summary),
     .help = "totals only, no line per tensor"},
    {.name = "keys",
     .letter = 'k',
     .kind = CLI_FLAG,
     .offset = offsetof(settings, keys),
     .help = "also every metadata key and its value"},
    CLI_SHARED(settings, json),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
};

/* What the tensors of one method (or type, when not coded) add up to. */
typedef struct total {
    char label[40];
    uint64_t n_tensors, n_params, n_bytes, n_side_bytes;
    double entropy_bits, huffman_bits; /* sums over the weights; NAN when not coded */
} total;

enum { N_TOTALS_MAX = 48, VALUE_BYTES = 4096 };

static bool is_coded(const entro_tensor_info *t)
{
    return *t->method != 0;
}

static bool has_planes(const entro_tensor_info *t)
{
    return strcmp(t->type, "planes") == 0;
}

static void describe_shape(char *out, size_t n_out, const entro_tensor_info *t)
{
    int n = 0;
    *out = 0;
    for (uint32_t i = 0; i < t->n_dims && i < 4 && n < (int)n_out; i++)
        n += snprintf(out + n, n_out - (size_t)n, "%s%llu", i ? " x " : "",
                      (unsigned long long)t->dims[i]);
}

static void add_to_totals(total *totals, size_t *n_totals, const entro_tensor_info *t)
{
    char label[40];
    if (*t->mode)
        snprintf(label, sizeof(label), "%s, %s%s%s", t->method, t->type,
                 has_planes(t) ? " of " : "", has_planes(t) ? t->mode : "");
    else
        snprintf(label, sizeof(label), "%s%s%s", is_coded(t) ? t->method : t->type,
                 *t->table ? ", words, table per " : "", t->table);
    size_t i = 0;
    while (i < *n_totals && strcmp(totals[i].label, label) != 0)
        i++;
    if (i == N_TOTALS_MAX)
        i--;
    if (i == *n_totals) {
        totals[i] = (total){0};
        memcpy(totals[i].label, label, sizeof(label));
        (*n_totals)++;
    }
    totals[i].n_tensors++;
    totals[i].n_params += t->n_params;
    totals[i].n_bytes += t->n_bytes;
    totals[i].n_side_bytes += t->n_side_bytes;
    totals[i].entropy_bits += t->entropy * (double)t->n_params;
    totals[i].huffman_bits += t->huffman_bits * (double)t->n_params;
}

static double per(double sum, double n)
{
    return n > 0 ? sum / n : NAN;
}

/* ---- text ------------------------------------------------------------------------------- */

static void print_general(const settings *s, const entro_model_info *info)
{
    static const char *const kinds[] = {"GGUF", "Hugging Face folder", "EntroLLM (GGUF v3)"};
    printf("%s\n", s->model);
    printf("  kind          %s\n", kinds[info->kind <= ENTRO_MODEL_CONTAINER ? info->kind : 0]);
    printf("  name          %s\n", *info->name ? info->name : "-");
    printf("  architecture  %s, %u layers, width %u, %u heads (%u for keys), ffn %u\n",
           info->architecture, info->n_layers, info->n_embd, info->n_heads, info->n_kv_heads,
           info->n_ff);
    printf("  text          %u tokens%s%s, context %u%s\n", info->n_vocab,
           *info->tokenizer ? ", " : "", info->tokenizer, info->n_ctx_train,
           info->has_chat_template ? ", chat template" : "");
    if (info->n_original_files > 0)
        printf("  original      %s of %u file%s, which restore gives back byte for byte\n",
               info->original_is_folder ? "a folder" : "GGUF,", info->n_original_files,
               info->n_original_files == 1 ? "" : "s");
    if (*info->recipe)
        printf("  made by       %s: %s\n", info->tool, info->recipe);
    printf("  size          %s, %s parameters, %.3f bits each\n",
           cli_bytes((double)info->n_file_bytes).s, cli_count((double)info->n_params).s,
           per(8 * (double)info->n_file_bytes, (double)info->n_params));
}

static void print_tensor(const entro_tensor_info *t, const entro_model_info *info, int name_width)
{
    char name[128], shape[64], steps[48] = "", coding[16] = "";
    cli_format_shortened(name, sizeof(name), t->name, (size_t)name_width);
    describe_shape(shape, sizeof(shape), t);
    if (is_coded(t) && !has_planes(t) && t->step_min == t->step_max)
        snprintf(steps, sizeof(steps), "%.3g", (double)t->step_min);
    else if (is_coded(t) && !has_planes(t))
        snprintf(steps, sizeof(steps), "%.2g..%.2g", (double)t->step_min, (double)t->step_max);
    if (is_coded(t))
        snprintf(coding, sizeof(coding), "%s%s%s", *t->mode ? t->type : "words",
                 *t->mode ? " " : "", t->mode);
    char exceptions[16] = "";
    if (!isnan(t->exceptions))
        snprintf(exceptions, sizeof(exceptions), "%.3f %%", 100 * t->exceptions);
    printf("%-*s  %16s  %-7s %-9s %8s %8s %9s %9s %6.2f %%  %s\n", name_width, name, shape,
           is_coded(t) ? t->method : t->type, coding, cli_figure(t->bits, 3).s,
           cli_figure(t->entropy, 3).s, exceptions, cli_bytes((double)t->n_bytes).s,
           100 * per((double)t->n_bytes, (double)info->n_file_bytes), steps);
}

static int print_tensors(const entro_model *model, const entro_model_info *info)
{
    size_t longest = 6;
    entro_tensor_info t;
    entro_error err = {.status = ENTRO_OK};
    for (uint32_t i = 0; i < info->n_tensors; i++) {
        if (entro_model_get_tensor(model, i, &t, &err) != ENTRO_OK)
            return cli_fail(&err);
        if (strlen(t.name) > longest)
            longest = strlen(t.name);
    }
    int width = cli_width(stdout) - 94;
    int name_width = (int)longest < width ? (int)longest : width < 24 ? 24 : width;
    name_width = name_width > 100 ? 100 : name_width;
    printf("\n%-*s  %16s  %-7s %-9s %8s %8s %9s %9s %8s  %s\n", name_width, "tensor", "shape",
           "method", "coding", "bits", "entropy", "except", "size", "share", "step");
    for (uint32_t i = 0; i < info->n_tensors; i++) {
        entro_model_get_tensor(model, i, &t, NULL);
        print_tensor(&t, info, name_width);
    }
    return CLI_EXIT_OK;
}

static void print_totals(const total *totals, size_t n_totals, const entro_model_info *info)
{
    uint64_t n_bytes = 0;
    printf("\n%-24s %7s %10s %8s %8s %8s %9s %9s %8s\n", "total by method", "tensors", "params",
           "bits", "entropy", "Huffman", "size", "side", "share");
    for (size_t i = 0; i < n_totals; i++) {
        const total *t = &totals[i];
        double n = (double)t->n_params;
        n_bytes += t->n_bytes;
        printf("%-24s %7llu %10s %8s %8s %8s %9s %9s %6.2f %%\n", t->label,
               (unsigned long long)t->n_tensors, cli_count(n).s,
               cli_figure(per(8 * (double)t->n_bytes, n), 3).s,
               cli_figure(per(t->entropy_bits, n), 3).s, cli_figure(per(t->huffman_bits, n), 3).s,
               cli_bytes((double)t->n_bytes).s, cli_bytes((double)t->n_side_bytes).s,
               100 * per((double)t->n_bytes, (double)info->n_file_bytes));
    }
    uint64_t rest = info->n_file_bytes > n_bytes ? info->n_file_bytes - n_bytes : 0;
    printf("%-24s %7s %10s %8s %8s %8s %9s %9s %6.2f %%\n", "metadata, padding", "", "", "", "", "",
           cli_bytes((double)rest).s, "", 100 * per((double)rest, (double)info->n_file_bytes));
    printf("%-24s %7u %10s %8s %8s %8s %9s\n", "whole file", info->n_tensors,
           cli_count((double)info->n_params).s,
           cli_figure(per(8 * (double)info->n_file_bytes, (double)info->n_params), 3).s, "", "",
           cli_bytes((double)info->n_file_bytes).s);
}

static void print_keys(const entro_model *model)
{
    char value[VALUE_BYTES];
    printf("\n");
    for (uint32_t i = 0; i < entro_model_n_keys(model); i++) {
        const char *key = "";
        entro_model_get_key(model, i, &key, value, 256);
        for (char *p = value; *p; p++) {
            if ((unsigned char)*p < ' ')
                *p = ' ';
        }
        printf("%-40s %s\n", key, value);
    }
}

/* ---- JSON ------------------------------------------------------------------------------- */

static json_t *tensor_json(const entro_tensor_info *t)
{
    json_t *o = json_object(), *shape = json_array();
    for (uint32_t i = 0; i < t->n_dims && i < 4; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    cli_json_text(o, "name", t->name);
    json_object_set_new(o, "shape", shape);
    cli_json_text(o, "type", t->type);
    cli_json_text(o, "method", t->method);
    cli_json_text(o, "table", t->table);
    cli_json_text(o, "mode", t->mode);
    cli_json_real(o, "exceptions", t->exceptions);
    cli_json_int(o, "n_params", t->n_params);
    cli_json_int(o, "n_bytes", t->n_bytes);
    cli_json_int(o, "n_side_bytes", t->n_side_bytes);
    cli_json_int(o, "offset", t->offset);
    cli_json_real(o, "bits", t->bits);
    cli_json_real(o, "entropy", t->entropy);
    cli_json_real(o, "huffman_bits", t->huffman_bits);
    cli_json_real(o, "step_min", (double)t->step_min);
    cli_json_real(o, "step_max", (double)t->step_max);
    return o;
}

static json_t *totals_json(const total *totals, size_t n_totals)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n_totals; i++) {
        const total *t = &totals[i];
        json_t *o = json_object();
        double n = (double)t->n_params;
        cli_json_text(o, "method", t->label);
        cli_json_int(o, "n_tensors", t->n_tensors);
        cli_json_int(o, "n_params", t->n_params);
        cli_json_int(o, "n_bytes", t->n_bytes);
        cli_json_int(o, "n_side_bytes", t->n_side_bytes);
        cli_json_real(o, "bits", per(8 * (double)t->n_bytes, n));
        cli_json_real(o, "entropy", per(t->entropy_bits, n));
        cli_json_real(o, "huffman_bits", per(t->huffman_bits, n));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *keys_json(const entro_model *model)
{
    char value[VALUE_BYTES];
    json_t *o = json_object();
    for (uint32_t i = 0; i < entro_model_n_keys(model); i++) {
        const char *key = "";
        entro_model_get_key(model, i, &key, value, sizeof(value));
        cli_json_text(o, key, value);
    }
    return o;
}

static int print_json(const settings *s, const entro_model *model, const entro_model_info *info,
                      const total *totals, size_t n_totals)
{
    static const char *const kinds[] = {"gguf", "folder", "entrollm"};
    json_t *o = json_object();
    cli_json_text(o, "model", s->model);
    cli_json_text(o, "kind", kinds[info->kind <= ENTRO_MODEL_CONTAINER ? info->kind : 0]);
    cli_json_text(o, "name", info->name);
    cli_json_text(o, "architecture", info->architecture);
    cli_json_text(o, "recipe", info->recipe);
    cli_json_text(o, "tool", info->tool);
    cli_json_text(o, "tokenizer", info->tokenizer);
    cli_json_int(o, "n_original_files", info->n_original_files);
    json_object_set_new(o, "original_is_folder", json_boolean(info->original_is_folder));
    cli_json_int(o, "n_params", info->n_params);
    cli_json_int(o, "n_file_bytes", info->n_file_bytes);
    cli_json_real(o, "bits_per_param", per(8 * (double)info->n_file_bytes, (double)info->n_params));
    cli_json_int(o, "n_layers", info->n_layers);
    cli_json_int(o, "n_embd", info->n_embd);
    cli_json_int(o, "n_heads", info->n_heads);
    cli_json_int(o, "n_kv_heads", info->n_kv_heads);
    cli_json_int(o, "n_ff", info->n_ff);
    cli_json_int(o, "n_vocab", info->n_vocab);
    cli_json_int(o, "n_ctx_train", info->n_ctx_train);
    json_object_set_new(o, "has_chat_template", json_boolean(info->has_chat_template));
    json_object_set_new(o, "totals", totals_json(totals, n_totals));
    if (!s->summary) {
        json_t *list = json_array();
        entro_tensor_info t;
        for (uint32_t i = 0; i < info->n_tensors; i++) {
            if (entro_model_get_tensor(model, i, &t, NULL) == ENTRO_OK)
                json_array_append_new(list, tensor_json(&t));
        }
        json_object_set_new(o, "tensors", list);
    }
    if (s->keys)
        json_object_set_new(o, "keys", keys_json(model));
    return cli_json_print(o);
}

static int inspect(void *p)
{
    const settings *s = p;
    entro_model *model = NULL;
    entro_model_info info;
    total totals[N_TOTALS_MAX];
    size_t n_totals = 0;
    int code = cli_open_model(&model, s->model, true);
    if (code)
        return code;
    entro_model_get_info(model, &info);
    for (uint32_t i = 0; i < info.n_tensors && !code; i++) {
        entro_tensor_info t;
        entro_error err = {.status = ENTRO_OK};
        if (entro_model_get_tensor(model, i, &t, &err) != ENTRO_OK)
            code = cli_fail(&err);
        else
            add_to_totals(totals, &n_totals, &t);
    }
    if (!code && s->json) {
        code = print_json(s, model, &info, totals, n_totals);
    } else if (!code) {
        print_general(s, &info);
        if (s->keys)
            print_keys(model);
        if (!s->summary)
            code = print_tensors(model, &info);
        print_totals(totals, n_totals, &info);
    }
    entro_model_close(model);
    return code;
}

const cli_command cli_inspect_command = {
    .name = "inspect",
    .summary = "what is in a model file, tensor by tensor",
    .about =
        "Lists shape, method, coding (and the mode of strips), stored bits and entropy of every "
        "tensor, the share of its integers that are exceptions, its size, its share of the file "
        "and "
        "its quantization step, then the totals by method.  Bits count everything "
        "stored for the tensor: scales, tables and indexes too.",
    .examples = "  entrollm inspect model-u8.gguf\n"
                "  entrollm inspect model-u8.gguf --summary\n"
                "  entrollm inspect model.gguf --keys | less\n"
                "  entrollm inspect model-u8.gguf --json > model.json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = inspect,
};
