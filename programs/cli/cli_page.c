/*
 * cli_page.c - see cli_page.h.
 *
 *   figures of the whole    size, bits, error, estimated loss; each pass of the search for a size
 *   what each step gained   of each kind: tables of classes, feedback
 *   bits by layer           a line for each kind of matrix (attn_q, ffn_down, ...)
 *   histograms              of each kind (cli_histograms.h)
 *   share of the file       a bar for each kind
 *   every tensor            a table
 *
 * Of several sizes: the frontier (cli_frontier.h) and a table.
 */
#include "cli_page.h"
#include "cli_format.h"
#include "cli_frontier.h"
#include "cli_histograms.h"
#include "cli_html.h"
#include "cli_input.h"
#include "cli_kinds.h"
#include "cli_options.h"
#include "cli_svg.h"

#include <math.h>
#include <stdlib.h>

/* ---- the whole ----------------------------------------------------------------------------- */

static void put_source(FILE *out, const char *source, const char *method)
{
    fputs("<p>made from ", out);
    cli_html_text(out, source);
    fputs(" with method ", out);
    cli_html_text(out, method);
    fprintf(out, " by entrollm %s</p>\n", entro_version());
}

static void put_whole(FILE *out, const cli_account *a)
{
    const entro_compress_report *r = &a->report;
    fprintf(out,
            "<table><tr><td>file<td>%s<tr><td>bits a parameter, whole file<td>%s"
            "<tr><td>bits a coded weight<td>%s<tr><td>entropy of its integers<td>%s"
            "<tr><td>error, rms of the weights'<td>%s %%<tr><td>loss, calibration's estimate, nats "
            "a token<td>%s<tr><td>KLD expected, up to<td>%s<tr><td>passes, "
            "seconds<td>%u, %.1f",
            cli_bytes((double)r->n_file_bytes).s, cli_figure(r->bits_per_param, 4).s,
            cli_figure(r->bits_per_coded_param, 4).s, cli_figure(r->entropy, 4).s,
            cli_figure(100 * r->rms_error / r->rms_weight, 3).s, cli_small(r->loss).s,
            cli_small(r->expected_kld).s, r->n_passes, r->seconds);
    if (r->n_drift_tokens > 0)
        fprintf(out,
                "<tr><td>weights corrected for their inputs' drift (errors and loss are of "
                "rounding these), tokens<td>%llu",
                (unsigned long long)r->n_drift_tokens);
    if (r->n_tune_tokens > 0)
        fprintf(out, "<tr><td>KLD measured on %llu tokens, before tuning and after<td>%s, %s%s",
                (unsigned long long)r->n_check_tokens, cli_small(r->kld_untuned).s,
                cli_small(r->kld_tuned).s, r->is_tuned ? "" : ": left untuned");
    fputs("</table>\n", out);
}

static void put_passes(FILE *out, const cli_account *a)
{
    if (a->n_passes < 2)
        return;
    fputs("<h2>The search for the size</h2><table><tr><th>pass<th>coded weights<th>bits<th>loss",
          out);
    for (size_t i = 0; i < a->n_passes; i++) {
        const cli_totals *t = &a->passes[i];
        fprintf(out, "<tr><td>%zu<td>%s<td>%s<td>%s", i + 1, cli_bytes(t->n_bytes).s,
                cli_figure(8 * t->n_bytes / t->n_params, 4).s, cli_small(t->loss).s);
    }
    fputs("</table>\n", out);
}

/* ---- what each step gained ------------------------------------------------------------------ */

static void put_gains_row(FILE *out, const char *name, const cli_totals *t)
{
    double gain = t->loss > 0 ? t->loss_alone / t->loss : NAN;
    fputs("<tr><td>", out);
    cli_html_text(out, name);
    fprintf(out, "<td>%s<td>%s<td>%s<td>%s<td>%s<td>%s<td>%s",
            cli_figure(t->one_table_bits / t->n_params, 3).s,
            cli_figure(t->entropy_bits / t->n_params, 3).s,
            cli_figure(8 * t->n_bytes / t->n_params, 3).s, cli_small(t->loss_alone).s,
            cli_small(t->loss).s, cli_figure(gain, 2).s, cli_figure(0.5 * log2(gain), 2).s);
}

static void put_gains(FILE *out, const cli_account *a, const cli_kinds *kinds)
{
    cli_totals all = cli_account_totals(a);
    if (isnan(all.one_table_bits))
        return;
    fputs("<h2>What each step gained</h2><p class=\"soft\">Bits a weight: entropy of the integers "
          "under one table, under tables of classes, and as stored with tables and scales. Loss: "
          "were each weight rounded by itself with the same steps, and with feedback of the "
          "others' errors; how many times less that is, and how many bits a weight it would take "
          "to gain as much.</p><div class=\"wide\"><table><tr><th>kind<th>one table<th>classes<th>"
          "stored<th>loss alone<th>with feedback<th>times<th>in bits",
          out);
    for (size_t i = 0; i < kinds->n; i++)
        put_gains_row(out, kinds->kinds[i].name, &kinds->kinds[i].totals);
    put_gains_row(out, "all", &all);
    fputs("</table></div>\n", out);
}

/* ---- kinds ---------------------------------------------------------------------------------- */

static void put_layers(FILE *out, const cli_kinds *kinds)
{
    if (kinds->n_layers == 0 || !(kinds->most_bits > 0))
        return;
    cli_chart c = {.out = out, .width = 860, .height = 330, .left = 50, .right = 130};
    c.top = 10;
    c.bottom = 40;
    c.x = (cli_axis){0, fmax(kinds->n_layers - 1, 1), .is_whole = true, .title = "layer"};
    c.y = (cli_axis){0, ceil(kinds->most_bits), .is_whole = true, .title = ""};
    double layers[CLI_MAX_LAYERS];
    for (int i = 0; i < kinds->n_layers; i++)
        layers[i] = i;
    fputs("<h2>Bits a weight, by layer and kind</h2>", out);
    cli_chart_open(&c);
    int row = 0;
    for (size_t k = 0; k < kinds->n; k++) {
        const cli_matrix_kind *one = &kinds->kinds[k];
        if (one->n_in_layers == 0)
            continue;
        cli_chart_line(&c, layers, one->bits, (size_t)kinds->n_layers, (int)k);
        char name[24];
        cli_format_shortened(name, sizeof(name), one->name, 18);
        cli_chart_text(&c, c.width - c.right + 14, 24 + 18 * row++, "start", (int)k, name);
    }
    cli_chart_close(&c);
}

static void put_kinds(FILE *out, const cli_kinds *kinds)
{
    double all = 0;
    for (size_t k = 0; k < kinds->n; k++)
        all += kinds->kinds[k].totals.n_bytes;
    fputs("<h2>Where the bytes are</h2><div class=\"wide\"><table><tr><th>kind<th>weights<th>bits"
          "<th>bytes<th>loss<th class=\"left\">share",
          out);
    for (size_t k = 0; k < kinds->n; k++) {
        const cli_totals *t = &kinds->kinds[k].totals;
        fputs("<tr><td>", out);
        cli_html_text(out, kinds->kinds[k].name);
        fprintf(out,
                "<td>%s<td>%.3f<td>%s<td>%s<td class=\"left\"><div class=\"bar f%zu\" "
                "style=\"width:%.0fpx\"></div>",
                cli_count(t->n_params).s, 8 * t->n_bytes / t->n_params, cli_bytes(t->n_bytes).s,
                cli_small(t->loss).s, k, all > 0 ? 300 * t->n_bytes / all : 0);
    }
    fputs("</table></div>\n", out);
}

static void put_tensors(FILE *out, const cli_account *a)
{
    fputs("<h2>Every tensor</h2><div class=\"wide\"><table><tr><th>tensor<th>method<th>weights<th>"
          "bits<th>entropy<th>error<th>loss<th>exceptions<th>classes",
          out);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const entro_tensor_account *t = &a->tensors[i];
        fputs("<tr><td>", out);
        cli_html_text(out, t->name);
        fprintf(out, "<td>%s<td>%s<td>%.3f<td>%s<td>%s %%<td>%s<td>%s %%<td>%u x %u", t->method,
                cli_count((double)t->n_params).s, t->bits, cli_figure(t->entropy, 4).s,
                cli_figure(100 * t->rms_error, 3).s, cli_small(t->loss).s,
                cli_figure(100 * t->exceptions, 2).s, t->n_row_classes, t->n_col_classes);
    }
    fputs("</table></div>\n", out);
}

int cli_page_write(const cli_account *a, const char *path)
{
    cli_html page;
    cli_kinds kinds;
    if (!cli_kinds_collect(&kinds, a))
        return cli_fail_text("out of memory");
    int code = cli_html_open(&page, path, cli_base_name(a->output));
    if (!code) {
        put_source(page.out, a->source, a->method);
        put_whole(page.out, a);
        put_layers(page.out, &kinds);
        cli_histograms_draw(page.out, &kinds);
        put_kinds(page.out, &kinds);
        put_gains(page.out, a, &kinds);
        put_passes(page.out, a);
        put_tensors(page.out, a);
        code = cli_html_close(&page);
    }
    cli_kinds_release(&kinds);
    return code;
}

/* ---- several sizes -------------------------------------------------------------------------- */

static void put_tries_table(FILE *out, const cli_tries *tries)
{
    fputs("<div class=\"wide\"><table><tr><th>bits asked<th>bits a parameter<th>file<th>entropy<th>"
          "error, rms<th>loss<th>KLD up to",
          out);
    for (size_t i = 0; i < tries->n; i++) {
        const entro_compress_report *r = &tries->reports[i];
        if (tries->errors[i].status != ENTRO_OK) {
            fprintf(out, "<tr><td>%g<td colspan=\"6\" class=\"left\">cannot be met", tries->bpw[i]);
            continue;
        }
        fprintf(out, "<tr><td>%g<td>%s<td>%s<td>%s<td>%s %%<td>%s<td>%s", tries->bpw[i],
                cli_figure(r->bits_per_param, 4).s, cli_bytes((double)r->n_file_bytes).s,
                cli_figure(r->entropy, 4).s, cli_figure(100 * r->rms_error / r->rms_weight, 3).s,
                cli_small(r->loss).s, cli_small(r->expected_kld).s);
    }
    fputs("</table></div>\n", out);
}

static void put_tries(FILE *out, const cli_tries *tries)
{
    cli_frontier_point points[CLI_MAX_TRIES];
    char names[CLI_MAX_TRIES][32];
    bool has_kld = false;
    for (size_t i = 0; i < tries->n; i++)
        has_kld |= tries->errors[i].status == ENTRO_OK && isfinite(tries->reports[i].expected_kld);
    size_t n = 0;
    for (size_t i = 0; i < tries->n; i++) {
        const entro_compress_report *r = &tries->reports[i];
        if (tries->errors[i].status != ENTRO_OK)
            continue;
        snprintf(names[i], sizeof(names[i]), "%g bits, %s", tries->bpw[i],
                 cli_bytes((double)r->n_file_bytes).s);
        points[n++] = (cli_frontier_point){.name = names[i],
                                           .bits = r->bits_per_param,
                                           .loss = has_kld ? r->expected_kld
                                                           : 100 * r->rms_error / r->rms_weight};
    }
    fputs("<h2>The frontier of this model, as expected</h2><p class=\"soft\">", out);
    fputs(has_kld ? "KLD is at most expected to be this, from calibration's estimate of the loss."
                  : "This method has no estimate of the KLD: the picture has the weights' error.",
          out);
    fputs(" What KLD a file has, and where other models stand, is measured by <code>entrollm "
          "compare --page</code>.</p>\n",
          out);
    cli_frontier_draw(out, points, n,
                      has_kld ? "KLD expected, nats a token" : "error, % of the weights' rms");
    put_tries_table(out, tries);
}

int cli_page_write_tries(const char *source, const char *method, const cli_tries *tries,
                         const char *path)
{
    cli_html page;
    int code = cli_html_open(&page, path, cli_base_name(source));
    if (code)
        return code;
    put_source(page.out, source, method);
    put_tries(page.out, tries);
    return cli_html_close(&page);
}
