/*
 * cli_svg.h - pictures of numbers, as SVG inside a page (cli_html.h).
 *
 *        top
 *   left +--------------+ right        outside: ticks, titles; inside: rules, lines, points, bars
 *        +--------------+
 *        bottom
 */
#ifndef CLI_SVG_H
#define CLI_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct cli_axis {
    double lo, hi;     /* lo < hi; of a logarithmic one > 0 */
    bool is_log;       /* powers of ten */
    bool is_whole;     /* ticks at whole numbers only */
    const char *title; /* the program's own; "" for none */
} cli_axis;

typedef struct cli_chart {
    FILE *out;
    double width, height, left, right, top, bottom;
    cli_axis x, y;
} cli_chart;

void cli_chart_open(const cli_chart *c); /* rules, ticks and titles */
void cli_chart_close(const cli_chart *c);

/* Where a value lies; one beyond the axis at its end. */
double cli_chart_x(const cli_chart *c, double value);
double cli_chart_y(const cli_chart *c, double value);

/* A line of a colour through n points; a y that is not a number leaves its point out. */
void cli_chart_line(const cli_chart *c, const double *x, const double *y, size_t n, int colour);
/* Bars from the bottom, each as wide as its step: n heights from x = first on. */
void cli_chart_bars(const cli_chart *c, double first, double step, const double *heights, size_t n,
                    int colour);
/* Text from outside.  anchor: "start", "middle", "end". */
void cli_chart_text(const cli_chart *c, double x, double y, const char *anchor, int colour,
                    const char *text);

#endif
