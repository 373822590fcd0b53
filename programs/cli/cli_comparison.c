/* cli_comparison.c - see cli_comparison.h. */
#include "cli_comparison.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_options.h"

#include <stdio.h>

/* ---- for scripts ---------------------------------------------------------------------------- */

static json_t *json_of(const cli_outcome *o)
{
    const entro_divergence_report *r = &o->report;
    json_t *model = json_object(), *worst = json_array();
    cli_json_text(model, "model", o->model);
    json_object_set_new(model, "is_entrollm", json_boolean(o->is_container));
    cli_json_int(model, "n_file_bytes", o->n_file_bytes);
    cli_json_real(model, "bits_per_param", o->bits);
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

int cli_comparison_json(const cli_comparison *c)
{
    const entro_divergence_report *first = &c->outcomes[0].report;
    json_t *o = json_object(), *models = json_array();
    cli_json_text(o, "reference", c->reference);
    cli_json_text(o, "text", c->text);
    cli_json_real(o, "reference_perplexity", first->reference_perplexity);
    json_object_set_new(o, "reference_reused", json_boolean(first->reference_reused));
    cli_json_int(o, "n_ctx", c->n_ctx);
    cli_json_int(o, "n_windows", first->n_windows);
    cli_json_int(o, "n_scored", first->n_scored);
    for (size_t i = 0; i < c->n; i++)
        json_array_append_new(models, json_of(&c->outcomes[i]));
    json_object_set_new(o, "models", models);
    return cli_json_print(o);
}

/* ---- for people ----------------------------------------------------------------------------- */

static void print_table(const cli_comparison *c)
{
    enum { NAME = 28 };
    char name[64];
    const entro_model_info *reference = &c->reference_info;
    printf("%-*s%7s  %-23s%9s%10s%10s%10s%12s\n", NAME, "model", "bits", "KLD", "median", "99 %",
           "largest", "same top", "perplexity");
    cli_format_shortened(name, sizeof(name), cli_base_name(c->reference), NAME);
    printf("%-*s%7.2f  %-23s%9s%10s%10s%10s%12.4f\n", NAME, name,
           8 * (double)reference->n_file_bytes / (double)reference->n_params, "(the reference)", "",
           "", "", "", c->outcomes[0].report.reference_perplexity);
    for (size_t i = 0; i < c->n; i++) {
        const cli_outcome *o = &c->outcomes[i];
        const entro_divergence_report *r = &o->report;
        cli_format_shortened(name, sizeof(name), cli_base_name(o->model), NAME);
        printf("%-*s%7.2f  %.6f +/- %.6f%11.6f%10.6f%10.4f%8.2f %%%12.4f\n", NAME, name, o->bits,
               r->kld, r->kld_error, r->kld_median, r->kld_99, r->kld_max, 100 * r->same_top,
               r->perplexity);
    }
}

static void print_worst(const cli_outcome *o)
{
    const entro_divergence_report *r = &o->report;
    printf("\nworst tokens of %s\n", cli_base_name(o->model));
    for (uint32_t i = 0; i < r->n_worst; i++)
        printf("  %8.4f  '%s' (window %u, token %u)\n", r->worst[i].kld, o->worst[i],
               r->worst[i].window, r->worst[i].position + 1);
}

int cli_comparison_print(const cli_comparison *c, bool quiet)
{
    const entro_divergence_report *first = &c->outcomes[0].report;
    double seconds = 0;
    print_table(c);
    if (quiet)
        return CLI_EXIT_OK;
    for (size_t i = 0; i < c->n; i++) {
        print_worst(&c->outcomes[i]);
        seconds += c->outcomes[i].report.seconds;
    }
    cli_note("%llu tokens in %u windows of %u; %.1f s%s", (unsigned long long)first->n_scored,
             first->n_windows, c->n_ctx, seconds,
             first->reference_reused ? "; the reference from the file" : "");
    return CLI_EXIT_OK;
}
