/* cli_svg.c - see cli_svg.h. */
#include "cli_svg.h"
#include "cli_html.h"

#include <math.h>

/* ---- places -------------------------------------------------------------------------------- */

static double share(const cli_axis *a, double value)
{
    double lo = a->lo, hi = a->hi;
    if (a->is_log) {
        lo = log10(lo);
        hi = log10(hi);
        value = value > 0 ? log10(value) : lo;
    }
    return fmin(fmax((value - lo) / (hi - lo), 0), 1);
}

double cli_chart_x(const cli_chart *c, double value)
{
    return c->left + share(&c->x, value) * (c->width - c->left - c->right);
}

double cli_chart_y(const cli_chart *c, double value)
{
    return c->height - c->bottom - share(&c->y, value) * (c->height - c->top - c->bottom);
}

/* ---- axes ---------------------------------------------------------------------------------- */

/* 1, 2 or 5 times a power of ten: at most n_most steps. */
static double step_of(const cli_axis *a, int n_most)
{
    double least = (a->hi - a->lo) / n_most, power = pow(10, floor(log10(least)));
    double step = least <= power       ? power
                  : least <= 2 * power ? 2 * power
                  : least <= 5 * power ? 5 * power
                                       : 10 * power;
    return a->is_whole ? fmax(step, 1) : step;
}

typedef void put_tick(const cli_chart *c, double value);

static void each_tick(const cli_chart *c, const cli_axis *a, int n_most, put_tick *put)
{
    static const double parts[] = {1, 2, 5};
    if (a->is_log) {
        double decades = log10(a->hi / a->lo);
        int n_parts = decades < 2.5 ? 3 : 1, every = (int)ceil(decades / n_most);
        for (int d = (int)floor(log10(a->lo)); d <= (int)ceil(log10(a->hi)); d += every)
            for (int i = 0; i < n_parts; i++) {
                double value = parts[i] * pow(10, d);
                if (value >= a->lo * 0.999 && value <= a->hi * 1.001)
                    put(c, value);
            }
        return;
    }
    double step = step_of(a, n_most);
    for (double k = ceil(a->lo / step - 1e-6); k * step <= a->hi + 1e-6 * step; k++)
        put(c, k * step + 0.0); /* no -0 */
}

static void put_x(const cli_chart *c, double value)
{
    double x = cli_chart_x(c, value);
    fprintf(c->out,
            "<path class=\"rule\" d=\"M%.1f %.1fV%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
            "text-anchor=\"middle\">%.6g</text>",
            x, c->top, c->height - c->bottom, x, c->height - c->bottom + 16, value);
}

static void put_y(const cli_chart *c, double value)
{
    double y = cli_chart_y(c, value);
    fprintf(c->out,
            "<path class=\"rule\" d=\"M%.1f %.1fH%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
            "text-anchor=\"end\">%.6g</text>",
            c->left, y, c->width - c->right, c->left - 8, y + 4, value);
}

void cli_chart_open(const cli_chart *c)
{
    fprintf(c->out, "<svg viewBox=\"0 0 %.0f %.0f\">", c->width, c->height);
    int n_across = (int)((c->width - c->left - c->right) / 45) + 2;
    each_tick(c, &c->x, n_across, put_x);
    if (c->left > 20) /* there is room for numbers */
        each_tick(c, &c->y, 8, put_y);
    if (*c->x.title)
        fprintf(c->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                (c->left + c->width - c->right) / 2, c->height - 6, c->x.title);
    if (*c->y.title)
        fprintf(c->out,
                "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">"
                "%s</text>",
                (c->top + c->height - c->bottom) / 2, c->y.title);
}

void cli_chart_close(const cli_chart *c)
{
    fputs("</svg>\n", c->out);
}

/* ---- what stands in it --------------------------------------------------------------------- */

void cli_chart_line(const cli_chart *c, const double *x, const double *y, size_t n, int colour)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(y[i]))
            continue;
        if (!any)
            fprintf(c->out, "<path class=\"s%d\" style=\"fill:none;stroke-width:2\" d=\"M", colour);
        fprintf(c->out, "%s%.1f %.1f", any ? "L" : "", cli_chart_x(c, x[i]), cli_chart_y(c, y[i]));
        any = true;
    }
    if (any)
        fputs("\"/>", c->out);
}

void cli_chart_bars(const cli_chart *c, double first, double step, const double *heights, size_t n,
                    int colour)
{
    double bottom = c->height - c->bottom;
    double gap = fmin(1, 0.1 * (cli_chart_x(c, first + step) - cli_chart_x(c, first)));
    fprintf(c->out, "<path class=\"f%d\" d=\"", colour);
    for (size_t i = 0; i < n; i++) {
        double from = cli_chart_x(c, first + (double)i * step) + gap / 2;
        double to = cli_chart_x(c, first + (double)(i + 1) * step) - gap / 2;
        if (heights[i] > 0)
            fprintf(c->out, "M%.2f %.1fV%.2fH%.2fV%.1fZ", from, bottom, cli_chart_y(c, heights[i]),
                    to, bottom);
    }
    fputs("\"/>", c->out);
}

void cli_chart_text(const cli_chart *c, double x, double y, const char *anchor, int colour,
                    const char *text)
{
    fprintf(c->out, "<text class=\"f%d\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", colour, x, y,
            anchor);
    cli_html_text(c->out, text);
    fputs("</text>", c->out);
}
