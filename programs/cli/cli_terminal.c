/*
 * cli_terminal.c - width, colours, Ctrl-C and the progress line.
 *
 *   encode  blk.12.ffn_up.weight      [###########---------]  55 %   412 MB/s   0:04 left
 *
 * The bar takes what the other parts leave of the width; on a narrow terminal it goes first, then
 * the name.
 */
#include "cli_terminal.h"

#include "cli_format.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    if (caught) { /* the second one: the person means it */
        signal(number, SIG_DFL);
        raise(number);
    }
    caught = number;
}

void cli_signals_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: a read from the keyboard shall return. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

int cli_interrupted(void)
{
    return caught;
}

void cli_interrupt_clear(void)
{
    caught = 0;
}

void cli_interrupt_die(void)
{
    int number = caught;
    if (!number)
        return;
    fflush(NULL);
    signal(number, SIG_DFL);
    raise(number);
}

double cli_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int cli_width(FILE *stream)
{
    struct winsize size;
    if (isatty(fileno(stream)) && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static bool is_plain_terminal(void)
{
    const char *term = getenv("TERM");
    return !term || strcmp(term, "dumb") == 0;
}

const char *cli_colour(cli_paint paint)
{
    static const char *const codes[] = {"\033[0m", "\033[1;31m", "\033[33m", "\033[2m"};
    const char *no_colour = getenv("NO_COLOR");
    if (!isatty(STDERR_FILENO) || is_plain_terminal() || (no_colour && *no_colour))
        return "";
    return codes[paint];
}

/* ---- progress --------------------------------------------------------------------------- */

static void draw_bar(char *out, size_t n_out, double fraction, int width)
{
    size_t at = 0;
    if (width < 6 || (size_t)width + 3 > n_out) {
        out[0] = 0;
        return;
    }
    out[at++] = '[';
    for (int i = 0; i < width - 2; i++)
        out[at++] = i < (int)(fraction * (width - 2) + 0.5) ? '#' : '-';
    out[at++] = ']';
    out[at] = 0;
}

/* "  55 %   412 MB/s   0:04 left", as far as it is known. */
static void describe(char *out, size_t n_out, const entro_progress *progress, double seconds)
{
    char rate[40], left[40] = "", value[40] = "";
    double done = (double)(progress->done - progress->resumed);
    double speed = seconds > 0 ? done / seconds : 0;
    const char *unit = progress->unit ? progress->unit : "";
    if (strcmp(unit, "B") == 0)
        cli_format_rate(rate, sizeof(rate), speed);
    else if (speed > 0 && speed < 1)
        snprintf(rate, sizeof(rate), "%.1f s/%s", 1 / speed, unit);
    else
        snprintf(rate, sizeof(rate), "%.1f %s/s", speed, unit);
    if (progress->total && speed > 0 && progress->done <= progress->total)
        cli_format_clock(left, sizeof(left), (double)(progress->total - progress->done) / speed);
    if (isfinite(progress->value) && progress->value != 0)
        snprintf(value, sizeof(value), "  %.4f", progress->value);
    double percent = progress->total ? 100.0 * (double)progress->done / (double)progress->total : 0;
    if (progress->total)
        snprintf(out, n_out, " %3.0f %%%s  %10s  %s left", percent, value, rate,
                 *left ? left : "-:--");
    else
        snprintf(out, n_out, "%s  %10s", value, rate);
}

void cli_progress_begin(cli_progress *line)
{
    line->stage[0] = 0;
    line->start = cli_now();
}

bool cli_progress_show(void *user, const entro_progress *progress)
{
    cli_progress *line = user;
    double now = cli_now();
    if (cli_interrupted())
        return false;
    if (progress->note && !line->quiet) {
        cli_progress_clear(line);
        cli_note("%s", progress->note);
    }
    if (line->quiet || !isatty(STDERR_FILENO) || is_plain_terminal())
        return true;
    const char *stage = progress->stage ? progress->stage : "";
    if (strncmp(stage, line->stage, sizeof(line->stage) - 1) != 0) {
        /* The first stage began with the job, before its first report. */
        if (line->stage[0] || line->start == 0)
            line->start = now;
        snprintf(line->stage, sizeof(line->stage), "%s", stage);
        line->last = 0;
    }
    if (now - line->last < 0.1)
        return true;
    line->last = now;

    char tail[160], bar[64];
    describe(tail, sizeof(tail), progress, now - line->start);
    int width = cli_width(stderr) - 1, name = progress->item ? 26 : 0,
        n_stage = (int)strlen(line->stage);
    int left = width - n_stage - (int)strlen(tail) - 2;
    if (left - name < 8)
        name = left > 8 ? left : 0;
    int bar_width = left - name - 1 > 40 ? 40 : left - name - 1;
    double fraction = progress->total ? (double)progress->done / (double)progress->total : 0;
    draw_bar(bar, sizeof(bar), fraction > 1 ? 1 : fraction, progress->total ? bar_width : 0);
    char item[64];
    cli_format_shortened(item, sizeof(item), progress->item ? progress->item : "", (size_t)name);
    fprintf(stderr, "\r\033[K%s  %-*s %s%.*s", line->stage, name, item, bar, width > 0 ? width : 0,
            tail);
    fflush(stderr);
    line->shown = true;
    return true;
}

void cli_progress_clear(cli_progress *line)
{
    if (line->shown)
        fputs("\r\033[K", stderr);
    line->shown = false;
}
