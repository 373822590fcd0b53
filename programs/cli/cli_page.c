/*
 * cli_page.c - see cli_page.h.
 *
 *   figures of the whole    size, bits, error, estimated loss
 *   bits by layer           a line for each kind of matrix (attn_q, ffn_down, ...), as an SVG
 *   share of the file       a bar for each kind
 *   every tensor            a table
 */
#include "cli_page.h"
#include "cli_format.h"
#include "cli_options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_KINDS = 16, WIDTH = 860, HEIGHT = 320, LEFT = 50, BOTTOM = 40, RIGHT = 130 };

static const char *const colours[MAX_KINDS] = {"#0a6", "#c40", "#06c", "#a0a", "#880", "#088",
                                               "#d68", "#555", "#5b3", "#f90", "#39f", "#93c",
                                               "#b60", "#0cc", "#e33", "#999"};

/* Matrices of one name in all layers, or a single one. */
typedef struct kind {
    char name[64];
    double n_bytes, n_params, loss;
} kind;

typedef struct page {
    const cli_account *a;
    FILE *out;
    kind kinds[MAX_KINDS];
    size_t n_kinds;
    int n_layers;
    double most_bits;
} page;

/* "blk.3.attn_q.weight": layer 3, kind "attn_q"; -1 and the name without ".weight" for others. */
static int split_name(const char *name, char *out, size_t n_out)
{
    int layer = -1, n = 0;
    if (sscanf(name, "blk.%d.%n", &layer, &n) < 1 || n == 0) {
        layer = -1;
        n = 0;
    }
    snprintf(out, n_out, "%s", name + n);
    char *dot = strstr(out, ".weight");
    if (dot)
        *dot = 0;
    return layer;
}

static size_t find_kind(page *p, const char *name)
{
    for (size_t i = 0; i < p->n_kinds; i++)
        if (strcmp(p->kinds[i].name, name) == 0)
            return i;
    if (p->n_kinds == MAX_KINDS) /* what is left shares the last one */
        return MAX_KINDS - 1;
    snprintf(p->kinds[p->n_kinds].name, sizeof(p->kinds[0].name), "%s", name);
    return p->n_kinds++;
}

static void collect(page *p)
{
    for (size_t i = 0; i < p->a->n_tensors; i++) {
        const entro_tensor_account *t = &p->a->tensors[i];
        char name[64];
        int layer = split_name(t->name, name, sizeof(name));
        kind *k = &p->kinds[find_kind(p, name)];
        k->n_bytes += (double)t->n_bytes;
        k->n_params += (double)t->n_params;
        k->loss += t->loss;
        p->n_layers = layer >= p->n_layers ? layer + 1 : p->n_layers;
        p->most_bits = fmax(p->most_bits, t->bits);
    }
}

/* Names come from files. */
static void put_text(FILE *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc((unsigned char)*text < 32 ? ' ' : *text, out);
        }
}

static void put_head(page *p)
{
    const entro_compress_report *r = &p->a->report;
    fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>", p->out);
    put_text(p->out, p->a->output);
    fputs(
        "</title><style>body{font:15px sans-serif;margin:2em auto;max-width:900px;color:#222}"
        "table{border-collapse:collapse}td,th{padding:2px 12px;text-align:right;border-bottom:"
        "1px solid #ddd}td:first-child,th:first-child{text-align:left}svg{width:100%}</style><h1>",
        p->out);
    put_text(p->out, p->a->output);
    fputs("</h1><p>made from ", p->out);
    put_text(p->out, p->a->source);
    fputs(" with method ", p->out);
    put_text(p->out, p->a->method);
    fprintf(
        p->out,
        "</p><table><tr><td>file<td>%s<tr><td>bits a parameter, whole file<td>%s"
        "<tr><td>bits a coded weight<td>%s<tr><td>entropy of its integers<td>%s"
        "<tr><td>error, rms of the weights'<td>%s %%<tr><td>loss, calibration's estimate, nats a "
        "token<td>%s<tr><td>KLD expected, up to<td>%s<tr><td>passes, seconds<td>%u, %.1f</table>",
        cli_bytes((double)r->n_file_bytes).s, cli_figure(r->bits_per_param, 4).s,
        cli_figure(r->bits_per_coded_param, 4).s, cli_figure(r->entropy, 4).s,
        cli_figure(100 * r->rms_error / r->rms_weight, 3).s, cli_figure(r->loss, 4).s,
        cli_figure(r->expected_kld, 3).s, r->n_passes, r->seconds);
}

static double x_of(const page *p, int layer)
{
    double n = p->n_layers > 1 ? p->n_layers - 1 : 1;
    return LEFT + layer / n * (WIDTH - LEFT - RIGHT);
}

static double y_of(const page *p, double bits)
{
    return HEIGHT - BOTTOM - bits / ceil(p->most_bits) * (HEIGHT - BOTTOM - 10);
}

static void put_axes(page *p)
{
    for (int bits = 0; bits <= (int)ceil(p->most_bits); bits++)
        fprintf(p->out,
                "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%d</text>",
                LEFT, y_of(p, bits), WIDTH - RIGHT, LEFT - 8, y_of(p, bits) + 4, bits);
    for (int layer = 0; layer<p->n_layers; layer += p->n_layers> 12 ? 4 : 1)
        fprintf(p->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>",
                x_of(p, layer), HEIGHT - BOTTOM + 16, layer);
    fprintf(p->out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">layer</text>",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
}

/* One line a kind, in the order of layers whatever that of the file. */
static void put_lines(page *p)
{
    int row = 0;
    for (size_t k = 0; k < p->n_kinds; k++) {
        bool any = false;
        for (int layer = 0; layer < p->n_layers; layer++)
            for (size_t i = 0; i < p->a->n_tensors; i++) {
                char name[64];
                const entro_tensor_account *t = &p->a->tensors[i];
                if (split_name(t->name, name, sizeof(name)) != layer || find_kind(p, name) != k)
                    continue;
                fprintf(p->out, "%s%.1f %.1f", any ? "L" : "<path fill=\"none\" d=\"M",
                        x_of(p, layer), y_of(p, t->bits));
                any = true;
            }
        if (!any)
            continue;
        fprintf(p->out, "\" stroke=\"%s\" stroke-width=\"2\"/><text x=\"%d\" y=\"%d\" fill=\"%s\">",
                colours[k], WIDTH - RIGHT + 14, 24 + 18 * row++, colours[k]);
        put_text(p->out, p->kinds[k].name);
        fputs("</text>", p->out);
    }
}

static void put_layers(page *p)
{
    if (p->n_layers == 0)
        return;
    fprintf(p->out,
            "<h2>Bits a weight, by layer and kind</h2><svg viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">",
            WIDTH, HEIGHT);
    put_axes(p);
    put_lines(p);
    fputs("</svg>", p->out);
}

static void put_kinds(page *p)
{
    double all = 0;
    for (size_t k = 0; k < p->n_kinds; k++)
        all += p->kinds[k].n_bytes;
    fputs("<h2>Where the bytes are</h2><table><tr><th>kind<th>weights<th>bits<th>bytes<th>loss<th "
          "style=\"text-align:left\">share",
          p->out);
    for (size_t k = 0; k < p->n_kinds; k++) {
        const kind *one = &p->kinds[k];
        fputs("<tr><td>", p->out);
        put_text(p->out, one->name);
        fprintf(p->out,
                "<td>%s<td>%.3f<td>%s<td>%s<td style=\"text-align:left\"><div "
                "style=\"background:%s;height:12px;width:%.0fpx\"></div>",
                cli_count(one->n_params).s, 8 * one->n_bytes / one->n_params,
                cli_bytes(one->n_bytes).s, cli_figure(one->loss, 3).s, colours[k],
                all > 0 ? 300 * one->n_bytes / all : 0);
    }
    fputs("</table>", p->out);
}

static void put_tensors(page *p)
{
    fputs("<h2>Every tensor</h2><table><tr><th>tensor<th>method<th>weights<th>bits<th>entropy<th>"
          "error<th>loss<th>exceptions<th>classes",
          p->out);
    for (size_t i = 0; i < p->a->n_tensors; i++) {
        const entro_tensor_account *t = &p->a->tensors[i];
        fputs("<tr><td>", p->out);
        put_text(p->out, t->name);
        fprintf(p->out, "<td>%s<td>%s<td>%.3f<td>%s<td>%s %%<td>%s<td>%s %%<td>%u x %u", t->method,
                cli_count((double)t->n_params).s, t->bits, cli_figure(t->entropy, 4).s,
                cli_figure(100 * t->rms_error, 3).s, cli_figure(t->loss, 3).s,
                cli_figure(100 * t->exceptions, 2).s, t->n_row_classes, t->n_col_classes);
    }
    fputs("</table></html>\n", p->out);
}

int cli_page_write(const cli_account *a, const char *path)
{
    char *name = NULL;
    if (asprintf(&name, "%s.tmp", path) < 0)
        return cli_fail_text("out of memory");
    page p = {.a = a, .out = fopen(name, "w")};
    bool good = p.out != NULL;
    if (good) {
        collect(&p);
        put_head(&p);
        put_layers(&p);
        put_kinds(&p);
        put_tensors(&p);
        good = !ferror(p.out) && fflush(p.out) == 0 && fsync(fileno(p.out)) == 0;
        good = fclose(p.out) == 0 && good;
        good = good && rename(name, path) == 0;
    }
    int code =
        good ? CLI_EXIT_OK : cli_fail_text("%s: cannot write the page: %s", path, strerror(errno));
    if (!good)
        unlink(name);
    free(name);
    return code;
}
