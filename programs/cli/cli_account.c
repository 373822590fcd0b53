/* cli_account.c - see cli_account.h. */
#include "cli_account.h"
#include "cli_format.h"
#include "cli_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- collecting ---------------------------------------------------------------------------- */

static void forget_tensors(cli_account *a)
{
    for (size_t i = 0; i < a->n_tensors; i++) {
        free((char *)a->tensors[i].name);
        free((char *)a->tensors[i].method);
        free((entro_histogram *)a->tensors[i].histogram);
    }
    a->n_tensors = 0;
}

void cli_totals_add(cli_totals *s, const entro_tensor_account *t)
{
    double n = (double)t->n_params;
    s->n_params += n;
    s->n_bytes += (double)t->n_bytes;
    s->entropy_bits += n * t->entropy;
    s->one_table_bits += n * t->entropy_one_table;
    s->loss += t->loss;
    s->loss_alone += t->loss_alone;
}

cli_totals cli_account_totals(const cli_account *a)
{
    cli_totals all = {0};
    for (size_t i = 0; i < a->n_tensors; i++)
        cli_totals_add(&all, &a->tensors[i]);
    return all;
}

void cli_account_add(void *user, const entro_tensor_account *t)
{
    cli_account *a = user;
    if (a->n_tensors > 0 && a->tensors[0].pass != t->pass)
        forget_tensors(a);
    if (t->pass < CLI_MAX_PASSES) {
        cli_totals_add(&a->passes[t->pass], t);
        a->n_passes = t->pass + 1;
    }
    if (a->n_tensors == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 256;
        entro_tensor_account *more = realloc(a->tensors, cap * sizeof(*more));
        a->out_of_memory |= !more;
        if (!more)
            return;
        a->tensors = more;
        a->cap = cap;
    }
    entro_tensor_account *mine = &a->tensors[a->n_tensors++];
    *mine = *t;
    mine->name = strdup(t->name);
    mine->method = strdup(t->method);
    a->out_of_memory |= !mine->name || !mine->method;
    if (t->histogram) {
        entro_histogram *histogram = malloc(sizeof(*histogram));
        if (histogram)
            *histogram = *t->histogram;
        mine->histogram = histogram;
        a->out_of_memory |= !histogram;
    }
}

void cli_account_release(cli_account *a)
{
    forget_tensors(a);
    free(a->tensors);
    a->tensors = NULL;
    a->cap = 0;
}

/* ---- telling ------------------------------------------------------------------------------- */

/* "mixed": some matrices are in strips, others in rans. */
static const char *name_coding(const entro_compress_report *r, const char *otherwise)
{
    if (r->n_strip_tensors == 0)
        return otherwise;
    return r->n_rans_tensors == 0                   ? "strips"
           : r->n_rans_tensors < r->n_strip_tensors ? "mixed"
                                                    : "rans";
}

static void print_strips(const entro_compress_report *r)
{
    uint32_t n_strips = r->n_strip_tensors - r->n_rans_tensors;
    printf("  coding   ");
    if (n_strips > 0)
        printf("strips for %u ", n_strips);
    if (r->n_rans_tensors > 0)
        printf("%srans for %u ", n_strips > 0 ? "and " : "", r->n_rans_tensors);
    printf("of %u tensors; %.3f %% of their integers are exceptions\n", r->n_coded_tensors,
           100 * (double)r->n_exceptions / (double)r->n_strip_params);
}

static void print_coding(const cli_account *a)
{
    const entro_compress_report *r = &a->report;
    const char *other = strcmp(a->table, "tensor") == 0 ? "model" : "tensor";
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
        print_strips(r);
    else if (!isnan(r->bits_other_table))
        printf("           one table a %s would take %s bits\n", other,
               cli_figure(r->bits_other_table, 4).s);
}

static void print_gains(const cli_account *a)
{
    cli_totals t = cli_account_totals(a);
    double classes = (t.one_table_bits - t.entropy_bits) / t.n_params;
    double feedback = t.loss_alone / t.loss;
    if (!(classes > 0) && !isfinite(feedback))
        return;
    printf("  gained   ");
    if (classes > 0)
        printf("%s bits a coded weight by tables of classes", cli_figure(classes, 4).s);
    if (isfinite(feedback))
        printf("%sfeedback makes the loss %s times smaller", classes > 0 ? "; " : "",
               cli_figure(feedback, 2).s);
    printf("\n");
}

/* What a search for a size or a KLD came to. */
static void print_search(const entro_compress_report *r)
{
    bool is_size = isnan(r->kld_below);
    double below = is_size ? r->size_below : r->kld_below;
    const char *what = is_size ? "size" : "KLD", *s = r->n_passes == 1 ? "" : "es";
    if (isnan(below))
        return;
    if (!r->is_asked_met)
        printf("  %-8s %.1f %% below what was asked, the nearest in %u pass%s\n", what, 100 * below,
               r->n_passes, s);
    else if (r->n_passes > 1)
        printf("  %-8s met in %u passes\n", what, r->n_passes);
}

void cli_account_print(const cli_account *a)
{
    const entro_compress_report *r = &a->report;
    double n = (double)r->n_params, coded = (double)r->n_coded_params;
    printf("%s\n", a->output);
    printf("  source   %s, %.2f bits a parameter\n", cli_bytes((double)r->n_source_bytes).s,
           n > 0 ? 8 * (double)r->n_source_bytes / n : 0);
    printf("  result   %s, %.2f bits a parameter (whole file), %.1f %% of 16 bits\n",
           cli_bytes((double)r->n_file_bytes).s, r->bits_per_param, r->bits_per_param / 0.16);
    printf("  coded    %s of %s parameters, %u of %u tensors: %s, one table a %s\n",
           cli_count(coded).s, cli_count(n).s, r->n_coded_tensors, r->n_tensors, a->method,
           r->n_exact_tensors > 0 && r->n_exact_tensors == r->n_coded_tensors ? "plane" : a->table);
    printf("  rate     %s bits a coded weight; entropy %s, one-symbol Huffman %s, tables %s\n",
           cli_figure(r->bits_per_coded_param, 4).s, cli_figure(r->entropy, 4).s,
           cli_figure(r->huffman_bits, 4).s, cli_bytes((double)r->n_table_bytes).s);
    print_coding(a);
    if (!isnan(r->loss))
        printf(
            "  loss     %s nats a token by calibration's estimate; a KLD of up to %s is expected "
            "on like text\n",
            cli_figure(r->loss, 4).s, cli_figure(r->expected_kld, 3).s);
    printf("  error    rms %s %% of the weights' rms, largest %s\n",
           cli_figure(r->rms_weight > 0 ? 100 * r->rms_error / r->rms_weight : NAN, 3).s,
           cli_figure(r->max_error, 5).s);
    print_gains(a);
    if (r->n_drift_tokens > 0)
        printf("  drift    weights corrected for their inputs' on %llu tokens; errors and loss are "
               "of rounding these\n",
               (unsigned long long)r->n_drift_tokens);
    if (r->n_tune_tokens > 0)
        printf("  tuned    %s: KLD %s before, %s after, on %llu tokens kept apart\n",
               r->is_tuned ? "gains and biases" : "not, it was no better",
               cli_small(r->kld_untuned).s, cli_small(r->kld_tuned).s,
               (unsigned long long)r->n_check_tokens);
    print_search(r);
    printf("  time     %.2f s, %s/s of source, %s weights/s; peak memory %s\n", r->seconds,
           cli_bytes((double)r->n_source_bytes / r->seconds).s, cli_count(n / r->seconds).s,
           cli_bytes((double)r->peak_resident).s);
}

static json_t *histogram_json(const entro_histogram *h)
{
    json_t *o = json_object(), *counts = json_array();
    json_object_set_new(o, "first", json_integer(h->first));
    cli_json_int(o, "n_others", h->n_others);
    for (uint32_t i = 0; i < h->n_values; i++)
        json_array_append_new(counts, json_integer((json_int_t)h->counts[i]));
    json_object_set_new(o, "counts", counts);
    return o;
}

static json_t *passes_json(const cli_account *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_passes; i++) {
        json_t *o = json_object();
        cli_json_int(o, "n_coded_bytes", (uint64_t)a->passes[i].n_bytes);
        cli_json_real(o, "bits", 8 * a->passes[i].n_bytes / a->passes[i].n_params);
        cli_json_real(o, "loss", a->passes[i].loss);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *tensors_json(const cli_account *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_tensors; i++) {
        const entro_tensor_account *t = &a->tensors[i];
        json_t *o = json_object();
        cli_json_text(o, "name", t->name);
        cli_json_text(o, "method", t->method);
        cli_json_int(o, "n_params", t->n_params);
        cli_json_int(o, "n_bytes", t->n_bytes);
        cli_json_real(o, "bits", t->bits);
        cli_json_real(o, "entropy", t->entropy);
        cli_json_real(o, "rms_error", t->rms_error);
        cli_json_real(o, "loss", t->loss);
        cli_json_real(o, "exceptions", t->exceptions);
        cli_json_int(o, "n_row_classes", t->n_row_classes);
        cli_json_int(o, "n_col_classes", t->n_col_classes);
        cli_json_real(o, "entropy_one_table", t->entropy_one_table);
        cli_json_real(o, "loss_alone", t->loss_alone);
        json_object_set_new(o, "histogram",
                            t->histogram ? histogram_json(t->histogram) : json_null());
        json_array_append_new(list, o);
    }
    return list;
}

int cli_account_json(const cli_account *a)
{
    const entro_compress_report *r = &a->report;
    const cli_totals totals = cli_account_totals(a);
    json_t *o = json_object();
    cli_json_text(o, "source", a->source);
    cli_json_text(o, "output", a->output);
    cli_json_text(o, "method", a->method);
    cli_json_text(o, "table", a->table);
    cli_json_text(o, "coding", name_coding(r, a->coding));
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
    cli_json_int(o, "n_rans_tensors", r->n_rans_tensors);
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
    cli_json_real(o, "loss", r->loss);
    cli_json_real(o, "expected_kld", r->expected_kld);
    cli_json_int(o, "n_passes", r->n_passes);
    cli_json_real(o, "rate_choice", r->rate_choice);
    cli_json_real(o, "size_below", r->size_below);
    cli_json_real(o, "kld_below", r->kld_below);
    json_object_set_new(o, "is_asked_met", json_boolean(r->is_asked_met));
    cli_json_int(o, "n_drift_tokens", r->n_drift_tokens);
    cli_json_int(o, "n_tune_tokens", r->n_tune_tokens);
    cli_json_int(o, "n_check_tokens", r->n_check_tokens);
    cli_json_real(o, "kld_untuned", r->kld_untuned);
    cli_json_real(o, "kld_tuned", r->kld_tuned);
    json_object_set_new(o, "is_tuned", json_boolean(r->is_tuned));
    cli_json_real(o, "entropy_one_table", totals.one_table_bits / totals.n_params);
    cli_json_real(o, "loss_alone", totals.loss_alone);
    json_object_set_new(o, "passes", passes_json(a));
    json_object_set_new(o, "tensors", tensors_json(a));
    return cli_json_print(o);
}

static json_t *try_json(double bpw, const entro_compress_report *r, const entro_error *error)
{
    bool is_made = error->status == ENTRO_OK;
    json_t *o = json_object();
    cli_json_real(o, "bits_asked", bpw);
    json_object_set_new(o, "n_file_bytes",
                        is_made ? json_integer((json_int_t)r->n_file_bytes) : json_null());
    cli_json_real(o, "bits_per_param", is_made ? r->bits_per_param : NAN);
    cli_json_real(o, "entropy", is_made ? r->entropy : NAN);
    cli_json_real(o, "loss", is_made ? r->loss : NAN);
    cli_json_real(o, "expected_kld", is_made ? r->expected_kld : NAN);
    json_object_set_new(o, "error", is_made ? json_null() : json_string(error->message));
    return o;
}

static void print_try(double bpw, const entro_compress_report *r, const entro_error *error)
{
    if (error->status != ENTRO_OK)
        printf("%8.2f  %s\n", bpw, error->message);
    else
        printf("%8.2f  %10.3f  %10s  %10s %%  %12s\n", bpw, r->bits_per_param,
               cli_bytes((double)r->n_file_bytes).s,
               cli_figure(100 * r->rms_error / r->rms_weight, 3).s,
               cli_figure(r->expected_kld, 3).s);
}

int cli_account_tries(bool json, const cli_tries *tries)
{
    if (json) {
        json_t *o = json_object(), *list = json_array();
        for (size_t i = 0; i < tries->n; i++)
            json_array_append_new(list,
                                  try_json(tries->bpw[i], &tries->reports[i], &tries->errors[i]));
        json_object_set_new(o, "tries", list);
        return cli_json_print(o);
    }
    printf("%8s  %10s  %10s  %12s  %12s\n", "asked", "bits/param", "file", "error (rms)",
           "KLD up to");
    for (size_t i = 0; i < tries->n; i++)
        print_try(tries->bpw[i], &tries->reports[i], &tries->errors[i]);
    return CLI_EXIT_OK;
}
