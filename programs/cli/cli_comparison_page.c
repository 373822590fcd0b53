/*
 * cli_comparison_page.c - a comparison as one HTML page.
 *
 *   frontier        bits a parameter over KLD, containers and peers in colours of their own
 *   table           the figures of compare
 *   worst tokens    of each model
 */
#include "cli_comparison.h"
#include "cli_format.h"
#include "cli_frontier.h"
#include "cli_html.h"
#include "cli_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The file's name without ".gguf"; to be freed. */
static char *short_name(const char *path)
{
    char *name = strdup(cli_base_name(path));
    size_t n = name ? strlen(name) : 0, n_end = strlen(".gguf");
    if (n > n_end && strcmp(name + n - n_end, ".gguf") == 0)
        name[n - n_end] = 0;
    return name;
}

static void put_legend(FILE *out)
{
    fprintf(out,
            "<p class=\"soft\"><svg viewBox=\"0 0 10 10\" style=\"width:10px\"><circle "
            "class=\"f%d\" cx=\"5\" cy=\"5\" r=\"4\"/></svg> coded by entrollm &nbsp; <svg "
            "viewBox=\"0 0 10 10\" style=\"width:10px\"><circle class=\"f%d\" cx=\"5\" cy=\"5\" "
            "r=\"4\"/></svg> other files. Both as measured here: files' bytes over the parameters "
            "of the reference, mean KLD with its standard error. Lines join what no file of the "
            "same colour beats in both.</p>\n",
            CLI_COLOUR_OURS, CLI_COLOUR_PEERS);
}

static bool put_frontier(FILE *out, const cli_comparison *c)
{
    cli_frontier_point *points = calloc(c->n, sizeof(*points));
    bool good = points != NULL;
    for (size_t i = 0; good && i < c->n; i++) {
        const cli_outcome *o = &c->outcomes[i];
        points[i] = (cli_frontier_point){.name = short_name(o->model),
                                         .bits = o->bits,
                                         .loss = o->report.kld,
                                         .error = o->report.kld_error,
                                         .is_peer = !o->is_container};
        good = points[i].name != NULL;
    }
    if (good) {
        fputs("<h2>The frontier</h2>", out);
        put_legend(out);
        size_t n = cli_frontier_draw(out, points, c->n, "KLD, nats a token");
        if (n < c->n)
            fprintf(out, "<p>%zu with a KLD of 0 have no place in the picture.</p>", c->n - n);
    }
    for (size_t i = 0; points && i < c->n; i++)
        free((char *)points[i].name);
    free(points);
    return good;
}

static void put_name(FILE *out, const char *path, int colour)
{
    fputs("<tr><td title=\"", out);
    cli_html_text(out, path);
    fputs("\">", out);
    if (colour >= 0)
        fprintf(out,
                "<svg viewBox=\"0 0 10 10\" style=\"width:10px\"><circle class=\"f%d\" "
                "cx=\"5\" cy=\"5\" r=\"4\"/></svg> ",
                colour);
    cli_html_text(out, cli_base_name(path));
}

static void put_table(FILE *out, const cli_comparison *c)
{
    const entro_model_info *reference = &c->reference_info;
    fputs("<h2>Every model</h2><div class=\"wide\"><table><tr><th>model<th>file<th>bits<th>KLD<th>"
          "median<th>99 %<th>largest<th>same top<th>perplexity",
          out);
    put_name(out, c->reference, -1);
    fprintf(out, "<td>%s<td>%.2f<td class=\"left\" colspan=\"5\">the reference<td>%.3f",
            cli_bytes((double)reference->n_file_bytes).s,
            8 * (double)reference->n_file_bytes / (double)reference->n_params,
            c->outcomes[0].report.reference_perplexity);
    for (size_t i = 0; i < c->n; i++) {
        const cli_outcome *o = &c->outcomes[i];
        const entro_divergence_report *r = &o->report;
        put_name(out, o->model, o->is_container ? CLI_COLOUR_OURS : CLI_COLOUR_PEERS);
        fprintf(out, "<td>%s<td>%.2f<td>%s &plusmn; %s<td>%s<td>%s<td>%s<td>%.2f %%<td>%.3f",
                cli_bytes((double)o->n_file_bytes).s, o->bits, cli_small(r->kld).s,
                cli_small(r->kld_error).s, cli_small(r->kld_median).s, cli_small(r->kld_99).s,
                cli_small(r->kld_max).s, 100 * r->same_top, r->perplexity);
    }
    fputs("</table></div>\n", out);
}

static void put_worst(FILE *out, const cli_comparison *c)
{
    fputs("<h2>Worst tokens</h2><p class=\"soft\">Where a model's prediction of the next token is "
          "furthest from the reference's: the token that the text has there.</p>",
          out);
    for (size_t i = 0; i < c->n; i++) {
        const cli_outcome *o = &c->outcomes[i];
        fprintf(out, "<details%s><summary>", i == 0 ? " open" : "");
        cli_html_text(out, cli_base_name(o->model));
        fputs("</summary><table><tr><th>token<th>KLD<th>window<th>token number", out);
        for (uint32_t k = 0; k < o->report.n_worst; k++) {
            const entro_worst_token *t = &o->report.worst[k];
            fputs("<tr><td><code>", out);
            cli_html_text(out, o->worst[k]);
            fprintf(out, "</code><td>%.4f<td>%u<td>%u", t->kld, t->window, t->position + 1);
        }
        fputs("</table></details>\n", out);
    }
}

int cli_comparison_page(const cli_comparison *c, const char *path)
{
    cli_html page;
    const entro_divergence_report *first = &c->outcomes[0].report;
    char *title = NULL;
    if (asprintf(&title, "Models beside %s", cli_base_name(c->reference)) < 0)
        return cli_fail_text("out of memory");
    int code = cli_html_open(&page, path, title);
    free(title);
    if (code)
        return code;
    fputs("<p>How far they predict from it on ", page.out);
    cli_html_text(page.out, cli_base_name(c->text));
    fprintf(page.out,
            ", by entrollm %s: %llu tokens in %u windows of %u, the second half of each scored."
            "</p>\n",
            entro_version(), (unsigned long long)first->n_scored, first->n_windows, c->n_ctx);
    bool good = put_frontier(page.out, c);
    put_table(page.out, c);
    put_worst(page.out, c);
    code = cli_html_close(&page);
    return good || code ? code : cli_fail_text("out of memory");
}
