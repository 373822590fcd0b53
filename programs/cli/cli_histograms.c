/*
 * cli_histograms.c - see cli_histograms.h.
 *
 * Shares of the integers over their distance from the most frequent one, in as many bars as are told apart:
 * 1, 2, 4 ... values a bar.
 */
#include "cli_histograms.h"
#include "cli_format.h"
#include "cli_html.h"
#include "cli_svg.h"

#include <math.h>

enum { WIDTH = 200, HEIGHT = 110, MOST_BARS = 63 };

/* The distance from the middle within which all but one in 200 lie. */
static int reach_of(const cli_matrix_kind *k)
{
    uint64_t inside = k->sums[CLI_MIDDLE], wanted = k->n_counted - k->n_counted / 200;
    int reach = 0;
    while (inside < wanted && reach < CLI_MIDDLE - 1) {
        reach++;
        inside += k->sums[CLI_MIDDLE - reach] + k->sums[CLI_MIDDLE + reach];
    }
    return reach;
}

static void put_caption(FILE *out, const cli_matrix_kind *k, double inside)
{
    fputs("<figcaption><b>", out);
    cli_html_text(out, k->name);
    fprintf(out, "</b><br>entropy %s, stored %s bits<br><span>",
            cli_figure(k->totals.entropy_bits / k->totals.n_params, 3).s,
            cli_figure(8 * k->totals.n_bytes / k->totals.n_params, 3).s);
    if (k->middle_low == k->middle_high)
        fprintf(out, "%d: ", k->middle_low);
    else
        fputs("peak: ", out);
    fprintf(out, "%s %%; outside: %s %%</span></figcaption>",
            cli_figure(100 * (double)k->sums[CLI_MIDDLE] / (double)k->n_counted, 1).s,
            cli_figure(100 * (1 - inside / (double)k->n_counted), 2).s);
}

static void draw(FILE *out, const cli_matrix_kind *k, int colour)
{
    int reach = reach_of(k), per_bar = 1;
    while ((2 * reach + 1 + per_bar - 1) / per_bar > MOST_BARS)
        per_bar *= 2;
    double bars[MOST_BARS + 2] = {0}, highest = 0, inside = 0;
    int n_bars = 0, first = -reach;
    for (int at = -reach; at <= reach; at++) {
        n_bars = (at - first) / per_bar + 1;
        double part = (double)k->sums[CLI_MIDDLE + at] / (double)k->n_counted;
        bars[n_bars - 1] += part;
        inside += (double)k->sums[CLI_MIDDLE + at];
        highest = fmax(highest, bars[n_bars - 1]);
    }
    double edge = fmax(reach + 0.5, 1.5);
    cli_chart c = {.out = out, .width = WIDTH, .height = HEIGHT};
    c.left = c.right = 4;
    c.top = 4;
    c.bottom = 20;
    c.x = (cli_axis){-edge, fmax(edge, first - 0.5 + n_bars * per_bar), .is_whole = true,
                     .title = ""};
    c.y = (cli_axis){0, highest, .title = ""};
    fputs("<figure>", out);
    cli_chart_open(&c);
    cli_chart_bars(&c, first - 0.5, per_bar, bars, (size_t)n_bars, colour);
    cli_chart_close(&c);
    put_caption(out, k, inside);
    fputs("</figure>", out);
}

void cli_histograms_draw(FILE *out, const cli_kinds *kinds)
{
    bool any = false;
    for (size_t i = 0; i < kinds->n; i++) {
        if (kinds->kinds[i].n_counted == 0)
            continue;
        if (!any)
            fputs("<h2>The coded integers</h2><p class=\"soft\">How often each occurs, over its "
                  "distance from the most frequent one; all layers of a kind together.</p><div "
                  "class=\"grid\">",
                  out);
        any = true;
        draw(out, &kinds->kinds[i], (int)i);
    }
    if (any)
        fputs("</div>\n", out);
}
