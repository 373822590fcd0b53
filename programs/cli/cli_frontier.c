/*
 * cli_frontier.c - see cli_frontier.h.
 *
 * A point's name goes to the first of some places around it where it covers no point, no line and no other
 * name.
 */
#include "cli_frontier.h"
#include "cli_format.h"
#include "cli_svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 860,
    HEIGHT = 460,
    NAME = 34 /* columns */,
    RADIUS = 4,
    LINE = 13,
    PIECE = 5 /* of a line, in the way of names */
};
#define COLUMN 6.4 /* about the width of a letter */

typedef struct box {
    double x, y, width, height;
} box;

typedef struct picture {
    cli_chart chart;
    const cli_frontier_point *points; /* sorted by size */
    size_t n;
    box *taken; /* by lines and points, then by names */
    size_t n_taken;
} picture;

static int by_size(const void *a, const void *b)
{
    const cli_frontier_point *p = a, *q = b;
    return p->bits != q->bits ? (p->bits < q->bits ? -1 : 1)
                              : (p->loss > q->loss) - (p->loss < q->loss);
}

/* ---- names --------------------------------------------------------------------------------- */

static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static bool overlap(const box *a, const box *b)
{
    return a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height &&
           b->y < a->y + a->height;
}

static bool is_free(const picture *p, const box *b)
{
    const cli_chart *c = &p->chart;
    if (b->x < c->left || b->x + b->width > c->width || b->y < 0 ||
        b->y + b->height > c->height - c->bottom)
        return false;
    for (size_t i = 0; i < p->n_taken; i++)
        if (overlap(b, &p->taken[i]))
            return false;
    return true;
}

/* Right of the point, left of it, then further and further up and down on both sides. */
static box place_of(const picture *p, double x, double y, double width)
{
    for (int far = 0; far < 16; far++)
        for (int side = 0; side < 4; side++) {
            double down = (side & 1 ? far : -far) * (LINE - 1.0);
            box b = {side & 2 ? x - RADIUS - 5 - width : x + RADIUS + 5, y - LINE / 2.0 + down,
                     width, LINE};
            if (is_free(p, &b))
                return b;
        }
    return (box){x + RADIUS + 5, y - LINE / 2.0, width, LINE};
}

static void put_name(picture *p, const cli_frontier_point *point)
{
    char name[4 * NAME + 8];
    cli_format_shortened(name, sizeof(name), point->name, NAME);
    double x = cli_chart_x(&p->chart, point->bits), y = cli_chart_y(&p->chart, point->loss);
    box b = place_of(p, x, y, COLUMN * (double)columns_of(name));
    p->taken[p->n_taken++] = b;
    bool is_left = b.x < x;
    double near = is_left ? b.x + b.width : b.x, middle = b.y + b.height / 2;
    if (fabs(middle - y) > LINE)
        fprintf(p->chart.out, "<path class=\"lead\" d=\"M%.1f %.1fL%.1f %.1f\"/>", x, y, near,
                middle);
    cli_chart_text(&p->chart, near, middle + 4, is_left ? "end" : "start",
                   point->is_peer ? CLI_COLOUR_PEERS : CLI_COLOUR_OURS, name);
}

/* ---- points -------------------------------------------------------------------------------- */

/* Names keep off the line, piece by piece. */
static void take_line(picture *p, const double *x, const double *y, size_t n)
{
    const cli_chart *c = &p->chart;
    for (size_t i = 1; i < n; i++) {
        double x0 = cli_chart_x(c, x[i - 1]), y0 = cli_chart_y(c, y[i - 1]);
        double width = cli_chart_x(c, x[i]) - x0, height = cli_chart_y(c, y[i]) - y0;
        for (double at = 0; at < width; at += PIECE) {
            double piece = fmin(PIECE, width - at);
            p->taken[p->n_taken++] =
                (box){x0 + at, y0 + height * at / width, piece, fmax(height * piece / width, 1)};
        }
    }
}

static void put_line(picture *p, bool is_peer)
{
    double *x = malloc(2 * p->n * sizeof(*x)), *y = x + p->n, least = INFINITY;
    if (!x)
        return; /* a picture without the line */
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->points[i].is_peer != is_peer || p->points[i].loss >= least)
            continue;
        least = y[n] = p->points[i].loss;
        x[n++] = p->points[i].bits;
    }
    if (n > 1)
        cli_chart_line(&p->chart, x, y, n, is_peer ? CLI_COLOUR_PEERS : CLI_COLOUR_OURS);
    take_line(p, x, y, n);
    free(x);
}

static void put_point(picture *p, const cli_frontier_point *point)
{
    int colour = point->is_peer ? CLI_COLOUR_PEERS : CLI_COLOUR_OURS;
    double x = cli_chart_x(&p->chart, point->bits), y = cli_chart_y(&p->chart, point->loss);
    if (point->error > 0)
        fprintf(p->chart.out, "<path class=\"s%d\" d=\"M%.1f %.1fV%.1f\"/>", colour, x,
                cli_chart_y(&p->chart, point->loss - point->error),
                cli_chart_y(&p->chart, point->loss + point->error));
    fprintf(p->chart.out, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"/>", colour, x, y,
            RADIUS);
    p->taken[p->n_taken++] =
        (box){x - RADIUS - 1, y - RADIUS - 1, 2.0 * RADIUS + 2, 2.0 * RADIUS + 2};
}

static void set_axes(picture *p, const char *loss_title)
{
    double lo = INFINITY, hi = 0;
    for (size_t i = 0; i < p->n; i++) {
        lo = fmin(lo, p->points[i].loss);
        hi = fmax(hi, p->points[i].loss);
    }
    double first = p->points[0].bits, last = p->points[p->n - 1].bits;
    double room = fmax(0.06 * (last - first), 0.1);
    p->chart.x =
        (cli_axis){fmax(first - room, 0), last + room, .title = "bits a parameter, whole file"};
    p->chart.y = (cli_axis){lo / 1.5, hi * 1.5, .is_log = true, .title = loss_title};
}

static void draw(picture *p, const char *loss_title)
{
    set_axes(p, loss_title);
    cli_chart_open(&p->chart);
    put_line(p, true);
    put_line(p, false);
    for (size_t i = 0; i < p->n; i++)
        put_point(p, &p->points[i]);
    for (size_t i = 0; i < p->n; i++)
        put_name(p, &p->points[i]);
    cli_chart_close(&p->chart);
}

size_t cli_frontier_draw(FILE *out, const cli_frontier_point *points, size_t n,
                         const char *loss_title)
{
    cli_frontier_point *sorted = malloc((n + 1) * sizeof(*sorted));
    picture p = {.points = sorted, .taken = malloc((4 * n + 2 * WIDTH / PIECE) * sizeof(*p.taken))};
    p.chart = (cli_chart){.out = out,
                          .width = WIDTH,
                          .height = HEIGHT,
                          .left = 70,
                          .right = 20,
                          .top = 12,
                          .bottom = 46};
    for (size_t i = 0; sorted && p.taken && i < n; i++)
        if (points[i].loss > 0 && isfinite(points[i].loss) && isfinite(points[i].bits))
            sorted[p.n++] = points[i];
    if (p.n > 0) {
        qsort(sorted, p.n, sizeof(*sorted), by_size);
        draw(&p, loss_title);
    }
    free(sorted);
    free(p.taken);
    return p.n;
}
